/* What either side of cnp says about packets of the other: ACK, ERROR or NACK, and farewells.
 * Invariant: a farewell leaves after the answers to all messages that are with a handler. */
#include "proto/cnp/cnp.h"

void
cnp_packet_head(const struct cnp *cnp, const struct proto_io *io, struct buffer *out,
                struct cnp_header *header, const void *payload, size_t n)
{
    struct packet_window *pw = *io->window;
    uint8_t head[CNP_HEADER_MAX];
    size_t head_len;

    header->length = (uint32_t)n;
    if (pw != NULL)
        cnp_sum_whole(pw->sum, payload, n, header->sum);
    else
        cnp_sum_of(payload, n, header->sum);
    head_len = cnp_header_encode(head, cnp->second, header);
    buffer_append(out, head, head_len);
}

void
cnp_say(struct cnp *cnp, struct proto_io *io, uint8_t type, uint16_t sequence, const void *payload,
        size_t n, bool last)
{
    struct cnp_header header = {.type = type, .sequence = sequence};
    struct buffer packet;

    buffer_init(&packet);
    cnp_packet_head(cnp, io, &packet, &header, payload, n);
    buffer_append(&packet, payload, n);
    if (last)
        (void)cnp_farewell(cnp, io, buffer_bytes(&packet), packet.len);
    else
        answers_append(io->answers, buffer_bytes(&packet), packet.len, false);
    buffer_fini(&packet);
}

enum proto_event
cnp_farewell(struct cnp *cnp, struct proto_io *io, const void *data, size_t n)
{
    if (cnp->state == CNP_LEAVING || cnp->state == CNP_CLOSED)
        return PROTO_CLOSE;
    if (cnp->with_handlers > 0) {
        buffer_append(&(*io->window)->farewell, data, n);
        cnp->state = CNP_LEAVING;
        return PROTO_CLOSE;
    }
    answers_append(io->answers, data, n, true);
    return cnp_end(cnp);
}

void
cnp_farewell_due(struct cnp *cnp, struct proto_io *io)
{
    const struct buffer *farewell = &(*io->window)->farewell;

    if (cnp->state != CNP_LEAVING || cnp->with_handlers > 0)
        return;
    answers_append(io->answers, buffer_bytes(farewell), farewell->len, true);
    cnp_end(cnp);
}

void
cnp_say_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    uint8_t packet[CNP_ACK_MAX];

    io->tally->acks++;
    answers_append(io->answers, packet, cnp_ack_encode(packet, cnp->second, sequence), false);
}

static void
cnp_say_about(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
              const char *text, bool last)
{
    struct buffer payload;

    buffer_init(&payload);
    cnp_error_payload(&payload, code, text);
    cnp_say(cnp, io, cnp_type(CNP_ERROR, cnp->second), sequence, buffer_bytes(&payload),
            payload.len, last);
    buffer_fini(&payload);
}

void
cnp_say_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
              const char *text)
{
    cnp_say_about(cnp, io, sequence, code, text, false);
}

void
cnp_say_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence)
{
    io->tally->nack1++;
    cnp_say_error(cnp, io, sequence, "checksum", "the payload does not have this checksum");
}

enum proto_event
cnp_say_close(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
              const char *text)
{
    if (cnp->state == CNP_LEAVING || cnp->state == CNP_CLOSED)
        return PROTO_CLOSE;
    io->tally->err++;
    cnp_note_refusal(io, text); /* a client's caller hears the reason as well */
    cnp_say_about(cnp, io, sequence, code, text, true);
    return PROTO_CLOSE;
}

enum proto_event
cnp_say_nonsense(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
                 const char *text)
{
    io->tally->header++;
    return cnp_say_close(cnp, io, sequence, code, text);
}

enum proto_event
cnp_end(struct cnp *cnp)
{
    cnp->state = CNP_CLOSED;
    return PROTO_CLOSE;
}
