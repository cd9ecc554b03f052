/* One open journal file of this worker: created, locked, appended to, made safe, and left.
 * Invariant: the first `good` bytes are whole lines and as safe as file_ops make them; behind them
 * is nothing, except within segment_append. */
#ifndef HANDLER_JOURNAL_SEGMENT_H
#define HANDLER_JOURNAL_SEGMENT_H

#include "common/buffer.h"
#include "common/clock.h"
#include "handler/handler.h"
#include "handler/journal/data_dir.h"
#include "handler/journal/store.h"

#include <stdbool.h>

/* --- record.c --- */

/* A message as one NDJSON line of the journal, and its receipt. Pure: bytes and time are arguments.
 * A line is written in two parts, since a file's own name is known only when it has been linked. */

/* Formats times; a second's text is made once. One thread uses it at a time. */
struct record_clock {
    uint64_t second; /* of text, since 1970 */
    char text[CLOCK_RFC3339_LEN];
};

/* Everything up to and with "sha256":"...", without a comma behind it. m->size, sha256, kind and
 * value are read, the body is not. */
void record_head(struct buffer *out, const char id[ULID_LEN], uint64_t real_us,
                 struct record_clock *clock, const struct message_origin *origin,
                 const struct message *m);

/* Ends the line with the body itself: "json" for JSON, "text" for other UTF-8 without NUL, else
 * "base64". */
void record_body(struct buffer *out, enum message_kind kind, const char *body, size_t n);

/* Where a body is that is not in its line: "blob" in "blobs/", "file" in "files/". */
struct record_place {
    const char *key;
    const char *directory;
    const char *name;
};

/* Ends the line with where the body is. */
void record_end_with_place(struct buffer *out, const struct record_place *place);

/* The reply to a committed message; place NULL where its body is in the line. */
void record_receipt(struct buffer *out, const char id[ULID_LEN], const struct message *m,
                    const struct record_place *place, bool duplicate);

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

/* --- recovery.c --- */

/* What a crash left behind: last lines that were cut off, empty segments, temporary names. Safe
 * while others write and recover: only what nobody has locked is touched. */

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
