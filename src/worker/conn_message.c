/* The messages of a connection: to the handler and back, and what is counted on the way. */
#include "worker/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PUSH_SCARCE (16u << 10) /* bytes that a peer may leave unread while memory is scarce */
#define PUSH_FULL   1024        /* and while it is full */
#define REPLY_SMALL 4096        /* a larger reply is kept like a message */

/* --- counting --- */

void
conn_say(const struct conn *c, enum log_kind kind, const char *subject, const char *what)
{
    struct worker *w = conn_worker(c);
    char more[WORKER_MORE_LEN];

    if (!worker_may_say(w, more))
        return;
    w->peer[0] = '\0';
    if (c->slot != NULL)
        stats_peer_format(c->slot->family, c->slot->address, c->slot->port, w->peer);
    log_line(kind, "%s: %s from %s over %s %s%s", c->listener->child->config->name, subject,
             w->peer, c->proto->name, what, more);
}

static void
conn_say_too_large(const struct conn *c)
{
    char text[LIMITS_TEXT_LEN], what[LIMITS_TEXT_LEN + 32];

    limits_too_large("max_message_size", c->listener->limits.max_message_size, text);
    snprintf(what, sizeof(what), "is dropped: %s", text);
    conn_say(c, LOG_message_too_large, "a message", what);
}

bool
conn_is_receiving(const struct conn *c)
{
    const struct proto_ops *proto = c->proto;
    bool receiving =
        proto->receiving != NULL ? proto->receiving(&c->state) : !proto->idle(&c->state);

    return c->phase == CONN_SERVING && receiving && !c->peer_done;
}

void
conn_note_late(struct conn *c)
{
    conn_say(c, LOG_message_late, "a message", "is dropped: it came too slowly");
    conn_blame(c, STATS_BLAME_late, 1);
}

void
conn_note_cut(struct conn *c)
{
    if (!conn_is_receiving(c))
        return;
    CONN_ADD(c, cut, 1);
    conn_say(c, LOG_message_cut, "a message", "is dropped: its end did not come");
    conn_blame(c, STATS_BLAME_cut, 1);
}

bool
conn_is_starved(struct conn *c)
{
    c->is_starved = c->is_starved || ms_memory_failed();
    ms_memory_forget();
    return c->is_starved;
}

void
conn_end_starved(struct conn *c)
{
    conn_say(c, LOG_connection_starved, "a connection", "is closed: there is no memory for it");
    conn_close(c);
}

void
conn_end_unreadable(struct conn *c)
{
    char what[128];

    snprintf(what, sizeof(what), "is closed: its reply cannot be read back: %s",
             errno == EBADMSG ? "it has changed" : strerror(errno));
    conn_say(c, LOG_reply_unreadable, "a connection", what);
    conn_close(c);
}

/* Of the counters, those of answers that are worth an event. */
#define CONN_REFUSALS(X) X(nack1) X(nack2) X(rej) X(err)

void
conn_count(struct conn *c, const struct proto_tally *tally)
{
    (void)conn_is_starved(c);
#define X(name)           \
    if (tally->name != 0) \
        CONN_ADD(c, name, tally->name);
    PROTO_COUNTERS(X)
#undef X
#define X(name)           \
    if (tally->name != 0) \
        conn_record(c, STATS_EVENT_answered, tally->name, #name);
    CONN_REFUSALS(X)
#undef X
    conn_blame(c, STATS_BLAME_damaged, tally->nack1 + tally->nack2);
    conn_blame(c, STATS_BLAME_header, tally->header);
    conn_blame(c, STATS_BLAME_unknown, tally->unknown);
    conn_blame(c, STATS_BLAME_http, tally->http);
    conn_blame(c, STATS_BLAME_cut, tally->cut);
    if (tally->http != 0)
        conn_say(c, LOG_http_request, "a connection", "is closed: it began with an HTTP request");
    if (tally->too_large != 0)
        conn_say_too_large(c);
    else if (tally->cut != 0)
        conn_say(c, LOG_message_cut, "a message", "is dropped: its end did not come");
}

/* A message to be transformed must be there as a whole. */
static uint64_t
conn_keep_max(const struct conn *c)
{
    uint64_t wanted = c->listener->handler->ops->keep_max;

    if (transforms_whole(&c->listener->transforms) > 0 && wanted < TRANSFORM_BODY_MAX)
        return TRANSFORM_BODY_MAX;
    return wanted;
}

struct proto_io
conn_io(struct conn *c, struct proto_tally *tally)
{
    struct worker *w = conn_worker(c);

    worker_mind_clock(w); /* what follows from an answer is not late by its commit */
    return (struct proto_io){
        .limits = &c->listener->limits,
        .store = &w->store,
        .answers = &c->answers,
        .message = &c->message,
        .outbox = &c->outbox,
        .window = &c->window_held,
        .lookahead = &c->lookahead,
        .tally = tally,
        .now_us = w->now_us,
        .keep_max = conn_keep_max(c),
        .seal = transforms_seal(&c->listener->transforms),
        .memory_low = ledger_is_low(&w->store.ledger),
        .want_digest = !c->listener->handler->ops->no_digest,
        .want_crc = c->listener->handler->ops->only_replies,
        .foresee = c->listener->dedup_window_ms > 0 ? conn_foresee : NULL,
        .foresee_arg = c,
    };
}

/* --- to the handler and back --- */

static void *
conn_reserve(struct conn *c, const struct message *m)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);
    void *place = c->proto->reserve(&c->state, &io, m);

    (void)conn_is_starved(c);
    return place;
}

