/* cnp as the worker and a client see it: its beginning and end, its time, and its pushes. */
#include "proto/cnp/cnp.h"

#include <assert.h>
#include <errno.h>

#define KEEPALIVE_PATIENCE 3                   /* timeouts for the answer to a KEEPALIVE */
#define CNP_COUNT_MAX      (UINT64_C(1) << 62) /* packets of one connection */

static void
cnp_init(void *state, const struct proto_begin *begin)
{
    struct cnp *cnp = state;

    memset(cnp, 0, sizeof(*cnp));
    cnp->state = CNP_OPENING;
    cnp->role = (uint8_t)begin->role;
    cnp->selective = true;
    cnp->packet_max = begin->limits->packet_size_max;
    cnp->window = 1;
    cnp->session = begin->nonce;
    cnp->begun_us = cnp->heard_us = cnp->used_us = begin->now_us;
    cnp->resend_us = UINT64_MAX;
}

/* What was agreed, and how far the numbers are, can be so. */
static bool
cnp_is_sound(const struct cnp *from)
{
    return from->packet_max > 0 && from->packet_max <= CNP_PACKET_MAX && from->window > 0 &&
           from->window <= CNP_WINDOW_MAX && from->accepted < CNP_COUNT_MAX &&
           from->sent < CNP_COUNT_MAX;
}

static void
cnp_adopt_ready(struct cnp *cnp, const struct cnp *from)
{
    cnp->state = CNP_READY;
    cnp->second = proto_moved_flag(&from->second);
    cnp->burst = cnp->second || proto_moved_flag(&from->burst);
    cnp->fragments = cnp->second || proto_moved_flag(&from->fragments);
    cnp->selective = !cnp->second || proto_moved_flag(&from->selective);
    cnp->packet_max = from->packet_max;
    cnp->window = from->window;
    cnp->asked = !cnp->second && proto_moved_flag(&from->asked);
    cnp->asked_us = proto_moved_time(from->asked_us, cnp->begun_us);
    cnp->heard_plain = proto_moved_flag(&from->heard_plain);
    cnp->heard_numbers = proto_moved_flag(&from->heard_numbers);
    cnp->echoes = from->echoes;
    cnp->done = proto_moved_flag(&from->done);
    cnp->done_sequence = from->done_sequence;
    cnp->done_length = from->done_length;
    memcpy(cnp->done_sum, from->done_sum, CNP_SUM_LEN);
    if (cnp->second)
        return; /* with each message the numbers begin again */
    cnp->accepted = from->accepted;
    cnp->sent = from->sent;
}

static bool
cnp_adopt(void *state, const void *moved)
{
    const struct cnp *from = moved;
    struct cnp *cnp = state;

    cnp->heard_us = proto_moved_time(from->heard_us, cnp->heard_us);
    cnp->used_us = proto_moved_time(from->used_us, cnp->used_us);
    if (from->state == CNP_OPENING)
        return from->have == 0 && from->nacks == 0;
    if (from->state != CNP_READY || !cnp_is_sound(from))
        return false;
    cnp_adopt_ready(cnp, from);
    return true;
}

static void
cnp_open(void *state, struct proto_io *io)
{
    struct cnp *cnp = state;

    if (cnp->role == PROTO_CLIENT)
        cnp_say_syn(cnp, io);
}

/* --- time --- */

static uint64_t
cnp_sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool
cnp_in_packet(const struct cnp *cnp)
{
    return cnp->have > 0 || cnp->in_payload;
}

/* Nothing was said yet that a handshake could be made of. */
static bool
cnp_is_silent(const struct cnp *cnp)
{
    return cnp->state == CNP_OPENING && cnp->have == 0 && cnp->nacks == 0;
}

static bool
cnp_receiving(const void *state)
{
    const struct cnp *cnp = state;

    return cnp->state == CNP_READY && (cnp_in_packet(cnp) || cnp->under_way > 0 || cnp->early > 0);
}

