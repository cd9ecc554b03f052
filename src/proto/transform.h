/* Transforms ("plugins", docs/protocol.md 2): an ordered list of callbacks that change a payload
 * before it is sent, first to last, and after it was received, last to first. They change the
 * payload, not the framing, and stand between the protocol and the handler: the same for every
 * protocol. */
#ifndef PROTO_TRANSFORM_H
#define PROTO_TRANSFORM_H

#include "common/digest.h"
#include "proto/message.h"

#define TRANSFORMS_MAX     8
#define TRANSFORM_BODY_MAX ((uint64_t)256 << 20) /* bytes; a larger payload is not transformed */

/* in_len bytes become *out_len bytes in *out, malloc'ed. Returns 0, or another value and leaves
 * nothing to free. errno tells then whose fault it was: ENOMEM, ENOSPC, EDQUOT, EFBIG, EIO, EMFILE
 * and ENFILE are the environment's, and all else is the payload's. */
typedef int (*transform_fn)(void *arg, const void *in, size_t in_len, void **out, size_t *out_len);

struct transform {
    transform_fn send, receive; /* NULL: no change */
    void *arg;
    void (*free_arg)(void *arg); /* NULL: the caller's */
    bool any_thread;             /* receive may be called in any, and in several at once */
};

struct transforms {
    size_t count;
    struct transform list[TRANSFORMS_MAX];
};

/* Appends one; its arg is the list's where it has a free_arg. Returns 0, or -1 with errno
 * ENOSPC. */
MS_MUST_CHECK int transforms_add(struct transforms *t, const struct transform *transform);
void transforms_fini(struct transforms *t);

/* Returns 0 and *out_out, which the caller frees, or -1 with errno: EBADMSG where one of them
 * refused the payload, another value where the environment failed. With an empty list the result is
 * a copy. */
MS_MUST_CHECK int transforms_send(const struct transforms *t, const void *in, size_t n,
                                  void **out_out, size_t *out_len_out);
MS_MUST_CHECK int transforms_receive(const struct transforms *t, const void *in, size_t n,
                                     void **out_out, size_t *out_len_out);

bool transforms_any_thread(const struct transforms *t);

/* A new message in that store with the body that `m` (received, finished) becomes, everything else
 * as in m: kind, value, tag, reply, owner, begun_us; its sha256 is that of the new body. m stays
 * the caller's, and only its body is looked at: any thread, with a store of its own.
 * Returns 0, or -1 with errno: EBADMSG where a transform refused it or it is over
 * TRANSFORM_BODY_MAX, another value where the environment failed. */
MS_MUST_CHECK int
transforms_receive_message(const struct transforms *t, const struct message *m,
                           struct message_store *store, struct message **made_out);

/* --- sealing (transform.c) --- */

/* The transform that seals payloads (common/digest.h). */

/* Reads the key file and fills *out, whose arg transforms_fini frees: it seals payloads to the side
 * `to`, and opens those from there. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int transform_seal(const char *key_file, enum seal_direction to,
                                 struct transform *transform_out, char error[SEAL_ERROR_LEN]);

/* The same with a key that has been read. */
MS_MUST_CHECK int transform_seal_with(const uint8_t key[SEAL_KEY_LEN], enum seal_direction to,
                                      struct transform *transform_out, char error[SEAL_ERROR_LEN]);

#endif
