/* A handler takes whole verified messages and settles each one exactly once, now or later. The
 * worker calls flush once a loop turn, so that all messages of the turn share the cost of a commit.
 * All calls come from the worker's one thread, and the functions of the host must be called from it
 * too. */
#ifndef HANDLER_HANDLER_H
#define HANDLER_HANDLER_H

#include "config/config.h"
#include "config/config_options.h"
#include "dedup/dedup.h"
#include "proto/message.h"
#include "proto/proto.h"

#define HANDLER_ERROR_LEN 256

struct bus;  /* bus/bus.h: between the workers */
struct conn; /* the worker's: one connection; a handler only passes it on */

/* Where a message or a connection comes from. Valid until the host is asked again. */
struct message_origin {
    const char *listener; /* the listener's URL as configured, without options */
    const char *proto;
    const char *peer;     /* "127.0.0.1:50412" */
    const char *identity; /* "cert:NAME", "user:NAME"; NULL: there is none */
    uint64_t conn_id;     /* of the connection, unique in the worker's life */
};

/* The functions of the worker for its handlers. */
struct handler_host {
    const struct config *config;
    const struct listener_config *listener; /* of a handler that runs once a listener; or NULL */
    unsigned worker;                        /* index, for names of things one worker each owns */
    struct bus *bus;                        /* NULL where there is only this worker */
    uint16_t bus_channel;                   /* this listener's on the bus */
    void *ctx;
    void *instance; /* with ctx: which handler is asking */
    struct digester *digester;
    struct message_store *store; /* for replies that may be large; its ledger counts what is held */

    /* The time in an id is this and clock_boot_us. Memory of all workers of a master, over reloads
     * too; it only rises. NULL: ids follow the wall clock. */
    _Atomic int64_t *id_offset_us;

    struct dedup *dedup; /* what the workers remember of messages with an id; NULL: nothing */

    /* Settles m: the worker answers, and destroys m. */
    void (*settle)(void *ctx, struct message *m, const struct verdict *verdict);

    /* The connection that sent m, or NULL where it is gone. */
    struct conn *(*sender)(void *ctx, const struct message *m);
    void (*origin)(void *ctx, const struct message *m, struct message_origin *origin_out);
    void (*conn_origin)(void *ctx, const struct conn *c, struct message_origin *origin_out);

    /* Called for each commit (one group of messages made safe together). */
    void (*committed)(void *ctx, unsigned messages);

    /* Sends a message, in memory, to a connection that asked for nothing; the reference stays the
     * caller's. The same blob to many is kept, and changed by transforms, once. Returns 0, or -1
     * with errno ENOTSUP (its protocol cannot carry it), EMSGSIZE, ENOTCONN (it is closing), or
     * ENOBUFS: it has more unread than its listener's send_queue_max, and it is closed. For
     * EMSGSIZE and ENOBUFS the message is counted as lost. Nothing is closed within the call:
     * conn_closed comes in a later turn. */
    int (*push)(void *ctx, struct conn *c, struct blob *blob);

    /* The connections whose messages come to this handler, in no order: the first for NULL, then
     * the one after c; NULL at the end. None of them may be closed by others meanwhile; those that
     * are closing are left out. */
    struct conn *(*next_conn)(void *ctx, void *instance, struct conn *c);

    /* Ends a connection as a leaving worker does. Messages on their way are still sent. */
    void (*disconnect)(void *ctx, struct conn *c);

    /* Counts n deliveries as lost that could not be made, those of push aside. */
    void (*lost)(void *ctx, uint64_t n);
};

/* What create returns, a running handler, is the first argument of all others. */
struct handler_ops {
    const char *name; /* as in ?handler=name */

    /* runs once for each listener, as one with options has to; else once a worker */
    bool per_listener;
    bool answers;      /* made to reply: REPLY_AUTO sends its replies back over every protocol */
    bool is_silent;    /* never replies, so no peer waits for one */
    bool no_digest;    /* does not look at the SHA-256 of a message */
    bool only_replies; /* a message has no effect but its reply: a copy gets that again */
    bool one_by_one;   /* settles the messages of a connection in turns of their own, mostly */

