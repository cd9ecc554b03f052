/* A message between its protocol and its handler: opened by the listener's transforms, and parsed
 * where it is a document; the large ones in the helper's thread. Nothing behind such a message is
 * read from its connection meanwhile, so what the handler sees keeps its order as the answers do.
 * Invariant: of the large ones one is opened at a time, and its memory is in the ledger before. */
#include "worker/conn.h"

#include <errno.h>
#include <stdlib.h>

#define PREPARE_HERE     (64u << 10) /* bytes of a message that is prepared at once */
#define OPEN_BEYOND      (16u << 20) /* bytes beyond the ledger that one which is opened may take */
#define OPEN_PATIENCE_US 10000000    /* for memory to open it */

struct preparing {
    struct helper_job job;
    TAILQ_ENTRY(preparing) link; /* of those that wait for memory */
    uint64_t since_us;
    size_t cost;             /* bytes to open it: as it came, and as it is */
    const char *why;         /* it was given up; or NULL */
    struct conn *conn;       /* stays: the message counts among those that wait */
    struct message *message; /* as it came */
    struct message *plain;   /* as it was opened; or NULL */
    struct message_store *store;
    const struct transforms *transforms;
    const struct proto_limits *limits;
    bool wants_json;
    struct sources *sources; /* in the helper's thread: whose bytes these are, see conn_note */
    uint32_t source;
    const struct stats_writer *stats; /* the same */
    const struct stats_slot *slot;
    struct outcome opened;
    enum json_verdict parsed;
    char error[JSON_ERROR_LEN];
    /* In the helper's thread, which has no part in the worker's. */
    struct message_store own;
};

static struct outcome
prepare_open(struct preparing *p)
{
    if (p->message->size > p->limits->take_max)
        return outcome_refused("refused", "the message is larger than a key or transforms take");
    if (transforms_receive_message(p->transforms, p->message, p->store, &p->plain) == 0)
        return outcome_committed();
    return errno == EBADMSG
               ? outcome_refused(
                     "refused",
                     "the message cannot be opened with this listener's key or transforms")
               : outcome_failed("the message cannot be opened now", errno);
}

static void
prepare_run(struct preparing *p)
{
    p->opened = outcome_committed();
    p->parsed = JSON_GOOD;
    if (p->transforms->count > 0)
        p->opened = prepare_open(p);
    if (p->opened.is == PROTO_COMMITTED && p->message->kind == MESSAGE_JSON)
        p->parsed = json_parse_message(p->plain != NULL ? p->plain : p->message, p->limits,
                                       p->wants_json, p->error);
}

/* To the handler, or the answer that it gets here. The struct is used no more. */
static void
prepare_end(const struct preparing *p)
{
    struct conn *c = p->conn;
    struct message *m = p->message;
    char text[OUTCOME_TEXT_LEN];
    struct verdict no = outcome_verdict(&p->opened, text);

    if (p->plain != NULL) {
        message_destroy(m);
        m = p->plain;
    }
    if (p->why == NULL && p->opened.is == PROTO_COMMITTED && p->parsed == JSON_GOOD) {
        conn_take(c, m);
        return;
    }
    if (p->why != NULL)
        no = (struct verdict){.outcome = PROTO_FAILED, .code = "busy", .text = p->why};
    else if (p->opened.is == PROTO_COMMITTED)
        no = p->parsed == JSON_BAD
                 ? (struct verdict){.outcome = PROTO_REFUSED, .code = "bad-json", .text = p->error}
                 : (struct verdict){.outcome = PROTO_FAILED, .text = p->error};
    conn_answer_here(c, m, &no);
}

/* --- in the helper's thread --- */

static void
prepare_in_thread(struct helper_job *job)
{
    struct preparing *p = (struct preparing *)job;

    stats_reading(p->stats, 1, p->slot);
    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, p->source);
    p->own.digester = digester_create();
    if (p->own.digester != NULL)
        prepare_run(p);
    else
        p->opened = outcome_failed("the message cannot be opened now", ENOMEM);
    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, 0);
    stats_reading(p->stats, 1, NULL);
}

