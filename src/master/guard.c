/* A new program that begins as the master may crash, hang or end before it has shown that it can go
 * on. The process then executes the one before again, in its own place: its process id, its
 * children and its descriptors are still there. Invariant: between guard_arm and guard_disarm
 * nothing changes that the state in state_fd tells of. */
#include "master/state.h"

#include "common/fd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define GUARD_STACK 65536

static struct {
    volatile sig_atomic_t is_armed;
    int program_fd, state_fd;
    char *const *argv;
    char *how; /* in variable: the digit that says why */
    char variable[64];
    char **environment; /* heap */
} guard;

static const int guard_signals[] = {SIGSEGV, SIGBUS,  SIGILL, SIGFPE,
                                    SIGABRT, SIGTRAP, SIGSYS, SIGALRM};

/* Also from a handler of signals. */
void
guard_go_back(enum upgrade_back how)
{
    if (!guard.is_armed)
        return;
    guard.is_armed = false;
    (void)alarm(0);
    *guard.how = (char)('0' + how);
    (void)fexecve(guard.program_fd, guard.argv, guard.environment);
    _exit(EX_OSERR);
}

static void
guard_caught(int signo)
{
    guard_go_back(signo == SIGALRM ? UPGRADE_HUNG : UPGRADE_CRASHED);
}

static void
guard_exits(void)
{
    guard_go_back(UPGRADE_ENDED);
}

static void
guard_fill_environment(void)
{
    size_t n = 0;

    while (environ[n] != NULL)
        n++;
    guard.environment = ms_calloc(n + 2, sizeof(guard.environment[0]));
    guard.environment[0] = guard.variable;
    for (size_t i = 0; i < n; i++)
        guard.environment[i + 1] = environ[i];
}

void
guard_arm(int program_fd, int state_fd, char *const *argv, unsigned seconds)
{
    static char stack[GUARD_STACK];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
    /* The mask would outlive the exec. */
    const struct sigaction action = {.sa_handler = guard_caught,
                                     .sa_flags = (int)(SA_ONSTACK | SA_NODEFER)};

    guard.program_fd = program_fd;
    guard.state_fd = state_fd;
    guard.argv = argv;
    guard.how =
        guard.variable +
        snprintf(guard.variable, sizeof(guard.variable), UPGRADE_VARIABLE "=%d -1 -1 ?", state_fd) -
        1;
    guard_fill_environment();
    guard.is_armed = true;
    (void)atexit(guard_exits);
    (void)sigaltstack(&own, NULL);
    for (size_t i = 0; i < MS_ARRAY_LEN(guard_signals); i++)
        (void)sigaction(guard_signals[i], &action, NULL);
    (void)alarm(seconds);
}

void
guard_disarm(void)
{
    if (!guard.is_armed)
        return;
    guard.is_armed = false;
    (void)alarm(0);
    for (size_t i = 0; i < MS_ARRAY_LEN(guard_signals); i++)
        (void)signal(guard_signals[i], SIG_DFL);
    free(guard.environment);
    fd_close(&guard.state_fd);
}
