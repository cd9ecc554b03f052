/* The interface of every wire protocol to the worker and to a client: bytes in, events out. A
 * protocol sees no descriptor, clock, log or socket. Time is an argument, its answers go to a
 * queue, and it hands over whole verified messages, one at a time. Its state between two packets is
 * a plain struct without pointers, so that a connection can be given to another process. Everything
 * else is lent by the connection (struct proto_io). */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include "proto/limits.h"
#include "proto/message.h"
#include "proto/opening.h"
#include "proto/queues.h"

#define PROTO_REFUSAL_MAX 512
#define PROTO_REPLY_MAX   (16u << 20) /* bytes of a reply, over whatever protocol (1.5) */

/* Counted by the protocol, added by the worker to the shared counters of these names. */
#define PROTO_COUNTERS(X) X(acks) X(nack1) X(nack2) X(rej) X(err) X(messages) X(packets) X(cut)

struct proto_tally {
#define X(name) uint32_t name;
    PROTO_COUNTERS(X)
#undef X
    /* Not counted: a connection that began with an HTTP request, bytes that are no protocol, or no
     * packet where one has to begin, and (logged only) a message over max_message_size where the
     * protocol has no words for it. */
    uint32_t http, unknown, header, too_large;
};

enum proto_role {
    PROTO_SERVER, /* accepted the connection */
    PROTO_CLIENT, /* made it */
};

/* The facts with which a connection begins. */
struct proto_begin {
    const struct proto_limits *limits;
    enum proto_role role;
    uint64_t nonce; /* random, for a session's id */
    uint64_t now_us;
};

enum proto_event {
    PROTO_MORE,    /* all bytes are consumed; more are needed */
    PROTO_FLUSH,   /* send what is ready before feeding the rest: the peer waits for it */
    PROTO_MESSAGE, /* *message_out is whole and verified; the caller owns it now */
    PROTO_CLOSE,   /* send what is ready, then close; further bytes are not consumed */
    PROTO_BECOME,  /* it is another protocol: io->become. That one begins (unless it is this same
                      one), is fed what io->lookahead holds, and then the bytes that were not
                      consumed */
};

/* Bytes that are sent right behind answers->ready, from where they are. The protocol sets them, and
 * they stay in place until the caller has sent them. */
struct proto_body {
    const uint8_t *data;
    size_t len;
};

/* The things that a connection lends its protocol during a call. */
struct proto_io {
    const struct proto_limits *limits;
    struct message_store *store;
    struct answers *answers;
    struct message **message; /* the message being built, kept by the connection */
    struct outbox *outbox;    /* whole messages for the peer, where they cannot go out at once */
    struct proto_body *body;  /* of a client that uses work; else NULL */
    struct packet_window **window;  /* NULL until a protocol needs one; freed by the connection */
    struct buffer *lookahead;       /* bytes consumed before it was known what they are */
    const struct proto_ops *become; /* of PROTO_BECOME */
    struct proto_tally *tally;
    uint64_t now_us;         /* monotonic */
    uint64_t keep_max;       /* see struct message: what the handler wants of a body */
    const struct seal *seal; /* messages are sealed, and opened with it; or NULL */
    bool memory_low;         /* the worker is short of memory: grant little */
    bool want_digest; /* the handler looks at the SHA-256 of messages (message_skip_digest) */
    bool want_crc;    /* the body will go back as a reply (struct message wants_crc) */

    /* Told of a message's id or path before its body is hashed, where that has come already: so the
     * caller finds in the cache what it looks up by that later. NULL: nobody wants to know. */
    void (*foresee)(void *arg, struct message *m, enum message_kind kind, const void *value,
                    size_t n);
    void *foresee_arg;
};

/* How the handler decided; the worker passes it back to the protocol. */
enum proto_outcome {
    PROTO_COMMITTED, /* as durable as configured: the sender may forget it */
    PROTO_REFUSED,   /* the handler said no: nothing is kept, the connection goes on */
    PROTO_FAILED,    /* our side failed: not committed, the connection ends */
};

