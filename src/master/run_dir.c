/* The runtime directory and its pid file. */
#include "master/state.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Some file systems have no locks, modes or shared mappings. */
const char *
run_dir_advice(int error)
{
    return error == EPERM || error == EINVAL || error == ENOLCK || error == ENODEV ||
                   error == EOPNOTSUPP || error == ENOSYS
               ? "; choose another runtime directory with -r, such as one on a tmpfs"
               : "";
}

/* Without slashes at the end: with one, O_NOFOLLOW would follow a link all the same. */
static int
run_dir_path(const char *dir, char path[PATH_MAX], struct failure *why)
{
    size_t len = strlen(dir);

    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 0 || len >= PATH_MAX) {
        failure_set(why, EX_CANTCREAT, "runtime directory: the path is empty or too long");
        return -1;
    }
    memcpy(path, dir, len);
    path[len] = '\0';
    return 0;
}

static bool
run_dir_parent_is_open(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (slash == NULL)
        snprintf(parent, sizeof(parent), ".");
    else
        snprintf(parent, sizeof(parent), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return stat(parent, &st) == 0 && (st.st_mode & S_IWOTH) != 0;
}

static int
run_dir_check(const char *path, int fd, struct failure *why)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        failure_set(why, EX_CANTCREAT, "runtime directory %s: %s", path, strerror(errno));
        return -1;
    }
    if (st.st_uid != geteuid()) {
        failure_set(why, EX_CANTCREAT,
                    "runtime directory %s belongs to uid %u, not to us (choose another with -r)",
                    path, (unsigned)st.st_uid);
        return -1;
    }
    if (st.st_mode & S_IWOTH) {
        failure_set(why, EX_CANTCREAT,
                    "runtime directory %s can be written by everybody (choose another with -r)",
                    path);
        return -1;
    }
    return 0;
}

/* Sets the mode of a directory that we made, and of any in an open place. */
static int
run_dir_adjust(const char *path, int fd, bool made, bool open_place, gid_t gid, struct failure *why)
{
    mode_t mode = open_place ? 0700 : 0750;

    if (!made && !open_place)
        return 0;
    if (fchmod(fd, mode) < 0 ||
        (made && !open_place && gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) < 0)) {
        failure_set(why, EX_CANTCREAT, "runtime directory %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

int
run_dir_prepare(const char *dir, gid_t gid, struct failure *why)
{
    char path[PATH_MAX];
    bool open_place, made;
    int rc = -1;
    int fd = -1;

    if (run_dir_path(dir, path, why) < 0)
        return -1;
    open_place = run_dir_parent_is_open(path);
    made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        failure_set(why, EX_CANTCREAT, "cannot create runtime directory %s: %s", path,
                    strerror(errno));
        goto out;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        bool odd = errno == ENOTDIR || errno == ELOOP;

        failure_set(why, EX_CANTCREAT, "runtime directory %s: %s", path,
                    odd ? "is a symbolic link or not a directory" : strerror(errno));
        goto out;
    }
    if (run_dir_check(path, fd, why) < 0 ||
        run_dir_adjust(path, fd, made, open_place, gid, why) < 0)
        goto out;
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}

int
run_dir_write_pid(const char *dir, struct failure *why)
{
    char path[PATH_MAX], fresh[PATH_MAX], text[32];
    int rc = -1;
    int fd = -1;

    if (snprintf(path, sizeof(path), "%s/" RUN_DIR_PID_FILE, dir) >= (int)sizeof(path) ||
        snprintf(fresh, sizeof(fresh), "%s/.%s.new", dir, RUN_DIR_PID_FILE) >= (int)sizeof(fresh)) {
        failure_set(why, EX_CANTCREAT, "runtime directory: the path is too long");
        return -1;
    }
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || rename(fresh, path) < 0) {
        failure_set(why, EX_CANTCREAT, "cannot write %s: %s", path, strerror(errno));
        goto out;
    }
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}

void
run_dir_remove_pid(const char *dir)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/" RUN_DIR_PID_FILE, dir) < (int)sizeof(path))
        unlink(path);
}

/* --- the lock --- */

/* The lock of the runtime directory. */

enum { LOCK_TRIES = 10, LOCK_PAUSE_MS = 20 };

static int
lock_try(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &whole);
}

