/* One connection as the program sees it: used like a socket, and kept as long as anybody needs
 * it. */
#include "embed/server.h"

#include <errno.h>
#include <stdlib.h>

/* --- all of them --- */

/* The worker's connections come from the heap: their low bits are all the same. */
static size_t
server_conn_bucket(const struct conn *core)
{
    return ((uintptr_t)core >> 6) % SERVER_BUCKETS;
}

struct msock_conn *
server_conn_find(const struct msock_server *s, const struct conn *core)
{
    struct msock_conn *c = s->buckets[server_conn_bucket(core)];

    while (c != NULL && c->core != core)
        c = c->next_in_bucket;
    return c;
}

struct msock_conn *
server_conn_add(struct msock_server *s, struct conn *core)
{
    struct msock_conn **bucket = &s->buckets[server_conn_bucket(core)];
    struct msock_conn *c = ms_calloc(1, sizeof(*c));
    struct message_origin origin;

    if (c == NULL)
        return NULL;
    c->server = s;
    c->core = core;
    TAILQ_INIT(&c->queue);
    s->host.conn_origin(s->host.ctx, core, &origin);
    snprintf(c->peer, sizeof(c->peer), "%s", origin.peer);
    if (origin.identity != NULL)
        snprintf(c->identity, sizeof(c->identity), "%s", origin.identity);
    c->next_in_bucket = *bucket;
    *bucket = c;
    TAILQ_INSERT_TAIL(&s->fresh, c, link);
    if (s->run != NULL)
        server_conn_ready(c);
    return c;
}

void
server_conn_ready(struct msock_conn *c)
{
    if (c->is_ready || c->is_taken)
        return;
    c->is_ready = true;
    TAILQ_INSERT_TAIL(&c->server->ready, c, ready);
}

void
server_conn_not_ready(struct msock_conn *c)
{
    if (c->is_ready)
        TAILQ_REMOVE(&c->server->ready, c, ready);
    c->is_ready = false;
}

void
server_conn_put(struct msock_conn *c)
{
    struct msock_server *s = c->server;

    if (s->is_ending || c->core != NULL || c->holds > 0 || c->is_ready || !TAILQ_EMPTY(&c->queue))
        return;
    if (c->is_taken && !c->is_dismissed)
        return;
    TAILQ_REMOVE(c->is_taken ? &s->taken : &s->fresh, c, link);
    free(c);
}

static const char *
server_conn_proto_now(const struct msock_conn *c)
{
    struct message_origin origin;

    if (c->core == NULL)
        return c->proto;
    c->server->host.conn_origin(c->server->host.ctx, c->core, &origin);
    return origin.proto;
}

void
server_conn_ended(struct msock_conn *c)
{
    struct msock_conn **at = &c->server->buckets[server_conn_bucket(c->core)];

    while (*at != c)
        at = &(*at)->next_in_bucket;
    *at = c->next_in_bucket;
    c->proto = server_conn_proto_now(c);
    c->core = NULL;
    if (c->server->run != NULL)
        server_conn_ready(c);
    server_conn_put(c);
}

/* --- like a socket --- */

/* One that has ended is of interest only for what it has sent. */
static struct msock_conn *
server_conn_waiting(const struct msock_server *s)
{
    struct msock_conn *c;

    for (c = TAILQ_FIRST(&s->fresh); c != NULL; c = TAILQ_NEXT(c, link))
        if (!c->is_dismissed && (c->core != NULL || !TAILQ_EMPTY(&c->queue)))
            return c;
    return NULL;
}

static void
server_conn_take(struct msock_conn *c)
{
    struct msock_server *s = c->server;

    server_conn_not_ready(c);
    TAILQ_REMOVE(&s->fresh, c, link);
    TAILQ_INSERT_TAIL(&s->taken, c, link);
    c->is_taken = true;
}

