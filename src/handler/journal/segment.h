/* One open journal file of this worker: created, locked, appended to, made safe, and left.
 * Invariant: the first `good` bytes are whole lines and as safe as file_ops make them; behind them
 * is nothing, except within segment_append. */
#ifndef HANDLER_JOURNAL_SEGMENT_H
#define HANDLER_JOURNAL_SEGMENT_H

#include "handler/journal/file_ops.h"
#include "handler/journal/ulid.h"

#include <stdbool.h>

#define SEGMENT_SUFFIX   ".ndjson"
#define SEGMENT_NAME_LEN (ULID_LEN + 16) /* "<ULID>-w<worker>.ndjson" */

/* One thread uses it at a time. */
struct segment {
    const struct file_ops *ops;
    unsigned worker;
    struct ulid_source ids; /* of names */
    int dir_fd;         /* the journal directory, for as long as fd is open; a copy of our own */
    int fd;             /* -1: none is open */
    uint64_t good;      /* bytes */
    uint64_t opened_us; /* monotonic */
    char name[SEGMENT_NAME_LEN];
    /* The last one that could not be cut back when it was left: it may hold lines that were never
     * acknowledged. "" for none; whoever says so clears it. */
    char uncut[SEGMENT_NAME_LEN];
};

void segment_init(struct segment *segment, const struct file_ops *ops, unsigned worker);

/* A new empty segment in the directory, locked, its name safe. None may be open. Returns 0, or -1
 * with errno. */
MS_MUST_CHECK int segment_open(struct segment *segment, int dir_fd);

static inline bool
segment_is_open(const struct segment *segment)
{
    return segment->fd >= 0;
}

/* Is the open segment still a file with a name? */
bool segment_is_there(const struct segment *segment);

/* Appends n bytes of whole lines and makes them safe. Returns 0, or -1 with errno, and then the
 * segment was cut back to what was good before and left for good: a failed fsync has dropped the
 * pages, a second one would lie. */
MS_MUST_CHECK int segment_append(struct segment *segment, const void *lines, size_t n);

/* Leaves it; one that is empty is removed. Nothing to do where none is open. */
void segment_close(struct segment *segment);

#endif
