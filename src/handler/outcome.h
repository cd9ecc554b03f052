/* How one message ended, as the parts that store it report it: small, without memory of its own,
 * and made into a struct verdict only when the message is settled. */
#ifndef HANDLER_OUTCOME_H
#define HANDLER_OUTCOME_H

#include "handler/handler.h"

struct outcome {
    enum proto_outcome is;
    int error;        /* errno behind it, or 0 */
    const char *code; /* of PROTO_REFUSED; static */
    const char *what; /* "the journal cannot be written"; static, NULL for PROTO_COMMITTED */
};

#define OUTCOME_TEXT_LEN 160

struct outcome outcome_committed(void);
struct outcome outcome_refused(const char *code, const char *what);

/* What errno `error` means for a message: no room (ENOSPC, EDQUOT) is refused with no-space, all
 * else has failed. */
struct outcome outcome_failed(const char *what, int error);

/* The same where the file or blob has got its name already: others may have seen it and rely on it,
 * so it stays, and a message of which something stays has failed, and is not refused. */
struct outcome outcome_named_failed(const char *what, int error);

/* The verdict without a reply; its text is in `text` as long as that lives. */
struct verdict outcome_verdict(const struct outcome *outcome, char text[OUTCOME_TEXT_LEN]);

#endif
