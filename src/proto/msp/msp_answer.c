/* The server's answers of msp, and the trailer, whose checks choose one of them. Invariant: each
 * answer is counted where it is appended. */
#include "proto/msp/msp.h"

#include "common/text.h"

#include <errno.h>
#include <stdio.h>

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

    if (io->memory_low && message_takes_memory(*io->message))
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

/* Between messages: nothing of the last one is left. */
static void
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

static void
msp_say_no(struct msp *msp, struct proto_io *io, const char *word, const char *code,
           const char *text, bool last)
{
    char line[MSP_LINE_MAX];

    answers_append(io->answers, line, msp_line(line, word, code, text), last);
    msp_message_done(msp, io);
}

enum proto_event
msp_say_rej(struct msp *msp, struct proto_io *io, const char *code, const char *text)
{
    io->tally->rej++;
    msp_say_no(msp, io, "REJ", code, text, false);
    return PROTO_MORE;
}

enum proto_event
msp_say_err(struct msp *msp, struct proto_io *io, const char *code, const char *text)
{
    io->tally->err++;
    msp_say_no(msp, io, "ERR", code, text, true);
    msp->state = MSP_CLOSED;
    return PROTO_CLOSE;
}

enum proto_event
msp_say_too_large(struct msp *msp, struct proto_io *io, uint64_t size)
{
    const struct proto_limits *limits = io->limits;
    char text[LIMITS_TEXT_LEN];

    if (size > limits->max_message_size)
        return msp_say_rej(msp, io, "too-large",
                           limits_too_large("max_message_size", limits->max_message_size, text));
    return msp_say_rej(msp, io, "refused", limits_too_large(limits->taker, limits->take_max, text));
}

enum proto_event
msp_say_lost(struct msp *msp, struct proto_io *io)
{
    int error = (*io->message)->error;

    if (error == 0)
        return msp_say_rej(msp, io, "refused", OPENING_REFUSED);
    if (message_found_no_room(error))
        return msp_say_rej(msp, io, "no-space", "the server has no room for this message");
    if (error == EBUSY)
        return msp_say_err(msp, io, "busy", "too much from where you are is unfinished here");
    return msp_say_err(msp, io, "internal", "the server cannot store the message");
}

/* ACK and the reply block (1.5); NULL: an empty one. -1 where the reply cannot be read. */
static int
msp_reply(struct chain *out, struct blob *reply)
{
    struct msp_first first = {.size = 0};
    uint8_t head[MSP_FIRST_HEADER];

    memcpy(first.sha256, msp_empty_digest, SHA256_LEN);
    if (reply != NULL) {
        MS_ASSERT(reply->len <= PROTO_REPLY_MAX);
        if (blob_sum(reply) < 0)
            return -1;
        memcpy(first.sha256, reply->sha256, SHA256_LEN);
        first.size = reply->len;
        first.crc = reply->crc;
    }
    msp_first_encode(head, &first);
    chain_append(out, "ACK\r\n", 5);
    chain_append(out, head, sizeof(head));
    if (reply != NULL)
        chain_add(out, blob_ref(reply));
    return 0;
}

static void
msp_final(struct proto_io *io, struct answer *place, const void *data, size_t n, bool last)
{
    if (place != NULL)
        answers_settle(io->answers, place, data, n, last);
    else
        answers_append(io->answers, data, n, last);
}

static void
msp_settle_not(struct proto_io *io, struct answer *place, const struct verdict *verdict)
{
    bool failed = verdict->outcome == PROTO_FAILED;
    const char *code = verdict->code != NULL ? verdict->code : "internal";
    char line[MSP_LINE_MAX];
    size_t n = msp_line(line, failed ? "ERR" : "REJ", code, verdict->text);

    io->tally->err += failed;
    io->tally->rej += !failed;
    msp_final(io, place, line, n, failed);
}

static void
msp_settle_with_reply(struct proto_io *io, struct answer *place, struct blob *reply)
{
    struct chain out;

    answers_chain(io->answers, &out);
    if (msp_reply(&out, reply) < 0) {
        chain_fini(&out);
        msp_settle_not(
            io, place,
            &(struct verdict){.outcome = PROTO_FAILED, .text = "the reply cannot be read back"});
        return;
    }
    io->tally->acks++;
    io->tally->messages++;
    answers_give(io->answers, place, &out, false);
}

