/* A generation: the workers that run with one configuration, that configuration, and its listening
 * sockets. It lives until its last worker is gone. Plain bookkeeping; what is done about a worker
 * is decided in supervise.c. */
#ifndef MASTER_GENERATION_H
#define MASTER_GENERATION_H

#include "config/config.h"
#include "master/failure.h"
#include "master/listener.h"
#include "stats/stats_writer.h"
#include "worker/child.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* --- backoff.c --- */

/* How long to wait before a worker that died is replaced. Pure: the time is an argument.
 *
 * The first replacement comes at once; one that keeps dying waits 10 ms, 20 ms, ... up to 10 s. A
 * worker that lived for BACKOFF_STABLE_US has earned a clean record. */

#define BACKOFF_FIRST_US  10000u
#define BACKOFF_MAX_US    10000000u
#define BACKOFF_STABLE_US 10000000u

struct backoff {
    uint64_t next_us; /* the delay of the next death in a row; 0: at once */
};

/* A worker that began at started_us died at now_us (same clock). Returns the delay in microseconds
 * until its replacement may be forked. */
uint64_t backoff_died(struct backoff *b, uint64_t started_us, uint64_t now_us);

/* --- spawn.c --- */

/* Forks one worker and arranges what it holds: its two pipes, its signals, its log, its user. Knows
 * nothing of generations; what the child must let go of is told by a callback. */

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

enum worker_state {
    WORKER_NONE,     /* no process and none is due */
    WORKER_STARTING, /* forked, has not said that it is ready */
    WORKER_LATE,     /* was not ready in time and has been killed */
    WORKER_READY,
    WORKER_LEAVING, /* told to leave */
    WORKER_WAITING, /* died; its replacement is due at wake_us */
};

struct process {
    enum worker_state state;
    unsigned index;
    pid_t pid;    /* a child that is not reaped yet; 0: none */
    int ready_fd; /* reading end of its readiness pipe, or -1 */
    bool placed;  /* place is claimed and not folded yet */
    struct stats_place place;
    uint64_t started_us;
    uint64_t
        wake_us; /* STARTING: ready until then; WAITING: forked then; READY: stable then, or 0 */
    unsigned restarts;
    uint64_t reopens; /* how many reopenings of the logs it has taken part in */
    bool degraded;
    struct backoff backoff;
    char sentence[256]; /* why it could not start, as it was sent */
    size_t sentence_len;
};

struct generation {
    struct generation *next; /* in the list of those that drain */
    uint64_t number;
    struct config *config; /* owned */
    size_t listener_count;
    struct listener *listeners[CONFIG_LISTENERS_MAX]; /* one reference each, NULL: not yet */
    size_t row_count;
    uint16_t rows[CONFIG_LISTENERS_MAX]; /* in the control file's table of listeners */
    uint64_t kill_at_us;                 /* whoever has not left by then is killed; 0: nobody is */
    size_t worker_count;
    struct process workers[];
};

/* Takes the configuration over. No worker has been forked and nothing is bound. */
struct generation *generation_create(struct config *config, uint64_t number);

/* No worker may be left. */
void generation_destroy(struct generation *g);

/* Gives every listener of the configuration its socket: old's where it has it (old may be NULL),
 * else a new one. Returns 0, or -1 with the reason; what it has by then goes with
 * generation_unlisten. */
MS_MUST_CHECK int generation_listen(struct generation *g, const struct generation *old, gid_t gid,
                                    struct failure *why);

/* Lets go of all sockets; those that no other generation has are closed. */
void generation_unlisten(struct generation *g);

/* True where l is one of g's. */
bool generation_has(const struct generation *g, const struct listener *l);

/* The worker with this pid, or NULL. */
struct process *generation_find(struct generation *g, pid_t pid);

/* How many have a process, and how many are ready. */
size_t generation_alive(const struct generation *g);
size_t generation_ready(const struct generation *g);

/* The earliest time at which something is due, UINT64_MAX where nothing is. */
uint64_t generation_wake_us(const struct generation *g);

/* Reads what the worker has written on its readiness pipe so far. Returns true where that is the
 * one byte that means ready; else sentence holds what came. Closes the pipe when it has served. */
bool process_hear(struct process *w);

/* sentence, escaped for a log; "" where the worker said nothing. */
#define WORKER_SENTENCE_LEN 400
void process_sentence(const struct process *w, char out[WORKER_SENTENCE_LEN]);

#endif
