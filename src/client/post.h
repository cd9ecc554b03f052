/* One attempt to send one message over a connection that a peer speaks on (peer.h), and what was
 * said on it. Reconnecting and trying again is deliver.h. */
#ifndef CLIENT_POST_H
#define CLIENT_POST_H

#include "client/session.h"

/* The transport is connected: begins the protocol and waits until it takes messages. Returns 0, or
 * -1 with the sentence set and the connection closed. */
MS_MUST_CHECK int post_open(struct msock *m);

/* Reads what the server has said meanwhile; afterwards a connection that has ended is closed. */
void post_check(struct msock *m);

/* The handle must be connected, the source be in memory. Sets out->in_doubt when the
 * last byte of the message has left. */
MS_MUST_CHECK enum session_end post_run(struct msock *m, struct outgoing *out);

/* Adds what the protocol has counted. */
void post_count(struct msock *m);

/* Sets the sentence that says how the connection has ended. */
void post_say_end(struct msock *m);

#endif
