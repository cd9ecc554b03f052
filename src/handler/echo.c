/* Sends every message back, where a reply is wanted. */
#include "handler/handler.h"

#include <errno.h>
#include <stdlib.h>

/* What is small is copied on its way; else the body itself is the reply. */
static void
echo_reply(const struct handler_host *host, struct message *m)
{
    struct verdict verdict = {.outcome = PROTO_COMMITTED, .reply = m->size > 0 ? m->mem : ""};
    struct outcome failed;

    verdict.reply_len = (size_t)m->size;
    if (m->fd < 0 && m->size <= CHAIN_COPY_MAX) {
        host->settle(host->ctx, m, &verdict);
        return;
    }
    verdict.blob = blob_of_message(m);
    failed = outcome_failed("the message cannot be sent back", errno);
    if (verdict.blob == NULL)
        outcome_settle(host, m, failed);
    else
        host->settle(host->ctx, m, &verdict);
    blob_unref(verdict.blob);
}

static void
echo_submit(void *handler, struct message *m)
{
    const struct handler_host *host = handler;

    if (m->error != 0)
        outcome_settle(host, m, outcome_failed(OUTCOME_NOT_KEPT, m->error));
    else if (!m->wants_reply)
        outcome_settle(host, m, outcome_committed());
    else if (m->size > PROTO_REPLY_MAX)
        outcome_settle(host, m, outcome_refused("refused", "the reply would be over 16 MiB"));
    else
        echo_reply(host, m);
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
