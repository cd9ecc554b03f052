/* A generation of workers: bookkeeping. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>

struct generation *
generation_create(struct config *config, uint64_t number)
{
    size_t count = config->workers + (config->relay.name != NULL);
    struct generation *g = ms_calloc(1, sizeof(*g) + count * sizeof(struct process));

    g->number = number;
    g->config = config;
    g->worker_count = count;
    for (unsigned i = 0; i < count; i++) {
        bool is_relay = i == config->workers;
        struct process *w = &g->workers[i];

        *w = (struct process){.index = is_relay ? STATS_RELAY : i, .ready_fd = -1};
        snprintf(w->name, sizeof(w->name), is_relay ? "relay" : "worker %u", i);
    }
    return g;
}

void
generation_destroy(struct generation *g)
{
    MS_ASSERT(generation_alive(g) == 0);
    generation_unlisten(g);
    for (size_t i = 0; i < g->worker_count; i++)
        fd_close(&g->workers[i].ready_fd);
    config_destroy(g->config);
    free(g);
}

static void
generation_add(struct generation *g, struct listener *socket, size_t listener)
{
    g->sockets[g->socket_count++] =
        (struct generation_socket){.socket = socket, .listener = listener};
}

/* The socket of the i-th listener for that address of it, or NULL. */
static struct listener *
generation_socket(const struct generation *g, size_t i, const struct endpoint *ep)
{
    for (size_t k = 0; k < g->socket_count; k++)
        if (g->sockets[k].listener == i &&
            listener_serves(g->sockets[k].socket, &g->config->listeners[i], ep))
            return g->sockets[k].socket;
    return NULL;
}

/* An old socket goes to at most one new listener: of two with port 0 each keeps its own. */
static void
generation_take(struct generation *g, size_t i, const struct endpoint *ep, struct listener *l)
{
    const struct listener_config *lc = &g->config->listeners[i];

    if (generation_socket(g, i, ep) == NULL && !generation_has(g, l) && listener_serves(l, lc, ep))
        generation_add(g, listener_ref(l), i);
}

static void
generation_inherit(struct generation *g, const struct generation *old, bool same_url)
{
    for (size_t i = 0; i < g->config->listener_count; i++) {
        const struct listener_config *lc = &g->config->listeners[i];

        for (size_t e = 0; e < lc->endpoint_count; e++)
            for (size_t k = 0; k < old->socket_count; k++) {
                const struct generation_socket *from = &old->sockets[k];

                if (!same_url || strcmp(old->config->listeners[from->listener].url, lc->url) == 0)
                    generation_take(g, i, &lc->endpoints[e], from->socket);
            }
    }
}

/* Unless its file is gone. */
static void
generation_inherit_retired(struct generation *g, struct listener *retired)
{
    for (size_t i = 0; i < g->config->listener_count; i++)
        for (size_t e = 0; e < g->config->listeners[i].endpoint_count; e++)
            for (struct listener *l = retired; l != NULL; l = l->next)
                if (endpoint_unix_path(&l->socket.bound) == NULL || l->socket.ino != 0)
                    generation_take(g, i, &g->config->listeners[i].endpoints[e], l);
}

/* A socket of the name that the i-th listener asks for. There is room for all addresses besides. */
static void
generation_take_given(struct generation *g, size_t i, struct listener *l)
{
    if (l->given && strcmp(l->name, g->config->listeners[i].given) == 0 && !generation_has(g, l) &&
        g->socket_count < LISTEN_SOCKETS_MAX - CONFIG_ADDRESSES_MAX)
        generation_add(g, listener_ref(l), i);
}

static int
generation_inherit_given(struct generation *g, const struct generation *old,
                         struct listener *retired, struct failure *why)
{
    for (size_t i = 0; i < g->config->listener_count; i++) {
        size_t before = g->socket_count;

        if (g->config->listeners[i].given == NULL)
            continue;
        for (size_t k = 0; old != NULL && k < old->socket_count; k++)
            generation_take_given(g, i, old->sockets[k].socket);
        for (struct listener *l = retired; l != NULL; l = l->next)
            generation_take_given(g, i, l);
        if (g->socket_count == before) {
            failure_set(why, EX_CONFIG,
                        "%s: the service manager has given no socket of that name (a socket unit "
                        "of systemd names them with FileDescriptorName=)",
                        g->config->listeners[i].name);
            return -1;
        }
    }
    return 0;
}

