/* How a message ends, in words. Each function but the last two settles the job's message and frees
 * the job. */
#ifndef HANDLER_EXEC_EXEC_SETTLE_H
#define HANDLER_EXEC_EXEC_SETTLE_H

#include "handler/exec/exec_state.h"

#define EXEC_REFUSED_STATUS 65 /* EX_DATAERR of sysexits.h */

/* reply: a child's; no bytes are no reply. */
void exec_settle_committed(struct handler *h, struct exec_job *job, const struct buffer *reply);

/* text: a child's, n bytes, of which at most 400 are used; none: a sentence of ours. */
void exec_settle_refused(struct handler *h, struct exec_job *job, const void *text, size_t n);

/* Refused before a child saw it. */
void exec_settle_unfit(struct handler *h, struct exec_job *job, const char *text);

/* what: a sentence without its full stop; error: an errno, or 0. */
void exec_settle_failed(struct handler *h, struct exec_job *job, const char *what, int error);

/* By the wait status of a child that did not answer; tail: the end of its standard error. */
void exec_settle_status(struct handler *h, struct exec_job *job, int status,
                        const struct exec_tail *tail);

/* A warning, with the last line that a child said (or NULL) behind it. */
void exec_warn(struct handler *h, const char *what, const struct exec_tail *tail);

/* One line of a child's standard error, to the log at level info; not more than some a second. An
 * exec_tail_line_fn: arg is the handler. */
void exec_heard_line(void *arg, const char *line, size_t n);

#endif
