/* Takes everything and keeps nothing: for measuring, and for senders that only want the
 * verification. */
#include "handler/handler.h"

#include <stdlib.h>

struct handler {
    struct handler_host host;
};

static struct handler *
discard_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct handler *h = ms_malloc(sizeof(*h));

    (void)error;
    h->host = *host;
    return h;
}

static void
discard_destroy(struct handler *h)
{
    free(h);
}

static void
discard_submit(struct handler *h, struct message *m)
{
    static const struct verdict committed = {.outcome = PROTO_COMMITTED};

    h->host.settle(h->host.ctx, m, &committed);
}

const struct handler_ops discard_handler = {
    .name = "discard",
    .no_digest = true,
    .create = discard_create,
    .destroy = discard_destroy,
    .submit = discard_submit,
};