/* What this process has bound: all that a new socket may have to stand beside. */
static void
generation_beside(const struct generation *g, const struct generation *old,
                  const struct listener *retired, struct listen_beside *out)
{
    out->n = 0;
    for (size_t k = 0; k < g->socket_count; k++)
        out->sockets[out->n++] = &g->sockets[k].socket->socket;
    for (size_t k = 0; old != NULL && k < old->socket_count; k++)
        if (!generation_has(g, old->sockets[k].socket))
            out->sockets[out->n++] = &old->sockets[k].socket->socket;
    for (; retired != NULL && out->n < MS_ARRAY_LEN(out->sockets); retired = retired->next)
        if (!generation_has(g, retired))
            out->sockets[out->n++] = &retired->socket;
}

/* Only a port that the kernel chose for one listener can be another one's: all others were compared
 * when the configuration was read. */
static int
generation_check(const struct generation *g, size_t i, struct failure *why)
{
    const struct listener_config *lc = &g->config->listeners[i];

    for (size_t e = 0; e < lc->endpoint_count; e++)
        for (size_t k = 0; k < g->socket_count; k++) {
            const struct generation_socket *s = &g->sockets[k];

            if (s->listener == i || !endpoint_overlaps(&s->socket->socket.bound, &lc->endpoints[e]))
                continue;
            failure_set(why, EX_UNAVAILABLE,
                        "%s: address already in use (the listener %s of this configuration "
                        "listens there)",
                        lc->name, g->config->listeners[s->listener].name);
            return -1;
        }
    return 0;
}

/* Opens what the i-th listener does not have yet. */
static int
generation_open(struct generation *g, size_t i, const struct listen_how *how, struct failure *why)
{
    const struct listener_config *lc = &g->config->listeners[i];
    struct listen_socket sockets[LISTEN_ADDRESSES_MAX];
    bool had[LISTEN_ADDRESSES_MAX];
    size_t failed;

    if (generation_check(g, i, why) < 0)
        return -1;
    for (size_t e = 0; e < lc->endpoint_count; e++) {
        const struct listener *l = generation_socket(g, i, &lc->endpoints[e]);

        had[e] = l != NULL;
        sockets[e] = had[e] ? l->socket : (struct listen_socket){.fd = -1};
    }
    if (listen_open(lc->endpoints, lc->endpoint_count, how, sockets, &failed) < 0) {
        listener_explain(lc, &lc->endpoints[failed], errno, why);
        return -1;
    }
    for (size_t e = 0; e < lc->endpoint_count; e++) {
        struct failure missing;

        if (sockets[e].fd < 0) {
            listener_explain(lc, &lc->endpoints[e], sockets[e].error, &missing);
            log_line(LOG_listener_left_out, "left out: %s", missing.text);
        } else if (!had[e]) {
            generation_add(g, listener_create(lc, &lc->endpoints[e], &sockets[e]), i);
            g->sockets[g->socket_count - 1].socket->listens = how->backlog > 0;
        }
    }
    return 0;
}

/* What a wider address covers now stays open as one more socket of the wider one's listener: the
 * kernel prefers it as long as it is there, also to a retired one. Not so a Unix socket that
 * another one has followed: nobody can connect to it. Nor one that was shut down. */
static void
generation_keep(struct generation *g, struct listener *l, size_t own)
{
    if (endpoint_unix_path(&l->socket.bound) != NULL || listen_is_shut_down(l->socket.fd))
        return;
    for (size_t w = 0; w < own && g->socket_count < LISTEN_SOCKETS_MAX; w++)
        if (!generation_has(g, l) &&
            endpoint_covers(&g->sockets[w].socket->socket.bound, &l->socket.bound))
            generation_add(g, listener_ref(l), g->sockets[w].listener);
}

static void
generation_keep_covered(struct generation *g, const struct generation *old,
                        struct listener *retired)
{
    size_t own = g->socket_count;

    for (size_t k = 0; old != NULL && k < old->socket_count; k++)
        generation_keep(g, old->sockets[k].socket, own);
    for (; retired != NULL; retired = retired->next)
        generation_keep(g, retired, own);
}

int
generation_listen(struct generation *g, const struct generation *old, struct listener *retired,
                  gid_t gid, struct failure *why)
{
    struct listen_beside beside;
    struct listen_how how = {.gid = gid, .beside = &beside};

    if (generation_inherit_given(g, old, retired, why) < 0)
        return -1;
    if (old != NULL) {
        generation_inherit(g, old, true);
        generation_inherit(g, old, false);
    }
    generation_inherit_retired(g, retired);
    for (size_t i = 0; i < g->config->listener_count; i++) {
        how.backlog = old == NULL ? (int)g->config->listeners[i].number[OPTION_BACKLOG] : 0;
        how.mode = (mode_t)g->config->listeners[i].number[OPTION_MODE];
        if (g->config->listeners[i].given != NULL)
            continue;
        generation_beside(g, old, retired, &beside);
        if (generation_open(g, i, &how, why) < 0)
            return -1;
    }
    generation_keep_covered(g, old, retired);
    return 0;
}