/* A sender that has gone meanwhile got no final answer, so it sends the message again. */
static void
prepare_leave(struct preparing *p)
{
    struct conn *c = p->conn;

    c->is_held = false;
    c->waiting--;
    if (c->phase != CONN_DEAD) {
        prepare_end(p);
    } else {
        message_destroy(p->message);
        message_destroy(p->plain);
    }
    free(p);
    conn_touch(c);
}

static void
prepare_done(struct helper_job *job)
{
    struct preparing *p = (struct preparing *)job;
    struct worker *w = conn_worker(p->conn);

    if (p->plain != NULL)
        message_move(p->plain, &w->store);
    digester_destroy(p->own.digester);
    if (p->cost > 0) {
        ledger_give(&w->store.ledger, p->cost);
        w->is_opening = false;
    }
    prepare_leave(p);
    conn_open_more(w);
}

static void
prepare_fail(struct preparing *p, const char *what)
{
    p->why = what;
    prepare_leave(p);
}

static void
prepare_give(struct preparing *p)
{
    struct worker *w = conn_worker(p->conn);
    struct helper *h = worker_helper(w);

    p->job = (struct helper_job){
        .run = prepare_in_thread, .done = prepare_done, .cost = p->message->size};
    p->own = w->store;
    p->own.failed = NULL; /* the message knows */
    p->own.disk_reserve = NULL;
    p->store = &p->own;
    if (h == NULL || helper_give(h, &p->job) < 0) {
        p->store = &w->store; /* without a thread the others wait */
        prepare_run(p);
        prepare_leave(p);
    } else if (p->cost > 0) {
        ledger_take(&w->store.ledger, p->cost);
        w->is_opening = true;
    }
}

void
conn_open_more(struct worker *w)
{
    const struct ledger *l = &w->store.ledger;
    struct preparing *p;

    while (!w->is_opening && (p = TAILQ_FIRST(&w->to_open)) != NULL) {
        bool fits = l->used + p->cost <= l->max + OPEN_BEYOND;
        bool over = w->now_us >= p->since_us + OPEN_PATIENCE_US || p->conn->phase == CONN_DEAD;

        if (!fits && !over)
            return;
        TAILQ_REMOVE(&w->to_open, p, link);
        if (over)
            prepare_fail(p, "there is no memory to open the message");
        else
            prepare_give(p);
    }
}

void
conn_end_opening(struct worker *w)
{
    struct preparing *p;

    while ((p = TAILQ_FIRST(&w->to_open)) != NULL) {
        TAILQ_REMOVE(&w->to_open, p, link);
        prepare_fail(p, "the server leaves");
    }
}

static void
prepare_later(const struct preparing *from)
{
    struct conn *c = from->conn;
    struct worker *w = conn_worker(c);
    struct preparing *p = ms_malloc(sizeof(*p));

    if (p == NULL) {
        message_destroy(from->message); /* the connection ends with the turn */
        return;
    }
    *p = *from;
    c->is_held = true;
    c->waiting++;
    if (p->transforms->count == 0) {
        prepare_give(p);
        return;
    }
    p->cost = 2 * (size_t)p->message->size;
    p->since_us = w->now_us;
    TAILQ_INSERT_TAIL(&w->to_open, p, link);
    conn_open_more(w);
}

/* --- at once, or later --- */

static bool
conn_wants_json(const struct conn *c)
{
    const struct worker_handler *wh = c->listener->handler;

    return wh->ops->wants_json != NULL && wh->ops->wants_json(wh->handler);
}

void
conn_submit(struct conn *c, struct message *m)
{
    struct preparing p = {
        .conn = c,
        .message = m,
        .store = &conn_worker(c)->store,
        .transforms = &c->listener->transforms,
        .limits = &c->listener->limits,
        .wants_json = conn_wants_json(c),
        .sources = conn_worker(c)->sources,
        .source = c->source.is_exempt ? 0 : c->source.row,
        .stats = &conn_worker(c)->stats,
        .slot = c->slot,
    };

    if (c->source.row != 0)
        sources_add_message(conn_worker(c)->sources, c->source.row);
    if ((p.transforms->count > 0 || m->kind == MESSAGE_JSON) && m->size > PREPARE_HERE &&
        transforms_any_thread(p.transforms)) {
        prepare_later(&p);
        return;
    }
    prepare_run(&p);
    prepare_end(&p);
}
