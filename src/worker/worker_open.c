#include "worker/worker_open.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "handler/data_dir.h"
#include "proto/json_check.h"
#include "worker/accept.h"
#include "worker/conn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static int
worker_watch(struct worker *w, int fd, struct watch *watch, void (*ready)(struct watch *, uint32_t))
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = watch};

    watch->ready = ready;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static void
worker_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    conn_settle(ctx, m, verdict);
}

static void
worker_origin(void *ctx, const struct message *m, struct message_origin *origin_out)
{
    conn_origin(ctx, m, origin_out);
}

static void
worker_committed(void *ctx, unsigned messages)
{
    struct worker *w = ctx;

    stats_add(&w->stats.block->counters.commits, 1);
    stats_add(&w->stats.block->counters.committed, messages);
}

static int
worker_spill_open(void *arg)
{
    const struct worker *w = arg;

    return data_dir_spill_open(w->config);
}

/* One line a second at most: a full disk fails every message. */
static void
worker_store_failed(void *arg, int error)
{
    struct worker *w = arg;

    if (w->store_failed_us != 0 && w->now_us < w->store_failed_us + WORKER_TICK_US)
        return;
    w->store_failed_us = w->now_us;
    log_error("a message that is arriving cannot be stored in %s: %s", w->config->data_dir,
              strerror(error));
}

static void
worker_handler_ready(struct watch *watch, uint32_t events)
{
    struct worker_handler *wh = (struct worker_handler *)watch;

    (void)events;
    wh->ops->complete(wh->handler);
}

/* The running handler of that name; started where no listener before named it. */
static struct worker_handler *
worker_handler(struct worker *w, const char *name, char error[HANDLER_ERROR_LEN])
{
    struct handler_host host = {
        .config = w->config,
        .worker = w->child->index,
        .ctx = w,
        .settle = worker_settle,
        .origin = worker_origin,
        .committed = worker_committed,
        .digester = w->store.digester,
    };
    struct worker_handler *wh = &w->handlers[w->handler_count];
    int fd = -1;

    for (unsigned i = 0; i < w->handler_count; i++)
        if (strcmp(w->handlers[i].ops->name, name) == 0)
            return &w->handlers[i];
    MS_ASSERT(w->handler_count < WORKER_HANDLERS_MAX);
    wh->worker = w;
    wh->ops = handler_find(name);
    MS_ASSERT(wh->ops != NULL);
    wh->keep_max = wh->ops->keep_max(w->config);
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

static int
worker_listeners_open(struct worker *w, char error[HANDLER_ERROR_LEN])
{
    for (size_t i = 0; i < w->child->listener_count; i++) {
        const struct child_listener *cl = &w->child->listeners[i];
        struct worker_listener *l = &w->listeners[i];

        l->worker = w;
        l->child = cl;
        l->limits = cl->config->limits;
        l->proto = proto_find(cl->config->proto);
        MS_ASSERT(l->proto != NULL);
        l->handler = worker_handler(w, cl->config->handler, error);
        if (l->handler == NULL)
            return -1;
        w->listener_count++;
    }
    return 0;
}

static int
worker_events_open(struct worker *w, const struct worker_events *events)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGUSR1);
    /* A terminal's ^C and ^\ reach the whole group; what they mean is the master's to say. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (w->epoll_fd < 0 || w->signal_fd < 0)
        return -1;
    if (worker_watch(w, w->signal_fd, &w->signal_watch, events->signals) < 0)
        return -1;
    return worker_watch(w, w->child->master_fd, &w->master_watch, events->master_gone);
}

static int
worker_store_open(struct worker *w)
{
    w->store = (struct message_store){
        .digester = digester_create(),
        .memory_max = w->config->memory_message_max,
        .memory_limit = w->config->worker_memory_max,
        .spill_open = worker_spill_open,
        .spill_arg = w,
        .failed = worker_store_failed,
    };
    w->read_buf = ms_malloc(WORKER_READ_SIZE);
    return w->store.digester != NULL ? 0 : -1;
}

int
worker_open(struct worker *w, const struct child *child, const struct worker_events *events,
            char error[HANDLER_ERROR_LEN])
{
    const char *step = "shared memory";

    w->child = child;
    w->config = child->config;
    w->epoll_fd = w->signal_fd = w->spare_fd = -1;
    w->now_us = clock_mono_us();
    timer_wheel_init(&w->wheel, w->now_us);
    json_seed();
    (void)fd_raise_limit();
    if (stats_writer_open(&w->stats, &child->stats) < 0)
        goto failed;
    step = "digests";
    if (worker_store_open(w) < 0)
        goto failed;
    step = "event loop";
    if (worker_events_open(w, events) < 0)
        goto failed;
    if (worker_listeners_open(w, error) < 0)
        return -1;
    step = "listeners";
    if (accept_start(w) < 0)
        goto failed;
    timer_set(&w->wheel, &w->tick_timer, w->now_us + WORKER_TICK_US);
    return 0;
failed:
    snprintf(error, HANDLER_ERROR_LEN, "%s: %s", step, strerror(errno));
    return -1;
}

void
worker_close(struct worker *w)
{
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->finish != NULL)
            w->handlers[i].ops->finish(w->handlers[i].handler);
    conn_finish_turn(w);
    conn_drain_all(w, true);
    conn_finish_turn(w);
    conn_close_all(w);
    conn_finish_turn(w);
    for (unsigned i = 0; i < w->handler_count; i++)
        w->handlers[i].ops->destroy(w->handlers[i].handler);
    stats_writer_close(&w->stats);
    digester_destroy(w->store.digester);
    fd_close(&w->epoll_fd);
    fd_close(&w->signal_fd);
    fd_close(&w->spare_fd);
    free(w->settled_begun);
    free(w->read_buf);
}
