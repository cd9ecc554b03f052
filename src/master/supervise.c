/* Manages workers. Invariant: a signal goes only to a child that is not reaped yet, with a pid from
 * our own memory. */
#include "master/state.h"

#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>

static void
row_state(struct master *m, const struct process *w, enum stats_worker_state state)
{
    if (w->placed)
        atomic_store(&stats_master_worker(&m->stats, &w->place)->state, state);
}

static void
process_signal(const struct process *w, int signo)
{
    /* kill(2) takes 0 and less for whole groups. */
    MS_ASSERT(w->pid >= 0);
    if (w->pid != 0 && kill(w->pid, signo) < 0)
        log_line(LOG_signal_not_sent, "cannot send signal %d to %s (pid %d): %s", signo, w->name,
                 (int)w->pid, strerror(errno));
}

/* --- fork --- */

struct forget {
    struct master *m;
    const struct generation *g; /* the child's own */
};

static void
forget_generation(const struct forget *f, struct generation *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->socket_count; i++) {
        if (!generation_has(f->g, g->sockets[i].socket))
            listener_forget(g->sockets[i].socket);
    }
    for (size_t i = 0; i < g->worker_count; i++)
        fd_close(&g->workers[i].ready_fd);
}

/* In the child. A copy that stayed open here would keep the lock, a removed listener or the pipe
 * that tells of the master's death alive. */
static void
supervise_forget(void *arg)
{
    const struct forget *f = arg;
    struct master *m = f->m;

    signals_reset_child(&m->signals);
    run_dir_forget(&m->run);
    fd_close(&m->verdict_fd);
    fd_close(&m->death_fds[1]);
    forget_generation(f, m->current);
    forget_generation(f, m->pending);
    for (struct generation *g = m->old; g != NULL; g = g->next)
        forget_generation(f, g);
    for (struct listener *l = m->retired; l != NULL; l = l->next)
        if (!generation_has(f->g, l))
            listener_forget(l);
}

static void
spawn_fill(const struct master *m, const struct generation *g, const struct process *w,
           struct spawn *s)
{
    struct child *c = &s->child;

    s->entry = m->hooks->entry;
    s->name = w->name;
    s->log_file = m->log_file;
    s->forget = supervise_forget;
    c->index = w->index;
    c->generation = g->number;
    c->is_restart = w->restarts > 0;
    c->config = g->config;
    c->listener_count = g->config->listener_count;
    for (size_t i = 0; i < c->listener_count; i++)
        c->listeners[i] =
            (struct child_listener){.stats_id = g->rows[i], .config = &g->config->listeners[i]};
    c->socket_count = g->socket_count;
    for (size_t i = 0; i < g->socket_count; i++)
        c->sockets[i] = (struct child_socket){.fd = g->sockets[i].socket->socket.fd,
                                              .listener = g->sockets[i].listener};
    c->bus = m->bus;
    c->dedup = m->dedup;
    c->sources = m->sources;
    c->id_offset_us = m->id_offset_us;
    c->id_clock_fd = m->id_clock_fd;
    c->accept_bell = m->accept_bell;
    c->handover_fds[0] = m->handover_fds[0];
    c->handover_fds[1] = m->handover_fds[1];
    c->tls_secret = m->tls_secret;
    c->stats = w->place;
    c->program_fd = m->upgrading && g == m->pending ? m->next_program_fd : m->program_fd;
    c->ready_fd = -1;
    c->master_fd = m->death_fds[0];
}

static int
process_place(struct master *m, const struct generation *g, struct process *w, struct failure *why)
{
    if (w->placed)
        return 0;
    if (stats_master_claim(&m->stats, w->index, g->number, &w->place) < 0) {
        failure_set(why, EX_OSERR, "no place for %s in the statistics: %s", w->name,
                    errno == EAGAIN ? "too many workers still drain" : strerror(errno));
        return -1;
    }
    w->placed = true;
    return 0;
}

/* A signal that its own code has earned. */
static bool
status_is_crash(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM &&
           WTERMSIG(status) != SIGQUIT;
}

/* It was not told to leave, or would not have died of that; and it has said no reason. */
static bool
process_has_crashed(const struct process *w, int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status) != CHILD_EXIT_DONE &&
               WEXITSTATUS(status) != CHILD_EXIT_NOT_READY;
    return status_is_crash(status) || w->state != WORKER_LEAVING;
}

