/* Documents: parsed before their handler sees them, the large ones in the helper's thread. */
#include "proto/json.h"
#include "worker/conn_state.h"
#include "worker/helper.h"
#include "worker/worker_state.h"

#include <stdlib.h>

#define PARSE_HERE (64u << 10) /* bytes of a document that is parsed at once */

static bool
conn_wants_json(const struct conn *c)
{
    const struct worker_handler *wh = c->listener->handler;

    return wh->ops->wants_json != NULL && wh->ops->wants_json(wh->handler);
}

static void
conn_judge(struct conn *c, struct message *m, enum json_verdict verdict, const char *error)
{
    switch (verdict) {
    case JSON_GOOD:
        conn_take(c, m);
        break;
    case JSON_BAD:
        conn_answer_here(
            c, m, &(struct verdict){.outcome = PROTO_REFUSED, .code = "bad-json", .text = error});
        break;
    case JSON_UNREADABLE:
        conn_answer_here(c, m, &(struct verdict){.outcome = PROTO_FAILED, .text = error});
        break;
    }
}

/* A document that is with the helper. Nothing behind it is read from its connection meanwhile, so
 * what the handler sees keeps its order as the answers do. */
struct parse_job {
    struct helper_job job;
    struct conn *conn; /* stays: the message counts among those that wait */
    struct message *message;
    const struct proto_limits *limits;
    bool wanted;
    enum json_verdict verdict;
    char error[JSON_ERROR_LEN];
};

static void
parse_job_run(struct helper_job *job)
{
    struct parse_job *p = (struct parse_job *)job;

    p->verdict = json_parse_message(p->message, p->limits, p->wanted, p->error);
}

/* A sender that has gone meanwhile got no final answer, so it sends the message again. */
static void
parse_job_done(struct helper_job *job)
{
    struct parse_job *p = (struct parse_job *)job;
    struct conn *c = p->conn;

    c->is_parsing = false;
    c->waiting--;
    if (c->phase != CONN_DEAD)
        conn_judge(c, p->message, p->verdict, p->error);
    else
        message_destroy(p->message);
    free(p);
    conn_touch(c);
}

static bool
conn_parse_later(struct conn *c, struct message *m)
{
    struct helper *h = worker_helper(conn_worker(c));
    struct parse_job *p;

    if (h == NULL)
        return false;
    p = ms_calloc(1, sizeof(*p));
    p->job = (struct helper_job){.run = parse_job_run, .done = parse_job_done};
    p->conn = c;
    p->message = m;
    p->limits = &c->listener->limits;
    p->wanted = conn_wants_json(c);
    c->is_parsing = true;
    c->waiting++;
    helper_give(h, &p->job);
    return true;
}

void
conn_parse(struct conn *c, struct message *m)
{
    enum json_verdict verdict;
    char error[JSON_ERROR_LEN];

    if (m->size > PARSE_HERE && conn_parse_later(c, m))
        return;
    verdict = json_parse_message(m, &c->listener->limits, conn_wants_json(c), error);
    conn_judge(c, m, verdict, error);
}
