/* One thread that does one job at a time beside the worker, and says by an eventfd when it is done.
 * It is started by the first job and takes no signals. All functions are for the worker's
 * thread. */
#ifndef HANDLER_JOURNAL_COMMIT_THREAD_H
#define HANDLER_JOURNAL_COMMIT_THREAD_H

#include "common/base.h"

#include <pthread.h>
#include <stdbool.h>

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
