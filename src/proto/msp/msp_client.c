/* The client's side of msp: messages in the order of their answers. Invariant: an answer always
 * belongs to the first message. */
#include "proto/msp/msp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CLIENT_GRANT_GUESS 65536 /* what a server may grant that has granted nothing yet */
#define CLIENT_AHEAD_BYTES 65536 /* of what is laid out ahead and not sent */
#define CLIENT_COPY_MAX    4096  /* a smaller body is copied behind its header */
#define CLIENT_LAID_OUT    (MSP_FIRST_PACKET + MSP_TRAILER_FIXED + MSP_VALUE_MAX)

enum client_state {
    CLIENT_AHEAD,      /* what waits for answers, if anything, was sent ahead */
    CLIENT_DIGEST,     /* the first message is hashed, before its first packet */
    CLIENT_AT_PACKET,  /* its current packet is to be laid out */
    CLIENT_IN_PACKET,  /* and waits for its answer */
    CLIENT_AT_TRAILER, /* its trailer is to be laid out */
    CLIENT_IN_TRAILER, /* and waits for its answer */
    CLIENT_CLOSED,     /* nothing is consumed any more */
};

enum client_reading {
    CLIENT_LINES,        /* answers */
    CLIENT_REPLY_HEADER, /* of a reply block */
    CLIENT_REPLY_BODY,
};

struct msp_client {
    uint8_t state;   /* enum client_state */
    uint8_t reading; /* enum client_reading */
    bool body_acked; /* the first message was sent ahead and has the first of its two ACKs */
    uint16_t have;   /* bytes of line[] that are there */
    unsigned nacks;  /* within this message */
    uint32_t grant;  /* the last one that the server gave */
    uint64_t number; /* of the first message, on this connection */
    struct outgoing *first, *last, *unsent;
    struct msp_packets packets; /* of the first message, but while CLIENT_AHEAD */
    struct msp_first reply;     /* header of the block that is coming */
    uint64_t reply_left;
    uint32_t reply_crc;
    char line[MSP_LINE_MAX]; /* an answer or a reply's header under way */
};

struct msp_client *
msp_client_create(void)
{
    struct msp_client *c = ms_calloc(1, sizeof(*c));

    if (c != NULL)
        c->grant = CLIENT_GRANT_GUESS;
    return c;
}

static bool
client_has_packets(const struct msp_client *c)
{
    return c->packets.out != NULL;
}

void
msp_client_destroy(struct msp_client *c)
{
    if (c != NULL && client_has_packets(c))
        msp_packets_fini(&c->packets);
    free(c);
}

bool
msp_client_idle(const struct msp_client *c)
{
    return c->first == NULL && c->reading == CLIENT_LINES;
}

/* --- what was said, for the caller --- */

static enum proto_event
client_close(struct msp_client *c)
{
    c->state = CLIENT_CLOSED;
    return PROTO_CLOSE;
}

static enum proto_event
client_complain(struct msp_client *c, struct proto_io *io, const char *complaint)
{
    outbox_complain(io->outbox, complaint);
    return client_close(c);
}

static enum proto_event
client_senseless(struct msp_client *c, struct proto_io *io)
{
    return client_complain(c, io, "the answer makes no sense in msp");
}

/* The message cannot be read. The caller sees it after the call. */
static void
client_fail(struct msp_client *c, struct proto_io *io, int error)
{
    io->outbox->results->error = error;
    (void)client_close(c);
}

static void
client_count(const struct proto_io *io, const struct msp_answer *answer)
{
    switch (answer->kind) {
    case MSP_ANSWER_GRANT:
    case MSP_ANSWER_ACK:
        io->tally->acks++;
        break;
    case MSP_ANSWER_NACK1:
        io->tally->nack1++;
        break;
    case MSP_ANSWER_NACK2:
        io->tally->nack2++;
        break;
    case MSP_ANSWER_REJ:
        io->tally->rej++;
        break;
    case MSP_ANSWER_ERR:
        io->tally->err++;
        break;
    }
}

static void
client_note_word(struct proto_io *io, const struct msp_answer *answer)
{
    struct outbox_results *results = io->outbox->results;

    snprintf(results->code, sizeof(results->code), "%s", answer->code);
    snprintf(results->refusal, sizeof(results->refusal), "%s", answer->text);
}

/* --- sending --- */

