/* The worker's side: what comes in is put where the program finds it. Called within turns, so it
 * only makes notes. */
#include "embed/server.h"

#include "handler/outcome.h"

#include <stdlib.h>

struct handler {
    struct msock_server *server;
};

/* The configuration is a part of the server. */
static struct handler *
server_handler_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct handler *h = ms_malloc(sizeof(*h));

    (void)error;
    h->server = (void *)((uintptr_t)host->config - offsetof(struct msock_server, config));
    h->server->host = *host;
    return h;
}

static void
server_handler_destroy(struct handler *h)
{
    free(h);
}

static void
server_handler_refuse(struct handler *h, struct message *m, struct outcome outcome)
{
    const struct handler_host *host = &h->server->host;
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    host->settle(host->ctx, m, &verdict);
}

static void
server_handler_submit(struct handler *h, struct message *m)
{
    struct msock_server *s = h->server;
    const struct conn *core = s->host.sender(s->host.ctx, m);
    struct msock_conn *c = core != NULL ? server_conn_find(s, core) : NULL;

    if (m->error != 0)
        server_handler_refuse(h, m, outcome_failed("the message could not be kept", m->error));
    else if (c == NULL || c->is_dismissed)
        server_handler_refuse(h, m, outcome_failed("the program has ended the connection", 0));
    else
        server_message_add(c, m);
}

static void
server_handler_opened(struct handler *h, struct conn *core, bool moved)
{
    (void)moved;
    (void)server_conn_add(h->server, core);
}

static void
server_handler_closed(struct handler *h, struct conn *core, bool moved)
{
    struct msock_conn *c = server_conn_find(h->server, core);

    (void)moved;
    MS_ASSERT(c != NULL);
    server_conn_ended(c);
}

/* The program may ask for it at any time (msock_message_json). */
static bool
server_handler_wants_json(struct handler *h)
{
    (void)h;
    return true;
}

const struct handler_ops server_handler = {
    .name = "program",
    .answers = true,
    .wants_json = server_handler_wants_json,
    .create = server_handler_create,
    .destroy = server_handler_destroy,
    .keep_max = UINT64_MAX,
    .submit = server_handler_submit,
    .conn_opened = server_handler_opened,
    .conn_closed = server_handler_closed,
};
