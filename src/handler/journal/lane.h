/* One of the two ways to the disk that a journal has: messages whose bodies are stored by
 * themselves go one way, lines the other. So nobody who sends a line waits for the directories of
 * somebody's file. Each has a segment of its own. While one batch is made safe in the lane's
 * thread, the next one fills: so the number of messages that share an fsync follows the load by
 * itself. A batch that is still small when the disk is free waits a moment for the senders that
 * were just answered. Invariant: at most one batch of a lane is under way, and nobody else touches
 * lane->commit then. */
#ifndef HANDLER_JOURNAL_LANE_H
#define HANDLER_JOURNAL_LANE_H

#include "handler/journal/journal.h"

#include "common/thread.h"

#define LANE_SENDERS 256 /* senders are told apart by a hash of so many values */

/* Trouble of the environment: said when it begins, now and then while it lasts, and once when it is
 * over. */
struct lane_trouble {
    bool now, said;
    uint64_t said_us;
    uint64_t lost_us; /* when it was said that a directory is not used again */
};

struct lane {
    struct commit commit;
    struct helper *committer;
    struct ledger *ledger;   /* borrowed */
    struct batch *filling;   /* the worker's thread appends to it */
    struct batch *under_way; /* in the thread, or NULL */
    struct batch_list done;  /* committed, and not settled yet */
    struct batch_list spare;
    struct lane_trouble trouble;         /* the journal's */
    uint64_t brought[LANE_SENDERS / 64]; /* who has a message in the filling batch, a bit each */
    unsigned senders, senders_before;    /* how many have; and had in the batch before */
    unsigned together;                   /* the most that had in one of the last two batches */
    uint64_t begun_us;                   /* of the batch under way */
    uint64_t commit_us;                  /* what a commit takes, a running mean */
    uint64_t hold_until_us; /* when the filling batch is committed however small; 0: not held */
};

/* Returns 0, or -1 with errno; lane_fini is needed in both cases. */
MS_MUST_CHECK int lane_init(struct lane *lane, const struct handler_host *host,
                            const struct file_ops *ops, const char *thread);

/* Waits for what is under way, and drops all messages. */
void lane_fini(struct lane *lane);

/* Adds a message, as batch_add does, that such a sender has brought. */
void
lane_add(struct lane *lane, struct message *m, const char id[ULID_LEN], bool put, uint8_t sender);

/* Begins the commit of what has filled up, in the thread or here, unless one is under way or the
 * batch is held for the messages that are expected (struct handler_ops flush). Returns when it
 * wants to be called again, or 0. */
uint64_t lane_flush(struct lane *lane, unsigned expected);

/* The same at once; what is under way is awaited first. */
void lane_begin(struct lane *lane, bool in_thread);

/* The next batch that was committed and has to be settled, or NULL. */
struct batch *lane_next_done(struct lane *lane);

/* It was settled: the lane uses it again. */
void lane_give_back(struct lane *lane, struct batch *batch);

static inline bool
lane_is_idle(const struct lane *lane)
{
    return lane->under_way == NULL && lane->filling->count == 0;
}

/* USR1: what comes next goes to a new segment. */
void lane_reopen(struct lane *lane);

/* Leaves a segment that is old enough. While a batch is under way the commit looks itself. */
void lane_tick(struct lane *lane, uint64_t now_us);

#endif
