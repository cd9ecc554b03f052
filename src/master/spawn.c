/* Forks one worker and arranges what it holds. */
#include "master/state.h"

#include "common/fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

static _Noreturn void MS_PRINTF(2, 3) child_refuse(int ready_fd, const char *fmt, ...)
{
    char text[FAILURE_TEXT_LEN];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    /* Where the master does not listen any more, the exit status has to do. */
    if (fd_write_all(ready_fd, text, strlen(text)) < 0)
        _exit(CHILD_EXIT_NOT_READY);
    _exit(CHILD_EXIT_NOT_READY);
}

/* Before the privileges go: the file may be root's. */
static void
child_log(const struct spawn *s, int ready_fd)
{
    const struct config *config = s->child.config;
    const char *now = s->log_file, *wanted = config->log_file;
    bool same = now == NULL || wanted == NULL ? now == wanted : strcmp(now, wanted) == 0;

    if (!same && log_open(wanted) < 0)
        child_refuse(ready_fd, "cannot open log file %s: %s", wanted, strerror(errno));
    log_set_level(config->log_level);
    log_set_format(config->log_format, NULL);
    log_set_name(s->name);
}

/* The second line only: end-of-file on master_fd is the first. QUIT, so that a message under way is
 * finished. After the change of user, which takes the setting away. */
static void
child_watch_master(pid_t master)
{
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != master)
        _exit(CHILD_EXIT_DONE);
}

static _Noreturn void
child_run(const struct spawn *s, int ready_fd, pid_t master)
{
    struct child child = s->child;
    char error[FAILURE_TEXT_LEN];

    s->forget(s->forget_arg);
    (void)signal(SIGPIPE, SIG_IGN); /* it may say why when the master does not listen any more */
    child_log(s, ready_fd);
    if (privileges_drop(child.config, error) < 0)
        child_refuse(ready_fd, "%s", error);
    child_watch_master(master);
    child.ready_fd = ready_fd;
    _exit(s->entry(&child));
}

pid_t
spawn_worker(const struct spawn *s, int *ready_fd_out, struct failure *why)
{
    int fds[2] = {-1, -1};
    pid_t master = getpid();
    pid_t pid = -1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
        fd_set_nonblock(fds[0]) < 0) {
        failure_set(why, EX_OSERR, "cannot make sockets for %s: %s", s->name, strerror(errno));
        goto out;
    }
    pid = fork();
    if (pid == 0) {
        fd_close(&fds[0]);
        child_run(s, fds[1], master);
    }
    if (pid < 0) {
        failure_set(why, EX_OSERR, "cannot fork %s: %s", s->name, strerror(errno));
        goto out;
    }
    *ready_fd_out = fd_steal(&fds[0]);
out:
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    return pid;
}