static bool
cnp_idle(const void *state)
{
    const struct cnp *cnp = state;

    return cnp_is_silent(cnp) || cnp->state == CNP_LEAVING ||
           (cnp->state == CNP_READY && !cnp_in_packet(cnp) && cnp->under_way == 0 &&
            cnp->early == 0 && cnp->flight == 0);
}

static uint64_t
cnp_rate_deadline(const struct cnp *cnp, const struct proto_limits *limits)
{
    if (cnp->with_handlers > 0 || (!cnp_in_packet(cnp) && cnp->under_way == 0 && cnp->early == 0))
        return UINT64_MAX;
    return limits_rate_deadline(limits, cnp->begun_us, cnp->received);
}

/* When nothing has come for too long inside a packet. */
static uint64_t
cnp_packet_deadline(const struct cnp *cnp, const struct proto_limits *limits)
{
    return cnp_in_packet(cnp) ? cnp->heard_us + limits->timeout_us : UINT64_MAX;
}

/* The time at which a silent peer is asked, or is late with its answer. A packet in flight asks by
 * itself. */
static uint64_t
cnp_silence_deadline(const struct cnp *cnp, const struct proto_limits *limits)
{
    if (cnp->second)
        return cnp->heard_us + limits->idle_timeout_us;
    if (cnp->flight > 0)
        return UINT64_MAX;
    if (cnp->asked && cnp->heard_us <= cnp->asked_us)
        return cnp->asked_us + KEEPALIVE_PATIENCE * limits->timeout_us;
    return cnp->heard_us + limits->keepalive_us;
}

/* Answers to KEEPALIVE alone keep no connection. A client ends when it has no more to do. */
static uint64_t
cnp_unused_deadline(const struct cnp *cnp, const struct proto_limits *limits)
{
    bool used = cnp->flight > 0 || cnp->under_way > 0 || cnp->early > 0 || cnp->with_handlers > 0;

    if (cnp->role == PROTO_CLIENT || used)
        return UINT64_MAX;
    return cnp->used_us + limits->idle_timeout_us;
}

static uint64_t
cnp_ready_deadline(const struct cnp *cnp, const struct proto_limits *limits)
{
    uint64_t at = cnp_silence_deadline(cnp, limits);

    at = cnp_sooner(at, cnp_packet_deadline(cnp, limits));
    at = cnp_sooner(at, cnp_rate_deadline(cnp, limits));
    at = cnp_sooner(at, cnp_unused_deadline(cnp, limits));
    return cnp->flight > 0 ? cnp_sooner(at, cnp->resend_us) : at;
}

static uint64_t
cnp_deadline(const void *state, const struct proto_limits *limits)
{
    const struct cnp *cnp = state;

    switch ((enum cnp_state)cnp->state) {
    case CNP_OPENING:
        if (cnp_is_silent(cnp))
            return cnp->heard_us + limits->idle_timeout_us;
        return cnp->begun_us + limits->timeout_us;
    case CNP_SESSION:
    case CNP_ASKED:
        return cnp->begun_us + limits->timeout_us;
    case CNP_READY:
        return cnp_ready_deadline(cnp, limits);
    case CNP_LEAVING:
    case CNP_CLOSED:
        return UINT64_MAX;
    }
    MS_ASSERT(!"a state of cnp");
}

/* The SEQUENCE of the packet under way, where its header is whole; else 0. */
static uint16_t
cnp_at_fault(const struct cnp *cnp, const struct proto_io *io)
{
    const struct buffer *syn = &(*io->window)->control;
    struct cnp_header h = {0};

    if (cnp->in_payload)
        return cnp->header.sequence;
    if (cnp->state == CNP_OPENING && syn->len >= CNP_HEADER_LEN)
        cnp_header_decode((const uint8_t *)buffer_bytes(syn), false, &h);
    return h.sequence;
}

static enum proto_event
cnp_late(struct cnp *cnp, struct proto_io *io, const char *text)
{
    return cnp_say_close(cnp, io, cnp_at_fault(cnp, io), "timeout", text);
}

static enum proto_event
cnp_handshake_expired(struct cnp *cnp, struct proto_io *io)
{
    if (cnp_is_silent(cnp) || cnp->role == PROTO_CLIENT) {
        cnp_note_refusal(io, "no answer to the handshake");
        return cnp_end(cnp);
    }
    return cnp_late(cnp, io, "the handshake takes too long");
}

