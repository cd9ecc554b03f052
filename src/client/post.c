/* The limits of time: answer_ms without progress while the message is on its way, commit_ms for the
 * server's word or reply, and for all of it where the protocol itself sends again what was not
 * acknowledged. */
#include "client/post.h"

#include "client/received.h"
#include "common/clock.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct posting {
    struct msock *m;
    struct peer *peer;
    struct outgoing *out;
    uint64_t deadline_us;
    uint64_t unsent;                /* the least so far: peer_unsent */
    uint64_t reply_bytes;           /* that have come in */
    unsigned in_kernel;             /* bytes the server had not taken at the last look */
    struct outbox_results results;  /* at the last look */
    struct outbox_results at_begin; /* before the message */
    uint64_t flushed_at_begin;
    uint64_t told; /* to the progress callback */
};

void
post_count(struct msock *m)
{
    struct peer *p = m->peer;

    m->counts.err += p->tally.err;
    p->tally = (struct proto_tally){0};
}

void
post_say_end(struct msock *m)
{
    struct peer *p = m->peer;
    char word[sizeof(p->results.refusal) * 4];

    p->end_untold = false;
    text_escape(p->results.refusal, strlen(p->results.refusal), word, sizeof(word));
    switch (p->end) {
    case PEER_CLOSED:
        handle_fail(m, MSOCK_OK, "%s: the server closed the connection", m->address);
        break;
    case PEER_LOST:
        errno = m->transport.error;
        handle_fail_errno(m, MSOCK_OK, "%s: the connection was lost", m->address);
        break;
    case PEER_FINISHED:
        handle_fail(m, MSOCK_OK, "%s: the connection was ended in %s%s%s", m->address, p->ops->name,
                    word[0] != '\0' ? ": " : "", word);
        break;
    case PEER_EXPIRED:
        handle_fail(m, MSOCK_OK, "%s: the server is silent where %s wants an answer", m->address,
                    p->ops->name);
        break;
    }
}

int
post_open(struct msock *m)
{
    struct peer *p = m->peer;
    uint64_t deadline = clock_mono_us() + (uint64_t)m->answer_ms * 1000;
    enum peer_turn turn = PEER_MOVED;

    peer_begin(p);
    while (turn == PEER_MOVED && !peer_ready(p))
        turn = clock_mono_us() < deadline ? peer_turn(p, deadline) : PEER_QUIET;
    post_count(m);
    if (peer_alive(p) && peer_ready(p))
        return 0;
    if (turn == PEER_ENDED)
        post_say_end(m);
    else
        handle_fail(m, MSOCK_OK, "%s: no answer in %s within %u ms", m->address, p->ops->name,
                    m->answer_ms);
    peer_close(p);
    return -1;
}

void
post_check(struct msock *m)
{
    uint64_t deadline = clock_mono_us() + (uint64_t)m->answer_ms * 1000;

    /* After the end of one's own side no message can follow. */
    if (peer_alive(m->peer) && peer_catch_up(m->peer, deadline) && m->peer->shut)
        peer_leave(m->peer, m->answer_ms);
    post_count(m);
}

/* --- patience --- */

static bool
posting_flushed(const struct posting *w)
{
    return w->peer->flushed > w->flushed_at_begin;
}

/* The server may have the whole message. With eof framing whatever has come is one, where our end
 * of the connection looks orderly. */
static bool
posting_left(const struct posting *w)
{
    if (w->m->at.framing.kind == FRAMING_EOF)
        return w->peer->results.sent > w->at_begin.sent;
    return posting_flushed(w);
}

static unsigned
posting_limit_ms(const struct posting *w)
{
    const struct msock *m = w->m;

    return posting_flushed(w) || w->peer->ops->acknowledges ? m->commit_ms : m->answer_ms;
}

static void
posting_renew(struct posting *w)
{
    w->deadline_us = clock_mono_us() + (uint64_t)posting_limit_ms(w) * 1000;
}

/* Notes progress: bytes that left for the first time, words of the server, bytes of its reply. */
static void
posting_look(struct posting *w)
{
    const struct peer *p = w->peer;
    uint64_t unsent = peer_unsent(p), reply_bytes = peer_reply_bytes(p);
    bool reply = reply_bytes != w->reply_bytes;

    w->reply_bytes = reply_bytes;
    if (unsent >= w->unsent && p->results.sent == w->results.sent &&
        p->results.delivered == w->results.delivered && !reply)
        return;
    if (unsent < w->unsent)
        w->unsent = unsent;
    w->results = p->results;
    w->in_kernel = UINT32_MAX;
    posting_renew(w);
}

/* The time is over: but a slow line may still be draining what the kernel took from us at once. */
static bool
posting_extended(struct posting *w)
{
    unsigned in_kernel = transport_unsent(&w->m->transport);

    if (in_kernel == 0 || in_kernel >= w->in_kernel)
        return false;
    w->in_kernel = in_kernel;
    posting_renew(w);
    return true;
}

/* --- one message --- */

static bool
posting_taken(const struct posting *w)
{
    if (!w->peer->ops->acknowledges)
        return posting_flushed(w);
    return w->peer->results.delivered > w->at_begin.delivered;
}

static bool
posting_refused(const struct posting *w)
{
    return w->peer->results.refused > w->at_begin.refused;
}

