/* File descriptors: see the header. Nothing here logs; errno is the whole report. */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

void
fd_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd); /* never again: after EINTR Linux has closed it all the same */
    *fd = -1;
    errno = saved;
}

int
fd_move_up(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    fd_close(&fd);
    return moved;
}

bool
fd_is_named(int fd, int dir_fd, const char *name)
{
    struct stat is, named;

    return fstat(fd, &is) == 0 && fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           is.st_dev == named.st_dev && is.st_ino == named.st_ino;
}

const struct dirent *
fd_read_dir(DIR *dir)
{
    errno = 0;
    return readdir(dir);
}

int
fd_steal(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

ssize_t
fd_read(int fd, void *buf, size_t n)
{
    ssize_t got;

    do
        got = read(fd, buf, n);
    while (got < 0 && errno == EINTR);
    return got;
}

int
fd_write_by(fd_write_fn how, int fd, const void *buf, size_t n, off_t offset)
{
    const char *p = buf;

    while (n > 0) {
        ssize_t done = how(fd, p, n, offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = EIO;
        if (done <= 0)
            return -1;
        p += done;
        n -= (size_t)done;
        offset += done;
    }
    return 0;
}

static ssize_t
fd_write_here(int fd, const void *buf, size_t n, off_t offset)
{
    (void)offset;
    return write(fd, buf, n);
}

int
fd_write_all(int fd, const void *buf, size_t n)
{
    return fd_write_by(fd_write_here, fd, buf, n, 0);
}

/* SIGXFSZ ends a process, and in libmsock its disposition is the host's. */
static bool
fd_fits_limit(size_t n, off_t offset)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
           (rlim_t)offset + n <= limit.rlim_cur;
}

int
fd_pwrite_all(int fd, const void *buf, size_t n, off_t offset)
{
    if (offset < 0 || !fd_fits_limit(n, offset)) {
        errno = offset < 0 ? EINVAL : EFBIG;
        return -1;
    }
    return fd_write_by(pwrite, fd, buf, n, offset);
}

int
fd_read_by(fd_read_fn how, int fd, void *buf, size_t n, off_t offset)
{
    char *p = buf;

    while (n > 0) {
        ssize_t got = how(fd, p, n, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO;
        if (got <= 0)
            return -1;
        p += got;
        n -= (size_t)got;
        offset += got;
    }
    return 0;
}

int
fd_pread_all(int fd, void *buf, size_t n, off_t offset)
{
    return fd_read_by(pread, fd, buf, n, offset);
}

/* Reads to the end of the file into memory that grows: the size that fstat told may have changed
 * meanwhile, and files under /proc say 0. */
static int
fd_slurp(int fd, size_t hint, size_t max, char **data_out, size_t *len_out)
{
    size_t cap = hint + 1, len = 0;
    char *data = malloc(cap), *larger;
    ssize_t got;

    if (data == NULL)
        return -1;
    while ((got = fd_read(fd, data + len, cap - len)) > 0) {
        len += (size_t)got;
        if (len > max) {
            errno = EFBIG;
            goto fail;
        }
        if (len < cap)
            continue;
        larger = realloc(data, cap * 2);
        if (larger == NULL)
            goto fail;
        data = larger;
        cap *= 2;
    }
    if (got < 0)
        goto fail;
    data[len] = '\0';
    *data_out = data;
    *len_out = len;
    return 0;
fail:
    free(data);
    return -1;
}

int
fd_read_file(const char *path, size_t max, char **data_out, size_t *len_out)
{
    /* O_NONBLOCK: a FIFO of that name must not hold us up. */
    int fd = fd_above_standard(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    int rc = -1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        goto out;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        goto out;
    }
    if (st.st_size > 0 && (uint64_t)st.st_size > max) {
        errno = EFBIG;
        goto out;
    }
    rc = fd_slurp(fd, (size_t)st.st_size, max, data_out, len_out);
out:
    fd_close(&fd);
    return rc;
}

void
fd_fill_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_PATH);
    while (fd >= 0 && fd <= STDERR_FILENO);
    fd_close(&fd);
}

void
fd_ring_bell(int fd)
{
    const uint64_t once = 1;
    uint64_t rung;

    while (write(fd, &once, sizeof(once)) < 0 && (errno == EINTR || errno == EAGAIN))
        if (errno == EAGAIN)
            (void)!read(fd, &rung, sizeof(rung));
}

int
fd_set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

unsigned long
fd_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur != limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur;
}

bool
fd_is_shut(int fd)
{
    struct pollfd event = {.fd = fd, .events = POLLRDHUP};

    return poll(&event, 1, 0) > 0;
}

int
fd_open_unlinked(const char *dir, const char *prefix)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/%sXXXXXX", dir, prefix) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd_above_standard(fd);
}

const char *
fd_scratch_dir(void)
{
    const char *dir = secure_getenv("TMPDIR");

    return dir != NULL && dir[0] != '\0' ? dir : "/tmp";
}

int
fd_open_scratch(void)
{
    return fd_open_unlinked(fd_scratch_dir(), "msock-");
}
