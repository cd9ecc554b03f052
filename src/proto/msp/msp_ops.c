/* msp as the worker sees it. */
#include "proto/msp/msp.h"

static void
msp_ops_init(void *state, const struct proto_begin *begin)
{
    MS_ASSERT(begin->role == PROTO_SERVER); /* the client's side is src/client/session.c */
    msp_init(state, begin->limits, begin->now_us);
}

static enum proto_event
msp_ops_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
             struct message **message_out)
{
    return msp_feed(state, io, data, n, consumed_out, message_out);
}

static enum proto_event
msp_ops_drained(void *state, struct proto_io *io)
{
    return msp_drained(state, io);
}

static uint64_t
msp_ops_deadline(const void *state, const struct proto_limits *limits)
{
    return msp_deadline(state, limits);
}

static enum proto_event
msp_ops_expire(void *state, struct proto_io *io)
{
    return msp_expire(state, io);
}

static enum proto_event
msp_ops_shutdown(void *state, struct proto_io *io)
{
    return msp_shutdown(state, io);
}

static bool
msp_ops_discarding(const void *state)
{
    const struct msp *msp = state;

    return msp->discard;
}

static bool
msp_ops_idle(const void *state)
{
    return msp_idle(state);
}

static void *
msp_ops_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)state;
    (void)m;
    return answers_reserve(io->answers, MSP_HELD_ACK_LEN);
}

static void
msp_ops_settle(void *state, struct proto_io *io, void *place, const struct message *m,
               const struct verdict *verdict)
{
    (void)state;
    msp_settle(io, place, m, verdict);
}

const struct proto_ops msp_protocol = {
    .name = "msp",
    .acknowledges = true,
    .init = msp_ops_init,
    .feed = msp_ops_feed,
    .drained = msp_ops_drained,
    .deadline = msp_ops_deadline,
    .expire = msp_ops_expire,
    .shutdown = msp_ops_shutdown,
    .discarding = msp_ops_discarding,
    .idle = msp_ops_idle,
    .reserve = msp_ops_reserve,
    .settle = msp_ops_settle,
    .refusal = msp_refusal,
};
