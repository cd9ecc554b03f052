/* The file with the keys of sealed payloads. */
#include "common/digest.h"
#include "common/fd.h"
#include "common/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS_FILE_MAX 4096

/* Why nobody should trust that file, as a sentence; true where there is no reason. */
static bool
seal_keys_trust(const char *path, const struct stat *st, char error[SEAL_ERROR_LEN])
{
    if (!S_ISREG(st->st_mode))
        snprintf(error, SEAL_ERROR_LEN, "the key file %.100s is not a regular file", path);
    else if (st->st_uid != 0 && st->st_uid != geteuid())
        snprintf(error, SEAL_ERROR_LEN,
                 "the key file %.60s belongs to uid %u, who can change it: chown %u %.60s", path,
                 (unsigned)st->st_uid, (unsigned)geteuid(), path);
    else if ((st->st_mode & 077) != 0)
        snprintf(error, SEAL_ERROR_LEN,
                 "the key file %.60s is open to others than its owner (mode %03o): chmod 600 %.60s",
                 path, (unsigned)st->st_mode & 0777, path);
    else
        return true;
    return false;
}

/* Reads up to max bytes of it. Returns how many, or -1 with a sentence. */
static ssize_t
seal_keys_load(const char *path, char *text, size_t max, char error[SEAL_ERROR_LEN])
{
    struct stat st;
    size_t len = 0;
    ssize_t got = 1;
    /* O_NONBLOCK: a FIFO of that name must not hold us up. */
    int fd = fd_above_standard(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(error, SEAL_ERROR_LEN, "the key file %.100s cannot be opened: %s", path,
                 strerror(errno));
        got = -1;
    } else if (!seal_keys_trust(path, &st, error)) {
        got = -1;
    }
    while (got > 0 && len < max) {
        got = fd_read(fd, text + len, max - len);
        len += got > 0 ? (size_t)got : 0;
        if (got < 0)
            snprintf(error, SEAL_ERROR_LEN, "the key file %.100s cannot be read: %s", path,
                     strerror(errno));
    }
    fd_close(&fd);
    return got < 0 ? -1 : (ssize_t)len;
}

/* One line without its newline. False where it is neither a key nor nothing. */
static bool
seal_keys_line(const char *line, size_t n, struct seal_keys *keys)
{
    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (n == 0 || line[0] == '#')
        return true;
    return n == 2 * (size_t)SEAL_KEY_LEN && keys->count < SEAL_KEYS_MAX &&
           digest_unhex(line, SEAL_KEY_LEN, keys->key[keys->count++]);
}

static bool
seal_keys_parse(const char *text, size_t n, struct seal_keys *keys)
{
    if (n == SEAL_KEY_LEN) {
        memcpy(keys->key[keys->count++], text, n);
        return true;
    }
    for (size_t at = 0; at < n;) {
        const char *newline = memchr(text + at, '\n', n - at);
        size_t end = newline != NULL ? (size_t)(newline - text) : n;

        if (!seal_keys_line(text + at, end - at, keys))
            return false;
        at = end + 1;
    }
    return keys->count > 0;
}

int
seal_keys_read(const char *path, struct seal_keys *keys_out, char error[SEAL_ERROR_LEN])
{
    char text[KEYS_FILE_MAX];
    struct seal_keys keys = {0};
    ssize_t n = seal_keys_load(path, text, sizeof(text), error);
    int rc = -1;

    if (n < 0)
        return -1;
    if (n < KEYS_FILE_MAX && seal_keys_parse(text, (size_t)n, &keys)) {
        *keys_out = keys;
        rc = 0;
    } else {
        snprintf(error, SEAL_ERROR_LEN,
                 "the key file %.100s holds neither 32 bytes nor 1 to %d lines of 64 hex digits",
                 path, SEAL_KEYS_MAX);
    }
    explicit_bzero(text, sizeof(text));
    seal_keys_wipe(&keys);
    return rc;
}

void
seal_keys_wipe(struct seal_keys *keys)
{
    explicit_bzero(keys, sizeof(*keys));
}
