/* Removes what was relayed and is old: segments, and the files and blobs that only they name. */
#ifndef HANDLER_JOURNAL_RETAIN_H
#define HANDLER_JOURNAL_RETAIN_H

#include "handler/journal/follow.h"

/* One turn. All is borrowed. */
struct retain {
    const struct config *config; /* the data directory */
    const struct file_ops *ops;
    const struct follow_finished *finished;
    const _Atomic int64_t *id_offset_us; /* of clock_id_us */
    uint64_t min_age_us;      /* since the last write: the larger of retain_min and dedup_window */
    const _Atomic bool *stop; /* it ends early once this is true; NULL: it does not */
};

struct retain_tally {
    uint64_t segments, bodies, bytes; /* removed; bytes of both */
};

/* Can commits be kept off while bodies are removed? Returns 0, or -1 with a sentence where the file
 * system of the data directory has no locks for that. */
MS_MUST_CHECK int retain_check(const struct config *config, char error[CONFIG_ERROR_LEN]);

/* Removes, from the oldest on, the segments that are old enough, with their bodies; a body that a
 * record of another segment names, or that was changed since, stays. It does nothing before what is
 * due is worth a look through the rest of the journal: an eighth of that, or where that is small.
 * Reads much, and waits for the disk: a thread of its own runs it. Returns 0, or -1 with errno:
 * EBUSY where a commit did not come to an end. Then the next turn does the rest. tally_out is
 * written in any case. */
MS_MUST_CHECK int retain_run(const struct retain *retain, struct retain_tally *tally_out);

#endif
