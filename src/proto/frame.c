/* The frame protocol, on either side: a message ends by its length, a delimiter, or the end of
 * the stream. Invariant: bytes that may be a delimiter are not in the message yet. */
#include "proto/frame.h"

#include <errno.h>

static void
frame_init(void *state, const struct proto_begin *begin)
{
    struct frame *f = state;

    *f = (struct frame){
        .state = FRAME_IDLE, .role = (uint8_t)begin->role, .heard_us = begin->now_us};
    if (begin->role == PROTO_CLIENT)
        f->http.state = FRAME_HTTP_NO;
}

static bool
frame_adopt(void *state, const void *moved)
{
    const struct frame *from = moved;
    struct frame *f = state;

    if (from->state != FRAME_IDLE || proto_moved_flag(&from->holding) ||
        !frame_http_adopt(&f->http, &from->http))
        return false;
    f->sent = proto_moved_flag(&from->sent);
    f->said_us = proto_moved_time(from->said_us, f->heard_us);
    f->heard_us = proto_moved_time(from->heard_us, f->heard_us);
    return true;
}

/* --- the message being built --- */

static void
frame_begin(struct frame *f, const struct proto_io *io)
{
    f->have = 0;
    f->begun_us = io->now_us;
    f->received = 0;
}

static enum proto_event
frame_fail(struct frame *f, struct proto_io *io)
{
    message_destroy(*io->message);
    *io->message = NULL;
    f->state = FRAME_CLOSED;
    io->tally->err++;
    return PROTO_CLOSE;
}

static enum proto_event
frame_too_large(struct frame *f, struct proto_io *io)
{
    io->tally->too_large++;
    outbox_complain(io->outbox, OUTBOX_TOO_LARGE);
    return frame_fail(f, io);
}

static struct message *
frame_message(const struct frame *f, struct proto_io *io, uint64_t size_hint)
{
    if (*io->message == NULL)
        *io->message =
            proto_message(io, &frame_protocol, size_hint, io->keep_max, f->begun_us, false);
    return *io->message;
}

/* A receipt does no harm where frames come with their length, or when the peer has sent all it had.
 * A client answers nothing. */
static bool
frame_wants_reply(const struct frame *f, const struct proto_limits *limits)
{
    enum framing_kind kind = limits->framing.kind;

    return f->role == PROTO_SERVER &&
           limits_want_reply(limits, kind == FRAMING_LENGTH32 || kind == FRAMING_EOF);
}

static enum proto_event
frame_whole(struct frame *f, struct proto_io *io, struct message **message_out)
{
    struct message *m = frame_message(f, io, 0);

    if (m == NULL)
        return PROTO_CLOSE;
    message_finish(m);
    if (m->error != 0)
        return frame_fail(f, io);
    message_set_value(m, "", 0);
    m->wants_reply = frame_wants_reply(f, io->limits);
    f->state = FRAME_IDLE;
    io->tally->packets++;
    *io->message = NULL;
    *message_out = m;
    return PROTO_MESSAGE;
}

/* --- lengths that are known --- */

static enum proto_event
frame_body_begin(struct frame *f, struct proto_io *io, uint32_t len, struct message **message_out)
{
    if (len > io->limits->max_message_size)
        return frame_too_large(f, io);
    f->state = FRAME_BODY;
    f->left = len;
    if (frame_message(f, io, len) == NULL)
        return PROTO_CLOSE;
    return len == 0 ? frame_whole(f, io, message_out) : PROTO_MORE;
}

static enum proto_event
frame_body(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
           struct message **message_out)
{
    size_t take = n < f->left ? n : f->left;

    message_append(*io->message, data, take);
    f->left -= (uint32_t)take;
    *used = take;
    if ((*io->message)->error != 0)
        return frame_fail(f, io);
    return f->left == 0 ? frame_whole(f, io, message_out) : PROTO_MORE;
}

static enum proto_event
frame_length(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
             struct message **message_out)
{
    size_t take = (size_t)FRAME_HEADER - f->have;

    if (take > n)
        take = n;
    memcpy(f->held + f->have, data, take);
    f->have = (uint8_t)(f->have + take);
    *used = take;
    if (f->have < FRAME_HEADER)
        return PROTO_MORE;
    return frame_body_begin(f, io, be32_load(f->held), message_out);
}

/* --- ends that have to be found --- */

/* Adds to a body whose length nobody has said. PROTO_CLOSE where it is too long or cannot be
 * stored. */
