/* Records on their way. Invariant: a record is done only when the stream has it, or its body is
 * gone; while one could not be published, none behind it is read. */
#include "relay/relay_state.h"

#include "common/backoff.h"
#include "common/fd.h"
#include "handler/journal/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define READ_MAX      256 /* records in one turn */
#define BODIES_MAX    256 /* open files and blobs */
#define AGAIN_MIN_MS  200 /* between two tries */
#define AGAIN_MAX_MS  10000
#define GONE_SAY_US   1000000 /* thousands may be gone at once */
#define UNREAD_SAY_US 30000000

static void
relay_job_free(struct relay_job *job)
{
    parcel_fini(&job->parcel);
    TAILQ_REMOVE(&job->r->jobs, job, all);
    job->r->bodies -= job->fd >= 0;
    fd_close(&job->fd);
    free(job);
}

static void
relay_job_end(struct relay_job *job)
{
    struct follow *follow = job->r->follow;
    struct follow_item *item = job->item;

    relay_job_free(job);
    follow_done(follow, item);
}

/* --- a record's values --- */

static bool
relay_open_body(struct relay_job *job, const char *path)
{
    struct parcel_values *v = &job->parcel.v;
    struct stat st;

    job->fd = job->r->ops->open_beneath(job->r->root, path,
                                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    job->r->bodies += job->fd >= 0;
    v->fd = job->fd;
    if (job->fd < 0 || fstat(job->fd, &st) < 0)
        return false;
    errno = ENOENT; /* another one has its name */
    return S_ISREG(st.st_mode) && (uint64_t)st.st_size == v->size;
}

/* A document stands in its line with blanks in place of newlines: its digest is that of what is
 * published. Returns false with errno. */
static bool
relay_find_body(struct relay_job *job)
{
    const struct record_parts *parts = &job->parts;
    struct parcel_values *v = &job->parcel.v;

    errno = EBADMSG;
    if (!digest_unhex(parts->sha256, SHA256_LEN, v->sha256))
        return false;
    if (parts->file[0] != '\0' || parts->blob[0] != '\0')
        return relay_open_body(job, parts->file[0] != '\0' ? parts->file : parts->blob);
    if (parts->is_json)
        digest_sha256(job->r->digester, parts->body, parts->body_len, v->sha256);
    v->mem = parts->body;
    return v->mem != NULL && parts->body_len == v->size;
}

static void
relay_fill(struct relay_job *job)
{
    static const size_t files = sizeof("files/") - 1;
    const struct record_parts *parts = &job->parts;
    bool is_file;

    if (!record_take_apart(job->item->line, job->item->n, &job->parts))
        job->parts.sha256 = ""; /* it has no body then */
    is_file = parts->file[0] != '\0';
    job->parcel.v = (struct parcel_values){
        .msg_id = job->item->id,
        .id = job->item->id,
        .time = parts->time,
        .kind = parts->kind,
        .proto = parts->proto,
        .listener = parts->listener,
        .peer = parts->peer,
        .identity = parts->identity[0] != '\0' ? parts->identity : NULL,
        .is_file = is_file,
        .size = parts->size,
        .fd = -1,
        .name = parts->key,
        .name_len = parts->key_len,
    };
    if (is_file) {
        const char *path = strlen(parts->file) > files ? parts->file + files : parts->file;

        job->parcel.v.name = parts->path[0] != '\0' ? parts->path : path;
        job->parcel.v.name_len = strlen(job->parcel.v.name);
    }
}

/* --- what does not go on --- */

/* Publications go on with the first record that has failed, alone: so those behind it stay behind
 * it. */
static void
relay_stall(struct relay_job *job, const char *text)
{
    struct relay *r = job->r;

    job->has_failed = true;
    if (r->stalls == 0 || strcmp(text, r->stalled_by) != 0) {
        snprintf(r->stalled_by, sizeof(r->stalled_by), "%s", text);
        relay_complain(r, "record %s cannot be relayed yet: %s", job->item->id, text);
    }
    if (r->again_us != 0)
        return;
    r->again_us = clock_mono_us() + backoff_us(AGAIN_MIN_MS, AGAIN_MAX_MS, r->stalls, 0);
    r->stalls++;
}

static bool
relay_is_gone(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EBADMSG || error == ELOOP;
}

static void
relay_gone(struct relay_job *job, int error)
{
    struct relay *r = job->r;

    stats_add(&r->stats.block->counters.missing, 1);
    if (r->gone_us + GONE_SAY_US <= clock_mono_us()) {
        r->gone_us = clock_mono_us();
        relay_complain(r, "record %s of %s is passed over: its body cannot be had: %s",
                       job->item->id, job->item->segment, strerrordesc_np(error));
    }
    if (r->stalls > 0 && r->again_us == 0)
        r->again_us = clock_mono_us();
    relay_job_end(job);
}

/* May end the job. */
static void
relay_job_start(struct relay_job *job)
{
    bool has_body = job->parcel.v.mem != NULL || job->fd >= 0;

    job->has_failed = false;
    if (has_body || relay_find_body(job))
        parcel_begin(&job->r->parcels, &job->parcel);
    else if (relay_is_gone(errno))
        relay_gone(job, errno);
    else
        relay_stall(job, strerrordesc_np(errno));
}

static struct relay_job *
relay_next_failed(const struct relay *r)
{
    struct relay_job *job = TAILQ_FIRST(&r->jobs);

    while (job != NULL && !job->has_failed)
        job = TAILQ_NEXT(job, all);
    return job;
}

void
relay_try_again(struct relay *r)
{
    struct relay_job *job = relay_next_failed(r);

    if (r->again_us == 0 || r->again_us > clock_mono_us())
        return;
    r->again_us = 0;
    if (job == NULL) {
        r->stalls = 0;
        return;
    }
    publisher_ask_again(r->publisher);
    job->is_probe = true;
    relay_job_start(job);
}

static void
relay_goes_on(struct relay *r)
{
    struct relay_job *job;

    log_line(LOG_relay_again, "records are relayed again");
    r->stalls = 0;
    r->again_us = 0;
    while (r->stalls == 0 && (job = relay_next_failed(r)) != NULL)
        relay_job_start(job);
}

/* --- how it ends --- */

static void
relay_stored(struct relay_job *job)
{
    struct relay *r = job->r;
    bool goes_on = job->is_probe && r->stalls > 0;

    stats_add(&r->stats.block->counters.relayed, 1);
    relay_job_end(job);
    if (goes_on)
        relay_goes_on(r);
}

static void
relay_done(struct parcel *p, const struct publish_result *result)
{
    struct relay_job *job = (struct relay_job *)p;

    if (result->outcome == PUBLISH_STORED) {
        relay_stored(job);
    } else if (result->outcome == PUBLISH_UNREAD && relay_is_gone(result->error)) {
        relay_gone(job, result->error);
    } else {
        relay_stall(job, result->text);
        parcel_fini(p);
    }
}

static_assert(offsetof(struct relay_job, parcel) == 0, "a job begins with its parcel");

/* --- reading --- */

static void
relay_job_begin(struct relay *r, struct follow_item *item)
{
    struct relay_job *job = ms_calloc(1, sizeof(*job));

    job->r = r;
    job->item = item;
    job->fd = -1;
    TAILQ_INSERT_TAIL(&r->jobs, job, all);
    relay_fill(job);
    job->parcel.done = relay_done;
    relay_job_start(job);
}

static bool
relay_has_room(const struct relay *r)
{
    return r->stalls == 0 && r->bodies < BODIES_MAX && TAILQ_EMPTY(&r->parcels.ready) &&
           publisher_has_room(r->publisher);
}

/* It is tried again and again. */
static void
relay_unread(struct relay *r, int error)
{
    if (r->unread_us != 0 && clock_mono_us() < r->unread_us + UNREAD_SAY_US)
        return;
    r->unread_us = clock_mono_us();
    relay_complain(r, "the journal cannot be read: %s", strerror(error));
}

bool
relay_read(struct relay *r)
{
    struct follow_item *item;
    int rc = 1;

    for (unsigned i = 0; i < READ_MAX && rc > 0 && relay_has_room(r); i++) {
        rc = follow_next(r->follow, &item);
        if (rc < 0)
            relay_unread(r, errno);
        if (rc <= 0)
            break;
        relay_job_begin(r, item);
        parcels_pump(&r->parcels);
    }
    return rc > 0 && relay_has_room(r);
}

bool
relay_is_under_way(const struct relay *r)
{
    const struct relay_job *job;

    TAILQ_FOREACH(job, &r->jobs, all)
    if (job->parcel.out > 0 && !job->has_failed)
        return true;
    return false;
}

/* None of them is done. */
void
relay_drop_all(struct relay *r)
{
    struct relay_job *job;

    while ((job = TAILQ_FIRST(&r->jobs)) != NULL)
        relay_job_free(job);
}
