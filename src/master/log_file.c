/* The log file of a daemon whose workers run as another user than the master. */
#include "master/state.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

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
