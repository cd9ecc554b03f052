/* The plain system calls behind struct file_ops. */
#include "handler/journal/data_dir.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
file_start_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int
file_open_unnamed(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);

    /* Kernels and file systems without O_TMPFILE see an attempt to open a directory for writing. */
    if (fd < 0 && (errno == EISDIR || errno == EINVAL))
        errno = EOPNOTSUPP;
    return fd;
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

static int
file_open_beneath(int dir_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd;

    /* EAGAIN: a rename was under way somewhere, and the kernel cannot tell what it meant for us. */
    for (unsigned tries = 0; tries < 100; tries++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return (int)fd;
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

const struct file_ops file_ops_synced = {
    .write_all = fd_write_all,
    .sync_data = fdatasync,
    .sync_dir = fsync,
    .start_writeback = file_start_writeback,
    .truncate = ftruncate,
    .open_unnamed = file_open_unnamed,
    .link_fd = file_link_fd,
    .open_beneath = file_open_beneath,
    .sync_at_once = true,
};

const struct file_ops file_ops_unsynced = {
    .write_all = fd_write_all,
    .sync_data = file_sync_nothing,
    .sync_dir = file_sync_nothing,
    .start_writeback = file_start_nothing,
    .truncate = ftruncate,
    .open_unnamed = file_open_unnamed,
    .link_fd = file_link_fd,
    .open_beneath = file_open_beneath,
};