int
msp_client_send(struct msp_client *c, struct outgoing *out)
{
    if (out->value_len > MSP_VALUE_MAX - SHA256_LEN) {
        errno = EMSGSIZE;
        return -1;
    }
    out->next = NULL;
    if (c->first == NULL)
        c->first = out;
    else
        c->last->next = out;
    c->last = out;
    if (c->unsent == NULL)
        c->unsent = out;
    return 0;
}

static uint8_t
client_flags(const struct outgoing *out)
{
    return out->wants_reply ? MSP_FLAG_REPLY : 0;
}

static bool
client_fits_ahead(const struct outgoing *out)
{
    return out->size <= MSP_FIRST_BODY && !out->strict && !out->late;
}

static bool
client_all_sent(const struct proto_io *io)
{
    return io->answers->ready.bytes.len == 0 && io->body->len == 0;
}

/* The body of a message that fits into one packet, behind the header in out. */
static int
client_read_small(const struct outgoing *out, uint8_t *body)
{
    if (out->data != NULL) {
        memcpy(body, out->data, out->size);
        return 0;
    }
    if (out->size > 0 && out->read(out->arg, body, out->size, 0) < 0)
        return -1;
    return out->unchanged(out->arg);
}

/* Packet and trailer, behind each other (1.6). */
static bool
client_lay_out_ahead(struct msp_client *c, struct proto_io *io, struct outgoing *out)
{
    uint8_t *at = (uint8_t *)buffer_reserve(&io->answers->ready.bytes, CLIENT_LAID_OUT);
    struct msp_first first = {.size = out->size};
    size_t body = out->size, trailer;

    if (at == NULL || client_read_small(out, at + MSP_FIRST_HEADER) < 0) {
        client_fail(c, io, errno);
        return false;
    }
    if (!out->has_digest)
        digest_sha256(io->store->digester, at + MSP_FIRST_HEADER, body, out->sha256);
    out->has_digest = !ms_memory_failed();
    memcpy(first.sha256, out->sha256, SHA256_LEN);
    first.crc = digest_crc32(0, at + MSP_FIRST_HEADER, body);
    msp_first_encode(at, &first);
    trailer = msp_trailer_encode(at + MSP_FIRST_HEADER + body, out->kind, client_flags(out), NULL,
                                 out->value, out->value_len);
    buffer_added(&io->answers->ready.bytes, MSP_FIRST_HEADER + body + trailer);
    c->unsent = out->next;
    io->outbox->results->sent++;
    return true;
}

/* A message that goes packet by packet. */
static bool
client_begin(struct msp_client *c, struct proto_io *io, struct outgoing *out)
{
    bool hash_first = out->strict && !out->has_digest;

    c->unsent = out->next;
    c->nacks = 0;
    io->outbox->results->left = out->size;
    msp_packets_init(&c->packets, out, io->store->digester, !out->has_digest, c->grant);
    c->state = hash_first ? CLIENT_DIGEST : CLIENT_AT_PACKET;
    if (!out->has_digest && c->packets.sha == NULL)
        client_fail(c, io, ENOMEM);
    else if (!hash_first && msp_packets_first(&c->packets) < 0)
        client_fail(c, io, c->packets.error);
    return true;
}

static bool
client_begin_next(struct msp_client *c, struct proto_io *io)
{
    struct outgoing *out = c->unsent;

    if (out == NULL)
        return false;
    if (client_fits_ahead(out))
        return io->answers->ready.bytes.len < CLIENT_AHEAD_BYTES &&
               client_lay_out_ahead(c, io, out);
    return out == c->first && c->reading == CLIENT_LINES && client_begin(c, io, out);
}

/* One bite of the digest that the first packet is to carry. */
static void
client_hash(struct msp_client *c, struct proto_io *io)
{
    struct outgoing *out = c->first;
    int done = msp_packets_hash_ahead(&c->packets);

    if (done == 0)
        return;
    if (done > 0) {
        sha256_peek(io->store->digester, c->packets.sha, out->sha256);
        out->has_digest = !ms_memory_failed();
        msp_packets_fini(&c->packets);
        msp_packets_init(&c->packets, out, io->store->digester, false, c->grant);
        done = msp_packets_first(&c->packets);
    }
    c->state = CLIENT_AT_PACKET;
    if (done < 0)
        client_fail(c, io, c->packets.error);
}

