/* The supervisor: start, the loop, stop. The loop waits for signals, for workers that say they are
 * ready, and for the next point in time at which something is due; everything it does is short. */
#include "master/master.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"
#include "common/text.h"
#include "master/state.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

gid_t
master_group(const struct config *config)
{
    bool changes = config->user != NULL || config->group != NULL;

    return geteuid() == 0 && changes ? config->gid : (gid_t)-1;
}

#define RING_SIZE ((size_t)4 << 20) /* bytes; of the bus, for each worker */
#define LOOK_US   5000000u          /* between two looks at our files and the day */

void
master_look(struct master *m)
{
    run_dir_look(&m->run, m->stats.control_ro_fd);
    for (size_t i = 0; m->current != NULL && i < m->current->socket_count; i++)
        listener_look(m->current->sockets[i].socket);
    reload_mind_certificates(m);
    m->look_at_us = clock_mono_us() + LOOK_US;
}

/* --- start --- */

static int
start_log(struct master *m, const struct config *config)
{
    log_set_name("master");
    log_set_level(config->log_level);
    log_set_format(config->log_format, NULL);
    if (log_file_prepare(config, &m->failure) < 0)
        return -1;
    if (log_open(config->log_file) < 0) {
        failure_set(&m->failure, EX_CANTCREAT, "cannot open log file %s: %s", config->log_file,
                    strerror(errno));
        return -1;
    }
    m->log_file = config->log_file != NULL ? ms_strdup(config->log_file) : NULL;
    environment_log_limits();
    return 0;
}

/* A daemon in the foreground of a terminal is seen there, and ended there with ^C. */
static void
start_terminal(struct master *m, const struct config *config)
{
    if (!config->daemonize && isatty(STDERR_FILENO))
        m->terminal_fd = STDERR_FILENO;
}

static int
start_descriptors(struct master *m)
{
    fd_raise_limit();
    if (signals_open(&m->signals) < 0 || pipe2(m->death_fds, O_CLOEXEC) < 0) {
        failure_set(&m->failure, EX_OSERR, "no descriptors: %s", strerror(errno));
        return -1;
    }
    /* Nobody tells of children that the launcher has left, and that died before. */
    signals_note(&m->signals.pending, SIGCHLD);
    m->program_fd = child_program_open();
    if (m->program_fd < 0) {
        failure_set(&m->failure, EX_OSERR,
                    "cannot open the file of this program, which workers "
                    "execute anew: %s",
                    strerror(errno));
        return -1;
    }
    upgrade_find_program(m);
    return 0;
}

static int
start_runtime(struct master *m, const struct config *config)
{
    gid_t gid = master_group(config);
    char error[256];

    if (run_dir_open(&m->run, config->runtime_dir, gid, &m->failure) < 0)
        return -1;
    if (stats_master_open(&m->stats, m->run.fd, m->run.path, gid, error) < 0) {
        failure_set(&m->failure, EX_CANTCREAT, "%s%s", error, run_dir_advice(errno));
        return -1;
    }
    m->has_stats = true;
    stats_master_protocols(&m->stats, proto_names);
    return 0;
}

/* What this kernel, or the sandbox around us, does not let us do: said before it is missed. */
static int
start_kernel(struct master *m)
{
    char names[KERNEL_LIST_LEN];

    if (kernel_refused(KERNEL_NEEDED, KERNEL_CALLS, names) > 0) {
        failure_set(&m->failure, EX_OSERR,
                    "the kernel, or a sandbox such as a seccomp profile, refuses %s, without which "
                    "msockd cannot work: allow it there",
                    names);
        return -1;
    }
    if (kernel_refused(0, KERNEL_NEEDED, names) > 0)
        log_line(LOG_old_kernel, "the kernel or a sandbox refuses %s: older calls do the same work",
                 names);
    if (access("/proc/self/fd", X_OK) < 0)
        log_line(
            LOG_no_proc,
            "/proc is not mounted: large bodies are copied once more, a Unix socket is for its "
            "owner alone, and there is no upgrade");
    return 0;
}

/* The wall clock is asked for the ids of all workers once: here. */
static int
start_id_clock(struct master *m)
{
    m->id_offset_us = memory_create("msockd-clock", sizeof(*m->id_offset_us), &m->id_clock_fd);
    if (m->id_offset_us == NULL) {
        failure_set(&m->failure, EX_OSERR, "no memory for the clock of ids: %s", strerror(errno));
        return -1;
    }
    atomic_store(m->id_offset_us, clock_offset_us());
    return 0;
}

