/* The daemon's figures, as `msockctl --json` prints them, or as it reads them. */
#ifndef SYSTEM_STATS_H
#define SYSTEM_STATS_H

#include "daemon.h"

#include <jansson.h>

/* msockctl COMMAND --json, parsed; ends the test where that fails. The caller owns it. */
json_t *stats_read(const struct daemon *d, const char *command);

/* A counter over all workers so far; or "open", "memory" or "memory_max": what is now. */
uint64_t stats_total(const struct daemon *d, const char *name);

/* All counters of a client's view, out of an object with the counters' names. */
void stats_counts(const json_t *object, struct peer_counts *counts_out);

/* The counters under "total". */
void stats_totals(const struct daemon *d, struct peer_counts *counts_out);

/* The row of `conns --json` with that peer; false where there is none. state_out may be NULL. */
bool
stats_conn(const struct daemon *d, const char *peer, struct peer_counts *out, char state_out[32]);

/* True where both are equal; else both are written as text for a message. */
bool counts_equal(const struct peer_counts *a, const struct peer_counts *b);
void counts_add(struct peer_counts *to, const struct peer_counts *more);
const char *counts_text(const struct peer_counts *c);

/* The same, or "restarts", summed over the workers there are. */
uint64_t stats_workers_sum(const struct daemon *d, const char *name);

#endif
