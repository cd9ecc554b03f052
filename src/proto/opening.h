/* Sealed bodies while they arrive (docs/protocol.md 7): each chunk is opened as soon as it is
 * there, and only what has been proved is kept. */
#ifndef PROTO_OPENING_H
#define PROTO_OPENING_H

#include "common/seal.h"
#include "proto/message.h"

/* The opened half of a message whose bytes are sealed. The message itself counts and sums the bytes
 * on the wire, keeps none of them, and owns this. */
struct opening;

#define OPENING_REFUSED "the message cannot be opened with this listener's key"

/* plain: where the body goes; it becomes the opening's. proto is static. NULL where there is no
 * memory, and then plain is destroyed. */
struct opening *opening_create(const struct seal *seal, const char *proto, struct message *plain);
void opening_destroy(struct opening *o); /* NULL is fine */

/* More sealed bytes. Those of a chunk that cannot be opened, and all behind it, are dropped. */
void opening_append(struct opening *o, const uint8_t *data, size_t n);

/* As message_mark and message_rollback. */
void opening_mark(struct opening *o);
void opening_rollback(struct opening *o);

/* Some of it cannot be opened: with what has come so far it is refused. */
bool opening_is_refused(const struct opening *o);

/* What has been opened so far; still the opening's. */
struct message *opening_plain(const struct opening *o);

/* m, whose body was sealed, is whole, and kind and value are known: opens the last chunk. Returns 0
 * and the message as it was sent, finished and with all of m's marks, which is the caller's; or -1
 * with errno: EBADMSG, or why it cannot be stored. m stays the caller's. */
MS_MUST_CHECK int opening_finish(struct message *m, struct message **plain_out);

/* A new message in that store with the sealed bytes of those n, finished. NULL with errno. */
struct message *opening_seal(struct message_store *store, const struct seal *seal,
                             const struct seal_about *about, const void *data, size_t n);

#endif
