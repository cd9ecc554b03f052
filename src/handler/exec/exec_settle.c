/* How a message of exec ends, and what the log says about children. Invariant: a job is freed in
 * the call that settles its message. */
#include "handler/exec/exec.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define EXEC_SECOND_US 1000000
#define EXEC_HEARD_MAX 20 /* lines of children a second */

void
exec_warn(struct exec *h, const char *what, const struct exec_tail *tail)
{
    uint64_t now_us = clock_mono_us();
    bool has_tail = tail != NULL && tail->last_len > 0;

    if (h->warned_us != 0 && now_us < h->warned_us + EXEC_SECOND_US)
        return;
    h->warned_us = now_us;
    log_line(LOG_exec_failed, "exec on %s: %s%s%.*s", h->host.listener->name, what,
             has_tail ? ": " : "", has_tail ? (int)tail->last_len : 0, has_tail ? tail->last : "");
}

void
exec_heard_line(void *arg, const char *line, size_t n)
{
    struct exec *h = arg;
    uint64_t now_us = clock_mono_us();

    if (h->heard_us == 0 || now_us >= h->heard_us + EXEC_SECOND_US) {
        if (h->muted > 0)
            log_line(LOG_exec_says, "exec on %s: %u more lines", h->host.listener->name, h->muted);
        h->heard_us = now_us;
        h->heard = h->muted = 0;
    }
    if (h->heard == EXEC_HEARD_MAX) {
        h->muted++;
        return;
    }
    h->heard++;
    log_line(LOG_exec_says, "exec on %s: says: %.*s", h->host.listener->name, (int)n, line);
}

void
exec_job_destroy(struct exec *h, struct exec_job *job)
{
    ledger_give(&h->host.store->ledger, EXEC_JOB_COST);
    free(job->proto);
    free(job->peer);
    free(job->identity);
    free(job);
}

static void
exec_settle(struct exec *h, struct exec_job *job, const struct verdict *verdict)
{
    struct message *m = job->m;

    exec_job_destroy(h, job);
    h->out--;
    h->host.settle(h->host.ctx, m, verdict);
}

/* A child has decided: so the command works, and those in the queue may wait on. */
static void
exec_settle_decided(struct exec *h, struct exec_job *job, const struct verdict *verdict)
{
    h->served_us = clock_mono_us();
    h->start_delay_us = h->start_at_us = 0;
    exec_settle(h, job, verdict);
}

/* The command has taken the message, so it is not refused, whatever the reason. */
static void
exec_settle_unkept(struct exec *h, struct exec_job *job, int error)
{
    struct outcome outcome = outcome_named_failed("the command's answer cannot be kept", error);
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    exec_warn(h, text, NULL);
    exec_settle_decided(h, job, &verdict);
}

void
exec_settle_committed(struct exec *h, struct exec_job *job, struct exec_answer *answer)
{
    struct verdict verdict = {.outcome = PROTO_COMMITTED, .blob = exec_answer_reply(answer)};

    if (verdict.blob == NULL && errno != 0) {
        exec_settle_unkept(h, job, errno);
        return;
    }
    h->host.committed(h->host.ctx, 1);
    exec_settle_decided(h, job, &verdict);
    blob_unref(verdict.blob);
}

void
exec_settle_refused(struct exec *h, struct exec_job *job, const void *text, size_t n)
{
    char copy[EXEC_TEXT_MAX + 1];
    struct verdict verdict = {.outcome = PROTO_REFUSED, .code = "refused", .text = copy};

    if (n > EXEC_TEXT_MAX)
        n = EXEC_TEXT_MAX;
    if (n > 0)
        memcpy(copy, text, n);
    copy[n] = '\0';
    for (char *nul = copy; (nul = memchr(nul, '\0', (size_t)(copy + n - nul))) != NULL;)
        *nul = ' ';
    if (n == 0)
        verdict.text = "the command refused the message";
    exec_settle_decided(h, job, &verdict);
}

void
exec_settle_unfit(struct exec *h, struct exec_job *job, const char *text)
{
    struct verdict verdict = {.outcome = PROTO_REFUSED, .code = "refused", .text = text};

    exec_settle(h, job, &verdict);
}

void
exec_settle_failed(struct exec *h, struct exec_job *job, const char *what, int error)
{
    struct outcome outcome = outcome_failed(what, error);
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = outcome_verdict(&outcome, text);

    exec_warn(h, text, NULL);
    exec_settle(h, job, &verdict);
}

static void
exec_status_text(int status, char out[OUTCOME_TEXT_LEN])
{
    if (status < 0)
        snprintf(out, OUTCOME_TEXT_LEN, "the command's exit status is not known");
    else if (WIFSIGNALED(status))
        snprintf(out, OUTCOME_TEXT_LEN, "the command was ended by signal %d", WTERMSIG(status));
    else
        snprintf(out, OUTCOME_TEXT_LEN, "the command ended with exit status %d",
                 WEXITSTATUS(status));
}

void
exec_settle_status(struct exec *h, struct exec_job *job, int status, const struct exec_tail *tail)
{
    char text[OUTCOME_TEXT_LEN];
    struct verdict verdict = {.outcome = PROTO_FAILED, .text = text};

    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXEC_REFUSED_STATUS) {
        exec_settle_refused(h, job, tail->last, tail->last_len);
        return;
    }
    exec_status_text(status, text);
    exec_warn(h, text, tail);
    exec_settle(h, job, &verdict);
}
