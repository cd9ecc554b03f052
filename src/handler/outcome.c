/* errno to outcome, outcome to verdict: the only place where the journal words its refusals. */
#include "handler/handler.h"

#include <errno.h>
#include <stdio.h>

struct outcome
outcome_committed(void)
{
    return (struct outcome){.is = PROTO_COMMITTED};
}

struct outcome
outcome_refused(const char *code, const char *what)
{
    return (struct outcome){.is = PROTO_REFUSED, .code = code, .what = what};
}

struct outcome
outcome_failed(const char *what, int error)
{
    if (message_found_no_room(error))
        return (struct outcome){PROTO_REFUSED, error, "no-space", what};
    return (struct outcome){PROTO_FAILED, error, NULL, what};
}

struct outcome
outcome_named_failed(const char *what, int error)
{
    return (struct outcome){PROTO_FAILED, error, NULL, what};
}

struct verdict
outcome_verdict(const struct outcome *outcome, char text[OUTCOME_TEXT_LEN])
{
    const char *reason = outcome->error != 0 ? strerrordesc_np(outcome->error) : NULL;

    snprintf(text, OUTCOME_TEXT_LEN, "%s%s%s", outcome->what != NULL ? outcome->what : "",
             reason != NULL ? ": " : "", reason != NULL ? reason : "");
    return (struct verdict){.outcome = outcome->is, .code = outcome->code, .text = text};
}

void
outcome_settle(const struct handler_host *host, struct message *m, struct outcome outcome)
{
    struct verdict verdict = {.outcome = PROTO_COMMITTED};
    char text[OUTCOME_TEXT_LEN];

    if (outcome.is != PROTO_COMMITTED)
        verdict = outcome_verdict(&outcome, text);
    host->settle(host->ctx, m, &verdict);
}

int
handler_push(const struct handler_host *host, struct conn *c, const void *data, size_t n)
{
    struct blob *blob = blob_create(host->store, data, n);
    int rc = -1;

    errno = ENOMEM;
    if (blob != NULL)
        rc = host->push(host->ctx, c, blob);
    blob_unref(blob);
    return rc;
}
