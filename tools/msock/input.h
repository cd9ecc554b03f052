/* Reading what is to be sent. */
#ifndef MSOCK_INPUT_H
#define MSOCK_INPUT_H

#include <stddef.h>

/* Reads a descriptor to its end into *data_out (NUL-terminated, caller frees). Returns 0, or -1
 * with errno. Blocks. */
int input_read_fd(int fd, char **data_out, size_t *len_out);

/* The same for a file by name. */
int input_read_file(const char *path, char **data_out, size_t *len_out);

/* The message that a command line means: the argument; standard input for "-", and for no argument
 * where standard input is not a terminal; the named file for "@FILE" where at_file is set. Says
 * what is wrong itself. Returns EX_OK with *data_out (caller frees), EX_USAGE, EX_NOINPUT or
 * EX_OSERR. */
int input_message(const char *argument, int at_file, char **data_out, size_t *len_out);

#endif
