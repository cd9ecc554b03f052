/* Sends every message to all other connections of the listener, in whichever worker they are. While
 * other workers are behind, messages wait here in the order in which they came. */
#include "bus/bus.h"
#include "handler/handler.h"

#include <errno.h>
#include <stdlib.h>

#define BROADCAST_AGAIN_US 1000

struct broadcast {
    struct handler_host host;
    struct fanout *fanout;
    struct message *first, *last; /* not sent yet */
};

static void *
broadcast_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct broadcast *h = ms_calloc(1, sizeof(*h));

    (void)error;
    h->host = *host;
    h->fanout = fanout_create(host);
    return h;
}

static void
broadcast_destroy(void *handler)
{
    struct broadcast *h = handler;

    fanout_destroy(h->fanout);
    free(h);
}

static void
broadcast_settle(struct broadcast *h, struct message *m, struct outcome outcome)
{
    if (outcome.is == PROTO_COMMITTED)
        h->host.committed(h->host.ctx, 1);
    outcome_settle(&h->host, m, outcome);
}

/* Sends and settles m. False where that has to wait. */
static bool
broadcast_send(struct broadcast *h, struct message *m)
{
    struct outcome outcome = outcome_committed();
    const char *body;
    int rc;

    if (message_body(m, &body) < 0) {
        broadcast_settle(h, m, outcome_failed(OUTCOME_NOT_READ, errno));
        return true;
    }
    rc = fanout_send(h->fanout, h->host.sender(h->host.ctx, m), body, (size_t)m->size);
    if (rc < 0 && errno == EAGAIN) {
        message_body_release(m, body);
        return false;
    }
    if (rc < 0)
        outcome = outcome_failed("the message cannot be sent on", errno);
    message_body_release(m, body);
    broadcast_settle(h, m, outcome);
    return true;
}

static void
broadcast_wait(struct broadcast *h, struct message *m)
{
    m->next = NULL;
    if (h->first == NULL)
        h->first = m;
    else
        h->last->next = m;
    h->last = m;
}

static uint64_t
broadcast_take_max(void *handler)
{
    (void)handler;
    return BUS_MESSAGE_MAX;
}

static void
broadcast_submit(void *handler, struct message *m)
{
    struct broadcast *h = handler;

    if (m->error != 0)
        broadcast_settle(h, m, outcome_failed(OUTCOME_NOT_KEPT, m->error));
    else if (m->size > BUS_MESSAGE_MAX)
        broadcast_settle(h, m, outcome_refused("refused", "the message is over 1 MiB"));
    else if (h->first != NULL || !broadcast_send(h, m))
        broadcast_wait(h, m);
}

/* Settling may bring new messages in: what waits is before them, and m has been sent by then. */
static void
broadcast_send_waiting(struct broadcast *h)
{
    struct message *m;

    while ((m = h->first) != NULL) {
        h->first = m->next;
        if (broadcast_send(h, m))
            continue;
        m->next = h->first; /* where there is none, m is the last still */
        h->first = m;
        return;
    }
}

static uint64_t
broadcast_flush(void *handler, unsigned expected)
{
    struct broadcast *h = handler;

    (void)expected;
    broadcast_send_waiting(h);
    return h->first != NULL ? clock_mono_us() + BROADCAST_AGAIN_US : 0;
}

static void
broadcast_heard(void *handler)
{
    struct broadcast *h = handler;

    fanout_heard(h->fanout);
    broadcast_send_waiting(h);
}

static void
broadcast_finish(void *handler)
{
    struct broadcast *h = handler;

    broadcast_send_waiting(h);
    while (h->first != NULL) {
        fanout_wait(h->fanout);
        broadcast_send_waiting(h);
    }
}

static size_t
broadcast_conn_moving(void *handler, struct conn *c, void *out, size_t size)
{
    struct broadcast *h = handler;

    return fanout_moving(h->fanout, c, out, size);
}

static void
broadcast_conn_adopted(void *handler, struct conn *c, const void *data, size_t n)
{
    struct broadcast *h = handler;

    fanout_adopted(h->fanout, c, data, n);
}

const struct handler_ops broadcast_handler = {
    .name = "broadcast",
    .per_listener = true,
    .is_silent = true,
    .no_digest = true,
    .create = broadcast_create,
    .destroy = broadcast_destroy,
    .keep_max = BUS_MESSAGE_MAX + 1, /* a message that is too long is known by its size alone */
    .take_max = broadcast_take_max,
    .submit = broadcast_submit,
    .flush = broadcast_flush,
    .conn_moving = broadcast_conn_moving,
    .conn_adopted = broadcast_conn_adopted,
    .heard = broadcast_heard,
    .finish = broadcast_finish,
};
