/* A message until it is committed, refused or given up: connections, attempts and the waits between
 * them (docs/protocol.md 1.7). */
#ifndef CLIENT_DELIVER_H
#define CLIENT_DELIVER_H

#include "client/handle.h"

/* Blocks until the outcome is clear. The sentence in the handle is set where it is not MSOCK_OK. */
MS_MUST_CHECK enum msock_status deliver(struct msock *m, struct outgoing *out);

#endif
