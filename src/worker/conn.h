/* A connection: bytes from its socket to its protocol, messages to its handler, answers back.
 * Invariant: a connection whose messages are still with a handler is not freed, even when its
 * socket is gone. */
#ifndef WORKER_CONN_H
#define WORKER_CONN_H

#include "worker/worker_state.h"

/* Takes over an accepted, non-blocking socket. Counts it and begins to serve it; where it cannot be
 * served (no slot, no memory for epoll) it is turned away with ERR busy. */
void conn_open(struct worker_listener *listener, int fd, const struct endpoint *peer);

/* Turns an accepted socket away: says ERR code text and lingers until the peer has read it. */
void conn_refuse(struct worker_listener *listener, int fd, const char *code, const char *text);

/* The handler's decision about a message that conn_open's connection had submitted; m is
 * destroyed. */
void conn_settle(struct worker *w, struct message *m, const struct verdict *verdict);

/* Reads on where a connection had its share of the turn. */
void conn_read_unread(struct worker *w);

/* Writes what became ready and settles the state of every connection touched in this turn. */
void conn_finish_turn(struct worker *w);

/* A connection's timer has fired. */
void conn_timer(struct worker *w, struct timer *timer);

/* The worker leaves: connections between messages are told and closed, the others as soon as their
 * message is answered. force: also those inside a message. */
void conn_drain_all(struct worker *w, bool force);

/* Closes peers that do not read, those with the most first, while all that waits for peers together
 * is more than the worker's memory allows. */
void conn_evict(struct worker *w);

/* Closes everything at once; the next conn_finish_turn frees it. */
void conn_close_all(struct worker *w);

/* Where the connection comes from: listener, protocol, "127.0.0.1:50412". */
void conn_origin(struct worker *w, const struct conn *c, struct message_origin *origin_out);

/* The connection that submitted m, or NULL where it is gone. */
struct conn *conn_sender(const struct message *m);

/* A message for a peer that asked for nothing; struct handler_host push. */
int conn_push(struct conn *c, const void *data, size_t n);

/* The connection after c (NULL: the first) whose messages go to that handler; NULL: no more. */
struct conn *conn_next(struct worker *w, const struct worker_handler *wh, struct conn *c);

/* A connection that another worker gave away. */
struct conn_moved {
    struct endpoint peer;
    uint32_t pid; /* of a peer at a Unix socket, or 0 */
    uint64_t began_us;
    const struct proto_ops *proto;
    const union proto_state *state;
    const void *mark; /* the handler's bytes */
    size_t mark_len;
    const void *outbox; /* as outbox_save wrote it */
    size_t outbox_len;
    const void *window; /* as packet_window_save wrote it */
    size_t window_len;
};

/* Goes on with it: its descriptor is this worker's now. */
void conn_adopt(struct worker_listener *listener, int fd, const struct conn_moved *moved);

/* Ends a connection in order: what is on its way to the peer still goes there. */
void conn_disconnect(struct conn *c);

#endif
