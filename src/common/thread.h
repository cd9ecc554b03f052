/* Threads of ours beside those of the program around them, and one that takes jobs. */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include "common/base.h"

#include <pthread.h>
#include <sys/queue.h>

/* Starts a thread with all signals blocked: they are the loop's, or those of the program around it.
 * The thread gives itself its name, of at most 15 bytes, since the sandbox lets nobody write in
 * /proc. Returns 0, or -1 with errno. */
MS_MUST_CHECK int thread_start(pthread_t *thread_out, void *(*run)(void *arg), void *arg);

/* For who works long beside the loop: whoever waits for this processor is next. Between two pieces
 * of work, each THREAD_PIECE bytes or some hundred microseconds long. Without it the others wait
 * until the scheduler's time is up, which may be some milliseconds. */
#define THREAD_PIECE ((size_t)64 << 10)
void thread_give_way(void);

/* A helper: a thread beside the worker's own, for what would hold its loop for more than a few
 * milliseconds. Jobs run one after the other, in the order in which they were given, but that large
 * ones and others take turns; the loop learns of each by a descriptor and ends it in its own
 * thread. All functions are for that thread. Invariant: a job belongs to the helper from
 * helper_give until its done is called. */
#define HELPER_LARGE (1u << 20)

struct helper_job {
    void (*run)(struct helper_job *job);  /* in the helper's thread */
    void (*done)(struct helper_job *job); /* in the loop's, by helper_collect; NULL: nothing */
    void *arg;                            /* the giver's */
    uint64_t cost;                        /* bytes; over HELPER_LARGE it is a large one */
    STAILQ_ENTRY(helper_job) link;
};

struct helper;

/* The thread is started by the first job, with that name. NULL with errno. */
MS_MUST_CHECK struct helper *helper_create(const char *name);

/* Runs and ends what it still has, then ends the thread. NULL is fine. */
void helper_destroy(struct helper *h);

/* Returns 0, or -1 with errno where no thread can be started: the job stays the caller's. */
MS_MUST_CHECK int helper_give(struct helper *h, struct helper_job *job);

/* Readable when a job has run. */
int helper_fd(const struct helper *h);

/* Calls done for each job that has run. done may give further jobs. */
void helper_collect(struct helper *h);

/* Waits until every job given so far has run, and ends them. Blocks. */
void helper_finish(struct helper *h);

#endif
