/* What makes a large message go at the speed of one core's SHA-256: while packet k is on its way,
 * what is left of k - 1 is hashed, then k + 1 is read and summed, then k is hashed. */
#include "proto/msp/msp.h"

#include <errno.h>
#include <stdlib.h>

#define PACKETS_HASH_BITE 131072
#define PACKETS_READ_BITE 262144 /* bytes read and summed at once: they stay in the cache */

void
msp_packets_init(struct msp_packets *p, const struct outgoing *out, struct digester *dg,
                 bool keep_digest, uint32_t grant_guess)
{
    *p = (struct msp_packets){.out = out, .digester = dg, .grant = grant_guess};
    if (keep_digest)
        p->sha = sha256_begin(dg);
}

void
msp_packets_fini(struct msp_packets *p)
{
    sha256_release(p->digester, p->sha);
    free(p->current.memory);
    free(p->other.memory);
    *p = (struct msp_packets){0};
}

static int
msp_packets_fail(struct msp_packets *p, int error)
{
    p->error = error;
    return -1;
}

/* --- one packet's body --- */

/* Room for want bytes; what is there stays. */
static int
msp_chunk_grow(struct msp_packets *p, struct msp_chunk *c, size_t want)
{
    uint8_t *memory;

    MS_ASSERT(c->offset <= p->out->size && want <= p->out->size - c->offset);
    c->want = want;
    if (p->out->data != NULL) {
        c->data = p->out->data + c->offset;
        return 0;
    }
    if (want > c->capacity) {
        memory = realloc(c->memory, want);
        if (memory == NULL)
            return msp_packets_fail(p, ENOMEM);
        c->memory = memory;
        c->capacity = want;
    }
    c->data = c->memory;
    return 0;
}

static int
msp_chunk_begin(struct msp_packets *p, struct msp_chunk *c, uint64_t offset, size_t want)
{
    c->offset = offset;
    c->len = 0;
    c->crc = 0;
    return msp_chunk_grow(p, c, want);
}

/* Another size for the same place. */
static int
msp_chunk_resize(struct msp_packets *p, struct msp_chunk *c, size_t want)
{
    if (want < c->len) {
        c->len = want;
        c->crc = digest_crc32(0, c->data, want);
    }
    return msp_chunk_grow(p, c, want);
}

/* Reads and sums one bite more. 1 where the chunk is whole, 0 where it is not, -1 with p->error. */
static int
msp_chunk_more(struct msp_packets *p, struct msp_chunk *c)
{
    const struct outgoing *out = p->out;
    size_t n = c->want - c->len;

    if (n == 0)
        return 1;
    if (n > PACKETS_READ_BITE)
        n = PACKETS_READ_BITE;
    if (out->data == NULL && out->read(out->arg, c->memory + c->len, n, c->offset + c->len) < 0)
        return msp_packets_fail(p, errno);
    c->crc = digest_crc32(c->crc, c->data + c->len, n);
    c->len += n;
    return c->len == c->want;
}

static int
msp_chunk_fill(struct msp_packets *p, struct msp_chunk *c)
{
    int done;

    while ((done = msp_chunk_more(p, c)) == 0)
        continue;
    return done < 0 ? -1 : 0;
}

/* --- one after the other --- */

/* Hashes a bite of what comes before the offset until; false where all of that is in the digest. */
static bool
msp_packets_hash(struct msp_packets *p, uint64_t until)
{
    const struct msp_chunk *c = &p->current;
    uint64_t n;

    if (p->sha == NULL || p->hashed >= until)
        return false;
    if (p->hashed < p->current.offset) {
        c = &p->other; /* the packet before, up to its end */
        until = p->current.offset;
    }
    n = until - p->hashed;
    if (n > PACKETS_HASH_BITE)
        n = PACKETS_HASH_BITE;
    MS_ASSERT(p->hashed >= c->offset && p->hashed - c->offset + n <= c->len);
    sha256_update(p->sha, c->data + (p->hashed - c->offset), (size_t)n);
    p->hashed += n;
    return true;
}

int
msp_packets_first(struct msp_packets *p)
{
    uint64_t size = p->out->size;

    p->next_begun = false;
    p->hashed = 0;
    if (p->sha != NULL)
        sha256_reset(p->digester, p->sha);
    if (msp_chunk_begin(p, &p->current, 0, size < MSP_FIRST_BODY ? (size_t)size : MSP_FIRST_BODY) <
        0)
        return -1;
    return msp_chunk_fill(p, &p->current);
}

/* Begins or resizes the next packet for a grant. */
static int
msp_packets_begin_next(struct msp_packets *p, uint32_t grant)
{
    uint64_t offset = p->current.offset + p->current.want, left = p->out->size - offset;
    size_t body = grant - MSP_PACKET_HEADER;
    size_t want = left < body ? (size_t)left : body;
    bool begun = p->next_begun;

    p->next_begun = true;
    return begun ? msp_chunk_resize(p, &p->other, want)
                 : msp_chunk_begin(p, &p->other, offset, want);
}

int
msp_packets_next(struct msp_packets *p, uint32_t grant)
{
    struct msp_chunk before;

    while (msp_packets_hash(p, p->current.offset))
        continue;
    if (p->error != 0 || msp_packets_begin_next(p, grant) < 0 || msp_chunk_fill(p, &p->other) < 0)
        return -1;
    before = p->current;
    p->current = p->other;
    p->other = before;
    p->next_begun = false;
    p->grant = grant;
    return 0;
}

bool
msp_packets_work(struct msp_packets *p)
{
    if (p->error != 0)
        return false;
    if (msp_packets_hash(p, p->current.offset))
        return true;
    if (!msp_packets_at_end(p)) {
        if (!p->next_begun)
            return msp_packets_begin_next(p, p->grant) == 0;
        if (p->other.len < p->other.want)
            return msp_chunk_more(p, &p->other) >= 0;
    }
    return msp_packets_hash(p, p->current.offset + p->current.want);
}

int
msp_packets_hash_ahead(struct msp_packets *p)
{
    uint64_t left = p->out->size - p->hashed;
    size_t n = left < PACKETS_READ_BITE ? (size_t)left : PACKETS_READ_BITE;

    if (n == 0)
        return 1;
    if (msp_chunk_begin(p, &p->other, p->hashed, n) < 0 || msp_chunk_fill(p, &p->other) < 0)
        return -1;
    sha256_update(p->sha, p->other.data, n);
    p->hashed += n;
    return p->hashed == p->out->size;
}

void
msp_packets_digest(struct msp_packets *p, uint8_t out[SHA256_LEN])
{
    while (msp_packets_hash(p, p->out->size))
        continue;
    sha256_peek(p->digester, p->sha, out);
}
