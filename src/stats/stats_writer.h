/* The worker's half of the shared memory: its own region, one block and a slot for each connection,
 * and its load. Counting is a plain relaxed load and store, since every cell has one writer. */
#ifndef STATS_STATS_WRITER_H
#define STATS_STATS_WRITER_H

#include "common/url.h"
#include "stats/stats_layout.h"
#include "stats/stats_master.h"

struct stats_writer {
    const struct stats_control *control; /* read-only */
    const struct stats_load *loads; /* of all workers, read-only: who has how many connections */
    struct stats_load *load;        /* this worker's own, read-write */
    struct stats_block *block;      /* the same */
    struct stats_slot *slots;
    struct stats_recorder *recorder;
    uint64_t events; /* recorded so far */
    uint64_t next_id;
    uint32_t *free_slots; /* stack of slots given back */
    uint32_t free_count, free_cap;
    uint32_t reserved; /* slots that have room in the file */
    int stats_fd;      /* borrowed from struct stats_place */
};

/* Maps, and puts its incarnation in place. What place has stays as long as sw is used. Returns 0,
 * or -1 with errno. */
MS_MUST_CHECK int stats_writer_open(struct stats_writer *sw, const struct stats_place *place);
void stats_writer_close(struct stats_writer *sw);

/* A slot for a new connection: identity filled in, state IDLE, counters 0. Slots given back are
 * taken before new ones, and new ones in rising order. NULL where all STATS_SLOTS are taken or the
 * file system of the runtime directory is full: the connection cannot be taken. */
struct stats_slot *stats_writer_claim(struct stats_writer *sw, uint16_t listener,
                                      const struct endpoint *peer, uint64_t now_us);
void stats_writer_release(struct stats_writer *sw, struct stats_slot *slot);

/* Whether it takes new connections. At first it does not. */
void stats_writer_accepting(struct stats_writer *sw, bool accepting);

/* Who its peer is. */
void stats_writer_identity(struct stats_slot *slot, const char *identity);

/* The process at the other end of a Unix socket (SO_PEERCRED), which its address does not tell. */
void stats_writer_peer_pid(struct stats_slot *slot, uint32_t pid);

/* What the relay tells of itself; seq is this function's. Of a writer without slots. */
void stats_writer_relay(struct stats_writer *sw, const struct stats_relay *now);

/* The fair share: true where this worker has clearly more open connections than the mean of all
 * workers that accept (itself included), and should leave new ones to others: open > mean * 9 / 8 +
 * 1. */
bool stats_writer_overfull(const struct stats_writer *sw);

/* Open connections of all live workers. */
uint64_t stats_writer_open_total(const struct stats_writer *sw);

/* --- the flight recorder (stats_recorder.h) --- */

/* Records an event, in the loop's thread. conn: the slot of its connection; NULL: none in
 * particular. code: of the kinds that have one; NULL: none. No system call. */
void stats_record(struct stats_writer *sw, enum stats_event_kind kind,
                  const struct stats_slot *conn, uint64_t now_us, uint32_t value, const char *code);

/* The same of a peer that gets no slot. */
void stats_record_peer(struct stats_writer *sw, enum stats_event_kind kind, uint16_t listener,
                       const struct endpoint *peer, uint64_t now_us, const char *code);

/* Notes whose bytes are looked at from here on; NULL: nobody's. by: 0 the loop, 1 the thread beside
 * it. */
static inline void
stats_reading(const struct stats_writer *sw, unsigned by, const struct stats_slot *slot)
{
    uint32_t number = slot != NULL ? (uint32_t)(slot - sw->slots) + 1 : 0;

    atomic_store_explicit(&sw->recorder->reading[by], number, memory_order_relaxed);
}

/* In a process of its own: from now on a signal that ends it for its own fault leaves a note with a
 * backtrace there, and then ends it as it would have. Functions of what is loaded later have names
 * only after symbols_load. */
void stats_watch_crashes(struct stats_recorder *recorder);

/* Only the cell's one writer calls these, so load and store cannot lose an update. */
static inline void
stats_add_wide(_Atomic uint64_t *cell, uint64_t n)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void
stats_add_narrow(_Atomic uint32_t *cell, uint64_t n)
{
    uint32_t old = atomic_load_explicit(cell, memory_order_relaxed);

    atomic_store_explicit(cell, n < UINT32_MAX - old ? old + (uint32_t)n : UINT32_MAX,
                          memory_order_relaxed);
}

/* Adds n to a cell of either width. */
#define stats_add(cell, n) \
    _Generic((cell), _Atomic uint64_t *: stats_add_wide, _Atomic uint32_t *: stats_add_narrow)( \
        (cell), (n))

static inline void
stats_latency(struct stats_block *block, uint64_t us)
{
    stats_add(&block->latency[stats_histogram_index(us)], 1);
}

#endif
