/* Transforms ("plugins", docs/protocol.md 2): an ordered list of callbacks that change a payload
 * before it is sent, first to last, and after it was received, last to first. They change the
 * payload, not the framing, and stand between the protocol and the handler: the same for every
 * protocol. */
#ifndef PROTO_TRANSFORM_H
#define PROTO_TRANSFORM_H

#include "common/seal.h"
#include "proto/message.h"

#define TRANSFORMS_MAX     8
#define TRANSFORM_BODY_MAX ((uint64_t)256 << 20) /* bytes; a larger payload is not transformed */

/* in_len bytes become *out_len bytes in *out, malloc'ed. Returns 0, or another value and leaves
 * nothing to free. errno tells then whose fault it was: ENOMEM, ENOSPC, EDQUOT, EFBIG, EIO, EMFILE
 * and ENFILE are the environment's, and all else is the payload's. */
typedef int (*transform_fn)(void *arg, const void *in, size_t in_len, void **out, size_t *out_len);

struct transform {
    transform_fn send, receive; /* NULL: no change */
    void *arg;                  /* the caller's */
    struct seal *seal;          /* in place of these; or NULL */
};

struct transforms {
    size_t count;
    struct transform list[TRANSFORMS_MAX];
};

/* Appends one; its seal is the list's then. Returns 0, or -1 with errno ENOSPC. */
MS_MUST_CHECK int transforms_add(struct transforms *t, const struct transform *transform);
void transforms_fini(struct transforms *t);

/* The seal that what was sent is opened with first; NULL: there is none. */
const struct seal *transforms_seal(const struct transforms *t);

/* How many of them need the payload in one piece. */
size_t transforms_whole(const struct transforms *t);

/* about: the message whose payload it is, for seals. Returns 0 and *out_out, which the caller
 * frees, or -1 with errno: EBADMSG where one of them refused the payload, another value where the
 * environment failed. With an empty list the result is a copy. */
MS_MUST_CHECK int transforms_send(const struct transforms *t, const struct seal_about *about,
                                  const void *in, size_t n, void **out_out, size_t *out_len_out);
MS_MUST_CHECK int transforms_receive(const struct transforms *t, const struct seal_about *about,
                                     const void *in, size_t n, void **out_out, size_t *out_len_out);

/* A new message in that store with the body that `m` (received, finished, and opened already where
 * it was sealed) becomes, everything else as in m: kind, value, tag, reply, owner, begun_us; its
 * sha256 is that of the new body. m stays the caller's. Returns 0, or -1 with errno: EBADMSG where
 * a transform refused it or it is over TRANSFORM_BODY_MAX, another value where the environment
 * failed. */
MS_MUST_CHECK int
transforms_receive_message(const struct transforms *t, const struct message *m,
                           struct message_store *store, struct message **made_out);

#endif