static enum proto_event
frame_add(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n)
{
    uint64_t size = *io->message != NULL ? (*io->message)->size : 0;
    struct message *m;

    if (n > io->limits->max_message_size - size) {
        io->tally->cut++;
        return frame_too_large(f, io);
    }
    if (n == 0)
        return PROTO_MORE;
    m = frame_message(f, io, n);
    if (m == NULL)
        return PROTO_CLOSE;
    message_append(m, data, n);
    return m->error != 0 ? frame_fail(f, io) : PROTO_MORE;
}

/* The body ends with these n bytes; the delimiter comes right behind them. */
static enum proto_event
frame_delimited(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n,
                struct message **message_out)
{
    if (io->limits->framing.drop_cr && n > 0 && data[n - 1] == '\r')
        n--;
    if (frame_add(f, io, data, n) == PROTO_CLOSE)
        return PROTO_CLOSE;
    return frame_whole(f, io, message_out);
}

/* Bytes of an earlier chunk are held back: decides them with as many new ones as that takes. */
static enum proto_event
frame_delimiter_held(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n,
                     size_t *used, struct message **message_out)
{
    const struct framing *framing = &io->limits->framing;
    size_t take = n < framing->delimiter_len ? n : framing->delimiter_len;
    uint8_t seen[2 * FRAMING_DELIMITER_MAX];
    size_t len = f->have + take, at, keep;

    memcpy(seen, f->held, f->have);
    memcpy(seen + f->have, data, take);
    at = delimiter_find(framing, seen, len);
    if (at < len) {
        *used = at + framing->delimiter_len - f->have;
        return frame_delimited(f, io, seen, at, message_out);
    }
    keep = delimiter_undecided(framing, seen, len);
    *used = take;
    f->have = (uint8_t)keep;
    if (keep <= take) { /* all of them in the new chunk, where they are looked at once more */
        *used -= keep;
        f->have = 0;
    }
    memcpy(f->held, seen + len - keep, keep);
    return frame_add(f, io, seen, len - keep);
}

static enum proto_event
frame_delimiter(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
                struct message **message_out)
{
    const struct framing *framing = &io->limits->framing;
    size_t at;

    if (f->have > 0)
        return frame_delimiter_held(f, io, data, n, used, message_out);
    at = delimiter_find(framing, data, n);
    if (at < n) {
        *used = at + framing->delimiter_len;
        return frame_delimited(f, io, data, at, message_out);
    }
    f->have = (uint8_t)delimiter_undecided(framing, data, n);
    memcpy(f->held, data + n - f->have, f->have);
    *used = n;
    return frame_add(f, io, data, n - f->have);
}

/* --- bytes --- */

/* The first byte of a message is there. */
static enum proto_event
frame_first(struct frame *f, struct proto_io *io, struct message **message_out)
{
    frame_begin(f, io);
    switch (io->limits->framing.kind) {
    case FRAMING_LENGTH32:
        f->state = FRAME_LENGTH;
        return PROTO_MORE;
    case FRAMING_FIXED:
        return frame_body_begin(f, io, io->limits->framing.fixed_len, message_out);
    case FRAMING_DELIMITER:
    case FRAMING_EOF:
        f->state = FRAME_BODY;
        return PROTO_MORE;
    }
    MS_ASSERT(!"a framing");
}

static enum proto_event
frame_inside(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
             struct message **message_out)
{
    switch (io->limits->framing.kind) {
    case FRAMING_LENGTH32:
    case FRAMING_FIXED:
        return frame_body(f, io, data, n, used, message_out);
    case FRAMING_DELIMITER:
        return frame_delimiter(f, io, data, n, used, message_out);
    case FRAMING_EOF:
        *used = n;
        return frame_add(f, io, data, n);
    }
    MS_ASSERT(!"a framing");
}

static enum proto_event
frame_step(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
           struct message **message_out)
{
    switch ((enum frame_state)f->state) {
    case FRAME_IDLE:
        return frame_first(f, io, message_out);
    case FRAME_LENGTH:
        return frame_length(f, io, data, n, used, message_out);
    case FRAME_BODY:
        return frame_inside(f, io, data, n, used, message_out);
    case FRAME_CLOSED:
        *used = n;
        return PROTO_CLOSE;
    }
    MS_ASSERT(!"a state of frame");
}

/* --- the first line --- */

/* A message may end before it is known what its line is. */
static bool
frame_must_hold(const struct framing *framing)
{
    if (framing->kind == FRAMING_FIXED)
        return true;
    for (size_t i = 0; framing->kind == FRAMING_DELIMITER && i < framing->delimiter_len; i++)
        if (framing->delimiter[i] != ' ' && !frame_http_in_target(framing->delimiter[i]))
            return false;
    return framing->kind == FRAMING_DELIMITER;
}

static enum proto_event
frame_refuse_http(struct frame *f, struct proto_io *io)
{
    f->holding = false;
    io->tally->http++;
    return frame_fail(f, io);
}

