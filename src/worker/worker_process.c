/* A worker as a process of its own: its signals, its master, its exit status. */
#include "common/fd.h"
#include "common/log.h"
#include "common/symbols.h"
#include "handler/journal/data_dir.h"
#include "worker/conn.h"
#include "worker/sandbox/sandbox.h"
#include "worker/worker_state.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define WORKER_MAPPED (1 << 20) /* bytes of an allocation that the kernel maps by itself */

static void
worker_reopen(struct worker *w)
{
    _Atomic uint32_t *reopened = &w->stats.block->reopened;

    if (log_reopen() < 0)
        log_line(LOG_log_not_opened, "cannot reopen the log file: %s", strerror(errno));
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
        log_line(LOG_master_gone, "the master is gone; finishing what is under way");
    worker_drain(w, "the master is gone");
    accept_end(w); /* nobody else would end what was retired */
}

/* Whoever comes after the master waits for the workers that have the journal by now (recall_run).
 * One that was not there in time must not take a message any more. */
static bool
worker_has_master(const struct worker *w)
{
    struct pollfd master = {.fd = w->child->master_fd, .events = POLLIN};

    return poll(&master, 1, 0) != 1;
}

/* --- ready, wait, go --- */

static void
worker_say(const struct child *child, const char *text, size_t n)
{
    if (fd_write_all(child->ready_fd, text, n) < 0)
        log_line(LOG_worker_silent, "the master does not listen: %s", strerror(errno));
}

/* Anything but the byte means that the master is gone, which another descriptor says as well. */
static void
worker_told_to_go(struct watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, go_watch));
    int fd = w->child->ready_fd;
    char byte = 0;

    (void)events;
    if (fd_read(fd, &byte, 1) == 1 && byte == CHILD_GO && !w->draining && worker_go(w) < 0) {
        log_line(LOG_worker_cannot_accept, "cannot accept: %s", strerror(errno));
        w->stopping = true;
    }
    (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    fd_close(&fd);
}

static void
worker_ready(struct worker *w)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &w->go_watch};

    w->go_watch.ready = worker_told_to_go;
    MS_ASSERT(epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->child->ready_fd, &ev) == 0);
    worker_say(w->child, (const char[]){CHILD_READY}, 1);
}

static void
worker_run(struct worker *w)
{
    while (!w->stopping &&
           (!w->draining || w->conn_count > 0 || w->lingering > 0 || w->proxied_count > 0)) {
        worker_turn(w, -1);
        sandbox_say_refused();
        if (w->draining && w->now_us >= w->drain_end_us) {
            conn_drain_all(w, true);
            conn_finish_turn(w);
            break;
        }
    }
}

/* What is large and let go of goes back to the kernel at once, and grows where it is: the limit of
 * memory is about what the kernel sees. */
static void
worker_tune_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, WORKER_MAPPED);
    (void)mallopt(M_TRIM_THRESHOLD, 2 * WORKER_MAPPED);
}

/* Returns 0, or -1 with a sentence. */
static int
worker_outside(const struct child *child, char error[HANDLER_ERROR_LEN])
{
    for (size_t i = 0; i < child->listener_count; i++) {
        const struct listener_config *l = child->listeners[i].config;
        const struct handler_ops *ops = handler_find(l->handler);

        if (ops->outside == NULL || ops->outside(child->config, l, child->index) == 0)
            continue;
        snprintf(error, HANDLER_ERROR_LEN, "handler=%s on %s cannot begin: %s", ops->name, l->name,
                 strerror(errno));
        return -1;
    }
    return 0;
}

int
worker_main(const struct child *child)
{
    static const struct worker_events events = {worker_signals, worker_master_gone,
                                                stats_watch_crashes};
    static const struct worker_setup setup = {
        .is_process = true,
        .find_handler = handler_find,
        .spill_open = data_dir_spill_open,
        .wake_fd = -1,
    };
    static struct worker worker; /* large; one in a process */
    const struct sandbox_needs needs = sandbox_needs_of_worker(child->config);
    char error[HANDLER_ERROR_LEN] = "";
    char name[32];

    worker_tune_memory();
    snprintf(name, sizeof(name), "worker %u", child->index);
    log_set_name(name);
    if (worker_outside(child, error) < 0 || sandbox_begin(&needs, error) < 0 ||
        worker_open(&worker, child, &setup, &events, error) < 0) {
        worker_say(child, error, strlen(error));
        return CHILD_EXIT_NOT_READY;
    }
    symbols_load(); /* of modules */
    if (sandbox_finish(&needs, error) < 0) {
        worker_say(child, error, strlen(error));
        return CHILD_EXIT_NOT_READY;
    }
    atomic_store_explicit(&worker.stats.block->sandbox, sandbox_parts(), memory_order_relaxed);
    if (worker_has_master(&worker)) {
        worker_ready(&worker);
        worker_run(&worker);
    }
    worker_close(&worker);
    return CHILD_EXIT_DONE;
}