void
conn_give(struct conn *c, struct message *m)
{
    struct worker *w = conn_worker(c);
    struct worker_handler *wh = c->listener->handler;
    uint32_t noted;

    m->owner = c;
    m->place = NULL;
    c->waiting++;
    m->is_file = m->fd >= 0;
    c->waiting_files += m->is_file;
    wh->submitted++;
    w->submitting = m;
    noted = conn_note(c);
    wh->ops->submit(wh->handler, m);
    conn_unnote(w, noted);
    if (w->submitting == m)
        m->place = conn_reserve(c, m);
    w->submitting = NULL;
}

static void
conn_note_latency(struct worker *w, uint64_t begun_us)
{
    if (w->settled_count == w->settled_cap) {
        size_t cap = w->settled_cap != 0 ? w->settled_cap * 2 : 256;
        uint64_t *grown = realloc(w->settled_begun, cap * sizeof(*grown));

        if (grown == NULL)
            return; /* the statistics can do without it */
        w->settled_begun = grown;
        w->settled_cap = cap;
    }
    w->settled_begun[w->settled_count++] = begun_us;
}

/* A reply that the listener's transforms have changed, as a blob. NULL where that is not
 * possible. */
static struct blob *
conn_transform_reply(struct conn *c, const struct message *m, const struct verdict *verdict)
{
    const struct seal_about about = conn_about(c, m);
    const uint8_t *data = verdict->reply;
    size_t n = verdict->reply_len, len;
    struct blob *changed = NULL;
    void *out;

    if (verdict->blob != NULL && blob_bytes(verdict->blob, &data) < 0)
        return NULL;
    if (verdict->blob != NULL)
        n = (size_t)verdict->blob->len;
    if (transforms_send(&c->listener->transforms, &about, data, n, &out, &len) == 0) {
        if (len <= PROTO_REPLY_MAX)
            changed = blob_store(&conn_worker(c)->store, out, len);
        free(out);
    }
    if (verdict->blob != NULL)
        blob_release(verdict->blob, data);
    return changed;
}

static const struct verdict conn_no_reply = {
    .outcome = PROTO_FAILED,
    .text = "the reply cannot be made ready",
};

/* The reply as the peer is to see it; a large one goes where a large message would be. Where it
 * cannot be made so, the sender must not take the message for answered. */
static void
conn_answer(struct conn *c, struct proto_io *io, const struct message *m,
            const struct verdict *verdict)
{
    struct verdict changed = *verdict;
    struct blob *made = NULL;
    bool replies = m->wants_reply && (verdict->reply != NULL || verdict->blob != NULL);
    bool transforms = replies && c->listener->transforms.count > 0;
    bool stores = replies && verdict->blob == NULL && verdict->reply_len > REPLY_SMALL;

    if (transforms)
        made = conn_transform_reply(c, m, verdict);
    else if (stores)
        made = blob_store(&conn_worker(c)->store, verdict->reply, verdict->reply_len);
    if (made != NULL)
        changed.blob = made;
    else if (transforms || stores)
        changed = conn_no_reply;
    c->proto->settle(&c->state, io, m->place, m, &changed);
    blob_unref(made);
}

static void
conn_record_verdict(const struct conn *c, const struct verdict *verdict)
{
    const char *code = verdict->code != NULL ? verdict->code : "internal";

    if (verdict->outcome == PROTO_REFUSED)
        conn_record(c, STATS_EVENT_refused, 1, code);
    else if (verdict->outcome == PROTO_FAILED)
        conn_record(c, STATS_EVENT_failed, 1, code);
}

/* The reply, which was sealed in the helper's thread: no blob where that has failed. */
void
conn_answered(struct conn *c, struct message *m, const struct verdict *verdict)
{
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    if (c->phase == CONN_DEAD)
        tally.messages = 1;
    else
        c->proto->settle(&c->state, &io, m->place, m,
                         verdict->blob != NULL ? verdict : &conn_no_reply);
    conn_count(c, &tally);
    conn_note_latency(conn_worker(c), m->begun_us);
    message_destroy(m);
    conn_touch(c);
}

