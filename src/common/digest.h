/* CRC-32 (zlib's polynomial) and SHA-256: libdeflate or zlib, and libcrypto's EVP, behind one face.
 * A digester is used by one thread at a time; it fetches the algorithm once and keeps finished
 * contexts for re-use. */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include "common/base.h"

#define SHA256_LEN     32
#define SHA256_HEX_LEN 64 /* without NUL */

/* Continues crc (0 to begin) over n bytes. */
uint32_t digest_crc32(uint32_t crc, const void *data, size_t n);

/* The CRC-32 of the last n bytes of something, by that of all of it and that of what stands before
 * them. */
uint32_t digest_crc32_rest(uint32_t all, uint32_t front, size_t n);

struct digester; /* the fetched algorithm and a pool of contexts */
struct sha256;   /* a running digest; belongs to the digester it came from */

/* NULL with errno ENOMEM or ENOTSUP (no SHA-256 in this libcrypto, e.g. a broken provider). */
MS_MUST_CHECK struct digester *digester_create(void);
void digester_destroy(struct digester *dg); /* NULL is fine; all its digests must be released */

/* A fresh digest of no bytes. NULL without memory, in libmsock alone. Give it back with
 * sha256_release. */
struct sha256 *sha256_begin(struct digester *dg);
void sha256_update(struct sha256 *s, const void *data, size_t n);

/* The digest of the bytes so far; s can be updated further. */
void sha256_peek(struct digester *dg, const struct sha256 *s, uint8_t out[SHA256_LEN]);

/* The digest of all bytes. s may afterwards only be reset, copied over or released. */
void sha256_finish(struct sha256 *s, uint8_t out[SHA256_LEN]);

void sha256_reset(struct digester *dg, struct sha256 *s);
void sha256_copy(struct sha256 *to, const struct sha256 *from);
void sha256_release(struct digester *dg, struct sha256 *s); /* NULL is fine */

/* Begin, update and finish in one, on a context that the digester keeps for this. */
void digest_sha256(struct digester *dg, const void *data, size_t n, uint8_t out[SHA256_LEN]);

/* Lower-case hex of n bytes, 2n characters and a NUL. */
void digest_hex(const uint8_t *data, size_t n, char *out);

/* The n bytes that 2n hex digits of text say. False where there are fewer. */
MS_MUST_CHECK bool digest_unhex(const char *text, size_t n, uint8_t *out);

#endif
