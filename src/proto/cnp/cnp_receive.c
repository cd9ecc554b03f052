/* The messages that come in over cnp: their numbers, their order, and doubles. Invariant:
 * numbered packets are appended to a message in the order of their numbers. */
#include "proto/cnp/cnp.h"

#include <errno.h>

#define BACKLOG_LOW (64u << 10) /* bytes that may wait for the peer where memory is low */

/* --- numbers --- */

static uint32_t
cnp_numbers(const struct cnp *cnp)
{
    return cnp->second ? UINT16_MAX + 1u : CNP_SEQUENCES;
}

/* How far a number is ahead of the one whose turn it is, going round. */
static uint32_t
cnp_ahead(const struct cnp *cnp, uint16_t sequence)
{
    uint32_t numbers = cnp_numbers(cnp), turn = (uint32_t)(cnp->accepted % numbers);
    uint32_t place = cnp->second ? sequence : sequence - 1u;

    return (place + numbers - turn) % numbers;
}

/* It came before, and had its turn. */
static bool
cnp_is_double(const struct cnp *cnp, uint32_t ahead)
{
    uint32_t behind = cnp_numbers(cnp) - ahead;

    return behind <= cnp->accepted && behind <= CNP_WINDOW_MAX;
}

/* Second dialect: the end of the last message once more, since its ACK got lost or was on its way.
 * A new message begins with number 0, also one that consists of nothing else. */
static bool
cnp_is_last_end(const struct cnp *cnp)
{
    const struct cnp_header *h = &cnp->header;

    return cnp->done && h->last && h->sequence != 0 && h->sequence == cnp->done_sequence &&
           h->length == cnp->done_length && memcmp(h->sum, cnp->done_sum, CNP_SUM_LEN) == 0;
}

/* --- the message under way --- */

/* Makes *io->message the one of that kind; a new one where there is none. */
static bool
cnp_message_pick(struct cnp *cnp, struct proto_io *io, bool plain, uint64_t size_hint)
{
    struct packet_window *pw = *io->window;

    if (cnp->plain != plain) {
        struct message *m = *io->message;

        *io->message = pw->aside;
        pw->aside = m;
        cnp->plain = plain;
    }
    cnp->fresh = *io->message == NULL;
    if (!cnp->fresh)
        return true;
    *io->message = proto_message(io, &cnp_protocol, size_hint, io->keep_max, io->now_us, false);
    if (*io->message == NULL)
        return false;
    cnp->under_way++;
    return true;
}

static enum proto_event
cnp_too_large(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    char text[LIMITS_TEXT_LEN];

    return cnp_say_close(cnp, io, sequence, "too-large",
                         limits_too_large("max_message_size", io->limits->max_message_size, text));
}

/* It could not be stored: the handler need not be asked. */
static enum proto_event
cnp_not_stored(struct cnp *cnp, struct proto_io *io, struct message *m)
{
    bool full = message_found_no_room(m->error);
    struct verdict verdict = {
        .outcome = full ? PROTO_REFUSED : PROTO_FAILED,
        .code = full                ? "no-space"
                : m->error == EBUSY ? "busy"
                                    : NULL,
        .text = full ? "there is no room for this message" : "the message cannot be stored",
    };

    cnp_settle(cnp, io, NULL, m, &verdict);
    message_destroy(m);
    return cnp->state == CNP_READY ? PROTO_MORE : PROTO_CLOSE;
}

static void
cnp_number_done(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    struct packet_window *pw = *io->window;

    if (cnp->second) {
        cnp->with_handler = true;
        cnp->done = true;
        cnp->accepted = 0;
        packet_window_forget(pw); /* nothing of a message comes behind its end */
        cnp->early = cnp->early_acked = 0;
    } else if (sequence != 0) {
        packet_window_mark(pw, sequence);
    }
}

/* The packet with that number was its last. */
static enum proto_event
cnp_message_end(struct cnp *cnp, struct proto_io *io, uint16_t sequence,
                struct message **message_out)
{
    struct message *m = *io->message;

