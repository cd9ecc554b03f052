/* What becomes of a message. A handler takes whole verified messages and settles each one exactly
 * once, now or later; the worker calls flush once a loop turn, so that whatever a commit costs is
 * shared by all messages of the turn. All calls come from the worker's one thread, and the
 * functions of the host must be called from it too. */
#ifndef HANDLER_HANDLER_H
#define HANDLER_HANDLER_H

#include "config/config.h"
#include "config/config_options.h"
#include "proto/message.h"
#include "proto/proto.h"

#define HANDLER_ERROR_LEN 256

struct bus;  /* bus/bus.h: between the workers */
struct conn; /* the worker's: one connection; a handler only passes it on */

/* Where a message or a connection comes from. Valid until the host is asked again. */
struct message_origin {
    const char *listener; /* the listener's URL as configured, without options */
    const char *proto;
    const char *peer; /* "127.0.0.1:50412" */
    uint64_t conn_id; /* of the connection, unique in the worker's life */
};

/* What a handler may use of its worker. */
struct handler_host {
    const struct config *config;
    const struct listener_config *listener; /* of a handler that runs once a listener; or NULL */
    unsigned worker;                        /* index, for names of things one worker each owns */
    struct bus *bus;                        /* NULL where there is only this worker */
    uint16_t bus_channel;                   /* this listener's on the bus */
    void *ctx;
    void *instance; /* with ctx: which handler is asking */
    struct digester *digester;

    /* Settles m: the worker answers, and destroys m. */
    void (*settle)(void *ctx, struct message *m, const struct verdict *verdict);

    /* The connection that sent m, or NULL where it is gone. */
    struct conn *(*sender)(void *ctx, const struct message *m);
    void (*origin)(void *ctx, const struct message *m, struct message_origin *origin_out);
    void (*conn_origin)(void *ctx, const struct conn *c, struct message_origin *origin_out);

    /* Called for each commit (one group of messages made safe together). */
    void (*committed)(void *ctx, unsigned messages);

    /* Sends a message to a connection that asked for nothing. Copies. Returns 0, or -1 with errno
     * ENOTSUP (its protocol cannot carry it), EMSGSIZE, ENOTCONN (it is closing), or ENOBUFS: it
     * has more unread than its listener's send_queue_max, and it is closed and counted as lost.
     * Nothing is closed within the call: conn_closed comes in a later turn. */
    int (*push)(void *ctx, struct conn *c, const void *data, size_t n);

    /* The connections whose messages come to this handler, in no order: the first for NULL, then
     * the one after c; NULL at the end. None of them may be closed by others meanwhile; those that
     * are closing are left out. */
    struct conn *(*next_conn)(void *ctx, void *instance, struct conn *c);

    /* Ends a connection as the worker would when it leaves; what is on its way is still sent. */
    void (*disconnect)(void *ctx, struct conn *c);

    /* A message of n deliveries that could not be made is counted as lost. */
    void (*lost)(void *ctx, uint64_t n);
};

struct handler; /* one running handler; each implementation has its own */

struct handler_ops {
    const char *name; /* as in ?handler=name */

    /* runs once for each listener, which has options for it; else once a worker */
    bool per_listener;
    bool answers;   /* there to reply: REPLY_AUTO sends its replies back over every protocol */
    bool no_digest; /* does not look at the SHA-256 of a message */
    bool may_move;  /* its connections may be given to a worker that takes this one's place */
    bool (*moves)(struct handler *h);      /* the same, asked; NULL: may_move says it */
    bool (*wants_json)(struct handler *h); /* looks at message->json; NULL: never does */

    /* NULL where it cannot start, with a sentence in error. May block. */
    struct handler *(*create)(const struct handler_host *host, char error[HANDLER_ERROR_LEN]);
    /* Settles nothing any more: call it when no message is out, or when the answers do not
     * matter. */
    void (*destroy)(struct handler *h);

    uint64_t
        keep_max; /* bytes of a body beyond which it does not want it (struct message keep_max) */

    /* Takes ownership of m until it is settled, perhaps during the call. Does not block. */
    void (*submit)(struct handler *h, struct message *m);

    /* The end of a loop turn in which messages are out: begin (and perhaps finish) the commit of
     * what was submitted. expected: so many other connections may bring a message soon, so there is
     * something to do meanwhile, or to wait for a moment. Returns the time (monotonic microseconds)
     * at which it wants to be called again if no turn comes before, or 0. NULL: nothing to
     * flush. */
    uint64_t (*flush)(struct handler *h, unsigned expected);

    /* A descriptor that becomes readable when complete should be called, or -1. A handler with
     * several gives an epoll descriptor of its own. NULL: none. */
    int (*event_fd)(struct handler *h);
    void (*complete)(struct handler *h);

    /* A connection of a listener that names this handler begins, or has ended: c is valid in
     * between. moved: it comes from, or goes to, another worker. NULL: does not matter. */
    void (*conn_opened)(struct handler *h, struct conn *c, bool moved);
    void (*conn_closed)(struct handler *h, struct conn *c, bool moved);

    /* What the same handler of another worker needs to know of a connection that moves there:
     * writes at most size bytes and returns how many. conn_adopted gets them, after conn_opened.
     * NULL: nothing. */
    size_t (*conn_moving)(struct handler *h, struct conn *c, void *out, size_t size);
    void (*conn_adopted)(struct handler *h, struct conn *c, const void *data, size_t n);

    /* The bus may have something new (the bell has rung). NULL: does not listen. */
    void (*heard)(struct handler *h);

    /* Waits until everything submitted is settled (the worker leaves). NULL: never anything out. */
    void (*finish)(struct handler *h);

    /* USR1: let go of open files and begin new ones. NULL: nothing. */
    void (*reopen)(struct handler *h);

    /* Called about once a second: rotation by age and the like. NULL: nothing. */
    void (*tick)(struct handler *h, uint64_t now_us);
};

/* The handler of that name, or NULL. */
const struct handler_ops *handler_find(const char *name);

/* Each is defined in a file of its own. */
#define X(name, ...) extern const struct handler_ops name##_handler;
CONFIG_HANDLERS(X)
#undef X

#endif
