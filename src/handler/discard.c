/* Takes everything and keeps nothing: for measuring, and for senders that only want the verification. */
#include "handler/handler_list.h"

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

/* Nobody wants the bodies, but a JSON document has to be there until it was checked. */
static uint64_t
discard_keep_max(const struct config *config)
{
    uint64_t most = 0;

    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].limits.max_json_size > most)
            most = config->listeners[i].limits.max_json_size;
    return most;
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
    .keep_max = discard_keep_max,
    .submit = discard_submit,
};
