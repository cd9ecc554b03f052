/* Connections that move on a reload: a worker that leaves gives those that are between messages,
 * and whose protocol has no way to send them elsewhere, to a worker of the new generation:
 * descriptor, protocol state and what the handler wants to know. Their peers notice nothing.
 *
 * All workers share one pair of packet sockets: who leaves puts connections in, who accepts takes
 * them out, like from a listener. Where nobody takes them (the daemon stops, or the new
 * configuration has no such listener), they are closed as without it. */
#ifndef WORKER_HANDOVER_H
#define WORKER_HANDOVER_H

#include "worker/worker_state.h"

/* Begins to take connections. Returns 0, or -1 with errno. */
MS_MUST_CHECK int handover_start(struct worker *w);
void handover_stop(struct worker *w);

enum handover {
    HANDOVER_DONE,  /* the connection is somebody else's: close it here, without a word */
    HANDOVER_AGAIN, /* no room just now: try again soon */
    HANDOVER_NO,    /* it cannot move */
};

/* Whether connections of that listener, with that protocol, may move, while there is somebody to
 * take them. */
bool handover_wanted(const struct worker_listener *listener, const struct proto_ops *proto);

/* Gives it away. The connection is between messages. */
enum handover handover_give(struct conn *c);

#endif
