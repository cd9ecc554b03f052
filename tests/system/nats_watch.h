/* Hears what the servers of a cluster answer to all publications, beside those who have published.
 * A number that two messages were given, or that the stream does not reach in the end, shows that a
 * server has lost a message which it, or the one before it, had confirmed. */
#ifndef SYSTEM_NATS_WATCH_H
#define SYSTEM_NATS_WATCH_H

#include "nats.h"

struct nats_watch;

struct nats_watch *nats_watch_start(const struct nats n[NATS_CLUSTER]);

/* Ends it, frees it, and returns such a number, or 0. last: that of the stream. */
uint64_t nats_watch_stop(struct nats_watch *w, uint64_t last);

#endif
