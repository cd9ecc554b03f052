/* To the background: the process that was started waits until the daemon has said how its start
 * went, and leaves with that verdict. */
#ifndef MASTER_DAEMONIZE_H
#define MASTER_DAEMONIZE_H

#include "master/failure.h"

enum daemonize_side {
    DAEMONIZE_ERROR,  /* could not fork; the reason is in the verdict */
    DAEMONIZE_DAEMON, /* the daemon: verdict_fd_out is its own */
    /* the process that was started: the verdict is complete, code 0 means ready */
    DAEMONIZE_WAITER,
};

/* Forks. The daemon has a session of its own, / as its directory and /dev/null as standard input,
 * output and error. The waiter blocks until the daemon has told. */
enum daemonize_side daemonize(int *verdict_fd_out, struct failure *verdict_out);

/* Tells the waiter, once, and closes; does nothing where *verdict_fd is -1. */
void daemonize_tell(int *verdict_fd, int code, const char *text);

#endif
