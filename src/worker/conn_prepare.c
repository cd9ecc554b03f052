/* A message between its protocol and its handler: opened by the listener's transforms, and parsed
 * where it is a document; the large ones in the helper's thread. Nothing behind such a message is
 * read from its connection meanwhile, so what the handler sees keeps its order as the answers do.
 */
#include "worker/conn.h"

#include <errno.h>
#include <stdlib.h>

#define PREPARE_HERE (64u << 10) /* bytes of a message that is prepared at once */

struct preparing {
    struct helper_job job;
    struct conn *conn;       /* stays: the message counts among those that wait */
    struct message *message; /* as it came */
    struct message *plain;   /* as it was opened; or NULL */
    struct message_store *store;
    const struct transforms *transforms;
    const struct proto_limits *limits;
    bool wants_json;
    struct sources *sources; /* in the helper's thread: whose bytes these are, see conn_note */
    uint32_t source;
    struct outcome opened;
    enum json_verdict parsed;
    char error[JSON_ERROR_LEN];
    /* In the helper's thread, which has no part in the worker's. */
    struct message_store own;
};

static struct outcome
prepare_open(struct preparing *p)
{
    if (p->message->size > TRANSFORM_BODY_MAX)
        return outcome_refused("refused", "a key or transforms take at most 256 MiB");
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
    if (p->opened.is == PROTO_COMMITTED && p->parsed == JSON_GOOD) {
        conn_take(c, m);
        return;
    }
    if (p->opened.is == PROTO_COMMITTED)
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

    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, p->source);
    p->own.digester = digester_create();
    if (p->own.digester != NULL)
        prepare_run(p);
    else
        p->opened = outcome_failed("the message cannot be opened now", ENOMEM);
    if (p->sources != NULL)
        (void)sources_note(p->sources, 1, 0);
}

/* A sender that has gone meanwhile got no final answer, so it sends the message again. */
static void
prepare_done(struct helper_job *job)
{
    struct preparing *p = (struct preparing *)job;
    struct conn *c = p->conn;

    c->is_held = false;
    c->waiting--;
    if (p->plain != NULL)
        message_move(p->plain, &conn_worker(c)->store);
    digester_destroy(p->own.digester);
    if (c->phase != CONN_DEAD) {
        prepare_end(p);
    } else {
        message_destroy(p->message);
        message_destroy(p->plain);
    }
    free(p);
    conn_touch(c);
}

static bool
prepare_later(const struct preparing *from)
{
    struct conn *c = from->conn;
    struct helper *h = worker_helper(conn_worker(c));
    struct preparing *p = h != NULL ? ms_malloc(sizeof(*p)) : NULL;

    if (p == NULL)
        return false;
    *p = *from;
    p->job = (struct helper_job){
        .run = prepare_in_thread, .done = prepare_done, .cost = p->message->size};
    p->own = *from->store;
    p->own.failed = NULL; /* the message knows */
    p->own.disk_reserve = NULL;
    p->store = &p->own;
    if (helper_give(h, &p->job) < 0) {
        free(p);
        return false;
    }
    c->is_held = true;
    c->waiting++;
    return true;
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
    };

    if (c->source.row != 0)
        sources_add_message(conn_worker(c)->sources, c->source.row);
    if ((p.transforms->count > 0 || m->kind == MESSAGE_JSON) && m->size > PREPARE_HERE &&
        transforms_any_thread(p.transforms) && prepare_later(&p))
        return;
    prepare_run(&p);
    prepare_end(&p);
}