/* A child that was just forked holds a copy for a moment after its master was killed. */
static int
lock_wait(int fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (lock_try(fd) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -1;
        poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return lock_try(fd);
}

/* Does this descriptor of that process hold a lock? The kernel says it of any kind of lock. */
static bool
lock_is_of(const char *pid, const char *fd)
{
    char path[PATH_MAX], line[256];
    bool found = false;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, fd);
    info = fopen(path, "re");
    while (info != NULL && !found && fgets(line, sizeof(line), info) != NULL)
        found = strncmp(line, "lock:", 5) == 0;
    if (info != NULL)
        fclose(info);
    return found;
}

static bool
lock_process_holds(const char *pid, const struct stat *file)
{
    char path[PATH_MAX];
    bool found = false;
    const struct dirent *entry;
    struct stat st;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    dir = opendir(path);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_ino == file->st_ino &&
                st.st_dev == file->st_dev && lock_is_of(pid, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* Who holds a lock on the file, as far as we may see it; 0: nobody that we see. */
static long
lock_holder(int fd)
{
    const struct dirent *entry;
    struct stat file;
    DIR *dir = opendir("/proc");
    long pid = 0;

    if (dir == NULL || fstat(fd, &file) < 0)
        goto out;
    while (pid == 0 && (entry = readdir(dir)) != NULL)
        if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) &&
            lock_process_holds(entry->d_name, &file))
            pid = strtol(entry->d_name, NULL, 10);
out:
    if (dir != NULL)
        closedir(dir);
    return pid;
}

static void
lock_held(const char *path, int fd, struct failure *why)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long master = n > 0 ? strtol(text, NULL, 10) : 0, holder = lock_holder(fd);

    if (holder > 0 && holder == master)
        failure_set(why, EX_TEMPFAIL, "another msockd (pid %ld) holds %s", holder, path);
    else if (holder > 0)
        failure_set(why, EX_TEMPFAIL, "process %ld, which is no msockd that runs here, holds %s",
                    holder, path);
    else
        failure_set(why, EX_TEMPFAIL, "another process, perhaps a msockd, holds %s", path);
}

static int
lock_sign(int fd)
{
    char text[32];

    /* Nobody else may open it, since everybody who can may hold a lock on it. */
    if (fchmod(fd, 0600) < 0)
        return -1;
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -1;
    return fd_pwrite_all(fd, text, strlen(text), 0);
}

int
lock_take(const char *dir, struct failure *why)
{
    char path[PATH_MAX];
    int rc = -1;
    int fd = -1;

    if (snprintf(path, sizeof(path), "%s/" STATS_LOCK_FILE, dir) >= (int)sizeof(path)) {
        failure_set(why, EX_CANTCREAT, "runtime directory: the path is too long");
        goto out;
    }
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        failure_set(why, EX_CANTCREAT, "cannot open %s: %s", path, strerror(errno));
        goto out;
    }
    if (lock_wait(fd) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            lock_held(path, fd, why);
        else
            failure_set(why, EX_OSERR, "cannot lock %s: %s%s", path, strerror(errno),
                        run_dir_advice(errno));
        goto out;
    }
    if (lock_sign(fd) < 0) {
        failure_set(why, EX_CANTCREAT, "cannot write %s and set its mode: %s%s", path,
                    strerror(errno), run_dir_advice(errno));
        goto out;
    }
    rc = fd_steal(&fd);
out:
    fd_close(&fd);
    return rc;
}

/* --- the log file --- */

/* The log file of a daemon whose workers run as another user than the master. */

/* The log does not follow a link, and what open says about one is no help. */
static int
log_file_check(const char *path, struct failure *why)
{
    struct stat st;

    if (lstat(path, &st) < 0 || !S_ISLNK(st.st_mode))
        return 0;
    failure_set(why, EX_CANTCREAT,
                "log file %s is a symbolic link, which is not followed: name the file itself",
                path);
    return -1;
}

int
log_file_prepare(const struct config *config, struct failure *why)
{
    int rc = -1;
    int fd = -1;

    if (config->log_file == NULL)
        return 0;
    fd = open(config->log_file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0 && errno == EEXIST) {
        rc = log_file_check(config->log_file, why);
        goto out;
    }
    if (fd < 0 ||
        (geteuid() == 0 && config->user != NULL && fchown(fd, config->uid, config->gid) < 0)) {
        failure_set(why, EX_CANTCREAT, "cannot create log file %s: %s", config->log_file,
                    strerror(errno));
        goto out;
    }
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}
