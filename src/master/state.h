/* What the master knows, all of it its own memory: nothing here was written by a worker but the
 * sentence of one that could not start. Private to src/master. */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include "bus/bus.h"
#include "master/generation.h"
#include "master/master.h"
#include "master/signals.h"
#include "stats/stats_writer.h"

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

#endif
