/* The handle behind include/msock.h: one server, its connection, the options, and what the last
 * call said. Used by one thread at a time. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/address.h"
#include "client/peer.h"
#include "client/transport.h"
#include "common/digest.h"
#include "msock.h"
#include "proto/msp/msp_wire.h"

#include <stdbool.h>

#define HANDLE_VALUE_MAX \
    (MSP_VALUE_MAX - SHA256_LEN) /* an id or path: a late digest must fit too */
#define HANDLE_AUTO_ID 32        /* hex digits */

#define HANDLE_ANSWER_MS   2000
#define HANDLE_COMMIT_MS   30000
#define HANDLE_RETRIES     5
#define HANDLE_BASE_MS     50
#define HANDLE_MAX_MS      5000
#define HANDLE_NACK_LIMIT  10
#define HANDLE_ERROR_LEN   2560
#define HANDLE_CODE_LEN    32
#define HANDLE_GRANT_GUESS 65536

struct msock {
    struct address at;
    char address[HANDLE_ERROR_LEN / 4]; /* for sentences: "127.0.0.1:8000" */
    struct transport transport;
    struct peer *peer; /* what speaks on it; NULL: msp (session.h) */
    struct digester *digester;
    uint32_t grant; /* the last one that the server gave: what to read ahead for */

    unsigned answer_ms, commit_ms;
    unsigned retries, base_ms, max_ms;
    unsigned nack_limit;
    bool auto_id, want_reply;
    msock_progress_fn progress;
    void *progress_arg;
    struct transforms transforms;

    char next_id[HANDLE_VALUE_MAX];
    size_t next_id_len; /* 0: none was set */
    char last_id[HANDLE_VALUE_MAX + 1];
    size_t last_id_len;

    char error[HANDLE_ERROR_LEN];
    char code[HANDLE_CODE_LEN];
    char *reply; /* NUL-terminated besides; NULL: none */
    size_t reply_len;
    char *received;             /* what msock_recv returned last */
    struct msock_counts counts; /* but the bytes, which the transport counts */
};

/* A call begins: the last one's error is forgotten. */
void handle_begin(struct msock *m);

/* Sets the sentence (and no code). Returns status, for "return handle_fail(...)". */
enum msock_status
handle_fail(struct msock *m, enum msock_status status, const char *fmt, ...) MS_PRINTF(3, 4);

/* The same with ": " and the text of errno at the end. */
enum msock_status
handle_fail_errno(struct msock *m, enum msock_status status, const char *fmt, ...) MS_PRINTF(3, 4);

/* Sets sentence and code from a REJ or ERR line. */
void handle_fail_answer(struct msock *m, const struct msp_answer *answer);

/* Adds to the sentence about a lost reply that its message was taken. */
void handle_say_unanswered(struct msock *m);

/* Connects the transport, without retries; counts it. Returns 0, or -1 with the sentence set. */
MS_MUST_CHECK int handle_connect_once(struct msock *m);

/* The wait before the nth attempt more, counted from 0. */
void handle_back_off(const struct msock *m, unsigned nth);

/* Random bytes from the kernel. */
void handle_random(void *out, size_t n);

void handle_drop_reply(struct msock *m);

#endif