    if (io->outbox->bytes > (io->memory_low ? BACKLOG_LOW : PROTO_REPLY_MAX))
        return cnp_say_close(cnp, io, sequence, "backlog", "too much waits for you to take it");
    *io->message = NULL;
    cnp->under_way--;
    cnp->with_handlers++;
    cnp_number_done(cnp, io, sequence);
    message_finish(m);
    message_set_value(m, "", 0);
    m->wants_reply = limits_want_reply(io->limits, false);
    m->tag = sequence;
    if (m->error != 0)
        return cnp_not_stored(cnp, io, m);
    *message_out = m;
    return PROTO_MESSAGE;
}

/* A refused message that had this number before the numbers came round has no doubles any more:
 * what comes with it from now on are doubles of this packet. */
static void
cnp_number_comes_round(struct packet_window *pw, uint16_t sequence)
{
    struct packet_mark *mark = packet_window_marked(pw, sequence);

    if (mark != NULL && mark->refused)
        packet_window_unmark(pw, mark);
}

/* A packet is in its message, at its turn. acked: it was acknowledged when it was kept. */
static enum proto_event
cnp_accept(struct cnp *cnp, struct proto_io *io, uint16_t sequence, bool ends, bool acked,
           struct message **message_out)
{
    if (cnp->second || sequence != 0)
        cnp->accepted++;
    if (!cnp->second && sequence != 0)
        cnp_number_comes_round(*io->window, sequence);
    if (ends)
        return cnp_message_end(cnp, io, sequence, message_out);
    if (!acked)
        cnp_say_ack(cnp, io, sequence);
    return PROTO_MORE;
}

/* --- packets that kept others waiting, and those others --- */

bool
cnp_has_turn(const struct cnp *cnp, const struct proto_io *io)
{
    return cnp->early > 0 && (*io->window)->early.first->index == cnp->accepted;
}

enum proto_event
cnp_release(struct cnp *cnp, struct proto_io *io, struct message **message_out)
{
    enum proto_event event = PROTO_MORE;

    while (event == PROTO_MORE && cnp_has_turn(cnp, io)) {
        struct packet *p = packet_window_take(*io->window);

        cnp->early--;
        cnp->early_acked -= !p->ends;
        if (!cnp_message_pick(cnp, io, false, p->bytes.len)) {
            event = PROTO_CLOSE;
        } else if ((*io->message)->size + p->bytes.len > io->limits->max_message_size) {
            event = cnp_too_large(cnp, io, p->sequence);
        } else {
            message_append(*io->message, buffer_bytes(&p->bytes), p->bytes.len);
            event = cnp_accept(cnp, io, p->sequence, p->ends, true, message_out);
        }
        packet_destroy(p);
    }
    return event;
}

/* Notes how the last packet of this message looks, in case it comes once more. */
static void
cnp_note_end(struct cnp *cnp)
{
    const struct cnp_header *h = &cnp->header;

    cnp->done_sequence = h->sequence;
    cnp->done_length = h->length;
    memcpy(cnp->done_sum, h->sum, CNP_SUM_LEN);
}

static void
cnp_keep(struct cnp *cnp, struct proto_io *io)
{
    const struct cnp_header *h = &cnp->header;

    packet_window_keep(*io->window);
    cnp->early++;
    io->tally->packets++;
    if (cnp_kind(h, cnp->second) == CNP_FRAGMENT) {
        cnp->early_acked++;
        cnp_say_ack(cnp, io, h->sequence);
    } else {
        cnp_note_end(cnp);
    }
}

/* --- doubles --- */

static void
cnp_answer_again(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    const struct packet_mark *mark = packet_window_marked(*io->window, sequence);

    if (mark == NULL)
        cnp_say_ack(cnp, io, sequence);
    else if (mark->refused)
        cnp_say_error(cnp, io, sequence, "refused", "this message was refused before");
}

void
cnp_repeat_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    if (sequence != 0 && cnp_is_double(cnp, cnp_ahead(cnp, sequence)))
        cnp_answer_again(cnp, io, sequence);
}

/* A packet that was only summed: a double, or dropped. */
static void
cnp_skipped(struct cnp *cnp, struct proto_io *io)
{
    const struct cnp_header *h = &cnp->header;
    uint32_t ahead = cnp_ahead(cnp, h->sequence);
    const struct packet *kept;

    if (cnp->with_handler)
        return;
    if (cnp_is_last_end(cnp)) {
        cnp_say_ack(cnp, io, h->sequence);
        return;
    }
    if (cnp_is_double(cnp, ahead)) {
        cnp_answer_again(cnp, io, h->sequence);
        return;
    }
    kept = packet_window_kept(*io->window, cnp->accepted + ahead);
    if (kept != NULL && !kept->ends)
        cnp_say_ack(cnp, io, h->sequence);
}

