/* The runtime directory, its locks and its pid file. */
#include "master/state.h"

#include "common/fd.h"
#include "common/lock_look.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
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

/* Returns the directory, open, or -1 with the reason. */
static int
run_dir_prepare(const char *path, gid_t gid, struct failure *why)
{
    bool open_place = run_dir_parent_is_open(path), made = mkdir(path, 0700) == 0;
    int fd;

    if (!made && errno != EEXIST) {
        failure_set(why, EX_CANTCREAT, "cannot create runtime directory %s: %s", path,
                    strerror(errno));
        return -1;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        bool odd = errno == ENOTDIR || errno == ELOOP;

        failure_set(why, EX_CANTCREAT, "runtime directory %s: %s", path,
                    odd ? "is a symbolic link or not a directory" : strerror(errno));
        return -1;
    }
    if (run_dir_check(path, fd, why) < 0 ||
        run_dir_adjust(path, fd, made, open_place, gid, why) < 0)
        fd_close(&fd);
    return fd;
}

/* --- locks --- */

enum { LOCK_TRIES = 10, LOCK_PAUSE_MS = 20 };

static int
lock_try(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &whole);
}

static int
lock_try_dir(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB);
}

/* A child that was just forked holds a copy for a moment after its master was killed. */
static int
lock_wait(int (*try)(int fd), int fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (try(fd) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -1;
        poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return try(fd);
}

static bool
lock_note_pid(void *arg, const struct lock_seen *seen)
{
    *(long *)arg = seen->pid;
    return true;
}

/* Who holds a lock on the file, as far as we may see it; 0: nobody that we see. */
static long
lock_holder(int fd)
{
    struct stat file;
    long pid = 0;

    if (fstat(fd, &file) == 0)
        lock_look(&file, lock_note_pid, &pid);
    return pid;
}

static void
lock_held(const char *dir, int fd, struct failure *why)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long master = n > 0 ? strtol(text, NULL, 10) : 0, holder = lock_holder(fd);

    if (holder > 0 && holder == master)
        failure_set(why, EX_TEMPFAIL, "another msockd (pid %ld) holds %s/" STATS_LOCK_FILE, holder,
                    dir);
    else if (holder > 0)
        failure_set(why, EX_TEMPFAIL,
                    "process %ld, which is no msockd that runs here, holds %s/" STATS_LOCK_FILE,
                    holder, dir);
    else
        failure_set(why, EX_TEMPFAIL,
                    "another process, perhaps a msockd, holds %s/" STATS_LOCK_FILE, dir);
}

/* Of a master that died: its pid may be a stranger's now, and with our lock its workers would look
 * alive. */
static void
lock_clear(const struct run_dir *d)
{
    (void)unlinkat(d->fd, RUN_DIR_PID_FILE, 0);
    (void)unlinkat(d->fd, STATS_CONTROL_FILE, 0);
}

static int
lock_sign(const struct run_dir *d, int fd)
{
    char text[32];

    lock_clear(d);
    /* Nobody else may open it, since everybody who can may hold a lock on it. */
    if (fchmod(fd, 0600) < 0)
        return -1;
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -1;
    return fd_pwrite_all(fd, text, strlen(text), 0);
}

/* Returns 0, or -1 with the reason. */
static int
lock_take(struct run_dir *d, struct failure *why)
{
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(d->fd, STATS_LOCK_FILE, flags, 0600);
    int rc = -1;

    if (fd < 0) {
        failure_set(why, EX_CANTCREAT, "cannot open %s/" STATS_LOCK_FILE ": %s", d->path,
                    strerror(errno));
    } else if (lock_wait(lock_try, fd) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            lock_held(d->path, fd, why);
        else
            failure_set(why, EX_OSERR, "cannot lock %s/" STATS_LOCK_FILE ": %s%s", d->path,
                        strerror(errno), run_dir_advice(errno));
    } else if (lock_sign(d, fd) < 0) {
        failure_set(why, EX_CANTCREAT, "cannot write %s/" STATS_LOCK_FILE ": %s%s", d->path,
                    strerror(errno), run_dir_advice(errno));
    } else {
        d->lock_fd = fd_steal(&fd);
        rc = 0;
    }
    fd_close(&fd);
    return rc;
}

/* --- a msockd whose lock file was removed still holds the directory --- */

static bool
holder_is_msockd(void *arg, const struct lock_seen *seen)
{
    char name[16];

    return prctl(PR_GET_NAME, name) == 0 && process_is(seen->pid, geteuid(), name) &&
           lock_note_pid(arg, seen);
}

