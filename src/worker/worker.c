#include "worker/worker.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "worker/accept.h"
#include "worker/conn.h"
#include "worker/worker_open.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define WORKER_WINDOW_US 10000 /* how far back "busy" looks */
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

    w->flush_us = 0;
    for (unsigned i = 0; i < w->handler_count; i++) {
        struct worker_handler *wh = &w->handlers[i];
        uint64_t again_us;

        if (wh->submitted == 0 || wh->ops->flush == NULL)
            continue;
        again_us = wh->ops->flush(wh->handler, busy > wh->submitted ? busy - wh->submitted : 0);
        if (again_us != 0 && (w->flush_us == 0 || again_us < w->flush_us))
            w->flush_us = again_us;
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

/* Waits for events; to the microsecond where a handler holds messages back. */
static int
worker_wait(struct worker *w, struct epoll_event events[WORKER_EVENTS])
{
    struct timespec ts = {0, 0};
    uint64_t now_us;

    if (w->unread != NULL)
        return epoll_wait(w->epoll_fd, events, WORKER_EVENTS, 0);
    if (w->flush_us == 0)
        return epoll_wait(w->epoll_fd, events, WORKER_EVENTS,
                          timer_wait_ms(&w->wheel, w->now_us, WORKER_WAIT_MS));
    now_us = clock_mono_us();
    if (w->flush_us > now_us) {
        ts.tv_sec = (time_t)((w->flush_us - now_us) / 1000000);
        ts.tv_nsec = (long)((w->flush_us - now_us) % 1000000) * 1000;
    }
    return epoll_pwait2(w->epoll_fd, events, WORKER_EVENTS, &ts, NULL);
}

static void
worker_turn(struct worker *w)
{
    struct epoll_event events[WORKER_EVENTS];
    int n = worker_wait(w, events);

    MS_ASSERT(n >= 0 || errno == EINTR);
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
    static const struct worker_events events = {worker_signals, worker_master_gone};
    static struct worker worker; /* large; one in a process */
    char error[HANDLER_ERROR_LEN] = "";
    char name[32];

    snprintf(name, sizeof(name), "worker %u", child->index);
    log_set_name(name);
    if (worker_open(&worker, child, &events, error) < 0) {
        worker_say(child, error, strlen(error));
        return CHILD_EXIT_NOT_READY;
    }
    worker_say(child, (const char[]){CHILD_READY}, 1);
    worker_run(&worker);
    worker_close(&worker);
    return CHILD_EXIT_DONE;
}