void
conn_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    struct worker *w = ctx;
    struct conn *c = m->owner;
    bool is_submitting = w->submitting == m;
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);

    MS_ASSERT(c->waiting > 0 && c->waiting_files >= m->is_file);
    MS_ASSERT(c->listener->handler->submitted > 0);
    c->waiting--;
    c->waiting_files -= m->is_file;
    c->listener->handler->submitted--;
    if (is_submitting)
        w->submitting = NULL;
    conn_end_claim(w, m->dedup, verdict);
    conn_record_verdict(c, verdict);
    if (conn_seals_later(c, m, verdict)) {
        if (is_submitting)
            m->place = conn_reserve(c, m);
        if (conn_seal_later(c, m, verdict) == 0)
            return;
    }
    if (c->phase != CONN_DEAD)
        conn_answer(c, &io, m, verdict);
    else
        tally.messages = verdict->outcome == PROTO_COMMITTED;
    conn_count(c, &tally);
    conn_note_latency(w, m->begun_us);
    message_destroy(m);
    conn_touch(c);
}

void
conn_answer_here(struct conn *c, struct message *m, const struct verdict *verdict)
{
    m->owner = c;
    m->place = NULL;
    c->waiting++;
    c->listener->handler->submitted++;
    conn_settle(conn_worker(c), m, verdict);
}

struct conn *
conn_sender(const struct message *m)
{
    struct conn *c = m->owner;

    return conn_is_serving(c) || c->phase == CONN_OVERRUN ? c : NULL;
}

size_t
conn_queued(const struct conn *c)
{
    return (size_t)chain_len(&c->answers.ready) + c->outbox.bytes - c->outbox.held +
           packet_window_bytes(c->window_held);
}

size_t
conn_held_back(const struct conn *c)
{
    return (size_t)answers_held(&c->answers) + c->outbox.held;
}

size_t
conn_listener(const struct conn *c)
{
    return (size_t)(c->listener->child - conn_worker(c)->child->listeners);
}

/* The blob as the listener's transforms make it, once for all its connections that speak alike.
 * NULL with errno where they cannot. */
static struct blob *
conn_sealed(struct conn *c, struct blob *blob)
{
    const struct transforms *transforms = &c->listener->transforms;
    const struct seal_about about = {.proto = c->proto->name, .kind = MESSAGE_PLAIN};
    size_t len;
    void *out;

    if (transforms->count == 0)
        return blob;
    if (blob->sealed_by == transforms && blob->sealed_for == c->proto)
        return blob->sealed;
    if (transforms_send(transforms, &about, blob->mem, (size_t)blob->len, &out, &len) < 0) {
        errno = EMSGSIZE;
        return NULL;
    }
    blob_unref(blob->sealed);
    blob->sealed = blob_create(&conn_worker(c)->store, out, len);
    blob->sealed_by = transforms;
    blob->sealed_for = c->proto;
    free(out);
    return blob->sealed;
}

static int
conn_push_blob(struct conn *c, struct blob *blob)
{
    struct blob *sealed = conn_sealed(c, blob);
    struct proto_tally tally = {0};
    struct proto_io io = conn_io(c, &tally);
    int rc = sealed != NULL ? c->proto->push(&c->state, &io, sealed) : -1;

    conn_count(c, &tally);
    conn_touch(c);
    return rc;
}

/* Its peer has left too much unread, or its handler unsettled; or, where memory is scarce, some. */
static bool
conn_is_behind(const struct conn *c, uint64_t more)
{
    const struct ledger *l = &conn_worker(c)->store.ledger;
    size_t queued = conn_queued(c) + conn_held_back(c);

    if (ledger_is_scarce(l) && queued > (ledger_is_full(l) ? PUSH_FULL : PUSH_SCARCE))
        return true;
    return queued + more > c->listener->child->config->number[OPTION_SEND_QUEUE_MAX];
}

/* Is it still behind when all was sent that can be? In one turn thousands of messages may be for
 * it. */
static bool
conn_stays_behind(struct conn *c, uint64_t more)
{
    conn_write_early(c);
    return conn_is_behind(c, more);
}

int
conn_push(struct conn *c, struct blob *blob)
{
    conn_worker(c)->pushed++;
    if (c->phase == CONN_OVERRUN) {
        errno = ENOBUFS;
    } else if (!conn_is_serving(c) || c->peer_done) {
        errno = ENOTCONN;
    } else if (c->proto->push == NULL) {
        errno = ENOTSUP;
    } else if (!conn_is_behind(c, blob->len) || !conn_stays_behind(c, blob->len)) {
        return conn_push_blob(c, blob);
    } else {
        conn_enter(c, CONN_OVERRUN);
        errno = ENOBUFS;
    }
    return -1;
}

struct conn *
conn_next(struct worker *w, const struct worker_handler *wh, struct conn *c)
{
    for (c = c == NULL ? w->conns : c->next; c != NULL; c = c->next)
        if (c->listener->handler == wh && c->is_opened && conn_is_serving(c))
            return c;
    return NULL;
}

void
conn_origin(void *ctx, const struct conn *c, struct message_origin *origin_out)
{
    struct worker *w = ctx;
    const struct stats_slot *slot = c->slot;

    w->peer[0] = '\0';
    if (slot != NULL)
        stats_peer_format(slot->family, slot->address, slot->port, w->peer);
    *origin_out = (struct message_origin){
        .listener = c->listener->child->config->name,
        .proto = c->proto->name,
        .peer = w->peer,
        .identity = c->identity,
        .conn_id = slot != NULL ? slot->id : 0,
    };
}
