/* The limits of time: answer_ms without progress while the message is on its way, commit_ms for the
 * server's word or reply, and for all of it where the protocol itself sends again what was not
 * acknowledged. */
#include "client/handle.h"

#include <errno.h>
#include <stdio.h>

struct attempt {
    struct msock *m;
    struct peer *peer;
    struct outgoing *out;
    uint64_t deadline_us;
    uint64_t unsent;          /* the least so far: peer_unsent */
    uint64_t reply_bytes;     /* that have come in */
    unsigned in_kernel;       /* bytes the server had not taken at the last look */
    uint64_t sent, delivered; /* messages on this connection, at the last look */
    /* the same before this message */
    uint64_t sent_before, delivered_before, refused_before, flushed_before;
    uint64_t told; /* to the progress callback */
};

void
attempt_count(struct msock *m)
{
    struct peer *p = m->peer;
    struct msock_counts *counts = &m->counts;

    counts->err += p->tally.err;
    if (p->ops->repeatable) {
        counts->acks += p->tally.acks;
        counts->nack1 += p->tally.nack1;
        counts->nack2 += p->tally.nack2;
        counts->rej += p->tally.rej;
    } else {
        counts->acks += p->results.delivered - p->counted.delivered;
        counts->nack1 += p->results.damaged - p->counted.damaged;
        counts->rej += p->results.refused - p->counted.refused;
    }
    p->counted.delivered = p->results.delivered;
    p->counted.damaged = p->results.damaged;
    p->counted.refused = p->results.refused;
    p->tally = (struct proto_tally){0};
}

/* The server's last word, or what made no sense to us. */
static void
attempt_say_finished(struct msock *m)
{
    const struct outbox_results *results = &m->peer->results;
    const char *word = results->refusal;

    if (results->complaint != NULL) {
        handle_fail(m, MSOCK_OK, "%s: %s", m->address, results->complaint);
    } else if (results->code[0] != '\0') {
        handle_fail(m, MSOCK_OK, "%s ended the connection: %s%s%s", m->address, results->code,
                    word[0] != '\0' ? ": " : "", word);
        snprintf(m->code, sizeof(m->code), "%s", results->code);
    } else {
        handle_fail(m, MSOCK_OK, "%s: the connection was ended in %s%s%s", m->address,
                    m->peer->ops->name, word[0] != '\0' ? ": " : "", word);
    }
}

void
attempt_say_end(struct msock *m)
{
    struct peer *p = m->peer;

    p->end_untold = false;
    switch (p->end) {
    case PEER_CLOSED:
        if (p->results.complaint != NULL)
            attempt_say_finished(m);
        else
            handle_fail(m, MSOCK_OK, "%s: the server closed the connection", m->address);
        break;
    case PEER_LOST:
        if (m->transport.why[0] != '\0') {
            secure_say(m);
            break;
        }
        errno = m->transport.error;
        handle_fail_errno(m, MSOCK_OK, "%s: the connection was lost", m->address);
        break;
    case PEER_FINISHED:
        attempt_say_finished(m);
        break;
    case PEER_EXPIRED:
        handle_fail(m, MSOCK_OK, "%s: the server is silent where %s wants an answer", m->address,
                    p->ops->name);
        break;
    case PEER_UNREADABLE:
        errno = p->results.error;
        if (errno == EBUSY)
            handle_fail(m, MSOCK_OK, "the file has changed its size while it was sent");
        else if (errno == ESTALE)
            handle_fail(m, MSOCK_OK, "the file was written to while it was sent");
        else
            handle_fail_errno(m, MSOCK_OK, "what is to be sent cannot be read");
        break;
    case PEER_STARVED:
        handle_fail(m, MSOCK_OK, HANDLE_NO_MEMORY);
        break;
    }
}

bool
attempt_is_starved(const struct msock *m)
{
    return m->peer->end == PEER_STARVED;
}

enum msock_status
attempt_say_unfit(struct msock *m)
{
    return handle_fail(m, MSOCK_USAGE, "%s cannot carry this message to %s", m->peer->ops->name,
                       m->address);
}

bool
attempt_may_carry(const struct msock *m, const struct outgoing *out)
{
    const struct peer *p = m->peer;

    return peer_alive(p) || p->ops->carries == NULL ||
           p->ops->carries(&p->limits, out->data, (size_t)out->size);
}

int
attempt_connect(struct msock *m)
{
    m->peer->end = PEER_CLOSED;
    return connect_once(m) < 0 ? -1 : attempt_open(m);
}

