/* What the master knows, all of it its own memory: nothing here was written by a worker but the
 * sentence of one that could not start. Private to src/master. */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include "bus/bus.h"
#include "common/base.h"
#include "master/generation.h"
#include "master/master.h"
#include "stats/stats_writer.h"

#include <signal.h>
#include <stdbool.h>

/* --- signals.c --- */

/* Signals to the master. A signal only wakes the loop (signalfd); what is pending is then taken in
 * the order of its rank, most urgent first. Doubles of one signal become one. */

/* In the order of rank. */
enum signals_action {
    SIGNALS_STOP,    /* TERM, INT */
    SIGNALS_DRAIN,   /* QUIT */
    SIGNALS_REAP,    /* CHLD */
    SIGNALS_RELOAD,  /* HUP */
    SIGNALS_REOPEN,  /* USR1 */
    SIGNALS_UPGRADE, /* USR2 */
    SIGNALS_NONE,
};

struct signals {
    int fd;           /* signalfd: readable when something is pending */
    unsigned pending; /* bit set of enum signals_action */
    sigset_t old_mask;
    struct sigaction old_pipe;
};

/* Blocks the handled signals, ignores SIGPIPE and opens the descriptor. Returns 0, or -1 with errno
 * and everything as it was. */
MS_MUST_CHECK int signals_open(struct signals *s);

/* Closes and restores mask and disposition. */
void signals_close(struct signals *s);

/* In a child: empty mask, every disposition the default, descriptor closed. */
void signals_reset_child(struct signals *s);

/* Takes what has arrived into pending; never blocks. */
void signals_collect(struct signals *s);

/* Notes one signal number; one that is not handled is left out. Pure. */
void signals_note(unsigned *pending, int signo);

/* Removes the most urgent from pending and returns it, SIGNALS_NONE where nothing is. Pure. */
enum signals_action signals_next(unsigned *pending);

enum master_phase {
    MASTER_STARTING, /* the first generation is not ready yet */
    MASTER_RUNNING,
    MASTER_DRAINING, /* told to stop once the messages under way are finished */
    MASTER_STOPPING, /* told to stop at once */
    MASTER_FAILED,   /* could not start; only the reaping is left */
};

struct master {
    const struct master_hooks *hooks;
    enum master_phase phase;
    struct signals signals;
    int lock_fd;
    int verdict_fd;    /* hooks', until it was told */
    int death_fds[2];  /* workers read end-of-file on [0] when this process, which alone holds [1],
                          is gone */
    char *runtime_dir; /* heap */
    char *log_file;    /* heap; what the log goes to now, NULL: standard error */
    bool has_stats;
    struct bus_place bus; /* for all workers, as long as the master lives */
    int accept_bell;      /* see struct child */
    int handover_fds[2];  /* connections from workers that leave go in at [1], out at [0] */
    struct stats_master stats;
    struct generation *current; /* NULL while starting and stopping */
    struct generation *pending; /* forked, not all ready yet */
    struct generation *old;     /* list of those that drain */
    bool reload_again;          /* a HUP came during a reload */
    uint64_t reopens;
    struct failure failure; /* why it could not start */
};

/* The group that owns what workers and msockctl may read: the configured one of a root master, else
 * (gid_t)-1. */
gid_t master_group(const struct config *config);

/* --- reload.c --- */

/* A change of configuration as a transaction; the start is one that begins with nothing. Either
 * every worker of the new generation says that it is ready, and then it takes over, or everything
 * is as it was. */

/* Prepares, binds and forks a pending generation with config, which is taken over in every case.
 * Returns 0, or -1 with the reason and nothing left behind but workers that are being reaped. */
MS_MUST_CHECK int reload_begin(struct master *m, struct config *config, struct failure *why);

/* Gives pending up. */
void reload_abort(struct master *m);

/* Makes pending current, and lets the generation before it drain. */
void reload_commit(struct master *m);

/* HUP: builds the configuration and begins; one that is under way is followed by one more. */
void reload_request(struct master *m);

/* Gives pending up and says why, on the log and as the verdict. */
void reload_fail(struct master *m, const struct failure *why);

/* pending is ready: commits and says so. */
void reload_finish(struct master *m);

/* Appends "8 workers, listening on msp://127.0.0.1:8000, ..." for g. */
void reload_describe(const struct generation *g, struct buffer *out);

/* --- supervise.c --- */

/* What is done about workers: fork, hear that they are ready, reap, replace, tell to leave,
 * kill. */

/* Past its time to leave a worker is killed after so long. */
#define SUPERVISE_GRACE_US 5000000u

/* Forks w of g, whose listeners are in place. Returns 0, or -1 with the reason and w as it was. */
MS_MUST_CHECK int
supervise_spawn(struct master *m, struct generation *g, struct process *w, struct failure *why);

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
