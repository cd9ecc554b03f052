/* One message over one connection. Whatever the server says that section 1 does not foresee ends
 * the connection: a new one is the only place where both sides agree again on where they are. */
#include "client/session.h"

#include "client/exchange.h"
#include "client/packets.h"
#include "client/reply.h"

#include <errno.h>
#include <string.h>

enum session_state {
    SESSION_AT_PACKET,  /* the current packet is to be sent */
    SESSION_AT_TRAILER, /* all bodies are accepted, the trailer is to be sent */
    SESSION_AT_REPLY,   /* committed, the reply is to be read */
    SESSION_AT_END,     /* end says how it went */
};

struct session {
    struct msock *m;
    struct outgoing *out;
    enum session_mode mode;
    enum session_state state;
    enum session_end end;
    struct packets packets;
    unsigned nacks;    /* within this message */
    bool trailer_sent; /* and no answer to it read yet */
    uint8_t trailer[MSP_TRAILER_FIXED + MSP_VALUE_MAX];
};

static void
session_finish(struct session *s, enum session_end end)
{
    s->end = end;
    s->state = SESSION_AT_END;
}

static void
session_lost(struct session *s)
{
    s->out->in_doubt |= s->trailer_sent;
    session_finish(s, SESSION_LOST);
}

static void
session_failed_exchange(struct session *s, enum exchange_end end, unsigned timeout_ms)
{
    struct msock *m = s->m;

    switch (end) {
    case EXCHANGE_ANSWER:
    case EXCHANGE_MALFORMED:
        handle_fail(m, MSOCK_OK, "%s: the answer makes no sense in msp", m->address);
        break;
    case EXCHANGE_TIMEOUT:
        handle_fail(m, MSOCK_OK, "%s: no answer within %u ms", m->address, timeout_ms);
        break;
    case EXCHANGE_LOST:
        errno = m->transport.error;
        if (errno == 0)
            handle_fail(m, MSOCK_OK, "%s: the server closed the connection", m->address);
        else
            handle_fail_errno(m, MSOCK_OK, "%s: the connection was lost", m->address);
        break;
    }
    session_lost(s);
}

/* An answer that this state does not foresee. */
static void
session_senseless(struct session *s)
{
    session_failed_exchange(s, EXCHANGE_ANSWER, 0);
}

static void
session_local(struct session *s, int error)
{
    if (error == EBUSY)
        handle_fail(s->m, MSOCK_OK, "the file has changed its size while it was sent");
    else {
        errno = error;
        handle_fail_errno(s->m, MSOCK_OK, "what is to be sent cannot be read");
    }
    session_finish(s, SESSION_LOCAL);
}

static void
session_count(struct msock *m, const struct msp_answer *answer)
{
    switch (answer->kind) {
    case MSP_ANSWER_GRANT:
    case MSP_ANSWER_ACK:
        m->counts.acks++;
        break;
    case MSP_ANSWER_NACK1:
        m->counts.nack1++;
        break;
    case MSP_ANSWER_NACK2:
        m->counts.nack2++;
        break;
    case MSP_ANSWER_REJ:
        m->counts.rej++;
        break;
    case MSP_ANSWER_ERR:
        m->counts.err++;
        break;
    }
}

/* Sends and reads the answer. True with ACK, ACK <N> or a NACK in *answer; false where the session
 * has come to its end. */
static bool
session_ask(struct session *s, struct iovec *iov, int count, unsigned timeout_ms,
            struct msp_answer *answer)
{
    struct exchange x = {.transport = &s->m->transport,
                         .iov = iov,
                         .iov_count = count,
                         .timeout_ms = timeout_ms,
                         .work = packets_work,
                         .arg = &s->packets};
    enum exchange_end end = exchange_run(&x, answer);

    if (end != EXCHANGE_ANSWER) {
        session_failed_exchange(s, end, timeout_ms);
        return false;
    }
    session_count(s->m, answer);
    if (answer->kind == MSP_ANSWER_REJ || answer->kind == MSP_ANSWER_ERR) {
        handle_fail_answer(s->m, answer);
        session_finish(s, answer->kind == MSP_ANSWER_REJ ? SESSION_REFUSED : SESSION_ENDED);
        /* What it has of the packet is unknown, so the next message cannot follow here. */
        if (x.iov_count > 0)
            transport_close(&s->m->transport);
        return false;
    }
    if (x.iov_count > 0) {
        session_senseless(s);
        return false;
    }
    return true;
}

