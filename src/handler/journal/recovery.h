/* What a crash left behind: last lines that were cut off, empty segments, temporary names. Safe
 * while others write and recover: only what nobody has locked is touched. */
#ifndef HANDLER_JOURNAL_RECOVERY_H
#define HANDLER_JOURNAL_RECOVERY_H

#include "handler/journal/data_dir.h"

struct recovery_tally {
    unsigned cut;       /* segments whose last line was cut off */
    unsigned emptied;   /* segments without a line, removed */
    unsigned leftovers; /* temporary files, removed */
    unsigned failed;    /* what should have been cut or removed and could not be */
};

/* Goes through the data directory and logs what it changed. Costs a few system calls for each
 * segment that is there, some 8 microseconds: too much where someone waits for a worker and the
 * journal has tens of thousands. There is no hurry, since nobody ever writes to a segment again
 * that another has left; so the journal calls it in a thread of its own when it is created, and a
 * cut line is gone a moment after the worker was replaced, or at the latest when that worker has
 * left in order. */
void recovery_run(const struct data_dirs *dirs, const struct file_ops *ops,
                  struct recovery_tally *tally_out);

#endif