static_assert(CONFIG_DEDUP_MAX <= DEDUP_MAX_LIMIT, "what can be configured can be made");

/* Makes the memory that workers of all generations share. */
static int
start_shared(struct master *m, const struct config *config)
{
    if (start_id_clock(m) < 0)
        return -1;
    if (bus_place_create(RING_SIZE, &m->bus) < 0) {
        failure_set(&m->failure, EX_OSERR, "no memory for the bus between the workers: %s",
                    strerror(errno));
        return -1;
    }
    m->dedup = dedup_table_create(config->dedup_max);
    if (m->dedup == NULL) {
        failure_set(&m->failure, EX_OSERR, "no memory to remember %u ids (dedup_max): %s",
                    config->dedup_max, strerror(errno));
        return -1;
    }
    tls_secret_make(&m->tls_secret);
    m->sources = sources_table_create();
    if (m->sources == NULL) {
        failure_set(&m->failure, EX_OSERR, "no memory to know sources: %s", strerror(errno));
        return -1;
    }
    m->accept_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->accept_bell < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                                         m->handover_fds) < 0) {
        failure_set(&m->failure, EX_OSERR, "no sockets between the workers: %s", strerror(errno));
        return -1;
    }
    return 0;
}

/* Takes config over. */
static int
master_start(struct master *m, struct config *config)
{
    start_terminal(m, config);
    notify_open(&m->notify);
    if (start_log(m, config) < 0 || start_kernel(m) < 0 || start_descriptors(m) < 0 ||
        start_runtime(m, config) < 0 || start_shared(m, config) < 0) {
        config_destroy(config);
        return -1;
    }
    given_open(m, &m->hooks->given);
    return reload_begin(m, config, &m->failure);
}

/* --- the first generation is ready, or not --- */

static void master_leave(struct master *m, enum master_phase phase, int signo);

static void
master_fail(struct master *m, const struct failure *why)
{
    m->failure = *why;
    master_leave(m, MASTER_FAILED, SIGTERM);
}

static void
master_mind_user(const struct config *config)
{
    if (geteuid() == 0 && config->user == NULL)
        log_line(LOG_workers_are_root,
                 "the workers, which read what peers send, run as root: set user=NAME to a user of "
                 "their own, whom %s belongs to",
                 config->data_dir);
}

static void
master_ready(struct master *m)
{
    struct failure why;
    struct buffer text;

    buffer_init(&text);
    if (reload_commit(m, &why) < 0 || run_dir_write_pid(&m->run, &why) < 0) {
        master_fail(m, &why);
        goto out;
    }
    m->phase = MASTER_RUNNING;
    m->look_at_us = clock_mono_us() + LOOK_US;
    stats_master_ready(&m->stats);
    reload_describe(m->current, &text);
    log_line(LOG_ready, "ready: %s", buffer_cstr(&text));
    master_mind_user(m->current->config);
    daemonize_tell(&m->verdict_fd, 0, "");
    notify_ready(&m->notify, "", buffer_cstr(&text));
    given_tell(m);
out:
    buffer_fini(&text);
}

static void
pending_failed(struct master *m, const struct failure *why)
{
    if (m->phase == MASTER_STARTING)
        master_fail(m, why);
    else
        reload_fail(m, why);
}

static void
pending_step(struct master *m)
{
    if (m->pending != NULL && generation_ready(m->pending) == m->pending->worker_count) {
        if (m->phase == MASTER_STARTING)
            master_ready(m);
        else
            reload_finish(m);
    }
    if (m->pending == NULL && (m->reload_again || m->upgrade_again)) {
        bool upgrade = m->upgrade_again;

        *(upgrade ? &m->upgrade_again : &m->reload_again) = false;
        reload_request(m, upgrade);
    }
    reload_workers_begin(m);
}

/* --- stop --- */

static void
leave_pending(struct master *m)
{
    static const struct failure told = {.code = 0, .text = "msockd was told to stop"};

    if (m->pending == NULL)
        return;
    if (m->current != NULL)
        reload_fail(m, &told);
    else
        reload_abort(m);
}

