/* The messages of one commit: their lines while they are formatted, the bodies to be stored, and
 * how it all ended. Filled by the worker's thread, then handed to whoever commits, then settled by
 * the worker's thread again: never two at a time. Invariant: entries are in the order of
 * submission, and so are their lines. */
#ifndef HANDLER_JOURNAL_BATCH_H
#define HANDLER_JOURNAL_BATCH_H

#include "handler/journal/record.h"
#include "handler/journal/segment.h"
#include "handler/journal/store.h"

#define BATCH_NO_PUT UINT32_MAX

struct batch_entry {
    struct message *m; /* owned until it is settled */
    uint32_t
        line_end; /* of its line, or its line's head, in lines; it begins where the last ends */
    uint32_t put; /* index, or BATCH_NO_PUT: the line is complete */
    char id[ULID_LEN];
};

struct batch {
    struct batch *next;
    struct buffer lines;
    struct buffer joined; /* what goes to the segment, where some lines had only a head */
    struct batch_entry *entries;
    struct store_put *puts;
    uint32_t count, cap;
    uint32_t put_count, put_cap;
    uint64_t put_bytes;
    bool rotate;            /* a new segment first */
    struct outcome outcome; /* of the journal; the puts have their own besides */
    char uncut[SEGMENT_NAME_LEN];
};

struct batch *batch_create(void);
void batch_destroy(struct batch *batch); /* and the messages that are still in it; NULL is fine */

/* Adds a message. Its line, or head, is appended to lines first. put: its body is stored by
 * itself. */
void batch_add(struct batch *batch, struct message *m, const char id[ULID_LEN], bool put);

/* Makes the lines of what was stored, and drops those of what was not. Returns what is to be
 * written, which stays the batch's. */
const struct buffer *batch_join(struct batch *batch);

/* How the entry ended, after the commit. */
struct outcome batch_outcome(const struct batch *batch, const struct batch_entry *entry);

static inline const struct store_put *
batch_put(const struct batch *batch, const struct batch_entry *entry)
{
    return entry->put == BATCH_NO_PUT ? NULL : &batch->puts[entry->put];
}

/* Where a put's body is; the name is in name_out. */
struct record_place batch_place(const struct store_put *put, char name_out[STORE_NAME_LEN]);

/* Forgets its messages, which have been settled, and keeps a moderate amount of memory. */
void batch_reset(struct batch *batch);

#endif
