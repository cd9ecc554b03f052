/* One connection, and what its end means for the next one. Nothing waits as long as another address
 * has not had its turn. */
#include "client/handle.h"

#include "common/backoff.h"

#include <errno.h>
#include <stdio.h>

#define CONNECT_MOVES_MAX 256 /* without a wait, also where a name is another one each time */

/* A server that has taken or sent something is well; one that only accepts is not yet. */
static void
connect_credit(struct msock *m)
{
    if (m->counts.messages > m->messages_before || m->peer->results.delivered > 0 ||
        m->peer->has_heard)
        dial_proved(&m->dialer);
}

static void
connect_name(struct msock *m)
{
    char text[ENDPOINT_TEXT_LEN];

    m->address = dial_name(&m->dialer);
    endpoint_format(dial_endpoint(&m->dialer), text);
    if (m->at.url.path != NULL || strcmp(text, m->address) == 0)
        snprintf(m->connected_to, sizeof(m->connected_to), "%s", m->address);
    else
        snprintf(m->connected_to, sizeof(m->connected_to), "%s (%s)", m->address, text);
}

static void
connect_take(struct msock *m, int fd)
{
    transport_take(&m->transport, fd);
    m->counts.connects++;
    m->messages_before = m->counts.messages;
    m->peer->has_heard = false;
}

/* The other side has no name here but its address. */
int
connect_attach(struct msock *m, int fd)
{
    struct endpoint at = {.len = sizeof(at.addr)};

    m->is_attached = true;
    if (getpeername(fd, (struct sockaddr *)&at.addr, &at.len) == 0)
        endpoint_format(&at, m->connected_to);
    m->address = m->connected_to;
    connect_take(m, fd);
    return secure_begin(m, clock_mono_us() + (uint64_t)m->answer_ms * 1000);
}

int
connect_once(struct msock *m)
{
    uint64_t deadline_us = clock_mono_us() + (uint64_t)m->answer_ms * 1000;
    struct dialer *d = &m->dialer;
    int fd;

    if (m->is_attached) {
        handle_fail(m, MSOCK_OK, "%s: the connection has ended", m->address);
        return -1;
    }
    connect_credit(m);
    if (dial_connect(d, m->answer_ms, &fd) < 0) {
        if (errno == ENOMEM)
            m->peer->end = PEER_STARVED;
        handle_fail(m, MSOCK_OK, "%s", d->error);
        return -1;
    }
    connect_name(m);
    connect_take(m, fd);
    return secure_begin(m, deadline_us);
}

void
connect_blame(struct msock *m)
{
    connect_credit(m);
    dial_failed(&m->dialer);
}

bool
connect_is_sent_away(const struct msock *m)
{
    return strcmp(m->code, "busy") == 0 || strcmp(m->code, "shutdown") == 0;
}

bool
connect_moves_on(struct msock *m, struct pauses *pauses)
{
    return !m->is_attached && dial_has_other(&m->dialer) && pauses->moves++ < CONNECT_MOVES_MAX;
}

void
connect_pause(struct msock *m, struct pauses *pauses)
{
    uint32_t random;
    uint64_t us;

    if (connect_moves_on(m, pauses))
        return;
    ms_random(&random, sizeof(random));
    us = backoff_us(m->base_ms, m->max_ms, pauses->waits++, random);
    (void)wait_until(&m->waiter, -1, 0, clock_mono_us() + us);
    pauses->moves = 0;
    dial_begin_round(&m->dialer);
}

void
connect_say_all(struct msock *m)
{
    const char *all = dial_failures(&m->dialer);

    if (all != NULL)
        snprintf(m->error, sizeof(m->error), "%s", all);
}