/* All generations drain from here on, and the loop ends with the last of them. */
static void
master_leave(struct master *m, enum master_phase phase, int signo)
{
    struct generation *g;

    if (m->phase == MASTER_RUNNING)
        master_look(m);
    leave_pending(m);
    reading_give_up(m, "msockd was told to stop");
    m->phase = phase;
    notify_say(&m->notify, "STOPPING=1\nSTATUS=stopping");
    m->reload_again = false;
    if (m->has_stats)
        atomic_store(&m->stats.control->stopping, (uint32_t)signo);
    g = m->current;
    m->current = NULL;
    if (g != NULL)
        supervise_drain(m, g, signo, signo == SIGQUIT ? g->config->drain_timeout_us : 0);
}

static void
master_stop(struct master *m)
{
    uint64_t now_us = clock_mono_us();

    if (m->phase == MASTER_STOPPING || m->phase == MASTER_FAILED)
        return;
    log_line(LOG_stopping, "stopping at once");
    if (m->phase == MASTER_STARTING)
        daemonize_tell(&m->verdict_fd, EX_TEMPFAIL, "told to stop before it was ready");
    master_leave(m, MASTER_STOPPING, SIGTERM);
    for (struct generation *g = m->old; g != NULL; g = g->next)
        supervise_stop(g, now_us);
}

static void
master_drain(struct master *m)
{
    if (m->phase == MASTER_STARTING) {
        master_stop(m);
        return;
    }
    if (m->phase != MASTER_RUNNING)
        return;
    log_line(LOG_stopping, "stopping once the messages under way are finished");
    master_leave(m, MASTER_DRAINING, SIGQUIT);
}

/* --- the loop --- */

static void
master_reap(struct master *m)
{
    struct failure why;

    if (!supervise_reap(m, &why))
        pending_failed(m, &why);
}

static void
master_reopen(struct master *m)
{
    struct failure why;

    if (m->current != NULL && log_file_prepare(m->current->config, &why) < 0)
        log_line(LOG_log_not_opened, "%s", why.text);
    if (log_reopen() < 0)
        log_line(LOG_log_not_opened, "cannot open the log file again: %s", strerror(errno));
    supervise_reopen(m);
    atomic_fetch_add(&m->stats.control->reopens, 1);
    log_line(LOG_log_reopened, "log reopened");
}

/* Looked at before the signals: a shell that hangs up passes SIGHUP on to its jobs, and that is no
 * wish to reload then. Nobody waits for the end, so messages under way may finish. */
static void
master_terminal(struct master *m)
{
    struct pollfd terminal = {.fd = m->terminal_fd};

    if (m->terminal_fd < 0 || poll(&terminal, 1, 0) <= 0)
        return;
    m->terminal_fd = -1;
    log_line(LOG_hung_up, "the terminal has hung up");
    signals_note(&m->signals.pending, SIGQUIT);
}

static void
master_signals(struct master *m)
{
    enum signals_action action;

    signals_collect(&m->signals);
    while ((action = signals_next(&m->signals.pending)) != SIGNALS_NONE) {
        switch (action) {
        case SIGNALS_STOP:
            master_stop(m);
            break;
        case SIGNALS_DRAIN:
            master_drain(m);
            break;
        case SIGNALS_REAP:
            master_reap(m);
            break;
        case SIGNALS_RELOAD:
            reload_request(m, false);
            break;
        case SIGNALS_REOPEN:
            master_reopen(m);
            break;
        case SIGNALS_UPGRADE:
            reload_request(m, true);
            break;
        case SIGNALS_MORE:
            reload_workers(m, WORKERS_MORE, 1);
            break;
        case SIGNALS_FEWER:
            reload_workers(m, WORKERS_MORE, -1);
            break;
        case SIGNALS_WORKERS:
            reload_workers(m, WORKERS_TOTAL, m->signals.workers);
            break;
        case SIGNALS_NONE:
            break;
        }
    }
}

static size_t
wait_for(const struct generation *g, struct pollfd *fds)
{
    size_t n = 0;

    for (size_t i = 0; g != NULL && i < g->worker_count; i++) {
        if (g->workers[i].ready_fd >= 0 && g->workers[i].state == WORKER_STARTING)
            fds[n++] = (struct pollfd){.fd = g->workers[i].ready_fd, .events = POLLIN};
    }
    return n;
}

