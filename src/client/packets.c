/* What makes a large message go at the speed of one core's SHA-256: while packet k is on its way,
 * what is left of k - 1 is hashed, then k + 1 is read and summed, then k is hashed. */
#include "client/packets.h"

#include "proto/msp/msp_wire.h"

#include <errno.h>

#define PACKETS_HASH_BITE 131072

void
packets_init(struct packets *p, const struct source *source, struct digester *dg, bool keep_digest,
             uint32_t grant_guess)
{
    *p = (struct packets){.source = source, .digester = dg, .grant = grant_guess};
    if (keep_digest)
        p->sha = sha256_begin(dg);
}

void
packets_fini(struct packets *p)
{
    sha256_release(p->digester, p->sha);
    p->sha = NULL;
    chunk_fini(&p->current);
    chunk_fini(&p->other);
}

/* Hashes a bite of what comes before the offset until; false where all of that is in the digest. */
static bool
packets_hash(struct packets *p, uint64_t until)
{
    const struct chunk *c = &p->current;
    uint64_t n;

    if (p->sha == NULL || p->hashed >= until)
        return false;
    if (p->hashed < p->current.offset) {
        c = &p->other; /* the packet before; a bite must not run over its end */
        until = p->current.offset;
    }
    n = until - p->hashed;
    if (n > PACKETS_HASH_BITE)
        n = PACKETS_HASH_BITE;
    sha256_update(p->sha, c->data + (p->hashed - c->offset), (size_t)n);
    p->hashed += n;
    return true;
}

static int
packets_fail(struct packets *p)
{
    p->error = errno;
    return -1;
}

static int
packets_fill(struct packets *p, struct chunk *c)
{
    int done;

    while ((done = chunk_more(c, p->source)) == 0)
        continue;
    return done < 0 ? packets_fail(p) : 0;
}

int
packets_first(struct packets *p)
{
    uint64_t size = p->source->size;

    p->next_begun = false;
    p->hashed = 0;
    if (p->sha != NULL)
        sha256_reset(p->digester, p->sha);
    if (chunk_begin(&p->current, p->source, 0,
                    size < MSP_FIRST_BODY ? (size_t)size : MSP_FIRST_BODY) < 0)
        return packets_fail(p);
    return packets_fill(p, &p->current);
}

/* Begins or resizes the next packet for a grant. */
static int
packets_begin_next(struct packets *p, uint32_t grant)
{
    uint64_t offset = p->current.offset + p->current.want;
    uint64_t left = p->source->size - offset;
    size_t body = grant - MSP_PACKET_HEADER;
    size_t want = left < body ? (size_t)left : body;
    int rc;

    if (p->next_begun)
        rc = chunk_resize(&p->other, p->source, want);
    else
        rc = chunk_begin(&p->other, p->source, offset, want);
    p->next_begun = true;
    return rc < 0 ? packets_fail(p) : 0;
}

int
packets_next(struct packets *p, uint32_t grant)
{
    struct chunk before;

    while (packets_hash(p, p->current.offset))
        continue;
    if (p->error != 0 || packets_begin_next(p, grant) < 0 || packets_fill(p, &p->other) < 0)
        return -1;
    before = p->current;
    p->current = p->other;
    p->other = before;
    p->next_begun = false;
    p->grant = grant;
    return 0;
}

bool
packets_work(void *packets)
{
    struct packets *p = packets;

    if (p->error != 0)
        return false;
    if (packets_hash(p, p->current.offset))
        return true;
    if (!packets_at_end(p)) {
        if (!p->next_begun)
            return packets_begin_next(p, p->grant) == 0;
        if (p->other.len < p->other.want) {
            if (chunk_more(&p->other, p->source) >= 0)
                return true;
            packets_fail(p);
            return false;
        }
    }
    return packets_hash(p, p->current.offset + p->current.want);
}

void
packets_digest(struct packets *p, uint8_t out[SHA256_LEN])
{
    while (packets_hash(p, p->source->size))
        continue;
    sha256_peek(p->digester, p->sha, out);
}
