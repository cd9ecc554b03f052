/* The environment of a process: what its launcher left must not decide how it runs. Only programs
 * call this. libmsock does not have it, because all of it belongs to the program that it is in. */
#ifndef COMMON_ENVIRONMENT_H
#define COMMON_ENVIRONMENT_H

#include "common/base.h"

#include <sys/resource.h>
#include <sys/types.h>

enum environment_kind {
    ENVIRONMENT_DAEMON, /* msockd: nothing of its launcher's counts */
    ENVIRONMENT_TOOL,   /* msock, msockctl: somebody has typed them, and his wishes count */
};

/* Call it first in main, before there are threads.
 *
 *   descriptors   0, 1 and 2 are open, and wait rather than fail where nobody reads or writes
 *   signals       the mask is empty, but for SIGHUP, SIGUSR1 and SIGUSR2 in a daemon, which would
 *                 end it before signals_open takes them. All dispositions are the default, but for
 *                 SIGXFSZ, which is ignored: beyond `ulimit -f` a write fails and says why. A
 *                 daemon also ignores SIGTTOU, so that a line on its terminal does not stop it.
 *                 SIGPIPE is the default: a tool whose reader leaves ends in silence, and a daemon
 *                 chooses by itself.
 *   nohup         in a tool an ignored SIGHUP stays ignored
 *   timers        those that outlived the exec (alarm, setitimer) are stopped
 *   umask         a daemon's is 022, so its files have the modes that the code names; a tool takes
 *                 nothing from their owner
 *   limits        a daemon raises its soft limits to the hard ones, see environment_log_limits
 *
 * Priority, scheduling, capabilities and the current directory stay as they are. */
void environment_make(enum environment_kind kind);

/* Was SIGHUP ignored when this process was started, as nohup(1) leaves it? */
bool environment_hangup_ignored(void);

/* What environment_make has found, for a process that is the same program executed anew and that
 * does not call it. */
struct environment_left {
    bool hangup_ignored;
    bool is_made;
    mode_t umask;
    struct rlimit files;
};
void environment_tell(struct environment_left *out);
void environment_take(const struct environment_left *left);

/* A warning for each hard limit that the daemon will meet. Call it once there is a log. */
void environment_log_limits(void);

/* In a child process, last before the code of somebody else runs: default dispositions and an empty
 * mask. Makes only calls that a signal handler may make. */
void environment_default_signals(void);

/* The same for a child that becomes another program. Also gives back the soft limit of descriptors,
 * since programs exist that count up to it, and what the launcher's umask took from the group and
 * from others. These never get the right to write. */
void environment_become_program(void);

#endif
