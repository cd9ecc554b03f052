/* The load: connections in one epoll loop, each sending its next message when one is answered. */
#ifndef MSOCK_BENCH_LOAD_H
#define MSOCK_BENCH_LOAD_H

#include "bench_conn.h"

enum load_phase {
    LOAD_CONNECT, /* connections are being made; nothing is sent */
    LOAD_WARMUP,  /* sending, not measured */
    LOAD_MEASURE, /* sending, measured */
    LOAD_DRAIN,   /* nothing new is begun, answers are awaited */
    LOAD_HOLD,    /* all are answered, and connections stay open */
    LOAD_LEAVE,   /* all is sent, and the server closes when it has read it */
    LOAD_DONE,
};

#define LOAD_INPUT 65536u

struct load {
    const struct bench_options *options;
    const struct endpoint *endpoint;
    struct bench_message *message;
    struct bench_result *result;
    enum load_phase phase;
    int epoll;
    struct conn *conns;
    uint64_t *stamps;            /* of all connections: when their messages in flight were begun */
    uint8_t *marks;              /* of all connections, for their protocol */
    uint64_t left;               /* messages that may still be begun */
    uint64_t open_messages;      /* begun, on connections that live, and without a final answer */
    uint32_t count[CONN_STATES]; /* connections in each state */
    uint32_t next_new;           /* connections from here on were never tried */
    uint64_t now_ns;             /* since the last wake-up */
    uint64_t phase_ns;           /* when the phase began */
    uint64_t retry_ns;           /* the earliest of the connections that wait */
    uint64_t scan_ns;            /* when silent connections are looked for again */
    uint64_t cpu_ns;             /* taken by this process when measuring began */
    uint32_t random;
    uint8_t input[CONN_KEPT_MAX + LOAD_INPUT];
};

/* Runs the load; what was counted is in result, also after a failure. Returns 0, or -1 with errno
 * where it could not even begin. result->connection is the caller's to free. */
int load_run(const struct bench_options *options, const struct endpoint *endpoint,
             struct bench_message *message, struct bench_result *result);

/* How many messages a connection may begin now, of at most wanted; they count as begun. */
uint32_t load_take(struct load *load, const struct conn *conn, uint32_t wanted);

#endif
