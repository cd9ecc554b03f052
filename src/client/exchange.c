/* The only loop in which the client waits for its server's word. Work goes before waiting, so that
 * hashing and reading overlap with the network; only with nothing left to do does it poll. */
#include "client/exchange.h"

#include "common/clock.h"

#include <poll.h>

struct patience {
    uint64_t deadline_us;
    unsigned unsent; /* bytes the other side had not taken at the last look */
};

static void
patience_renew(struct patience *p, const struct exchange *x)
{
    p->deadline_us = clock_mono_us() + (uint64_t)x->timeout_ms * 1000;
}

/* The time is over: but a slow line may still be draining what the kernel took from us at once. */
static bool
patience_extended(struct patience *p, const struct exchange *x)
{
    unsigned unsent = transport_unsent(x->transport);

    if (unsent >= p->unsent)
        return false;
    p->unsent = unsent;
    patience_renew(p, x);
    return true;
}

/* Sends what can be sent. A connection that is lost for sending may still hold the server's last
 * words, so that is left to the receiving half to find. */
static void
exchange_send(struct exchange *x, struct patience *p, bool large)
{
    switch (transport_send(x->transport, &x->iov, &x->iov_count)) {
    case TRANSPORT_DONE:
        patience_renew(p, x);
        p->unsent = large ? transport_unsent(x->transport) : 0;
        break;
    case TRANSPORT_WAIT:
        break;
    case TRANSPORT_LOST:
        x->iov_count = 0;
        break;
    }
}

static size_t
exchange_size(const struct exchange *x)
{
    size_t n = 0;

    for (int i = 0; i < x->iov_count; i++)
        n += x->iov[i].iov_len;
    return n;
}

enum exchange_end
exchange_run(struct exchange *x, struct msp_answer *answer_out)
{
    struct transport *t = x->transport;
    struct patience patience = {0};
    bool large = exchange_size(x) > 16384;
    bool lost = false;

    patience_renew(&patience, x);
    for (;;) {
        int n = msp_answer_decode(transport_bytes(t), t->in_len, answer_out);

        if (n < 0)
            return EXCHANGE_MALFORMED;
        if (n > 0) {
            transport_consume(t, (size_t)n);
            return EXCHANGE_ANSWER;
        }
        if (lost)
            return EXCHANGE_LOST;
        if (x->iov_count > 0)
            exchange_send(x, &patience, large);
        if (x->work == NULL || !x->work(x->arg)) {
            short events = x->iov_count > 0 ? POLLIN | POLLOUT : POLLIN;

            if (!transport_wait(t, events, patience.deadline_us) &&
                !patience_extended(&patience, x))
                return EXCHANGE_TIMEOUT;
        }
        lost = transport_fill(t) == TRANSPORT_LOST;
    }
}
