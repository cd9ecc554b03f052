/* openat2 resolves a whole path in one call. Where it is not there, or directories are missing, the
 * path is walked: each component is opened relative to the one before without following a link,
 * which cannot leave the root either, since ".." is no component here. */
#include "handler/journal/store.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BENEATH_DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

static int
beneath_open_component(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, BENEATH_DIR_FLAGS | O_NOFOLLOW);
    struct stat st;

    /* O_DIRECTORY comes before O_NOFOLLOW: a link is ENOTDIR here as well. */
    if (fd < 0 && errno == ENOTDIR && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
    return fd;
}

static int
beneath_make_component(int dir_fd, const char *name, beneath_created_fn created, void *arg)
{
    int fd = beneath_open_component(dir_fd, name);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(dir_fd, name, 0750) < 0 && errno != EEXIST)
        return -1;
    /* Also where another has just made it: it may not have synced it yet. */
    if (created(arg, dir_fd) < 0)
        return -1;
    return beneath_open_component(dir_fd, name);
}

static int
beneath_walk(int root_fd, const char *path, beneath_created_fn created, void *arg)
{
    char name[NAME_MAX + 1];
    int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);

    while (fd >= 0 && *path != '\0') {
        size_t n = strcspn(path, "/");
        int next;

        if (n == 0 || n > NAME_MAX || strncmp(path, "..", n) == 0) {
            errno = n > NAME_MAX ? ENAMETOOLONG : EINVAL;
            fd_close(&fd);
            return -1;
        }
        memcpy(name, path, n);
        name[n] = '\0';
        path += path[n] == '/' ? n + 1 : n;
        next = beneath_make_component(fd, name, created, arg);
        fd_close(&fd);
        fd = next;
    }
    return fd;
}

int
beneath_open_dir(const struct file_ops *ops, int root_fd, const char *path,
                 beneath_created_fn created, void *arg)
{
    int fd;

    if (*path == '\0')
        return fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    fd = ops->open_beneath(root_fd, path, BENEATH_DIR_FLAGS);
    /* EPERM: a seccomp filter that is older than the call. */
    if (fd >= 0 || (errno != ENOENT && errno != ENOSYS && errno != EPERM))
        return fd;
    return beneath_walk(root_fd, path, created, arg);
}

int
beneath_open_file(int dir_fd, const char *name)
{
    return openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}
