/* The life of a server: its settings and listeners before it receives, its worker from the first
 * call that does, its end. */
#include "embed/server.h"

#include "common/fd.h"
#include "common/text.h"
#include "stats/stats_master.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SERVER_CONNECTIONS 1024
#define SERVER_IDS         100000 /* that are remembered */

enum msock_status
server_fail(struct msock_server *s, enum msock_status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->error, sizeof(s->error), fmt, ap);
    va_end(ap);
    return status;
}

const char *
msock_server_error(const msock_server *s)
{
    return s->error;
}

/* --- the beginning --- */

static void
server_configure(struct msock_server *s)
{
    const uint64_t *number = s->settings.number;

    s->config = (struct config){
        .workers = 1,
        .max_connections = SERVER_CONNECTIONS,
        .drain_timeout_us = number[OPTION_DRAIN_TIMEOUT],
        .dedup_window_us = number[OPTION_DEDUP_WINDOW],
        .memory_message_max = (size_t)number[OPTION_MEMORY_MESSAGE_MAX],
        .worker_memory_max = number[OPTION_WORKER_MEMORY_MAX],
    };
}

msock_server *
msock_server_create(void)
{
    struct msock_server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->stats = STATS_PLACE_PRIVATE;
    s->owner = getpid();
    TAILQ_INIT(&s->fresh);
    TAILQ_INIT(&s->taken);
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->out);
    ms_memory_forget();
    s->cwd = getcwd(NULL, 0);
    settings_init(&s->settings, s->cwd); /* NULL: no relative path can be used */
    server_configure(s);
    s->wake_fd = fd_above_standard(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    s->dedup = dedup_table_create_private(SERVER_IDS);
    if (!ms_memory_failed() && s->wake_fd >= 0 && s->dedup != NULL)
        return s;
    msock_server_destroy(s);
    return NULL;
}

void
msock_server_set_connections(msock_server *s, unsigned max)
{
    s->config.max_connections = max > 0 ? max : 1;
}

void
msock_server_set_timeouts(msock_server *s, unsigned message_ms, unsigned idle_ms)
{
    if (message_ms != 0)
        s->settings.number[OPTION_TIMEOUT] = (uint64_t)message_ms * 1000;
    if (idle_ms != 0)
        s->settings.number[OPTION_IDLE_TIMEOUT] = (uint64_t)idle_ms * 1000;
}

static_assert(MSOCK_LOG_ERROR == (int)LOG_LEVEL_ERROR && MSOCK_LOG_WARN == (int)LOG_LEVEL_WARN &&
                  MSOCK_LOG_NOTICE == (int)LOG_LEVEL_NOTICE &&
                  MSOCK_LOG_INFO == (int)LOG_LEVEL_INFO && MSOCK_LOG_DEBUG == (int)LOG_LEVEL_DEBUG,
              "the same levels");

static void
server_log(void *arg, const struct log_record *record)
{
    const struct msock_server *s = arg;
    char line[LOG_LINE_MAX];

    line[text_escape(record->text, record->n, line, sizeof(line))] = '\0';
    s->on_log(s->log_arg, (enum msock_log_level)record->level, line);
}

void
msock_server_set_log(msock_server *s, msock_log_fn on_log, void *arg)
{
    s->on_log = on_log;
    s->log_arg = arg;
    s->log = (struct log_sink){
        .level = LOG_LEVEL_DEBUG,
        .write = on_log != NULL ? server_log : NULL,
        .arg = s,
    };
}

/* True where one more transform, or a listener with a key, leaves each listener with at most
 * TRANSFORMS_MAX. */
static bool
server_has_room(const struct msock_server *s, size_t transforms, bool key)
{
    for (size_t i = 0; i < s->config.listener_count; i++)
        key = key || s->config.listeners[i].text[OPTION_KEY_FILE] != NULL;
    return transforms + key <= TRANSFORMS_MAX;
}

enum msock_status
msock_server_add_transform(msock_server *s, msock_transform_fn on_send,
                           msock_transform_fn on_receive, void *arg)
{
    const struct transform transform = {.send = on_send, .receive = on_receive, .arg = arg};

    s->error[0] = '\0';
    if (s->worker != NULL)
        return server_fail(s, MSOCK_USAGE, "transforms are added before anything is received");
    if (!server_has_room(s, s->transforms.count + 1, false) ||
        transforms_add(&s->transforms, &transform) < 0)
        return server_fail(s, MSOCK_USAGE, "more than %d transforms, keys included",
                           TRANSFORMS_MAX);
    return MSOCK_OK;
}

/* --- listeners --- */

/* Refuses options that only msockd's listeners have. */
static enum msock_status
server_no_memory(struct msock_server *s)
{
    return server_fail(s, MSOCK_LOCAL, "there is no memory");
}

