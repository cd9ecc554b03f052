/* A message between its protocol and its handler: the last of it opened where it is sealed, changed
 * by the listener's transforms, and parsed where it is a document; the large ones in the helper's
 * thread. Nothing behind such a message is read from its connection meanwhile, so what the handler
 * sees keeps its order as the answers do. Large replies are sealed in that thread, too. */
#include "worker/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PREPARE_HERE (64u << 10) /* bytes of a document or reply that is prepared at once */
#define PREPARE_FED  16          /* bytes of such a document cost a turn as much as a message */

/* --- sealed, and changed --- */

static struct outcome
prepare_refused(int error)
{
    return error == EBADMSG
               ? outcome_refused(
                     "refused",
                     "the message cannot be opened with this listener's key or transforms")
               : outcome_failed("the message cannot be opened now", error);
}

/* Goes on with what m becomes, and destroys m. */
static void
prepare_become(struct message **m, struct message *made)
{
    message_destroy(*m);
    *m = made;
}

/* On failure *m is left as far as it came. */
static struct outcome
prepare_open(const struct worker_listener *l, struct message **m)
{
    struct message *made;

    if ((*m)->opening != NULL) {
        if (opening_finish(*m, &made) < 0)
            return prepare_refused(errno);
        prepare_become(m, made);
    }
    if (transforms_whole(&l->transforms) > 0) {
        if ((*m)->size > l->limits.take_max)
            return outcome_refused("refused", "the message is larger than transforms take");
        if (transforms_receive_message(&l->transforms, *m, &l->worker->store, &made) < 0)
            return prepare_refused(errno);
        prepare_become(m, made);
    }
    return outcome_committed();
}

/* --- documents --- */

/* A large document goes to the helper's thread twice: to be weighed, and to be parsed when the
 * ledger has room for that. They wait for each other in the order in which they were weighed; where
 * none is parsed, and there is no room all the same, nobody knows when there will be. */
struct parsing {
    struct helper_job job;
    STAILQ_ENTRY(parsing) next; /* of w->documents */
    uint64_t cost;              /* of parsing it; then of the value */
    struct conn *conn;          /* stays: the message counts among those that wait */
    struct message *message;
    const struct proto_limits *limits;
    bool wants_json;
    struct sources *sources; /* in the helper's thread: whose bytes these are, see conn_note */
    uint32_t source;
    const struct stats_writer *stats; /* the same */
    const struct stats_slot *slot;
    void (*step)(struct parsing *p);
    uint64_t reserved; /* in the ledger */
    enum json_verdict parsed;
    char error[JSON_ERROR_LEN];
};

static void
parsing_weigh(struct parsing *p)
{
    p->parsed = json_weigh_message(p->message, p->limits, &p->cost, p->error);
}

static void
parsing_run(struct parsing *p)
{
    p->parsed = json_parse_message(p->message, p->limits, p->wants_json, &p->cost, p->error);
}

/* To the handler, or the answer that it gets here. The struct is used no more. */
static void
parsing_end(const struct parsing *p)
{
    const struct verdict bad = {.outcome = PROTO_REFUSED, .code = "bad-json", .text = p->error},
                         unreadable = {.outcome = PROTO_FAILED, .text = p->error},
                         full = {.outcome = PROTO_FAILED,
                                 .code = "busy",
                                 .text = "there is no memory for the document now"};

    json_account(p->message, p->cost);
    switch (p->parsed) {
    case JSON_GOOD:
        conn_take(p->conn, p->message);
        break;
    case JSON_BAD:
        conn_answer_here(p->conn, p->message, &bad);
        break;
    case JSON_UNREADABLE:
        conn_answer_here(p->conn, p->message, &unreadable);
        break;
    case JSON_NO_ROOM:
        conn_answer_here(p->conn, p->message, &full);
        break;
    }
}

/* A sender that has gone meanwhile got no final answer, so it sends the message again. */
static void
parsing_finish(struct parsing *p)
{
    struct conn *c = p->conn;

    c->is_held = false;
    c->waiting--;
    if (c->phase != CONN_DEAD)
        parsing_end(p);
    else
        message_destroy(p->message);
    free(p);
    conn_touch(c);
}

