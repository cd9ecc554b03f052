/* A signal is told from a SIZE by its first byte: none is above F0. Only GENERIC_ERROR in place of
 * an OK looks like the beginning of a SIZE, until the peer closes behind it. */
#include "proto/tinyproto.h"

#include <errno.h>
#include <stdio.h>

#define SIZE_FIRST_BYTE_MAX 0xf0 /* so that no SIZE is over F0FFFFFF */
#define SAID_GENERIC_ERROR  "the server has said GENERIC_ERROR"

/* --- what this side says --- */

static void
tinyproto_say(struct proto_io *io, enum tinyproto_signal signal, bool last)
{
    answers_append(io->answers, &(uint8_t){(uint8_t)signal}, 1, last);
}

static enum proto_event
tinyproto_end(struct tinyproto *tp)
{
    tp->state = TINYPROTO_CLOSED;
    return PROTO_CLOSE;
}

static enum proto_event
tinyproto_fault(struct tinyproto *tp, struct proto_io *io)
{
    io->tally->err++;
    tinyproto_say(io, TINYPROTO_GENERIC_ERROR, true);
    return tinyproto_end(tp);
}

/* A signal that cannot come now. */
static enum proto_event
tinyproto_nonsense(struct tinyproto *tp, struct proto_io *io)
{
    io->tally->header++;
    outbox_complain(io->outbox, "the server has said a signal that cannot come now");
    return tinyproto_fault(tp, io);
}

/* Begins with the next message for the peer, where there is one and this is the time for it. */
static void
tinyproto_offer(struct tinyproto *tp, struct proto_io *io)
{
    struct outbox_item *next = io->outbox->first;
    uint8_t size[TINYPROTO_SIZE_LEN];

    if (tp->state != TINYPROTO_BETWEEN || tp->asking || next == NULL)
        return;
    if (next->ends) {
        tinyproto_fault(tp, io);
        return;
    }
    be32_store(size, (uint32_t)next->blob->len);
    answers_append(io->answers, size, sizeof(size), false);
    tp->asking = true;
    tp->passed = false;
    tp->asked_us = io->now_us;
}

/* --- what the peer says --- */

static void
tinyproto_settle(void *state, struct proto_io *io, void *place, const struct message *m,
                 const struct verdict *verdict)
{
    struct tinyproto *tp = state;
    struct blob *reply = proto_reply(io, m, verdict);
    bool ends = verdict->outcome == PROTO_FAILED;

    switch (verdict->outcome) {
    case PROTO_COMMITTED:
        io->tally->messages++;
        ends = reply != NULL && reply->len > TINYPROTO_SEND_MAX;
        break;
    case PROTO_REFUSED:
        io->tally->rej++;
        ends = m->wants_reply; /* the peer would take the next reply for this one */
        break;
    case PROTO_FAILED:
        break;
    }
    if (place == NULL && (ends || reply != NULL))
        place = outbox_reserve(io->outbox);
    if (ends) {
        outbox_end(io->outbox, place);
        blob_unref(reply);
    } else if (reply != NULL) {
        outbox_fill(io->outbox, place, reply);
    } else if (place != NULL) {
        outbox_cancel(io->outbox, place);
    }
    tinyproto_offer(tp, io);
}

static enum proto_event
tinyproto_message(struct tinyproto *tp, struct proto_io *io, struct message **message_out)
{
    struct message *m = *io->message;

    *io->message = NULL;
    tp->state = TINYPROTO_BETWEEN;
    io->tally->packets++;
    message_finish(m);
    message_set_value(m, "", 0);
    m->wants_reply = limits_want_reply(io->limits, false);
    if (m->error == 0) {
        *message_out = m;
        return PROTO_MESSAGE;
    }
    tinyproto_settle(tp, io, NULL, m, &(struct verdict){.outcome = PROTO_FAILED});
    message_destroy(m);
    return PROTO_MORE;
}

