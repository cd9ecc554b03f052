/* XAES-256-GCM (https://c2sp.org/XAES-256-GCM) by libcrypto: AES-256-GCM under a key that CMAC
 * derives from a lasting key and the front of a nonce of 24 bytes. So a nonce can be random, and
 * what shares its front can be sealed in many pieces after one derivation. */
#ifndef COMMON_XAES_H
#define COMMON_XAES_H

#include "common/base.h"

#include <sys/uio.h>

#define XAES_KEY_LEN   32
#define XAES_FRONT_LEN 12 /* of the nonce: the key is derived with it */
#define XAES_BACK_LEN  12 /* of the nonce: AES-256-GCM's own */
#define XAES_TAG_LEN   16
#define XAES_RUN_MAX   ((size_t)1 << 30) /* bytes in one call; libcrypto counts in int */

struct xaes_key; /* a lasting key; wiped when it is destroyed */
struct xaes;     /* a derived key; used by one thread at a time */

/* NULL where libcrypto does not have what it takes, or there is no memory. */
struct xaes_key *xaes_key_create(const uint8_t key[XAES_KEY_LEN]);
void xaes_key_destroy(struct xaes_key *key); /* NULL is fine */

/* Any thread. The key for all nonces with that front. NULL where libcrypto fails. */
struct xaes *
xaes_begin(const struct xaes_key *key, const uint8_t front[XAES_FRONT_LEN], bool encrypt);
void xaes_end(struct xaes *x); /* NULL is fine */

/* Seals n bytes, or opens n bytes whose last XAES_TAG_LEN are the tag, as xaes_begin had it: out
 * gets n + XAES_TAG_LEN bytes, or as many less; it may be the same memory as in. aad: the pieces of
 * the additional data. Returns 0, or -1 with errno EBADMSG: they were changed, or libcrypto fails;
 * out is then wiped. */
MS_MUST_CHECK int
xaes_run(struct xaes *x, const uint8_t back[XAES_BACK_LEN], const struct iovec *aad,
         size_t aad_count, const void *in, size_t n, uint8_t *out);

#endif
