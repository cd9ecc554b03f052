/* What becomes of a message. A handler takes whole verified messages and settles each one exactly
 * once, now or later; the worker calls flush once a loop turn, so that whatever a commit costs is
 * shared by all messages of the turn. All calls come from the worker's one thread, and settle must be
 * called from it too. */
#ifndef HANDLER_HANDLER_H
#define HANDLER_HANDLER_H

#include "config/config.h"
#include "proto/message.h"
#include "proto/proto.h"

#define HANDLER_ERROR_LEN 256

/* Where a message came from, for the handler to record. Valid until origin is called again. */
struct message_origin {
    const char *listener; /* the listener's URL as configured, without options */
    const char *proto;
    const char *peer; /* "127.0.0.1:50412" */
};

/* What a handler may use of its worker. */
struct handler_host {
    const struct config *config;
    unsigned worker; /* index, for names of things one worker each owns */
    void *ctx;
    /* Settles m: the worker answers, and destroys m. */
    void (*settle)(void *ctx, struct message *m, const struct verdict *verdict);
    void (*origin)(void *ctx, const struct message *m, struct message_origin *origin_out);
    /* Called for each commit (one group of messages made safe together). */
    void (*committed)(void *ctx, unsigned messages);
    struct digester *digester;
};

struct handler; /* one running handler; each implementation has its own */

struct handler_ops {
    const char *name; /* as in ?handler=name */

    /* NULL where it cannot start, with a sentence in error. May block. */
    struct handler *(*create)(const struct handler_host *host, char error[HANDLER_ERROR_LEN]);
    /* Settles nothing any more: call it when no message is out, or when the answers do not matter. */
    void (*destroy)(struct handler *h);

    /* Bytes of a body beyond which the handler does not want it (struct message keep_max). */
    uint64_t (*keep_max)(const struct config *config);

    /* Takes ownership of m until it is settled, perhaps during the call. Does not block. */
    void (*submit)(struct handler *h, struct message *m);

    /* The end of a loop turn in which messages are out: begin (and perhaps finish) the commit of what
     * was submitted. expected: so many other connections may bring a message soon, so there is
     * something to do meanwhile, or to wait for a moment. Returns the time (monotonic microseconds) at
     * which it wants to be called again if no turn comes before, or 0. NULL: nothing to flush. */
    uint64_t (*flush)(struct handler *h, unsigned expected);

    /* A descriptor that becomes readable when complete should be called, or -1. NULL: none. */
    int (*event_fd)(struct handler *h);
    void (*complete)(struct handler *h);

    /* Waits until everything submitted is settled (the worker leaves). NULL: never anything out. */
    void (*finish)(struct handler *h);

    /* USR1: let go of open files and begin new ones. NULL: nothing. */
    void (*reopen)(struct handler *h);

    /* Called about once a second: rotation by age and the like. NULL: nothing. */
    void (*tick)(struct handler *h, uint64_t now_us);
};

/* The handler of that name, or NULL. */
const struct handler_ops *handler_find(const char *name);

/* All names, comma-separated, for error messages. Static. */
const char *handler_names(void);

#endif
