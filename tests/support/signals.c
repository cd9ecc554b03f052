#include "support/signals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
signal_check(pid_t pid)
{
    if (pid < 2)
        fail_msg("there is no process to send a signal to: pid %d", (int)pid);
}

int
signal_send(pid_t pid, int signo)
{
    signal_check(pid);
    return kill(pid, signo);
}

int
signal_group(pid_t group, int signo)
{
    signal_check(group);
    return kill(-group, signo);
}
