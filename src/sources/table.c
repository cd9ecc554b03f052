/* The memory of the table, and its rows. Invariant: a row gets another source only between two
 * stores of its kind, so a reader that finds the same kind and address before and after has read
 * one source's numbers. */
#include "sources/table.h"

#include "common/siphash.h"

#include <stdlib.h>

struct sources_table *
sources_table_create(void)
{
    struct sources_table *table = ms_calloc(1, sizeof(*table));

    ms_random(table->place.secret, sizeof(table->place.secret));
    if (regions_create("msockd-sources", STATS_REGIONS, sizeof(struct sources_region),
                       &table->place.regions) == 0)
        return table;
    sources_table_destroy(table);
    return NULL;
}

void
sources_table_destroy(struct sources_table *table)
{
    if (table == NULL)
        return;
    regions_close(&table->place.regions);
    free(table);
}

void
sources_table_place(const struct sources_table *table, struct sources_place *place_out)
{
    *place_out = table->place;
}

struct sources_table *
sources_table_attach(const struct sources_place *place, unsigned region)
{
    struct sources_table *table = ms_calloc(1, sizeof(*table));

    table->place = *place;
    if (regions_attach(&table->place.regions, region) == 0)
        return table;
    sources_table_destroy(table);
    return NULL;
}

struct sources_table *
sources_table_resume(const struct sources_place *place)
{
    struct sources_table *table = ms_calloc(1, sizeof(*table));

    table->place = *place;
    if (regions_resume(&table->place.regions) == 0)
        return table;
    sources_table_destroy(table);
    return NULL;
}

uint64_t
sources_hash(const struct sources_table *table, const struct sources_key *key)
{
    struct siphash h;

    siphash_begin(&h, table->place.secret);
    siphash_update(&h, &key->kind, sizeof(key->kind));
    siphash_update(&h, &key->address, sizeof(key->address));
    return siphash_finish(&h);
}

const struct stats_source *
sources_find(const struct stats_source_set *set, const struct sources_key *key)
{
    for (unsigned i = 0; i < STATS_SOURCE_WAYS; i++)
        if (sources_row_is(&set->way[i], key))
            return &set->way[i];
    return NULL;
}

/* The later the more it is worth keeping; UINT64_MAX: it must stay. */
static uint64_t
row_worth(const struct stats_source *row, uint32_t now_s)
{
    uint32_t seen = SOURCES_GET(row, seen_s), penalty = SOURCES_GET(row, penalty_s);

    if (sources_kind(row) == SOURCE_NONE)
        return 0;
    if (SOURCES_GET(row, open) > 0 || SOURCES_GET(row, unfinished) > 0)
        return UINT64_MAX;
    return 1 + (penalty > now_s && penalty > seen ? (uint64_t)penalty : seen);
}

static void
row_begin(struct stats_source *row, const struct sources_key *key, uint32_t now_s)
{
    atomic_store_explicit(&row->kind, SOURCE_NONE, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    SOURCES_SET(row, reason, STATS_BLAME_NONE);
    SOURCES_SET(row, times, 0);
    SOURCES_SET(row, crashes, 0);
    SOURCES_SET(row, open, 0);
    SOURCES_SET(row, unfinished, 0);
    SOURCES_SET(row, bytes, 0);
    SOURCES_SET(row, trouble_us, 0);
    SOURCES_SET(row, penalty_s, 0);
    SOURCES_SET(row, seen_s, now_s);
    SOURCES_SET(row, second, 0);
    SOURCES_SET(row, messages, 0);
    SOURCES_SET(row, before, 0);
    SOURCES_SET(row, address, key->address);
    atomic_store_explicit(&row->kind, key->kind, memory_order_release);
}

struct stats_source *
sources_row(struct stats_source_set *set, const struct sources_key *key, uint32_t now_s,
            uint64_t *forgotten)
{
    struct stats_source *least = &set->way[0];

    for (unsigned i = 0; i < STATS_SOURCE_WAYS; i++) {
        if (sources_row_is(&set->way[i], key))
            return &set->way[i];
        if (row_worth(&set->way[i], now_s) < row_worth(least, now_s))
            least = &set->way[i];
    }
    if (row_worth(least, now_s) == UINT64_MAX)
        return NULL;
    *forgotten += sources_kind(least) != SOURCE_NONE;
    row_begin(least, key, now_s);
    return least;
}
