/* Messages in chunks: see parcel.h. Invariant: a manifest is published only when all its chunks are
 * stored, in the same round, and the body has proven to be what it should be. */
#include "nats/parcel.h"

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

bool
parcel_chunks_plan(struct parcel *p, size_t payload_max)
{
    uint64_t size = p->v.size, most, count;
    size_t room, headers = publication_size(p->ps->headers.len, 0);

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
    p->chunks.count = (uint32_t)count;
    p->chunks.len = room;
    p->chunks.round = publisher_round(p->ps->publisher);
    p->chunks.seqs = ms_calloc(count, sizeof(*p->chunks.seqs));
    p->chunks.digest = sha256_begin(p->ps->digester);
    return true;
}

bool
parcel_chunks_can_advance(const struct parcel *p)
{
    const struct parcel_chunks *c = &p->chunks;

    if (c->count == 0 || p->is_last)
        return false;
    return c->next < c->count ? p->out < PARCEL_CHUNKS_AHEAD : c->stored == c->count;
}

void
parcel_chunks_fini(struct parcel *p)
{
    free(p->chunks.seqs);
    if (p->chunks.digest != NULL)
        sha256_release(p->ps->digester, p->chunks.digest);
}

/* --- chunks --- */

/* What comes back from a file has to be proven before anybody relies on it: the manifest. */
static bool
parcel_chunks_are_right(const struct parcel *p)
{
    uint8_t digest[SHA256_LEN];

    sha256_peek(p->ps->digester, p->chunks.digest, digest);
    return memcmp(digest, p->v.sha256, SHA256_LEN) == 0;
}

static void
parcel_chunk_headers(struct parcel *p, uint32_t chunk, size_t len)
{
    const struct parcel_chunks *c = &p->chunks;
    size_t size = strlen(p->v.msg_id) + CHUNK_LABEL;
    char *id = ms_malloc(size), place[32], hex[2 * CHUNK_DIGEST + 1];
    uint8_t digest[SHA256_LEN];

    sha256_peek(p->ps->digester, c->digest, digest);
    digest_hex(digest, CHUNK_DIGEST, hex);
    /* Chunks of another size, from a time when the server took other sizes, are other chunks. */
    snprintf(id, size, "%s #%" PRIu64 "+%zu %s", p->v.msg_id, (uint64_t)chunk * c->len, len, hex);
    snprintf(place, sizeof(place), "%u/%u", chunk + 1, c->count);
    parcel_headers_begin(p, id);
    parcel_header_add(p, "Msock-Chunk", place);
    free(id);
}

static int
parcel_chunk_publish(struct parcel *p)
{
    struct parcel_chunks *c = &p->chunks;
    uint64_t at = (uint64_t)c->next * c->len, left = p->v.size - at;
    size_t len = left < c->len ? (size_t)left : c->len;
    char *data = malloc(len);

    if (data == NULL || parcel_read(p, at, data, len) < 0) {
        free(data);
        return -1;
    }
    sha256_update(c->digest, data, len);
    parcel_chunk_headers(p, c->next, len);
    publisher_give(p->ps->publisher, parcel_piece(p, c->next, data, len));
    c->next++;
    free(data);
    return 0;
}

/* --- the manifest --- */

static int
parcel_manifest_publish(struct parcel *p)
{
    struct parcel_chunks *c = &p->chunks;
    struct buffer body;
    char count[16];

    if (!parcel_chunks_are_right(p)) {
        errno = EBADMSG;
        return -1;
    }
    buffer_init(&body);
    buffer_printf(&body, "{\"chunks\":%u,\"chunk_size\":%zu,\"size\":%" PRIu64 ",\"seqs\":[",
                  c->count, c->len, p->v.size);
    for (uint32_t i = 0; i < c->count; i++)
        buffer_printf(&body, "%s%" PRIu64, i == 0 ? "" : ",", c->seqs[i]);
    buffer_append_str(&body, "]}");
    snprintf(count, sizeof(count), "%u", c->count);
    parcel_headers_make(p);
    parcel_header_add(p, "Msock-Chunks", count);
    p->is_last = true;
    publisher_give(p->ps->publisher, parcel_piece(p, 0, buffer_bytes(&body), body.len));
    buffer_fini(&body);
    return 0;
}

int
parcel_chunks_advance(struct parcel *p)
{
    if (p->chunks.round != publisher_round(p->ps->publisher)) {
        parcel_begin_again(p);
        return 0;
    }
    return p->chunks.next < p->chunks.count ? parcel_chunk_publish(p) : parcel_manifest_publish(p);
}
