/* Messages that are sent behind each other without waiting for their answers (docs/protocol.md 1.6,
 * "burst of messages"), and reported in their order.
 * Invariant: items are in the order in which they were given, and the first one is not reported
 * yet. */
#ifndef CLIENT_AHEAD_H
#define CLIENT_AHEAD_H

#include "client/handle.h"

/* Waits until all messages sent ahead are reported, so that another one cannot overtake them.
 * MSOCK_OK, or what has ended the last of them. */
MS_MUST_CHECK enum msock_status ahead_finish(struct msock *m);

/* Forgets them without a report. NULL is fine. */
void ahead_destroy(struct ahead *ahead);

#endif