/* The header goes into the answers; the body is sent from where it is. */
static void
client_lay_out_packet(struct msp_client *c, struct proto_io *io)
{
    const struct msp_chunk *chunk = &c->packets.current;
    struct buffer *ready = &io->answers->ready.bytes;
    uint8_t *at = (uint8_t *)buffer_reserve(ready, MSP_FIRST_HEADER);

    if (at == NULL) {
        client_fail(c, io, ENOMEM);
        return;
    }
    if (chunk->offset > 0) {
        msp_packet_encode(at, chunk->crc);
        buffer_added(ready, MSP_PACKET_HEADER);
    } else {
        struct msp_first first = {.size = c->first->size, .crc = chunk->crc};

        if (c->first->strict)
            memcpy(first.sha256, c->first->sha256, SHA256_LEN);
        msp_first_encode(at, &first);
        buffer_added(ready, MSP_FIRST_HEADER);
    }
    if (chunk->len <= CLIENT_COPY_MAX)
        buffer_append(ready, chunk->data, chunk->len);
    else
        *io->body = (struct proto_body){.data = chunk->data, .len = chunk->len};
    c->state = CLIENT_IN_PACKET;
}

static void
client_lay_out_trailer(struct msp_client *c, struct proto_io *io)
{
    const struct outgoing *out = c->first;
    struct buffer *ready = &io->answers->ready.bytes;
    uint8_t digest[SHA256_LEN];
    uint8_t *at;

    if (out->data == NULL && out->unchanged(out->arg) < 0) {
        client_fail(c, io, errno);
        return;
    }
    if (out->has_digest)
        memcpy(digest, out->sha256, SHA256_LEN);
    else
        msp_packets_digest(&c->packets, digest);
    at = (uint8_t *)buffer_reserve(ready, MSP_TRAILER_FIXED + MSP_VALUE_MAX);
    if (at == NULL) {
        client_fail(c, io, ENOMEM);
        return;
    }
    buffer_added(ready,
                 msp_trailer_encode(at, out->kind, client_flags(out), out->strict ? NULL : digest,
                                    out->value, out->value_len));
    io->outbox->results->sent++;
    c->state = CLIENT_IN_TRAILER;
}

/* As many as are sent at once. */
static bool
client_begin_all(struct msp_client *c, struct proto_io *io)
{
    bool begun = false;

    while (c->state == CLIENT_AHEAD && client_begin_next(c, io))
        begun = true;
    return begun;
}

bool
msp_client_work(struct msp_client *c, struct proto_io *io)
{
    switch ((enum client_state)c->state) {
    case CLIENT_AHEAD:
        return client_begin_all(c, io);
    case CLIENT_DIGEST:
        client_hash(c, io);
        return true;
    case CLIENT_AT_PACKET:
        client_lay_out_packet(c, io);
        return true;
    case CLIENT_AT_TRAILER:
        client_lay_out_trailer(c, io);
        return true;
    case CLIENT_IN_PACKET:
    case CLIENT_IN_TRAILER:
        if (msp_packets_work(&c->packets))
            return true;
        if (c->packets.error != 0)
            client_fail(c, io, c->packets.error);
        return false;
    case CLIENT_CLOSED:
        return false;
    }
    MS_ASSERT(!"a state of msp's client");
}

/* --- answers --- */

/* The first message has its final answer. */
static void
client_settle(struct msp_client *c, struct proto_io *io, bool taken)
{
    struct outbox_results *results = io->outbox->results;
    struct outgoing *out = c->first;

    if (client_has_packets(c))
        msp_packets_fini(&c->packets);
    if (c->state != CLIENT_CLOSED)
        c->state = CLIENT_AHEAD;
    c->body_acked = false;
    c->first = out->next;
    results->left = 0;
    if (taken) {
        results->delivered++;
        results->answered++;
    } else {
        results->refused++;
    }
    if (results->settled != NULL)
        results->settled(results->settled_arg, c->number, taken);
    c->number++;
}

/* The final ACK. The caller looks at what was counted before the reply is fed. */
static enum proto_event
client_taken(struct msp_client *c, struct proto_io *io)
{
    bool reply = c->first->wants_reply;

    if (reply)
        c->reading = CLIENT_REPLY_HEADER;
    client_settle(c, io, true);
    return reply ? PROTO_FLUSH : PROTO_MORE;
}

/* REJ. If the message was not wholly sent, nobody knows which part of it the server has, so the
 * next message cannot follow on this connection. */
static enum proto_event
client_refused(struct msp_client *c, struct proto_io *io, const struct msp_answer *answer,
               bool may_go_on)
{
    client_note_word(io, answer);
    client_settle(c, io, false);
    return may_go_on ? PROTO_MORE : client_close(c);
}

