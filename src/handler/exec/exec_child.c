#include "handler/exec/exec.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's ends of the pipes. */
struct exec_child_ends {
    int in, out, err;
};

/* Only this side's end may be non-blocking: programs do not expect that of theirs. */
static int
exec_child_pipe(int *ours, int *theirs, bool we_write)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ours = ends[we_write ? 1 : 0];
    *theirs = ends[we_write ? 0 : 1];
    return fd_set_nonblock(*ours, 1);
}

static int
exec_child_pipes(struct exec_child *child, int input, struct exec_child_ends *ends)
{
    if (input < 0 && exec_child_pipe(&child->in, &ends->in, true) < 0)
        return -1;
    if (exec_child_pipe(&child->out, &ends->out, false) < 0)
        return -1;
    return exec_child_pipe(&child->err, &ends->err, false);
}

static int
exec_child_watch(const struct exec_child *child, int fd, enum exec_child_part part, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = child->key | part};

    return epoll_ctl(child->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int
exec_child_watch_all(struct exec_child *child)
{
    child->pid_fd = (int)syscall(SYS_pidfd_open, child->pid, 0); /* is CLOEXEC by itself */
    if (child->pid_fd < 0)
        return -1;
    if (exec_child_watch(child, child->pid_fd, EXEC_CHILD_EXIT, EPOLLIN) < 0 ||
        exec_child_watch(child, child->out, EXEC_CHILD_OUT, EPOLLIN) < 0 ||
        exec_child_watch(child, child->err, EXEC_CHILD_ERR, EPOLLIN) < 0)
        return -1;
    return 0;
}

int
exec_child_start(struct exec_child *child, const struct exec_child_setup *setup)
{
    struct exec_child_ends ends = {-1, -1, -1};
    struct exec_spawn spawn;
    int rc = -1, error;

    *child = EXEC_CHILD_NONE;
    child->epoll_fd = setup->epoll_fd;
    child->key = setup->key;
    if (exec_child_pipes(child, setup->input, &ends) < 0)
        goto out;
    spawn = (struct exec_spawn){.command = setup->command,
                                .env = setup->env,
                                .in = setup->input >= 0 ? setup->input : ends.in,
                                .out = ends.out,
                                .err = ends.err};
    error = exec_spawn(&spawn, &child->pid);
    if (error != 0) {
        errno = error;
        goto out;
    }
    rc = exec_child_watch_all(child);
out:
    fd_close(&ends.in);
    fd_close(&ends.out);
    fd_close(&ends.err);
    if (rc < 0) {
        error = errno;
        exec_child_signal(child, SIGKILL);
        (void)exec_child_reap(child);
        errno = error;
    }
    return rc;
}

/* The registration belongs to the open file, which the child of another worker may hold for a
 * moment longer: so closing alone would not end it. */
void
exec_child_close(struct exec_child *child, int *fd)
{
    if (*fd < 0)
        return;
    if (fd != &child->in || child->in_watched)
        (void)epoll_ctl(child->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    if (fd == &child->in)
        child->in_watched = false;
    fd_close(fd);
}

void
exec_child_watch_in(struct exec_child *child, bool on)
{
    if (child->in < 0 || child->in_watched == on)
        return;
    if (!on)
        (void)epoll_ctl(child->epoll_fd, EPOLL_CTL_DEL, child->in, NULL);
    else if (exec_child_watch(child, child->in, EXEC_CHILD_IN, EPOLLOUT) < 0)
        return; /* without memory for that the time limit ends it */
    child->in_watched = on;
}

void
exec_child_signal(const struct exec_child *child, int signo)
{
    if (child->pid > 0 && !child->is_lost)
        (void)kill(-child->pid, signo);
}

bool
exec_child_has_ended(struct exec_child *child)
{
    siginfo_t info = {0};

    if (child->pid == 0)
        return false;
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        child->is_lost = errno == ECHILD;
    return child->is_lost || info.si_pid != 0;
}

/* The group's number is nobody else's as long as its leader is not reaped. */
int
exec_child_reap(struct exec_child *child)
{
    pid_t reaped = -1;
    int status = -1;

    exec_child_signal(child, SIGKILL);
    exec_child_close(child, &child->in);
    exec_child_close(child, &child->out);
    exec_child_close(child, &child->err);
    exec_child_close(child, &child->pid_fd);
    while (child->pid > 0 && (reaped = waitpid(child->pid, &status, 0)) < 0 && errno == EINTR)
        ;
    *child = EXEC_CHILD_NONE;
    return reaped > 0 ? status : -1;
}

size_t
exec_child_pending(int fd)
{
    int n = 0;

    if (fd < 0 || ioctl(fd, FIONREAD, &n) < 0 || n < 0)
        return 0;
    return (size_t)n;
}
