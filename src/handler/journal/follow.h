/* Reads the records of the journal while workers write them, for whoever passes them on: in the
 * order of their ids, over all segments, from where it was the last time. Tells only what is safe
 * on the disk, and takes no lock that a worker knows. One thread uses it at a time. */
#ifndef HANDLER_JOURNAL_FOLLOW_H
#define HANDLER_JOURNAL_FOLLOW_H

#include "handler/journal/journal.h"

/* In the data directory: where it is. One line of JSON with its CRC-32. It is locked while somebody
 * follows. */
#define FOLLOW_POSITION "relay.position"

#define FOLLOW_ERROR_LEN HANDLER_ERROR_LEN

struct follow;

/* A record. It stays until follow_done or follow_close. */
struct follow_item {
    char id[ULID_LEN + 1];
    char *line; /* whole, without its newline, a NUL behind it; the caller may write to it */
    size_t n;   /* of line, without the NUL */
    const char *segment; /* its name */
    uint64_t at;         /* of the line, in the segment */
    void *owner;         /* the caller's; NULL in the beginning */
};

/* Opens the data directory and reads the position; where there is none, or it is damaged, it begins
 * at the beginning and logs that. config and ops stay the caller's and must outlive it; ops is
 * file_ops_unsynced where config->sync is false. NULL with errno and a sentence: EAGAIN where
 * another process follows (try again later). */
MS_MUST_CHECK struct follow *
follow_open(const struct config *config, const struct file_ops *ops, char error[FOLLOW_ERROR_LEN]);

/* Does not save. Items that are not done are freed. NULL is fine. */
void follow_close(struct follow *f);

/* The next record: of all that can be told now, the one with the smallest id. Returns 1 and the
 * item; 0 where there is none now (look again after some 10 ms); -1 with errno where something
 * cannot be read, which is logged: the rest goes on with the next call, and what failed is tried
 * again soon. Reads the disk, by at most some 512 KiB in a call. */
MS_MUST_CHECK int follow_next(struct follow *f, struct follow_item **item_out);

/* The record needs nothing more: in any order. Frees the item. */
void follow_done(struct follow *f, struct follow_item *item);

/* Makes the position safe: behind all that is done, in each segment before the first item that is
 * not. Nothing to do where it has not moved. Waits for the disk. Returns 0, or -1 with errno, and
 * then what was saved before counts. */
MS_MUST_CHECK int follow_save(struct follow *f);

/* What is in the journal and not done. */
struct follow_lag {
    uint64_t records;
    uint64_t bytes;
    uint64_t oldest_us;        /* by clock_id_us: when the oldest was written; 0: there is none */
    bool counting;             /* records are more: not all were counted yet */
    uint64_t lost_bytes;       /* taken away before they were done, since follow_open */
    uint64_t damaged;          /* damaged stretches passed over, since follow_open */
    char newest[ULID_LEN + 1]; /* the largest id that is done; "": none */
};

/* Looks at the journal where it is time. Counts at most 16 MiB of what was not counted before. */
void follow_lag(struct follow *f, struct follow_lag *lag_out);

/* For retain: segments that nobody writes any more, and of which all is done. */
struct follow_finished {
    struct finished_segment {
        char name[SEGMENT_NAME_LEN];
        uint64_t bytes;
    } * segments; /* the caller frees it */
    size_t count;
    uint64_t rest; /* bytes of all others */
};

/* The oldest segments, in the order of their names, up to the first one that is not finished by the
 * position that was saved last. */
void follow_finished(const struct follow *f, struct follow_finished *finished_out);

#endif