int
attempt_open(struct msock *m)
{
    struct peer *p = m->peer;
    uint64_t deadline = clock_mono_us() + (uint64_t)m->answer_ms * 1000;
    enum peer_turn turn = PEER_MOVED;

    peer_begin(p);
    while (turn == PEER_MOVED && !peer_ready(p) && !m->waiter.is_ended)
        turn = clock_mono_us() < deadline ? peer_turn(p, deadline) : PEER_QUIET;
    attempt_count(m);
    if (peer_alive(p) && peer_ready(p))
        return 0;
    if (!peer_alive(p))
        attempt_say_end(m);
    else
        handle_fail(m, MSOCK_OK, "%s: no answer in %s within %u ms", m->address, p->ops->name,
                    m->answer_ms);
    dial_note(&m->dialer, m->error);
    connect_blame(m);
    peer_close(p);
    return -1;
}

void
attempt_check(struct msock *m)
{
    uint64_t deadline = clock_mono_us() + (uint64_t)m->answer_ms * 1000;

    /* After the end of one's own side no message can follow. */
    if (peer_alive(m->peer) && peer_catch_up(m->peer, deadline) && m->peer->shut)
        peer_leave(m->peer, m->answer_ms);
    attempt_count(m);
}

/* --- patience --- */

static bool
attempt_flushed(const struct attempt *a)
{
    return a->peer->flushed > a->flushed_before;
}

/* The server may have the whole message. With eof framing whatever has come is one, where our end
 * of the connection looks orderly. */
static bool
attempt_left(const struct attempt *a)
{
    if (a->peer->results.rest_untaken || a->m->transport.is_untrusted)
        return false;
    if (a->m->at.framing.kind == FRAMING_EOF)
        return a->peer->results.sent > a->sent_before;
    return attempt_flushed(a);
}

static bool
attempt_taken(const struct attempt *a)
{
    if (!a->peer->ops->acknowledges)
        return attempt_flushed(a);
    return a->peer->results.delivered > a->delivered_before;
}

/* The final answer is there, and the reply follows it without a pause. */
static bool
attempt_is_at_reply(const struct attempt *a)
{
    return a->peer->ops->repeatable && attempt_taken(a);
}

static unsigned
attempt_limit_ms(const struct attempt *a)
{
    const struct msock *m = a->m;
    const struct peer *p = a->peer;
    bool last_byte_out = attempt_flushed(a) || p->results.sent > a->sent_before;

    if (attempt_is_at_reply(a))
        return m->answer_ms;
    return p->ops->resends || last_byte_out ? m->commit_ms : m->answer_ms;
}

static void
attempt_renew(struct attempt *a)
{
    a->deadline_us = clock_mono_us() + (uint64_t)attempt_limit_ms(a) * 1000;
}

/* Notes progress: bytes that left for the first time, words of the server, bytes of its reply. */
static void
attempt_look(struct attempt *a)
{
    const struct peer *p = a->peer;
    uint64_t unsent = peer_unsent(p), reply_bytes = peer_reply_bytes(p);
    bool reply = reply_bytes != a->reply_bytes;

    a->reply_bytes = reply_bytes;
    if (unsent >= a->unsent && p->results.sent == a->sent && p->results.delivered == a->delivered &&
        !reply)
        return;
    if (unsent < a->unsent)
        a->unsent = unsent;
    a->sent = p->results.sent;
    a->delivered = p->results.delivered;
    a->in_kernel = UINT32_MAX;
    attempt_renew(a);
}

/* The time is over: but a slow line may still be draining what the kernel took from us at once. */
static bool
attempt_extended(struct attempt *a)
{
    unsigned in_kernel = transport_unsent(&a->m->transport);

    if (in_kernel == 0 || in_kernel >= a->in_kernel)
        return false;
    a->in_kernel = in_kernel;
    attempt_renew(a);
    return true;
}

/* --- one message --- */

static bool
attempt_refused(const struct attempt *a)
{
    return a->peer->results.refused > a->refused_before;
}

/* Everything that the call waits for is there. */
static bool
attempt_done(struct attempt *a)
{
    if (attempt_refused(a))
        return true;
    if (!attempt_taken(a))
        return false;
    if (peer_alive(a->peer) && a->m->at.framing.kind == FRAMING_EOF)
        peer_shut(a->peer);
    return !a->m->want_reply || a->peer->awaited != NULL;
}

/* Tells how much is on its way, or has been acknowledged where that is said. False: stop. */
static bool
attempt_progress(struct attempt *a)
{
    struct msock *m = a->m;
    uint64_t total = a->out->size, left = peer_undone(a->peer), done;

    done = left < total ? total - left : 0;
    if (m->progress == NULL || a->told == done)
        return true;
    a->told = done;
    return m->progress(m->progress_arg, done, total) == 0;
}

enum attempt_stop {
    STOP_DONE,
    STOP_ENDED,     /* the connection */
    STOP_LATE,      /* no progress for too long */
    STOP_FULL,      /* nothing more can be read: too many messages wait for msock_recv */
    STOP_CANCELLED, /* by the progress callback */
    STOP_WAIT,      /* by the function of msock_set_wait */
};

