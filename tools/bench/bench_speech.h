/* What is spoken on the connections of the load, which know nothing else of what they carry. There
 * are two: bench_proto.c speaks msockd's protocols by their state machines, looks into every answer
 * and sends again what has to be; bench_block.c sends blocks of bytes made beforehand and only
 * counts answers, so that no server costs the generator more than another. */
#ifndef BENCH_BENCH_SPEECH_H
#define BENCH_BENCH_SPEECH_H

#include "bench/bench.h"

struct bench_link;
struct bench_load;

struct bench_speech {
    const char *scheme;
    bool acknowledges; /* messages that count are committed */
    bool renews;       /* the server closes in order behind each message (frame, eof) */

    /* Completes the options by the URL's. NULL, or a sentence that says which cannot be (static).
     */
    const char *(*complete)(struct bench_options *options);

    /* Makes what all connections share. 0, or -1 with errno. */
    int (*prepare)(struct bench_load *load);
    void (*release)(struct bench_load *load);

    /* A connection is there: link->speech is NULL. It says what comes before any message;
     * bench_link_ready follows, at once or later. 0, or -1 without memory. */
    int (*open)(struct bench_link *link);
    void (*close)(struct bench_link *link); /* frees link->speech; NULL is fine */

    /* Begins messages (bench_link_begin) as far as that goes now. */
    void (*send)(struct bench_link *link);

    /* What is to be sent, at most two pieces; n bytes of it have left, or all. */
    int (*output)(struct bench_link *link, struct iovec out[2]);
    void (*sent)(struct bench_link *link, size_t n);

    /* Bytes that came; false: the connection was lost by them (bench_link_lose was called). */
    bool (*feed)(struct bench_link *link, const uint8_t *data, size_t n);

    /* The server has closed in good order. True: as it should. */
    bool (*ended)(struct bench_link *link);

    /* Time has passed; called about ten times a second. NULL: does not matter. */
    void (*tick)(struct bench_link *link);
};

extern const struct bench_speech bench_msp, bench_tinyproto, bench_cnp, bench_frame;
extern const struct bench_speech bench_msp_blocks, bench_tinyproto_blocks, bench_cnp_blocks,
    bench_frame_blocks, bench_raw, bench_redis, bench_beanstalkd, bench_http;

#endif
