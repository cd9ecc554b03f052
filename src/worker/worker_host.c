/* The worker as its handlers see it: the functions of struct handler_host, and how a handler
 * starts. Invariant: each handler that is counted in handler_count runs, until worker_close ends
 * it. */
#include "common/log.h"
#include "worker/conn.h"
#include "worker/worker_state.h"

#include <errno.h>
#include <stdio.h>

static struct conn *
worker_sender(void *ctx, const struct message *m)
{
    (void)ctx;
    return conn_sender(m);
}

static void
worker_origin(void *ctx, const struct message *m, struct message_origin *origin_out)
{
    conn_origin(ctx, m->owner, origin_out);
}

static struct conn *
worker_next_conn(void *ctx, void *instance, struct conn *c)
{
    return conn_next(ctx, instance, c);
}

static void
worker_disconnect(void *ctx, struct conn *c)
{
    (void)ctx;
    conn_disconnect(c);
}

/* Peers can make this happen as often as they like; it is said now and then. */
static void
worker_lost(void *ctx, uint64_t n)
{
    struct worker *w = ctx;

    stats_add(&w->stats.block->counters.lost, n);
    if (w->lost_said_us != 0 && w->now_us < w->lost_said_us + WORKER_TICK_US)
        return;
    w->lost_said_us = w->now_us;
    log_line(LOG_reader_too_slow,
             "messages for peers that do not read are lost, and these peers are closed");
}

static int
worker_push(void *ctx, struct conn *c, struct blob *blob)
{
    int rc = conn_push(c, blob);
    int error = errno;

    if (rc < 0 && (error == ENOBUFS || error == EMSGSIZE))
        worker_lost(ctx, 1);
    errno = error;
    return rc;
}

static void
worker_committed(void *ctx, unsigned messages)
{
    struct worker *w = ctx;

    stats_add(&w->stats.block->counters.commits, 1);
    stats_add(&w->stats.block->counters.committed, messages);
    stats_record(&w->stats, STATS_EVENT_committed, NULL, w->now_us, messages, NULL);
}

static void
worker_handler_ready(struct watch *watch, uint32_t events)
{
    struct worker_handler *wh = (struct worker_handler *)watch;

    (void)events;
    wh->ops->complete(wh->handler);
}

static struct worker_handler *
worker_handler_start(struct worker *w, const struct handler_ops *ops,
                     const struct child_listener *cl, char error[HANDLER_ERROR_LEN])
{
    struct worker_handler *wh = &w->handlers[w->handler_count];
    struct handler_host host = {
        .config = w->config,
        .listener = ops->per_listener ? cl->config : NULL,
        .worker = w->child->index,
        .bus = w->bus,
        .bus_channel = cl->stats_id,
        .ctx = w,
        .instance = wh,
        .digester = w->store.digester,
        .store = &w->store,
        .id_offset_us = w->child->id_offset_us,
        .dedup = w->dedup,
        .settle = conn_settle,
        .sender = worker_sender,
        .origin = worker_origin,
        .conn_origin = conn_origin,
        .committed = worker_committed,
        .push = worker_push,
        .next_conn = worker_next_conn,
        .disconnect = worker_disconnect,
        .lost = worker_lost,
    };
    int fd = -1;

    MS_ASSERT(w->handler_count < WORKER_HANDLERS_MAX);
    wh->worker = w;
    wh->ops = ops;
    wh->handler = wh->ops->create(&host, error);
    if (wh->handler == NULL)
        return NULL;
    w->handler_count++;
    if (wh->ops->event_fd != NULL)
        fd = wh->ops->event_fd(wh->handler);
    if (fd >= 0 && worker_watch(w, fd, &wh->watch, worker_handler_ready) < 0) {
        snprintf(error, HANDLER_ERROR_LEN, "epoll: %s", strerror(errno));
        return NULL;
    }
    return wh;
}

struct worker_handler *
worker_handler(struct worker *w, const struct child_listener *cl, char error[HANDLER_ERROR_LEN])
{
    const struct handler_ops *ops = w->setup->find_handler(cl->config->handler);

    MS_ASSERT(ops != NULL);
    for (unsigned i = 0; i < w->handler_count && !ops->per_listener; i++)
        if (w->handlers[i].ops == ops)
            return &w->handlers[i];
    return worker_handler_start(w, ops, cl, error);
}