static enum proto_event
cnp_ask(struct cnp *cnp, struct proto_io *io)
{
    if (cnp->second || (cnp->asked && cnp->heard_us <= cnp->asked_us))
        return cnp_end(cnp);
    cnp->asked = true;
    cnp->asked_us = io->now_us;
    cnp_say(cnp, io, cnp_type(CNP_KEEPALIVE, false), 0, "", 0, false);
    return PROTO_MORE;
}

static enum proto_event
cnp_expire(void *state, struct proto_io *io)
{
    struct cnp *cnp = state;

    if (cnp->state == CNP_LEAVING || cnp->state == CNP_CLOSED)
        return PROTO_CLOSE;
    if (cnp->state != CNP_READY)
        return cnp_handshake_expired(cnp, io);
    if (cnp_packet_deadline(cnp, io->limits) <= io->now_us)
        return cnp_late(cnp, io, "no byte came for too long inside a packet");
    if (cnp_rate_deadline(cnp, io->limits) <= io->now_us)
        return cnp_late(cnp, io, "the message came too slowly");
    if (cnp_unused_deadline(cnp, io->limits) <= io->now_us)
        return cnp_end(cnp);
    if (cnp_silence_deadline(cnp, io->limits) <= io->now_us)
        return cnp_ask(cnp, io);
    return cnp->flight > 0 ? cnp_resend_due(cnp, io) : PROTO_MORE;
}

/* --- the end --- */

/* Between messages and within, the peer knows from its ACKs what has arrived. */
static enum proto_event
cnp_shutdown(void *state, struct proto_io *io)
{
    struct cnp *cnp = state;

    if (cnp->role == PROTO_SERVER)
        return cnp_say_close(cnp, io, 0, "shutdown", "the server leaves; send it again elsewhere");
    cnp_say(cnp, io, cnp_type(CNP_DISCONNECT, false), 0, "Disconnect", 10, true);
    return PROTO_CLOSE;
}

static size_t
cnp_refusal(const char *code, const char *text, char out[PROTO_REFUSAL_MAX])
{
    struct cnp_header header = {.type = cnp_type(CNP_ERROR, false)};
    struct buffer payload;
    size_t n;

    static_assert(CNP_HEADER_MAX + CNP_ERROR_MAX <= PROTO_REFUSAL_MAX, "a refusal has room");
    buffer_init(&payload);
    cnp_error_payload(&payload, code, text);
    header.length = payload.len;
    cnp_sum_of(buffer_bytes(&payload), payload.len, header.sum);
    n = cnp_header_encode((uint8_t *)out, false, &header);
    memcpy(out + n, buffer_bytes(&payload), payload.len);
    n += payload.len;
    buffer_fini(&payload);
    return n;
}

/* --- messages --- */

static void *
cnp_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)state;
    return m->wants_reply ? outbox_reserve(io->outbox) : NULL;
}

static int
cnp_push(void *state, struct proto_io *io, struct blob *blob)
{
    struct cnp *cnp = state;

    if (cnp->state == CNP_READY && !cnp_fits(cnp, (size_t)blob->len)) {
        errno = EMSGSIZE;
        return -1;
    }
    outbox_push(io->outbox, blob_ref(blob));
    (void)cnp_pump(cnp, io); /* what ends the connection is the last of its answers */
    return 0;
}

const struct proto_ops cnp_protocol = {
    .name = "cnp",
    .client_options = {"mode", "window_size"},
    .acknowledges = true,
    .resends = true,
    .init = cnp_init,
    .adopt = cnp_adopt,
    .open = cnp_open,
    .feed = cnp_feed,
    .deadline = cnp_deadline,
    .expire = cnp_expire,
    .shutdown = cnp_shutdown,
    .receiving = cnp_receiving,
    .idle = cnp_idle,
    .reserve = cnp_reserve,
    .settle = cnp_settle,
    .push = cnp_push,
    .refusal = cnp_refusal,
};
