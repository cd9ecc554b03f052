/* One message to many: to every other connection of the handler in this worker, and over the bus to
 * those of the same listener in other workers. What handlers that run once a listener have in
 * common that let their connections hear each other. Every connection gets each message at most
 * once, also while it moves to another worker, and those that came through one worker in their
 * order: between two workers there is none. */
#ifndef HANDLER_FANOUT_H
#define HANDLER_FANOUT_H

#include "handler/handler.h"

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
