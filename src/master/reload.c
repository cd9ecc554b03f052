/* A change of configuration as a transaction. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* Workers of a master that was killed close their sockets as soon as they notice; a new master that
 * is started at once waits for them. */
enum { START_BIND_TRIES = 25, START_BIND_PAUSE_MS = 20 };

#define DAY_S              86400
#define CERTIFICATE_WARN_S (14 * DAY_S)

#define RETIRED_AGAIN_US 100000 /* until a retired socket that is needed is looked at again */
#define READING_BURY_MS  1000

static bool
same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Refuses changes that a running daemon cannot make. */
static int
reload_check(const struct master *m, const struct config *config, struct failure *why)
{
    const struct config *now = m->current != NULL ? m->current->config : NULL;

    if (now != NULL && !same_text(now->runtime_dir, config->runtime_dir)) {
        failure_set(why, EX_CONFIG, "runtime_dir cannot change while running");
        return -1;
    }
    if (now != NULL && now->daemonize != config->daemonize) {
        failure_set(why, EX_CONFIG, "daemon cannot change while running");
        return -1;
    }
    if (now != NULL && now->dedup_max != config->dedup_max) {
        failure_set(why, EX_CONFIG, "dedup_max cannot change while running");
        return -1;
    }
    if (geteuid() != 0 && config->user != NULL && config->uid != geteuid()) {
        failure_set(why, EX_NOPERM, "user: cannot become %s, since msockd does not run as root",
                    config->user);
        return -1;
    }
    return 0;
}

static int
reload_listen(struct master *m, struct generation *g, struct failure *why)
{
    gid_t gid = master_group(g->config);
    int tries = m->phase == MASTER_STARTING ? START_BIND_TRIES : 1;

    while (generation_listen(g, m->current, m->retired, gid, why) < 0) {
        if (--tries == 0 || why->code != EX_UNAVAILABLE)
            return -1;
        poll(NULL, 0, START_BIND_PAUSE_MS);
    }
    return 0;
}

/* --- rows of listeners in the control file --- */

/* "127.0.0.1:43117, [::1]:43117" */
static void
rows_address(const struct generation *g, size_t i, struct buffer *out)
{
    struct endpoint told[LISTEN_SOCKETS_MAX];
    char address[ENDPOINT_TEXT_LEN];
    size_t n = generation_told(g, i, told);

    for (size_t k = 0; k < n; k++) {
        endpoint_format(&told[k], address);
        buffer_printf(out, "%s%s", k > 0 ? ", " : "", address);
    }
}

/* The row of a listener of the present configuration whose name i has as well: its connections
 * move, whatever became of its addresses. With port 0 there may be several of that name, and a
 * common socket tells which it is. -1: there is none. */
static int
rows_inherited(const struct generation *g, size_t i, const struct generation *now)
{
    bool any_port = endpoint_port(&g->config->listeners[i].endpoints[0]) == 0;

    for (size_t k = 0; now != NULL && k < now->socket_count; k++) {
        size_t j = now->sockets[k].listener;
        bool common = false;

        for (size_t s = 0; s < g->socket_count; s++)
            common = common || (g->sockets[s].listener == i &&
                                g->sockets[s].socket == now->sockets[k].socket);
        if ((common || !any_port) && j < now->row_count &&
            strcmp(now->config->listeners[j].name, g->config->listeners[i].name) == 0)
            return now->rows[j];
    }
    return -1;
}

static int
rows_claim(struct master *m, struct generation *g, struct failure *why)
{
    for (size_t i = 0; i < g->config->listener_count; i++) {
        const struct listener_config *lc = &g->config->listeners[i];
        struct buffer address;
        int row;

        buffer_init(&address);
        rows_address(g, i, &address);
        row = stats_master_listener(&m->stats, rows_inherited(g, i, m->current), lc->name,
                                    buffer_cstr(&address), lc->proto, lc->handler);
        buffer_fini(&address);
        if (row < 0) {
            failure_set(why, EX_OSERR, "%s: the statistics have no row left for another listener",
                        lc->name);
            return -1;
        }
        g->rows[i] = (uint16_t)row;
        g->row_count = i + 1;
    }
    return 0;
}

static bool
rows_have(const struct generation *g, uint16_t row)
{
    for (size_t i = 0; g != NULL && i < g->row_count; i++) {
        if (g->rows[i] == row)
            return true;
    }
    return false;
}

/* Rows of gone that stays does not have. */
static void
rows_release(struct master *m, const struct generation *gone, const struct generation *stays)
{
    for (size_t i = 0; i < gone->row_count; i++) {
        if (!rows_have(stays, gone->rows[i]))
            stats_master_listener_inactive(&m->stats, gone->rows[i]);
    }
}

