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

/* A fresh digest of no bytes. Never NULL. Give it back with sha256_release. */
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

/* --- seal.c --- */

/* Sealed payloads: AES-256-GCM by libcrypto, under a key that both sides have in a file. Whoever
 * does not have the key can neither read nor change them, nor send one back to where it came from.
 *
 *   offset  size  field
 *        0     4  "MSK1"
 *        4    12  nonce, random
 *       16     n  the payload, encrypted
 *     16+n    16  tag, over the payload and SEAL_TO_SERVER or SEAL_TO_CLIENT */

#define SEAL_OVERHEAD  32
#define SEAL_KEY_LEN   32
#define SEAL_ERROR_LEN 256

enum seal_direction {
    SEAL_TO_SERVER = '>',
    SEAL_TO_CLIENT = '<',
};

struct seal; /* one key; wiped when it is destroyed */

/* Reads a key file: 32 bytes, or 64 hex digits with or without a newline. A file that others may
 * read (mode & 077) or that is no regular file is refused. Returns 0, or -1 with a sentence in
 * error. */
MS_MUST_CHECK int
seal_key_read(const char *path, uint8_t key_out[SEAL_KEY_LEN], char error[SEAL_ERROR_LEN]);

/* 16 hex digits that tell one key from another, and nothing else about it. */
#define SEAL_KEY_NAME_LEN 17
void seal_key_name(const uint8_t key[SEAL_KEY_LEN], char out[SEAL_KEY_NAME_LEN]);

/* A seal with that key, or with that of a file. NULL with a sentence in error. */
struct seal *seal_create(const uint8_t key[SEAL_KEY_LEN], char error[SEAL_ERROR_LEN]);
struct seal *seal_open(const char *path, char error[SEAL_ERROR_LEN]);
void seal_close(struct seal *seal); /* NULL is fine */

/* Any thread. Fills out (n + SEAL_OVERHEAD bytes). Returns 0, or -1 where libcrypto fails. */
MS_MUST_CHECK int seal_encrypt(const struct seal *seal, enum seal_direction to, const void *in,
                               size_t n, uint8_t *out);

/* Any thread. Fills out (n - SEAL_OVERHEAD bytes). Returns 0, or -1 with errno: ENOMEM, or EBADMSG:
 * too short, another key, changed on the way, or meant for the other direction; out is then wiped.
 */
MS_MUST_CHECK int seal_decrypt(const struct seal *seal, enum seal_direction to, const void *in,
                               size_t n, uint8_t *out);

#endif
