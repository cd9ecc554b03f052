/* The lock of the runtime directory. */
#include "master/run_dir.h"

#include "common/fd.h"
#include "stats/stats_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

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

static void
lock_held(const char *path, int fd, struct failure *why)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;

    if (pid > 0)
        failure_set(why, EX_TEMPFAIL, "another msockd (pid %ld) holds %s", pid, path);
    else
        failure_set(why, EX_TEMPFAIL, "another msockd holds %s", path);
}

static int
lock_sign(int fd, gid_t gid)
{
    char text[32];

    if (gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) < 0)
        return -1;
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -1;
    return fd_pwrite_all(fd, text, strlen(text), 0);
}

int
lock_take(const char *dir, gid_t gid, struct failure *why)
{
    char path[PATH_MAX];
    int rc = -1;
    int fd = -1;

    if (snprintf(path, sizeof(path), "%s/" STATS_LOCK_FILE, dir) >= (int)sizeof(path)) {
        failure_set(why, EX_CANTCREAT, "runtime directory: the path is too long");
        goto out;
    }
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        failure_set(why, EX_CANTCREAT, "cannot open %s: %s", path, strerror(errno));
        goto out;
    }
    if (lock_wait(fd) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            lock_held(path, fd, why);
        else
            failure_set(why, EX_OSERR, "cannot lock %s: %s", path, strerror(errno));
        goto out;
    }
    if (lock_sign(fd, gid) < 0) {
        failure_set(why, EX_CANTCREAT, "cannot write %s: %s", path, strerror(errno));
        goto out;
    }
    rc = fd_steal(&fd);
out:
    fd_close(&fd);
    return rc;
}
