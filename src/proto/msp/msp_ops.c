/* msp as the worker and the client see it: both roles behind one table. */
#include "proto/msp/msp.h"

/* The client's side, or NULL for the server's. */
static struct msp_client *
msp_ops_client(const void *state)
{
    const struct msp_client_state *s = state;

    return s->role == PROTO_CLIENT ? s->client : NULL;
}

static void
msp_ops_init(void *state, const struct proto_begin *begin)
{
    if (begin->role == PROTO_SERVER)
        msp_init(state, begin->limits, begin->now_us);
    else
        *(struct msp_client_state *)state =
            (struct msp_client_state){.role = PROTO_CLIENT, .client = msp_client_create()};
}

/* The NACKs of a message that begins again (1.3) and the grant go on; the grant grows within what
 * the limits allow here. */
static bool
msp_ops_adopt(void *state, const void *moved)
{
    const struct msp *from = moved;
    struct msp *msp = state;

    if (from->role != PROTO_SERVER || from->state != MSP_IDLE || from->grant > MSP_GRANT_MAX)
        return false;
    msp->nacks = from->nacks;
    msp->clean = proto_moved_flag(&from->clean);
    msp->heard_us = proto_moved_time(from->heard_us, msp->heard_us);
    if (from->grant > msp->grant)
        msp->grant = from->grant;
    return true;
}

static enum proto_event
msp_ops_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
             struct message **message_out)
{
    struct msp_client *client = msp_ops_client(state);

    return client != NULL ? msp_client_feed(client, io, data, n, consumed_out, message_out)
                          : msp_feed(state, io, data, n, consumed_out, message_out);
}

static enum proto_event
msp_ops_drained(void *state, struct proto_io *io)
{
    return msp_ops_client(state) != NULL ? PROTO_MORE : msp_drained(state, io);
}

/* A client's patience is its caller's. */
static uint64_t
msp_ops_deadline(const void *state, const struct proto_limits *limits)
{
    return msp_ops_client(state) != NULL ? UINT64_MAX : msp_deadline(state, limits);
}

static enum proto_event
msp_ops_expire(void *state, struct proto_io *io)
{
    return msp_ops_client(state) != NULL ? PROTO_MORE : msp_expire(state, io);
}

/* A client just closes: it has all its answers, or does not want them. */
static enum proto_event
msp_ops_shutdown(void *state, struct proto_io *io)
{
    return msp_ops_client(state) != NULL ? PROTO_CLOSE : msp_shutdown(state, io);
}

static bool
msp_ops_discarding(const void *state)
{
    return msp_ops_client(state) == NULL && ((const struct msp *)state)->discard;
}

static bool
msp_ops_idle(const void *state)
{
    const struct msp_client *client = msp_ops_client(state);

    return client != NULL ? msp_client_idle(client)
                          : ((const struct msp *)state)->state == MSP_IDLE;
}

static void *
msp_ops_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)m;
    MS_ASSERT(msp_ops_client(state) == NULL);
    return answers_reserve(io->answers, MSP_HELD_ACK_LEN);
}

/* Of a reply nothing more is said. */
static void
msp_ops_settle(void *state, struct proto_io *io, void *place, const struct message *m,
               const struct verdict *verdict)
{
    if (msp_ops_client(state) == NULL)
        msp_settle(io, place, m, verdict);
}

static int
msp_ops_send(void *state, struct proto_io *io, struct outgoing *out)
{
    (void)io;
    return msp_client_send(msp_ops_client(state), out);
}

static bool
msp_ops_work(void *state, struct proto_io *io)
{
    return msp_client_work(msp_ops_client(state), io);
}

static void
msp_ops_fini(void *state)
{
    struct msp_client_state *s = state;

    if (msp_ops_client(state) == NULL)
        return;
    msp_client_destroy(s->client);
    s->client = NULL;
}

const struct proto_ops msp_protocol = {
    .name = "msp",
    .acknowledges = true,
    .repeatable = true,
    .ahead_max = MSP_FIRST_BODY,
    .reread_max = 10ull * MSP_GRANT_MAX,
    .init = msp_ops_init,
    .adopt = msp_ops_adopt,
    .feed = msp_ops_feed,
    .drained = msp_ops_drained,
    .deadline = msp_ops_deadline,
    .expire = msp_ops_expire,
    .shutdown = msp_ops_shutdown,
    .discarding = msp_ops_discarding,
    .idle = msp_ops_idle,
    .reserve = msp_ops_reserve,
    .settle = msp_ops_settle,
    .send = msp_ops_send,
    .work = msp_ops_work,
    .fini = msp_ops_fini,
    .refusal = msp_refusal,
};
