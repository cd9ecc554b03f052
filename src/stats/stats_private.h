/* The shared memory of a worker that is alone and that nobody looks at: a part of another program.
 * The same layout, in memory without a name. */
#ifndef STATS_STATS_PRIVATE_H
#define STATS_STATS_PRIVATE_H

#include "stats/stats_master.h"

/* Fills place_out for stats_writer_open: region 0, the only one. Returns 0, or -1 with errno.
 * stats_private_close closes the descriptors, after stats_writer_close. */
MS_MUST_CHECK int stats_private_open(struct stats_place *place_out);
void stats_private_close(struct stats_place *place);

#endif
