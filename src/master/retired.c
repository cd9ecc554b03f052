/* Listening sockets that the configuration does not have any more, until nothing waits in them. */
#include "master/state.h"

#define RETIRED_AGAIN_US 100000 /* until one that is needed is looked at again */

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

void
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

/* Where the kernel cannot do it, such a socket is closed as soon as the old workers have been
 * told. */
void
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
retired_wake_us(const struct master *m)
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

void
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
retired_end_all(struct master *m)
{
    while (m->retired != NULL)
        retired_end(&m->retired);
}
