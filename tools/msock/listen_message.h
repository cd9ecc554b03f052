/* What `msock listen` does with one message: shows it, or gives it to a program. */
#ifndef MSOCK_LISTEN_MESSAGE_H
#define MSOCK_LISTEN_MESSAGE_H

#include "msock_server.h"

#include <stdbool.h>

struct listen_options {
    bool json;
    bool terminal;       /* standard output is one: nothing may drive it */
    const char *command; /* for /bin/sh -c; NULL: none */
};

/* Settles the message, and only after what was printed has left. Returns 0, or -1 where it could
 * not be printed, with errno; the message has failed then. */
int listen_message(const struct listen_options *options, msock_message *m);

#endif
