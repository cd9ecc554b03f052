/* See the header. Invariant: nothing here fails. What cannot be set stays as it was, and whatever
 * needs it will say so. */
#include "common/environment.h"

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define UMASK_DAEMON 022
#define UMASK_OWNER  0700
#define STACK_LEAST  ((rlim_t)8 << 20) /* bytes: the usual soft limit */

static struct environment_left environment; /* for those who ask for it later */

/* --- signals --- */

#define KERNEL_SET_SIZE 8 /* bytes; of the kernel's set of signals */

static void
signals_default(bool keep_hangup)
{
    static const uint64_t kernel_default[8]; /* the kernel's struct sigaction */
    const struct sigaction by_default = {.sa_handler = SIG_DFL};

    /* This fails for SIGKILL and SIGSTOP, which always have their default. */
    for (int signo = 1; signo < NSIG; signo++)
        if (signo != SIGHUP || !keep_hangup)
            (void)sigaction(signo, &by_default, NULL);
    /* libc refuses to touch the signals that it keeps for itself, but its posix_spawn starts
     * programs that ignore them. */
    for (int signo = SIGSYS + 1; signo < SIGRTMIN; signo++)
        (void)syscall(SYS_rt_sigaction, signo, kernel_default, NULL, KERNEL_SET_SIZE);
}

void
environment_default_signals(void)
{
    sigset_t none;

    signals_default(false);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The user of `nohup msock listen &` wants it to outlive his terminal, and says so in the only way
 * that there is: by an ignored SIGHUP. No other disposition is a wish. Most come from a launcher
 * that ignores signals for itself and does not know that its children inherit that. With SIGCHLD,
 * the kernel reaps the children, and nobody learns how they ended. The mask is emptied last: what
 * was blocked and pending acts then, as it was meant to, and what asks a daemon for something waits
 * until it can hear it. */
static void
environment_signals(enum environment_kind kind)
{
    struct sigaction hangup;
    sigset_t later;

    environment.hangup_ignored =
        sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    signals_default(kind == ENVIRONMENT_TOOL && environment.hangup_ignored);
    (void)signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&later);
    if (kind == ENVIRONMENT_DAEMON) {
        (void)signal(SIGTTOU, SIG_IGN);
        sigaddset(&later, SIGHUP);
        sigaddset(&later, SIGUSR1);
        sigaddset(&later, SIGUSR2);
    }
    (void)sigprocmask(SIG_SETMASK, &later, NULL);
}

bool
environment_hangup_ignored(void)
{
    return environment.hangup_ignored;
}

static void
environment_timers(void)
{
    const struct itimerval never = {0};

    (void)setitimer(ITIMER_REAL, &never, NULL);
    (void)setitimer(ITIMER_VIRTUAL, &never, NULL);
    (void)setitimer(ITIMER_PROF, &never, NULL);
    /* A signal that is pending already is dropped when it is ignored for a moment. */
    (void)signal(SIGALRM, SIG_IGN);
    (void)signal(SIGVTALRM, SIG_IGN);
    (void)signal(SIGPROF, SIG_IGN);
}

/* --- descriptors --- */

/* A launcher may have left one that does not wait, so that a print fails where its reader is slow.
 * The flag is that of an open file, which others may share. So a pipe or a terminal is opened once
 * more; where that cannot be done, the flag goes for all. */
static void
standard_waits(int fd)
{
    int flags = fcntl(fd, F_GETFL), again = -1;
    char path[32];
    struct stat st;

    if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_NONBLOCK) == 0)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd)))
        again = open(path, flags | O_NOCTTY | O_CLOEXEC); /* with O_NONBLOCK: a FIFO may wait */
    if (again >= 0)
        (void)dup2(again, fd);
    fd_close(&again);
    (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static void
environment_descriptors(void)
{
    fd_fill_standard();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        standard_waits(fd);
}

/* --- limits --- */

/* Core dumps are left alone: they hold messages. So are limits that only root's programs meet. */
static const struct {
    int resource;
    const char *warning; /* with the limit in front; NULL: there is none, or msockd's own name */
} environment_limits[] = {
    {RLIMIT_CPU, "of CPU time for a process (ulimit -t): whoever has used them is killed"},
    {RLIMIT_FSIZE, "in a file (ulimit -f): what needs a larger one fails"},
    {RLIMIT_AS, "of address space for a process (ulimit -v): what needs more fails"},
    {RLIMIT_DATA, "of data for a process (ulimit -d): what needs more fails"},
    {RLIMIT_NPROC, NULL}, /* one of many thousands is usual */
};

static void
limit_raise(int resource, rlim_t wanted)
{
    struct rlimit limit;

    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit((__rlimit_resource_t)resource, &limit);
}

static void
environment_raise_limits(void)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(environment_limits); i++)
        limit_raise(environment_limits[i].resource, RLIM_INFINITY);
    limit_raise(RLIMIT_STACK, STACK_LEAST);
    (void)fd_raise_limit();
}

void
environment_log_limits(void)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(environment_limits); i++) {
        int resource = environment_limits[i].resource;
        char amount[TEXT_BYTES_LEN];
        struct rlimit limit;

        if (environment_limits[i].warning == NULL ||
            getrlimit((__rlimit_resource_t)resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
            continue;
        if (resource == RLIMIT_CPU)
            snprintf(amount, sizeof(amount), "%llu s", (unsigned long long)limit.rlim_cur);
        else
            text_bytes((double)limit.rlim_cur, amount);
        log_line(LOG_limit_inherited, "msockd was started with a limit of %s %s", amount,
                 environment_limits[i].warning);
    }
}

/* --- all of it --- */

static void
environment_umask(enum environment_kind kind)
{
    environment.umask = umask(UMASK_DAEMON);
    if (kind == ENVIRONMENT_TOOL)
        umask(environment.umask & ~(mode_t)UMASK_OWNER);
}

void
environment_make(enum environment_kind kind)
{
    environment_descriptors();
    environment_timers();
    environment_signals(kind);
    environment_umask(kind);
    (void)getrlimit(RLIMIT_NOFILE, &environment.files);
    environment.is_made = true;
    if (kind == ENVIRONMENT_DAEMON)
        environment_raise_limits();
}

void
environment_tell(struct environment_left *out)
{
    *out = environment;
}

void
environment_take(const struct environment_left *left)
{
    environment = *left;
}

void
environment_become_program(void)
{
    if (environment.is_made) {
        umask((environment.umask & ~(mode_t)UMASK_OWNER) | UMASK_DAEMON);
        (void)setrlimit(RLIMIT_NOFILE, &environment.files);
    }
    environment_default_signals();
}