/* --- the transaction --- */

static int
reload_fork(struct master *m, struct generation *g, struct failure *why)
{
    for (size_t i = 0; i < g->worker_count; i++) {
        if (supervise_spawn(m, g, &g->workers[i], why) < 0)
            return -1;
    }
    return 0;
}

/* Workers share the pair, so each of them can shut it down. Those that have it keep it. */
static void
reload_mend_handover(struct master *m)
{
    int fds[2];

    if (!fd_is_shut(m->handover_fds[0]) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return;
    for (int i = 0; i < 2; i++) {
        fd_close(&m->handover_fds[i]);
        m->handover_fds[i] = fds[i];
    }
}

int
reload_begin(struct master *m, struct config *config, struct failure *why)
{
    uint64_t number = m->current != NULL ? m->current->number + 1 : 1;
    char error[CONFIG_ERROR_LEN];

    MS_ASSERT(m->pending == NULL);
    reload_mend_handover(m);
    m->pending = generation_create(config, number);
    if (reload_check(m, config, why) < 0 || log_file_prepare(config, why) < 0)
        goto fail;
    /* For a reload the child that read the configuration has done it. */
    if (m->current == NULL && m->hooks->prepare(m->hooks->arg, config, NULL, error) < 0) {
        failure_set(why, EX_CANTCREAT, "%s", error);
        goto fail;
    }
    if (reload_listen(m, m->pending, why) < 0 || rows_claim(m, m->pending, why) < 0 ||
        reload_fork(m, m->pending, why) < 0)
        goto fail;
    return 0;
fail:
    reload_abort(m);
    return -1;
}

void
reload_abort(struct master *m)
{
    struct generation *g = m->pending;
    struct failure ignored;

    m->pending = NULL;
    rows_release(m, g, m->current);
    if (m->current == NULL) {
        supervise_drain(m, g, SIGTERM, 0);
        return;
    }
    /* A row that both have may show the protocol or handler that was not to be. */
    if (rows_claim(m, m->current, &ignored) < 0)
        log_line(LOG_reload_row, "%s", ignored.text);
    supervise_drain(m, g, SIGTERM, 0);
}

static void
reload_log(struct master *m, const struct config *config)
{
    log_set_level(config->log_level);
    log_set_format(config->log_format, NULL);
    if (same_text(m->log_file, config->log_file))
        return;
    if (log_open(config->log_file) < 0) {
        log_line(LOG_log_not_opened, "cannot open log file %s: %s", config->log_file,
                 strerror(errno));
        return;
    }
    free(m->log_file);
    m->log_file = config->log_file != NULL ? ms_strdup(config->log_file) : NULL;
}

/* While there is time to renew it. */
static void
certificate_mind(const struct listener_config *listener, uint64_t until)
{
    uint64_t now_s = clock_real_us() / 1000000;

    if (until == 0 || until > now_s + CERTIFICATE_WARN_S)
        return;
    log_line(LOG_certificate_ends,
             "%s: its certificate ends in %" PRIu64 " days: renew %s, and reload", listener->name,
             until > now_s ? (until - now_s) / DAY_S : 0, listener->text[OPTION_TLS_CERT]);
}

static void
reload_publish(struct master *m, const struct generation *g)
{
    struct stats_control *c = m->stats.control;
    const struct config *config = g->config;

    snprintf(c->config_file, sizeof(c->config_file), "%s",
             config->config_file != NULL ? config->config_file : "");
    snprintf(c->data_dir, sizeof(c->data_dir), "%s", config->data_dir);
    for (size_t i = 0; i < g->row_count; i++) {
        uint64_t until = (uint64_t)tls_pem_until(&config->listeners[i].tls);

        stats_master_listener_meaning(&m->stats, g->rows[i],
                                      listener_meaning(&config->listeners[i]));
        stats_master_listener_until(&m->stats, g->rows[i], until);
        certificate_mind(&config->listeners[i], until);
    }
    atomic_store(&c->workers, config->workers);
    atomic_store(&c->generation, g->number);
}

/* --- sockets that go --- */

/* Takes one off the list, and ends it. */
static void
retired_end(struct listener **at)
{
    struct listener *l = *at;

    *at = l->next;
    l->next = NULL;
    if (!l->given && !l->stored)
        listen_end(&l->socket);
    listener_unref(l);
}

/* Those that the new generation has again. */
static void
retired_revive(struct master *m, const struct generation *g)
{
    struct listener **at = &m->retired;

    while (*at != NULL) {
        struct listener *l = *at;

        if (!generation_has(g, l)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->next = NULL;
        listen_revive(&l->socket);
        listener_unref(l);
    }
}

/* Those of old that g does not have. Where the kernel cannot do it, such a socket is closed as soon
 * as the old workers have been told. */
static void
retired_add(struct master *m, const struct generation *old, const struct generation *g)
{
    for (size_t k = 0; k < old->socket_count; k++) {
        struct listener *l = old->sockets[k].socket;

        if (generation_has(g, l) || (!l->given && listen_retire(&l->socket) < 0))
            continue;
        l->end_us = l->given ? UINT64_MAX : clock_mono_us() + LISTENER_RETIRED_US;
        l->next = m->retired;
        m->retired = listener_ref(l);
    }
}

uint64_t
reload_wake_us(const struct master *m)
{
    uint64_t wake = UINT64_MAX;

    for (const struct listener *l = m->retired; l != NULL; l = l->next)
        wake = l->end_us < wake ? l->end_us : wake;
    return wake;
}

/* The configuration that is being prepared may want it back, and old workers that are slow may not
 * have taken all that wait there. */
static bool
retired_is_needed(const struct master *m, const struct listener *l)
{
    return (m->pending != NULL && generation_has(m->pending, l)) ||
           (m->old != NULL && listen_has_backlog(&l->socket));
}

static void
retired_timers(struct master *m, uint64_t now_us)
{
    struct listener **at = &m->retired;

    while (*at != NULL) {
        struct listener *l = *at;

        if (l->end_us <= now_us && retired_is_needed(m, l))
            l->end_us = now_us + RETIRED_AGAIN_US;
        if (l->end_us <= now_us)
            retired_end(at);
        else
            at = &l->next;
    }
}

void
reload_end_retired(struct master *m)
{
    while (m->retired != NULL)
        retired_end(&m->retired);
}

int
reload_commit(struct master *m, struct failure *why)
{
    struct generation *old = m->current;
    struct generation *g = m->pending;

    if (generation_begin(g, old, m->retired, why) < 0)
        return -1;
    m->current = g;
    m->pending = NULL;
    for (size_t k = 0; k < g->socket_count; k++)
        listener_apply(g->sockets[k].socket, &g->config->listeners[g->sockets[k].listener]);
    retired_revive(m, g);
    if (old != NULL)
        retired_add(m, old, g);
    /* Before the old workers are told: they look whether there are new ones for their
     * connections. */
    reload_publish(m, g);
    supervise_go(g);
    if (old != NULL) {
        rows_release(m, old, g);
        supervise_drain(m, old, SIGQUIT, old->config->drain_timeout_us);
        supervise_bound(m);
    }
    reload_log(m, g->config);
    return 0;
}

/* --- HUP --- */

void
reload_verdict(struct master *m, bool ok, const char *text)
{
    stats_master_verdict(&m->stats, ok, text);
    notify_ready(&m->notify, ok ? "" : "refused, and nothing has changed: ", text);
    if (ok)
        given_tell(m);
}

static void
reload_refuse(struct master *m, const struct failure *why)
{
    log_line(m->upgrading ? LOG_upgrade_failed : LOG_reload_failed,
             "%s failed, nothing has changed: %s", m->upgrading ? "upgrade" : "reload", why->text);
    upgrade_end(m);
    reload_verdict(m, false, why->text);
}

/* --- reading the configuration --- */

/* A host name may have a server that does not answer, a file may be on a disk that hangs. So a
 * child reads the configuration and makes the data directory ready, and the master goes on with
 * what is its own. It has ready_timeout, as new workers have. The child's first byte says how it
 * went: what follows is the configuration, or a sentence. */

void
reload_read(const struct master *m, struct buffer *said)
{
    char error[CONFIG_ERROR_LEN];
    struct config *config = NULL;

    if (m->hooks->build(m->hooks->arg, &config, error) == 0 &&
        m->hooks->prepare(m->hooks->arg, config, m->current->config, error) == 0) {
        buffer_append(said, (const char[]){READING_DONE}, 1);
        config_pack(config, said);
    } else {
        buffer_append(said, (const char[]){READING_FAILED}, 1);
        buffer_append_str(said, error);
    }
    config_destroy(config);
}

static _Noreturn void
reading_child(struct master *m, int fd, pid_t master)
{
    struct buffer said;

    (void)setpgid(0, 0); /* of an upgrade: what another program may have started ends with it */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != master)
        _exit(EX_OSERR);
    /* What would keep a lock or a port, or hide the master's death from the workers. */
    signals_reset_child(&m->signals);
    run_dir_forget(&m->run);
    fd_close(&m->death_fds[1]);
    if (m->upgrading)
        upgrade_read(m, fd);
    buffer_init(&said);
    reload_read(m, &said);
    _exit(fd_write_all(fd, buffer_bytes(&said), said.len) == 0 ? EX_OK : EX_OSERR);
}

/* Returns 0, or -1 with the reason. */
static int
reading_begin(struct master *m, struct failure *why)
{
    struct reading *r = &m->reading;
    int fds[2] = {-1, -1};
    pid_t master = getpid();

    if (pipe2(fds, O_CLOEXEC) == 0 && fd_set_nonblock(fds[0], 1) == 0)
        r->pid = fork();
    else
        r->pid = -1;
    if (r->pid == 0)
        reading_child(m, fds[1], master);
    fd_close(&fds[1]);
    if (r->pid < 0) {
        failure_set(why, EX_OSERR, "no process can be made to read the configuration: %s",
                    strerror(errno));
        fd_close(&fds[0]);
        r->pid = 0;
        return -1;
    }
    (void)setpgid(r->pid, r->pid);
    r->fd = fds[0];
    r->until_us = clock_mono_us() + m->current->config->ready_timeout_us;
    buffer_init(&r->said);
    return 0;
}

int
reload_bury_reading(struct master *m)
{
    int status = -1;

    for (unsigned ms = 0; m->reading.pid > 0 && ms < READING_BURY_MS; ms++) {
        if (waitpid(m->reading.pid, &status, WNOHANG) != 0)
            m->reading.pid = 0;
        else
            (void)poll(NULL, 0, 1);
    }
    return m->reading.pid == 0 ? status : -1;
}

static void
workers_set(struct config *config, unsigned workers)
{
    config->workers = workers;
    config->workers_set = true;
}

/* It has said nothing. */
static void
reading_say_end(struct master *m, struct failure *why)
{
    const char *who =
        m->upgrading ? "the new program" : "the process that was to read the configuration";
    int status = reload_bury_reading(m);

    if (status >= 0 && WIFSIGNALED(status))
        failure_set(why, EX_SOFTWARE, "%s was ended by signal %d (%s)", who, WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    else if (status >= 0)
        failure_set(why, EX_SOFTWARE, "%s ended with status %d and without a word%s", who,
                    WEXITSTATUS(status),
                    m->upgrading ? ": is it an msockd that can be upgraded to?" : "");
    else
        failure_set(why, EX_SOFTWARE, "%s ended without a word", who);
}

/* Takes what the child has said, which has ended. */
static void
reading_done(struct master *m)
{
    struct buffer said = m->reading.said;
    const char *bytes = buffer_bytes(&said);
    struct config *config = NULL;
    struct failure why;

    fd_close(&m->reading.fd);
    m->reading.until_us = 0;
    if (said.len > 0 && bytes[0] == READING_DONE)
        config = config_unpack(bytes + 1, said.len - 1);
    if (config != NULL && m->upgrading && m->current->config->workers_set)
        workers_set(config, m->current->config->workers);
    if (said.len > 0 && bytes[0] == READING_FAILED)
        failure_set(&why, EX_CONFIG, "%.*s", (int)said.len - 1, bytes + 1);
    else if (config == NULL)
        reading_say_end(m, &why);
    buffer_fini(&said);
    if (m->phase != MASTER_RUNNING)
        config_destroy(config);
    else if (config == NULL || reload_begin(m, config, &why) < 0)
        reload_refuse(m, &why);
}

bool
reload_is_reading(const struct master *m)
{
    return m->reading.fd >= 0;
}

void
reload_hear(struct master *m)
{
    ssize_t n;

    if (!reload_is_reading(m))
        return;
    do {
        n = fd_read(m->reading.fd, buffer_reserve(&m->reading.said, 4096), 4096);
        if (n > 0)
            buffer_added(&m->reading.said, (size_t)n);
    } while (n > 0);
    if (n == 0 || errno != EAGAIN)
        reading_done(m);
}

void
reload_give_up_reading(struct master *m, const char *reason)
{
    struct failure why;

    if (!reload_is_reading(m))
        return;
    if (m->reading.pid > 0)
        (void)kill(-m->reading.pid, SIGKILL);
    buffer_fini(&m->reading.said);
    fd_close(&m->reading.fd);
    m->reading.until_us = 0;
    failure_set(&why, EX_TEMPFAIL, "%s", reason);
    reload_refuse(m, &why);
}

void
reload_timers(struct master *m, uint64_t now_us)
{
    retired_timers(m, now_us);
    if (reload_is_reading(m) && now_us >= m->reading.until_us)
        reload_give_up_reading(
            m, m->upgrading
                   ? "the new program could not read the configuration within ready_timeout"
                   : "the configuration could not be read within ready_timeout: perhaps the server "
                     "of a host name, or a disk, does not answer");
}

void
reload_request(struct master *m, bool upgrade)
{
    struct failure why;

    if (m->phase != MASTER_STARTING && m->phase != MASTER_RUNNING)
        return;
    if (m->phase == MASTER_STARTING || m->pending != NULL || reload_is_reading(m)) {
        *(upgrade ? &m->upgrade_again : &m->reload_again) = true;
        return;
    }
    master_look(m);
    stats_master_reload(&m->stats);
    notify_reloading(&m->notify, upgrade ? "upgrading" : "reloading");
    m->upgrading = upgrade;
    if ((upgrade && upgrade_begin(m, &why) < 0) || reading_begin(m, &why) < 0)
        reload_refuse(m, &why);
}

/* The present configuration again, with that many workers. */
static struct config *
workers_config(const struct config *now, unsigned workers)
{
    struct config *config;
    struct buffer bytes;

    buffer_init(&bytes);
    config_pack(now, &bytes);
    config = config_unpack(buffer_bytes(&bytes), bytes.len);
    buffer_fini(&bytes);
    if (config != NULL)
        workers_set(config, workers);
    return config;
}

void
reload_workers(struct master *m, enum workers_again how, int number)
{
    if (how == WORKERS_TOTAL || m->workers_again == WORKERS_AS_THEY_ARE) {
        m->workers_again = how;
        m->workers_number = 0;
    }
    m->workers_number += number;
}

void
reload_workers_begin(struct master *m)
{
    struct config *config = NULL;
    struct failure why;
    int64_t workers = m->workers_number;

    if (m->workers_again == WORKERS_AS_THEY_ARE || m->phase != MASTER_RUNNING ||
        m->pending != NULL || reload_is_reading(m))
        return;
    if (m->workers_again == WORKERS_MORE)
        workers += m->current->config->workers;
    m->workers_again = WORKERS_AS_THEY_ARE;
    stats_master_reload(&m->stats);
    notify_reloading(&m->notify, "changing the number of workers");
    failure_set(&why, EX_CONFIG, "there can be 1 to %d workers, not %lld", CONFIG_WORKERS_MAX,
                (long long)workers);
    if (workers >= 1 && workers <= CONFIG_WORKERS_MAX)
        config = workers_config(m->current->config, (unsigned)workers);
    if (config == NULL || reload_begin(m, config, &why) < 0)
        reload_refuse(m, &why);
}

void
reload_fail(struct master *m, const struct failure *why)
{
    reload_abort(m);
    reload_refuse(m, why);
}

void
reload_finish(struct master *m)
{
    struct failure why;
    struct buffer text;

    if (m->upgrading)
        upgrade_execute(m, &why); /* the new program commits */
    if (m->upgrading || reload_commit(m, &why) < 0) {
        reload_fail(m, &why);
        return;
    }
    buffer_init(&text);
    buffer_printf(&text, "generation %llu: ", (unsigned long long)m->current->number);
    reload_describe(m->current, &text);
    log_line(LOG_reloaded, "reloaded: %s", buffer_cstr(&text));
    reload_verdict(m, true, buffer_cstr(&text));
    buffer_fini(&text);
}

/* "msp://127.0.0.1:43117, msp://[::1]:43117", "msp:///run/msock.sock": the URLs with the real
 * addresses. */
static void
describe_listener(const struct generation *g, size_t i, struct buffer *out)
{
    struct endpoint told[LISTEN_SOCKETS_MAX];
    size_t n = generation_told(g, i, told);

    for (size_t k = 0; k < n; k++) {
        const char *path = endpoint_unix_path(&told[k]);
        char address[ENDPOINT_TEXT_LEN];

        if (path == NULL)
            endpoint_format(&told[k], address);
        buffer_printf(out, "%s%s://%s", i + k > 0 ? ", " : "", g->config->listeners[i].proto,
                      path != NULL ? path : address);
    }
}

void
reload_describe(const struct generation *g, struct buffer *out)
{
    buffer_printf(out, "%u worker%s%s, listening on ", g->config->workers,
                  g->config->workers == 1 ? "" : "s",
                  g->config->relay.name != NULL ? " and a relay" : "");
    for (size_t i = 0; i < g->config->listener_count; i++)
        describe_listener(g, i, out);
}