static void
parsing_in_thread(struct helper_job *job)
{
    struct parsing *p = (struct parsing *)job;

    stats_reading(p->stats, 1, p->slot);
    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, p->source);
    p->step(p);
    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, 0);
    stats_reading(p->stats, 1, NULL);
}

static void
parsing_give(struct parsing *p, void (*step)(struct parsing *), void (*done)(struct helper_job *))
{
    struct helper *h = worker_helper(conn_worker(p->conn));

    p->step = step;
    p->job = (struct helper_job){.run = parsing_in_thread, .done = done, .cost = p->message->size};
    if (h != NULL && helper_give(h, &p->job) == 0)
        return;
    step(p); /* without a thread the others wait */
    done(&p->job);
}

static void parsing_next(struct worker *w);

static void
parsing_parsed(struct helper_job *job)
{
    struct parsing *p = (struct parsing *)job;
    struct worker *w = conn_worker(p->conn);

    ledger_give(&w->store.ledger, p->reserved);
    w->documents_parsed--;
    parsing_finish(p);
    parsing_next(w);
}

/* Gives those to be parsed for which there is room. */
static void
parsing_next(struct worker *w)
{
    struct ledger *l = &w->store.ledger;
    struct parsing *p;

    while ((p = STAILQ_FIRST(&w->documents)) != NULL) {
        bool fits = ledger_has_room(l, p->cost), is_gone = p->conn->phase == CONN_DEAD;

        if (!fits && !is_gone && w->documents_parsed > 0)
            return;
        STAILQ_REMOVE_HEAD(&w->documents, next);
        if (fits && !is_gone) {
            p->reserved = p->cost;
            ledger_take(l, p->reserved);
            w->documents_parsed++;
            parsing_give(p, parsing_run, parsing_parsed);
        } else {
            p->parsed = JSON_NO_ROOM;
            parsing_finish(p);
        }
    }
}

static void
parsing_weighed(struct helper_job *job)
{
    struct parsing *p = (struct parsing *)job;
    struct worker *w = conn_worker(p->conn);
    uint64_t most = ledger_scarce_at(&w->store.ledger);

    if (p->parsed == JSON_GOOD && p->cost > most) {
        snprintf(p->error, sizeof(p->error),
                 "it may take %llu bytes of memory to parse, of which %llu are allowed here",
                 (unsigned long long)p->cost, (unsigned long long)most);
        p->parsed = JSON_BAD;
    }
    if (p->parsed != JSON_GOOD) {
        parsing_finish(p);
        return;
    }
    STAILQ_INSERT_TAIL(&w->documents, p, next);
    parsing_next(w);
}

static void
parsing_later(const struct parsing *from)
{
    struct conn *c = from->conn;
    struct parsing *p = ms_malloc(sizeof(*p));

    if (p == NULL) {
        message_destroy(from->message); /* the connection ends with the turn */
        return;
    }
    *p = *from;
    c->is_held = true;
    c->waiting++;
    parsing_give(p, parsing_weigh, parsing_weighed);
}

static bool
conn_wants_json(const struct conn *c)
{
    const struct worker_handler *wh = c->listener->handler;

    return wh->ops->wants_json != NULL && wh->ops->wants_json(wh->handler);
}

static void
conn_parse(struct conn *c, struct message *m)
{
    struct parsing p = {
        .conn = c,
        .message = m,
        .limits = &c->listener->limits,
        .wants_json = conn_wants_json(c),
        .sources = conn_worker(c)->sources,
        .source = c->source.is_exempt ? 0 : c->source.row,
        .stats = &conn_worker(c)->stats,
        .slot = c->slot,
    };

    if (m->size > PREPARE_HERE) {
        parsing_later(&p);
        return;
    }
    c->fed += (uint32_t)(m->size / PREPARE_FED);
    conn_worker(c)->fed += (uint32_t)(m->size / PREPARE_FED);
    parsing_run(&p);
    parsing_end(&p);
}

