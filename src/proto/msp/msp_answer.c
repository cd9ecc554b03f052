#include "proto/msp/msp_answer.h"

#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define GRANT_GROWTH 8 /* a clean packet earns a grant so many times as large */

static size_t
msp_line(char out[MSP_LINE_MAX], const char *word, const char *code, const char *text)
{
    char safe[MSP_LINE_MAX - 64];
    int n;

    text_escape(text, strlen(text), safe, sizeof(safe));
    n = snprintf(out, MSP_LINE_MAX, "%s %s%s%s\r\n", word, code, safe[0] != '\0' ? " " : "", safe);
    MS_ASSERT(n > 0 && n < MSP_LINE_MAX);
    return (size_t)n;
}

size_t
msp_refusal(const char *code, const char *text, char out[MSP_LINE_MAX])
{
    return msp_line(out, "ERR", code, text);
}

void
msp_say_ack(struct proto_io *io)
{
    io->tally->acks++;
    answers_append(io->answers, "ACK\r\n", 5, false);
}

static uint32_t
msp_next_grant(const struct msp *msp, const struct proto_io *io)
{
    const struct proto_limits *limits = io->limits;
    uint64_t grant = msp->grant;

    if (io->memory_low)
        return limits->packet_size;
    if (msp->clean)
        grant *= GRANT_GROWTH;
    if (grant > limits->packet_size_max)
        grant = limits->packet_size_max;
    return (uint32_t)grant;
}

void
msp_say_grant(struct msp *msp, struct proto_io *io)
{
    char line[32];
    int n;

    msp->grant = msp_next_grant(msp, io);
    msp->clean = true;
    msp->packet_len = msp->grant - MSP_PACKET_HEADER;
    if (!msp->undetermined) {
        if (msp->packet_len > msp->left)
            msp->packet_len = (uint32_t)msp->left;
        msp->left -= msp->packet_len;
    }
    n = snprintf(line, sizeof(line), "ACK %u\r\n", (unsigned)msp->grant);
    io->tally->acks++;
    answers_append(io->answers, line, (size_t)n, false);
}

static enum proto_event
msp_say_nack(struct msp *msp, struct proto_io *io, const char *line, uint32_t *counter)
{
    if (msp->nacks >= io->limits->nack_limit)
        return msp_say_err(msp, io, "retries", "too many NACKs within one message");
    msp->nacks++;
    msp->discard = true;
    msp->heard_us = io->now_us;
    (*counter)++;
    answers_append(io->answers, line, strlen(line), false);
    return PROTO_MORE;
}

enum proto_event
msp_say_nack1(struct msp *msp, struct proto_io *io)
{
    uint32_t half = msp->grant / 2;

    msp->grant = half > io->limits->packet_size ? half : io->limits->packet_size;
    msp->clean = false;
    return msp_say_nack(msp, io, "NACK1\r\n", &io->tally->nack1);
}

void
msp_message_done(struct msp *msp, struct proto_io *io)
{
    message_destroy(*io->message);
    *io->message = NULL;
    msp->state = MSP_IDLE;
    msp->have = 0;
    msp->nacks = 0;
    msp->heard_us = io->now_us;
}

enum proto_event
msp_say_nack2(struct msp *msp, struct proto_io *io)
{
    enum proto_event event = msp_say_nack(msp, io, "NACK2\r\n", &io->tally->nack2);
    uint32_t nacks = msp->nacks;

    if (event == PROTO_MORE) {
        msp_message_done(msp, io);
        msp->nacks = nacks;
    }
    return event;
}

enum proto_event
msp_say_rej(struct msp *msp, struct proto_io *io, const char *code, const char *text)
{
    char line[MSP_LINE_MAX];
    size_t n = msp_line(line, "REJ", code, text);

    io->tally->rej++;
    answers_append(io->answers, line, n, false);
    msp_message_done(msp, io);
    return PROTO_MORE;
}

enum proto_event
msp_say_err(struct msp *msp, struct proto_io *io, const char *code, const char *text)
{
    char line[MSP_LINE_MAX];
    size_t n = msp_line(line, "ERR", code, text);

    io->tally->err++;
    answers_append(io->answers, line, n, true);
    msp_message_done(msp, io);
    msp->state = MSP_CLOSED;
    return PROTO_CLOSE;
}

enum proto_event
msp_say_store_error(struct msp *msp, struct proto_io *io, int error)
{
    if (error == ENOSPC || error == EDQUOT)
        return msp_say_rej(msp, io, "no-space", "the server has no room for this message");
    return msp_say_err(msp, io, "internal", "the server cannot store the message");
}

static void
msp_reply_block(struct buffer *out, struct digester *dg, const struct verdict *v)
{
    struct msp_first first = {.size = v->reply_len};
    uint8_t head[MSP_FIRST_HEADER];

    MS_ASSERT(v->reply_len <= MSP_REPLY_MAX);
    digest_sha256(dg, v->reply, v->reply_len, first.sha256);
    first.crc = digest_crc32(0, v->reply, v->reply_len);
    msp_first_encode(head, &first);
    buffer_append(out, head, sizeof(head));
    buffer_append(out, v->reply, v->reply_len);
}

static void
msp_final(struct proto_io *io, struct answer *place, const void *data, size_t n, bool last)
{
    if (place != NULL)
        answers_settle(io->answers, place, data, n, last);
    else
        answers_append(io->answers, data, n, last);
}

void
msp_settle(struct proto_io *io, struct answer *place, const struct message *m,
           const struct verdict *verdict)
{
    char line[MSP_LINE_MAX];
    struct buffer block;

    switch (verdict->outcome) {
    case PROTO_COMMITTED:
        io->tally->acks++;
        io->tally->messages++;
        if (!m->wants_reply) {
            msp_final(io, place, "ACK\r\n", 5, false);
            return;
        }
        buffer_init(&block);
        buffer_append_str(&block, "ACK\r\n");
        msp_reply_block(&block, io->store->digester, verdict);
        msp_final(io, place, buffer_bytes(&block), block.len, false);
        buffer_fini(&block);
        return;
    case PROTO_REFUSED:
        io->tally->rej++;
        msp_final(io, place, line, msp_line(line, "REJ", verdict->code, verdict->text), false);
        return;
    case PROTO_FAILED:
        io->tally->err++;
        msp_final(io, place, line, msp_line(line, "ERR", "internal", verdict->text), true);
        return;
    }
}
