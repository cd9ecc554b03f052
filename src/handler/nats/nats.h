/* The nats handler: what its files share. nats.c has the queue and the ops, nats_job.c what is
 * published of a message, nats_settle.c how a message ends.
 *
 * Order: of one connection nats_ahead messages (1) are under way at a time. With one, the stream
 * has the messages of a connection in their order, whatever fails: a stream that changes its leader
 * may lose one message and take the next one, and no publisher can undo that. */
#ifndef HANDLER_NATS_NATS_H
#define HANDLER_NATS_NATS_H

#include "handler/handler.h"
#include "handler/journal/journal.h"
#include "handler/nats/target.h"
#include "nats/parcel.h"

#include <sys/queue.h>

#define NATS_CONN_BUCKETS 1024

struct nats_job;

/* A connection with messages here. */
struct nats_conn {
    LIST_ENTRY(nats_conn) link;
    const void *owner;
    bool has_failed;  /* its sender will send all again that was not answered: nothing begins */
    unsigned running; /* messages that have begun */
    STAILQ_HEAD(nats_jobs, nats_job) waiting; /* and those that have not */
};

struct nats_job {
    struct parcel parcel;
    TAILQ_ENTRY(nats_job) all;   /* of h->jobs */
    STAILQ_ENTRY(nats_job) wait; /* of its connection, until it has begun */
    struct nats *h;
    struct nats_conn *conn;
    struct message *m;
    char id[ULID_LEN + 1];        /* of its record */
    char time[CLOCK_RFC3339_LEN]; /* when it came */
    uint64_t queued_us;           /* the same, monotonic */
    char *proto, *peer, *identity;
    char *msg_id;
    bool is_waiting; /* it is in conn->waiting */
};

#define NATS_JOB_COST    (sizeof(struct nats_job) + 512) /* in the ledger, with its texts */
#define NATS_RECEIPT_LEN 512

struct nats {
    struct handler_host host;
    struct nats_target target;
    struct publisher *publisher;
    char *scope; /* of ids, escaped for headers */
    unsigned ahead;
    struct parcels parcels;
    TAILQ_HEAD(nats_job_list, nats_job) jobs; /* all, in the order in which they came */
    LIST_HEAD(nats_conns, nats_conn) conns[NATS_CONN_BUCKETS];
    struct ulid_source ids;
    unsigned stored;                /* messages in this turn */
    char receipt[NATS_RECEIPT_LEN]; /* that was written last by nats_again */
    bool is_leaving;
};

/* --- nats_job.c --- */

/* Its parcel is ready to be published. */
void nats_job_start(struct nats_job *job);

/* --- nats_settle.c --- */

/* struct handler_ops again. */
const void *nats_again(void *handler, const struct message *m, const void *memo, size_t *n_out);

void nats_settle_result(struct nats_job *job, const struct publish_result *result);

/* The connection ends with that, and its sender sends again what was not answered: so what has not
 * begun behind it fails as well, or it would be in the stream before this one. */
void nats_settle_failed(struct nats_job *job, const char *code, const char *what, int error);

/* --- nats.c --- */

extern const char nats_behind[]; /* why a message behind a failed one fails */

/* Frees a job that was decided, before its message is settled, and begins the next one of its
 * connection. Returns its message. */
struct message *nats_job_end(struct nats_job *job);

#endif