/* Everything that the call waits for is there. */
static bool
posting_done(struct posting *w)
{
    if (posting_refused(w))
        return true;
    if (!posting_taken(w))
        return false;
    if (peer_alive(w->peer) && w->m->at.framing.kind == FRAMING_EOF)
        peer_shut(w->peer);
    return !w->m->want_reply || w->peer->awaited != NULL;
}

/* Tells how much is on its way, or has been acknowledged where that is said. False: stop. */
static bool
posting_progress(struct posting *w)
{
    struct msock *m = w->m;
    uint64_t total = w->out->source.size, left = w->unsent < total ? w->unsent : total;
    uint64_t done = total - left;

    if (m->progress == NULL || w->told == done)
        return true;
    w->told = done;
    return m->progress(m->progress_arg, done, total) == 0;
}

enum posting_stop {
    POSTING_DONE,
    POSTING_ENDED,     /* the connection */
    POSTING_LATE,      /* no progress for too long */
    POSTING_FULL,      /* nothing more can be read: too many messages wait for msock_recv */
    POSTING_CANCELLED, /* by the progress callback */
};

static enum posting_stop
posting_wait(struct posting *w)
{
    uint64_t until_us = 0; /* what has no bytes has left without any event to wait for */
    enum peer_turn turn;

    posting_renew(w);
    for (;; until_us = w->deadline_us) {
        turn = peer_turn(w->peer, until_us);
        if (posting_done(w))
            return POSTING_DONE;
        if (turn == PEER_ENDED)
            return POSTING_ENDED;
        posting_look(w);
        if (!posting_taken(w) && !posting_progress(w))
            return POSTING_CANCELLED;
        if (turn == PEER_QUIET && peer_full(w->peer))
            return POSTING_FULL;
        if (clock_mono_us() >= w->deadline_us && !posting_extended(w))
            return POSTING_LATE;
    }
}

/* Taken, and the reply where one was wanted. */
static enum session_end
posting_finish(struct posting *w)
{
    struct msock *m = w->m;
    struct message *reply = peer_reply(w->peer);

    m->counts.messages++;
    if (m->progress != NULL)
        m->progress(m->progress_arg, w->out->source.size, w->out->source.size);
    if (reply == NULL)
        return SESSION_COMMITTED;
    m->reply = received_message(m, reply, &m->reply_len);
    return m->reply != NULL ? SESSION_COMMITTED : SESSION_LOCAL;
}

static enum session_end
posting_fail_refused(struct posting *w)
{
    struct msock *m = w->m;
    const char *refusal = w->peer->results.refusal;
    char text[sizeof(w->peer->results.refusal) * 4];

    text_escape(refusal, strlen(refusal), text, sizeof(text));
    handle_fail(m, MSOCK_OK, "%s refused the message%s%s", m->address, text[0] != '\0' ? ": " : "",
                text);
    snprintf(m->code, sizeof(m->code), "refused");
    return SESSION_REFUSED;
}

static void
posting_say(struct posting *w, enum posting_stop stop)
{
    struct msock *m = w->m;

    switch (stop) {
    case POSTING_DONE:
    case POSTING_ENDED:
        post_say_end(m);
        break;
    case POSTING_LATE:
        handle_fail(m, MSOCK_OK, "%s: no answer within %u ms", m->address, posting_limit_ms(w));
        break;
    case POSTING_FULL:
        handle_fail(m, MSOCK_OK, "%s: too many messages of the server's wait for msock_recv",
                    m->address);
        break;
    case POSTING_CANCELLED:
        handle_fail(m, MSOCK_OK, "cancelled by the progress callback");
        break;
    }
}

/* What went wrong, and what that means for the message. */
static enum session_end
posting_fail(struct posting *w, enum posting_stop stop)
{
    struct msock *m = w->m;
    bool taken = posting_taken(w) && w->peer->ops->acknowledges;

    posting_say(w, stop);
    peer_close(w->peer);
    if (stop == POSTING_CANCELLED)
        return SESSION_CANCELLED;
    if (!taken)
        return SESSION_LOST;
    m->counts.messages++;
    handle_say_unanswered(m);
    return SESSION_UNANSWERED;
}

static void
posting_count(struct posting *w)
{
    struct msock *m = w->m;

    w->out->in_doubt |= posting_left(w);
    m->counts.acks += w->peer->results.delivered - w->at_begin.delivered;
    m->counts.rej += w->peer->results.refused - w->at_begin.refused;
    m->counts.nack1 += w->peer->results.damaged - w->at_begin.damaged;
    post_count(m);
}

enum session_end
post_run(struct msock *m, struct outgoing *out)
{
    struct peer *p = m->peer;
    struct posting w = {.m = m, .peer = p, .out = out, .results = p->results, .told = UINT64_MAX};
    enum posting_stop stop;

    w.at_begin = p->results;
    w.flushed_at_begin = p->flushed;
    w.unsent = UINT64_MAX;
    if (!posting_progress(&w))
        return posting_fail(&w, POSTING_CANCELLED);
    if (peer_push(p, out->source.data, out->source.size, m->want_reply) < 0) {
        handle_fail(m, MSOCK_OK, "%s cannot carry this message to %s", p->ops->name, m->address);
        return SESSION_UNFIT;
    }
    stop = posting_wait(&w);
    posting_count(&w);
    if (stop != POSTING_DONE)
        return posting_fail(&w, stop);
    return posting_refused(&w) ? posting_fail_refused(&w) : posting_finish(&w);
}
