/* The handle behind include/msock.h: one server, its connection, the options, and what the last
 * call said. Used by one thread at a time. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/address.h"
#include "client/peer.h"
#include "client/transport.h"
#include "common/digest.h"
#include "msock.h"
#include "proto/outgoing.h"

#include <stdbool.h>

#define HANDLE_VALUE_MAX 2006 /* bytes of an id or path: a late digest must fit too (1.8) */
#define HANDLE_AUTO_ID   32   /* hex digits */

#define HANDLE_ANSWER_MS  2000
#define HANDLE_COMMIT_MS  30000
#define HANDLE_RETRIES    5
#define HANDLE_BASE_MS    50
#define HANDLE_MAX_MS     5000
#define HANDLE_NACK_LIMIT 10
#define HANDLE_ERROR_LEN  2560
#define HANDLE_CODE_LEN   32

struct ahead; /* ahead.c */

struct msock {
    struct address at;
    char address[HANDLE_ERROR_LEN / 4]; /* for sentences: "127.0.0.1:8000" */
    struct transport transport;
    struct peer *peer; /* what speaks on it */
    struct digester *digester;

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
    struct ahead *ahead;        /* messages sent ahead; NULL until there was one */
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

/* The sentence about a refused message, and the code. Both may be "" or NULL. */
void handle_fail_refused(struct msock *m, const char *code, const char *text);

/* Adds to the sentence about a lost reply that its message was taken. */
void handle_say_unanswered(struct msock *m);

/* Connects the transport, without retries; counts it. Returns 0, or -1 with the sentence set. */
MS_MUST_CHECK int handle_connect(struct msock *m);

/* The wait before the nth attempt more, counted from 0. */
void handle_back_off(const struct msock *m, unsigned nth);

/* The id of the next message becomes the last one: the caller's, a random one, or none. */
void handle_choose_id(struct msock *m);

/* The last message has none. */
void handle_drop_id(struct msock *m);

void handle_drop_reply(struct msock *m);

#endif
