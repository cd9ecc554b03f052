/* The handle behind include/msock.h: one server or a list of them, the connection to one, the
 * options, and the results of the last call. Used by one thread at a time. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/peer.h"
#include "common/dial.h"
#include "common/digest.h"
#include "common/url.h"
#include "msock.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "proto/transform.h"

/* --- address.c --- */

/* What the URL of a server says to a client: where it is, which protocol is spoken there, and
 * how. */

#define ADDRESS_PORT      8000 /* where none is given */
#define ADDRESS_ERROR_LEN TLS_ERROR_LEN

struct proto_ops;
struct msock;

struct secure {
    struct tls_context *context; /* NULL: there is no TLS */
    char *name;                  /* that the server has to have; NULL: the host of the URL */
    bool insecure;
};

struct address {
    struct url url;
    struct secure secure;
    const struct proto_ops *ops;
    enum dial_pick pick;
    struct framing framing;
    uint32_t window_size; /* cnp: 1 is step-by-step */
    enum proto_role role;
    struct seal *seal; /* of ?key_file=; or NULL */
};

/* Reads a URL and the key file that it names. Returns 0, or -1 with a sentence in error.
 * address_fini after success only. */
MS_MUST_CHECK int
address_read(const char *text, struct address *address_out, char error[ADDRESS_ERROR_LEN]);
void address_fini(struct address *address);

/* --- secure.c --- */

/* Reads the files. Returns 0, or -1 with a sentence. */
MS_MUST_CHECK int
secure_make(const struct tls_asked *asked, struct secure *out, char error[ADDRESS_ERROR_LEN]);
void secure_fini(struct secure *secure);

/* Does the handshake on a connection that was just made, until the monotonic time deadline_us.
 * Returns 0, also without TLS; or -1 with the sentence set and the connection closed. */
MS_MUST_CHECK int secure_begin(struct msock *m, uint64_t deadline_us);

/* Sets the sentence about TLS that has failed on the connection, and the code. */
void secure_say(struct msock *m);

#define SECURE_UNTRUSTED "untrusted" /* the code where a certificate was not taken */
bool secure_is_untrusted(const struct msock *m);

#define HANDLE_VALUE_MAX 2006 /* bytes of an id or path: a late digest must fit too (1.8) */
#define HANDLE_AUTO_ID   32   /* hex digits */

#define HANDLE_ANSWER_MS  2000
#define HANDLE_COMMIT_MS  300000 /* longer than a disk or a network file system takes to recover */
#define HANDLE_RETRIES    5
#define HANDLE_BASE_MS    50
#define HANDLE_MAX_MS     5000
#define HANDLE_NACK_LIMIT 10
#define HANDLE_ERROR_LEN  2560
#define HANDLE_CODE_LEN   32
#define HANDLE_NO_MEMORY  "there is no memory"

struct ahead; /* ahead.c */

