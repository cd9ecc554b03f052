/* posix_spawn(3) cannot let a child die with its parent, and fork(2) copies the page tables of a
 * worker that holds many messages: so this is vfork(2). Invariant: until the shell runs, the child
 * shares the worker's memory. It makes nothing but calls that a signal handler may make, writes
 * nothing but its own frames and the error, and no signal handler of the worker's runs in it: all
 * signals are blocked until they have their defaults. */
#include "handler/exec/exec.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXEC_SPAWN_FAILED 127 /* as a shell says it */

/* The worker blocks signals and ignores some: none of that is the child's. */
static void
exec_spawn_default_signals(void)
{
    const struct sigaction dfl = {.sa_handler = SIG_DFL};

    for (int signo = 1; signo < NSIG; signo++)
        (void)sigaction(signo, &dfl,
                        NULL); /* SIGKILL, SIGSTOP and those of libc itself have no other */
}

/* A worker that ended before the call did gives the child no signal any more, but another
 * parent. */
static int
exec_spawn_follow(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    if (getppid() != parent)
        _exit(EXEC_SPAWN_FAILED);
    return 0;
}

static int
exec_spawn_descriptors(const struct exec_spawn *spawn)
{
    if (dup2(spawn->in, 0) < 0 || dup2(spawn->out, 1) < 0 || dup2(spawn->err, 2) < 0)
        return -1;
    closefrom(3);
    return 0;
}

static _Noreturn void
exec_spawn_child(const struct exec_spawn *spawn, pid_t parent, volatile int *error)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)spawn->command, NULL};
    sigset_t none;

    sigemptyset(&none);
    exec_spawn_default_signals();
    if (setpgid(0, 0) == 0 && exec_spawn_follow(parent) == 0 &&
        exec_spawn_descriptors(spawn) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0)
        execve("/bin/sh", argv, spawn->env);
    *error = errno;
    _exit(EXEC_SPAWN_FAILED);
}

int
exec_spawn(const struct exec_spawn *spawn, pid_t *pid_out)
{
    volatile int error = 0;
    pid_t parent = getpid(), pid;
    sigset_t all, before;

    /* So none of the three is a place that the child gives to another. */
    MS_ASSERT(spawn->in > 2 && spawn->out > 2 && spawn->err > 2);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid = vfork();
    if (pid == 0)
        exec_spawn_child(spawn, parent, &error);
    if (pid < 0)
        error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && error != 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    else if (pid > 0)
        *pid_out = pid;
    return error;
}
