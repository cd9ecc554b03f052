#include "worker/helper.h"

#include "common/fd.h"
#include "common/thread.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job_list {
    struct helper_job *first, *last;
};

struct helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t given, ran;
    struct job_list waiting, finished;
    unsigned under_way; /* jobs given and not in finished */
    bool stopping;
    int fd; /* an eventfd: something is in finished */
};

static void
job_append(struct job_list *list, struct helper_job *job)
{
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static struct helper_job *
job_take(struct job_list *list)
{
    struct helper_job *job = list->first;

    if (job == NULL)
        return NULL;
    list->first = job->next;
    if (list->first == NULL)
        list->last = NULL;
    return job;
}

static void *
helper_main(void *arg)
{
    const uint64_t one = 1;
    struct helper *h = arg;

    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct helper_job *job;

        while (h->waiting.first == NULL && !h->stopping)
            pthread_cond_wait(&h->given, &h->lock);
        job = job_take(&h->waiting);
        if (job == NULL)
            break;
        pthread_mutex_unlock(&h->lock);
        job->run(job);
        pthread_mutex_lock(&h->lock);
        job_append(&h->finished, job);
        h->under_way--;
        pthread_cond_signal(&h->ran);
        (void)!write(h->fd, &one, sizeof(one)); /* a full counter wakes the loop, too */
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct helper *
helper_create(void)
{
    struct helper *h = ms_calloc(1, sizeof(*h));

    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->given, NULL);
    pthread_cond_init(&h->ran, NULL);
    h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->fd >= 0 && thread_start(&h->thread, "msockd-helper", helper_main, h) == 0)
        return h;
    fd_close(&h->fd);
    free(h);
    return NULL;
}

void
helper_give(struct helper *h, struct helper_job *job)
{
    pthread_mutex_lock(&h->lock);
    job_append(&h->waiting, job);
    h->under_way++;
    pthread_cond_signal(&h->given);
    pthread_mutex_unlock(&h->lock);
}

int
helper_fd(const struct helper *h)
{
    return h->fd;
}

void
helper_collect(struct helper *h)
{
    struct job_list finished;
    struct helper_job *job;
    uint64_t count;

    (void)fd_read(h->fd, &count, sizeof(count));
    pthread_mutex_lock(&h->lock);
    finished = h->finished;
    h->finished = (struct job_list){NULL, NULL};
    pthread_mutex_unlock(&h->lock);
    while ((job = job_take(&finished)) != NULL)
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
    pthread_cond_signal(&h->given);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    MS_ASSERT(h->waiting.first == NULL && h->finished.first == NULL);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->given);
    pthread_cond_destroy(&h->ran);
    fd_close(&h->fd);
    free(h);
}
