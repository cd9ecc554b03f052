/* To the background once ready. */
#include "master/master.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* --- failure --- */

/* Why something could not be done. */

void
failure_set(struct failure *f, int code, const char *fmt, ...)
{
    va_list args;

    f->code = code;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
}

/* Somebody may wait for the end of any of the three. */
static void
daemonize_detach(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (chdir("/") < 0 || null < 0)
        goto out; /* every path we use is absolute; without /dev/null all stays as it was */
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
out:
    if (null > STDERR_FILENO)
        fd_close(&null);
}

/* A launcher may wait for the end of a pipe that it has left open here. What it named on the
 * command line (-c /dev/fd/63) has been read. Returns the one that stays. */
static int
daemonize_close_others(int fd, unsigned few)
{
    int kept = STDERR_FILENO + 1 + (int)few;

    if (fd != kept && dup3(fd, kept, O_CLOEXEC) < 0)
        return fd;
    closefrom(kept + 1);
    return kept;
}

static void
daemonize_wait(int fd, struct failure *verdict)
{
    unsigned char code;
    size_t len = 0;
    ssize_t n;

    if (fd_read(fd, &code, 1) != 1) {
        failure_set(verdict, EX_SOFTWARE, "the daemon died before it was ready");
        return;
    }
    verdict->code = code;
    while (len < sizeof(verdict->text) - 1 &&
           (n = fd_read(fd, verdict->text + len, sizeof(verdict->text) - 1 - len)) > 0)
        len += (size_t)n;
    verdict->text[len] = '\0';
}

enum daemonize_side
daemonize(unsigned few, int *verdict_fd_out, struct failure *verdict_out)
{
    enum daemonize_side side = DAEMONIZE_ERROR;
    int fds[2] = {-1, -1};
    pid_t pid = -1;

    if (pipe2(fds, O_CLOEXEC) == 0)
        pid = fork();
    if (pid < 0) {
        failure_set(verdict_out, EX_OSERR, "cannot go to the background: %s", strerror(errno));
    } else if (pid == 0) {
        daemonize_detach();
        *verdict_fd_out = daemonize_close_others(fd_steal(&fds[1]), few);
        fds[0] = -1;
        side = DAEMONIZE_DAEMON;
    } else {
        fd_close(&fds[1]);
        daemonize_wait(fds[0], verdict_out);
        side = DAEMONIZE_WAITER;
    }
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    return side;
}

void
daemonize_tell(int *verdict_fd, int code, const char *text)
{
    char message[1 + FAILURE_TEXT_LEN];
    size_t len = strlen(text);

    if (*verdict_fd < 0)
        return;
    if (len > FAILURE_TEXT_LEN - 1)
        len = FAILURE_TEXT_LEN - 1;
    message[0] = (char)code;
    memcpy(message + 1, text, len);
    if (fd_write_all(*verdict_fd, message, 1 + len) < 0) {
        /* The waiting process is gone; the daemon does not need it. */
    }
    fd_close(verdict_fd);
}
