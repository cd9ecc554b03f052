/* The writing halves of the shared memory: the master's (control) and the worker's (its region).
 * Counting is a plain relaxed load and store, since every cell has one writer. */
#ifndef STATS_STATS_WRITER_H
#define STATS_STATS_WRITER_H

#include "common/base.h"
#include "common/url.h"
#include "stats/stats_layout.h"

#include <stdbool.h>

/* --- the master's half --- */

struct stats_master {
    struct stats_control *control; /* mapped read-write in the master only */
    const uint8_t *regions;        /* the stats file, mapped read-only */
    int control_ro_fd;             /* for workers to map read-only */
    int stats_fd;                  /* read-write; workers map their region with it */
    uint64_t next_incarnation;
    char *dir; /* heap */
};

/* Creates both files anew in dir, mode 0640, by rename, so that readers of an earlier run keep what
 * they mapped. Group gid where it is not (gid_t)-1. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int
stats_master_open(struct stats_master *sm, const char *dir, gid_t gid, char error[256]);
void stats_master_close(struct stats_master *sm); /* the files stay, to be read afterwards */

/* Everything is in place: readers may read. */
void stats_master_ready(struct stats_master *sm);

/* A free region for a worker about to be forked: fills place_out (incarnation included) and the row
 * of the table (STARTING, pid 0). Returns 0, or -1 where all regions are taken. */
struct stats_place {
    int control_fd, stats_fd; /* borrowed from struct stats_master */
    unsigned region;
    uint64_t incarnation;
};
MS_MUST_CHECK int stats_master_claim(struct stats_master *sm, unsigned index, uint64_t generation,
                                     struct stats_place *place_out);

/* The worker of that region is gone: adds its numbers to the folded totals, once, and frees region
 * and row. Numbers are added and never acted on. */
void stats_master_fold(struct stats_master *sm, const struct stats_place *place);

/* Returns the row (state, pid and so on are stored with the atomic operations). */
struct stats_worker *stats_master_worker(struct stats_master *sm, const struct stats_place *place);

/* A row of the table of listeners: an existing active one with this url and address, or a free one
 * (inactive, and no longer shown by any connection), filled and active. Returns its index, -1: full. */
int stats_master_listener(struct stats_master *sm, const char *url, const char *address,
                          const char *proto, const char *handler);
void stats_master_listener_inactive(struct stats_master *sm, unsigned id);

/* The last reload's verdict: text first, the count of reloads last. */
void stats_master_verdict(struct stats_master *sm, bool ok, const char *text);

/* --- the worker's half --- */

struct stats_writer {
    const struct stats_control *control; /* read-only */
    const uint8_t *regions;              /* all regions, read-only: who has how many connections */
    struct stats_block *block;           /* this worker's own region, read-write */
    struct stats_slot *slots;
    unsigned region;
    uint64_t next_id;
    uint32_t *free_slots; /* stack of slots given back */
    uint32_t free_count, free_cap;
    void *own_map;
};

/* Maps, clears the region and puts its incarnation in place. In the worker, after the fork; then the
 * master's read-write mapping of control (inherited) is unmapped with stats_master_forget. Returns 0,
 * or -1 with errno. */
MS_MUST_CHECK int stats_writer_open(struct stats_writer *sw, const struct stats_place *place);
void stats_writer_close(struct stats_writer *sw);
void stats_master_forget(struct stats_master *sm); /* in the child: unmap, keep the descriptors */

/* A slot for a new connection: identity filled in, state IDLE, counters 0. NULL where all
 * STATS_SLOTS are taken. Low slots are taken first. */
struct stats_slot *stats_writer_claim(struct stats_writer *sw, uint16_t listener,
                                      const struct endpoint *peer, uint64_t now_us);
void stats_writer_release(struct stats_writer *sw, struct stats_slot *slot);

/* The fair share: true where this worker has clearly more open connections than the mean of all
 * workers that accept (itself included), and should leave new ones to others. */
bool stats_writer_overfull(const struct stats_writer *sw);

/* Open connections of all live workers. */
uint64_t stats_writer_open_total(const struct stats_writer *sw);

/* Only the cell's one writer calls this, so load and store cannot lose an update. */
static inline void
stats_add(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Bucket of a duration, and the middle of a bucket's range, microseconds. */
unsigned stats_histogram_index(uint64_t us);
uint64_t stats_histogram_value(unsigned index);

static inline void
stats_latency(struct stats_block *block, uint64_t us)
{
    stats_add(&block->latency[stats_histogram_index(us)], 1);
}

#endif