static enum msock_status
server_check_url(struct msock_server *s, const char *text)
{
    char error[URL_ERROR_LEN];
    bool has_handler, is_given;
    struct url url;

    if (url_parse(text, &url, error) < 0)
        return ms_memory_failed() ? server_no_memory(s) : server_fail(s, MSOCK_USAGE, "%s", error);
    has_handler = url_option(&url, "handler") != NULL;
    is_given = url.given != NULL;
    url_fini(&url);
    if (is_given)
        return server_fail(s, MSOCK_USAGE, "%s: msockd alone takes sockets from systemd", text);
    if (has_handler)
        return server_fail(s, MSOCK_USAGE,
                           "handler= is an option of msockd: here the program itself receives");
    return MSOCK_OK;
}

/* A key that cannot be read is said at once, not when the first message comes. */
static enum msock_status
server_read_key(struct msock_server *s, struct listener_config *lc)
{
    char error[SEAL_ERROR_LEN], why[TLS_ERROR_LEN];

    if (listener_read_tls(lc, why) < 0)
        return server_fail(s, MSOCK_LOCAL, "%s", why);
    if (lc->text[OPTION_KEY_FILE] == NULL)
        return MSOCK_OK;
    if (!server_has_room(s, s->transforms.count, true))
        return server_fail(s, MSOCK_USAGE, "more than %d transforms, keys included",
                           TRANSFORMS_MAX);
    return listener_read_key(lc, error) == 0 ? MSOCK_OK : server_fail(s, MSOCK_LOCAL, "%s", error);
}

/* "127.0.0.1:43117, [::1]:43117"; NULL: no memory. */
static char *
server_address(const struct server_listener *l)
{
    struct endpoint bound[LISTEN_ADDRESSES_MAX];
    char text[LISTEN_ADDRESSES_MAX * (ENDPOINT_TEXT_LEN + 2)] = "";
    size_t n = 0, len = 0;

    for (size_t i = 0; i < l->socket_count; i++)
        if (l->sockets[i].fd >= 0)
            bound[n++] = l->sockets[i].bound;
    for (size_t i = 0; i < n; i++) {
        char address[ENDPOINT_TEXT_LEN];
        const char *path = endpoint_unix_path(&bound[i]);

        if (!endpoint_is_told(bound, n, i))
            continue;
        if (path == NULL)
            endpoint_format(&bound[i], address);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? ", " : "",
                                path != NULL ? path : address);
    }
    return ms_strdup(text);
}

static void
server_listener_close(struct server_listener *l)
{
    for (size_t i = 0; i < l->socket_count; i++)
        listen_close(&l->sockets[i]);
    free(l->address);
}

static enum msock_status
server_listen(struct msock_server *s, const struct listener_config *lc, struct server_listener *l)
{
    const struct listen_how how = {.backlog = (int)lc->number[OPTION_BACKLOG],
                                   .mode = (mode_t)lc->number[OPTION_MODE],
                                   .gid = (gid_t)-1};
    char address[ENDPOINT_TEXT_LEN];
    size_t failed;

    for (size_t i = 0; i < LISTEN_ADDRESSES_MAX; i++)
        l->sockets[i] = (struct listen_socket){.fd = -1};
    if (listen_open(lc->endpoints, lc->endpoint_count, &how, l->sockets, &failed) == 0) {
        l->socket_count = lc->endpoint_count;
        return MSOCK_OK;
    }
    if (lc->endpoint_count == 1)
        return server_fail(s, MSOCK_LOCAL, "%s: cannot listen: %s", lc->name, strerror(errno));
    endpoint_format(&lc->endpoints[failed], address);
    return server_fail(s, MSOCK_LOCAL, "%s: %s: cannot listen: %s", lc->name, address,
                       strerror(errno));
}

static enum msock_status
server_bind(struct msock_server *s, struct listener_config *lc)
{
    struct server_listener *l = &s->listeners[s->config.listener_count];
    enum msock_status status = server_read_key(s, lc);

    if (status == MSOCK_OK)
        status = server_listen(s, lc, l);
    if (status != MSOCK_OK)
        return status;
    l->address = server_address(l);
    if (l->address == NULL) {
        server_listener_close(l);
        return server_no_memory(s);
    }
    /* While a peer does not read, msock_conn_write waits; the peer is not closed for that. */
    l->queue_max = lc->number[OPTION_SEND_QUEUE_MAX];
    lc->number[OPTION_SEND_QUEUE_MAX] = UINT64_MAX;
    s->config.listener_count++;
    return MSOCK_OK;
}

enum msock_status
msock_server_add_listener(msock_server *s, const char *url)
{
    struct listener_config *lc = &s->config.listeners[s->config.listener_count];
    char error[CONFIG_ERROR_LEN];
    enum msock_status status;

    s->error[0] = '\0';
    ms_memory_forget();
    if (s->worker != NULL)
        return server_fail(s, MSOCK_USAGE, "listeners are added before anything is received");
    if (s->config.listener_count == CONFIG_LISTENERS_MAX)
        return server_fail(s, MSOCK_USAGE, "more than %d listeners", CONFIG_LISTENERS_MAX);
    status = server_check_url(s, url);
    if (status != MSOCK_OK)
        return status;
    if (listener_config_read(url, "listener", &s->settings, lc, error) < 0)
        return ms_memory_failed() ? server_no_memory(s) : server_fail(s, MSOCK_USAGE, "%s", error);
    status = ms_memory_failed() ? server_no_memory(s) : server_bind(s, lc);
    if (status != MSOCK_OK)
        listener_config_fini(lc);
    return status;
}

