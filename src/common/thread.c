/* Starts threads, and the helper that runs jobs. Invariant: the lock is held only to move a job
 * from list to list, never while a job runs. */
#include "common/thread.h"

#include "common/fd.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Bytes. By default it is the soft limit that some launcher left, which may be tiny or huge. */
#define THREAD_STACK ((size_t)2 << 20)

int
thread_start(pthread_t *thread_out, void *(*run)(void *arg), void *arg)
{
    /* Blocked, they would end the process before it could say where. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);

    if (error == 0) {
        (void)pthread_attr_setstacksize(&attributes, THREAD_STACK);
        sigfillset(&all);
        for (size_t i = 0; i < MS_ARRAY_LEN(faults); i++)
            sigdelset(&all, faults[i]);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(thread_out, &attributes, run, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    errno = error;
    return error == 0 ? 0 : -1;
}

void
thread_give_way(void)
{
    (void)sched_yield();
}

/* --- a helper --- */

STAILQ_HEAD(job_list, helper_job);

struct helper {
    const char *name;
    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock;
    pthread_cond_t given, ran;
    struct job_list waiting, large; /* of both one after the other, where both have some */
    struct job_list finished;
    bool large_is_next;
    unsigned under_way; /* jobs given and not in finished */
    bool stopping;
    int fd; /* an eventfd: something is in finished */
};

static struct helper_job *
job_take(struct job_list *list)
{
    struct helper_job *job = STAILQ_FIRST(list);

    if (job != NULL)
        STAILQ_REMOVE_HEAD(list, link);
    return job;
}

static struct helper_job *
helper_next(struct helper *h)
{
    struct job_list *first = h->large_is_next ? &h->large : &h->waiting;

    if (STAILQ_EMPTY(first))
        first = h->large_is_next ? &h->waiting : &h->large;
    h->large_is_next = first == &h->waiting;
    return job_take(first);
}

static void *
helper_main(void *arg)
{
    const uint64_t one = 1;
    struct helper *h = arg;

    (void)pthread_setname_np(pthread_self(), h->name);
    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct helper_job *job;

        while ((job = helper_next(h)) == NULL && !h->stopping)
            pthread_cond_wait(&h->given, &h->lock);
        if (job == NULL)
            break;
        pthread_mutex_unlock(&h->lock);
        job->run(job);
        pthread_mutex_lock(&h->lock);
        STAILQ_INSERT_TAIL(&h->finished, job, link);
        h->under_way--;
        pthread_mutex_unlock(&h->lock);
        pthread_cond_signal(&h->ran);           /* not before: who wakes finds the lock free */
        (void)!write(h->fd, &one, sizeof(one)); /* a full counter wakes the loop, too */
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct helper *
helper_create(const char *name)
{
    struct helper *h = ms_calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->name = name;
    STAILQ_INIT(&h->waiting);
    STAILQ_INIT(&h->large);
    STAILQ_INIT(&h->finished);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->given, NULL);
    pthread_cond_init(&h->ran, NULL);
    h->fd = fd_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (h->fd >= 0)
        return h;
    free(h);
    return NULL;
}

int
helper_give(struct helper *h, struct helper_job *job)
{
    if (!h->is_started && thread_start(&h->thread, helper_main, h) < 0)
        return -1;
    h->is_started = true;
    pthread_mutex_lock(&h->lock);
    if (job->cost > HELPER_LARGE)
        STAILQ_INSERT_TAIL(&h->large, job, link);
    else
        STAILQ_INSERT_TAIL(&h->waiting, job, link);
    h->under_way++;
    pthread_mutex_unlock(&h->lock);
    pthread_cond_signal(&h->given);
    return 0;
}

int
helper_fd(const struct helper *h)
{
    return h->fd;
}

void
helper_collect(struct helper *h)
{
    struct job_list finished = STAILQ_HEAD_INITIALIZER(finished);
    struct helper_job *job;
    uint64_t count;

    (void)fd_read(h->fd, &count, sizeof(count));
    pthread_mutex_lock(&h->lock);
    STAILQ_CONCAT(&finished, &h->finished);
    pthread_mutex_unlock(&h->lock);
    while ((job = job_take(&finished)) != NULL)
        if (job->done != NULL)
            job->done(job);
}

void
helper_finish(struct helper *h)
{
    pthread_mutex_lock(&h->lock);
    while (h->under_way > 0)
        pthread_cond_wait(&h->ran, &h->lock);
    pthread_mutex_unlock(&h->lock);
    helper_collect(h);
}

void
helper_destroy(struct helper *h)
{
    if (h == NULL)
        return;
    helper_finish(h);
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_mutex_unlock(&h->lock);
    pthread_cond_signal(&h->given);
    if (h->is_started)
        pthread_join(h->thread, NULL);
    MS_ASSERT(h->under_way == 0 && STAILQ_EMPTY(&h->finished));
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->given);
    pthread_cond_destroy(&h->ran);
    fd_close(&h->fd);
    free(h);
}