enum msock_status
msock_server_accept(msock_server *s, int timeout_ms, msock_conn **conn_out)
{
    struct server_wait wait = server_wait_for(timeout_ms);
    enum msock_status status = server_begin(s);
    struct msock_conn *c = NULL;

    server_keep_up(s);
    while (status == MSOCK_OK && (c = server_conn_waiting(s)) == NULL)
        status = server_wait(s, &wait);
    if (status != MSOCK_OK)
        return status;
    server_conn_take(c);
    *conn_out = c;
    return MSOCK_OK;
}

enum msock_status
msock_conn_read(msock_conn *c, int timeout_ms, msock_message **message_out)
{
    struct server_wait wait = server_wait_for(timeout_ms);
    struct msock_server *s = c->server;
    enum msock_status status = server_begin(s);

    c->holds++;
    server_keep_up(s);
    while (status == MSOCK_OK && TAILQ_EMPTY(&c->queue))
        status = c->core != NULL ? server_wait(s, &wait)
                                 : server_fail(s, MSOCK_UNREACHABLE, "the connection has ended");
    if (status == MSOCK_OK)
        *message_out = server_message_take(c);
    c->holds--;
    return status;
}

static enum msock_status
server_conn_push_failed(struct msock_conn *c)
{
    struct msock_server *s = c->server;

    if (errno == EMSGSIZE)
        return server_fail(s, MSOCK_USAGE, "the message is too long for %s",
                           server_conn_proto_now(c));
    if (errno == ENOTSUP)
        return server_fail(s, MSOCK_USAGE, "%s has no way to send a message that is no reply",
                           server_conn_proto_now(c));
    return server_fail(s, MSOCK_UNREACHABLE, "the connection is closing");
}

/* Waits until its peer has left no more unread than it may. Only the program can make room behind a
 * message that it has not settled. */
static enum msock_status
server_conn_wait_for_room(struct msock_conn *c, int timeout_ms)
{
    struct server_wait wait = server_wait_for(timeout_ms);
    struct msock_server *s = c->server;
    enum msock_status status = MSOCK_OK;

    while (status == MSOCK_OK && c->core != NULL) {
        uint64_t max = s->listeners[conn_listener(c->core)].queue_max;
        uint64_t held = conn_held_back(c->core);

        if (held > max)
            return server_fail(s, MSOCK_USAGE, "too much waits for a message to be settled");
        if (conn_queued(c->core) + held <= max)
            return MSOCK_OK;
        status = server_wait(s, &wait);
    }
    if (c->core == NULL)
        return server_fail(s, MSOCK_UNREACHABLE, "the connection has ended");
    return status;
}

enum msock_status
msock_conn_write(msock_conn *c, const void *data, size_t n, int timeout_ms)
{
    struct msock_server *s = c->server;
    enum msock_status status = server_begin(s);

    if (data == NULL && n > 0)
        return server_fail(s, MSOCK_USAGE, "no data");
    c->holds++;
    if (status == MSOCK_OK)
        status = server_conn_wait_for_room(c, timeout_ms);
    if (status == MSOCK_OK && handler_push(&s->host, c->core, data, n) < 0)
        status = server_conn_push_failed(c);
    worker_send(s->worker);
    c->holds--;
    return status;
}

const char *
msock_conn_peer(const msock_conn *c)
{
    return c->peer;
}

const char *
msock_conn_identity(const msock_conn *c)
{
    return c->identity[0] != '\0' ? c->identity : "-";
}

const char *
msock_conn_protocol(const msock_conn *c)
{
    return server_conn_proto_now(c);
}

void
msock_conn_disconnect(msock_conn *c)
{
    struct msock_server *s = c->server;

    c->holds++;
    c->is_dismissed = true;
    server_messages_fail(&c->queue, "the program has ended the connection");
    if (c->core != NULL)
        s->host.disconnect(s->host.ctx, c->core);
    worker_send(s->worker);
    c->holds--;
    server_conn_put(c);
}
