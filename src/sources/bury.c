/* The master's half: it reads the table of a worker that is gone, and trusts none of it: a penalty
 * is of a source that can be and not longer than a worker may give, and a note leads to a row that
 * is there. */
#include "sources/table.h"

static bool
kind_is_sound(uint8_t kind)
{
    return kind == SOURCE_USER || kind == SOURCE_IPV4 || kind == SOURCE_IPV6;
}

/* The master's own row for it, or NULL. */
static struct stats_source *
bury_row(const struct sources_table *table, struct stats_control *control,
         const struct sources_key *key, uint32_t now_s)
{
    uint64_t hash = sources_hash(table, key), forgotten = 0;

    return sources_row(&control->sources[hash % STATS_SOURCE_MASTER_SETS], key, now_s, &forgotten);
}

static void
bury_penalty(const struct sources_table *table, struct stats_control *control,
             const struct stats_source *from, uint32_t now_s)
{
    const struct sources_key key = {SOURCES_GET(from, address), sources_kind(from)};
    uint32_t penalty_s = SOURCES_GET(from, penalty_s);
    uint8_t reason = SOURCES_GET(from, reason);
    struct stats_source *row;

    if (!kind_is_sound(key.kind) || penalty_s == 0 || penalty_s + SOURCES_FORGET_S <= now_s ||
        penalty_s > now_s + SOURCES_PENALTY_MAX || reason >= STATS_BLAME_crash)
        return;
    row = bury_row(table, control, &key, now_s);
    if (row == NULL || SOURCES_GET(row, penalty_s) >= penalty_s)
        return;
    SOURCES_SET(row, seen_s, now_s);
    SOURCES_SET(row, reason, reason);
    SOURCES_SET(row, times, SOURCES_GET(from, times));
    SOURCES_SET(row, penalty_s, penalty_s);
}

static void
bury_penalties(const struct sources_table *table, struct stats_control *control,
               const struct sources_region *region, uint32_t now_s)
{
    for (unsigned i = 0; i < STATS_SOURCE_SETS; i++)
        for (unsigned k = 0; sources_set_is_used(region, i) && k < STATS_SOURCE_WAYS; k++)
            bury_penalty(table, control, &region->set[i].way[k], now_s);
}

/* One crash may be a coincidence; a source that has made three is gone for a day. */
static void
bury_crash(const struct sources_table *table, struct stats_control *control,
           const struct sources_key *key, uint32_t now_s)
{
    static const uint32_t lengths_s[] = {60, 3600, SOURCES_DAY_S};
    struct stats_source *row = bury_row(table, control, key, now_s);
    unsigned crashes;

    if (row == NULL)
        return;
    crashes = now_s < SOURCES_GET(row, penalty_s) + SOURCES_DAY_S ? SOURCES_GET(row, crashes) : 0;
    SOURCES_SET(row, seen_s, now_s);
    SOURCES_SET(row, reason, STATS_BLAME_crash);
    SOURCES_SET(row, penalty_s, now_s + lengths_s[sources_min(crashes, 2)]);
    SOURCES_SET(row, crashes, (uint8_t)sources_min(crashes + 1, 3));
    atomic_store_explicit(&control->crashes, control->crashes + 1, memory_order_release);
}

bool
sources_bury(const struct sources_table *table, struct stats_control *control, unsigned region,
             uint64_t incarnation, bool crashed, uint64_t now_us, struct source *source_out)
{
    const struct sources_region *dead = regions_own(&table->place.regions, region);
    const uint32_t now_s = (uint32_t)(now_us / 1000000);
    bool found = false;

    if (atomic_load_explicit(&dead->incarnation, memory_order_acquire) != incarnation)
        return false; /* it has not begun */
    bury_penalties(table, control, dead, now_s);
    for (unsigned i = 0; crashed && i < SOURCES_NOTES; i++) {
        uint32_t note = SOURCES_GET(dead, note[i]);
        const struct stats_source *row;
        struct sources_key key;

        if (note == 0 || note > STATS_SOURCE_SETS * STATS_SOURCE_WAYS)
            continue;
        row = &dead->set[(note - 1) / STATS_SOURCE_WAYS].way[(note - 1) % STATS_SOURCE_WAYS];
        key = (struct sources_key){SOURCES_GET(row, address), sources_kind(row)};
        if (!kind_is_sound(key.kind))
            continue;
        bury_crash(table, control, &key, now_s);
        *source_out = (struct source){.kind = key.kind};
        be64_store(source_out->bytes, key.address);
        found = true;
    }
    return found;
}