/* What stands against sources outlives the worker, and its crash may be somebody's fault. */
static void
process_bury(struct master *m, const struct process *w, int status)
{
    struct source source;
    char name[SOURCE_NAME_LEN];

    if (sources_bury(m->sources, m->stats.control, w->place.region, w->place.incarnation,
                     status_is_crash(status), clock_mono_us(), &source))
        log_line(LOG_source_of_crash,
                 "worker %u (pid %d) was reading what %s had sent when it crashed: that source is "
                 "turned away for a while",
                 w->index, (int)w->pid, source_name(&source, name));
}

/* status: how it has ended, as wait(2) says. */
static void
process_unplace(struct master *m, struct process *w, int status)
{
    if (!w->placed)
        return;
    process_bury(m, w, status);
    if (process_has_crashed(w, status))
        crash_keep(m, w, status);
    stats_master_fold(&m->stats, &w->place);
    w->placed = false;
}

static void
process_started(struct master *m, const struct generation *g, struct process *w)
{
    struct stats_worker *row = stats_master_worker(&m->stats, &w->place);

    w->state = WORKER_STARTING;
    w->started_us = clock_mono_us();
    w->wake_us = w->started_us + g->config->ready_timeout_us;
    w->reopens = m->reopens;
    w->sentence_len = 0;
    w->may_go = false;
    atomic_store(&row->pid, (int32_t)w->pid);
    atomic_store(&row->restarts, w->restarts);
    atomic_store(&row->started_us, w->started_us);
    atomic_store(&row->state, STATS_WORKER_STARTING);
}

int
supervise_spawn(struct master *m, struct generation *g, struct process *w, struct failure *why)
{
    struct forget forget = {.m = m, .g = g};
    struct spawn s = {.forget_arg = &forget};
    pid_t pid;

    if (process_place(m, g, w, why) < 0)
        return -1;
    tls_secret_advance(&m->tls_secret);
    spawn_fill(m, g, w, &s);
    pid = spawn_worker(&s, &w->ready_fd, why);
    if (pid < 0)
        return -1;
    w->pid = pid;
    process_started(m, g, w);
    log_line(LOG_worker_forked, "%s (pid %d) forked for generation %llu", w->name, (int)pid,
             (unsigned long long)g->number);
    return 0;
}

/* --- ready --- */

static void
process_ready(struct master *m, struct process *w)
{
    w->state = WORKER_READY;
    w->wake_us = w->degraded ? w->started_us + BACKOFF_STABLE_US : 0;
    row_state(m, w, STATS_WORKER_READY);
    if (w->reopens != m->reopens) {
        w->reopens = m->reopens;
        process_signal(w, SIGUSR1);
    }
    log_line(LOG_worker_ready, "%s (pid %d) is ready", w->name, (int)w->pid);
}

void
supervise_go(struct generation *g)
{
    for (size_t i = 0; i < g->worker_count; i++)
        process_go(&g->workers[i]);
}

static void
hear_generation(struct master *m, struct generation *g)
{
    for (size_t i = 0; g != NULL && i < g->worker_count; i++) {
        struct process *w = &g->workers[i];

        if (w->state != WORKER_STARTING || !process_hear(w))
            continue;
        process_ready(m, w);
        if (g == m->current)
            process_go(w);
    }
}

void
supervise_hear(struct master *m)
{
    hear_generation(m, m->current);
    hear_generation(m, m->pending);
}

/* --- death and replacement --- */

