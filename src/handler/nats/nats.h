/* The nats handler: what its files share. nats.c has the queue and the ops, nats_job.c how a
 * message is published, nats_chunks.c one that is too large for one publication, nats_settle.c how
 * a message ends, nats_config.c what its options say.
 *
 * Order: of one connection nats_ahead messages (1) are under way at a time. With one, the stream
 * has the messages of a connection in their order, whatever fails: a stream that changes its leader
 * may lose one message and take the next one, and no publisher can undo that. */
#ifndef HANDLER_NATS_NATS_H
#define HANDLER_NATS_NATS_H

#include "common/text.h"
#include "handler/handler.h"
#include "handler/journal/journal.h"
#include "nats/publisher.h"

#include <sys/queue.h>

#define NATS_CHUNKS_AHEAD 8 /* chunks of one message under way */
#define NATS_CONN_BUCKETS 1024
#define NATS_HEADERS_MAX  12

struct nats_job;

/* A connection with messages here. */
struct nats_conn {
    LIST_ENTRY(nats_conn) link;
    const void *owner;
    bool has_failed;  /* its sender will send all again that was not answered: nothing begins */
    unsigned running; /* messages that have begun */
    STAILQ_HEAD(nats_jobs, nats_job) waiting; /* and those that have not */
};

/* A publication of a message: all of it, a chunk, or the manifest behind its chunks. */
struct nats_piece {
    struct nats_job *job;
    struct publication *publication; /* under way; or NULL */
    uint32_t chunk;
};

struct nats_chunks {
    uint32_t count; /* 0: the message goes in one publication */
    uint32_t next;  /* to be published */
    uint32_t stored;
    size_t len;            /* bytes of each but the last */
    uint64_t *seqs;        /* where the stream has them */
    struct sha256 *digest; /* of what was read so far */
};

struct nats_job {
    TAILQ_ENTRY(nats_job) all;   /* of h->jobs */
    TAILQ_ENTRY(nats_job) ready; /* of h->ready, while is_ready */
    STAILQ_ENTRY(nats_job) wait; /* of its connection, until it has begun */
    struct nats *h;
    struct nats_conn *conn;
    struct message *m;
    char id[ULID_LEN + 1]; /* of its record */
    uint64_t real_us;      /* when it came */
    uint64_t queued_us;    /* the same, monotonic */
    char *proto, *peer;
    bool is_waiting; /* it is in conn->waiting */
    bool is_ready;
    bool is_planned;
    bool is_last; /* its last publication is under way */
    unsigned out; /* publications under way */
    char *subject, *msg_id;
    struct nats_chunks chunks;
    struct nats_piece pieces[NATS_CHUNKS_AHEAD];
};

#define NATS_RECEIPT_LEN 512

struct nats {
    struct handler_host host;
    struct publisher_config config;
    struct publisher *publisher;
    char *label;                /* "nats on msp://127.0.0.1:8000" */
    char subjects[SUBJECT_MAX]; /* that the stream has to take */
    char *listener;             /* escaped for headers */
    char *scope;                /* the same, of ids */
    const char *template;
    unsigned ahead;
    TAILQ_HEAD(nats_job_list, nats_job) jobs;    /* all, in the order in which they came */
    TAILQ_HEAD(nats_ready_list, nats_job) ready; /* that can publish something */
    LIST_HEAD(nats_conns, nats_conn) conns[NATS_CONN_BUCKETS];
    struct ulid_source ids;
    struct buffer text; /* of headers */
    uint64_t served_us; /* when the stream last confirmed something */
    uint64_t warned_us;
    unsigned stored;                /* messages in this turn */
    char receipt[NATS_RECEIPT_LEN]; /* that was written last by nats_again */
    bool is_leaving;
};

/* --- nats_config.c --- */

/* What the options of a listener say, with texts of the listener and of h. Returns 0, or -1 with a
 * sentence. */
int nats_configure(struct nats *h, const struct listener_config *l, char error[HANDLER_ERROR_LEN]);
void nats_forget(struct nats *h);

/* struct handler_ops check. */
int nats_check(const struct listener_config *l, char error[HANDLER_ERROR_LEN]);

/* --- nats_job.c --- */

struct nats_headers {
    struct link_header list[NATS_HEADERS_MAX];
    size_t at[NATS_HEADERS_MAX]; /* where in h->text a value stands; list points there in the end */
    unsigned count;
};

/* The headers of the message itself; valid until the next ones. */
void nats_headers_make(struct nats_job *job, struct nats_headers *headers_out);
void
nats_header_add(struct nats *h, struct nats_headers *headers, const char *name, const char *value);
void nats_headers_end(struct nats *h, struct nats_headers *headers);

/* Publishes the next piece. May settle the job. */
void nats_job_advance(struct nats_job *job);

/* A publication of the job, which has to be given to the publisher next. Copies headers and
 * data. */
struct publication *
nats_job_piece(struct nats_job *job, uint32_t chunk, const struct nats_headers *headers,
               const void *data, size_t len);

void nats_job_ready(struct nats_job *job);

/* --- nats_chunks.c --- */

/* Decides on chunks, where a publication may have payload_max bytes. Returns false where the body
 * is too large for a manifest. */
bool nats_chunks_plan(struct nats_job *job, size_t payload_max);

/* Publishes the next chunk, or the manifest. Returns 0, or -1 with errno where the body cannot be
 * read. */
int nats_chunks_advance(struct nats_job *job);
bool nats_chunks_can_advance(const struct nats_job *job);
void nats_chunks_free(struct nats_job *job);

/* --- nats_settle.c --- */

/* struct handler_ops again. */
const void *nats_again(void *handler, const struct message *m, const void *memo, size_t *n_out);

void nats_settle_stored(struct nats_job *job, const struct publish_result *result);
void nats_settle_not(struct nats_job *job, const struct publish_result *result);

/* The connection ends with that, and its sender sends again what was not answered: so what has not
 * begun behind it fails as well, or it would be in the stream before this one. */
void nats_settle_failed(struct nats_job *job, const char *code, const char *what, int error);
void nats_settle_refused(struct nats_job *job, const char *code, const char *what);

/* --- nats.c --- */

extern const char nats_behind[]; /* why a message behind a failed one fails */

/* Frees a job that was decided, before its message is settled, and begins the next one of its
 * connection. Returns its message. */
struct message *nats_job_end(struct nats_job *job);

#endif
