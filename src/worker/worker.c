#include "worker/worker.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "handler/data_dir.h"
#include "proto/json_check.h"
#include "worker/accept.h"
#include "worker/conn.h"
#include "worker/worker_state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WORKER_WINDOW_US 10000   /* how far back "busy" looks */
#define WORKER_TICK_US   1000000 /* handlers' own clockwork */
#define WORKER_WAIT_MS   60000

/* --- leaving --- */

static void
worker_drain(struct worker *w, const char *why)
{
    if (w->draining)
        return;
    log_info("draining %u connections: %s", w->conn_count, why);
    w->draining = true;
    w->drain_end_us = w->now_us + w->config->drain_timeout_us;
    accept_stop(w);
    conn_drain_all(w, false);
}

static void
worker_reopen(struct worker *w)
{
    _Atomic uint32_t *reopened = &w->stats.block->reopened;

    if (log_reopen() < 0)
        log_error("cannot reopen the log file: %s", strerror(errno));
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->reopen != NULL)
            w->handlers[i].ops->reopen(w->handlers[i].handler);
    atomic_fetch_add_explicit(reopened, 1, memory_order_release);
}

/* Everything that was signalled since the last turn, the strongest first. */
static void
worker_signals(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, signal_watch));
    struct signalfd_siginfo info;
    bool quit = false, reopen = false;

    (void)events;
    while (fd_read(w->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        w->stopping = w->stopping || info.ssi_signo == SIGTERM;
        quit = quit || info.ssi_signo == SIGQUIT;
        reopen = reopen || info.ssi_signo == SIGUSR1;
    }
    if (w->stopping)
        return;
    if (quit)
        worker_drain(w, "told to leave");
    if (reopen)
        worker_reopen(w);
}

static void
worker_master_gone(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, master_watch));

    (void)events;
    (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->child->master_fd, NULL);
    if (!w->draining)
        log_warn("the master is gone; finishing what is under way");
    worker_drain(w, "the master is gone");
}

/* --- set-up --- */

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
worker_events_open(struct worker *w)
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
    if (worker_watch(w, w->signal_fd, &w->signal_watch, worker_signals) < 0)
        return -1;
    return worker_watch(w, w->child->master_fd, &w->master_watch, worker_master_gone);
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

/* Returns 0, or -1 with a sentence in error. */
static int
worker_open(struct worker *w, const struct child *child, char error[HANDLER_ERROR_LEN])
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
    if (worker_events_open(w) < 0)
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

static void
worker_close(struct worker *w)
{
    for (unsigned i = 0; i < w->handler_count; i++)
        if (w->handlers[i].ops->finish != NULL)
            w->handlers[i].ops->finish(w->handlers[i].handler);
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

/* --- the loop --- */

static void
worker_advance_clock(struct worker *w)
{
    w->now_us = clock_mono_us();
    if (w->now_us < w->window_end_us)
        return;
    w->window++;
    w->window_end_us = w->now_us + WORKER_WINDOW_US;
    w->busy_before = w->busy_now;
    w->busy_now = 0;
}

static void
worker_timers(struct worker *w)
{
    struct timer *timer;

    while ((timer = timer_due(&w->wheel, w->now_us)) != NULL) {
        if (timer == &w->park_timer) {
            accept_unpark(w);
        } else if (timer == &w->tick_timer) {
            for (unsigned i = 0; i < w->handler_count; i++)
                if (w->handlers[i].ops->tick != NULL)
                    w->handlers[i].ops->tick(w->handlers[i].handler, w->now_us);
            timer_set(&w->wheel, &w->tick_timer, w->now_us + WORKER_TICK_US);
        } else {
            conn_timer(w, timer);
        }
    }
}

static void
worker_flush_handlers(struct worker *w)
{
    unsigned busy = w->busy_now > w->busy_before ? w->busy_now : w->busy_before;

    for (unsigned i = 0; i < w->handler_count; i++) {
        struct worker_handler *wh = &w->handlers[i];

        if (wh->submitted > 0 && wh->ops->flush != NULL)
            wh->ops->flush(wh->handler, busy > wh->submitted);
    }
}

static void
worker_record_latencies(struct worker *w)
{
    uint64_t now;

    if (w->settled_count == 0)
        return;
    now = clock_mono_us();
    for (size_t i = 0; i < w->settled_count; i++)
        stats_latency(w->stats.block, now - w->settled_begun[i]);
    w->settled_count = 0;
}

static void
worker_turn(struct worker *w)
{
    struct epoll_event events[WORKER_EVENTS];
    int wait = w->unread != NULL ? 0 : timer_wait_ms(&w->wheel, w->now_us, WORKER_WAIT_MS);
    int n = epoll_wait(w->epoll_fd, events, WORKER_EVENTS, wait);

    worker_advance_clock(w);
    for (int i = 0; i < n; i++) {
        struct watch *watch = events[i].data.ptr;

        watch->ready(watch, events[i].events);
    }
    conn_read_unread(w);
    worker_timers(w);
    worker_flush_handlers(w);
    conn_finish_turn(w);
    worker_record_latencies(w);
    stats_add(&w->stats.block->counters.turns, 1);
}

static void
worker_run(struct worker *w)
{
    while (!w->stopping && (!w->draining || w->conn_count > 0)) {
        worker_turn(w);
        if (w->draining && w->now_us >= w->drain_end_us) {
            conn_drain_all(w, true);
            conn_finish_turn(w);
            break;
        }
    }
}

static void
worker_say(const struct child *child, const char *text, size_t n)
{
    int fd = child->ready_fd;

    if (fd_write_all(fd, text, n) < 0)
        log_debug("the master does not listen: %s", strerror(errno));
    fd_close(&fd);
}

int
worker_main(const struct child *child)
{
    static struct worker worker; /* large; one in a process */
    char error[HANDLER_ERROR_LEN] = "";
    char name[32];

    snprintf(name, sizeof(name), "worker %u", child->index);
    log_set_name(name);
    if (worker_open(&worker, child, error) < 0) {
        worker_say(child, error, strlen(error));
        return CHILD_EXIT_NOT_READY;
    }
    worker_say(child, (const char[]){CHILD_READY}, 1);
    worker_run(&worker);
    worker_close(&worker);
    return CHILD_EXIT_DONE;
}
