/* Where a message's bytes come from: memory of the caller, or a file that is read piece by piece.
 * A chunk is the body of one packet with its CRC-32.
 * Invariant: a file's bytes pass through a chunk's own memory, never through a mapping, since a
 * file that shrinks would then raise SIGBUS in the host program. */
#ifndef CLIENT_SOURCE_H
#define CLIENT_SOURCE_H

#include "common/digest.h"

/* bytes read or summed at a time: they stay in the second-level cache */
#define SOURCE_BITE 262144

struct source {
    const uint8_t *data; /* memory; NULL for a file */
    int fd;              /* file; -1 for memory */
    uint64_t size;       /* bytes; must hold until the end */
};

void source_memory(struct source *source_out, const void *data, size_t n);

/* Opens a regular file. Returns 0, or -1 with errno (EISDIR, ENXIO for what is not a regular
 * file). */
MS_MUST_CHECK int source_open(struct source *source_out, const char *path);
void source_close(struct source *source);

/* Returns 0 where the file still has the size it had, else -1 with errno (EBUSY: changed). */
MS_MUST_CHECK int source_unchanged(const struct source *source);

/* The digest of the whole source, read for this alone. Returns 0, or -1 as chunk_more. */
MS_MUST_CHECK int
source_digest(const struct source *source, struct digester *dg, uint8_t out[SHA256_LEN]);

/* All bytes of a file in memory of their own (free). Returns 0, or -1 with errno (EBUSY: changed
 * meanwhile). */
MS_MUST_CHECK int source_read(const struct source *source, uint8_t **data_out);

struct chunk {
    const uint8_t *data; /* the bytes: the caller's memory, or memory below */
    uint8_t *memory;     /* own; NULL until a file needs it */
    size_t capacity;     /* of memory */
    uint64_t offset;     /* in the source */
    size_t want;         /* bytes of the packet's body */
    size_t len;          /* of these, there and in crc */
    uint32_t crc;
};

void chunk_fini(struct chunk *c);

/* Begins a chunk of want bytes at offset; both must lie in the source. Returns 0, or -1 with
 * ENOMEM. */
MS_MUST_CHECK int
chunk_begin(struct chunk *c, const struct source *source, uint64_t offset, size_t want);

/* Reads and sums one bite more. Returns 1 where the chunk is whole, 0 where it is not, -1 with
 * errno (EBUSY: the file ends before). */
MS_MUST_CHECK int chunk_more(struct chunk *c, const struct source *source);

/* Another size for the same place, keeping what is there. Returns 0, or -1 with ENOMEM. */
MS_MUST_CHECK int chunk_resize(struct chunk *c, const struct source *source, size_t want);

#endif
