/* A change of configuration as a transaction. */
#include "master/state.h"

#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* Workers of a master that was killed close their sockets as soon as they notice; a new master that
 * is started at once waits for them. */
enum { START_BIND_TRIES = 25, START_BIND_PAUSE_MS = 20 };

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

    while (generation_listen(g, m->current, gid, why) < 0) {
        if (--tries == 0 || why->code != EX_UNAVAILABLE)
            return -1;
        poll(NULL, 0, START_BIND_PAUSE_MS);
    }
    return 0;
}

/* --- rows of listeners in the control file --- */

static int
rows_claim(struct master *m, struct generation *g, struct failure *why)
{
    char address[ENDPOINT_TEXT_LEN];

    for (size_t i = 0; i < g->listener_count; i++) {
        const struct listener_config *lc = &g->config->listeners[i];
        int row;

        endpoint_format(&g->listeners[i]->socket.bound, address);
        row = stats_master_listener(&m->stats, lc->name, address, lc->proto, lc->handler);
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

int
reload_begin(struct master *m, struct config *config, struct failure *why)
{
    uint64_t number = m->current != NULL ? m->current->number + 1 : 1;
    char error[CONFIG_ERROR_LEN];

    MS_ASSERT(m->pending == NULL);
    m->pending = generation_create(config, number);
    if (reload_check(m, config, why) < 0 || log_file_prepare(config, why) < 0)
        goto fail;
    if (m->hooks->prepare(m->hooks->arg, config, error) < 0) {
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
        log_warn("%s", ignored.text);
    /* A worker that was ready may have accepted already, and finishes these connections. */
    supervise_drain(m, g, SIGQUIT, g->config->drain_timeout_us);
}

static void
reload_log(struct master *m, const struct config *config)
{
    log_set_level(config->log_level);
    if (same_text(m->log_file, config->log_file))
        return;
    if (log_open(config->log_file) < 0) {
        log_error("cannot open log file %s: %s", config->log_file, strerror(errno));
        return;
    }
    free(m->log_file);
    m->log_file = config->log_file != NULL ? ms_strdup(config->log_file) : NULL;
}

static void
reload_publish(struct master *m, const struct generation *g)
{
    struct stats_control *c = m->stats.control;
    const struct config *config = g->config;

    snprintf(c->config_file, sizeof(c->config_file), "%s",
             config->config_file != NULL ? config->config_file : "");
    snprintf(c->data_dir, sizeof(c->data_dir), "%s", config->data_dir);
    atomic_store(&c->workers, config->workers);
    atomic_store(&c->generation, g->number);
}

void
reload_commit(struct master *m)
{
    struct generation *old = m->current;
    struct generation *g = m->pending;

    m->current = g;
    m->pending = NULL;
    for (size_t i = 0; i < g->listener_count; i++)
        listener_apply(g->listeners[i], &g->config->listeners[i]);
    /* Before the old workers are told: they look whether there are new ones for their
     * connections. */
    reload_publish(m, g);
    if (old != NULL) {
        rows_release(m, old, g);
        supervise_drain(m, old, SIGQUIT, old->config->drain_timeout_us);
    }
    reload_log(m, g->config);
}

/* --- HUP --- */

static void
reload_refuse(struct master *m, const struct failure *why)
{
    log_error("reload failed, nothing has changed: %s", why->text);
    stats_master_verdict(&m->stats, false, why->text);
}

void
reload_request(struct master *m)
{
    char error[CONFIG_ERROR_LEN];
    struct config *config;
    struct failure why;

    if (m->phase != MASTER_RUNNING)
        return;
    if (m->pending != NULL) {
        m->reload_again = true;
        return;
    }
    stats_master_reload(&m->stats);
    if (m->hooks->build(m->hooks->arg, &config, error) < 0) {
        failure_set(&why, EX_CONFIG, "%s", error);
        reload_refuse(m, &why);
        return;
    }
    if (reload_begin(m, config, &why) < 0)
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
    struct buffer text;

    buffer_init(&text);
    reload_commit(m);
    buffer_printf(&text, "generation %llu: ", (unsigned long long)m->current->number);
    reload_describe(m->current, &text);
    log_notice("reloaded: %s", buffer_cstr(&text));
    stats_master_verdict(&m->stats, true, buffer_cstr(&text));
    buffer_fini(&text);
}

void
reload_describe(const struct generation *g, struct buffer *out)
{
    char text[LISTENER_TEXT_LEN];

    buffer_printf(out, "%zu worker%s, listening on ", g->worker_count,
                  g->worker_count == 1 ? "" : "s");
    for (size_t i = 0; i < g->listener_count; i++) {
        listener_text(g->listeners[i], &g->config->listeners[i], text);
        buffer_printf(out, "%s%s", i > 0 ? ", " : "", text);
    }
}
