/* Sealed payloads (docs/protocol.md 7): under a key that both sides have in a file, in chunks, each
 * with a tag of its own. Whoever does not have the key can neither read nor change them, nor take
 * one for another: what a payload belongs to is in its tags. */
#ifndef COMMON_SEAL_H
#define COMMON_SEAL_H

#include "common/xaes.h"

#define SEAL_KEY_LEN   XAES_KEY_LEN
#define SEAL_KEYS_MAX  8
#define SEAL_ID_LEN    8 /* of a key: the front of its SHA-256 */
#define SEAL_ERROR_LEN 256

/* The header in front of the chunks:
 *
 *   offset  size  field
 *        0     4  "MSK2"
 *        4     8  the id of the key
 *       12    19  the front of all nonces, random
 *       31     8  the bytes of the payload */
#define SEAL_HEADER 39
#define SEAL_CHUNK  ((size_t)64 << 10) /* bytes of the payload; the last chunk has the rest */
#define SEAL_TAG    XAES_TAG_LEN       /* behind each chunk */

/* --- seal_keys.c --- */

/* The keys of a file. The first one seals; all of them open. */
struct seal_keys {
    size_t count; /* 0: nothing is sealed */
    uint8_t key[SEAL_KEYS_MAX][SEAL_KEY_LEN];
};

/* Reads a key file: 32 bytes, or lines of 64 hex digits. Empty lines and those that begin with "#"
 * say nothing. A file that is no regular one, that others than its owner may use (mode & 077), or
 * that belongs to somebody else than root and this process, is refused. Returns 0, or -1 with a
 * sentence in error. */
MS_MUST_CHECK int
seal_keys_read(const char *path, struct seal_keys *keys_out, char error[SEAL_ERROR_LEN]);
void seal_keys_wipe(struct seal_keys *keys);

/* --- seal.c --- */

/* Who gets a payload. */
enum seal_direction {
    SEAL_TO_SERVER = '>',
    SEAL_TO_CLIENT = '<',
};

/* The message whose payload it is. */
struct seal_about {
    const char *proto; /* the name of its protocol; static */
    uint8_t kind;      /* 'A', 'J' or 'F'; 'A' where the protocol has no kinds */
    const char *value; /* its id or path; of a reply, those of the message it answers */
    size_t value_len;
};

struct seal; /* keys and a direction */

/* Seals payloads to `to`, and opens those from there. NULL with a sentence in error. */
struct seal *
seal_create(const struct seal_keys *keys, enum seal_direction to, char error[SEAL_ERROR_LEN]);
struct seal *seal_open(const char *path, enum seal_direction to, char error[SEAL_ERROR_LEN]);
void seal_close(struct seal *seal); /* NULL is fine */

/* Bytes that n bytes become. */
uint64_t seal_size(uint64_t n);

/* One payload, chunk by chunk; used by one thread at a time. */
struct seal_stream;

/* Begins to seal a payload of so many bytes, and makes the header. NULL where libcrypto fails. */
struct seal_stream *seal_stream_begin(const struct seal *seal, const char *proto, uint64_t size,
                                      uint8_t header_out[SEAL_HEADER]);

/* Begins to open what has that header. NULL with errno: EBADMSG where it is none, or its key is not
 * there; ENOMEM. */
struct seal_stream *
seal_stream_open(const struct seal *seal, const char *proto, const uint8_t header[SEAL_HEADER]);
void seal_stream_end(struct seal_stream *s); /* NULL is fine */

/* The bytes of the payload in its next chunk; has that chunk the rest of them? */
size_t seal_stream_next(const struct seal_stream *s);
bool seal_stream_is_last(const struct seal_stream *s);

/* The number of the next chunk, and back to an earlier one. */
uint32_t seal_stream_tell(const struct seal_stream *s);
void seal_stream_seek(struct seal_stream *s, uint32_t chunk);

/* Seals the next chunk, seal_stream_next bytes, into SEAL_TAG bytes more; or opens it from there.
 * out may be the same memory as in. about: looked at with the last chunk. Returns 0, or -1 with
 * errno EBADMSG. */
MS_MUST_CHECK int seal_stream_run(struct seal_stream *s, const struct seal_about *about,
                                  const uint8_t *in, uint8_t *out);

/* All in one piece: n bytes become seal_size(n) bytes in out. Returns 0, or -1 where libcrypto
 * fails. Any thread. */
MS_MUST_CHECK int seal_encrypt(const struct seal *seal, const struct seal_about *about,
                               const void *in, size_t n, uint8_t *out);

/* The other way: out has room for n bytes, and gets *len_out. Returns 0, or -1 with errno: ENOMEM,
 * or EBADMSG; out is then wiped. Any thread. */
MS_MUST_CHECK int seal_decrypt(const struct seal *seal, const struct seal_about *about,
                               const void *in, size_t n, uint8_t *out, size_t *len_out);

#endif
