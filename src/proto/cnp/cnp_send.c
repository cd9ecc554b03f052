/* The messages that go out over cnp, packet by packet: the window, ACKs, and packets sent again.
 * Invariant: a packet is in the flight list until it is acknowledged. */
#include "proto/cnp/cnp.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define DOUBLINGS_MAX 16 /* of the timeout */

/* Old clients know one number only, and in step-by-step it is enough. */
static bool
cnp_numbers_ours(const struct cnp *cnp)
{
    return cnp->role == PROTO_CLIENT || cnp->heard_numbers || !cnp->heard_plain;
}

bool
cnp_fits(const struct cnp *cnp, size_t n)
{
    if (cnp->second)
        return n <= (uint64_t)cnp->packet_max * UINT16_MAX;
    return cnp->fragments || n <= cnp->packet_max;
}

static bool
cnp_has_room(const struct cnp *cnp, const struct packet_window *pw)
{
    /* The numbers of the next message begin at 0 again, so all ACKs of this one must be there. */
    if (cnp->second && pw->sending.at == 0 && cnp->sent == 0)
        return cnp->flight == 0;
    if (cnp->flight == 0 || !cnp->burst || !cnp_numbers_ours(cnp))
        return cnp->flight == 0;
    /* The oldest one holds up the window, whatever behind it has its ACK. */
    return cnp->sent - pw->flight.first->index < cnp->window;
}

static uint16_t
cnp_next_number(const struct cnp *cnp)
{
    if (cnp->second)
        return (uint16_t)cnp->sent;
    return cnp_numbers_ours(cnp) ? (uint16_t)(cnp->sent % CNP_SEQUENCES + 1) : 0;
}

static void
cnp_say_packet(struct proto_io *io, const struct packet *p)
{
    struct chain ready;

    answers_chain(io->answers, &ready);
    packet_window_say(p, &ready);
    answers_give(io->answers, NULL, &ready, false);
}

/* data: the next n bytes of the message. */
static void
cnp_send_packet(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, bool ends)
{
    struct packet_window *pw = *io->window;
    struct cnp_header header = {
        .type = cnp_type(ends ? CNP_DATA : CNP_FRAGMENT, cnp->second),
        .sequence = cnp_next_number(cnp),
        .last = ends,
    };
    struct packet *p = packet_window_send(pw, header.sequence, ends, n);

    if (p == NULL)
        return;
    cnp_packet_head(cnp, io, &p->bytes, &header, data, n);
    cnp_say_packet(io, p);
    p->index = cnp->sent;
    p->message = io->outbox->results != NULL ? io->outbox->results->sent : 0;
    p->due_us = io->now_us + io->limits->timeout_us;
    if (cnp->flight++ == 0 || p->due_us < cnp->resend_us)
        cnp->resend_us = p->due_us;
    if (cnp->second || header.sequence != 0)
        cnp->sent++;
}

static void
cnp_message_sent(struct cnp *cnp, struct proto_io *io)
{
    blob_reader_fini(&(*io->window)->sending);
    if (cnp->second)
        cnp->sent = 0;
    outbox_pop(io->outbox);
    if (io->outbox->results != NULL)
        io->outbox->results->sent++;
}

/* The next packet of the oldest message. A payload that is in a file is in memory while it is
 * summed. Returns 0, or -1 where it cannot be read. */
static int
cnp_send_next(struct cnp *cnp, struct proto_io *io)
{
    struct blob_reader *r = &(*io->window)->sending;
    size_t n = r->left < cnp->packet_max ? (size_t)r->left : cnp->packet_max;
    uint8_t *scratch = r->blob->fd >= 0 ? ms_malloc(n) : NULL;
    bool ends = n == r->left;
    const uint8_t *data;

    if ((r->blob->fd >= 0 && scratch == NULL) || blob_reader_next(r, scratch, n, &data) < 0) {
        free(scratch);
        return -1;
    }
    cnp_send_packet(cnp, io, data, n, ends);
    blob_reader_take(r, data, n);
    free(scratch);
    if (ends)
        cnp_message_sent(cnp, io);
    return 0;
}

enum proto_event
cnp_pump(struct cnp *cnp, struct proto_io *io)
{
    const struct outbox_item *item;

    if (cnp->state != CNP_READY && cnp->state != CNP_LEAVING)
        return PROTO_MORE;
    while ((item = io->outbox->first) != NULL) {
        if (cnp_window(io) == NULL)
            return cnp_say_close(cnp, io, 0, "internal", "packets cannot be summed here");
        if (!cnp_fits(cnp, (size_t)item->blob->len))
            return cnp_say_close(cnp, io, 0, "too-large",
                                 "a message for you is larger than your packets");
        if (!cnp_has_room(cnp, *io->window))
            break;
        if ((*io->window)->sending.blob == NULL)
            blob_reader_init(&(*io->window)->sending, blob_ref(item->blob));
        if (cnp_send_next(cnp, io) < 0)
            return cnp_say_close(cnp, io, 0, "internal", "a message for you cannot be read back");
    }
    return PROTO_MORE;
}

