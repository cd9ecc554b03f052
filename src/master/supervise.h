/* What is done about workers: fork, hear that they are ready, reap, replace, tell to leave,
 * kill. */
#ifndef MASTER_SUPERVISE_H
#define MASTER_SUPERVISE_H

#include "master/state.h"

/* Past its time to leave a worker is killed after so long. */
#define SUPERVISE_GRACE_US 5000000u

/* Forks w of g, whose listeners are in place. Returns 0, or -1 with the reason and w as it was. */
MS_MUST_CHECK int
supervise_spawn(struct master *m, struct generation *g, struct worker *w, struct failure *why);

/* Reads the readiness pipes of current and pending. */
void supervise_hear(struct master *m);

/* Reaps every child that has ended. Those that are not workers are reaped in silence. Where one of
 * pending is among them, the reason is in why and false is returned. */
MS_MUST_CHECK bool supervise_reap(struct master *m, struct failure *why);

/* Does what is due: kills, replaces. Returns as supervise_reap where a worker of pending is
 * late. */
MS_MUST_CHECK bool supervise_timers(struct master *m, uint64_t now_us, struct failure *why);

/* Moves g, which is neither current nor pending any more, to those that drain: sockets closed,
 * ready workers told to leave with signo (QUIT: when they have finished what they have begun, TERM:
 * now), and killed when they are still there limit_us and SUPERVISE_GRACE_US later. Those that are
 * not ready are killed at once: they have begun nothing. */
void supervise_drain(struct master *m, struct generation *g, int signo, uint64_t limit_us);

/* Tells the workers of g, which drains, to leave now. */
void supervise_stop(struct generation *g, uint64_t now_us);

/* Kills the workers of g, which drains. */
void supervise_kill(struct generation *g);

/* Frees those that have drained. */
void supervise_sweep(struct master *m);

/* Tells every worker to open its log again. */
void supervise_reopen(struct master *m);

#endif