/* The held bytes are no HTTP, or nothing more will tell: they are fed again. */
static enum proto_event
frame_release(struct frame *f, struct proto_io *io)
{
    f->http.state = FRAME_HTTP_NO;
    f->holding = false;
    io->become = &frame_protocol;
    return PROTO_BECOME;
}

static enum proto_event
frame_hold(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n,
           size_t *consumed_out)
{
    size_t looked = frame_http_look(&f->http, data, n);

    *consumed_out = looked;
    if (f->http.state == FRAME_HTTP_YES || io->lookahead->len + looked > FRAME_HOLD_MAX)
        return frame_refuse_http(f, io);
    buffer_append(io->lookahead, data, looked);
    f->holding = true;
    return f->http.state == FRAME_HTTP_NO ? frame_release(f, io) : PROTO_MORE;
}

/* PROTO_MORE: go on with these bytes. */
static enum proto_event
frame_look(struct frame *f, struct proto_io *io, const uint8_t *data, size_t n)
{
    frame_http_look(&f->http, data, n);
    return f->http.state == FRAME_HTTP_YES ? frame_refuse_http(f, io) : PROTO_MORE;
}

static enum proto_event
frame_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
           struct message **message_out)
{
    struct frame *f = state;
    enum proto_event event = PROTO_MORE;
    size_t done = 0;

    f->heard_us = io->now_us;
    if (f->http.state != FRAME_HTTP_NO && f->state != FRAME_CLOSED) {
        if (frame_must_hold(&io->limits->framing))
            return frame_hold(f, io, data, n, consumed_out);
        event = frame_look(f, io, data, n);
    }
    while (done < n && event == PROTO_MORE) {
        size_t used = 0;

        event = frame_step(f, io, data + done, n - done, &used, message_out);
        f->received += used;
        done += used;
    }
    *consumed_out = done;
    return event;
}

/* A clean end in place of the last delimiter. */
static enum proto_event
frame_unterminated(struct frame *f, struct proto_io *io, struct message **message_out)
{
    if (frame_add(f, io, f->held, f->have) == PROTO_CLOSE)
        return PROTO_CLOSE;
    return frame_whole(f, io, message_out);
}

static enum proto_event
frame_eof(void *state, struct proto_io *io, struct message **message_out)
{
    struct frame *f = state;
    enum proto_event event;

    if (f->holding)
        return frame_release(f, io);
    if (io->limits->framing.keep_unterminated && f->state == FRAME_BODY)
        return frame_unterminated(f, io, message_out);
    if (io->limits->framing.kind != FRAMING_EOF || f->state == FRAME_CLOSED)
        return PROTO_CLOSE;
    if (f->state == FRAME_IDLE)
        frame_begin(f, io);
    event = frame_whole(f, io, message_out);
    f->state = FRAME_CLOSED;
    return event;
}

static bool
frame_idle(const void *state)
{
    const struct frame *f = state;

    return (f->state == FRAME_IDLE && !f->holding) || f->state == FRAME_CLOSED;
}

/* --- time --- */

static uint64_t
frame_deadline(const void *state, const struct proto_limits *limits)
{
    const struct frame *f = state;

    switch ((enum frame_state)f->state) {
    case FRAME_IDLE:
        if (f->holding)
            return f->heard_us + limits->timeout_us;
        return (f->heard_us > f->said_us ? f->heard_us : f->said_us) + limits->idle_timeout_us;
    case FRAME_LENGTH:
    case FRAME_BODY:
        return limits_progress_deadline(limits, f->heard_us, f->begun_us, f->received);
    case FRAME_CLOSED:
        return UINT64_MAX;
    }
    MS_ASSERT(!"a state of frame");
}

static enum proto_event
frame_expire(void *state, struct proto_io *io)
{
    struct frame *f = state;

    if (f->holding)
        return frame_release(f, io);
    return frame_idle(f) ? PROTO_CLOSE : frame_fail(f, io);
}

static enum proto_event
frame_shutdown(void *state, struct proto_io *io)
{
    (void)state;
    (void)io;
    return PROTO_CLOSE;
}

/* --- sending --- */

static bool
frame_carries(const struct proto_limits *limits, const void *data, size_t n)
{
    const struct framing *framing = &limits->framing;

    if (n > FRAME_SEND_MAX)
        return false;
    switch (framing->kind) {
    case FRAMING_LENGTH32:
    case FRAMING_EOF:
        return true;
    case FRAMING_FIXED:
        return n == framing->fixed_len;
    case FRAMING_DELIMITER:
        return !delimiter_inside(framing, data, n);
    }
    MS_ASSERT(!"a framing");
}

