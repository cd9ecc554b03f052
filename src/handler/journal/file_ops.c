/* The plain system calls behind struct file_ops. */
#include "handler/journal/file_ops.h"

#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOCK_TRIES    5000
#define LOCK_PAUSE_US 1000

/* No file is so large. The lock of a whole file ends there, and marks are locks behind it. */
#define LOCK_END ((off_t)1 << 62)

static int
file_create(int dir_fd, const char *name)
{
    return openat(dir_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
}

static int
file_make_dir(int dir_fd, const char *name)
{
    return mkdirat(dir_fd, name, 0750);
}

static int
file_link_fd(int fd, int dir_fd, const char *name)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != ENOENT)
        return -1;
    /* Perhaps /proc is not mounted; this needs a privilege, or a newer kernel. */
    return linkat(fd, "", dir_fd, name, AT_EMPTY_PATH);
}

/* Somebody else may hold it for ever, and a commit must come to an end. */
static int
file_lock_dir(int fd)
{
    for (unsigned tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if ((errno != EAGAIN && errno != EINTR) || tries == LOCK_TRIES)
            return -1;
        usleep(LOCK_PAUSE_US);
    }
    return 0;
}

/* Nobody who takes the lock of the directory puts a file there meanwhile; another program could.
 * The lock is that of the open directory, of which a process has one for each thread. */
static int
file_rename_locked(int from_fd, const char *from, int to_fd, const char *to)
{
    struct stat st;
    int rc = -1, saved;

    if (file_lock_dir(to_fd) < 0)
        return -1;
    if (fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = EEXIST;
    else if (errno == ENOENT)
        rc = renameat(from_fd, from, to_fd, to);
    saved = errno;
    (void)flock(to_fd, LOCK_UN);
    errno = saved;
    return rc;
}

/* A link does not replace either. Where the file system has none, and where it is not allowed, the
 * rename says what is really wrong. */
static int
file_rename_by_link(int from_fd, const char *from, int to_fd, const char *to)
{
    if (linkat(from_fd, from, to_fd, to, 0) == 0) {
        (void)unlinkat(from_fd, from, 0);
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -1;
    return file_rename_locked(from_fd, from, to_fd, to);
}

static int
file_rename(int from_fd, const char *from, int to_fd, const char *to, bool replace)
{
    if (replace)
        return renameat(from_fd, from, to_fd, to);
    if (kernel_has(KERNEL_RENAMEAT2)) {
        if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
            return 0;
        /* Else this file system does not know the flag. */
        if (errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
            return -1;
    }
    return file_rename_by_link(from_fd, from, to_fd, to);
}

static int
file_remove(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0);
}

static int
file_remove_dir(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, AT_REMOVEDIR);
}

static void
file_start_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int
file_open(int dir_fd, const char *name, int flags)
{
    return openat(dir_fd, name, flags | O_CLOEXEC);
}

int
file_open_component(const struct file_ops *ops, int dir_fd, const char *name, int flags)
{
    int fd = ops->open(dir_fd, name, flags | O_NOFOLLOW);
    struct stat st;

    /* O_DIRECTORY comes before O_NOFOLLOW: a link is ENOTDIR here as well. */
    if (fd < 0 && errno == ENOTDIR && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
    return fd;
}

int
file_next_component(const char **path, char name_out[NAME_MAX + 1])
{
    size_t n = strcspn(*path, "/");

    if (n == 0 || n > NAME_MAX || strncmp(*path, "..", n) == 0) {
        errno = n > NAME_MAX ? ENAMETOOLONG : EINVAL;
        return -1;
    }
    memcpy(name_out, *path, n);
    name_out[n] = '\0';
    *path += (*path)[n] == '/' ? n + 1 : n;
    return 0;
}

int
file_walk_beneath(int dir_fd, const char *path, int flags)
{
    char name[NAME_MAX + 1];
    int above = -1, fd;

    do {
        fd = -1;
        if (file_next_component(&path, name) == 0)
            fd = file_open_component(&file_ops_synced, above < 0 ? dir_fd : above, name,
                                     *path == '\0' ? flags : O_PATH | O_DIRECTORY);
        fd_close(&above);
        above = fd;
    } while (fd >= 0 && *path != '\0');
    return fd;
}

static int
file_open_beneath(int dir_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;

    if (!kernel_has(KERNEL_OPENAT2))
        return file_walk_beneath(dir_fd, path, flags);
    /* EAGAIN: a rename was under way somewhere, and the kernel cannot tell what it meant for us. */
    for (unsigned tries = 0; tries < 100; tries++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return (int)fd;
}

static int
file_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = LOCK_END};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

bool
file_is_locked(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

int
file_mark(int fd, uint64_t at)
{
    struct flock mark = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_END + (off_t)at, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &mark);
}

void
file_unmark(int fd)
{
    struct flock mark = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = LOCK_END};

    (void)fcntl(fd, F_OFD_SETLK, &mark);
}

uint64_t
file_marked(int fd)
{
    struct flock mark = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_END};

    if (fcntl(fd, F_OFD_GETLK, &mark) < 0 || mark.l_type == F_UNLCK)
        return UINT64_MAX;
    /* That at 0 touches the lock before it, and the two are one. */
    return mark.l_start < LOCK_END ? 0 : (uint64_t)(mark.l_start - LOCK_END);
}

static int
file_sync_nothing(int fd)
{
    (void)fd;
    return 0;
}

static void
file_start_nothing(int fd)
{
    (void)fd;
}

#define FILE_OPS_PLAIN                                                                         \
    .create = file_create, .make_dir = file_make_dir, .write = pwrite, .truncate = ftruncate,  \
    .set_mode = fchmod, .link_fd = file_link_fd, .rename = file_rename, .remove = file_remove, \
    .remove_dir = file_remove_dir, .open = file_open, .open_beneath = file_open_beneath,       \
    .read = pread, .status = fstat, .lock = file_lock

const struct file_ops file_ops_synced = {
    FILE_OPS_PLAIN,    .sync_data = fdatasync,
    .sync_dir = fsync, .start_writeback = file_start_writeback,
    .waits = true,     .sync_at_once = true,
};

const struct file_ops file_ops_unsynced = {
    FILE_OPS_PLAIN,
    .sync_data = file_sync_nothing,
    .sync_dir = file_sync_nothing,
    .start_writeback = file_start_nothing,
};
