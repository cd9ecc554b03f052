/* The packets of cnp as they come in: header, payload, sum. What a packet means is decided in
 * the other files. Invariant: a payload has an effect only after its sum held, or is taken back. */
#include "proto/cnp/cnp.h"

struct packet_window *
cnp_window(struct proto_io *io)
{
    if (*io->window == NULL)
        *io->window = packet_window_create(io->store);
    return *io->window;
}

/* --- packets of control --- */

static enum proto_event
cnp_disconnect(struct cnp *cnp, struct proto_io *io)
{
    uint8_t ack[CNP_ACK_MAX];
    size_t n = cnp_ack_encode(ack, cnp->second, cnp->header.sequence);

    io->tally->acks++;
    cnp_note_refusal(io, "the server has said DISCONNECT");
    return cnp_farewell(cnp, io, ack, n);
}

static enum proto_event
cnp_control_end(struct cnp *cnp, struct proto_io *io)
{
    uint16_t sequence = cnp->header.sequence;

    switch (cnp_kind(&cnp->header, cnp->second)) {
    case CNP_ACK:
        return cnp_acknowledged(cnp, io, sequence);
    case CNP_ERROR:
        return cnp_heard_error(cnp, io, sequence);
    case CNP_KEEPALIVE:
        cnp_say_ack(cnp, io, sequence);
        return PROTO_MORE;
    case CNP_DISCONNECT:
        return cnp_disconnect(cnp, io);
    case CNP_STEP:
    case CNP_CHANNEL:
        return PROTO_MORE;
    case CNP_DATA:
    case CNP_FRAGMENT:
    case CNP_UNKNOWN:
        break;
    }
    MS_ASSERT(!"a packet of control");
}

static enum proto_event
cnp_control_begin(struct cnp *cnp, struct proto_io *io)
{
    if (cnp->header.length > CNP_CONTROL_MAX && cnp->header.length > cnp->packet_max)
        return cnp_say_close(cnp, io, cnp->header.sequence, "too-large", "larger than was agreed");
    cnp->into = CNP_INTO_CONTROL;
    return PROTO_MORE;
}

/* --- any packet --- */

/* The header is whole. Any packet but an ERROR shows a client that its last handshake step has
 * arrived. */
static enum proto_event
cnp_packet_begin(struct cnp *cnp, struct proto_io *io)
{
    enum cnp_kind kind;

    cnp_header_decode(cnp->head, cnp->second, &cnp->header);
    kind = cnp_kind(&cnp->header, cnp->second);
    if (cnp->state != CNP_READY)
        return cnp_step_begin(cnp, io);
    if (kind != CNP_ERROR)
        buffer_fini(&(*io->window)->step);
    switch (kind) {
    case CNP_DATA:
    case CNP_FRAGMENT:
        return cnp_data_begin(cnp, io);
    case CNP_ACK:
    case CNP_ERROR:
    case CNP_KEEPALIVE:
    case CNP_DISCONNECT:
    case CNP_STEP:
    case CNP_CHANNEL:
        return cnp_control_begin(cnp, io);
    case CNP_UNKNOWN:
        break;
    }
    return cnp_say_nonsense(cnp, io, cnp->header.sequence, "bad-type", "there is no such packet");
}

/* An ACK or ERROR with SEQUENCE 0 is not asked for again: its sender would send DATA again instead,
 * and DATA without a number cannot be told from a new one. */
static enum proto_event
cnp_packet_damaged(struct cnp *cnp, struct proto_io *io)
{
    enum cnp_kind kind = cnp_kind(&cnp->header, cnp->second);
    bool mistakable = cnp->header.sequence == 0 && (kind == CNP_ACK || kind == CNP_ERROR);

    if (cnp->state != CNP_READY)
        return cnp_step_damaged(cnp, io, cnp->header.sequence);
    if (cnp->into != CNP_INTO_CONTROL)
        cnp_data_damaged(cnp, io);
    if (mistakable)
        io->tally->nack1++;
    else
        cnp_say_damaged(cnp, io, cnp->header.sequence);
    return kind == CNP_ACK ? cnp_damaged_ack(cnp, io, cnp->header.sequence) : PROTO_MORE;
}

/* Its payload is whole: rest are the bytes of a message's packet that are not in the message
 * yet. */