/* An answer to what was sent ahead: each message has two. */
static enum proto_event
client_ahead_answer(struct msp_client *c, struct proto_io *io, const struct msp_answer *answer)
{
    if (c->first == NULL || c->first == c->unsent)
        return client_senseless(c, io);
    switch (answer->kind) {
    case MSP_ANSWER_ACK:
        if (c->body_acked)
            return client_taken(c, io);
        c->body_acked = true;
        return PROTO_MORE;
    case MSP_ANSWER_REJ:
        /* Nothing says whether the trailer behind a refused packet is answered too. */
        return client_refused(c, io, answer, c->body_acked);
    case MSP_ANSWER_NACK1:
    case MSP_ANSWER_NACK2:
        io->outbox->results->nacked = true;
        return client_complain(c, io, "the message arrived damaged");
    case MSP_ANSWER_GRANT:
    case MSP_ANSWER_ERR:
        break;
    }
    return client_senseless(c, io);
}

/* NACK1: the same part again; NACK2: all from the beginning. */
static enum proto_event
client_nacked(struct msp_client *c, struct proto_io *io, enum client_state again, bool restart)
{
    if (c->state == CLIENT_IN_TRAILER)
        io->outbox->results->sent--;
    if (++c->nacks > io->limits->nack_limit)
        return client_complain(c, io, "too many NACKs for one message");
    c->state = again;
    if (!restart)
        return PROTO_MORE;
    io->outbox->results->left = c->first->size;
    c->state = CLIENT_AT_PACKET;
    if (msp_packets_first(&c->packets) < 0)
        client_fail(c, io, c->packets.error);
    return PROTO_MORE;
}

static enum proto_event
client_granted(struct msp_client *c, struct proto_io *io, uint32_t grant)
{
    c->grant = grant;
    if (msp_packets_at_end(&c->packets))
        return client_senseless(c, io);
    c->state = CLIENT_AT_PACKET;
    if (msp_packets_next(&c->packets, grant) < 0)
        client_fail(c, io, c->packets.error);
    else
        io->outbox->results->left = c->first->size - c->packets.current.offset;
    return PROTO_MORE;
}

static enum proto_event
client_packet_answer(struct msp_client *c, struct proto_io *io, const struct msp_answer *answer)
{
    switch (answer->kind) {
    case MSP_ANSWER_REJ:
        return client_refused(c, io, answer, client_all_sent(io));
    case MSP_ANSWER_GRANT:
        return client_granted(c, io, answer->grant);
    case MSP_ANSWER_ACK:
        if (!msp_packets_at_end(&c->packets))
            break;
        io->outbox->results->left = 0;
        c->state = CLIENT_AT_TRAILER;
        return PROTO_MORE;
    case MSP_ANSWER_NACK1:
    case MSP_ANSWER_NACK2:
        return client_nacked(c, io, CLIENT_AT_PACKET, answer->kind == MSP_ANSWER_NACK2);
    case MSP_ANSWER_ERR:
        break;
    }
    return client_senseless(c, io);
}

static enum proto_event
client_trailer_answer(struct msp_client *c, struct proto_io *io, const struct msp_answer *answer)
{
    switch (answer->kind) {
    case MSP_ANSWER_ACK:
        return client_taken(c, io);
    case MSP_ANSWER_REJ:
        return client_refused(c, io, answer, client_all_sent(io));
    case MSP_ANSWER_NACK1:
    case MSP_ANSWER_NACK2:
        return client_nacked(c, io, CLIENT_AT_TRAILER, answer->kind == MSP_ANSWER_NACK2);
    case MSP_ANSWER_GRANT:
    case MSP_ANSWER_ERR:
        break;
    }
    return client_senseless(c, io);
}

static enum proto_event
client_answer(struct msp_client *c, struct proto_io *io, const struct msp_answer *answer)
{
    client_count(io, answer);
    if (answer->kind == MSP_ANSWER_ERR) {
        client_note_word(io, answer);
        /* The first of the two ACKs is missing to all that was sent ahead. */
        io->outbox->results->rest_untaken = c->state == CLIENT_AHEAD && !c->body_acked;
        return client_close(c);
    }
    switch ((enum client_state)c->state) {
    case CLIENT_AHEAD:
        return client_ahead_answer(c, io, answer);
    case CLIENT_IN_PACKET:
        if (answer->kind != MSP_ANSWER_REJ && !client_all_sent(io))
            break;
        return client_packet_answer(c, io, answer);
    case CLIENT_IN_TRAILER:
        if (answer->kind != MSP_ANSWER_REJ && !client_all_sent(io))
            break;
        return client_trailer_answer(c, io, answer);
    case CLIENT_DIGEST:
    case CLIENT_AT_PACKET:
    case CLIENT_AT_TRAILER:
    case CLIENT_CLOSED:
        break;
    }
    return client_senseless(c, io);
}