/* "died: signal 9 (Killed)", "could not start: <its sentence>" */
static void
describe_end(const struct process *w, int status, char *out, size_t size)
{
    char sentence[WORKER_SENTENCE_LEN];

    process_sentence(w, sentence);
    if (WIFSIGNALED(status))
        snprintf(out, size, "died: signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 w->state == WORKER_LATE ? ", as it was not ready in time" : "");
    else if (sentence[0] != '\0')
        snprintf(out, size, "could not start: %s", sentence);
    else
        snprintf(out, size, "died: exit status %d", WEXITSTATUS(status));
}

/* Waits for a later try; the row of the table shows it. */
static void
process_wait(struct master *m, const struct generation *g, struct process *w, uint64_t delay_us,
             uint64_t now_us)
{
    struct failure why;

    w->state = WORKER_WAITING;
    w->wake_us = now_us + delay_us;
    if (!w->degraded) {
        log_line(LOG_worker_keeps_dying,
                 "%s keeps dying: from now on it is replaced with a growing delay", w->name);
        w->degraded = true;
    }
    if (process_place(m, g, w, &why) == 0) {
        struct stats_worker *row = stats_master_worker(&m->stats, &w->place);

        atomic_store(&row->pid, 0);
        atomic_store(&row->restarts, w->restarts);
        atomic_store(&row->state, STATS_WORKER_WAITING);
    }
}

/* A fork that fails counts as a death, so that trying again does not become a storm either. */
static void
process_replace(struct master *m, struct generation *g, struct process *w, uint64_t now_us)
{
    struct failure why;

    w->restarts++;
    if (supervise_spawn(m, g, w, &why) == 0)
        return;
    log_line(LOG_worker_not_started, "%s", why.text);
    process_wait(m, g, w, backoff_died(&w->backoff, now_us, now_us), now_us);
}

static void
process_crashed(struct master *m, struct generation *g, struct process *w, const char *end,
                pid_t pid)
{
    uint64_t now_us = clock_mono_us();
    uint64_t delay_us = backoff_died(&w->backoff, w->started_us, now_us);

    log_line(LOG_worker_died, "%s (pid %d) %s", w->name, (int)pid, end);
    if (delay_us == 0)
        process_replace(m, g, w, now_us);
    else
        process_wait(m, g, w, delay_us, now_us);
}

static void
process_left(const struct process *w, int status, const char *end, pid_t pid)
{
    /* One that could not start may have ended before it was told to leave. */
    if (WIFEXITED(status) &&
        (WEXITSTATUS(status) == CHILD_EXIT_DONE || WEXITSTATUS(status) == CHILD_EXIT_NOT_READY))
        log_line(LOG_worker_left, "%s (pid %d) has left", w->name, (int)pid);
    else if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM))
        log_line(LOG_worker_left, "%s (pid %d) was ended", w->name, (int)pid);
    else
        log_line(LOG_old_worker_died, "%s (pid %d) %s", w->name, (int)pid, end);
}

/* Returns false where that makes an end of pending. */
static bool
process_gone(struct master *m, struct generation *g, struct process *w, int status,
             struct failure *why)
{
    char end[WORKER_SENTENCE_LEN + 64];
    pid_t pid = w->pid;

    if (w->state == WORKER_STARTING)
        (void)process_hear(w);
    fd_close(&w->ready_fd);
    describe_end(w, status, end, sizeof(end));
    process_unplace(m, w, status);
    w->pid = 0;
    w->state = WORKER_NONE;
    w->wake_us = 0;
    if (g == m->current) {
        process_crashed(m, g, w, end, pid);
    } else if (g == m->pending) {
        failure_set(why, EX_SOFTWARE, "%s (pid %d) %s", w->name, (int)pid, end);
        return false;
    } else {
        process_left(w, status, end, pid);
    }
    return true;
}

static struct process *
supervise_find(struct master *m, pid_t pid, struct generation **g_out)
{
    struct process *w = NULL;

    *g_out = m->current;
    if (*g_out != NULL && (w = generation_find(*g_out, pid)) != NULL)
        return w;
    *g_out = m->pending;
    if (*g_out != NULL && (w = generation_find(*g_out, pid)) != NULL)
        return w;
    for (*g_out = m->old; *g_out != NULL; *g_out = (*g_out)->next) {
        if ((w = generation_find(*g_out, pid)) != NULL)
            return w;
    }
    return NULL;
}

bool
supervise_reap(struct master *m, struct failure *why)
{
    struct generation *g;
    struct process *w;
    bool fine = true;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct failure more;

        if (pid == m->reading.pid)
            m->reading.pid = 0;
        w = supervise_find(m, pid, &g);
        if (w == NULL || process_gone(m, g, w, status, &more))
            continue;
        if (fine)
            *why = more; /* the first is the cause, the others follow */
        fine = false;
    }
    return fine;
}

/* --- time --- */