static enum proto_event
cnp_packet_end(struct cnp *cnp, struct proto_io *io, const uint8_t *rest, size_t n,
               struct message **message_out)
{
    uint8_t sum[CNP_SUM_LEN];
    enum proto_event event;

    cnp_sum_finish((*io->window)->sum, sum);
    cnp->in_payload = false;
    if (memcmp(sum, cnp->header.sum, CNP_SUM_LEN) != 0) {
        event = cnp_packet_damaged(cnp, io);
    } else if (cnp->state != CNP_READY) {
        event = cnp_step_end(cnp, io);
    } else if (cnp->into == CNP_INTO_CONTROL) {
        event = cnp_control_end(cnp, io);
    } else {
        if (cnp->into == CNP_INTO_MESSAGE)
            message_append(*io->message, rest, n);
        event = cnp_data_end(cnp, io, message_out);
    }
    buffer_clear(&(*io->window)->control);
    return event;
}

/* Puts some of the payload, not its end, where it belongs. */
static void
cnp_store(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n)
{
    struct packet_window *pw = *io->window;
    size_t room;

    switch ((enum cnp_into)cnp->into) {
    case CNP_INTO_NOTHING:
        return;
    case CNP_INTO_MESSAGE:
        if (!cnp->marked)
            message_mark(*io->message);
        cnp->marked = true;
        message_append(*io->message, data, n);
        return;
    case CNP_INTO_EARLY:
        packet_window_append(pw, data, n);
        return;
    case CNP_INTO_CONTROL:
        room = CNP_CONTROL_MAX - pw->control.len;
        buffer_append(&pw->control, data, n < room ? n : room);
        return;
    }
}

/* The last bytes of a message's packet wait for its checksum: where it came in one piece, no way
 * back out of the message is needed. */
static enum proto_event
cnp_payload(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
            struct message **message_out)
{
    size_t take = n < cnp->left ? n : cnp->left;

    *used = take;
    cnp_sum_update((*io->window)->sum, data, take);
    cnp->left -= (uint32_t)take;
    if (cnp->left > 0 || cnp->into != CNP_INTO_MESSAGE)
        cnp_store(cnp, io, data, take);
    return cnp->left > 0 ? PROTO_MORE : cnp_packet_end(cnp, io, data, take, message_out);
}

static enum proto_event
cnp_header_feed(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
                struct message **message_out)
{
    size_t need = cnp_header_len(cnp->second) - cnp->have, take = n < need ? n : need;
    enum proto_event event;

    if (cnp->have == 0 && cnp->state == CNP_READY && cnp->under_way == 0 && cnp->early == 0) {
        cnp->begun_us = io->now_us;
        cnp->received = 0;
    }
    memcpy(cnp->head + cnp->have, data, take);
    cnp->have = (uint8_t)(cnp->have + take);
    *used = take;
    if (take < need)
        return PROTO_MORE;
    cnp->have = 0;
    event = cnp_packet_begin(cnp, io);
    if (event != PROTO_MORE)
        return event;
    cnp->left = cnp->header.length;
    cnp->in_payload = true;
    cnp->marked = false;
    cnp_sum_begin((*io->window)->sum);
    return cnp->left > 0 ? PROTO_MORE : cnp_packet_end(cnp, io, data, 0, message_out);
}

/* One step: some bytes of the present state, never none. */
static enum proto_event
cnp_step(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used,
         struct message **message_out)
{
    switch ((enum cnp_state)cnp->state) {
    case CNP_OPENING:
        return cnp_syn_feed(cnp, io, data, n, used);
    case CNP_SESSION:
    case CNP_ASKED:
    case CNP_READY:
        if (cnp->in_payload)
            return cnp_payload(cnp, io, data, n, used, message_out);
        return cnp_header_feed(cnp, io, data, n, used, message_out);
    case CNP_LEAVING:
    case CNP_CLOSED:
        *used = n;
        return PROTO_CLOSE;
    }
    MS_ASSERT(!"a state of cnp");
}

/* Kept packets may hold several messages, and only one can be handed over at a time: the last byte
 * of the packet that they waited for is held back until they are through. Adds it to *done_inout
 * then. */
static enum proto_event
cnp_release_held(struct cnp *cnp, struct proto_io *io, size_t *done_inout,
                 struct message **message_out)
{
    enum proto_event event = cnp_release(cnp, io, message_out);

