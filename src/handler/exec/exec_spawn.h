/* How a child of the exec handler begins: /bin/sh -c COMMAND as the leader of a process group of
 * its own, with three descriptors, default signals, none of them blocked, and SIGKILL for the day
 * on which the thread that started it ends, in whatever way. What the command starts itself is not
 * reached by that. */
#ifndef HANDLER_EXEC_EXEC_SPAWN_H
#define HANDLER_EXEC_EXEC_SPAWN_H

#include "common/base.h"

#include <sys/types.h>

struct exec_spawn {
    const char *command;
    char *const *env;
    int in, out, err; /* above 2; stay the caller's */
};

/* Returns 0, or an errno. Blocks until the shell has begun, for less than it would take to copy the
 * page tables of a large process. */
MS_MUST_CHECK int exec_spawn(const struct exec_spawn *spawn, pid_t *pid_out);

#endif