/* True: go on. False: the callback stopped it. */
static bool
session_progress(struct session *s, uint64_t done)
{
    struct msock *m = s->m;

    if (m->progress == NULL || m->progress(m->progress_arg, done, s->out->source.size) == 0)
        return true;
    handle_fail(m, MSOCK_OK, "cancelled by the progress callback");
    session_finish(s, SESSION_CANCELLED);
    return false;
}

/* Counts a NACK. True where the message may go on. */
static bool
session_nacked(struct session *s)
{
    s->trailer_sent = false;
    if (++s->nacks <= s->m->nack_limit)
        return true;
    handle_fail(s->m, MSOCK_OK, "%s: more than %u NACKs for one message", s->m->address,
                s->m->nack_limit);
    session_lost(s);
    return false;
}

static void
session_restart(struct session *s)
{
    s->state = SESSION_AT_PACKET;
    if (packets_first(&s->packets) < 0)
        session_local(s, s->packets.error);
}

static void
session_advance(struct session *s, uint32_t grant)
{
    s->m->grant = grant;
    if (packets_next(&s->packets, grant) < 0)
        session_local(s, s->packets.error);
}

/* The digest for the first header, where it belongs there. False where it cannot be made. */
static bool
session_header_digest(struct session *s, uint8_t out[SHA256_LEN])
{
    struct outgoing *o = s->out;
    const struct chunk *c = &s->packets.current;

    if (s->mode == SESSION_LATE) {
        memset(out, 0, SHA256_LEN);
        return true;
    }
    if (packets_at_end(&s->packets)) {
        digest_sha256(s->m->digester, c->data, c->len, out);
        return true;
    }
    if (!o->has_digest && source_digest(&o->source, s->m->digester, o->sha256) < 0) {
        session_local(s, errno);
        return false;
    }
    o->has_digest = true;
    memcpy(out, o->sha256, SHA256_LEN);
    return true;
}

/* Writes the current packet's header; returns its length, 0 where that failed. */
static size_t
session_header(struct session *s, uint8_t out[MSP_FIRST_HEADER])
{
    const struct chunk *c = &s->packets.current;
    struct msp_first first = {.size = s->out->source.size, .crc = c->crc};

    if (c->offset > 0) {
        msp_packet_encode(out, c->crc);
        return MSP_PACKET_HEADER;
    }
    if (!session_header_digest(s, first.sha256))
        return 0;
    msp_first_encode(out, &first);
    return MSP_FIRST_HEADER;
}

/* Writes the trailer; returns its length, 0 where the source has changed. */
static size_t
session_trailer(struct session *s)
{
    const struct outgoing *o = s->out;
    uint8_t digest[SHA256_LEN];
    bool late = s->mode == SESSION_LATE;

    if (source_unchanged(&o->source) < 0) {
        session_local(s, errno);
        return 0;
    }
    if (late)
        packets_digest(&s->packets, digest);
    return msp_trailer_encode(s->trailer, o->kind, s->m->want_reply ? MSP_FLAG_REPLY : 0,
                              late ? digest : NULL, o->value, o->value_len);
}

static void
session_packet(struct session *s)
{
    const struct chunk *c = &s->packets.current;
    uint8_t header[MSP_FIRST_HEADER];
    size_t header_len = session_header(s, header);
    struct iovec iov[] = {{header, header_len}, {(void *)(uintptr_t)c->data, c->len}};
    struct msp_answer answer;

    if (header_len == 0 || !session_progress(s, c->offset) ||
        !session_ask(s, iov, 2, s->m->answer_ms, &answer))
        return;
    switch (answer.kind) {
    case MSP_ANSWER_GRANT:
        if (packets_at_end(&s->packets))
            session_senseless(s);
        else
            session_advance(s, answer.grant);
        break;
    case MSP_ANSWER_ACK:
        if (packets_at_end(&s->packets))
            s->state = SESSION_AT_TRAILER;
        else
            session_senseless(s);
        break;
    case MSP_ANSWER_NACK1:
        session_nacked(s);
        break;
    case MSP_ANSWER_NACK2:
        if (session_nacked(s))
            session_restart(s);
        break;
    case MSP_ANSWER_REJ:
    case MSP_ANSWER_ERR:
        break; /* session_ask has dealt with them */
    }
}

static void
session_acknowledged(struct session *s)
{
    if (s->m->want_reply)
        s->state = SESSION_AT_REPLY;
    else
        session_finish(s, SESSION_COMMITTED);
}

