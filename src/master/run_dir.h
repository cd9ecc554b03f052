/* The runtime directory: made and checked, and the pid file in it. Invariant: nothing is written
 * into a directory that somebody else owns or that was reached through a symbolic link. */
#ifndef MASTER_RUN_DIR_H
#define MASTER_RUN_DIR_H

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

#endif
