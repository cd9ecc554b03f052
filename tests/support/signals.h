/* Signals of the tests, which are sent to a process whose pid was read and to nothing else. A pid
 * that was never read is 0, which kill(2) takes for the process group of the test, with make and
 * the caller's shell in it; -1 is every process of the user. */
#ifndef SUPPORT_SIGNALS_H
#define SUPPORT_SIGNALS_H

#include <signal.h>
#include <sys/types.h>

/* kill(2) for one process. Ends the test where the pid is below 2. */
int signal_send(pid_t pid, int signo);

/* The same for the process group with that number. */
int signal_group(pid_t group, int signo);

#endif
