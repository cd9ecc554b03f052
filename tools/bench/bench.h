/* What a load is, what it came to, and the parts of the load generator that know nothing of its
 * connections. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "common/dial.h"
#include "common/histogram.h"
#include "common/url.h"
#include "msock/command.h"
#include "proto/proto_table.h"
#include "tls/tls.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#define BENCH_CONNECTIONS_MAX 1000000u
#define BENCH_AHEAD_MAX       4096u
#define BENCH_SOURCES_MAX     60000u
#define BENCH_SIZE_MAX        ((uint64_t)16 << 30)
#define BENCH_MESSAGE_MAX     ((uint64_t)256 << 20) /* where the protocol copies it */
#define BENCH_BITS            6 /* of the histogram: a latency is known to 1.6 % */

enum bench_kind { BENCH_PLAIN, BENCH_JSON, BENCH_FILE };
#define BENCH_KINDS 3
extern const char *const bench_kinds[BENCH_KINDS]; /* their names */

struct bench_speech; /* bench_load.h */

struct bench_options {
    const char *url_text;
    struct url url;
    bool has_url;            /* url is to be freed */
    struct client_url asked; /* by the options of url */
    enum dial_pick pick;     /* the same */
    struct session_tls tls_said;
    struct tls_context *tls; /* NULL: there is no TLS */
    const char *server_name; /* that its certificate has to have */
    const struct bench_speech *speech;
    enum bench_kind kind;
    uint32_t connections;
    uint32_t beside;    /* further connections, which send one message and then nothing */
    uint32_t ahead;     /* messages in flight on a connection; msp, 0: wait for every answer */
    uint32_t window;    /* cnp: packets in flight; 1: step-by-step */
    uint32_t bind_from; /* local addresses from 127.0.0.2 on; 0: leave it to the kernel */
    uint32_t members;   /* of a broadcast; 0: none */
    bool ahead_said, size_said; /* on the command line */
    uint64_t size;              /* bytes of a message */
    uint64_t messages;          /* in all; 0: for `seconds` */
    double seconds;
    double warmup_s;
    double timeout_s;  /* longest silence before a connection counts as lost */
    double rate;       /* messages a second, on schedule; 0: each when one is answered */
    const char *pids;  /* comma-separated: their CPU time is reported; or NULL */
    const char *flush; /* a path: the flushes of its disk are reported; or NULL */
    const char *pong;  /* be a ping-pong server: PORT:REQUEST:REPLY; or NULL */
    bool ids;
    bool want_reply;
    bool late_digest;
    bool retry;
    bool blocks; /* bytes made beforehand, and answers counted without a look into them */
    bool raw;
    bool jansson; /* no server: the document is parsed */
    bool idle;    /* one message a connection */
    bool hold;    /* keep the connections open until standard input ends */
    bool json;
    bool per_connection;
};

/* What one connection, or all of them, saw: answers of msp as received, or what the protocol has in
 * their place; bytes as this side counts them. */
#define BENCH_COUNTS(X) X(acks) X(nack1) X(nack2) X(rej) X(err) X(messages) X(bytes_in) X(bytes_out)

struct bench_counts {
#define X(name) uint64_t name;
    BENCH_COUNTS(X) /* messages: that count, committed, answered or sent */
#undef X
};

struct bench_connection {
    uint16_t port; /* of this side; 0 for a Unix socket */
    struct bench_counts counts;
};

struct bench_latency {
    uint64_t count, sum, max; /* nanoseconds; max is exact */
    uint64_t bucket[HISTOGRAM_BUCKETS(BENCH_BITS)];
};

struct bench_result {
    /* Of the time that is measured. */
    uint64_t messages;
    double seconds;
    double cpu;                   /* share of one core that the generator itself took */
    double server_cpu;            /* of the processes named; negative: not known */
    int64_t flushes;              /* of the disk named; -1: none was, or it is not known */
    struct bench_latency latency; /* from the first byte of a message, or its scheduled moment */
    uint64_t unsent;              /* with a rate: due, and not even begun at the end */
    /* Of the whole run, warm-up and drain included. */
    struct bench_counts total;
    uint64_t shutdowns; /* of total.err: ERR shutdown, which a reload explains */
    uint64_t lost; /* connections lost for good, or (bench_only_sends) with what was sent on them */
    uint64_t connect_failures; /* attempts, not connections */
    uint64_t bad_answers;      /* bytes that are no answer, or one out of place */
    uint64_t bad_replies; /* msp: whose sums do not hold (1.5); else: that are not the message */
    uint64_t unanswered;  /* messages begun that got no final answer */
    uint64_t retried;     /* messages begun again on a new connection (1.6, 1.7) */
    uint64_t reconnects;
    uint64_t connected;      /* connections made, reconnects included */
    int connect_error;       /* errno of the last failure to connect */
    char why[TLS_ERROR_LEN]; /* half a sentence: how TLS has failed last; "": it has not */
    bool untrusted;          /* and that was over a certificate: nobody tries again */
    bool interrupted;
    struct bench_connection *connection; /* with per_connection: one a connection ever made */
    size_t connection_count;
};

/* A message counts when it was sent, and the server says nothing at all about it. (With eof it
 * closes.) */
bool bench_only_sends(const struct bench_options *options);

/* Prints the result on standard output as the options say. */
void bench_report(const struct bench_options *options, const struct bench_result *result);

/* Reads what was asked for of TLS. Returns 0, or -1 with a sentence (bench_secure.c). */
int bench_secure(struct bench_options *options, char error[TLS_ERROR_LEN]);

/* The exit status of a load: EX_OK, EX_NOPERM, EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL. */
int bench_status(const struct bench_result *result);

/* Nanoseconds on a clock, and on the monotonic one. */
uint64_t bench_clock_ns(clockid_t clock);

static inline uint64_t
bench_now_ns(void)
{
    return bench_clock_ns(CLOCK_MONOTONIC);
}

/* CPU seconds that the processes have taken, and flushes that the disk under a path has done. -1:
 * not known, or there is no such thing. */
double bench_cpu_of(const char *pids);
int64_t bench_flushes_of(const char *path);

/* Publishes to the members of a broadcast and counts what they get. Returns an exit status. */
int bench_members(const struct bench_options *options, const struct endpoint *ep);

/* --- the content of the messages (bench_document.c) --- */

/* Writes a JSON document of exactly size bytes (at least 1), built like an event of a real program:
 * an object of strings, numbers, a nested object and arrays, with more readings the larger it
 * is. */
void document_json(uint8_t *out, size_t size);

/* Writes size bytes of text in lines. */
void document_text(uint8_t *out, size_t size);

/* Writes size bytes that do not repeat. */
void document_binary(uint8_t *out, size_t size);

/* --- the ceiling (bench_pingpong.c): a server in a child process that does nothing but count bytes
 * and answer as many as msockd would. What a load reaches against it, no server on this machine can
 * exceed. --- */

struct pingpong {
    pid_t pid;
    int life; /* the child leaves when this end of a pipe is closed */
    uint16_t port;
};

/* Starts it on 127.0.0.1, on that port or (0) one that the kernel chooses, for requests of
 * request_len bytes, each answered with reply_len bytes. Returns 0, or -1 with errno. */
int
pingpong_start(uint16_t port, size_t request_len, size_t reply_len, struct pingpong *server_out);

/* The same in this process, until a signal ends it. -1 with errno where it cannot begin. */
int pingpong_serve(uint16_t port, size_t request_len, size_t reply_len);

/* Ends it and waits for it. */
void pingpong_stop(struct pingpong *server);

#endif
