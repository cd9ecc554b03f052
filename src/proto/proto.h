/* What every wire protocol looks like to the worker: bytes in, events out. A protocol sees no
 * descriptor, clock, log or socket; time is an argument, answers go to a queue, whole verified
 * messages are handed over one at a time. Its state between two packets is a plain struct without
 * pointers, so that a connection can be given to another process. */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include "proto/answers.h"
#include "proto/message.h"

#include <stdbool.h>

#define PROTO_REFUSAL_MAX 512

/* Counted by the protocol, added to the shared counters by the worker. */
struct proto_tally {
    uint32_t acks, nack1, nack2, rej, err, messages, packets;
};

/* The limits of one listener. Durations in microseconds, sizes in bytes. */
struct proto_limits {
    uint64_t max_message_size; /* msp: a larger SIZE is taken as undetermined (1.3) */
    uint64_t timeout_us;       /* no byte inside a message for so long: ERR timeout */
    uint64_t idle_timeout_us;  /* no message for so long: close */
    uint64_t min_rate;         /* bytes/s a message must make after its first rate_grace_us */
    uint64_t rate_grace_us;
    uint64_t max_json_size; /* a larger JSON document is refused */
    uint32_t max_json_depth;
    uint32_t packet_size;     /* smallest grant */
    uint32_t packet_size_max; /* largest grant */
    uint32_t nack_limit;      /* NACKs within one message */
    uint32_t reread_limit;    /* packets of an undetermined message without an end */
};

enum proto_event {
    PROTO_MORE,    /* all bytes are consumed; more are needed */
    PROTO_FLUSH,   /* send what is ready before feeding the rest: the peer waits for it */
    PROTO_MESSAGE, /* *message_out is whole and verified; the caller owns it now */
    PROTO_CLOSE,   /* send what is ready, then close; further bytes are not consumed */
};

/* What one connection lends its protocol during a call. */
struct proto_io {
    const struct proto_limits *limits;
    struct message_store *store;
    struct answers *answers;
    struct message **message; /* the message being built, kept by the connection */
    struct proto_tally *tally;
    uint64_t now_us;   /* monotonic */
    uint64_t keep_max; /* see struct message: what the handler wants of a body */
    bool memory_low;   /* the worker is short of memory: grant little */
};

/* How the handler decided; the worker passes it back to the protocol. */
enum proto_outcome {
    PROTO_COMMITTED, /* as durable as configured: the sender may forget it */
    PROTO_REFUSED,   /* the handler said no: nothing is kept, the connection goes on */
    PROTO_FAILED,    /* our side failed: not committed, the connection ends */
};

struct verdict {
    enum proto_outcome outcome;
    const char *code;  /* of PROTO_REFUSED: "exists", "no-space", "bad-path", "refused" */
    const char *text;  /* of PROTO_REFUSED and PROTO_FAILED: a sentence for people */
    const void *reply; /* of PROTO_COMMITTED, where the sender wants one; valid during the call */
    size_t reply_len;
};

/* One wire protocol. state is its plain struct, at most sizeof(union proto_state) large. */
struct proto_ops {
    const char *name; /* the scheme of its URLs */
    size_t held_len;  /* bytes of ready answers that may wait for the final one: answers_reserve */
    void (*init)(void *state, const struct proto_limits *limits, uint64_t now_us);

    /* Consumes bytes up to the next event; *consumed_out may be less than n, and then the rest is to
     * be fed again after the event was dealt with. On PROTO_MESSAGE *message_out is the caller's. */
    enum proto_event (*feed)(void *state, struct proto_io *io, const uint8_t *data, size_t n,
                             size_t *consumed_out, struct message **message_out);

    /* No more bytes are waiting on the connection. Call before the answers go out. */
    enum proto_event (*drained)(void *state, struct proto_io *io);

    /* When (monotonic) expire must be called, if no byte comes before; and that it has come. */
    uint64_t (*deadline)(const void *state, const struct proto_limits *limits);
    enum proto_event (*expire)(void *state, struct proto_io *io);

    /* The server leaves: tells the peer. Always PROTO_CLOSE. */
    enum proto_event (*shutdown)(void *state, struct proto_io *io);

    /* Dropping what has arrived until the connection is drained: its answer must not leave before. */
    bool (*discarding)(const void *state);

    /* Between messages: the connection may be closed without cutting anything off. */
    bool (*idle)(const void *state);

    /* The final answer for a message that feed handed over, at its place (NULL: at the end). */
    void (*settle)(struct proto_io *io, struct answer *place, const struct message *m,
                   const struct verdict *verdict);

    /* What a connection that is turned away is told. Returns its length. */
    size_t (*refusal)(const char *code, const char *text, char out[PROTO_REFUSAL_MAX]);
};

#endif
