/* What lies between the thread of a link and the publisher: messages in, events out. Invariant: a
 * message that is_queued is in one of the two queues, or being published, and holds a reference. */
#include "nats/plugin/plugin.h"

#include "common/fd.h"

#include <stdlib.h>
#include <unistd.h>

static void
link_signal(int fd)
{
    const uint64_t one = 1;

    /* It fails only where the counter is full, and then it is readable already. */
    (void)!write(fd, &one, sizeof(one));
}

void
link_clear(int fd)
{
    uint64_t count;

    (void)fd_read(fd, &count, sizeof(count));
}

struct link *
link_hold(struct link *l)
{
    atomic_fetch_add(&l->references, 1);
    return l;
}

static void
link_free_events(struct link_events *events)
{
    struct link_event *e;

    while ((e = STAILQ_FIRST(events)) != NULL) {
        STAILQ_REMOVE_HEAD(events, next);
        free(e);
    }
}

void
link_release(struct link *l)
{
    if (atomic_fetch_sub(&l->references, 1) != 1)
        return;
    link_free_events(&l->events);
    for (int i = 0; i < l->discovered_count; i++)
        free(l->discovered[i]);
    free(l->block);
    fd_close(&l->epoll_fd);
    fd_close(&l->event_fd);
    fd_close(&l->command_fd);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->ended_cond);
    free(l);
}

void
link_wake(struct link *l)
{
    link_signal(l->command_fd);
}

/* --- events --- */

struct link_event *
link_event_create(enum link_event_kind kind, const void *text, size_t n)
{
    struct link_event *e = ms_calloc(1, sizeof(*e) + n + 1);

    e->kind = kind;
    e->len = n;
    if (n > 0)
        memcpy(e->text, text, n);
    return e;
}

void
link_post(struct link *l, struct link_event *e)
{
    bool first = STAILQ_EMPTY(&l->events);

    e->epoch = l->epoch;
    STAILQ_INSERT_TAIL(&l->events, e, next);
    if (first)
        link_signal(l->event_fd);
}

void
link_tell(struct link *l, enum link_event_kind kind, const char *text)
{
    struct link_event *e = link_event_create(kind, text, strlen(text));

    pthread_mutex_lock(&l->lock);
    link_post(l, e);
    pthread_mutex_unlock(&l->lock);
}

void
link_hear(struct link *l, enum link_event_kind kind, uint64_t token, const void *text, size_t n)
{
    struct link_event *e = link_event_create(kind, text, n);

    e->token = token;
    e->epoch = l->epoch;
    STAILQ_INSERT_TAIL(&l->heard, e, next);
}

void
link_post_heard(struct link *l)
{
    if (STAILQ_EMPTY(&l->heard))
        return;
    if (STAILQ_EMPTY(&l->events))
        link_signal(l->event_fd);
    STAILQ_CONCAT(&l->events, &l->heard);
}

/* --- messages --- */

struct link_message *
link_next(struct link_messages *messages)
{
    struct link_message *m = STAILQ_FIRST(messages);

    if (m != NULL)
        STAILQ_REMOVE_HEAD(messages, next);
    return m;
}

void
link_message_done(struct link_message *m)
{
    atomic_store_explicit(&m->is_queued, false, memory_order_release);
    link_message_release(m);
}

bool
link_give(struct link *l, uint32_t epoch, struct link_message *m)
{
    bool there;

    pthread_mutex_lock(&l->lock);
    there = l->epoch == epoch && epoch != 0;
    if (there && !atomic_exchange_explicit(&m->is_queued, true, memory_order_acquire)) {
        atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
        STAILQ_INSERT_TAIL(&l->messages, m, next);
    }
    pthread_mutex_unlock(&l->lock);
    return there;
}