/* The packet that an ACK or ERROR is about. A peer that sends only SEQUENCE 0 means the oldest. */
static struct packet *
cnp_meant(const struct cnp *cnp, struct packet_window *pw, uint16_t sequence)
{
    struct packet *p = packet_window_in_flight(pw, sequence);

    if (p == NULL && sequence == 0 && !cnp->second && !cnp->heard_numbers)
        p = pw->flight.first;
    return p;
}

/* An ACK, damaged or not: a client's caller looks before it is fed what came behind, which may be
 * the reply. */
static enum proto_event
cnp_answered(const struct proto_io *io, const struct packet *p)
{
    if (!p->ends || io->outbox->results == NULL)
        return PROTO_MORE;
    io->outbox->results->answered++;
    return PROTO_FLUSH;
}

/* A peer that sends only SEQUENCE 0 answers each copy of a packet with it, and its answer to a
 * double may come when the next packet is on its way. */
static void
cnp_expect_echoes(struct cnp *cnp, const struct packet *p, uint16_t sequence)
{
    unsigned copies = p->tries + 1u;

    if (!cnp->second && sequence == 0 && copies > p->answers)
        cnp->echoes += copies - p->answers;
}

/* An answer without a number is to a double. */
static bool
cnp_is_echo(struct cnp *cnp, uint16_t sequence)
{
    if (cnp->second || sequence != 0 || cnp->echoes == 0)
        return false;
    cnp->echoes--;
    return true;
}

static void
cnp_note_answer(struct packet *p)
{
    if (p->answers < UINT8_MAX)
        p->answers++;
}

static enum proto_event
cnp_give_up(struct cnp *cnp, struct proto_io *io, const struct packet *p)
{
    outbox_complain(io->outbox, "a packet got no ACK in too many attempts");
    return cnp_say_close(cnp, io, p->sequence, "retries", "no ACK for this packet");
}

/* An ERROR for a packet that stays in flight, or a damaged ACK. Returns false after too many. */
static bool
cnp_note_nack(const struct proto_io *io, struct packet *p)
{
    cnp_note_answer(p);
    return p->answers <= io->limits->nack_limit;
}

/* A client's message has its final answer: the ACK of its last packet, or an ERROR for any. */
static void
cnp_settled(const struct proto_io *io, const struct packet *p, bool taken)
{
    struct outbox_results *results = io->outbox->results;

    if (results == NULL || (taken && !p->ends))
        return;
    if (taken)
        results->delivered++;
    else
        results->refused++;
    if (results->settled != NULL)
        results->settled(results->settled_arg, p->message, taken);
}

static void
cnp_landed(struct cnp *cnp, struct packet_window *pw, struct packet *p)
{
    packet_window_arrived(pw, p);
    cnp->flight--;
}

enum proto_event
cnp_acknowledged(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    enum proto_event event;
    struct packet *p;

    if (io->outbox->results != NULL)
        io->outbox->results->acks++;
    if (cnp->asked && sequence == 0 && !cnp->second) {
        cnp->asked = false;
        return PROTO_MORE;
    }
    if (cnp_is_echo(cnp, sequence))
        return PROTO_MORE;
    p = cnp_meant(cnp, *io->window, sequence);
    if (p == NULL)
        return PROTO_MORE;
    event = cnp_answered(io, p);
    cnp_note_answer(p);
    cnp_expect_echoes(cnp, p, sequence);
    cnp_settled(io, p, true);
    cnp_landed(cnp, *io->window, p);
    return cnp_pump(cnp, io) == PROTO_CLOSE ? PROTO_CLOSE : event;
}

enum proto_event
cnp_damaged_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    struct packet *p;

    if (cnp_is_echo(cnp, sequence))
        return PROTO_MORE;
    p = cnp_meant(cnp, *io->window, sequence);
    if (p == NULL)
        return PROTO_MORE;
    return cnp_note_nack(io, p) ? cnp_answered(io, p) : cnp_give_up(cnp, io, p);
}

/* --- again --- */

