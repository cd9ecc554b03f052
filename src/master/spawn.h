/* Forks one worker and arranges what it holds: its two pipes, its signals, its log, its user. Knows
 * nothing of generations; what the child must let go of is told by a callback. */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include "master/failure.h"
#include "worker/child.h"

#include <sys/types.h>

struct spawn {
    child_main_fn entry;
    struct child child;        /* complete but for ready_fd */
    const char *log_file;      /* what the master logs to now (NULL: standard error) */
    void (*forget)(void *arg); /* in the child, first: closes what is not the worker's, and
                                     resets the signals */
    void *forget_arg;
};

/* Returns the worker's pid and the reading end of its readiness pipe (non-blocking, the caller's),
 * or -1 with the reason. What goes wrong in the child before the worker's entry is told on that
 * pipe as a sentence, and the child exits with CHILD_EXIT_NOT_READY. */
MS_MUST_CHECK pid_t spawn_worker(const struct spawn *s, int *ready_fd_out, struct failure *why);

#endif
