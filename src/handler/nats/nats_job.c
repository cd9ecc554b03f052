/* What is published of a message: its values, and its id. */
#include "handler/nats/nats.h"

/* A sender's id belongs to its listener, and a file is known by its content and its path. All else
 * is known by the id of its record. */
static char *
nats_msg_id(const struct nats_job *job)
{
    const struct message *m = job->m;
    char hex[SHA256_HEX_LEN + 1], *copy;
    struct buffer out;

    if (m->value_len == 0)
        return ms_strdup(job->id);
    buffer_init(&out);
    buffer_append_str(&out, job->h->scope);
    if (m->kind == MESSAGE_FILE) {
        digest_hex(m->sha256, SHA256_LEN, hex);
        buffer_printf(&out, " file %s ", hex);
    } else {
        buffer_append_str(&out, " id ");
    }
    header_escape(&out, m->value, m->value_len);
    copy = ms_strdup(buffer_cstr(&out));
    buffer_fini(&out);
    return copy;
}

static void
nats_job_done(struct parcel *p, const struct publish_result *result)
{
    nats_settle_result((struct nats_job *)p, result);
}

static_assert(offsetof(struct nats_job, parcel) == 0, "a job begins with its parcel");

void
nats_job_start(struct nats_job *job)
{
    const struct message *m = job->m;
    struct parcel *p = &job->parcel;

    job->msg_id = nats_msg_id(job);
    p->v = (struct parcel_values){
        .msg_id = job->msg_id,
        .id = job->id,
        .time = job->time,
        .kind = message_kind_name(m->kind),
        .proto = job->proto,
        .listener = job->h->host.listener->name,
        .peer = job->peer,
        .identity = job->identity,
        .name = m->value,
        .name_len = m->value_len,
        .is_file = m->kind == MESSAGE_FILE,
        .may_be_reused = m->value_len > 0 && m->kind != MESSAGE_FILE,
        .size = m->size,
        .mem = m->fd >= 0    ? NULL
               : m->size > 0 ? m->mem
                             : "",
        .fd = m->fd,
    };
    memcpy(p->v.sha256, m->sha256, SHA256_LEN);
    p->done = nats_job_done;
    parcel_begin(&job->h->parcels, p);
}
