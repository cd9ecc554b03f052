/* The load: connections in one epoll loop, each sending its next message when one is answered, or
 * (with a rate) when one is due. */
#ifndef BENCH_BENCH_LOAD_H
#define BENCH_BENCH_LOAD_H

#include "bench/bench_link.h"

enum load_phase {
    LOAD_CONNECT, /* connections are being made; only those beside the load send */
    LOAD_WARMUP,  /* sending, not measured */
    LOAD_MEASURE, /* sending, measured */
    LOAD_DRAIN,   /* nothing new is begun, answers are awaited */
    LOAD_HOLD,    /* all are answered, and connections stay open */
    LOAD_LEAVE,   /* all is sent, and the server closes when it has read it */
    LOAD_DONE,
};

#define LOAD_INPUT          65536u
#define LOAD_BESIDE_SOURCES 8u /* 127.0.0.2 and on, for connections beside the load */

struct bench_load {
    const struct bench_options *options;
    const struct endpoint *endpoint;
    struct bench_result *result;
    enum load_phase phase;
    int epoll;
    uint32_t links_count; /* those beside the load come last */
    struct bench_link *links;
    uint64_t *stamps;            /* of all connections */
    size_t slots;                /* messages in flight on each, at least 1 */
    uint8_t *body;               /* of every message, size bytes */
    void *shared;                /* of the speech, for all connections */
    bool only_sends;             /* bench_only_sends */
    uint32_t run;                /* random: tells this run's ids and paths */
    uint64_t left;               /* messages that may still be begun */
    uint64_t open_messages;      /* begun, on connections that live, and without a final answer */
    uint32_t count[LINK_STATES]; /* connections in each state */
    uint32_t next_new;           /* connections from here on were never tried */
    uint32_t next_due;           /* with a rate: the connection that is asked first */
    uint64_t scheduled;          /* with a rate: messages begun so far */
    uint64_t schedule_ns;        /* and when the first one was due */
    uint64_t now_ns;             /* since the last wake-up */
    uint64_t phase_ns;           /* when the phase began */
    uint64_t retry_ns;           /* the earliest of the connections that wait */
    uint64_t scan_ns;            /* when silent connections are looked for again */
    uint64_t cpu_ns;             /* taken by this process when measuring began */
    double server_cpu;           /* the same of the processes named, seconds */
    int64_t flushes;
    uint32_t random;
    uint8_t input[LOAD_INPUT];
};

/* Runs the load; what was counted is in result, also after a failure. Returns 0, or -1 with errno
 * where it could not even begin. result->connection is the caller's to free. */
int bench_load_run(const struct bench_options *options, const struct endpoint *endpoint,
                   struct bench_result *result);

/* How many messages a connection may begin now, of at most wanted; they count as begun. */
uint32_t bench_load_take(struct bench_load *load, const struct bench_link *link, uint32_t wanted);

/* From when the latency of the message that is begun next counts. */
uint64_t bench_load_stamp(struct bench_load *load);

/* A message that was begun, or due, at began_ns counts now. */
void bench_load_count(struct bench_load *load, uint64_t began_ns);

#endif