static enum attempt_stop
attempt_wait(struct attempt *a)
{
    uint64_t until_us = 0; /* an empty message may be done already, and no event would come */
    enum peer_turn turn;

    attempt_renew(a);
    for (;; until_us = a->deadline_us) {
        turn = peer_turn(a->peer, until_us);
        if (attempt_done(a))
            return STOP_DONE;
        if (turn == PEER_ENDED)
            return STOP_ENDED;
        attempt_look(a);
        if (!attempt_taken(a) && !attempt_progress(a))
            return STOP_CANCELLED;
        if (a->m->waiter.is_ended)
            return STOP_WAIT;
        if (turn == PEER_QUIET && peer_full(a->peer))
            return STOP_FULL;
        if (clock_mono_us() >= a->deadline_us && !attempt_extended(a))
            return STOP_LATE;
    }
}

/* Taken, and the reply where one was wanted. */
static enum attempt_end
attempt_finish(struct attempt *a)
{
    struct msock *m = a->m;
    struct message *reply = peer_reply(a->peer);

    m->counts.messages++;
    if (m->progress != NULL)
        m->progress(m->progress_arg, a->out->size, a->out->size);
    if (reply == NULL)
        return ATTEMPT_TAKEN;
    /* A transformed reply is never empty, so with transforms an empty block is no reply. */
    if (a->peer->ops->repeatable && reply->size == 0 && m->transforms.count > 0) {
        message_destroy(reply);
        return ATTEMPT_TAKEN;
    }
    m->reply = received_message(m, reply, a->out, &m->reply_len);
    message_destroy(reply);
    if (m->reply != NULL)
        return ATTEMPT_TAKEN;
    handle_say_unanswered(m);
    return ATTEMPT_UNANSWERED;
}

static void
attempt_say(struct attempt *a, enum attempt_stop stop)
{
    struct msock *m = a->m;

    switch (stop) {
    case STOP_DONE:
    case STOP_ENDED:
        attempt_say_end(m);
        break;
    case STOP_LATE:
        handle_fail(m, MSOCK_OK,
                    attempt_is_at_reply(a) ? "%s: the reply did not come within %u ms"
                                           : "%s: no answer within %u ms",
                    m->address, attempt_limit_ms(a));
        break;
    case STOP_FULL:
        handle_fail(m, MSOCK_OK, "%s: too many messages of the server's wait for msock_recv",
                    m->address);
        break;
    case STOP_CANCELLED:
        handle_fail(m, MSOCK_OK, "cancelled by the progress callback");
        break;
    case STOP_WAIT:
        handle_fail(m, MSOCK_OK, "%s: the program has ended the wait; the message %s", m->address,
                    attempt_left(a) ? "may have been committed" : "is not committed");
        break;
    }
}

/* Sets the sentence about the failure. Returns its meaning for the message. */
static enum attempt_end
attempt_fail(struct attempt *a, enum attempt_stop stop)
{
    struct msock *m = a->m;
    struct peer *p = a->peer;
    bool taken = attempt_taken(a) && p->ops->acknowledges;

    attempt_say(a, stop);
    peer_close(p);
    if (stop == STOP_CANCELLED || stop == STOP_WAIT)
        return ATTEMPT_CANCELLED;
    if (taken) {
        m->counts.messages++;
        handle_say_unanswered(m);
        return ATTEMPT_UNANSWERED;
    }
    if (stop == STOP_ENDED && (p->end == PEER_UNREADABLE || p->end == PEER_STARVED))
        return ATTEMPT_LOCAL;
    if (p->results.nacked)
        return ATTEMPT_NACKED;
    dial_note(&m->dialer, m->error);
    return stop == STOP_LATE ? ATTEMPT_SILENT : ATTEMPT_LOST;
}

enum attempt_end
attempt_run(struct msock *m, struct outgoing *out, bool *in_doubt)
{
    struct peer *p = m->peer;
    struct attempt a = {.m = m, .peer = p, .out = out, .unsent = UINT64_MAX};
    enum attempt_stop stop;

    a.sent = a.sent_before = p->results.sent;
    a.delivered = a.delivered_before = p->results.delivered;
    a.refused_before = p->results.refused;
    a.flushed_before = p->flushed;
    if (m->progress != NULL && m->progress(m->progress_arg, 0, out->size) != 0)
        return attempt_fail(&a, STOP_CANCELLED);
    if (peer_post(p, out, m->want_reply) < 0) {
        if (errno == ENOMEM)
            return attempt_fail(&a, STOP_ENDED);
        (void)attempt_say_unfit(m);
        return ATTEMPT_UNFIT;
    }
    stop = attempt_wait(&a);
    *in_doubt |= attempt_left(&a);
    attempt_count(m);
    if (stop != STOP_DONE)
        return attempt_fail(&a, stop);
    if (!attempt_refused(&a))
        return attempt_finish(&a);
    handle_fail_refused(m, p->results.code, p->results.refusal);
    return ATTEMPT_REFUSED;
}
