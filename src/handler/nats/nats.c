/* Publishes every message to a stream of NATS, and settles it when the stream has confirmed it.
 * Invariant: parcels_pump is called whenever a message or room for one may have come; a message of
 * a connection begins only while fewer than nats_ahead of that connection are under way. */
#include "handler/nats/nats.h"

#include "common/log.h"

#include <poll.h>
#include <stdlib.h>

#define NATS_FINISH_US 2000000 /* the master does not wait much longer for a worker */
#define NATS_START_US  2000000 /* for a server, of one listener */
#define NATS_STARTS_US 4000000 /* of all listeners of a worker */

static const char nats_leaves[] = "the server leaves before NATS has confirmed the message";

const char nats_behind[] = "a message before it on its connection has failed";

/* --- connections --- */

/* The address of a connection; the lowest bits of a number in tests. */
static size_t
nats_bucket(const void *owner)
{
    uintptr_t key = (uintptr_t)owner;

    return (key ^ key >> 10) / 16 % NATS_CONN_BUCKETS;
}

static struct nats_conn *
nats_conn_of(struct nats *h, const void *owner)
{
    size_t bucket = nats_bucket(owner);
    struct nats_conn *c;

    for (c = LIST_FIRST(&h->conns[bucket]); c != NULL; c = LIST_NEXT(c, link))
        if (c->owner == owner)
            return c;
    c = ms_calloc(1, sizeof(*c));
    c->owner = owner;
    STAILQ_INIT(&c->waiting);
    LIST_INSERT_HEAD(&h->conns[bucket], c, link);
    return c;
}

