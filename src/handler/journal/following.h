/* What the files of follow share: follow.c tells records, position.c keeps where it is. */
#ifndef HANDLER_JOURNAL_FOLLOWING_H
#define HANDLER_JOURNAL_FOLLOWING_H

#include "handler/journal/follow.h"

#include <sys/queue.h>
#include <time.h>

/* A record that was read and is not done, or stands behind one that is not. */
struct followed_line {
    struct follow_item item; /* first */
    TAILQ_ENTRY(followed_line) link;
    struct followed *of;
    bool done;
    char text[];
};

TAILQ_HEAD(followed_lines, followed_line);

/* A segment. Invariant: position <= told <= read_at <= good <= size. */
struct followed {
    TAILQ_ENTRY(followed) link;  /* by name: in segments or, where others took it away, in gone */
    TAILQ_ENTRY(followed) ready; /* by head, where is_ready */
    char name[SEGMENT_NAME_LEN];
    char head[ULID_LEN]; /* the id of what it tells next */
    bool is_ready;
    bool is_final; /* nobody writes it any more */
    bool is_sealed;
    bool is_gone;
    bool has_failed; /* that was logged */
    int fd;          /* -1: not open */
    uint64_t size;   /* at the last look */
    uint64_t good;   /* so many bytes are safe */
    uint64_t read_at;
    uint64_t saved;    /* the position that is safe, or that found no room to be */
    uint64_t retry_us; /* monotonic: it is not looked at before */
    struct followed_lines lines;
    struct followed_line *next; /* the first of them that was not told */
    uint64_t counted;           /* up to this byte, newlines were counted: */
    uint64_t records;           /* so many that are not done */
};

TAILQ_HEAD(followed_list, followed);

struct follow {
    const struct config *config;
    const struct file_ops *ops;
    struct dir_syncs syncs;
    struct data_dirs dirs;
    struct followed_list segments, ready, gone;
    struct timespec listed; /* the change of journal/ that was listed last */
    bool listed_soon;       /* that had just been made: there may be another one at that time */
    uint64_t look_us;       /* monotonic: the next look */
    struct follow_lag lag;  /* lost, damaged and newest */
    char *block;            /* to count newlines in */
    /* of position.c */
    struct temp_maker maker;
    int position_fd; /* holds the lock */
    bool has_moved;  /* since the position was saved */
    /* "": none. The floor: what has no larger name, and is not in the position, is done. The next
     * one comes first to the disk, for workers, and is the floor when the journal was listed after
     * that: so it is known which names beneath it workers have given. */
    char floor[SEGMENT_NAME_LEN], rising[SEGMENT_NAME_LEN], risen[SEGMENT_NAME_LEN];
    struct json_t *offsets; /* as read, until the journal has been listed; or NULL */
};

/* --- position.c --- */

/* Locks the position and reads it. Returns 0, or -1 with errno. */
MS_MUST_CHECK int position_open(struct follow *f);
void position_close(struct follow *f);

/* Where a segment that was not known begins. UINT64_MAX: all of it is done. */
uint64_t position_of(const struct follow *f, const char *name);

/* The journal has been listed: a name that comes later is new, whatever it is. */
void position_listed(struct follow *f);

/* The offset before which all of it is done. */
static inline uint64_t
followed_position(const struct followed *segment)
{
    const struct followed_line *first = TAILQ_FIRST(&segment->lines);

    return first != NULL ? first->item.at : segment->read_at;
}

static inline bool
followed_is_done(const struct followed *segment)
{
    uint64_t position = followed_position(segment);

    return (segment->is_final || position == UINT64_MAX) && position >= segment->size;
}

#endif