const char *
msock_server_address(const msock_server *s, unsigned index)
{
    return index < s->config.listener_count ? s->listeners[index].address : "";
}

/* --- the worker --- */

static const struct handler_ops *
server_find_handler(const char *name)
{
    (void)name;
    return &server_handler;
}

static int
server_spill_open(const struct config *config)
{
    (void)config;
    return fd_open_scratch();
}

static void
server_give_sockets(struct msock_server *s, size_t listener)
{
    struct server_listener *l = &s->listeners[listener];

    for (size_t i = 0; i < l->socket_count; i++)
        if (l->sockets[i].fd >= 0)
            s->child.sockets[s->child.socket_count++] =
                (struct child_socket){.fd = fd_steal(&l->sockets[i].fd), .listener = listener};
}

static void
server_fill_child(struct msock_server *s)
{
    atomic_store(&s->id_offset_us, clock_offset_us());
    s->child = (struct child){
        .generation = 1,
        .config = &s->config,
        .listener_count = s->config.listener_count,
        .bus = {.memory_fd = -1, .read_fd = -1, .bell_fd = -1},
        .dedup = s->dedup,
        .id_offset_us = &s->id_offset_us,
        .accept_bell = -1,
        .handover_fds = {-1, -1},
        .stats = s->stats,
        .ready_fd = -1,
        .master_fd = -1,
    };
    for (size_t i = 0; i < s->config.listener_count; i++) {
        s->child.listeners[i] = (struct child_listener){
            .stats_id = (uint16_t)i,
            .config = &s->config.listeners[i],
        };
        server_give_sockets(s, i);
    }
    tls_secret_make(&s->child.tls_secret);
    s->setup = (struct worker_setup){
        .find_handler = server_find_handler,
        .spill_open = server_spill_open,
        .transforms = &s->transforms,
        .log = &s->log,
        .wake_fd = s->wake_fd,
    };
}

enum msock_status
server_begin(struct msock_server *s)
{
    char error[HANDLER_ERROR_LEN] = "";

    s->error[0] = '\0';
    if (s->worker != NULL)
        return MSOCK_OK;
    if (s->config.listener_count == 0)
        return server_fail(s, MSOCK_USAGE, "there is no listener");
    if (s->is_broken)
        return server_fail(s, MSOCK_LOCAL, "this server could not be started");
    s->owner = getpid();
    server_fill_child(s);
    s->worker = worker_create(&s->child, &s->setup, error);
    s->is_broken = s->worker == NULL;
    return s->is_broken ? server_fail(s, MSOCK_LOCAL, "%s", error) : MSOCK_OK;
}

static uint64_t
server_count(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

void
msock_server_get_counts(const msock_server *s, struct msock_server_counts *counts_out)
{
    const struct stats_worker_counters *c;

    *counts_out = (struct msock_server_counts){0};
    if (s->worker == NULL)
        return;
    c = &worker_stats(s->worker)->counters;
    *counts_out = (struct msock_server_counts){
        .acks = server_count(&c->acks),
        .nack1 = server_count(&c->nack1),
        .nack2 = server_count(&c->nack2),
        .rej = server_count(&c->rej),
        .err = server_count(&c->err),
        .messages = server_count(&c->messages),
        .duplicates = server_count(&c->duplicates),
        .packets = server_count(&c->packets),
        .bytes_in = server_count(&c->bytes_in),
        .bytes_out = server_count(&c->bytes_out),
        .cut = server_count(&c->cut),
        .accepted = server_count(&c->accepted),
        .refused = server_count(&c->refused),
        .open = worker_connections(s->worker),
    };
}

/* --- the end --- */

static void
server_fail_queues(struct conn_list *list)
{
    struct msock_conn *c;

    for (c = TAILQ_FIRST(list); c != NULL; c = TAILQ_NEXT(c, link))
        server_messages_fail(&c->queue, "the receiving program has ended");
}

static void
server_free_conns(struct conn_list *list)
{
    struct msock_conn *c;

    while ((c = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, c, link);
        free(c);
    }
}

static void
server_close_worker(struct msock_server *s)
{
    s->is_ending = true;
    server_fail_queues(&s->fresh);
    server_fail_queues(&s->taken);
    server_messages_fail(&s->out, "the receiving program has ended");
    worker_destroy(s->worker);
    server_free_conns(&s->fresh);
    server_free_conns(&s->taken);
}

void
msock_server_destroy(msock_server *s)
{
    /* The child of a fork shares its sockets with the process that receives, and has none of its
     * threads: whatever it said or took back would be said and taken back for both. */
    if (s == NULL || s->owner != getpid())
        return;
    server_close_worker(s);
    for (size_t i = 0; i < s->config.listener_count; i++) {
        server_listener_close(&s->listeners[i]);
        listener_config_fini(&s->config.listeners[i]);
    }
    dedup_table_destroy(s->dedup);
    transforms_fini(&s->transforms);
    settings_fini(&s->settings);
    fd_close(&s->wake_fd);
    free(s->cwd);
    free(s);
}