struct msock {
    struct address at;
    struct waiter waiter;
    bool is_attached; /* the program has made the connection: there is no other one */
    struct dialer dialer;
    const char *address; /* of the last connection, for sentences: "example.org:8000" */
    char connected_to[DIAL_NAME_LEN + ENDPOINT_TEXT_LEN + 4]; /* the same with what it stands for */
    uint64_t messages_before; /* of counts, when that connection was made */
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

/* What the seal of that message stands for, or of the reply to it. */
struct seal_about handle_about(const struct msock *m, const struct outgoing *out);

/* The function of msock_set_wait has ended this call. Sets the sentence, and returns
 * MSOCK_CANCELLED. */
enum msock_status handle_fail_ended(struct msock *m);

/* Sets the sentence (and no code). Returns status, for "return handle_fail(...)". */
enum msock_status
handle_fail(struct msock *m, enum msock_status status, const char *fmt, ...) MS_PRINTF(3, 4);

/* The same with ": " and the text of errno at the end. */
enum msock_status
handle_fail_errno(struct msock *m, enum msock_status status, const char *fmt, ...) MS_PRINTF(3, 4);

/* The sentence about a refused message, and the code. Both may be "" or NULL. */
void handle_fail_refused(struct msock *m, const char *code, const char *text);

/* The sentence about a message that no server would take, and the code with which one would refuse
 * it. Returns MSOCK_REFUSED. */
enum msock_status handle_fail_unsent(struct msock *m, const char *code, const char *text);

/* Adds to the sentence about a lost reply that its message was taken. */
void handle_say_unanswered(struct msock *m);

/* The id of the next message becomes the last one: the caller's, a random one, or none. */
void handle_choose_id(struct msock *m);

/* The last message has none. */
void handle_drop_id(struct msock *m);

void handle_drop_reply(struct msock *m);

/* --- source.c --- */

/* A file that is to be sent. What has no size beforehand (a pipe, a file of /proc) is read to its
 * end into an unnamed file first; with ECANCELED where the waiter ends that. Invariant: a file's
 * bytes are read, never mapped, since a file that shrinks would then raise SIGBUS in the host
 * program. */

struct source {
    int fd;
    uint64_t size;           /* bytes; both must hold until the end */
    struct timespec changed; /* when it was last written to */
};

#define SOURCE_NO_COPY (-2)

bool source_is_directory(const char *path);

/* Opens a file, or waits for whoever writes to a FIFO and reads that to its end. Returns 0; -1 with
 * errno (EISDIR; ENXIO for a device, ENOTSUP for a socket); or SOURCE_NO_COPY with errno where the
 * unnamed file cannot be made or written. */
MS_MUST_CHECK int source_open(struct source *source_out, const char *path, struct waiter *waiter);

/* The same of an open descriptor, which stays the caller's, from where it stands. */
MS_MUST_CHECK int source_take(struct source *source_out, int fd, struct waiter *waiter);
void source_close(struct source *source);

/* Lets out read from the source. */
void source_attach(struct source *source, struct outgoing *out);

/* All bytes in memory of their own (free). Returns 0, or -1 with errno (EBUSY: the size has changed
 * meanwhile; ESTALE: the content). */
MS_MUST_CHECK int source_read(struct source *source, uint8_t **data_out);

/* --- what was received (recv.c) --- */

/* What the server has sent, as the program is to see it: after the transforms, last to first. */

/* Returns the bytes of a message in memory of their own (free), NUL-terminated besides; the message
 * stays. answers: what was sent and it is the reply to; NULL: nothing. NULL with a sentence in the
 * handle: a transform has refused it, or there is no memory (errno is ENOMEM then). */
char *received_message(struct msock *m, struct message *message, const struct outgoing *answers,
                       size_t *n_out);

/* --- connect.c --- */

/* Which server a handle is connected to, how it comes to another one, and when it waits. */

/* Takes over the socket of msock_attach; counts it. Returns 0, or -1 with the sentence set. */
MS_MUST_CHECK int connect_attach(struct msock *m, int fd);

/* Connects the transport, without retries; counts it. Returns 0, or -1 with the sentence set (and
 * attempt_is_starved where there is no memory). */
MS_MUST_CHECK int connect_once(struct msock *m);

/* The last connection has ended in a failure that speaks against its server. */
void connect_blame(struct msock *m);

/* The server has turned us away, and not for anything that we said. */
bool connect_is_sent_away(const struct msock *m);

/* The waits and the moves to other servers between the attempts of one call. */
struct pauses {
    unsigned waits, moves;
};

/* True where another address has not had its turn since the last wait: it gets it at once. */
bool connect_moves_on(struct msock *m, struct pauses *pauses);

/* The pause before another attempt, where there is nobody to move on to. */
void connect_pause(struct msock *m, struct pauses *pauses);

/* With a list of servers, the sentence becomes one about all that have failed in this call. */
void connect_say_all(struct msock *m);

/* --- attempt.c --- */

/* One attempt to send one message over one connection, and what was said on it. Connecting and
 * trying again is deliver. */

enum attempt_end {
    ATTEMPT_TAKEN,      /* committed, or sent where the protocol has no answer for it */
    ATTEMPT_REFUSED,    /* by the server; nothing of it is kept */
    ATTEMPT_LOST,       /* the connection or its sense; the message may be begun again */
    ATTEMPT_SILENT,     /* our patience; the message may be begun again */
    ATTEMPT_NACKED,     /* what was sent ahead was damaged: again, without sending ahead (1.6) */
    ATTEMPT_LOCAL,      /* this side failed */
    ATTEMPT_CANCELLED,  /* by a callback: of progress, or that of msock_set_wait */
    ATTEMPT_UNFIT,      /* the protocol cannot carry this message */
    ATTEMPT_UNANSWERED, /* taken, but the reply that was wanted did not come */
};

/* Connects, and begins the protocol, without trying again. Returns 0, or -1 with the sentence
 * set. */
MS_MUST_CHECK int attempt_connect(struct msock *m);

/* The same on a connection that is there already. */
MS_MUST_CHECK int attempt_open(struct msock *m);

/* The last connection, or the try to make one, ended because there is no memory. */
bool attempt_is_starved(const struct msock *m);

/* Reads what the server has said meanwhile; afterwards a connection that has ended is closed. */
void attempt_check(struct msock *m);

/* The handle must be connected. Sets *in_doubt where the last byte of the message has left. The
 * sentence is set where the message was not taken. */
MS_MUST_CHECK enum attempt_end attempt_run(struct msock *m, struct outgoing *out, bool *in_doubt);

/* Adds what the protocol has counted. */
void attempt_count(struct msock *m);

/* Sets the sentence that says how the connection has ended. */
void attempt_say_end(struct msock *m);

/* Sets the sentence about a message that the protocol cannot carry. Returns MSOCK_USAGE. */
enum msock_status attempt_say_unfit(struct msock *m);

/* False before a connection is made for a message that the protocol cannot carry over any. */
bool attempt_may_carry(const struct msock *m, const struct outgoing *out);

/* --- deliver.c --- */

/* A message until it is committed, refused or given up: connections, attempts and the waits between
 * them (docs/protocol.md 1.7). */

/* Blocks until the outcome is clear. The sentence in the handle is set where it is not MSOCK_OK. */
MS_MUST_CHECK enum msock_status deliver(struct msock *m, struct outgoing *out);

/* --- ahead.c --- */

/* Messages that are sent behind each other without waiting for their answers (docs/protocol.md 1.6,
 * "burst of messages"), and reported in their order.
 * Invariant: items are in the order in which they were given, and the first one is not reported
 * yet. */

/* Waits until all messages sent ahead are reported, so that another one cannot overtake them.
 * MSOCK_OK, or what has ended the last of them. */
MS_MUST_CHECK enum msock_status ahead_finish(struct msock *m);

/* Forgets them without a report. NULL is fine. */
MS_MUST_CHECK struct ahead *ahead_create(void); /* NULL: no memory */
void ahead_destroy(struct ahead *ahead);

#endif