static bool
lock_is_by_name(const struct run_dir *d)
{
    int fd = openat(d->fd, STATS_LOCK_FILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fd >= 0 && (fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK);

    fd_close(&fd);
    return held;
}

/* Before the lock is taken: whoever sees it held finds our files, or none. */
static void
run_dir_clear(const struct run_dir *d)
{
    if (!lock_is_by_name(d))
        lock_clear(d);
}

/* Whoever removes old files leaves a directory alone that somebody has locked so. Everybody who may
 * read it may do that, so it keeps nobody out but a msockd from a msockd. Returns 0, or -1 with the
 * reason. */
static int
run_dir_hold(const struct run_dir *d, struct failure *why)
{
    struct stat st;
    long pid = 0;

    if (lock_try_dir(d->fd) == 0) {
        run_dir_clear(d);
        return 0;
    }
    if (lock_is_by_name(d) || lock_wait(lock_try_dir, d->fd) == 0 ||
        lock_is_by_name(d)) /* by now: both are just starting */
        return 0;
    if (fstat(d->fd, &st) < 0 || !lock_look(&st, holder_is_msockd, &pid)) {
        (void)flock(d->fd, LOCK_SH | LOCK_NB);
        return 0;
    }
    failure_set(why, EX_TEMPFAIL,
                "another msockd (pid %ld) runs in %s, although its file " STATS_LOCK_FILE
                " was removed there: end it first",
                pid, d->path);
    return -1;
}

/* --- the directory and its files, for as long as the master lives --- */

int
run_dir_open(struct run_dir *d, const char *dir, gid_t gid, struct failure *why)
{
    char path[PATH_MAX];

    *d = RUN_DIR_CLOSED;
    if (run_dir_path(dir, path, why) < 0)
        return -1;
    d->path = ms_strdup(path);
    d->fd = run_dir_prepare(path, gid, why);
    if (d->fd < 0 || run_dir_hold(d, why) < 0 || lock_take(d, why) < 0) {
        run_dir_close(d);
        return -1;
    }
    return 0;
}

int
run_dir_write_pid(struct run_dir *d, struct failure *why)
{
    static const char fresh[] = "." RUN_DIR_PID_FILE ".new";
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    char text[32];

    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    d->pid_fd = openat(d->fd, fresh, flags, 0644);
    if (d->pid_fd >= 0 && fd_write_all(d->pid_fd, text, strlen(text)) == 0 &&
        renameat(d->fd, fresh, d->fd, RUN_DIR_PID_FILE) == 0)
        return 0;
    failure_set(why, EX_CANTCREAT, "cannot write %s/" RUN_DIR_PID_FILE ": %s", d->path,
                strerror(errno));
    fd_close(&d->pid_fd);
    return -1;
}

void
run_dir_forget(struct run_dir *d)
{
    fd_close(&d->fd);
    fd_close(&d->lock_fd);
    fd_close(&d->pid_fd);
}

/* "" where the name in the directory stands for our file, else what became of it. */
static const char *
run_dir_file(const struct run_dir *d, const char *name, int fd)
{
    struct stat ours, named;

    if (fd < 0 || fstat(fd, &ours) < 0)
        return "";
    if (fstatat(d->fd, name, &named, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? "removed" : strerror(errno);
    return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino ? "" : "replaced";
}

void
run_dir_close(struct run_dir *d)
{
    if (d->pid_fd >= 0 && fd_is_named(d->pid_fd, d->fd, RUN_DIR_PID_FILE))
        (void)unlinkat(d->fd, RUN_DIR_PID_FILE, 0);
    run_dir_forget(d);
    free(d->path);
    *d = RUN_DIR_CLOSED;
}

/* --- what became of it --- */

static void
state_of_files(const struct run_dir *d, int control_fd, char out[RUN_DIR_SAID_LEN])
{
    const struct {
        const char *name;
        int fd;
    } files[] = {{STATS_LOCK_FILE, d->lock_fd},
                 {STATS_CONTROL_FILE, control_fd},
                 {RUN_DIR_PID_FILE, d->pid_fd}};
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < MS_ARRAY_LEN(files); i++) {
        const char *is = run_dir_file(d, files[i].name, files[i].fd);

        if (is[0] != '\0' && len < RUN_DIR_SAID_LEN)
            len += (size_t)snprintf(out + len, RUN_DIR_SAID_LEN - len, "%s%s was %s in it",
                                    len > 0 ? ", " : "", files[i].name, is);
    }
}

static void
state_moved(const struct run_dir *d, char out[RUN_DIR_SAID_LEN])
{
    char link[32], now[RUN_DIR_SAID_LEN / 2];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", d->fd);
    n = readlink(link, now, sizeof(now) - 1);
    if (n > 0)
        snprintf(out, RUN_DIR_SAID_LEN, "it was moved to %.*s", (int)n, now);
    else
        snprintf(out, RUN_DIR_SAID_LEN, "it was moved");
}

/* "" where it is what it was. */
static void
state_of(const struct run_dir *d, int control_fd, char out[RUN_DIR_SAID_LEN])
{
    struct stat ours, named;

    if (fstat(d->fd, &ours) < 0)
        snprintf(out, RUN_DIR_SAID_LEN, "%s", strerror(errno));
    else if (ours.st_nlink == 0)
        snprintf(out, RUN_DIR_SAID_LEN, "it was removed");
    else if (lstat(d->path, &named) < 0 && errno != ENOENT && errno != ENOTDIR)
        snprintf(out, RUN_DIR_SAID_LEN, "%s", strerror(errno));
    else if (lstat(d->path, &named) < 0)
        state_moved(d, out);
    else if (ours.st_dev != named.st_dev || ours.st_ino != named.st_ino)
        snprintf(out, RUN_DIR_SAID_LEN, "%s has its name now",
                 S_ISDIR(named.st_mode)   ? "another directory"
                 : S_ISLNK(named.st_mode) ? "a symbolic link"
                                          : "a file");
    else
        state_of_files(d, control_fd, out);
}

void
run_dir_look(struct run_dir *d, int control_fd)
{
    char now[RUN_DIR_SAID_LEN];

    state_of(d, control_fd, now);
    if (strcmp(now, d->said) == 0)
        return;
    if (now[0] != '\0')
        log_line(LOG_run_dir_changed,
                 "runtime directory %s: %s. msockctl may not find this msockd, which goes on: "
                 "signals to process %d work",
                 d->path, now, (int)getpid());
    else
        log_line(LOG_run_dir_back, "runtime directory %s is there again, with all files", d->path);
    memcpy(d->said, now, sizeof(d->said));
}