void
conn_submit(struct conn *c, struct message *m)
{
    struct outcome opened = prepare_open(c->listener, &m);
    char text[OUTCOME_TEXT_LEN];
    struct verdict no;

    if (c->source.row != 0)
        sources_add_message(conn_worker(c)->sources, c->source.row);
    if (opened.is != PROTO_COMMITTED) {
        no = outcome_verdict(&opened, text);
        conn_answer_here(c, m, &no);
    } else if (m->kind == MESSAGE_JSON) {
        conn_parse(c, m);
    } else if (m->kind == MESSAGE_FILE) {
        conn_take_file(c, m);
    } else {
        conn_take(c, m);
    }
}

/* --- replies --- */

struct sealing {
    struct helper_job job;
    struct conn *conn;       /* stays: the message counts among those that wait */
    struct message *message; /* that is answered */
    struct blob *reply;
    struct message *sealed;
    /* In the helper's thread, which has no part in the worker's. */
    struct message_store own;
};

struct seal_about
conn_about(const struct conn *c, const struct message *m)
{
    return (struct seal_about){.proto = c->proto->name,
                               .kind = (uint8_t)m->kind,
                               .value = m->value,
                               .value_len = m->value_len};
}

static void
sealing_run(struct helper_job *job)
{
    struct sealing *s = (struct sealing *)job;
    const struct seal_about about = conn_about(s->conn, s->message);
    struct blob own = *s->reply; /* read with this thread's digester */
    const uint8_t *data;

    s->own.digester = digester_create();
    own.store = &s->own;
    if (s->own.digester == NULL || seal_size(own.len) > PROTO_REPLY_MAX ||
        blob_bytes(&own, &data) < 0)
        return;
    s->sealed = opening_seal(&s->own, transforms_seal(&s->conn->listener->transforms), &about, data,
                             (size_t)own.len);
    blob_release(&own, data);
}

static void
sealing_done(struct helper_job *job)
{
    struct sealing *s = (struct sealing *)job;
    struct conn *c = s->conn;
    struct worker *w = conn_worker(c);
    struct verdict verdict = {.outcome = PROTO_COMMITTED};

    ledger_give(&w->store.ledger, s->job.cost);
    if (s->sealed != NULL) {
        message_move(s->sealed, &w->store);
        verdict.blob = blob_of_message(s->sealed);
        message_destroy(s->sealed);
    }
    digester_destroy(s->own.digester);
    c->waiting--;
    conn_answered(c, s->message, &verdict);
    blob_unref(verdict.blob);
    blob_unref(s->reply);
    free(s);
}

bool
conn_seals_later(const struct conn *c, const struct message *m, const struct verdict *verdict)
{
    const struct transforms *t = &c->listener->transforms;
    uint64_t len = verdict->blob != NULL    ? verdict->blob->len
                   : verdict->reply != NULL ? verdict->reply_len
                                            : 0;

    return transforms_seal(t) != NULL && transforms_whole(t) == 0 && c->phase != CONN_DEAD &&
           verdict->outcome == PROTO_COMMITTED && m->wants_reply && len > PREPARE_HERE;
}

int
conn_seal_later(struct conn *c, struct message *m, const struct verdict *verdict)
{
    struct worker *w = conn_worker(c);
    struct helper *h = worker_helper(w);
    struct sealing *s = ms_malloc(sizeof(*s));

    if (s == NULL)
        return -1;
    *s = (struct sealing){.conn = c, .message = m, .own = w->store};
    s->own.failed = NULL; /* the message knows */
    s->own.disk_reserve = NULL;
    s->own.spill_close = NULL;
    s->reply = verdict->blob != NULL ? blob_ref(verdict->blob)
                                     : blob_store(&w->store, verdict->reply, verdict->reply_len);
    if (s->reply != NULL) {
        s->job =
            (struct helper_job){.run = sealing_run, .done = sealing_done, .cost = s->reply->len};
        if (h != NULL && helper_give(h, &s->job) == 0) {
            ledger_take(&w->store.ledger, s->job.cost);
            c->waiting++;
            return 0;
        }
    }
    blob_unref(s->reply);
    free(s);
    return -1;
}
