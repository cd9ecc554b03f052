/* What the load says to a server and hears from it: one prebuilt request, and how to count replies.
 * Every protocol goes through the same few lines of code, so that none is driven harder. Pure. */
#ifndef BENCH_REQUEST_H
#define BENCH_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_STEPS_MAX 3

/* One trip: so many bytes of the request, then so many of the reply. */
struct request_step {
    uint32_t len, reply_len;
};

struct request {
    uint8_t *data; /* heap; request_fini frees it */
    size_t len;
    unsigned steps; /* of a request that takes several trips; 0: it is one */
    struct request_step step[REQUEST_STEPS_MAX];
    const char *opening; /* sent on each new connection, and as many bytes come back; or NULL */
    size_t reply_len;    /* a reply of so many bytes; 0: it is made of lines */
    unsigned lines;      /* of a reply; 0: as many as there are up to an empty one */
    const char *initial; /* of each line in turn that a good reply begins with; '*': any */
};

/* Where the reader of one connection's replies is. Zeroes to begin with. */
struct reply_reader {
    uint32_t at;   /* bytes of the line or the fixed reply under way */
    uint32_t line; /* lines that the reply under way has already */
    uint32_t step; /* trips that the request under way has made */
};

/* Builds the request: "msp" (first packet and trailer sent ahead), "raw" (the same bytes, and any
 * ten bytes back), "redis" (XADD), "beanstalkd" (put), "http" (GET /idle), "frame" (an echo by
 * length), "tinyproto" (an echo in three trips). All but http carry the same JSON document of size
 * bytes. False where the protocol is unknown or the document does not fit. */
bool request_init(struct request *request, const char *protocol, size_t size);
void request_fini(struct request *request);

/* Takes n bytes that came in. Returns how many replies they complete, or -1 where a line begins as
 * no good reply does. */
int reply_feed(const struct request *request, struct reply_reader *reader, const uint8_t *data,
               size_t n);

#endif