void
msp_settle(struct proto_io *io, struct answer *place, const struct message *m,
           const struct verdict *verdict)
{
    struct blob small, *reply;

    if (verdict->outcome != PROTO_COMMITTED) {
        msp_settle_not(io, place, verdict);
    } else if (m->wants_reply) {
        reply = proto_reply_now(io, m, verdict, &small);
        msp_settle_with_reply(io, place, reply);
        blob_unref(reply);
    } else {
        io->tally->acks++;
        io->tally->messages++;
        msp_final(io, place, "ACK\r\n", 5, false);
    }
}

/* --- the trailer --- */

#define CRC_FROM 6 /* the trailer's CRC-32 covers KIND and all behind it */

static enum proto_event
msp_trailer_again(struct msp *msp, struct proto_io *io)
{
    enum proto_event event = msp_say_nack1(msp, io);

    if (event == PROTO_MORE) {
        (*io->message)->name = 0; /* what was foreseen may be what was damaged */
        msp->state = MSP_TRAILER;
        msp->have = 0;
    }
    return event;
}

enum proto_event
msp_trailer_begin(struct msp *msp, struct proto_io *io)
{
    unsigned len = be16_load(msp->head + 8);

    /* No VALUE is that long: the length was damaged on its way, so the CRC-32 cannot hold. */
    if (len > MSP_VALUE_MAX || msp->head[4] != '\r' || msp->head[5] != '\n')
        return msp_trailer_again(msp, io);
    if (message_value_reserve(*io->message, len) == NULL)
        return PROTO_CLOSE;
    msp->value_have = 0;
    msp->state = MSP_VALUE;
    return PROTO_MORE;
}

/* Compares a late digest (1.8) and takes it off the front of VALUE. */
static bool
msp_late_digest_holds(struct message *m)
{
    message_finish(m);
    if (memcmp(m->value, m->sha256, SHA256_LEN) != 0)
        return false;
    message_value_cut_front(m, SHA256_LEN);
    return true;
}

static const char *
msp_flags_reason(const struct msp *msp, const struct message *m, uint8_t flags)
{
    bool digest = (flags & MSP_FLAG_DIGEST) != 0;

    if ((flags & ~(MSP_FLAG_REPLY | MSP_FLAG_DIGEST)) != 0)
        return "a flag that is not defined";
    if (digest && !msp->late_digest)
        return "a late digest, but the first packet had one already";
    if (!digest && msp->late_digest)
        return "no digest, neither in the first packet nor in the trailer";
    if (digest && m->value_len < SHA256_LEN)
        return "a late digest is 32 bytes";
    return NULL;
}

enum proto_event
msp_trailer_end(struct msp *msp, struct proto_io *io, struct message **message_out)
{
    struct message *m = *io->message;
    uint32_t crc = digest_crc32(0, msp->head + CRC_FROM, MSP_TRAILER_FIXED - CRC_FROM);
    uint8_t kind = msp->head[6], flags = msp->head[7];
    const char *reason;

    if (digest_crc32(crc, m->value, m->value_len) != be32_load(msp->head))
        return msp_trailer_again(msp, io);
    io->tally->packets++;
    reason = msp_flags_reason(msp, m, flags);
    if (reason != NULL)
        return msp_say_rej(msp, io, "bad-flags", reason);
    if (kind != MESSAGE_PLAIN && kind != MESSAGE_JSON && kind != MESSAGE_FILE)
        return msp_say_rej(msp, io, "bad-kind", "KIND is A, J or F");
    if (msp->late_digest && !msp_late_digest_holds(m))
        return msp_say_nack2(msp, io);
    if (m->error != 0)
        return msp_say_lost(msp, io);
    m->kind = (enum message_kind)kind;
    m->wants_reply = (flags & MSP_FLAG_REPLY) != 0;
    reason = kind == MESSAGE_FILE ? path_check(m->value, m->value_len) : NULL;
    if (reason != NULL)
        return msp_say_rej(msp, io, "bad-path", reason);
    *message_out = m;
    *io->message = NULL;
    msp_message_done(msp, io);
    return PROTO_MESSAGE;
}
