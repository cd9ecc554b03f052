/* A master that lives and may be signalled. */
#ifndef MSOCKCTL_TARGET_H
#define MSOCKCTL_TARGET_H

#include "ctl.h"
#include "stats/stats_reader.h"

#include <sys/types.h>

struct target {
    struct stats_reader sr;
    const char *dir;
    pid_t pid;
    uint64_t deadline_us; /* monotonic; target_wait gives up then */
};

/* Finds the master of ctl->dir and makes sure that it is one: the lock is held, and the process
 * with the pid in control belongs to the owner of control. timeout: text of --timeout, NULL for a
 * minute. Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int target_open(const struct ctl *ctl, const char *timeout, struct target *out);
void target_close(struct target *target);

/* Returns EX_OK, or a status after an error message. */
MS_MUST_CHECK int target_signal(const struct ctl *ctl, const struct target *target, int sig);

enum target_event { TARGET_DONE, TARGET_GONE, TARGET_TIMEOUT };

/* Waits until done returns true, the master is gone, or the time is over. done NULL: for the
 * master's end only. */
enum target_event
target_wait(struct target *target, bool (*done)(const struct target *target, void *arg), void *arg);

/* A whole subcommand whose only option is --timeout: opens the target, acts on it, closes it.
 * Returns what act returned, or the status of what went wrong before. */
int target_run(struct ctl *ctl, int argc, char *argv[],
               int (*act)(const struct ctl *ctl, struct target *target));

#endif
