/* One message as the program sees it. */
#include "embed/server.h"

#include <errno.h>
#include <stdlib.h>

/* --- where it is --- */

void
server_message_add(struct msock_conn *c, struct message *core)
{
    struct msock_message *m = ms_calloc(1, sizeof(*m));

    if (m == NULL) {
        outcome_settle(&c->server->host, core,
                       outcome_failed("the program has no memory for it", ENOMEM));
        return;
    }
    m->conn = c;
    m->core = core;
    TAILQ_INSERT_TAIL(&c->queue, m, link);
    server_conn_ready(c);
}

struct msock_message *
server_message_take(struct msock_conn *c)
{
    struct msock_message *m = TAILQ_FIRST(&c->queue);

    MS_ASSERT(m != NULL);
    TAILQ_REMOVE(&c->queue, m, link);
    TAILQ_INSERT_TAIL(&c->server->out, m, link);
    c->holds++;
    return m;
}

/* Settles a message that is in no list any more, and frees it; nothing is sent yet. */
static void
server_message_end(struct msock_message *m, const struct verdict *verdict)
{
    const struct handler_host *host = &m->conn->server->host;

    host->settle(host->ctx, m->core, verdict);
    free(m->body);
    free(m);
}

void
server_messages_fail(struct message_list *list, const char *text)
{
    const struct verdict verdict = {.outcome = PROTO_FAILED, .text = text};
    struct msock_message *m;

    while ((m = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, m, link);
        server_message_end(m, &verdict);
    }
}

/* --- facts about it --- */

const void *
msock_message_data(msock_message *m, size_t *n)
{
    if (m->body == NULL)
        m->body = message_copy_body(m->core);
    if (n != NULL)
        *n = (size_t)m->core->size;
    return m->body;
}

json_t *
msock_message_json(const msock_message *m)
{
    return m->core->json;
}

char
msock_message_kind(const msock_message *m)
{
    return (char)m->core->kind;
}

const char *
msock_message_id(const msock_message *m)
{
    return m->core->value;
}

uint64_t
msock_message_size(const msock_message *m)
{
    return m->core->size;
}

const unsigned char *
msock_message_sha256(const msock_message *m)
{
    return m->core->sha256;
}

int
msock_message_wants_reply(const msock_message *m)
{
    return m->core->wants_reply;
}

const char *
msock_message_peer(const msock_message *m)
{
    return msock_conn_peer(m->conn);
}

const char *
msock_message_protocol(const msock_message *m)
{
    return msock_conn_protocol(m->conn);
}

msock_conn *
msock_message_conn(const msock_message *m)
{
    return m->conn->core != NULL ? m->conn : NULL;
}

/* --- what becomes of it --- */

/* The answer leaves at once, not with the next call: there may be none for a long time. */
static void
message_settle(msock_message *m, const struct verdict *verdict)
{
    struct msock_conn *c = m->conn;
    struct msock_server *s = c->server;

    TAILQ_REMOVE(&s->out, m, link);
    server_message_end(m, verdict);
    worker_send(s->worker);
    c->holds--;
    server_conn_put(c);
}

void
msock_message_commit(msock_message *m, const void *reply, size_t n)
{
    const struct verdict committed = {
        .outcome = PROTO_COMMITTED, .reply = reply, .reply_len = reply != NULL ? n : 0};

    if (reply != NULL && n > PROTO_REPLY_MAX && m->core->wants_reply)
        msock_message_fail(m, "the reply is over 16 MiB");
    else
        message_settle(m, &committed);
}

void
msock_message_refuse(msock_message *m, const char *text)
{
    const struct verdict refused = {
        .outcome = PROTO_REFUSED,
        .code = "refused",
        .text = text != NULL ? text : "the receiving program has refused it",
    };

    message_settle(m, &refused);
}

void
msock_message_fail(msock_message *m, const char *text)
{
    const struct verdict failed = {
        .outcome = PROTO_FAILED,
        .text = text != NULL ? text : "the receiving program has failed",
    };

    message_settle(m, &failed);
}