struct verdict {
    enum proto_outcome outcome;
    /* of PROTO_REFUSED: "exists", "no-space", "bad-path", "too-large", "refused"; of PROTO_FAILED:
     * "busy", or NULL for "internal" */
    const char *code;
    const char *text;  /* of PROTO_REFUSED and PROTO_FAILED: a sentence for people */
    const void *reply; /* of PROTO_COMMITTED: the reply, if the message wants one; valid during the
                        * call; NULL: none (msp then sends an empty block, 1.5; the others send
                        * nothing) */
    size_t reply_len;  /* at most PROTO_REPLY_MAX */
    struct blob *blob; /* in place of reply: the same as a blob, the caller's; or NULL */
    const void *memo;  /* of PROTO_COMMITTED: what the handler wants to know again when the same
                        * message comes once more (handler.h); NULL: nothing */
};

#define PROTO_OPTIONS_MAX 4

/* One wire protocol. state is its plain struct, at most sizeof(union proto_state) large. A function
 * may be NULL only where its comment says what that means; and one of push and send is there. */
struct proto_ops {
    const char *name;  /* the scheme of its URLs */
    bool only_listens; /* it is for servers: no client speaks it */

    /* ?option= of listeners' URLs that no other protocol may have; NULL at the end. */
    const char *listener_options[PROTO_OPTIONS_MAX + 1];

    /* ?option= of clients' URLs, besides key_file; NULL at the end. */
    const char *client_options[PROTO_OPTIONS_MAX + 1];

    /* The peer says which messages it has taken (outbox_results). */
    bool acknowledges;

    /* Each message carries a mark that shows a double, and ends with a final answer, with a reply
     * if it wants one. So a client may send it again, and nothing is on its way behind the
     * answer. */
    bool repeatable;

    /* The protocol itself sends again what was not acknowledged. */
    bool resends;

    /* Bodies up to ahead_max are sent ahead of any answer, unless out->strict. Bodies up to
     * reread_max may be sent strictly also to a server that takes their size as undetermined, which
     * gives up after so many packets (1.4). 0 where there is no such thing. */
    uint64_t ahead_max, reread_max;

    void (*init)(void *state, const struct proto_begin *begin);

    /* An idle connection cannot be told to go elsewhere, so a worker that leaves hands it to its
     * successor, state and descriptor. This goes on with it, right after init: takes from moved,
     * the state as the other process wrote it, what an idle connection has to remember. moved is
     * not trusted: it may hold any bytes. False where it is no idle connection's. NULL: it does not
     * move. */
    bool (*adopt)(void *state, const void *moved);

    /* Says what this side says first (a client's opening), right after init, where there is
     * something. NULL: nothing. */
    void (*open)(void *state, struct proto_io *io);

    /* Consumes bytes up to the next event; *consumed_out may be less than n, and then the rest is
     * to be fed again after the event was dealt with. On PROTO_MESSAGE *message_out is the
     * caller's. */
    enum proto_event (*feed)(void *state, struct proto_io *io, const uint8_t *data, size_t n,
                             size_t *consumed_out, struct message **message_out);

    /* No more bytes are waiting on the connection. Call before the answers go out. PROTO_MORE,
     * PROTO_CLOSE, or PROTO_BECOME. NULL: nothing to do. */
    enum proto_event (*drained)(void *state, struct proto_io *io);

    /* The peer has shut down its writing side in order. PROTO_MESSAGE where that ends a message;
     * then it is called again. Otherwise PROTO_CLOSE (what is being committed is still answered),
     * or PROTO_BECOME. NULL: PROTO_CLOSE. */
    enum proto_event (*eof)(void *state, struct proto_io *io, struct message **message_out);

    /* When (monotonic) expire must be called, if no byte comes before; and that it has come. */
    uint64_t (*deadline)(const void *state, const struct proto_limits *limits);
    enum proto_event (*expire)(void *state, struct proto_io *io);

    /* This side leaves: tells the peer. Always PROTO_CLOSE. */
    enum proto_event (*shutdown)(void *state, struct proto_io *io);

    /* True while arrived bytes are dropped until the connection is drained: the answer must not
     * leave before. NULL: never. */
    bool (*discarding)(const void *state);

    /* True if a part of the peer's message has come, but not its end: it is cut short if the
     * connection ends now. NULL: whenever the connection is not idle. */
    bool (*receiving)(const void *state);

    /* Between messages, in both directions: the connection may be closed without cutting anything
     * off. The worker itself looks at answers, outbox and window. */
    bool (*idle)(const void *state);

