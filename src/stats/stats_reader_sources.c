/* The sources, from the tables of the workers and of the master: the rows of one source are added
 * up. Any bytes may stand there. */
#include "stats/stats_reader.h"

#include "common/text.h"

#include <stdlib.h>

#define SETS_AT_ONCE 16 /* 16 KiB */
static_assert(STATS_SOURCE_SETS % SETS_AT_ONCE == 0, "the last step ends with the table");

#define GET(row, cell) atomic_load_explicit(&(row)->cell, memory_order_relaxed)

/* The tables of workers are up to a second old. */
static uint32_t
row_rate(const struct stats_source *row, uint32_t now_s)
{
    uint32_t age = now_s - GET(row, second);

    if (age == 0)
        return GET(row, before);
    return age <= 2 ? GET(row, messages) : 0;
}

static void
row_collect(const struct stats_source *row, uint32_t now_s, struct buffer *views)
{
    struct stats_source_view view = {.source.kind = GET(row, kind)};

    if (view.source.kind == SOURCE_NONE)
        return;
    be64_store(view.source.bytes, GET(row, address));
    view.open = GET(row, open);
    view.unfinished = GET(row, unfinished);
    view.bytes = GET(row, bytes);
    view.rate = row_rate(row, now_s);
    view.reason = (enum stats_blame)GET(row, reason);
    if (GET(row, penalty_s) > now_s)
        view.penalty_s = GET(row, penalty_s) - now_s;
    buffer_append(views, &view, sizeof(view));
}

static void
sets_collect(const struct stats_source_set *sets, size_t n, uint32_t now_s, struct buffer *views)
{
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < STATS_SOURCE_WAYS; k++)
            row_collect(&sets[i].way[k], now_s, views);
}

static void
region_collect(struct stats_reader *sr, unsigned region, uint32_t now_s, struct buffer *views)
{
    uint64_t incarnation = atomic_load(&sr->control->worker[region].incarnation);
    struct stats_source_set sets[SETS_AT_ONCE];

    for (unsigned i = 0; incarnation != 0 && i < STATS_SOURCE_SETS; i += SETS_AT_ONCE) {
        if (!stats_reader_region(sr, region, incarnation, STATS_SOURCES_AT + i * sizeof(sets[0]),
                                 sets, sizeof(sets)))
            return;
        sets_collect(sets, SETS_AT_ONCE, now_s, views);
    }
}

static int
view_compare(const void *a, const void *b)
{
    const struct stats_source_view *x = a, *y = b;

    return memcmp(&x->source, &y->source, sizeof(x->source));
}

static void
view_add(struct stats_source_view *to, const struct stats_source_view *more)
{
    to->open += more->open;
    to->unfinished += more->unfinished;
    to->bytes += more->bytes;
    to->rate += more->rate;
    if (more->penalty_s <= to->penalty_s)
        return;
    to->penalty_s = more->penalty_s;
    to->reason = more->reason;
}

size_t
stats_reader_sources(struct stats_reader *sr, uint64_t now_us, struct stats_source_view **views_out)
{
    const uint32_t now_s = (uint32_t)(now_us / 1000000);
    struct stats_source_view *views;
    struct buffer rows;
    size_t n, kept = 0;

    buffer_init(&rows);
    sets_collect(sr->control->sources, STATS_SOURCE_MASTER_SETS, now_s, &rows);
    for (unsigned r = 0; r < stats_regions_used(sr->control); r++)
        region_collect(sr, r, now_s, &rows);
    views = (struct stats_source_view *)(void *)rows.data;
    n = rows.len / sizeof(views[0]);
    if (n > 0)
        qsort(views, n, sizeof(views[0]), view_compare);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && view_compare(&views[kept - 1], &views[i]) == 0)
            view_add(&views[kept - 1], &views[i]);
        else
            views[kept++] = views[i];
    }
    *views_out = views; /* the memory of rows, which has had nothing consumed */
    return kept;
}