    /* In the sandbox of the worker. */
    bool is_foreign; /* runs code that is not ours, which uses the system's libraries */
    bool connects;   /* to servers elsewhere */

    /* May its connections be given to a worker that takes this one's place? NULL: they may, unless
     * it has conn_opened. */
    bool (*moves)(void *handler);

    bool (*wants_json)(void *handler); /* looks at message->json; NULL: never does */

    /* Looks at a listener's options, and at what they name outside, for `msockd -t`. Returns 0,
     * with a warning in error or "" there, or -1 with a sentence. May block for seconds. NULL:
     * there is nothing to look at. */
    int (*check)(const struct listener_config *listener, char error[HANDLER_ERROR_LEN]);

    /* In a worker that is a process of its own, before anything else and before it is confined:
     * starts what has to stay outside, for the create of that listener. Returns 0, or -1 with
     * errno. NULL: nothing. */
    int (*outside)(const struct config *config, const struct listener_config *listener,
                   unsigned worker);

    /* NULL where it cannot start, with a sentence in error. May block. */
    void *(*create)(const struct handler_host *host, char error[HANDLER_ERROR_LEN]);
    /* Settles nothing any more: call it when no message is out, or when the answers do not
     * matter. */
    void (*destroy)(void *handler);

    uint64_t keep_max; /* bytes of the largest body that it wants (struct message keep_max) */

    /* Bytes of the largest message that it can take, whatever it is; a larger one may be refused
     * before it has come, and submit refuses it too. NULL or 0: no limit. */
    uint64_t (*take_max)(void *handler);

    /* Descriptors that it may come to need, beyond those that it has open. NULL: a few. */
    unsigned (*descriptors)(void *handler);

    /* Takes ownership of m until it is settled, perhaps during the call. Does not block. */
    void (*submit)(void *handler, struct message *m);

    /* Writes the receipt of a message that was committed before, to m, a copy of it; memo: that of
     * the verdict then. NULL: copies get one that tells size and digest. */
    const void *(*again)(void *handler, const struct message *m, const void *memo, size_t *n_out);

    /* Some messages wait since only this handler can tell whether they were committed: by workers
     * that have died, or before the start (dedup.h). Begins to look, and does not block. Called
     * again and again while they wait. NULL: it cannot tell, and copies are handled. */
    void (*recall)(void *handler);

    /* The end of a loop turn in which messages are out: begin (and perhaps finish) the commit of
     * what was submitted. expected: so many other connections may bring a message soon, so there is
     * something to do meanwhile, or to wait for a moment. Returns the time (monotonic microseconds)
     * at which it wants to be called again if no turn comes before, or 0. NULL: nothing to
     * flush. */
    uint64_t (*flush)(void *handler, unsigned expected);

    /* A descriptor that becomes readable when complete should be called, or -1. A handler with
     * several gives an epoll descriptor of its own. NULL: none. */
    int (*event_fd)(void *handler);
    void (*complete)(void *handler);

    /* A connection of a listener that names this handler begins, or has ended: c is valid in
     * between. moved: it comes from, or goes to, another worker. NULL: does not matter. */
    void (*conn_opened)(void *handler, struct conn *c, bool moved);
    void (*conn_closed)(void *handler, struct conn *c, bool moved);

    /* What the same handler of another worker needs to know of a connection that moves there:
     * writes at most size bytes and returns how many. conn_adopted gets them, after conn_opened.
     * NULL: nothing. */
    size_t (*conn_moving)(void *handler, struct conn *c, void *out, size_t size);
    void (*conn_adopted)(void *handler, struct conn *c, const void *data, size_t n);

    /* The bus may have something new (the bell has rung). NULL: does not listen. */
    void (*heard)(void *handler);

    /* Waits until everything submitted is settled (the worker leaves). NULL: never anything out. */
    void (*finish)(void *handler);

    /* USR1: let go of open files and begin new ones. NULL: nothing. */
    void (*reopen)(void *handler);

    /* Called about once a second: rotation by age and the like. NULL: nothing. */
    void (*tick)(void *handler, uint64_t now_us);
};