/* The peer may send its payload. */
static enum proto_event
tinyproto_consent(struct tinyproto *tp, struct proto_io *io, struct message **message_out)
{
    tinyproto_say(io, TINYPROTO_OK, false);
    io->tally->acks++;
    *io->message =
        proto_message(io, &tinyproto_protocol, tp->left, io->keep_max, tp->begun_us, false);
    if (*io->message == NULL)
        return PROTO_CLOSE;
    tp->state = TINYPROTO_PAYLOAD;
    tp->begun_us = io->now_us;
    tp->received = 0;
    return tp->left == 0 ? tinyproto_message(tp, io, message_out) : PROTO_MORE;
}

static enum proto_event
tinyproto_size(struct tinyproto *tp, struct proto_io *io, struct message **message_out)
{
    size_t backlog = io->memory_low ? TINYPROTO_BACKLOG_LOW : TINYPROTO_BACKLOG_MAX;

    tp->left = be32_load(tp->head);
    if (tp->left > io->limits->max_message_size) {
        io->tally->too_large++;
        outbox_complain(io->outbox, OUTBOX_TOO_LARGE);
        return tinyproto_fault(tp, io);
    }
    if (tp->asking && tp->role == PROTO_CLIENT) {
        tp->state = TINYPROTO_HELD;
        return PROTO_MORE;
    }
    /* The peer was let go first once, so it has seen our SIZE. If it sends on and does not answer,
     * what waits for it would grow without end. */
    if (tp->asking && tp->passed && io->outbox->bytes > backlog)
        return tinyproto_fault(tp, io);
    tp->passed = tp->asking;
    return tinyproto_consent(tp, io, message_out);
}

/* OK for our SIZE. The reply to an empty message may come right behind it. */
static enum proto_event
tinyproto_transmit(struct tinyproto *tp, struct proto_io *io, struct message **message_out)
{
    bool whole = io->outbox->results != NULL && io->outbox->first->blob->len == 0;
    struct chain payload;

    answers_chain(io->answers, &payload);
    chain_add(&payload, blob_ref(io->outbox->first->blob));
    answers_give(io->answers, NULL, &payload, false);
    outbox_pop(io->outbox);
    if (io->outbox->results != NULL) {
        io->outbox->results->acks++;
        io->outbox->results->sent++;
    }
    tp->asking = false;
    if (tp->state == TINYPROTO_HELD)
        return tinyproto_consent(tp, io, message_out);
    return whole ? PROTO_FLUSH : PROTO_MORE;
}

static enum proto_event
tinyproto_opening(struct tinyproto *tp, struct proto_io *io, uint8_t signal)
{
    if (signal == TINYPROTO_OK) {
        tp->state = TINYPROTO_BETWEEN;
        if (tp->role == PROTO_SERVER)
            tinyproto_say(io, TINYPROTO_OK, false);
        return PROTO_MORE;
    }
    if (tp->role == PROTO_SERVER)
        return tinyproto_nonsense(tp, io);
    if (signal == TINYPROTO_CONLIMIT && io->outbox->results != NULL)
        strcpy(io->outbox->results->code, "busy");
    else if (signal == TINYPROTO_CONFLICT)
        outbox_complain(io->outbox, "the server has said CONFLICT");
    else if (signal == TINYPROTO_GENERIC_ERROR)
        outbox_complain(io->outbox, SAID_GENERIC_ERROR);
    else if (signal != TINYPROTO_CONLIMIT)
        return tinyproto_nonsense(tp, io);
    return tinyproto_end(tp);
}

static enum proto_event
tinyproto_signal(struct tinyproto *tp, struct proto_io *io, uint8_t signal,
                 struct message **message_out)
{
    if (signal == TINYPROTO_OK && tp->asking)
        return tinyproto_transmit(tp, io, message_out);
    return tinyproto_nonsense(tp, io);
}

static enum proto_event
tinyproto_gather(struct tinyproto *tp, struct proto_io *io, const uint8_t *data, size_t n,
                 size_t *used, struct message **message_out)
{
    size_t take = (size_t)(TINYPROTO_SIZE_LEN - tp->have);

    if (take > n)
        take = n;
    memcpy(tp->head + tp->have, data, take);
    tp->have = (uint8_t)(tp->have + take);
    *used = take;
    return tp->have == TINYPROTO_SIZE_LEN ? tinyproto_size(tp, io, message_out) : PROTO_MORE;
}

