/* Sends every message back, where a reply is wanted. */
#include "handler/handler.h"

#include <errno.h>
#include <stdlib.h>

static void
echo_reply(const struct handler_host *host, struct message *m, const void *reply)
{
    struct verdict verdict = {
        .outcome = PROTO_COMMITTED, .reply = reply, .reply_len = (size_t)m->size};

    host->settle(host->ctx, m, &verdict);
}

/* Settling destroys the message, so the reply needs memory of its own. */
static void
echo_reply_from_file(const struct handler_host *host, struct message *m)
{
    char *reply = message_copy_body(m);

    if (reply == NULL)
        outcome_settle(host, m, outcome_failed("the message cannot be read back", errno));
    else
        echo_reply(host, m, reply);
    free(reply);
}

static void
echo_submit(void *handler, struct message *m)
{
    const struct handler_host *host = handler;

    if (m->error != 0)
        outcome_settle(host, m, outcome_failed("the message could not be kept", m->error));
    else if (!m->wants_reply)
        outcome_settle(host, m, outcome_committed());
    else if (m->size > PROTO_REPLY_MAX)
        outcome_settle(host, m, outcome_refused("refused", "the reply would be over 16 MiB"));
    else if (m->fd >= 0)
        echo_reply_from_file(host, m);
    else
        echo_reply(host, m, m->size > 0 ? m->mem : "");
}

const struct handler_ops echo_handler = {
    .name = "echo",
    .answers = true,
    .no_digest = true,
    .only_replies = true,
    .create = handler_keep_host,
    .destroy = free,
    .keep_max = (uint64_t)PROTO_REPLY_MAX + 1, /* what is too long is known by its size alone */
    .submit = echo_submit,
};