static bool
process_due(struct master *m, struct generation *g, struct process *w, uint64_t now_us,
            struct failure *why)
{
    w->wake_us = 0;
    switch (w->state) {
    case WORKER_STARTING:
        if (g == m->pending) {
            failure_set(why, EX_SOFTWARE, "%s (pid %d) was not ready within %.3g s", w->name,
                        (int)w->pid, (double)g->config->ready_timeout_us / 1e6);
            return false;
        }
        log_line(LOG_worker_not_ready, "%s (pid %d) was not ready within %.3g s: killed", w->name,
                 (int)w->pid, (double)g->config->ready_timeout_us / 1e6);
        w->state = WORKER_LATE;
        process_signal(w, SIGKILL);
        break;
    case WORKER_WAITING:
        process_replace(m, g, w, now_us);
        break;
    case WORKER_READY:
        w->degraded = false;
        log_line(LOG_worker_stable, "%s (pid %d) is stable again", w->name, (int)w->pid);
        break;
    case WORKER_NONE:
    case WORKER_LATE:
    case WORKER_LEAVING:
        break;
    }
    return true;
}

static bool
timers_generation(struct master *m, struct generation *g, uint64_t now_us, struct failure *why)
{
    for (size_t i = 0; g != NULL && i < g->worker_count; i++) {
        struct process *w = &g->workers[i];

        if (w->wake_us != 0 && w->wake_us <= now_us && !process_due(m, g, w, now_us, why))
            return false;
    }
    return true;
}

bool
supervise_timers(struct master *m, uint64_t now_us, struct failure *why)
{
    for (struct generation *g = m->old; g != NULL; g = g->next) {
        if (g->kill_at_us == 0 || g->kill_at_us > now_us)
            continue;
        log_line(LOG_drain_over, "%zu workers of generation %llu have not left in time: killed",
                 generation_alive(g), (unsigned long long)g->number);
        for (size_t i = 0; i < g->worker_count; i++)
            process_signal(&g->workers[i], SIGKILL);
        g->kill_at_us = 0;
    }
    return timers_generation(m, m->current, now_us, why) &&
           timers_generation(m, m->pending, now_us, why);
}

/* --- leaving --- */

/* One that was never told to go has begun nothing. */
static void
process_drain(struct master *m, struct process *w, int signo)
{
    fd_close(&w->ready_fd);
    w->wake_us = 0;
    if (w->pid == 0) {
        process_unplace(m, w, 0);
        w->state = WORKER_NONE;
        return;
    }
    if (w->state != WORKER_READY)
        process_signal(w, SIGKILL);
    else
        process_signal(w, w->may_go ? signo : SIGTERM);
    row_state(m, w, STATS_WORKER_DRAINING);
    w->state = WORKER_LEAVING;
}

void
supervise_drain(struct master *m, struct generation *g, int signo, uint64_t limit_us)
{
    for (size_t i = 0; i < g->worker_count; i++)
        process_drain(m, &g->workers[i], signo);
    generation_unlisten(g);
    g->kill_at_us = clock_mono_us() + limit_us + SUPERVISE_GRACE_US;
    g->next = m->old;
    m->old = g;
}

void
supervise_stop(struct generation *g, uint64_t now_us)
{
    for (size_t i = 0; i < g->worker_count; i++)
        process_signal(&g->workers[i], SIGTERM);
    g->told_to_stop = true;
    g->kill_at_us = now_us + SUPERVISE_GRACE_US;
}

void
supervise_bound(struct master *m)
{
    size_t alive = 0;

    for (struct generation *g = m->old; g != NULL; g = g->next) {
        alive += generation_alive(g);
        if (alive <= SUPERVISE_OLD_MAX || g->told_to_stop)
            continue;
        log_line(LOG_too_many_old,
                 "too many workers still drain: the %zu of generation %llu leave now",
                 generation_alive(g), (unsigned long long)g->number);
        supervise_stop(g, clock_mono_us());
    }
}

void
supervise_sweep(struct master *m)
{
    struct generation **at = &m->old;

    while (*at != NULL) {
        struct generation *g = *at;

        if (generation_alive(g) > 0) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        log_line(LOG_generation_gone, "generation %llu is gone", (unsigned long long)g->number);
        generation_destroy(g);
    }
}

static void
reopen_generation(struct master *m, struct generation *g)
{
    for (size_t i = 0; g != NULL && i < g->worker_count; i++) {
        struct process *w = &g->workers[i];

        /* One that starts has no handler for it yet and is told when it is ready. */
        if (w->pid == 0 || (w->state != WORKER_READY && w->state != WORKER_LEAVING))
            continue;
        w->reopens = m->reopens;
        process_signal(w, SIGUSR1);
    }
}

void
supervise_reopen(struct master *m)
{
    m->reopens++;
    reopen_generation(m, m->current);
    reopen_generation(m, m->pending);
    for (struct generation *g = m->old; g != NULL; g = g->next)
        reopen_generation(m, g);
}
