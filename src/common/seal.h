/* Sealed payloads: AES-256-GCM by libcrypto, under a key that both sides have in a file. Whoever
 * does not have the key can neither read nor change them, nor send one back to where it came from.
 *
 *   offset  size  field
 *        0     4  "MSK1"
 *        4    12  nonce, random
 *       16     n  the payload, encrypted
 *     16+n    16  tag, over the payload and SEAL_TO_SERVER or SEAL_TO_CLIENT */
#ifndef COMMON_SEAL_H
#define COMMON_SEAL_H

#include "common/base.h"

#define SEAL_OVERHEAD  32
#define SEAL_KEY_LEN   32
#define SEAL_ERROR_LEN 256

enum seal_direction {
    SEAL_TO_SERVER = '>',
    SEAL_TO_CLIENT = '<',
};

struct seal; /* one key; wiped when it is destroyed */

/* Reads a key file: 32 bytes, or 64 hex digits with or without a newline. A file that others may
 * read (mode & 077) or that is no regular file is refused. NULL with a sentence in error. */
struct seal *seal_open(const char *path, char error[SEAL_ERROR_LEN]);
void seal_close(struct seal *seal); /* NULL is fine */

/* Fills out (n + SEAL_OVERHEAD bytes). Returns 0, or -1 where libcrypto fails. */
MS_MUST_CHECK int
seal_encrypt(struct seal *seal, enum seal_direction to, const void *in, size_t n, uint8_t *out);

/* Fills out (n - SEAL_OVERHEAD bytes). Returns 0, or -1: too short, another key, changed on the
 * way, or meant for the other direction; out is then wiped. */
MS_MUST_CHECK int
seal_decrypt(struct seal *seal, enum seal_direction to, const void *in, size_t n, uint8_t *out);

#endif
