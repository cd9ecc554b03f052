/* Files that are none of the worker's: the directory %o belongs to its user, so only the sandbox
 * stands before it. */
#include "evil.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static long
file_truncate(const struct evil *e, const struct attempt *a)
{
    return truncate(evil_path(e, a->path), 0);
}

static long
file_make_directory(const struct evil *e, const struct attempt *a)
{
    return mkdir(evil_path(e, a->path), 0700);
}

static long
file_make_node(const struct evil *e, const struct attempt *a)
{
    return mknod(evil_path(e, a->path), (mode_t)a->flags | 0600, makedev(1, 3));
}

static long
file_unlink(const struct evil *e, const struct attempt *a)
{
    return unlinkat(AT_FDCWD, evil_path(e, a->path), a->flags);
}

static long
file_rename(const struct evil *e, const struct attempt *a)
{
    return rename(evil_path(e, a->path), evil_path(e, "%o/renamed"));
}

static long
file_rename_in(const struct evil *e, const struct attempt *a)
{
    return rename(evil_path(e, a->path), evil_path(e, "%d/stolen"));
}

/* Over a file outside. */
static long
file_rename_out(const struct evil *e, const struct attempt *a)
{
    const char *own = evil_path(e, "%d/own");

    (void)evil_close(open(own, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    return rename(own, evil_path(e, a->path));
}

static long
file_link_in(const struct evil *e, const struct attempt *a)
{
    return link(evil_path(e, a->path), evil_path(e, "%d/linked"));
}

static long
file_symlink(const struct evil *e, const struct attempt *a)
{
    return symlink("/", evil_path(e, a->path));
}

/* A link of our own does not lead out. */
static long
file_follow(const struct evil *e, const struct attempt *a)
{
    const char *own = evil_path(e, "%d/files/out");

    (void)unlink(own);
    (void)!symlink(evil_path(e, a->path), own);
    return evil_close(open(own, O_RDONLY | O_CLOEXEC));
}

static long
file_climb(const struct evil *e, const struct attempt *a)
{
    char path[EVIL_PATH_LEN];
    int dir = open(evil_path(e, "%d"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    long rc;

    snprintf(path, sizeof(path), "../../../../../../../../..%s", evil_path(e, a->path));
    rc = evil_close(openat(dir, path, O_RDONLY | O_CLOEXEC));
    (void)evil_close(dir);
    return rc;
}

static long
file_chmod(const struct evil *e, const struct attempt *a)
{
    return chmod(evil_path(e, a->path), 0666);
}

/* By a descriptor that only names the file, which no right is needed for. */
static long
file_chmod_named(const struct evil *e, const struct attempt *a)
{
    int fd = open(evil_path(e, a->path), O_PATH | O_CLOEXEC);
    long rc = fd < 0 ? -1 : syscall(SYS_fchmodat2, fd, "", 0666, AT_EMPTY_PATH);

    (void)evil_close(fd);
    return rc;
}

static long
file_chown(const struct evil *e, const struct attempt *a)
{
    return chown(evil_path(e, a->path), geteuid(), getegid());
}

static long
file_times(const struct evil *e, const struct attempt *a)
{
    return utimensat(AT_FDCWD, evil_path(e, a->path), NULL, 0);
}

static long
file_attribute(const struct evil *e, const struct attempt *a)
{
    return setxattr(evil_path(e, a->path), "user.evil", "1", 1, 0);
}

static long
file_by_handle(const struct evil *e, const struct attempt *a)
{
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } h = {.handle.handle_bytes = MAX_HANDLE_SZ};
    int mount;

    if (name_to_handle_at(AT_FDCWD, evil_path(e, a->path), &h.handle, &mount, 0) < 0)
        return -1;
    return evil_close(open_by_handle_at(AT_FDCWD, &h.handle, O_RDONLY));
}

static long
file_watch(const struct evil *e, const struct attempt *a)
{
    int fd = inotify_init1(IN_CLOEXEC);
    long rc = fd < 0 ? -1 : inotify_add_watch(fd, evil_path(e, a->path), IN_ALL_EVENTS);

    (void)evil_close(fd);
    return rc;
}

static long
file_shared_memory(const struct evil *e, const struct attempt *a)
{
    int fd = shm_open(a->path, O_CREAT | O_RDWR, 0600);

    (void)e;
    if (fd >= 0)
        (void)shm_unlink(a->path);
    return evil_close(fd);
}

/* --- programs --- */

static long
exec_file(const struct evil *e, const struct attempt *a)
{
    char *const argv[] = {(char *)(uintptr_t) "msockd", (char *)(uintptr_t) "--version", NULL};

    return execve(evil_path(e, a->path), argv, argv + 2);
}

static long
exec_own_file(const struct evil *e, const struct attempt *a)
{
    static const char script[] = "#!/bin/true\n";
    int fd = open(evil_path(e, a->path), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700);

    (void)!write(fd, script, sizeof(script) - 1);
    (void)evil_close(fd);
    return exec_file(e, a);
}

static long
exec_memory(const struct evil *e, const struct attempt *a)
{
    static const char script[] = "#!/bin/true\n";
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    int fd = memfd_create("evil", 0);
    long rc;

    (void)e;
    (void)a;
    (void)!write(fd, script, sizeof(script) - 1);
    rc = fd < 0 ? -1 : syscall(SYS_execveat, fd, "", argv, argv + 1, AT_EMPTY_PATH);
    (void)evil_close(fd);
    return rc;
}

/* The data directory becomes the root, with a whole tree of our own beneath. */
static long
file_root(const struct evil *e, const struct attempt *a)
{
    return chroot(evil_path(e, a->path));
}

static long
file_mount(const struct evil *e, const struct attempt *a)
{
    return mount("none", evil_path(e, a->path), "tmpfs", 0, NULL);
}

static long
file_unmount(const struct evil *e, const struct attempt *a)
{
    return umount2(evil_path(e, a->path), MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* A program that runs as the workers' user, whoever starts it. */
static long
file_setuid(const struct evil *e, const struct attempt *a)
{
    const char *path = evil_path(e, a->path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    long rc = fd < 0 ? -1 : fchmod(fd, S_ISUID | 0755);

    (void)evil_close(fd);
    (void)unlink(path);
    return rc;
}

const struct attempt evil_files[] = {
    {"read-file", evil_open, "%o/secret", O_RDONLY, {0}},
    {"write-file", evil_open, "%o/secret", O_WRONLY, {0}},
    {"cut-file-while-opening", evil_open, "%o/secret", O_RDONLY | O_TRUNC, {0}},
    {"create-file", evil_open, "%o/created", O_WRONLY | O_CREAT | O_EXCL, {0}},
    {"create-nameless-file", evil_open, "%o", O_WRONLY | O_TMPFILE, {0}},
    {"list-directory", evil_open, "%o", O_RDONLY | O_DIRECTORY, {0}},
    {"read-passwords", evil_open, "/etc/shadow", O_RDONLY, {0}},
    {"list-private-keys", evil_open, "/etc/ssl/private", O_RDONLY | O_DIRECTORY, {0}},
    {"write-passwords", evil_open, "/etc/passwd", O_WRONLY, {0}},
    {"write-binary", evil_open, "%o/program", O_WRONLY, {0}},
    {"read-configuration", evil_open, "%c", O_RDONLY, {0}},
    {"write-configuration", evil_open, "%c", O_WRONLY, {0}},
    {"write-pid-file", evil_open, "%r/msockd.pid", O_WRONLY, {0}},
    {"write-control", evil_open, "%r/control", O_RDWR, {0}},
    {"remove-pid-file", file_unlink, "%r/msockd.pid", 0, {0}},
    {"truncate-file", file_truncate, "%o/secret", 0, {0}},
    {"make-directory", file_make_directory, "%o/made", 0, {0}},
    {"make-fifo", file_make_node, "%o/fifo", S_IFIFO, {0}},
    {"remove-file", file_unlink, "%o/doomed", 0, {0}},
    {"remove-directory", file_unlink, "%o/empty", AT_REMOVEDIR, {0}},
    {"rename-file", file_rename, "%o/doomed", 0, {0}},
    {"rename-file-in", file_rename_in, "%o/secret", 0, {0}},
    {"rename-file-out", file_rename_out, "%o/doomed", 0, {0}},
    {"link-file-in", file_link_in, "%o/secret", 0, {0}},
    {"symlink-outside", file_symlink, "%o/link", 0, {0}},
    {"follow-own-symlink", file_follow, "%o/secret", 0, {0}},
    {"climb-out", file_climb, "%o/secret", 0, {0}},
    {"chmod-file", file_chmod, "%o/secret", 0, {0}},
    {"chmod-named-file", file_chmod_named, "%o/secret", 0, {0}},
    {"make-setuid", file_setuid, "%d/files/setuid", 0, {0}},
    {"chown-file", file_chown, "%o/secret", 0, {0}},
    {"change-times", file_times, "%o/secret", 0, {0}},
    {"set-attribute", file_attribute, "%o/secret", 0, {0}},
    {"open-by-handle", file_by_handle, "%o/secret", 0, {0}},
    {"watch-directory", file_watch, "%o", 0, {0}},
    {"watch-file-system", evil_call, NULL, 0, {SYS_fanotify_init, FAN_CLASS_NOTIF, O_RDONLY}},
    {"make-shared-memory", file_shared_memory, "/msockd-evil", 0, {0}},
    {"exec-program", exec_file, "%o/program", 0, {0}},
    {"exec-shell", exec_file, "/bin/sh", 0, {0}},
    {"exec-itself", exec_file, "/proc/self/exe", 0, {0}},
    {"exec-own-file", exec_own_file, "%d/files/script", 0, {0}},
    {"exec-memory", exec_memory, NULL, 0, {0}},
    {"change-root", file_root, "%d", 0, {0}},
    {"mount", file_mount, "%d/files", 0, {0}},
    {"unmount", file_unmount, "/proc/sys/fs/no-mount", 0, {0}},
    {"pivot-root", evil_call, NULL, 0, {SYS_pivot_root, (long)".", (long)"."}},
    {"clone-mount", evil_call, NULL, 0, {SYS_open_tree, -100, (long)"/", 1}},
    {"new-file-system", evil_call, NULL, 0, {SYS_fsopen, (long)"tmpfs", 0}},
    {"memory-of-itself", evil_open, "/proc/self/mem", O_RDWR, {0}},
    {"memory-of-master", evil_open, "/proc/%m/mem", O_RDWR, {0}},
    {"memory-of-sibling", evil_open, "/proc/%s/mem", O_RDWR, {0}},
    {"descriptor-of-master", evil_open, "/proc/%m/fd/2", O_WRONLY, {0}},
    {"adjust-oom-of-master", evil_open, "/proc/%m/oom_score_adj", O_WRONLY, {0}},
    {"set-core-pattern", evil_open, "/proc/sys/kernel/core_pattern", O_WRONLY, {0}},
    {"trigger-sysrq", evil_open, "/proc/sysrq-trigger", O_WRONLY, {0}},
    {"write-kernel-log", evil_open, "/dev/kmsg", O_WRONLY, {0}},
    {"physical-memory", evil_open, "/dev/mem", O_RDWR, {0}},
    {"open-terminal", evil_open, "/dev/ptmx", O_RDWR | O_NOCTTY, {0}},
    {.name = NULL},
};
