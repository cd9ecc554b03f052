#include "input.h"

#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int
input_grow(char **data, size_t *size)
{
    size_t larger = *size == 0 ? 65536 : *size * 2;
    char *grown = realloc(*data, larger);

    if (grown == NULL)
        return -1;
    *data = grown;
    *size = larger;
    return 0;
}

int
input_read_fd(int fd, char **data_out, size_t *len_out)
{
    char *data = NULL;
    size_t len = 0, size = 0;
    int rc = -1;
    ssize_t n;

    do {
        if (size - len < 2 && input_grow(&data, &size) < 0)
            goto out;
        n = read(fd, data + len, size - len - 1);
        if (n > 0)
            len += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0)
        goto out;
    data[len] = '\0';
    *data_out = data;
    *len_out = len;
    data = NULL;
    rc = 0;
out:
    free(data);
    return rc;
}

int
input_read_file(const char *path, char **data_out, size_t *len_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc, error;

    if (fd < 0)
        return -1;
    rc = input_read_fd(fd, data_out, len_out);
    error = errno;
    close(fd);
    errno = error;
    return rc;
}

static int
input_stdin(const char *argument, char **data_out, size_t *len_out)
{
    if (argument == NULL && isatty(STDIN_FILENO)) {
        say_error("nothing to send: give it as an argument, or - to type it in");
        return EX_USAGE;
    }
    if (input_read_fd(STDIN_FILENO, data_out, len_out) < 0) {
        say_error("cannot read standard input: %s", strerror(errno));
        return EX_NOINPUT;
    }
    return EX_OK;
}

int
input_message(const char *argument, int at_file, char **data_out, size_t *len_out)
{
    char *copy;

    if (argument == NULL || strcmp(argument, "-") == 0)
        return input_stdin(argument, data_out, len_out);
    if (at_file && argument[0] == '@') {
        if (input_read_file(argument + 1, data_out, len_out) == 0)
            return EX_OK;
        say_error("cannot read %s: %s", argument + 1, strerror(errno));
        return EX_NOINPUT;
    }
    copy = strdup(argument);
    if (copy == NULL) {
        say_error("no memory");
        return EX_OSERR;
    }
    *data_out = copy;
    *len_out = strlen(copy);
    return EX_OK;
}