static uint64_t
master_wake_us(const struct master *m)
{
    uint64_t wake = UINT64_MAX, us;

    if (m->current != NULL && (us = generation_wake_us(m->current)) < wake)
        wake = us;
    if (m->pending != NULL && (us = generation_wake_us(m->pending)) < wake)
        wake = us;
    for (const struct generation *g = m->old; g != NULL; g = g->next) {
        if ((us = generation_wake_us(g)) < wake)
            wake = us;
    }
    if (reading_is_on(m) && m->reading.until_us < wake)
        wake = m->reading.until_us;
    if (m->phase == MASTER_RUNNING && m->look_at_us < wake)
        wake = m->look_at_us;
    if ((us = notify_wake_us(&m->notify)) < wake)
        wake = us;
    us = retired_wake_us(m);
    return us < wake ? us : wake;
}

/* Which descriptor it was does not matter: all are looked at, and seldom. */
static void
master_wait(const struct master *m)
{
    struct pollfd fds[3 + 2 * GENERATION_MAX] = {{.fd = m->signals.fd, .events = POLLIN},
                                                 {.fd = m->reading.fd, .events = POLLIN},
                                                 {.fd = m->terminal_fd}};
    uint64_t wake = master_wake_us(m), now_us = clock_mono_us();
    uint64_t left = wake > now_us ? wake - now_us : 0;
    struct timespec ts = {.tv_sec = (time_t)(left / 1000000),
                          .tv_nsec = (long)(left % 1000000) * 1000};
    size_t n = 3;

    n += wait_for(m->current, fds + n);
    n += wait_for(m->pending, fds + n);
    ppoll(fds, n, wake == UINT64_MAX ? NULL : &ts, NULL);
}

static bool
master_goes_on(const struct master *m)
{
    return m->phase == MASTER_STARTING || m->phase == MASTER_RUNNING || m->old != NULL;
}

static void
master_loop(struct master *m)
{
    struct failure why;

    while (master_goes_on(m)) {
        master_wait(m);
        supervise_hear(m);
        reading_hear(m);
        master_terminal(m);
        master_signals(m);
        notify_timer(&m->notify, clock_mono_us());
        retired_timers(m, clock_mono_us());
        reading_timers(m, clock_mono_us());
        if (m->phase == MASTER_RUNNING && m->look_at_us <= clock_mono_us())
            master_look(m);
        if (!supervise_timers(m, clock_mono_us(), &why))
            pending_failed(m, &why);
        pending_step(m);
        supervise_sweep(m);
    }
}

/* --- all of it --- */

static void
master_fini(struct master *m)
{
    retired_end_all(m);
    if (m->has_stats)
        stats_master_close(&m->stats);
    fd_close(&m->program_fd);
    fd_close(&m->death_fds[0]);
    fd_close(&m->death_fds[1]);
    fd_close(&m->accept_bell);
    fd_close(&m->handover_fds[0]);
    fd_close(&m->handover_fds[1]);
    bus_place_close(&m->bus);
    dedup_table_destroy(m->dedup);
    sources_table_destroy(m->sources);
    if (m->id_offset_us != NULL)
        munmap(m->id_offset_us, sizeof(*m->id_offset_us));
    fd_close(&m->id_clock_fd);
    run_dir_close(&m->run);
    signals_close(&m->signals);
    free(m->log_file);
}

int
master_go_on(struct master *m, struct failure *why)
{
    int code = 0;

    supervise_sweep(m);
    master_loop(m);
    (void)reading_bury(m); /* it does not outlive us */
    if (m->phase == MASTER_FAILED) {
        *why = m->failure;
        code = m->failure.code;
        daemonize_tell(&m->verdict_fd, why->code, why->text);
    } else {
        log_line(LOG_stopped, "stopped");
    }
    master_fini(m);
    return code;
}

int
master_run(struct config *config, const struct master_hooks *hooks, struct failure *why)
{
    struct master m = {.hooks = hooks,
                       .phase = MASTER_STARTING,
                       .signals = {.fd = -1},
                       .run = RUN_DIR_CLOSED,
                       .verdict_fd = hooks->verdict_fd,
                       .terminal_fd = -1,
                       .death_fds = {-1, -1},
                       .id_clock_fd = -1,
                       .accept_bell = -1,
                       .handover_fds = {-1, -1},
                       .bus = {.memory_fd = -1, .read_fd = -1, .bell_fd = -1},
                       .reading = {.fd = -1, .words_fd = -1},
                       .program_fd = -1,
                       .next_program_fd = -1};

    if (master_start(&m, config) < 0)
        m.phase = MASTER_FAILED;
    return master_go_on(&m, why);
}
