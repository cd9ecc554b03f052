/* The table of `stats` for people. */
#ifndef MSOCKCTL_STATS_TABLE_H
#define MSOCKCTL_STATS_TABLE_H

#include "snapshot.h"

/* Prints s to standard output. With rates where before, an earlier snapshot of the same run, is not
 * NULL; since: the time of the baseline, or NULL. */
void stats_table_print(const struct snapshot *s, const struct snapshot *before, const char *since);

#endif
