/* Makes one batch safe: bodies first, then their names, then the lines. Blocks on the disk, and
 * runs in the worker's thread or in the commit thread, never in both at once. It neither settles
 * nor logs, both of which are the worker's. */
#ifndef HANDLER_JOURNAL_COMMIT_H
#define HANDLER_JOURNAL_COMMIT_H

#include "common/base.h"
#include "handler/journal/segment.h"
#include "handler/journal/store.h"

#include <pthread.h>
#include <stdbool.h>

/* --- batch.c --- */

/* The messages of one commit: their lines while they are formatted, the bodies to be stored, and
 * how it all ended. Filled by the worker's thread, then handed to whoever commits, then settled by
 * the worker's thread again: never two at a time. Invariant: entries are in the order of
 * submission, and so are their lines. */

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

/* --- commit_thread.c --- */

/* One thread that does one job at a time beside the worker, and says by an eventfd when it is done.
 * It is started by the first job and takes no signals. All functions are for the worker's
 * thread. */

struct commit_thread {
    void (*run)(void *arg, void *job);
    void *arg;
    int event_fd; /* readable once a job is done */
    bool started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *job;    /* under lock: given and not taken yet */
    bool working; /* under lock: given and not done */
    bool leave;   /* under lock */
};

/* Returns 0, or -1 with errno. */
MS_MUST_CHECK int
commit_thread_init(struct commit_thread *ct, void (*run)(void *arg, void *job), void *arg);
void commit_thread_fini(struct commit_thread *ct); /* waits for the job under way */

/* Has run(arg, job) called in the thread. No other job may be under way. Returns 0, or -1 with
 * errno where no thread can be started. */
MS_MUST_CHECK int commit_thread_give(struct commit_thread *ct, void *job);

/* True where no job is under way any more; takes back the eventfd's event. Does not block. */
bool commit_thread_done(struct commit_thread *ct);

/* Waits for that. */
void commit_thread_wait(struct commit_thread *ct);

#endif
