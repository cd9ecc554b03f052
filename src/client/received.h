/* What the server has sent, as the program is to see it: after the transforms, last to first. */
#ifndef CLIENT_RECEIVED_H
#define CLIENT_RECEIVED_H

#include "client/handle.h"

/* Returns the bytes of a message in memory of their own (free), NUL-terminated besides, and
 * destroys the message. NULL with a sentence in the handle: a transform has refused it, or there is
 * no memory. */
char *received_message(struct msock *m, struct message *message, size_t *n_out);

#endif