static void
session_send_trailer(struct session *s)
{
    size_t len = session_trailer(s);
    struct iovec iov = {s->trailer, len};
    struct msp_answer answer;

    if (len == 0 || !session_progress(s, s->out->source.size))
        return;
    s->trailer_sent = true;
    if (!session_ask(s, &iov, 1, s->m->commit_ms, &answer))
        return;
    switch (answer.kind) {
    case MSP_ANSWER_ACK:
        session_acknowledged(s);
        break;
    case MSP_ANSWER_NACK1:
        session_nacked(s);
        break;
    case MSP_ANSWER_NACK2:
        if (session_nacked(s))
            session_restart(s);
        break;
    case MSP_ANSWER_GRANT:
        session_senseless(s);
        break;
    case MSP_ANSWER_REJ:
    case MSP_ANSWER_ERR:
        break;
    }
}

/* One of the two answers to what was sent ahead. True for ACK. */
static bool
session_ahead_ack(struct session *s, struct iovec *iov, int count)
{
    struct msp_answer answer;

    if (!session_ask(s, iov, count, s->m->commit_ms, &answer))
        return false;
    switch (answer.kind) {
    case MSP_ANSWER_ACK:
        return true;
    case MSP_ANSWER_NACK1:
    case MSP_ANSWER_NACK2:
        handle_fail(s->m, MSOCK_OK, "%s: the message arrived damaged", s->m->address);
        session_finish(s, SESSION_NACKED);
        return false;
    case MSP_ANSWER_GRANT:
        session_senseless(s);
        return false;
    case MSP_ANSWER_REJ:
    case MSP_ANSWER_ERR:
        break;
    }
    return false;
}

/* Packet and trailer in one write (1.6). Both answers get the time of a commit, since the server
 * may hold back the first one to send both together. */
static void
session_ahead(struct session *s)
{
    const struct chunk *c = &s->packets.current;
    uint8_t header[MSP_FIRST_HEADER];
    size_t header_len = session_header(s, header);
    size_t trailer_len = header_len > 0 ? session_trailer(s) : 0;
    struct iovec iov[] = {
        {header, header_len}, {(void *)(uintptr_t)c->data, c->len}, {s->trailer, trailer_len}};

    if (trailer_len == 0 || !session_progress(s, 0))
        return;
    s->trailer_sent = true;
    if (!session_ahead_ack(s, iov, 3)) {
        /* Nothing says whether the trailer behind a refused packet is answered too. */
        transport_close(&s->m->transport);
        return;
    }
    if (session_ahead_ack(s, NULL, 0))
        session_acknowledged(s);
}

/* It has its final ACK, so it is not sent again (1.6). */
static void
session_unanswered(struct session *s)
{
    struct msock *m = s->m;

    m->counts.messages++;
    handle_say_unanswered(m);
    session_finish(s, SESSION_UNANSWERED);
}

static void
session_reply(struct session *s)
{
    switch (reply_read(s->m)) {
    case REPLY_READ:
        session_finish(s, SESSION_COMMITTED);
        break;
    case REPLY_BAD:
        session_unanswered(s);
        break;
    case REPLY_LOCAL:
        session_finish(s, SESSION_LOCAL);
        break;
    }
}

static void
session_step(struct session *s)
{
    switch (s->state) {
    case SESSION_AT_PACKET:
        if (s->mode == SESSION_AHEAD)
            session_ahead(s);
        else
            session_packet(s);
        break;
    case SESSION_AT_TRAILER:
        session_send_trailer(s);
        break;
    case SESSION_AT_REPLY:
        session_reply(s);
        break;
    case SESSION_AT_END:
        break;
    }
}

/* What the outcome means for the connection. */
static void
session_leave(struct msock *m, enum session_end end)
{
    switch (end) {
    case SESSION_COMMITTED:
        m->counts.messages++;
        m->transport.messages++;
        break;
    case SESSION_REFUSED:
        m->transport.messages++;
        break;
    case SESSION_ENDED:
    case SESSION_LOST:
    case SESSION_NACKED:
    case SESSION_LOCAL:
    case SESSION_CANCELLED:
    case SESSION_UNFIT:
    case SESSION_UNANSWERED:
        transport_close(&m->transport);
        break;
    }
}

enum session_end
session_run(struct msock *m, struct outgoing *out, enum session_mode mode)
{
    struct session s = {.m = m, .out = out, .mode = mode};

    packets_init(&s.packets, &out->source, m->digester, mode == SESSION_LATE, m->grant);
    session_restart(&s);
    while (s.state != SESSION_AT_END)
        session_step(&s);
    packets_fini(&s.packets);
    session_leave(m, s.end);
    if (s.end == SESSION_COMMITTED && m->progress != NULL)
        m->progress(m->progress_arg, out->source.size, out->source.size);
    return s.end;
}
