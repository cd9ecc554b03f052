/* What the server has sent, as the program is to see it: after the transforms, last to first. */
#ifndef CLIENT_RECEIVED_H
#define CLIENT_RECEIVED_H

#include "client/handle.h"

/* Returns *n_out bytes in memory of their own (free), NUL-terminated besides, or NULL with a
 * sentence in the handle: a transform has refused, or there is no memory. */
char *received_bytes(struct msock *m, const void *data, size_t n, size_t *n_out);

/* The same of a message, which is destroyed. */
char *received_message(struct msock *m, struct message *message, size_t *n_out);

#endif