/* One answer, from the bytes at hand or from what was kept of it. */
static enum proto_event
client_line(struct msp_client *c, struct proto_io *io, const uint8_t *data, size_t n, size_t *used)
{
    struct msp_answer answer;
    size_t take = sizeof(c->line) - c->have;
    int len;

    if (c->have == 0) {
        len = msp_answer_decode(data, n, &answer);
        if (len > 0) {
            *used = (size_t)len;
            return client_answer(c, io, &answer);
        }
    }
    if (take > n)
        take = n;
    memcpy(c->line + c->have, data, take);
    len = msp_answer_decode(c->line, c->have + take, &answer);
    if (len < 0)
        return client_senseless(c, io);
    if (len == 0) {
        c->have = (uint16_t)(c->have + take);
        *used = take;
        return PROTO_MORE;
    }
    *used = (size_t)len - c->have;
    c->have = 0;
    return client_answer(c, io, &answer);
}

/* --- the reply (1.5) --- */

static enum proto_event
client_reply_end(struct msp_client *c, struct proto_io *io, struct message **message_out)
{
    struct message *m = *io->message;

    message_finish(m);
    if (c->reply_crc != c->reply.crc || memcmp(m->sha256, c->reply.sha256, SHA256_LEN) != 0)
        return client_complain(c, io, "the reply is damaged");
    if (m->error != 0) {
        client_fail(c, io, m->error);
        return PROTO_CLOSE;
    }
    c->reading = CLIENT_LINES;
    message_set_value(m, "", 0);
    *io->message = NULL;
    *message_out = m;
    return PROTO_MESSAGE;
}

static enum proto_event
client_reply_header(struct msp_client *c, struct proto_io *io, const uint8_t *data, size_t n,
                    size_t *used, struct message **message_out)
{
    size_t take = (size_t)MSP_FIRST_HEADER - c->have;

    if (take > n)
        take = n;
    memcpy(c->line + c->have, data, take);
    c->have = (uint16_t)(c->have + take);
    *used = take;
    if (c->have < MSP_FIRST_HEADER)
        return PROTO_MORE;
    c->have = 0;
    if (!msp_first_decode((const uint8_t *)c->line, &c->reply) || c->reply.size > PROTO_REPLY_MAX)
        return client_complain(c, io, "the reply's header is damaged");
    *io->message = message_create(io->store, c->reply.size, io->keep_max, io->now_us);
    if (*io->message == NULL)
        return PROTO_CLOSE;
    c->reading = CLIENT_REPLY_BODY;
    c->reply_left = c->reply.size;
    c->reply_crc = 0;
    return c->reply_left > 0 ? PROTO_MORE : client_reply_end(c, io, message_out);
}

static enum proto_event
client_reply_body(struct msp_client *c, struct proto_io *io, const uint8_t *data, size_t n,
                  size_t *used, struct message **message_out)
{
    size_t take = n < c->reply_left ? n : (size_t)c->reply_left;

    c->reply_crc = digest_crc32(c->reply_crc, data, take);
    message_append(*io->message, data, take);
    c->reply_left -= take;
    *used = take;
    return c->reply_left > 0 ? PROTO_MORE : client_reply_end(c, io, message_out);
}

enum proto_event
msp_client_feed(struct msp_client *c, struct proto_io *io, const uint8_t *data, size_t n,
                size_t *consumed_out, struct message **message_out)
{
    enum proto_event event = PROTO_MORE;
    size_t done = 0;

    while (done < n && event == PROTO_MORE) {
        size_t used = 0;

        if (c->state == CLIENT_CLOSED) {
            done = n;
            event = PROTO_CLOSE;
            break;
        }
        switch ((enum client_reading)c->reading) {
        case CLIENT_LINES:
            event = client_line(c, io, data + done, n - done, &used);
            break;
        case CLIENT_REPLY_HEADER:
            event = client_reply_header(c, io, data + done, n - done, &used, message_out);
            break;
        case CLIENT_REPLY_BODY:
            event = client_reply_body(c, io, data + done, n - done, &used, message_out);
            break;
        }
        done += used;
    }
    *consumed_out = done;
    return event;
}
