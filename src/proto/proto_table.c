#include "proto/proto_table.h"

#include <string.h>

static void
msp_ops_init(void *state, const struct proto_limits *limits, uint64_t now_us)
{
    msp_init(state, limits, now_us);
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

static const struct proto_ops protocols[] = {
    {
        .name = "msp",
        .held_len = MSP_HELD_ACK_LEN,
        .init = msp_ops_init,
        .feed = msp_ops_feed,
        .drained = msp_ops_drained,
        .deadline = msp_ops_deadline,
        .expire = msp_ops_expire,
        .shutdown = msp_ops_shutdown,
        .discarding = msp_ops_discarding,
        .idle = msp_ops_idle,
        .settle = msp_settle,
        .refusal = msp_refusal,
    },
};

const struct proto_ops *
proto_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(protocols); i++)
        if (strcmp(protocols[i].name, name) == 0)
            return &protocols[i];
    return NULL;
}
