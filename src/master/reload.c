/* A change of configuration as a transaction. */
#include "master/state.h"

#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* Workers of a master that was killed close their sockets as soon as they notice; a new master that
 * is started at once waits for them. */
enum { START_BIND_TRIES = 25, START_BIND_PAUSE_MS = 20 };

#define DAY_S              86400
#define CERTIFICATE_WARN_S (14 * DAY_S)

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

static void
workers_set(struct config *config, unsigned workers)
{
    config->workers = workers;
    config->workers_set = true;
}

int
reload_begin(struct master *m, struct config *config, struct failure *why)
{
    uint64_t number = m->current != NULL ? m->current->number + 1 : 1;
    char error[CONFIG_ERROR_LEN];

    MS_ASSERT(m->pending == NULL);
    if (m->upgrading && m->current->config->workers_set)
        workers_set(config, m->current->config->workers);
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
certificate_mind(const struct listener_config *listener, uint64_t now_s)
{
    uint64_t until = (uint64_t)tls_pem_until(&listener->tls);
    char when[48] = "has ended";

    if (until == 0 || until > now_s + CERTIFICATE_WARN_S)
        return;
    if (until > now_s)
        snprintf(when, sizeof(when), "ends in %" PRIu64 " days", (until - now_s) / DAY_S);
    log_line(LOG_certificate_ends, "%s: its certificate %s: renew %s, and reload", listener->name,
             when, listener->text[OPTION_TLS_CERT]);
}

void
reload_mind_certificates(struct master *m)
{
    uint64_t now_s = clock_real_us() / 1000000;

    if (m->minded_day == now_s / DAY_S || m->current == NULL)
        return;
    m->minded_day = now_s / DAY_S;
    for (size_t i = 0; i < m->current->row_count; i++)
        certificate_mind(&m->current->config->listeners[i], now_s);
}

static void
reload_publish(struct master *m, const struct generation *g)
{
    struct stats_control *c = m->stats.control;
    const struct config *config = g->config;

    snprintf(c->config_file, sizeof(c->config_file), "%s",
             config->config_file != NULL ? config->config_file : "");
    snprintf(c->data_dir, sizeof(c->data_dir), "%s", config->data_dir);
    snprintf(c->cwd, sizeof(c->cwd), "%s", m->hooks->cwd != NULL ? m->hooks->cwd : "");
    for (size_t i = 0; i < g->row_count; i++) {
        stats_master_listener_meaning(&m->stats, g->rows[i],
                                      handover_meaning(&config->listeners[i]));
        stats_master_listener_until(&m->stats, g->rows[i],
                                    (uint64_t)tls_pem_until(&config->listeners[i].tls));
    }
    m->minded_day = 0;
    reload_mind_certificates(m);
    atomic_store(&c->workers, config->workers);
    atomic_store(&c->generation, g->number);
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
        listener_apply(g->sockets[k].socket, &g->config->listeners[g->sockets[k].listener],
                       master_group(g->config));
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

void
reload_refuse(struct master *m, const struct failure *why)
{
    log_line(m->upgrading ? LOG_upgrade_failed : LOG_reload_failed,
             "%s failed, nothing has changed: %s", m->upgrading ? "upgrade" : "reload", why->text);
    upgrade_end(m);
    reload_verdict(m, false, why->text);
}

void
reload_request(struct master *m, bool upgrade)
{
    struct failure why;

    if (m->phase != MASTER_STARTING && m->phase != MASTER_RUNNING)
        return;
    if (m->phase == MASTER_STARTING || m->pending != NULL || reading_is_on(m)) {
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
        m->pending != NULL || reading_is_on(m))
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
