/* The runtime directory: made and checked, and the pid file in it. Invariant: nothing is written
 * into a directory that somebody else owns or that was reached through a symbolic link. */
#ifndef MASTER_RUN_DIR_H
#define MASTER_RUN_DIR_H

#include "config/config.h"
#include "master/failure.h"

#include <sys/types.h>

#define RUN_DIR_PID_FILE "msockd.pid"

/* Creates dir where it is missing (its parent must exist): 0700 below a directory where everybody
 * may write, as /tmp is, else 0750 and group gid unless that is (gid_t)-1. One that is there must
 * be ours and not writable by others. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int run_dir_prepare(const char *dir, gid_t gid, struct failure *why);

/* Puts this process's id into dir/msockd.pid, at one stroke. Returns 0, or -1 with the reason. */
MS_MUST_CHECK int run_dir_write_pid(const char *dir, struct failure *why);
void run_dir_remove_pid(const char *dir);

/* --- lock.c --- */

/* The lock that keeps a second master out of a runtime directory: an OFD lock on DIR/lock, which
 * the kernel drops when its last descriptor is closed, however the master died. Workers therefore
 * close theirs, so that one that still drains does not keep a new master out. */

/* Takes the lock, on a file of mode 0640 and group gid unless that is (gid_t)-1, and writes this
 * process's id into the file. A holder that is about to die is waited for, at most 200 ms. Returns
 * the descriptor (the caller closes it to let go), or -1 with the reason: EX_TEMPFAIL and the
 * holder's pid where another has it. */
MS_MUST_CHECK int lock_take(const char *dir, gid_t gid, struct failure *why);

/* --- log_file.c --- */

/* The log file of a daemon whose workers run as another user than the master. */

/* Makes sure that config's log file is there. One that is missing is created and, by a root master
 * whose workers are another user, given to that user, so that they can open it again after a
 * rotation. One that exists keeps its owner: its directory may be the workers', and to give away
 * what they put under that name would give away any file; for the same reason a symbolic link is
 * refused. Returns 0, or -1 with the reason; nothing
 * to do where the log is standard error. */
MS_MUST_CHECK int log_file_prepare(const struct config *config, struct failure *why);

#endif