/* The next messages of a connection may begin; one without messages is forgotten. */
static void
nats_conn_advance(struct nats *h, struct nats_conn *c)
{
    struct nats_job *job;

    while (!c->has_failed && c->running < h->ahead && (job = STAILQ_FIRST(&c->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->waiting, wait);
        job->is_waiting = false;
        c->running++;
        nats_job_start(job);
    }
    if (c->running == 0 && STAILQ_EMPTY(&c->waiting)) {
        LIST_REMOVE(c, link);
        free(c);
    }
}

/* --- jobs --- */

static struct nats_job *
nats_job_begin(struct nats *h, struct message *m)
{
    struct nats_job *job = ms_calloc(1, sizeof(*job));
    struct message_origin origin;

    ledger_take(&h->host.store->ledger, NATS_JOB_COST);
    h->host.origin(h->host.ctx, m, &origin);
    job->h = h;
    job->m = m;
    job->proto = ms_strdup(origin.proto);
    job->peer = ms_strdup(origin.peer);
    job->identity = origin.identity != NULL ? ms_strdup(origin.identity) : NULL;
    job->queued_us = clock_mono_us();
    clock_format(clock_real_us(), job->time);
    ulid_next(&h->ids, clock_id_us(h->host.id_offset_us), job->id);
    job->conn = nats_conn_of(h, m->owner);
    TAILQ_INSERT_TAIL(&h->jobs, job, all);
    STAILQ_INSERT_TAIL(&job->conn->waiting, job, wait);
    job->is_waiting = true;
    nats_conn_advance(h, job->conn);
    return job;
}

static void
nats_job_leave_conn(struct nats_job *job)
{
    struct nats_conn *c = job->conn;

    if (job->is_waiting)
        STAILQ_REMOVE(&c->waiting, job, nats_job, wait);
    else
        c->running--;
    nats_conn_advance(job->h, c);
}

struct message *
nats_job_end(struct nats_job *job)
{
    struct message *m = job->m;

    parcel_fini(&job->parcel);
    ledger_give(&job->h->host.store->ledger, NATS_JOB_COST);
    TAILQ_REMOVE(&job->h->jobs, job, all);
    nats_job_leave_conn(job);
    free(job->proto);
    free(job->peer);
    free(job->identity);
    free(job->msg_id);
    free(job);
    return m;
}

/* --- what the worker calls --- */

static void
nats_submit(void *handler, struct message *m)
{
    struct nats *h = handler;
    struct nats_job *job = nats_job_begin(h, m);

    if (m->error != 0)
        nats_settle_failed(job, NULL, OUTCOME_NOT_KEPT, m->error);
    else if (h->is_leaving)
        nats_settle_failed(job, NULL, nats_leaves, 0);
    else if (job->conn->has_failed)
        nats_settle_failed(job, NULL, nats_behind, 0);
    else
        parcels_pump(&h->parcels);
}

static uint64_t
nats_flush(void *handler, unsigned expected)
{
    struct nats *h = handler;

    (void)expected;
    return publisher_flush(h->publisher);
}

static int
nats_event_fd(void *handler)
{
    struct nats *h = handler;

    return publisher_fd(h->publisher);
}

static void
nats_complete(void *handler)
{
    struct nats *h = handler;

    publisher_turn(h->publisher);
    parcels_pump(&h->parcels);
    if (h->stored > 0)
        h->host.committed(h->host.ctx, h->stored);
    h->stored = 0;
}

/* A message that has not begun fails only if nothing was confirmed for the time that one may take:
 * a long queue before a slow stream is no failure. */
static bool
nats_is_late(const struct nats_job *job, uint64_t now_us)
{
    const struct nats *h = job->h;
    uint64_t since_us =
        job->queued_us > h->parcels.served_us ? job->queued_us : h->parcels.served_us;

    return since_us + PUBLISHER_TRIES * h->target.config.timeout_us <= now_us;
}

static struct nats_job *
nats_first_late(const struct nats *h, uint64_t now_us)
{
    struct nats_job *job = TAILQ_FIRST(&h->jobs);

    while (job != NULL && job->parcel.out > 0)
        job = TAILQ_NEXT(job, all);
    return job != NULL && nats_is_late(job, now_us) ? job : NULL;
}

static void
nats_tick(void *handler, uint64_t now_us)
{
    struct nats *h = handler;
    const char *trouble = publisher_trouble(h->publisher);
    struct nats_job *job;

    while ((job = nats_first_late(h, now_us)) != NULL)
        nats_settle_failed(
            job, "busy",
            trouble[0] != '\0' ? trouble : "NATS was not ready for the message in time", 0);
    parcels_pump(&h->parcels);
}

/* --- leaving --- */

/* Until something happens, or the publisher wants to be called. */
static void
nats_wait(struct nats *h, uint64_t until_us)
{
    uint64_t again_us = publisher_flush(h->publisher), now_us = clock_mono_us();
    uint64_t end_us = again_us != 0 && again_us < until_us ? again_us : until_us;
    struct pollfd event = {.fd = publisher_fd(h->publisher), .events = POLLIN};

    if (end_us > now_us)
        (void)poll(&event, 1, (int)((end_us - now_us) / 1000 + 1));
    nats_complete(h);
}

static void
nats_finish(void *handler)
{
    struct nats *h = handler;
    uint64_t until_us = clock_mono_us() + NATS_FINISH_US;

    while (!TAILQ_EMPTY(&h->jobs) && clock_mono_us() < until_us)
        nats_wait(h, until_us);
    h->is_leaving = true;
    while (!TAILQ_EMPTY(&h->jobs))
        nats_settle_failed(TAILQ_FIRST(&h->jobs), NULL, nats_leaves, 0);
}

static void
nats_destroy(void *handler)
{
    struct nats *h = handler;

    while (!TAILQ_EMPTY(&h->jobs))
        message_destroy(nats_job_end(TAILQ_FIRST(&h->jobs)));
    publisher_close(h->publisher);
    parcels_fini(&h->parcels);
    nats_target_fini(&h->target);
    free(h->scope);
    free(h);
}

/* --- life --- */

/* A worker starts without a server, since msockd may be up before NATS is; then senders wait. What
 * a server refuses now it will refuse later, and so does not start. All listeners share one time,
 * so that a worker is ready in time. */
static bool
nats_start(struct nats *h, char error[HANDLER_ERROR_LEN])
{
    static uint64_t left_us = NATS_STARTS_US;
    uint64_t begin_us = clock_mono_us(), wait_us;

    h->target.config.ledger = &h->host.store->ledger;
    h->publisher =
        nats_target_open(&h->target, left_us < NATS_START_US ? left_us : NATS_START_US, error);
    wait_us = clock_mono_us() - begin_us;
    left_us -= wait_us < left_us ? wait_us : left_us;
    if (h->publisher != NULL && error[0] != '\0')
        log_line(LOG_nats_trouble, "%s; senders wait until it is there", error);
    return h->publisher != NULL;
}

static char *
nats_escaped(const char *text)
{
    struct buffer out;
    char *copy;

    buffer_init(&out);
    header_escape(&out, text, strlen(text));
    copy = ms_strdup(buffer_cstr(&out));
    buffer_fini(&out);
    return copy;
}

static void *
nats_create(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    const struct listener_config *l = host->listener;
    const char *scope = l->text[OPTION_ID_SCOPE];
    struct nats *h = ms_calloc(1, sizeof(*h));

    h->host = *host;
    h->ahead = (unsigned)l->number[OPTION_NATS_AHEAD];
    TAILQ_INIT(&h->jobs);
    ulid_init(&h->ids);
    if (nats_target_init(&h->target, l, error) < 0 || !nats_start(h, error)) {
        nats_destroy(h);
        return NULL;
    }
    h->scope = nats_escaped(scope != NULL ? scope : l->name);
    parcels_init(&h->parcels, h->publisher, host->digester, h->target.config.stream,
                 h->target.template);
    return h;
}

const struct handler_ops nats_handler = {
    .name = "nats",
    .per_listener = true,
    .one_by_one = true,
    .is_foreign = true,
    .connects = true,
    .check = nats_target_check,
    .create = nats_create,
    .destroy = nats_destroy,
    .keep_max = UINT64_MAX,
    .submit = nats_submit,
    .flush = nats_flush,
    .event_fd = nats_event_fd,
    .complete = nats_complete,
    .again = nats_again,
    .finish = nats_finish,
    .tick = nats_tick,
};