static enum proto_event
tinyproto_payload(struct tinyproto *tp, struct proto_io *io, const uint8_t *data, size_t n,
                  size_t *used, struct message **message_out)
{
    size_t take = n < tp->left ? n : tp->left;

    message_append(*io->message, data, take);
    tp->left -= (uint32_t)take;
    *used = take;
    return tp->left == 0 ? tinyproto_message(tp, io, message_out) : PROTO_MORE;
}

/* One step: some bytes of the present state, none only where another state begins with them. */
static enum proto_event
tinyproto_step(struct tinyproto *tp, struct proto_io *io, const uint8_t *data, size_t n,
               size_t *used, struct message **message_out)
{
    *used = 1;
    switch ((enum tinyproto_state)tp->state) {
    case TINYPROTO_OPENING:
        return tinyproto_opening(tp, io, data[0]);
    case TINYPROTO_BETWEEN:
        if (data[0] > SIZE_FIRST_BYTE_MAX)
            return tinyproto_signal(tp, io, data[0], message_out);
        tp->state = TINYPROTO_SIZE;
        tp->have = 0;
        tp->begun_us = io->now_us;
        tp->received = 0;
        *used = 0;
        return PROTO_MORE;
    case TINYPROTO_SIZE:
        return tinyproto_gather(tp, io, data, n, used, message_out);
    case TINYPROTO_HELD:
        return tinyproto_signal(tp, io, data[0], message_out);
    case TINYPROTO_PAYLOAD:
        return tinyproto_payload(tp, io, data, n, used, message_out);
    case TINYPROTO_CLOSED:
        *used = n;
        return PROTO_CLOSE;
    }
    MS_ASSERT(!"a state of tinyproto");
}

static enum proto_event
tinyproto_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n,
               size_t *consumed_out, struct message **message_out)
{
    struct tinyproto *tp = state;
    enum proto_event event = PROTO_MORE;
    size_t done = 0;

    tp->heard_us = io->now_us;
    while (done < n && event == PROTO_MORE) {
        size_t used;

        event = tinyproto_step(tp, io, data + done, n - done, &used, message_out);
        tp->received += used;
        done += used;
    }
    *consumed_out = done;
    tinyproto_offer(tp, io);
    if (event == PROTO_MORE && tp->state == TINYPROTO_CLOSED)
        return PROTO_CLOSE;
    return event;
}

/* A GENERIC_ERROR looks like the beginning of a SIZE, but has nothing behind it. In place of the OK
 * to the first SIZE of a connection it can only be about that SIZE (2.3). */
static enum proto_event
tinyproto_eof(void *state, struct proto_io *io, struct message **message_out)
{
    const struct tinyproto *tp = state;
    struct outbox_results *results = io->outbox->results;

    (void)message_out;
    if (results == NULL || tp->state != TINYPROTO_SIZE || tp->have != 1 ||
        tp->head[0] != TINYPROTO_GENERIC_ERROR)
        return PROTO_CLOSE;
    outbox_complain(io->outbox, SAID_GENERIC_ERROR);
    if (!tp->asking || results->sent > 0)
        return PROTO_CLOSE;
    snprintf(results->refusal, sizeof(results->refusal), "GENERIC_ERROR to its size");
    results->refused++;
    if (results->settled != NULL)
        results->settled(results->settled_arg, 0, false);
    return PROTO_CLOSE;
}

/* --- time --- */

static uint64_t
tinyproto_later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static bool
tinyproto_receiving(const void *state)
{
    const struct tinyproto *tp = state;

    return tp->state == TINYPROTO_SIZE || tp->state == TINYPROTO_PAYLOAD;
}

static bool
tinyproto_idle(const void *state)
{
    const struct tinyproto *tp = state;

    if (tp->state == TINYPROTO_OPENING)
        return tp->role == PROTO_SERVER;
    return tp->state == TINYPROTO_BETWEEN && !tp->asking;
}

