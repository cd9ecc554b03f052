/* Takes everything and keeps nothing: for measuring, and for senders that only want the
 * verification. */
#include "handler/handler.h"

#include <stdlib.h>

static void
discard_submit(void *handler, struct message *m)
{
    outcome_settle(handler, m, outcome_committed());
}

const struct handler_ops discard_handler = {
    .name = "discard",
    .is_silent = true,
    .no_digest = true,
    .create = handler_keep_host,
    .destroy = free,
    .submit = discard_submit,
};
