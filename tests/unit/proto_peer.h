/* One end of a connection without a socket, for tests of any protocol: feeds bytes as they would
 * arrive, keeps what the protocol says and what it hands over, and is the handler. It follows
 * io->become and parses documents as a worker does. What it is fed always ends at a page that
 * cannot be read.
 *
 *     struct proto_peer p;
 *
 *     proto_peer_init(&p, &frame_protocol);    default limits; change p.limits now
 *     proto_peer_begin(&p, PROTO_SERVER);      init and open
 *     proto_peer_hear(&p, bytes, n, 1, false); one byte at a time, drained after each
 *     proto_peer_expect_said(&p, "...", 3);    all it has said since the last look, nothing else
 *     proto_peer_fini(&p); */
#ifndef TESTS_UNIT_PROTO_PEER_H
#define TESTS_UNIT_PROTO_PEER_H

#include "guard.h"

#include "proto/proto_table.h"

#define PEER_WHOLE SIZE_MAX /* as a piece: all at once */

/* A message that was handed over. */
struct peer_delivered {
    char *body; /* NUL-terminated besides; NULL where the body was dropped */
    size_t size;
    char kind;
    char *value; /* NUL-terminated besides */
    size_t value_len;
    uint32_t tag;
    bool wants_reply;
};

/* One that waits for proto_peer_settle. */
struct peer_held {
    struct message *message; /* NULL once it is settled */
    void *place;
};

struct proto_peer {
    /* The test's: set between proto_peer_init and proto_peer_begin, or at any time. */
    struct proto_limits limits; /* 4 GiB - 1, 2 s, 60 s idle, 1024 B/s after 10 s, no replies */
    uint64_t keep_max;
    bool want_digest; /* default true */
    bool memory_low;
    const struct seal *seal; /* what comes is sealed; default: NULL */
    bool hold;               /* leave messages unsettled: they go to held[] */
    bool echo;               /* commit, with the body as reply */
    struct verdict verdict;  /* for all others; default: committed, no reply */

    /* What came of it. */
    const struct proto_ops *proto; /* as auto becomes another, this changes */
    struct proto_tally tally;
    struct outbox_results results;
    bool closed; /* PROTO_CLOSE, or the last answer is ready: nothing more is fed */
    size_t delivered_count, held_count;
    size_t foreseen_count; /* of the delivered ones, those of which the value was foreseen */
    struct peer_delivered *delivered;
    struct peer_held *held;
    struct buffer said; /* since the last look */
    uint64_t now_us;

    /* What a connection lends its protocol. */
    struct message_store store;
    struct message *message;
    struct answers answers;
    struct outbox outbox;
    struct proto_body body;
    struct packet_window *window;
    struct buffer lookahead;
    union proto_state state;
    enum proto_role role;
    struct guard guard;
};

void proto_peer_init(struct proto_peer *p, const struct proto_ops *proto);
void proto_peer_begin(struct proto_peer *p, enum proto_role role);
void proto_peer_fini(struct proto_peer *p);

/* Bytes arrive in pieces of at most `piece`; the connection is drained after each piece, or only
 * after the last where together is set. At most 1 MiB a piece. */
void proto_peer_hear(struct proto_peer *p, const void *data, size_t n, size_t piece, bool together);

/* The other side has shut down its writing side. */
void proto_peer_eof(struct proto_peer *p);

/* This side leaves. */
void proto_peer_shutdown(struct proto_peer *p);

/* Time passes, and the deadline is served if it has come. */
void proto_peer_wait(struct proto_peer *p, uint64_t us);

/* When the deadline comes, from now; UINT64_MAX for never. */
uint64_t proto_peer_patience(const struct proto_peer *p);

/* The handler settles held[i]. */
void proto_peer_settle(struct proto_peer *p, size_t i, const struct verdict *verdict);

/* Sends a message that nobody asked for. As proto->push. */
int proto_peer_push(struct proto_peer *p, const void *data, size_t n);

/* A client's message, which must stay until it is settled. As proto_send. */
int proto_peer_send(struct proto_peer *p, struct outgoing *out);

/* What it has said since the last look, as a string that is valid until the next call. */
const char *proto_peer_said(struct proto_peer *p);

/* It has said exactly these bytes since the last look, and waits with nothing that could leave. */
void proto_peer_expect_said(struct proto_peer *p, const void *data, size_t n);

/* delivered[i] is there and has this body. */
void proto_peer_expect_delivered(const struct proto_peer *p, size_t i, const void *body, size_t n);

/* What one says the other hears, in pieces, until neither has anything to say. */
void proto_peer_talk(struct proto_peer *a, struct proto_peer *b, size_t piece);

/* A conversation in which only the other side speaks: run whole, in pieces of 1, 2, 3, 7 bytes, and
 * split in two at every place, each drained after each piece and only at the end; with a new peer
 * (a server) each time. */
struct peer_case {
    const struct proto_ops *proto;
    void (*prepare)(struct proto_peer *p, const void *arg); /* before it begins; NULL: nothing */
    const void *data;
    size_t n;
    void (*check)(struct proto_peer *p, const void *arg); /* when all was heard */
    const void *arg;
};

void peer_case_run(const struct peer_case *c);

/* It is closed when idle_timeout is over, not before, and that is no error. */
void proto_peer_expect_idle_end(struct proto_peer *p);

#endif
