/* The relay's process: signals, the master, the loop. Invariant: it waits for the disk, which
 * nobody waits for behind it, and never for a server. */
#include "relay/relay_state.h"

#include "common/fd.h"
#include "handler/journal/data_dir.h"
#include "proto/proto.h"
#include "worker/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#define START_US    2000000 /* for a server */
#define LEAVE_US    2000000 /* for what is under way; the master does not wait much longer */
#define OPEN_US     100000  /* between two tries to follow the journal, while another one does */
#define WAIT_US     5000000 /* for the relay before it: then it says so */
#define IDLE_MIN_MS 10
#define IDLE_MAX_MS 100

/* --- start --- */

static int
relay_open_parts(struct relay *r, char error[HANDLER_ERROR_LEN])
{
    r->root = open(r->config->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->digester = digester_create();
    r->helper = helper_create("retain");
    if (r->root >= 0 && r->digester != NULL && r->helper != NULL &&
        stats_writer_open(&r->stats, &r->child->stats) == 0 &&
        (r->signal_fd = child_signals_open()) >= 0) {
        stats_watch_crashes(r->stats.recorder);
        return 0;
    }
    snprintf(error, HANDLER_ERROR_LEN, "it cannot begin: %s", strerror(errno));
    return -1;
}

const char *
relay_warning(const struct config *config)
{
    return data_dir_has_journal(config)
               ? NULL
               : "relay: no listener has handler=journal, so nothing new is relayed";
}

/* Returns 0, or -1 with a sentence: it will not do as it is configured. */
static int
relay_open(struct relay *r, char error[HANDLER_ERROR_LEN])
{
    const struct config *config = r->config;
    const char *warning = relay_warning(config);
    char why[CONFIG_ERROR_LEN];

    if (relay_open_parts(r, error) < 0 || nats_target_init(&r->target, &config->relay, error) < 0)
        return -1;
    r->told.needs_us = relay_needs_us(config);
    if (r->target.config.duplicates_us < r->told.needs_us)
        r->target.config.duplicates_us = r->told.needs_us;
    snprintf(r->told.stream, sizeof(r->told.stream), "%s", r->target.config.stream);
    if (config->retain_relayed && retain_check(config, why) < 0) {
        snprintf(error, HANDLER_ERROR_LEN, "retain=relayed: %.230s", why);
        return -1;
    }
    /* A stream that is gone by now may come back, and meanwhile it is told what is missing. */
    r->publisher = nats_target_open(&r->target, r->child->is_restart ? 0 : START_US, error);
    if (r->publisher == NULL)
        return -1;
    if (error[0] != '\0' && !r->child->is_restart)
        log_line(LOG_relay_without_nats, "%s; the journal keeps what comes", error);
    if (warning != NULL && !r->child->is_restart)
        log_line(LOG_relay_without_journal, "%s", warning);
    parcels_init(&r->parcels, r->publisher, r->digester, r->target.config.stream,
                 r->target.template);
    return 0;
}

/* --- what comes from the master --- */

static void
relay_leave(struct relay *r)
{
    if (!r->is_leaving)
        r->leave_us = clock_mono_us() + LEAVE_US;
    r->is_leaving = true;
}

static void
relay_signals(struct relay *r)
{
    struct signalfd_siginfo info;

    while (fd_read(r->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGUSR1) {
            relay_leave(r);
            continue;
        }
        if (log_reopen() < 0)
            log_line(LOG_log_not_opened, "cannot reopen the log file: %s", strerror(errno));
        atomic_fetch_add_explicit(&r->stats.block->reopened, 1, memory_order_release);
    }
}

static void
relay_hear_go(struct relay *r)
{
    char byte = 0;

    r->wait_us = clock_mono_us() + WAIT_US;
    if (fd_read(r->child->ready_fd, &byte, 1) == 1 && byte == CHILD_GO)
        r->may_go = true;
    else
        relay_leave(r); /* the master is gone */
}

/* --- the loop --- */

/* The one before it, of an older configuration or of a master that was killed, saves its position
 * first. */
static void
relay_open_journal(struct relay *r, uint64_t now_us)
{
    char error[FOLLOW_ERROR_LEN];

    if (r->follow != NULL || !r->may_go || r->is_leaving || now_us < r->open_us)
        return;
    r->open_us = now_us + OPEN_US;
    r->follow = follow_open(r->config, r->ops, error);
    if (r->follow != NULL) {
        r->is_shut_out = false;
        log_line(LOG_relay_follows, "follows the journal");
    } else if (errno != EAGAIN || now_us >= r->wait_us) {
        if (!r->is_shut_out)
            log_line(LOG_relay_waits, "%s", error);
        r->is_shut_out = true;
        relay_note_error(r, error);
    }
}

static void
relay_wait(struct relay *r)
{
    struct pollfd fds[] = {
        {.fd = r->signal_fd, .events = POLLIN},
        {.fd = r->is_leaving ? -1 : r->child->master_fd, .events = POLLIN},
        {.fd = r->may_go || r->is_leaving ? -1 : r->child->ready_fd, .events = POLLIN},
        {.fd = publisher_fd(r->publisher), .events = POLLIN},
        {.fd = helper_fd(r->helper), .events = POLLIN},
    };
    uint64_t flush_us = publisher_flush(r->publisher);

    (void)poll(fds, MS_ARRAY_LEN(fds), flush_us != 0 && r->idle_ms > 1 ? 1 : (int)r->idle_ms);
    if (fds[0].revents != 0)
        relay_signals(r);
    if (fds[1].revents != 0) {
        log_line(LOG_master_gone, "the master is gone");
        relay_leave(r);
    }
    if (fds[2].revents != 0)
        relay_hear_go(r);
    if (fds[4].revents != 0)
        helper_collect(r->helper);
}

static void
relay_turn(struct relay *r)
{
    uint64_t now_us;

    relay_wait(r);
    now_us = clock_mono_us();
    publisher_turn(r->publisher);
    relay_open_journal(r, now_us);
    r->idle_ms = r->idle_ms == 0                ? IDLE_MIN_MS
                 : r->idle_ms < IDLE_MAX_MS / 2 ? 2 * r->idle_ms
                                                : IDLE_MAX_MS;
    if (r->follow != NULL && !r->is_leaving) {
        relay_try_again(r);
        parcels_pump(&r->parcels);
        if (relay_read(r))
            r->idle_ms = 0;
    }
    relay_keep(r, now_us);
}

static bool
relay_is_done(const struct relay *r)
{
    return r->is_leaving && (!relay_is_under_way(r) || !publisher_is_ready(r->publisher) ||
                             clock_mono_us() >= r->leave_us);
}

int
relay_main(const struct child *child)
{
    static struct relay relay;
    struct relay *r = &relay;
    const struct sandbox_needs needs = sandbox_needs_of_relay(child->config);
    char error[HANDLER_ERROR_LEN] = "";
    const char ready = CHILD_READY;

    *r = (struct relay){.child = child, .config = child->config, .root = -1, .signal_fd = -1};
    r->ops = child->config->sync ? &file_ops_synced : &file_ops_unsynced;
    TAILQ_INIT(&r->jobs);
    json_seed();
    (void)fd_raise_limit();
    for (size_t i = 0; i < child->socket_count; i++) {
        int fd = child->sockets[i].fd; /* a port is not to be held by who does not accept */

        fd_close(&fd);
    }
    if (sandbox_begin(&needs, error) < 0 || relay_open(r, error) < 0 ||
        sandbox_finish(&needs, error) < 0) {
        (void)!fd_write_all(child->ready_fd, error, strlen(error));
        return CHILD_EXIT_NOT_READY;
    }
    atomic_store_explicit(&r->stats.block->sandbox, sandbox_parts(), memory_order_relaxed);
    if (fd_write_all(child->ready_fd, &ready, 1) < 0)
        relay_leave(r);
    while (!relay_is_done(r)) {
        relay_turn(r);
        sandbox_say_refused();
    }
    if (r->follow != NULL)
        relay_save(r);
    relay_keep_end(r);
    relay_drop_all(r);
    follow_close(r->follow);
    publisher_close(r->publisher);
    return CHILD_EXIT_DONE;
}
