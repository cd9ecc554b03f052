/* A thread beside the worker's own, for what would hold its loop for more than a few milliseconds.
 * Jobs run one after the other, in the order in which they were given; the loop learns of each by a
 * descriptor and ends it in its own thread.
 * Invariant: a job belongs to the helper from helper_give until its done is called. */
#ifndef WORKER_HELPER_H
#define WORKER_HELPER_H

#include "common/base.h"

#include <stdbool.h>

struct helper_job {
    void (*run)(struct helper_job *job);  /* in the helper's thread */
    void (*done)(struct helper_job *job); /* in the loop's, by helper_collect */
    struct helper_job *next;
};

struct helper;

/* Starts the thread, with all signals blocked. NULL with errno. */
MS_MUST_CHECK struct helper *helper_create(void);

/* Runs and ends what it still has, then ends the thread. NULL is fine. */
void helper_destroy(struct helper *h);

void helper_give(struct helper *h, struct helper_job *job);

/* Readable when a job has run. */
int helper_fd(const struct helper *h);

/* Calls done for each job that has run. done may give further jobs. */
void helper_collect(struct helper *h);

/* Waits until every job given so far has run, and ends them. Blocks. */
void helper_finish(struct helper *h);

#endif