/* The handler of that name, or NULL. */
const struct handler_ops *handler_find(const char *name);

/* The create of a handler that needs nothing but its host: a copy of that. Its destroy is free. */
void *handler_keep_host(const struct handler_host *host, char error[HANDLER_ERROR_LEN]);

/* Each is defined in a file of its own. */
#define X(name, ...) extern const struct handler_ops name##_handler;
CONFIG_HANDLERS(X)
#undef X

/* --- outcome.c --- */

/* How one message ended, as the parts that store it report it: small, without memory of its own,
 * and made into a struct verdict only when the message is settled. */

struct outcome {
    enum proto_outcome is;
    int error;        /* errno behind it, or 0 */
    const char *code; /* of PROTO_REFUSED; static */
    const char *what; /* "the journal cannot be written"; static, NULL for PROTO_COMMITTED */
};

#define OUTCOME_TEXT_LEN 160

/* What several handlers say. */
#define OUTCOME_NOT_KEPT "the message could not be kept"
#define OUTCOME_NOT_READ "the message cannot be read back"

struct outcome outcome_committed(void);
struct outcome outcome_refused(const char *code, const char *what);

/* What errno `error` means for a message: no room (ENOSPC, EDQUOT, or EFBIG of `ulimit -f`) is
 * refused with no-space, all else has failed. */
struct outcome outcome_failed(const char *what, int error);

/* The same where the file or blob has got its name already: others may have seen it and rely on it,
 * so it stays, and a message of which something stays has failed, and is not refused. */
struct outcome outcome_named_failed(const char *what, int error);

/* The verdict without a reply; its text is in `text` as long as that lives. */
struct verdict outcome_verdict(const struct outcome *outcome, char text[OUTCOME_TEXT_LEN]);

/* Settles m so, without a reply. */
void outcome_settle(const struct handler_host *host, struct message *m, struct outcome outcome);

/* Pushes a copy of these bytes to one connection: returns as push. */
int handler_push(const struct handler_host *host, struct conn *c, const void *data, size_t n);

/* --- fanout.c --- */

/* One message to many: to every other connection of the handler in this worker, and over the bus to
 * those of the same listener in other workers. What handlers that run once a listener have in
 * common that let their connections hear each other. Every connection gets each message at most
 * once, also while it moves to another worker, and those that came through one worker in their
 * order: between two workers there is none. */

struct fanout;

/* host is copied. Never NULL. Where the host has a bus this begins to listen on its channel, and
 * fanout_heard must be called from the handler's heard. */
struct fanout *fanout_create(const struct handler_host *host);
void fanout_destroy(struct fanout *f); /* NULL is fine */

/* Sends n bytes to every connection but `except` (or NULL). Copies. Returns 0, or -1 with errno and
 * nothing sent: EAGAIN, other workers are behind (again after the bell, or a millisecond; after a
 * second at most it goes out all the same), or EMSGSIZE, it is over BUS_MESSAGE_MAX, with a bus or
 * without. A single connection that cannot take it does not matter here: where it does not read, or
 * where the message does not fit its framing, that is counted as lost. */
MS_MUST_CHECK int fanout_send(struct fanout *f, struct conn *except, const void *data, size_t n);

/* Gives what came over the bus to the connections here: the handler's heard. All listeners of the
 * worker are served by one call, whichever makes it. */
void fanout_heard(struct fanout *f);

/* The worker leaves and something was not sent (EAGAIN): waits a moment for the other workers,
 * hearing what they have to say meanwhile, since they may wait for this one. Blocks for a
 * millisecond. */
void fanout_wait(struct fanout *f);

/* What conn_moving and conn_adopted need: the messages that c has got so far, in at most size bytes
 * (BUS_MARK_MAX is always enough; with less than it takes, nothing is written); and the ones it has
 * not got yet sent to it, where c is one of the connections already. c gets nothing in
 * fanout_moving. */
size_t fanout_moving(struct fanout *f, const struct conn *c, void *out, size_t size);
void fanout_adopted(struct fanout *f, struct conn *c, const void *data, size_t n);

#endif
