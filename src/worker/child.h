/* The things that a worker inherits from the master: the one header between the two processes. */
#ifndef WORKER_CHILD_H
#define WORKER_CHILD_H

#include "bus/bus.h"
#include "config/config.h"
#include "dedup/dedup.h"
#include "sources/sources.h"
#include "stats/stats_writer.h"
#include "tls/tls.h"

/* A worker begins with an empty signal mask and every signal at its default, SIGPIPE included; with
 * the configured user, log, log level and name; without capabilities and not to be dumped or
 * traced; with no descriptors of the master's but those in struct child. When the master is gone it
 * also gets QUIT, as a second line to master_fd.
 *
 * It says on ready_fd that it can accept: one byte CHILD_READY. Where it cannot start, it writes a
 * sentence (of more than one byte, in one write, at most 256 bytes count) instead and exits; the
 * master only logs it, escaped. Once it is ready it waits for one byte CHILD_GO on ready_fd, and
 * closes it then. Before that byte it accepts no connection and takes none over: the other workers
 * of its generation may still fail, and then nobody must have been answered by the configuration
 * that was not to be. One that was not told to go may be ended at any time. */
#define CHILD_READY 'R'
#define CHILD_GO    'G'

/* Exit statuses of a worker that mean something to the master; any other is a crash. */
enum child_exit {
    CHILD_EXIT_DONE = 0,      /* told to leave, or the master is gone */
    CHILD_EXIT_NOT_READY = 3, /* could not start; the sentence is on ready_fd */
};

/* Signals from the master to a worker: QUIT drain and leave, TERM leave now, USR1 reopen files. */

struct child_socket {
    int fd;          /* bound, listening after CHILD_GO, non-blocking; shared by all workers */
    size_t listener; /* index of its listener */
};

struct child_listener {
    uint16_t stats_id; /* its row in the control file's table of listeners */
    const struct listener_config *config;
};

struct child {
    unsigned index;      /* 0 .. workers - 1, or STATS_RELAY: the relay */
    uint64_t generation; /* 1 for the first configuration */
    bool is_restart;     /* it takes the place of one that has died */
    const struct config *config;
    size_t listener_count;
    struct child_listener listeners[CONFIG_LISTENERS_MAX];
    size_t socket_count;
    struct child_socket sockets[LISTEN_SOCKETS_MAX];
    struct bus_place bus;          /* between all workers; memory_fd -1: there is none */
    struct dedup_table *dedup;     /* the same in all workers, all of which write it */
    struct sources_table *sources; /* NULL: nobody has a share */
    _Atomic int64_t *id_offset_us; /* the same; see struct handler_host */
    int id_clock_fd;               /* its memory; -1 where there is only this worker */
    /* Both are -1 where there is only this worker. The bell (an eventfd) says that one worker
     * leaves connections to the others; connections of workers that leave go in at [1] and come out
     * at [0], a pair of packet sockets that all share. */
    int accept_bell;
    int handover_fds[2];
    struct tls_secret tls_secret; /* of the tickets of all workers */
    struct stats_place stats;     /* this worker's block; attach with stats_writer_open */
    int program_fd;               /* for child_execute; not inherited */
    int ready_fd;                 /* one of a pair of sockets */
    int master_fd;                /* reads EOF when the master is gone */
};

/* The worker's entry, a parameter of the supervisor so that tests can run a toy. */
typedef int (*child_main_fn)(const struct child *child);

/* --- child.c --- */

/* A worker is this program executed anew, so that each has its own layout in memory and nothing of
 * the master's. What it inherits is written into a file in memory, whose descriptor a variable of
 * its environment names. */

/* Opens the program that runs now: workers stay of this version when its file is replaced. Once, at
 * the start of the master. Returns the descriptor, or -1 with errno. */
MS_MUST_CHECK int child_program_open(void);

/* In the forked child, with its log open and its user set: executes the program anew. Returns an
 * exit status where it cannot, with the sentence on ready_fd. */
int child_execute(const struct child *child);

/* What to say behind strerror(error) where a program file that is open cannot be executed. "":
 * nothing. Static. */
const char *child_not_executed(int error);

/* First in main: has this process been executed by child_execute? Then *child_out is what that one
 * had, and log and environment are as they were there. Returns 1, 0 where it was not, or -1 where
 * it was and what it inherits is not there. */
MS_MUST_CHECK int child_take(struct child *child_out);

/* The bytes of what a worker inherits, its configuration apart: a master of another version can
 * start workers of this one where it has the same. */
size_t child_inherited_size(void);

/* --- worker_open.c --- */

/* Takes the master's signals from a descriptor, non-blocking, and ignores those that would end or
 * stop this process without the master. Returns the descriptor, or -1 with errno. */
MS_MUST_CHECK int child_signals_open(void);

/* --- handover_packet.c --- */

/* A number for all that decides whether connections can move between listeners: what their bytes
 * mean, and what a connection on its way looks like. NULL: that alone. */
uint32_t handover_meaning(const struct listener_config *listener);

#endif
