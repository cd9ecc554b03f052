/* Sends every message back, where a reply is wanted. */
#include "common/fd.h"
#include "handler/handler.h"
#include "handler/outcome.h"
#include "proto/msp/msp_wire.h"

#include <errno.h>
#include <stdlib.h>

struct handler {
    struct handler_host host;
};

static struct handler *
echo_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct handler *h = ms_malloc(sizeof(*h));

    (void)error;
    h->host = *host;
    return h;
}

static void
echo_destroy(struct handler *h)
{
    free(h);
}

static void
echo_settle_outcome(struct handler *h, struct message *m, struct outcome outcome)
{
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    h->host.settle(h->host.ctx, m, &verdict);
}

static void
echo_reply(struct handler *h, struct message *m, const void *reply)
{
    struct verdict verdict = {
        .outcome = PROTO_COMMITTED, .reply = reply, .reply_len = (size_t)m->size};

    h->host.settle(h->host.ctx, m, &verdict);
}

/* Settling destroys the message, so the reply needs memory of its own. */
static void
echo_reply_from_file(struct handler *h, struct message *m)
{
    char *reply = ms_malloc((size_t)m->size);

    if (fd_pread_all(m->fd, reply, (size_t)m->size, 0) < 0)
        echo_settle_outcome(h, m, outcome_failed("the message cannot be read back", errno));
    else
        echo_reply(h, m, reply);
    free(reply);
}

static void
echo_submit(struct handler *h, struct message *m)
{
    if (m->error != 0)
        echo_settle_outcome(h, m, outcome_failed("the message could not be kept", m->error));
    else if (!m->wants_reply)
        echo_settle_outcome(h, m, outcome_committed());
    else if (m->size > MSP_REPLY_MAX)
        echo_settle_outcome(h, m, outcome_refused("refused", "the reply would be over 16 MiB"));
    else if (m->fd >= 0)
        echo_reply_from_file(h, m);
    else
        echo_reply(h, m, m->size > 0 ? m->mem : "");
}

const struct handler_ops echo_handler = {
    .name = "echo",
    .answers = true,
    .no_digest = true,
    .create = echo_create,
    .destroy = echo_destroy,
    .keep_max = (uint64_t)MSP_REPLY_MAX + 1, /* what is too long is known by its size alone */
    .submit = echo_submit,
};