int
generation_begin(struct generation *g, const struct generation *old, struct listener *retired,
                 struct failure *why)
{
    struct listen_beside beside;

    generation_beside(g, old, retired, &beside);
    for (size_t k = 0; k < g->socket_count; k++) {
        struct listener *l = g->sockets[k].socket;
        const struct listener_config *lc = &g->config->listeners[g->sockets[k].listener];

        if (!l->listens && listen_begin(&l->socket, (int)lc->number[OPTION_BACKLOG], &beside) < 0) {
            listener_explain(lc, &l->socket.bound, errno, why);
            return -1;
        }
        l->listens = true;
    }
    return 0;
}

void
generation_unlisten(struct generation *g)
{
    for (size_t k = 0; k < g->socket_count; k++)
        listener_unref(g->sockets[k].socket);
    g->socket_count = 0;
}

bool
generation_has(const struct generation *g, const struct listener *l)
{
    for (size_t k = 0; k < g->socket_count; k++) {
        if (g->sockets[k].socket == l)
            return true;
    }
    return false;
}

size_t
generation_told(const struct generation *g, size_t i, struct endpoint out[LISTEN_SOCKETS_MAX])
{
    struct endpoint all[LISTEN_SOCKETS_MAX];
    size_t n = 0, told = 0;

    for (size_t k = 0; k < g->socket_count; k++)
        if (g->sockets[k].listener == i)
            all[n++] = g->sockets[k].socket->socket.bound;
    for (size_t k = 0; k < n; k++)
        if (endpoint_is_told(all, n, k))
            out[told++] = all[k];
    return told;
}

struct process *
generation_find(struct generation *g, pid_t pid)
{
    for (size_t i = 0; i < g->worker_count; i++) {
        if (g->workers[i].pid == pid)
            return &g->workers[i];
    }
    return NULL;
}

size_t
generation_alive(const struct generation *g)
{
    size_t n = 0;

    for (size_t i = 0; i < g->worker_count; i++)
        n += g->workers[i].pid != 0;
    return n;
}

size_t
generation_ready(const struct generation *g)
{
    size_t n = 0;

    for (size_t i = 0; i < g->worker_count; i++)
        n += g->workers[i].state == WORKER_READY;
    return n;
}

uint64_t
generation_wake_us(const struct generation *g)
{
    uint64_t wake = g->kill_at_us != 0 ? g->kill_at_us : UINT64_MAX;

    for (size_t i = 0; i < g->worker_count; i++) {
        if (g->workers[i].wake_us != 0 && g->workers[i].wake_us < wake)
            wake = g->workers[i].wake_us;
    }
    return wake;
}

bool
process_hear(struct process *w)
{
    ssize_t n;

    if (w->ready_fd < 0)
        return false;
    do {
        n = fd_read(w->ready_fd, w->sentence + w->sentence_len,
                    sizeof(w->sentence) - w->sentence_len);
        if (n > 0)
            w->sentence_len += (size_t)n;
    } while (n > 0 && w->sentence_len < sizeof(w->sentence));
    /* A sentence may begin with the same letter, but it comes in one piece with the rest of it. */
    if (w->sentence_len == 1 && w->sentence[0] == CHILD_READY) {
        w->sentence_len = 0;
        return true;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN) || w->sentence_len == sizeof(w->sentence))
        fd_close(&w->ready_fd);
    return false;
}

void
process_go(struct process *w)
{
    static const char go = CHILD_GO;

    if (w->state != WORKER_READY || w->may_go)
        return;
    /* One that has died meanwhile is seen by its end. */
    (void)send(w->ready_fd, &go, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    w->may_go = true;
    fd_close(&w->ready_fd);
}

void
process_sentence(const struct process *w, char out[WORKER_SENTENCE_LEN])
{
    size_t len = w->sentence_len;

    while (len > 0 && (w->sentence[len - 1] == '\n' || w->sentence[len - 1] == '\0'))
        len--;
    text_escape(w->sentence, len, out, WORKER_SENTENCE_LEN);
}

/* --- backoff --- */

/* How long to wait before a worker that died is replaced. */

uint64_t
backoff_died(struct backoff *b, uint64_t started_us, uint64_t now_us)
{
    uint64_t delay;

    if (now_us >= started_us && now_us - started_us >= BACKOFF_STABLE_US)
        b->next_us = 0;
    delay = b->next_us;
    if (delay == 0)
        b->next_us = BACKOFF_FIRST_US;
    else if (delay < BACKOFF_MAX_US / 2)
        b->next_us = delay * 2;
    else
        b->next_us = BACKOFF_MAX_US;
    return delay;
}