static enum proto_event
cnp_resend(struct cnp *cnp, struct proto_io *io, struct packet *p)
{
    unsigned doublings;

    if (p->tries >= io->limits->retries || p->tries == UINT8_MAX)
        return cnp_give_up(cnp, io, p);
    doublings = ++p->tries < DOUBLINGS_MAX ? p->tries : DOUBLINGS_MAX;
    p->due_us = io->now_us + (io->limits->timeout_us << doublings);
    cnp_say_packet(io, p);
    return PROTO_MORE;
}

enum proto_event
cnp_resend_due(struct cnp *cnp, struct proto_io *io)
{
    uint64_t next = UINT64_MAX;

    for (struct packet *p = (*io->window)->flight.first; p != NULL; p = p->next) {
        if (p->due_us <= io->now_us && cnp_resend(cnp, io, p) != PROTO_MORE)
            return PROTO_CLOSE;
        if (p->due_us < next)
            next = p->due_us;
    }
    cnp->resend_us = next;
    return PROTO_MORE;
}

/* --- errors of the peer's --- */

void
cnp_note_refusal(struct proto_io *io, const char *text)
{
    struct outbox_results *results = io->outbox->results;

    if (results != NULL)
        text_escape(text, strlen(text), results->refusal, sizeof(results->refusal));
}

static enum proto_event
cnp_refused(struct cnp *cnp, struct proto_io *io, struct packet *p, uint16_t sequence)
{
    cnp_note_answer(p);
    cnp_expect_echoes(cnp, p, sequence);
    cnp_settled(io, p, false);
    cnp_landed(cnp, *io->window, p);
    return cnp_pump(cnp, io);
}

/* Something of ours did not arrive: the last step of the handshake, a packet, or else an ACK. */
static enum proto_event
cnp_again(struct cnp *cnp, struct proto_io *io, struct packet *p, uint16_t sequence, bool damaged)
{
    const struct buffer *step = &(*io->window)->step;

    if (damaged && sequence == 0 && step->len > 0) {
        if (!cnp_may_repeat(cnp, io))
            return cnp_say_close(cnp, io, 0, "retries", "too many damaged packets");
        answers_append(io->answers, buffer_bytes(step), step->len, false);
        return PROTO_MORE;
    }
    if (p != NULL)
        return cnp_note_nack(io, p) ? cnp_resend(cnp, io, p) : cnp_give_up(cnp, io, p);
    if (damaged && !cnp->second)
        cnp_repeat_ack(cnp, io, sequence);
    return PROTO_MORE;
}

static bool
cnp_code_ends(const char *code)
{
    static const char *const codes[] = {"too-large", "window",   "fragments", "bad-type",
                                        "timeout",   "retries",  "backlog",   "internal",
                                        "busy",      "shutdown", "handshake", "bad-session"};

    for (size_t i = 0; i < MS_ARRAY_LEN(codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

/* The server's last word, which waited for its answers to all messages that it has taken (3.5). */
static enum proto_event
cnp_heard_end(struct cnp *cnp, struct proto_io *io, const struct packet *p, const char *code)
{
    struct outbox_results *results = io->outbox->results;

    io->tally->err++;
    results->rest_untaken = true;
    snprintf(results->code, sizeof(results->code), "%s", code);
    if (p != NULL && strcmp(code, "too-large") == 0)
        cnp_settled(io, p, false);
    return cnp_end(cnp);
}

static enum proto_event
cnp_heard(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
          const char *text)
{
    bool refused = strcmp(code, "refused") == 0;
    bool damaged = cnp->second || strcmp(code, "checksum") == 0;
    struct packet *p;

    if ((refused || damaged) && cnp_is_echo(cnp, sequence))
        return PROTO_MORE;
    p = cnp_meant(cnp, *io->window, sequence);
    if (!damaged)
        cnp_note_refusal(io, text != NULL ? text : code);
    if (damaged && io->outbox->results != NULL)
        io->outbox->results->damaged++;
    if (refused && p != NULL)
        return cnp_refused(cnp, io, p, sequence);
    if (cnp->role == PROTO_CLIENT && io->outbox->results != NULL && cnp_code_ends(code))
        return cnp_heard_end(cnp, io, p, code);
    return cnp_again(cnp, io, p, sequence, damaged);
}

enum proto_event
cnp_heard_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    struct packet_window *pw = *io->window;
    json_error_t why;
    json_t *error = pw->control.len == 0
                        ? NULL
                        : json_load_text(buffer_bytes(&pw->control), pw->control.len,
                                         JSON_REJECT_DUPLICATES, &why);
    const char *code = json_string_value(json_object_get(error, "error"));
    const char *text = json_string_value(json_object_get(error, "message"));
    enum proto_event event = cnp_heard(cnp, io, sequence, code != NULL ? code : "", text);

    json_decref(error);
    return event;
}
