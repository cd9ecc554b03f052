/* How one message is published: in one publication, or by nats_chunks.c. */
#include "handler/nats/nats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* --- headers --- */

/* From here on what is appended to h->text is the value. */
static struct buffer *
nats_header_begin(struct nats *h, struct nats_headers *headers, const char *name)
{
    MS_ASSERT(headers->count < NATS_HEADERS_MAX);
    headers->at[headers->count] = h->text.len;
    headers->list[headers->count++].name = name;
    return &h->text;
}

static void
nats_header_end(struct nats *h)
{
    buffer_append(&h->text, "", 1);
}

void
nats_header_add(struct nats *h, struct nats_headers *headers, const char *name, const char *value)
{
    buffer_append_str(nats_header_begin(h, headers, name), value);
    nats_header_end(h);
}

static void
nats_header_add_foreign(struct nats *h, struct nats_headers *headers, const char *name,
                        const char *value, size_t n)
{
    header_escape(nats_header_begin(h, headers, name), value, n);
    nats_header_end(h);
}

void
nats_headers_end(struct nats *h, struct nats_headers *headers)
{
    for (unsigned i = 0; i < headers->count; i++)
        headers->list[i].value = buffer_bytes(&h->text) + headers->at[i];
}

void
nats_headers_make(struct nats_job *job, struct nats_headers *headers_out)
{
    const struct message *m = job->m;
    struct nats *h = job->h;
    char hex[SHA256_HEX_LEN + 1], size[24], time[CLOCK_RFC3339_LEN];

    headers_out->count = 0;
    buffer_clear(&h->text);
    digest_hex(m->sha256, SHA256_LEN, hex);
    snprintf(size, sizeof(size), "%" PRIu64, m->size);
    clock_format(job->real_us, time);
    nats_header_add(h, headers_out, "Nats-Msg-Id", job->msg_id);
    nats_header_add(h, headers_out, "Nats-Expected-Stream", h->config.stream);
    nats_header_add(h, headers_out, "Msock-Id", job->id);
    nats_header_add(h, headers_out, "Msock-Time", time);
    nats_header_add(h, headers_out, "Msock-Kind", message_kind_name(m->kind));
    nats_header_add(h, headers_out, "Msock-Size", size);
    nats_header_add(h, headers_out, "Msock-SHA256", hex);
    nats_header_add(h, headers_out, "Msock-Listener", h->listener);
    nats_header_add(h, headers_out, "Msock-Proto", job->proto);
    nats_header_add_foreign(h, headers_out, "Msock-Peer", job->peer, strlen(job->peer));
    if (m->value_len > 0)
        nats_header_add_foreign(h, headers_out,
                                m->kind == MESSAGE_FILE ? "Msock-Path" : "Msock-Key", m->value,
                                m->value_len);
}

/* --- the plan --- */

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

static bool
nats_job_name(struct nats_job *job)
{
    const struct message *m = job->m;
    const struct subject_values values = {
        .listener = job->h->host.listener->name,
        .kind = message_kind_name(m->kind),
        .proto = job->proto,
        .identity = "",
        .id = m->value,
        .id_len = m->value_len,
    };
    char subject[SUBJECT_MAX];

    if (subject_format(job->h->template, &values, subject) < 0)
        return false;
    job->subject = ms_strdup(subject);
    job->msg_id = nats_msg_id(job);
    return true;
}

/* Returns false where it has settled the job. */
static bool
nats_job_plan(struct nats_job *job)
{
    job->is_planned = true;
    if (!nats_job_name(job)) {
        nats_settle_refused(job, "refused", "the id or path is too long for a subject");
        return false;
    }
    if (!nats_chunks_plan(job, publisher_payload_max(job->h->publisher))) {
        nats_settle_refused(job, "too-large", "the message is larger than NATS takes in chunks");
        return false;
    }
    return true;
}

/* --- publishing --- */

static void
nats_piece_stored(struct nats_job *job, const struct nats_piece *piece,
                  const struct publish_result *result)
{
    job->h->served_us = clock_mono_us();
    if (job->is_last) {
        nats_settle_stored(job, result);
        return;
    }
    job->chunks.seqs[piece->chunk] = result->seq;
    job->chunks.stored++;
    if (nats_chunks_can_advance(job))
        nats_job_ready(job);
}

static void
nats_piece_done(struct publication *publication, const struct publish_result *result)
{
    struct nats_piece *piece = publication->arg;
    struct nats_job *job = piece->job;

    piece->publication = NULL;
    job->out--;
    if (result->outcome == PUBLISH_STORED)
        nats_piece_stored(job, piece, result);
    else
        nats_settle_not(job, result);
}

static struct nats_piece *
nats_free_piece(struct nats_job *job)
{
    struct nats_piece *piece = job->pieces;

    while (piece->publication != NULL)
        piece++;
    MS_ASSERT(piece < job->pieces + NATS_CHUNKS_AHEAD);
    return piece;
}

struct publication *
nats_job_piece(struct nats_job *job, uint32_t chunk, const struct nats_headers *headers,
               const void *data, size_t len)
{
    struct nats_piece *piece = nats_free_piece(job);
    struct publication *p =
        publication_create(job->subject, headers->list, headers->count, data, len);

    *piece = (struct nats_piece){.job = job, .publication = p, .chunk = chunk};
    p->done = nats_piece_done;
    if (job->is_last && job->m->value_len > 0 && job->m->kind != MESSAGE_FILE)
        p->same = "Msock-SHA256";
    p->arg = piece;
    job->out++;
    return p;
}

/* The whole message. */
static int
nats_job_publish_all(struct nats_job *job)
{
    struct nats_headers headers;
    const char *body;

    if (message_body(job->m, &body) < 0)
        return -1;
    nats_headers_make(job, &headers);
    nats_headers_end(job->h, &headers);
    job->is_last = true;
    publisher_give(job->h->publisher, nats_job_piece(job, 0, &headers, body, job->m->size));
    message_body_release(job->m, body);
    return 0;
}

void
nats_job_ready(struct nats_job *job)
{
    if (job->is_ready)
        return;
    job->is_ready = true;
    TAILQ_INSERT_TAIL(&job->h->ready, job, ready);
}

void
nats_job_advance(struct nats_job *job)
{
    int rc;

    if (!job->is_planned && !nats_job_plan(job))
        return;
    rc = job->chunks.count == 0 ? nats_job_publish_all(job) : nats_chunks_advance(job);
    if (rc < 0)
        nats_settle_failed(job, NULL, "the body cannot be read back", errno);
    else if (nats_chunks_can_advance(job))
        nats_job_ready(job);
}
