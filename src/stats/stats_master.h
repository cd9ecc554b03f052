/* The master's half of the shared memory: it creates the files, writes control, and adds up what
 * workers left behind. It never acts on anything a worker can write, and nothing a worker does to
 * its file can stop it. */
#ifndef STATS_STATS_MASTER_H
#define STATS_STATS_MASTER_H

#include "common/regions.h"
#include "stats/stats_layout.h"

#include <sys/types.h>

struct stats_master {
    struct stats_control *control; /* mapped read-write in the master only */
    int control_ro_fd;             /* for workers to map read-only */
    struct regions loads;          /* of struct stats_load, one a worker */
    int region_fds[STATS_REGIONS]; /* read-write; -1 where the region is nobody's */
    uint64_t next_incarnation;
    uint64_t crashes; /* recorded so far */
    gid_t gid;        /* of the files */
    int dir_fd;       /* the directory that was there at the start, whatever has its name now */
};

/* Creates control anew in the directory dir_fd (-1: dir is opened), which errors call dir, by
 * rename, so that readers of an earlier run keep what they mapped, and removes the regions of that
 * run. All files have mode 0640, and group gid where it is not (gid_t)-1. The caller holds the lock
 * in dir. Returns 0, or -1 with errno and a sentence in error.
 */
MS_MUST_CHECK int
stats_master_open(struct stats_master *sm, int dir_fd, const char *dir, gid_t gid, char error[256]);
void stats_master_close(struct stats_master *sm); /* the files stay, to be read afterwards */

/* In a master that was executed anew, where sm is as it was with the descriptors open: maps what
 * was mapped. Returns 0, or -1 with errno. */
MS_MUST_CHECK int stats_master_resume(struct stats_master *sm);

/* The master is of this version from now on. */
void stats_master_version(struct stats_master *sm);

/* The names of the protocols that slots refer to by row, NULL at the end; at most STATS_PROTOCOLS.
 * Before the first worker of the program. */
void stats_master_protocols(struct stats_master *sm, const char *const *names);

/* Everything is in place: readers may read. The caller is the master from now on (its pid is taken
 * here, so call it after going to the background). */
void stats_master_ready(struct stats_master *sm);

/* A free region, with a new file, for a worker about to be forked: fills place_out (incarnation
 * included) and the row of the table (STARTING, pid 0, restarts 0). Returns 0, or -1 with errno:
 * EAGAIN where all regions are taken, else as open and fallocate (ENOSPC, EDQUOT, EMFILE). Where
 * control is not in its directory any more, the file has no name and nobody can read it. */
struct stats_place {
    int control_fd, stats_fd; /* borrowed from struct stats_master */
    struct regions loads;     /* the same */
    unsigned region;
    uint64_t incarnation;
};
MS_MUST_CHECK int stats_master_claim(struct stats_master *sm, unsigned index, uint64_t generation,
                                     struct stats_place *place_out);

/* The worker of that region has died, as wait(2) says: keeps its flight recorder in control, before
 * stats_master_fold. What is returned is valid until the next call; its text may be anything and
 * not be ended. */
const struct stats_crash *
stats_master_crashed(struct stats_master *sm, const struct stats_place *place, int status);

/* The worker of that region is gone: adds its numbers to the folded totals, once, removes its file,
 * and frees region and row. Numbers are added and never acted on; where they cannot be read any
 * more (the worker cut its file short) none are added, and the log says so. */
void stats_master_fold(struct stats_master *sm, const struct stats_place *place);

/* Returns the row (state, pid and so on are stored with the atomic operations). */
struct stats_worker *stats_master_worker(struct stats_master *sm, const struct stats_place *place);

/* Says how the present configuration reads the bytes of that listener's connections. */
void stats_master_listener_meaning(struct stats_master *sm, unsigned id, uint32_t meaning);

/* When the listener's certificate ends, in seconds since 1970; 0: it has none. */
void stats_master_listener_until(struct stats_master *sm, unsigned id, uint64_t until);

/* A row of the table of listeners: the row wanted where that is not -1, an existing one with this
 * url and address, or a free one (never
 * used, or else inactive and, where there is such a one, no longer shown by any connection), filled
 * and active. Returns its index, -1: all are active. */
int stats_master_listener(struct stats_master *sm, int wanted, const char *url, const char *address,
                          const char *proto, const char *handler);
void stats_master_listener_inactive(struct stats_master *sm, unsigned id);

/* A reload begins; stats_master_verdict ends it. */
void stats_master_reload(struct stats_master *sm);

/* The last reload's verdict: text first, the count of reloads last. */
void stats_master_verdict(struct stats_master *sm, bool ok, const char *text);

/* The shared memory of a worker that is alone and that nobody looks at: a part of another program.
 * The same layout, in memory without a name. */

/* For stats_writer_open: region 0, the only one. Its memory is no file, since a program may have a
 * limit on the size of its files, and goes with stats_writer_close. */
#define STATS_PLACE_PRIVATE                                           \
    ((struct stats_place){.control_fd = -1,                           \
                          .stats_fd = -1,                             \
                          .loads = {.fd = -1, .read_fd = -1, .n = 1}, \
                          .incarnation = 1})

#endif
