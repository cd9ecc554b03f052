/* A generation of workers: bookkeeping. */
#include "master/state.h"

#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct generation *
generation_create(struct config *config, uint64_t number)
{
    struct generation *g = ms_calloc(1, sizeof(*g) + config->workers * sizeof(struct process));

    g->number = number;
    g->config = config;
    g->listener_count = config->listener_count;
    g->worker_count = config->workers;
    for (unsigned i = 0; i < config->workers; i++)
        g->workers[i] = (struct process){.index = i, .ready_fd = -1};
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

static bool
generation_slot_matches(const struct generation *old, size_t i, const struct listener_config *lc,
                        bool same_url)
{
    if (same_url && strcmp(old->config->listeners[i].url, lc->url) != 0)
        return false;
    return listener_serves(old->listeners[i], lc);
}

/* An old socket goes to at most one new listener: of two with port 0 each keeps its own. */
static void
generation_inherit(struct generation *g, const struct generation *old, bool same_url)
{
    for (size_t i = 0; i < g->listener_count; i++) {
        for (size_t j = 0; j < old->listener_count && g->listeners[i] == NULL; j++) {
            if (!generation_has(g, old->listeners[j]) &&
                generation_slot_matches(old, j, &g->config->listeners[i], same_url))
                g->listeners[i] = listener_ref(old->listeners[j]);
        }
    }
}

int
generation_listen(struct generation *g, const struct generation *old, gid_t gid,
                  struct failure *why)
{
    if (old != NULL) {
        generation_inherit(g, old, true);
        generation_inherit(g, old, false);
    }
    for (size_t i = 0; i < g->listener_count; i++) {
        if (g->listeners[i] == NULL)
            g->listeners[i] = listener_open(&g->config->listeners[i], gid, why);
        if (g->listeners[i] == NULL)
            return -1;
    }
    return 0;
}

void
generation_unlisten(struct generation *g)
{
    for (size_t i = 0; i < g->listener_count; i++) {
        if (g->listeners[i] != NULL)
            listener_unref(g->listeners[i]);
        g->listeners[i] = NULL;
    }
    g->listener_count = 0;
}

bool
generation_has(const struct generation *g, const struct listener *l)
{
    for (size_t i = 0; i < g->listener_count; i++) {
        if (g->listeners[i] == l)
            return true;
    }
    return false;
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