/* With eof framing one message is all. A body in a file is read where its bytes decide. */
static bool
frame_can_send(const struct frame *f, const struct proto_limits *limits, struct blob *blob)
{
    bool looks = limits->framing.kind == FRAMING_DELIMITER && blob->len <= FRAME_SEND_MAX;
    const uint8_t *data = NULL;
    bool can;

    if (limits->framing.kind == FRAMING_EOF && f->sent)
        return false;
    if (looks && blob_bytes(blob, &data) < 0)
        return false;
    can = frame_carries(limits, data, (size_t)blob->len);
    if (looks)
        blob_release(blob, data);
    return can;
}

/* Nothing, and perhaps the end, at the place, or (NULL) behind what was appended last. */
static void
frame_answer_nothing(struct proto_io *io, struct answer *place, bool last)
{
    if (place != NULL)
        answers_settle(io->answers, place, NULL, 0, last);
    else if (last)
        answers_append(io->answers, NULL, 0, last);
}

/* A message that frame_can_send has found good, with its length before it, or its delimiter behind
 * it. last: with eof framing it ends the connection. */
static void
frame_send(struct frame *f, struct proto_io *io, struct answer *place, struct blob *blob, bool last)
{
    const struct framing *framing = &io->limits->framing;
    uint8_t length[FRAME_HEADER];
    struct chain wire;

    f->said_us = io->now_us;
    f->sent |= framing->kind == FRAMING_EOF;
    answers_chain(io->answers, &wire);
    if (framing->kind == FRAMING_LENGTH32) {
        be32_store(length, (uint32_t)blob->len);
        chain_append(&wire, length, sizeof(length));
    }
    chain_add(&wire, blob_ref(blob));
    if (framing->kind == FRAMING_DELIMITER)
        chain_append(&wire, framing->delimiter, framing->delimiter_len);
    answers_give(io->answers, place, &wire, last && framing->kind == FRAMING_EOF);
}

static void *
frame_reserve(void *state, struct proto_io *io, const struct message *m)
{
    (void)state;
    /* Where no message gets a reply there is no order to keep, not even for the end. */
    return m->wants_reply ? answers_reserve(io->answers, 0) : NULL;
}

static void
frame_committed(struct frame *f, struct proto_io *io, struct answer *place, const struct message *m,
                const struct verdict *verdict)
{
    struct blob small, *reply = proto_reply_now(io, m, verdict, &small);

    io->tally->messages++;
    if (reply == NULL) {
        frame_answer_nothing(io, place, false);
    } else if (frame_can_send(f, io->limits, reply)) {
        frame_send(f, io, place, reply, true);
    } else {
        io->tally->err++;
        frame_answer_nothing(io, place, true);
    }
    blob_unref(reply);
}

static void
frame_settle(void *state, struct proto_io *io, void *place, const struct message *m,
             const struct verdict *verdict)
{
    switch (verdict->outcome) {
    case PROTO_COMMITTED:
        frame_committed(state, io, place, m, verdict);
        return;
    case PROTO_REFUSED:
        io->tally->rej++;
        frame_answer_nothing(io, place, m->wants_reply);
        return;
    case PROTO_FAILED:
        io->tally->err++;
        frame_answer_nothing(io, place, true);
        return;
    }
}

static int
frame_push(void *state, struct proto_io *io, struct blob *blob)
{
    if (!frame_can_send(state, io->limits, blob)) {
        errno = EMSGSIZE;
        return -1;
    }
    frame_send(state, io, NULL, blob, false);
    if (io->outbox->results != NULL)
        io->outbox->results->sent++;
    return 0;
}

/* Sends messages that were pushed before the protocol was known to be frame. A message that frames
 * cannot carry is lost. */
static void
frame_open(void *state, struct proto_io *io)
{
    struct outbox_item *item;

    while ((item = io->outbox->first) != NULL) {
        (void)frame_push(state, io, item->blob);
        outbox_pop(io->outbox);
    }
}

static size_t
frame_refusal(const char *code, const char *text, char out[PROTO_REFUSAL_MAX])
{
    (void)code;
    (void)text;
    (void)out;
    return 0;
}

const struct proto_ops frame_protocol = {
    .name = "frame",
    .listener_options = {"framing", "delimiter", "unterminated"},
    .client_options = {"framing", "delimiter"},
    .init = frame_init,
    .adopt = frame_adopt,
    .open = frame_open,
    .feed = frame_feed,
    .eof = frame_eof,
    .deadline = frame_deadline,
    .expire = frame_expire,
    .shutdown = frame_shutdown,
    .idle = frame_idle,
    .reserve = frame_reserve,
    .settle = frame_settle,
    .carries = frame_carries,
    .push = frame_push,
    .refusal = frame_refusal,
};