/* --- a packet from its header to its end --- */

static void
cnp_early_begin(struct cnp *cnp, struct proto_io *io, uint32_t ahead)
{
    const struct cnp_header *h = &cnp->header;
    uint64_t index = cnp->accepted + ahead;
    bool full = io->memory_low || io->store->ledger.used + h->length > io->store->ledger.max;

    if (full || !cnp->selective || cnp->early >= cnp->window ||
        packet_window_kept(*io->window, index) != NULL)
        return;
    if (packet_window_begin(*io->window, index, h->sequence, cnp_kind(h, cnp->second) == CNP_DATA))
        cnp->into = CNP_INTO_EARLY;
}

static enum proto_event
cnp_turn_begin(struct cnp *cnp, struct proto_io *io, bool plain)
{
    const struct cnp_header *h = &cnp->header;

    if (!cnp_message_pick(cnp, io, plain, h->length))
        return PROTO_CLOSE;
    if ((*io->message)->size + h->length > io->limits->max_message_size)
        return cnp_too_large(cnp, io, h->sequence);
    cnp->into = CNP_INTO_MESSAGE;
    return PROTO_MORE;
}

enum proto_event
cnp_data_begin(struct cnp *cnp, struct proto_io *io)
{
    const struct cnp_header *h = &cnp->header;
    bool plain = !cnp->second && h->sequence == 0;
    uint32_t ahead;

    cnp->used_us = io->now_us;
    if (h->length > cnp->packet_max)
        return cnp_say_close(cnp, io, h->sequence, "too-large",
                             "the packet is larger than was agreed");
    if (cnp_kind(h, cnp->second) == CNP_FRAGMENT && !cnp->fragments)
        return cnp_say_close(cnp, io, h->sequence, "fragments", "fragments were not agreed");
    cnp->into = CNP_INTO_NOTHING;
    if (cnp->with_handler || cnp_is_last_end(cnp))
        return PROTO_MORE;
    cnp->done = false;
    if (plain)
        cnp->heard_plain = true;
    else
        cnp->heard_numbers = true;
    ahead = plain ? 0 : cnp_ahead(cnp, h->sequence);
    if (ahead == 0)
        return cnp_turn_begin(cnp, io, plain);
    if (ahead >= cnp->window && cnp_is_double(cnp, ahead))
        return PROTO_MORE;
    if (ahead < (uint32_t)cnp->window + cnp->early_acked)
        cnp_early_begin(cnp, io, ahead);
    else
        return cnp_say_close(cnp, io, h->sequence, "window", "beyond the window");
    return PROTO_MORE;
}

enum proto_event
cnp_data_end(struct cnp *cnp, struct proto_io *io, struct message **message_out)
{
    const struct cnp_header *h = &cnp->header;
    bool ends = cnp_kind(h, cnp->second) == CNP_DATA;
    enum proto_event event;

    switch ((enum cnp_into)cnp->into) {
    case CNP_INTO_NOTHING:
        cnp_skipped(cnp, io);
        return PROTO_MORE;
    case CNP_INTO_EARLY:
        cnp_keep(cnp, io);
        return PROTO_MORE;
    case CNP_INTO_MESSAGE:
        break;
    case CNP_INTO_CONTROL:
        MS_ASSERT(!"data in place of control");
    }
    io->tally->packets++;
    if (ends)
        cnp_note_end(cnp);
    event = cnp_accept(cnp, io, h->sequence, ends, false, message_out);
    return event == PROTO_MORE ? cnp_release(cnp, io, message_out) : event;
}

void
cnp_data_damaged(struct cnp *cnp, struct proto_io *io)
{
    packet_window_drop(*io->window);
    if (cnp->into != CNP_INTO_MESSAGE)
        return;
    if (cnp->fresh) {
        message_destroy(*io->message);
        *io->message = NULL;
        cnp->under_way--;
    } else if (cnp->marked) {
        message_rollback(*io->message);
    }
}
