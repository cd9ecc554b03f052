/* The worker's side: it puts messages where the program finds them. It is called within turns, so
 * it only makes notes. */
#include "embed/server.h"

/* The configuration is a part of the server, and the server is the handler. */
static void *
server_handler_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct msock_server *s =
        (void *)((uintptr_t)host->config - offsetof(struct msock_server, config));

    (void)error;
    s->host = *host;
    return s;
}

static void
server_handler_destroy(void *handler)
{
    (void)handler; /* it lives longer than the worker */
}

static void
server_handler_submit(void *handler, struct message *m)
{
    struct msock_server *s = handler;
    const struct conn *core = s->host.sender(s->host.ctx, m);
    struct msock_conn *c = core != NULL ? server_conn_find(s, core) : NULL;

    if (m->error != 0)
        outcome_settle(&s->host, m, outcome_failed(OUTCOME_NOT_KEPT, m->error));
    else if (c == NULL || c->is_dismissed)
        outcome_settle(&s->host, m, outcome_failed("the program has ended the connection", 0));
    else
        server_message_add(c, m);
}

static void
server_handler_opened(void *handler, struct conn *core, bool moved)
{
    (void)moved;
    (void)server_conn_add(handler, core);
}

static void
server_handler_closed(void *handler, struct conn *core, bool moved)
{
    struct msock_conn *c = server_conn_find(handler, core);

    (void)moved;
    if (c != NULL) /* or there was no memory for it */
        server_conn_ended(c);
}

/* The program may ask for it at any time (msock_message_json). */
static bool
server_handler_wants_json(void *handler)
{
    (void)handler;
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
