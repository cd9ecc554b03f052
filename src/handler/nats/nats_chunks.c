/* A message that is too large for one publication goes in chunks to the same subject, several at a
 * time, and when the stream has confirmed all of them a manifest follows under the message's own
 * id: it says where in the stream each chunk is. A consumer that meets a manifest has all the
 * chunks before it. Each chunk has an id of its own, by the message's, its place, and the digest of
 * the body up to its end: so a message that is sent again finds the chunks that were stored before,
 * and another one under the same id does not.
 *
 * The chunks of an object store would be in a stream of their own, with another retention, without
 * an order beside the other messages, and without an id: so they are not used. */
#include "handler/nats/nats.h"

#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_MIN     512 /* bytes; a server that takes less is of no use for chunks */
#define CHUNK_LABEL   96  /* of a chunk's own header and what its id is longer */
#define CHUNK_DIGEST  16  /* bytes of a digest in an id */
#define MANIFEST_HEAD 256 /* bytes of a manifest besides the numbers */
#define MANIFEST_SEQ  21  /* of one number at most, with a comma */

/* --- the plan --- */

static size_t
nats_chunks_headers(struct nats_job *job)
{
    struct nats_headers headers;

    nats_headers_make(job, &headers);
    nats_headers_end(job->h, &headers);
    return publication_size(headers.list, headers.count, 0);
}

bool
nats_chunks_plan(struct nats_job *job, size_t payload_max)
{
    uint64_t size = job->m->size, most, count;
    size_t room, headers = nats_chunks_headers(job);

    if (headers + size <= payload_max)
        return true;
    headers += CHUNK_LABEL;
    if (payload_max < headers + CHUNK_MIN)
        return false;
    room = payload_max - headers;
    most = (room - MANIFEST_HEAD) / MANIFEST_SEQ;
    count = (size + room - 1) / room;
    if (count > most || count == 0)
        return false;
    job->chunks.count = (uint32_t)count;
    job->chunks.len = room;
    job->chunks.seqs = ms_calloc(count, sizeof(*job->chunks.seqs));
    job->chunks.digest = sha256_begin(job->h->host.digester);
    return true;
}

bool
nats_chunks_can_advance(const struct nats_job *job)
{
    const struct nats_chunks *c = &job->chunks;

    if (c->count == 0 || job->is_last)
        return false;
    return c->next < c->count ? job->out < NATS_CHUNKS_AHEAD : c->stored == c->count;
}

void
nats_chunks_free(struct nats_job *job)
{
    free(job->chunks.seqs);
    if (job->chunks.digest != NULL)
        sha256_release(job->h->host.digester, job->chunks.digest);
}

/* --- chunks --- */

static int
nats_chunk_read(const struct message *m, uint64_t at, char *out, size_t n)
{
    if (m->fd >= 0)
        return fd_pread_all(m->fd, out, n, (off_t)at);
    memcpy(out, m->mem + at, n);
    return 0;
}

/* What comes back from a file has to be proven before anybody relies on it: the manifest. */
static bool
nats_chunks_are_right(const struct nats_job *job)
{
    uint8_t digest[SHA256_LEN];

    sha256_peek(job->h->host.digester, job->chunks.digest, digest);
    return memcmp(digest, job->m->sha256, SHA256_LEN) == 0;
}

static void
nats_chunk_headers(struct nats_job *job, uint32_t chunk, size_t len, struct nats_headers *headers)
{
    const struct nats_chunks *c = &job->chunks;
    struct nats *h = job->h;
    size_t size = strlen(job->msg_id) + CHUNK_LABEL;
    char *id = ms_malloc(size), place[32], hex[2 * CHUNK_DIGEST + 1];
    uint8_t digest[SHA256_LEN];

    headers->count = 0;
    buffer_clear(&h->text);
    sha256_peek(h->host.digester, c->digest, digest);
    digest_hex(digest, CHUNK_DIGEST, hex);
    /* Chunks of another size, from a time when the server took other sizes, are other chunks. */
    snprintf(id, size, "%s #%" PRIu64 "+%zu %s", job->msg_id, (uint64_t)chunk * c->len, len, hex);
    snprintf(place, sizeof(place), "%u/%u", chunk + 1, c->count);
    nats_header_add(h, headers, "Nats-Msg-Id", id);
    nats_header_add(h, headers, "Nats-Expected-Stream", h->config.stream);
    nats_header_add(h, headers, "Msock-Id", job->id);
    nats_header_add(h, headers, "Msock-Chunk", place);
    nats_headers_end(h, headers);
    free(id);
}

static int
nats_chunk_publish(struct nats_job *job)
{
    struct nats_chunks *c = &job->chunks;
    uint64_t at = (uint64_t)c->next * c->len, left = job->m->size - at;
    size_t len = left < c->len ? (size_t)left : c->len;
    char *data = malloc(len);
    struct nats_headers headers;

    if (data == NULL || nats_chunk_read(job->m, at, data, len) < 0) {
        free(data);
        return -1;
    }
    sha256_update(c->digest, data, len);
    nats_chunk_headers(job, c->next, len, &headers);
    publisher_give(job->h->publisher, nats_job_piece(job, c->next, &headers, data, len));
    c->next++;
    free(data);
    return 0;
}

/* --- the manifest --- */

static int
nats_manifest_publish(struct nats_job *job)
{
    struct nats_chunks *c = &job->chunks;
    struct nats_headers headers;
    struct buffer body;
    char count[16];

    if (!nats_chunks_are_right(job)) {
        errno = EBADMSG;
        return -1;
    }
    buffer_init(&body);
    buffer_printf(&body, "{\"chunks\":%u,\"chunk_size\":%zu,\"size\":%" PRIu64 ",\"seqs\":[",
                  c->count, c->len, job->m->size);
    for (uint32_t i = 0; i < c->count; i++)
        buffer_printf(&body, "%s%" PRIu64, i == 0 ? "" : ",", c->seqs[i]);
    buffer_append_str(&body, "]}");
    snprintf(count, sizeof(count), "%u", c->count);
    nats_headers_make(job, &headers);
    nats_header_add(job->h, &headers, "Msock-Chunks", count);
    nats_headers_end(job->h, &headers);
    job->is_last = true;
    publisher_give(job->h->publisher,
                   nats_job_piece(job, 0, &headers, buffer_bytes(&body), body.len));
    buffer_fini(&body);
    return 0;
}

int
nats_chunks_advance(struct nats_job *job)
{
    return job->chunks.next < job->chunks.count ? nats_chunk_publish(job)
                                                : nats_manifest_publish(job);
}
