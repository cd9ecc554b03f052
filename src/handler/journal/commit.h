/* Makes one batch safe: bodies first, then their names, then the lines. Blocks on the disk, and
 * runs in the worker's thread or in the commit thread, never in both at once. It neither settles
 * nor logs, both of which are the worker's. */
#ifndef HANDLER_JOURNAL_COMMIT_H
#define HANDLER_JOURNAL_COMMIT_H

#include "handler/journal/batch.h"

struct commit {
    const struct config *config;
    const struct file_ops *ops;
    struct data_dirs dirs;
    uint64_t segment_dirs; /* dirs.opened when the segment was opened */
    struct segment segment;
    struct store store;
};

/* Returns 0, or -1 with errno. Opens nothing yet. */
MS_MUST_CHECK int commit_init(struct commit *commit, const struct config *config,
                              const struct file_ops *ops, unsigned worker);
void commit_fini(struct commit *commit); /* leaves the segment */

/* Commits the batch: sets its outcome and those of its puts. */
void commit_run(struct commit *commit, struct batch *batch);

/* Leaves the segment where it is older than segment_age. */
void commit_check_age(struct commit *commit, uint64_t now_us);

#endif
