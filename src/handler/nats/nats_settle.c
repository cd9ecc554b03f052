/* How a message of nats ends. Invariant: a job is freed in the call that settles its message, and
 * nothing of it is under way then. */
#include "handler/nats/nats.h"

#include <inttypes.h>
#include <stdio.h>

#define NATS_TEXT_MAX 400

static void
nats_settle(struct nats_job *job, const struct verdict *verdict)
{
    struct nats *h = job->h;

    h->host.settle(h->host.ctx, nats_job_end(job), verdict);
}

static size_t
nats_write_receipt(const struct nats *h, uint64_t seq, bool duplicate, char out[NATS_RECEIPT_LEN])
{
    return (size_t)snprintf(out, NATS_RECEIPT_LEN,
                            "{\"stream\":\"%s\",\"seq\":%" PRIu64
                            ",\"duplicate\":%s,\"stored\":\"%s\"}",
                            h->target.config.stream, seq, duplicate ? "true" : "false",
                            stream_stored(publisher_stream(h->publisher)));
}

/* The memo of a message is its sequence. */
const void *
nats_again(void *handler, const struct message *m, const void *memo, size_t *n_out)
{
    struct nats *h = handler;
    uint64_t seq;

    (void)m;
    memcpy(&seq, memo, sizeof(seq));
    *n_out = nats_write_receipt(h, seq, true, h->receipt);
    return h->receipt;
}

static void
nats_settle_behind(struct nats_job *job)
{
    struct nats_job *other, *next;

    job->conn->has_failed = true;
    for (other = STAILQ_FIRST(&job->conn->waiting); other != NULL; other = next) {
        next = STAILQ_NEXT(other, wait);
        if (other != job)
            nats_settle(other, &(struct verdict){.outcome = PROTO_FAILED, .text = nats_behind});
    }
}

void
nats_settle_failed(struct nats_job *job, const char *code, const char *what, int error)
{
    char text[NATS_TEXT_MAX];
    const char *why = error != 0 ? strerrordesc_np(error) : NULL;

    nats_settle_behind(job);
    snprintf(text, sizeof(text), "%s%s%s", what, why != NULL ? ": " : "", why != NULL ? why : "");
    nats_settle(job, &(struct verdict){.outcome = PROTO_FAILED, .code = code, .text = text});
}

static void
nats_settle_refused(struct nats_job *job, const char *code, const char *what)
{
    nats_settle(job, &(struct verdict){.outcome = PROTO_REFUSED, .code = code, .text = what});
}

static void
nats_settle_stored(struct nats_job *job, const struct publish_result *result)
{
    uint8_t memo[DEDUP_MEMO_LEN] = {0};
    struct verdict verdict = {.outcome = PROTO_COMMITTED, .memo = memo};
    char receipt[NATS_RECEIPT_LEN];

    log_line(LOG_nats_stored, "%s: %s is number %llu of %s", job->h->target.label, job->msg_id,
             (unsigned long long)result->seq, job->h->target.config.stream);
    memcpy(memo, &result->seq, sizeof(result->seq));
    if (job->m->wants_reply) {
        verdict.reply_len = nats_write_receipt(job->h, result->seq, result->duplicate, receipt);
        verdict.reply = receipt;
    }
    job->h->stored++;
    nats_settle(job, &verdict);
}

/* What the sender cannot help, and what may pass, ends the connection: it keeps the message. */
void
nats_settle_result(struct nats_job *job, const struct publish_result *result)
{
    char text[NATS_TEXT_MAX];

    snprintf(text, sizeof(text), "%s", result->text != NULL ? result->text : "");
    switch (result->outcome) {
    case PUBLISH_STORED:
        nats_settle_stored(job, result);
        break;
    case PUBLISH_FULL:
        nats_settle_refused(job, "no-space", text);
        break;
    case PUBLISH_TOO_LARGE:
        nats_settle_refused(job, "too-large", text);
        break;
    case PUBLISH_REFUSED:
        nats_settle_refused(job, "refused", text);
        break;
    case PUBLISH_REUSED:
        nats_settle_refused(job, "id-reused", text);
        break;
    case PUBLISH_MISSET:
    case PUBLISH_UNREAD:
        nats_settle_failed(job, NULL, text, 0);
        break;
    case PUBLISH_UNBOUND:
    case PUBLISH_BUSY:
        publisher_ask_again(job->h->publisher); /* somebody may have taken the stream away */
        nats_settle_failed(job, "busy", text, 0);
        break;
    }
}
