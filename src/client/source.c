/* Opens what a program wants to send, and gives its bytes to a protocol piece by piece.
 * Invariant: a source that has changed by the end is an error. */
#include "client/handle.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_READ 65536

/* Takes fd, which is as st says. */
static void
source_begin(struct source *source_out, int fd, const struct stat *st)
{
    *source_out = (struct source){.fd = fd, .size = (uint64_t)st->st_size, .changed = st->st_mtim};
}

/* Waits for whoever writes to a pipe, and reads. */
static ssize_t
source_next(struct waiter *waiter, int fd, char *piece)
{
    ssize_t n;

    do {
        (void)wait_until(waiter, fd, POLLIN, UINT64_MAX);
        if (waiter->is_ended) {
            errno = ECANCELED;
            return -1;
        }
        n = fd_read(fd, piece, SPOOL_READ);
    } while (n < 0 && errno == EAGAIN);
    return n;
}

/* Reads fd to its end into an unnamed file. */
static int
source_spool(struct source *source_out, int fd, struct waiter *waiter)
{
    int rc = -1, copy = fd_open_scratch();
    char *piece = malloc(SPOOL_READ);
    struct stat st;
    off_t size = 0;
    ssize_t n;

    if (copy < 0)
        rc = SOURCE_NO_COPY;
    if (copy < 0 || piece == NULL)
        goto out;
    for (; (n = source_next(waiter, fd, piece)) > 0; size += n) {
        if (fd_pwrite_all(copy, piece, (size_t)n, size) < 0) {
            rc = SOURCE_NO_COPY;
            goto out;
        }
    }
    if (n < 0 || fstat(copy, &st) < 0)
        goto out;
    source_begin(source_out, fd_steal(&copy), &st);
    rc = 0;
out:
    free(piece);
    fd_close(&copy);
    return rc;
}

/* Files of /proc say that they are empty and are not; those of /sys say more than they hold. */
static bool
source_tells_size(int fd, const struct stat *st)
{
    char byte;

    return S_ISREG(st->st_mode) && st->st_size > 0 && pread(fd, &byte, 1, st->st_size - 1) == 1;
}

bool
source_is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int
source_open(struct source *source_out, const char *path, struct waiter *waiter)
{
    int rc = -1;
    struct stat st;
    /* O_NONBLOCK: a FIFO may have no writer yet. Its reader waits for one. */
    int fd = fd_above_standard(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

    if (fd < 0 && errno == ENXIO && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        errno = ENOTSUP;
    if (fd < 0 || fstat(fd, &st) < 0)
        goto out;
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : ENXIO;
        goto out;
    }
    if (!source_tells_size(fd, &st)) {
        rc = source_spool(source_out, fd, waiter);
        goto out;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    source_begin(source_out, fd_steal(&fd), &st);
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}

int
source_take(struct source *source_out, int fd, struct waiter *waiter)
{
    struct stat st;
    int copy;

    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return -1;
    }
    if (!source_tells_size(fd, &st) || lseek(fd, 0, SEEK_CUR) != 0)
        return source_spool(source_out, fd, waiter);
    copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (copy < 0)
        return -1;
    source_begin(source_out, copy, &st);
    return 0;
}

void
source_close(struct source *source)
{
    fd_close(&source->fd);
}

static int
source_unchanged(void *arg)
{
    const struct source *source = arg;
    struct stat st;
    char byte;
    ssize_t n;

    if (fstat(source->fd, &st) < 0)
        return -1;
    do {
        n = pread(source->fd, &byte, 1, (off_t)source->size);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    errno = EBUSY;
    if (n != 0 || (uint64_t)st.st_size != source->size)
        return -1;
    errno = ESTALE;
    return st.st_mtim.tv_sec == source->changed.tv_sec &&
                   st.st_mtim.tv_nsec == source->changed.tv_nsec
               ? 0
               : -1;
}

static int
source_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct source *source = arg;
    int error;

    if (fd_pread_all(source->fd, buf, n, (off_t)offset) == 0)
        return 0;
    error = errno;
    /* EIO also where the file ends before. */
    errno = error == EIO && source_unchanged(source) < 0 ? EBUSY : error;
    return -1;
}

void
source_attach(struct source *source, struct outgoing *out)
{
    out->data = NULL;
    out->size = source->size;
    out->read = source_pread;
    out->unchanged = source_unchanged;
    out->arg = source;
}

int
source_read(struct source *source, uint8_t **data_out)
{
    uint8_t *data = malloc(source->size > 0 ? source->size : 1);

    if (data == NULL)
        return -1;
    if (source_pread(source, data, source->size, 0) < 0 || source_unchanged(source) < 0) {
        free(data);
        return -1;
    }
    *data_out = data;
    return 0;
}
