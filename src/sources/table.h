/* The table in shared memory, and how a row is found. Private to src/sources. */
#ifndef SOURCES_TABLE_H
#define SOURCES_TABLE_H

#include "sources/sources.h"

#define SOURCES_VERSION 2u /* raise it where the layout changes, or what it means */

#define SOURCES_NOTES 2

/* Of one worker, which alone writes it. A set that is not in use has never been touched, in this
 * worker's life, so it costs no memory. */
struct sources_region {
    _Atomic uint64_t incarnation;
    _Atomic uint32_t note[SOURCES_NOTES]; /* rows whose bytes are being read; 0: none */
    _Atomic uint64_t promised;            /* bytes of disk that its bodies are still to take */
    _Atomic uint64_t reserved;            /* bytes that were ever promised */
    uint8_t pad[32];
    _Atomic uint64_t used[STATS_SOURCE_SETS / 64];
    uint8_t rest[4096 - 64 - STATS_SOURCE_SETS / 8];
    struct stats_source_set set[STATS_SOURCE_SETS];
};
static_assert(offsetof(struct sources_region, set) == 4096, "sets begin with a page");
static_assert(sizeof(struct sources_region) % 4096 == 0, "whole pages");

struct sources_table {
    struct sources_place place;
};

static inline uint64_t
sources_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What a row is found by. */
struct sources_key {
    uint64_t address;
    uint8_t kind;
};

static inline struct sources_key
sources_key(const struct source *source)
{
    return (struct sources_key){.address = be64_load(source->bytes), .kind = source->kind};
}

static inline uint8_t
sources_kind(const struct stats_source *row)
{
    return atomic_load_explicit(&row->kind, memory_order_acquire);
}

static inline bool
sources_row_is(const struct stats_source *row, const struct sources_key *key)
{
    return sources_kind(row) == key->kind &&
           atomic_load_explicit(&row->address, memory_order_relaxed) == key->address;
}

static inline bool
sources_set_is_used(const struct sources_region *region, unsigned set)
{
    uint64_t bits = atomic_load_explicit(&region->used[set / 64], memory_order_acquire);

    return (bits >> (set % 64) & 1) != 0;
}

/* Where the source belongs; the sets of a table are a power of two. */
uint64_t sources_hash(const struct sources_table *table, const struct sources_key *key);

/* Its row in a set, or NULL. */
const struct stats_source *
sources_find(const struct stats_source_set *set, const struct sources_key *key);

/* For the writer of the set: its row; a free one; or that of another source, without connections
 * and bytes, which is the one that was not seen for the longest time (a penalty counts as seen
 * until its end). NULL: no row can be had. */
struct stats_source *sources_row(struct stats_source_set *set, const struct sources_key *key,
                                 uint32_t now_s, uint64_t *forgotten);

/* A cell of the row. Its only writer calls these, so load and store lose no update. */
#define SOURCES_GET(row, cell) atomic_load_explicit(&(row)->cell, memory_order_relaxed)
#define SOURCES_SET(row, cell, value) \
    atomic_store_explicit(&(row)->cell, value, memory_order_relaxed)

#endif
