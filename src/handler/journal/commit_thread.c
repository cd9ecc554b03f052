/* What the job touches is handed over by the lock: the worker before giving, the thread while
 * working, the worker again once it is done. */
#include "handler/journal/commit.h"

#include "common/fd.h"
#include "common/thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

int
commit_thread_init(struct commit_thread *ct, void (*run)(void *arg, void *job), void *arg)
{
    *ct = (struct commit_thread){.run = run, .arg = arg, .event_fd = -1};
    ct->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ct->event_fd < 0)
        return -1;
    MS_ASSERT(pthread_mutex_init(&ct->lock, NULL) == 0);
    MS_ASSERT(pthread_cond_init(&ct->changed, NULL) == 0);
    return 0;
}

static void
commit_thread_report(struct commit_thread *ct)
{
    eventfd_t one = 1;

    pthread_mutex_lock(&ct->lock);
    ct->working = false;
    pthread_mutex_unlock(&ct->lock);
    pthread_cond_broadcast(&ct->changed);
    MS_ASSERT(eventfd_write(ct->event_fd, one) == 0);
}

/* Returns the next job, or NULL to leave. */
static void *
commit_thread_take(struct commit_thread *ct)
{
    void *job;

    pthread_mutex_lock(&ct->lock);
    while (ct->job == NULL && !ct->leave)
        pthread_cond_wait(&ct->changed, &ct->lock);
    job = ct->job;
    ct->job = NULL;
    pthread_mutex_unlock(&ct->lock);
    return job;
}

static void *
commit_thread_main(void *arg)
{
    struct commit_thread *ct = arg;
    void *job;

    while ((job = commit_thread_take(ct)) != NULL) {
        ct->run(ct->arg, job);
        commit_thread_report(ct);
    }
    return NULL;
}

int
commit_thread_give(struct commit_thread *ct, void *job)
{
    if (!ct->started) {
        if (thread_start(&ct->thread, "msockd-commit", commit_thread_main, ct) < 0)
            return -1;
        ct->started = true;
    }
    pthread_mutex_lock(&ct->lock);
    MS_ASSERT(!ct->working);
    ct->job = job;
    ct->working = true;
    pthread_mutex_unlock(&ct->lock);
    pthread_cond_broadcast(&ct->changed); /* not before: who wakes finds the lock free */
    return 0;
}

bool
commit_thread_done(struct commit_thread *ct)
{
    eventfd_t count;
    bool done;

    (void)eventfd_read(ct->event_fd, &count);
    pthread_mutex_lock(&ct->lock);
    done = !ct->working;
    pthread_mutex_unlock(&ct->lock);
    return done;
}

void
commit_thread_wait(struct commit_thread *ct)
{
    pthread_mutex_lock(&ct->lock);
    while (ct->working)
        pthread_cond_wait(&ct->changed, &ct->lock);
    pthread_mutex_unlock(&ct->lock);
}

void
commit_thread_fini(struct commit_thread *ct)
{
    if (ct->started) {
        pthread_mutex_lock(&ct->lock);
        ct->leave = true;
        pthread_cond_broadcast(&ct->changed);
        pthread_mutex_unlock(&ct->lock);
        pthread_join(ct->thread, NULL);
    }
    if (ct->event_fd >= 0) {
        pthread_cond_destroy(&ct->changed);
        pthread_mutex_destroy(&ct->lock);
    }
    fd_close(&ct->event_fd);
}
