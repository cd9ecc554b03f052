/* What `send` and `send-json` have in common: one message, from an argument or standard input. */
#ifndef MSOCK_SEND_MESSAGE_H
#define MSOCK_SEND_MESSAGE_H

#include "session.h"

#include <stdio.h>

struct send_kind {
    const char *command; /* "msock send --help", for hints */
    const char *label;   /* before the bar */
    int at_file;         /* @FILE means the file's content */
    char kind;           /* of the message: 'A' or 'J' */
    enum msock_status (*send)(msock *m, const void *data, size_t n);
    void (*help)(FILE *out);
};

/* What can be read from fd, a message for each line. Says what is wrong, and how many lines were
 * taken. Returns the exit status. */
int send_lines(const struct session_options *options, msock *m, char kind, int fd);

/* The whole command. Returns the exit status. */
int send_message(const struct send_kind *kind, int argc, char **argv, const char *url);

#endif