    cnp->releasing = event == PROTO_MESSAGE && cnp_has_turn(cnp, io);
    *done_inout += cnp->releasing ? 0 : 1;
    return event;
}

enum proto_event
cnp_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n, size_t *consumed_out,
         struct message **message_out)
{
    struct cnp *cnp = state;
    enum proto_event event = PROTO_MORE;
    size_t done = 0;

    cnp->heard_us = io->now_us;
    if (cnp_window(io) == NULL)
        event = cnp_say_close(cnp, io, 0, "internal", "packets cannot be summed here");
    else if (cnp->releasing)
        event = cnp_release_held(cnp, io, &done, message_out);
    while (done < n && event == PROTO_MORE) {
        size_t used = 0;

        event = cnp_step(cnp, io, data + done, n - done, &used, message_out);
        done += used;
        cnp->received += used;
        if (event == PROTO_MESSAGE && cnp_has_turn(cnp, io)) {
            cnp->releasing = true;
            done--;
        }
    }
    *consumed_out = done;
    return event;
}

/* --- the handler has decided --- */

/* Numbers of refused messages are remembered as long as a double of theirs can come. */
static void
cnp_remember_refused(const struct cnp *cnp, struct packet_window *pw, struct packet_mark *mark)
{
    uint32_t turn = (uint32_t)(cnp->accepted % CNP_SEQUENCES) + CNP_SEQUENCES;

    mark->refused = true;
    for (uint32_t i = 0; i < pw->marks_len;) {
        struct packet_mark *at = &pw->marks[i];

        if (at->refused && (turn - (at->sequence - 1u)) % CNP_SEQUENCES > 2u * cnp->window)
            packet_window_unmark(pw, at);
        else
            i++;
    }
}

static void
cnp_number_settled(struct cnp *cnp, struct packet_window *pw, uint16_t sequence, bool refused)
{
    struct packet_mark *mark;

    cnp->with_handlers--;
    cnp->with_handler = false;
    if (cnp->second || sequence == 0)
        return;
    mark = packet_window_marked(pw, sequence);
    MS_ASSERT(mark != NULL || ms_memory_failed());
    if (mark == NULL)
        return;
    if (refused)
        cnp_remember_refused(cnp, pw, mark);
    else
        packet_window_unmark(pw, mark);
}

/* The reply, whose reference it takes, takes its place in the order of replies; NULL: there is
 * none. */
static void
cnp_reply(struct cnp *cnp, struct proto_io *io, struct outbox_item *place, uint16_t sequence,
          struct blob *reply)
{
    bool fits = reply != NULL && cnp_fits(cnp, (size_t)reply->len);

    if (place == NULL && fits)
        place = outbox_reserve(io->outbox);
    if (fits)
        outbox_fill(io->outbox, place, reply);
    else if (place != NULL)
        outbox_cancel(io->outbox, place);
    if (reply == NULL || fits)
        return;
    blob_unref(reply);
    cnp_say_close(cnp, io, sequence, "too-large", "the reply is larger than your packets");
}

static void
cnp_say_refused(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *text)
{
    io->tally->rej++;
    cnp_say_error(cnp, io, sequence, "refused", text);
    if (cnp->second)
        (void)cnp_farewell(cnp, io, NULL, 0);
}

void
cnp_settle(void *state, struct proto_io *io, void *place, const struct message *m,
           const struct verdict *verdict)
{
    struct cnp *cnp = state;
    uint16_t sequence = (uint16_t)m->tag;

    cnp_number_settled(cnp, *io->window, sequence, verdict->outcome == PROTO_REFUSED);
    cnp->begun_us = cnp->used_us = io->now_us; /* until now it was our own time */
    cnp->received = 0;
    switch (verdict->outcome) {
    case PROTO_COMMITTED:
        io->tally->messages++;
        cnp_say_ack(cnp, io, sequence);
        break;
    case PROTO_REFUSED:
        cnp_say_refused(cnp, io, sequence, verdict->text);
        break;
    case PROTO_FAILED:
        cnp_say_close(cnp, io, sequence, verdict->code != NULL ? verdict->code : "internal",
                      verdict->text);
        break;
    }
    cnp_reply(cnp, io, place, sequence, proto_reply(io, m, verdict));
    cnp_pump(cnp, io);
    cnp_farewell_due(cnp, io);
}