static uint64_t
tinyproto_deadline(const void *state, const struct proto_limits *limits)
{
    const struct tinyproto *tp = state;

    switch ((enum tinyproto_state)tp->state) {
    case TINYPROTO_OPENING:
    case TINYPROTO_BETWEEN:
    case TINYPROTO_HELD:
        if (tinyproto_idle(tp))
            return tp->heard_us + limits->idle_timeout_us;
        return tinyproto_later(tp->heard_us, tp->asked_us) + limits->timeout_us;
    case TINYPROTO_SIZE:
    case TINYPROTO_PAYLOAD:
        return limits_progress_deadline(limits, tp->heard_us, tp->begun_us, tp->received);
    case TINYPROTO_CLOSED:
        return UINT64_MAX;
    }
    MS_ASSERT(!"a state of tinyproto");
}

static enum proto_event
tinyproto_expire(void *state, struct proto_io *io)
{
    struct tinyproto *tp = state;

    if (tinyproto_idle(tp) || tp->state == TINYPROTO_CLOSED)
        return tinyproto_end(tp);
    return tinyproto_fault(tp, io);
}

/* --- the rest of what a protocol does --- */

static void
tinyproto_init(void *state, const struct proto_begin *begin)
{
    struct tinyproto *tp = state;

    *tp = (struct tinyproto){
        .state = TINYPROTO_OPENING,
        .role = (uint8_t)begin->role,
        .heard_us = begin->now_us,
        .asked_us = begin->now_us,
    };
}

static bool
tinyproto_adopt(void *state, const void *moved)
{
    const struct tinyproto *from = moved;
    struct tinyproto *tp = state;

    if (from->state != TINYPROTO_OPENING && from->state != TINYPROTO_BETWEEN)
        return false;
    tp->state = from->state;
    tp->heard_us = proto_moved_time(from->heard_us, tp->heard_us);
    return true;
}

/* The server's OK waits for the client's, so that the server speaks first in no protocol (5). */
static void
tinyproto_open(void *state, struct proto_io *io)
{
    const struct tinyproto *tp = state;

    if (tp->role == PROTO_CLIENT)
        tinyproto_say(io, TINYPROTO_OK, false);
}

/* Between messages the end says enough, and a GENERIC_ERROR would look like the beginning of a
 * SIZE. */
static enum proto_event
tinyproto_shutdown(void *state, struct proto_io *io)
{
    struct tinyproto *tp = state;

    if (tp->state == TINYPROTO_CLOSED)
        return PROTO_CLOSE;
    if (!tinyproto_idle(tp))
        return tinyproto_fault(tp, io);
    answers_append(io->answers, NULL, 0, true);
    return tinyproto_end(tp);
}

static void *
tinyproto_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)state;
    return m->wants_reply ? outbox_reserve(io->outbox) : NULL;
}

static int
tinyproto_push(void *state, struct proto_io *io, struct blob *blob)
{
    if (blob->len > TINYPROTO_SEND_MAX) {
        errno = EMSGSIZE;
        return -1;
    }
    outbox_push(io->outbox, blob_ref(blob));
    tinyproto_offer(state, io);
    return 0;
}

static size_t
tinyproto_refusal(const char *code, const char *text, char out[PROTO_REFUSAL_MAX])
{
    bool busy = strcmp(code, "busy") == 0;

    (void)text;
    out[0] = (char)(busy ? TINYPROTO_CONLIMIT : TINYPROTO_GENERIC_ERROR);
    return 1;
}

const struct proto_ops tinyproto_protocol = {
    .name = "tinyproto",
    .init = tinyproto_init,
    .adopt = tinyproto_adopt,
    .open = tinyproto_open,
    .feed = tinyproto_feed,
    .eof = tinyproto_eof,
    .deadline = tinyproto_deadline,
    .expire = tinyproto_expire,
    .shutdown = tinyproto_shutdown,
    .receiving = tinyproto_receiving,
    .idle = tinyproto_idle,
    .reserve = tinyproto_reserve,
    .settle = tinyproto_settle,
    .push = tinyproto_push,
    .refusal = tinyproto_refusal,
    .client_options = {"role"},
};