    /* Keeps a place in the order of answers for a message that feed handed over and the handler has
     * taken; settle gets the place. Returns NULL if the order does not matter for this message. */
    void *(*reserve)(void *state, struct proto_io *io, const struct message *m);

    /* The answer and reply for a message that feed handed over, at its place, or (NULL) at the
     * end. */
    void (*settle)(void *state, struct proto_io *io, void *place, const struct message *m,
                   const struct verdict *verdict);

    /* Pushes a message to the peer: keeps a reference, and sends it as soon as the protocol may.
     * The message waits if the peer is not ready yet. NULL: the protocol has no way to (msp).
     * Returns 0, or -1 with errno EMSGSIZE: the protocol cannot carry it to this peer. */
    int (*push)(void *state, struct proto_io *io, struct blob *blob);

    /* Can this protocol, with these limits, carry a message of these n bytes at all? Asked before
     * there is a connection. NULL: yes, or only the connection tells. */
    bool (*carries)(const struct proto_limits *limits, const void *data, size_t n);

    /* A client's message, in place of push. out and its bytes must stay until the message is
     * settled or the connection has ended. Returns 0, or -1 with errno EMSGSIZE. NULL: push takes
     * it. */
    int (*send)(void *state, struct proto_io *io, struct outgoing *out);

    /* Does a bite of work for messages given to send: lays out the next packet if nothing waits to
     * be sent, or prepares the one after it. Returns false if there is nothing to do before the
     * peer's next bytes. NULL: never anything to do. */
    bool (*work)(void *state, struct proto_io *io);

    /* The connection has ended: frees what the state of a client holds. NULL: nothing. */
    void (*fini)(void *state);

    /* Writes the answer to a connection that is turned away. Returns its length, which may be 0.
     * NULL: it is not known yet what the peer speaks (auto), so the answer has to wait. */
    size_t (*refusal)(const char *code, const char *text, char out[PROTO_REFUSAL_MAX]);
};

/* Of a state that another process wrote: a flag, where any byte may stand, and a time, which cannot
 * lie in the future. */
static inline bool
proto_moved_flag(const bool *flag)
{
    uint8_t byte;

    memcpy(&byte, flag, sizeof(byte));
    return byte != 0;
}

static inline uint64_t
proto_moved_time(uint64_t us, uint64_t now_us)
{
    return us < now_us ? us : now_us;
}

/* The reply that goes back for m, a reference for the caller; NULL: none. */
static inline struct blob *
proto_reply(const struct proto_io *io, const struct message *m, const struct verdict *v)
{
    if (v->outcome != PROTO_COMMITTED || !m->wants_reply)
        return NULL;
    if (v->blob != NULL)
        return blob_ref(v->blob);
    return v->reply != NULL ? blob_create(io->store, v->reply, v->reply_len) : NULL;
}

/* The same for who appends it to the answers at once, where a small one is copied: small is room
 * for the blob of that. */
static inline struct blob *
proto_reply_now(const struct proto_io *io, const struct message *m, const struct verdict *v,
                struct blob *small)
{
    if (v->blob != NULL || v->reply == NULL || v->reply_len > CHAIN_COPY_MAX || !m->wants_reply)
        return proto_reply(io, m, v);
    *small = (struct blob){
        .refs = 2, .store = io->store, .len = v->reply_len, .mem = v->reply, .fd = -1};
    return small;
}

/* A new message of the peer's for the handler. sums: the protocol looks at its SHA-256. NULL where
 * there is no memory. */
struct message *proto_message(const struct proto_io *io, const struct proto_ops *proto,
                              uint64_t size_hint, uint64_t keep_max, uint64_t begun_us, bool sums);

/* A client's message over whatever protocol. Where that has no send, out->data must be there, and
 * is copied. */
static inline int
proto_send(const struct proto_ops *ops, void *state, struct proto_io *io, struct outgoing *out)
{
    struct blob *blob;
    int rc = 0;

    if (ops->send != NULL)
        return ops->send(state, io, out);
    blob = blob_create(NULL, out->data, (size_t)out->size);
    if (blob != NULL)
        rc = ops->push(state, io, blob);
    blob_unref(blob);
    return rc;
}

/* The names of all protocols, in the order of their table (proto_table.h); NULL at the end. */
extern const char *const proto_names[];

#endif
