/* A worker's half: it writes its own table and adds up all of them. */
#include "common/fd.h"
#include "common/log.h"
#include "sources/table.h"

#include <errno.h>
#include <stdlib.h>

#define ROWS         (STATS_SOURCE_SETS * STATS_SOURCE_WAYS)
#define PROMISED_MAX (UINT64_C(1) << 50)
#define BITES_US     (SOURCES_BITES_MS * UINT64_C(1000))

struct sources {
    const struct sources_table *table;
    const struct stats_control *control;
    struct sources_region *own;
    const struct sources_region *all; /* of all regions, read-only */
    int stats_fd;
    uint64_t now_us;
    uint32_t now_s;
    uint32_t published_s;
    uint64_t forgotten;
    uint32_t leased_s;    /* the second that lease is about */
    uint16_t lease[ROWS]; /* messages that a source may still send before all are added up again */
};

struct sources *
sources_open(const struct sources_table *table, unsigned region, uint64_t incarnation,
             const struct stats_control *control, int stats_fd, uint64_t now_us)
{
    struct sources *s = ms_calloc(1, sizeof(*s));

    s->table = table;
    s->control = control;
    s->stats_fd = stats_fd;
    s->own = regions_own(&table->place.regions, region);
    s->all = regions_own(&table->place.regions, 0);
    for (unsigned i = 0; i < MS_ARRAY_LEN(s->own->used); i++)
        atomic_store_explicit(&s->own->used[i], 0, memory_order_relaxed);
    for (unsigned i = 0; i < SOURCES_NOTES; i++)
        SOURCES_SET(s->own, note[i], 0);
    SOURCES_SET(s->own, promised, 0);
    SOURCES_SET(s->own, reserved, 0);
    atomic_store_explicit(&s->own->incarnation, incarnation, memory_order_release);
    sources_set_time(s, now_us);
    return s;
}

void
sources_close(struct sources *s)
{
    free(s);
}

void
sources_set_time(struct sources *s, uint64_t now_us)
{
    s->now_us = now_us;
    s->now_s = (uint32_t)(now_us / 1000000);
}

uint64_t
sources_take_forgotten(struct sources *s)
{
    uint64_t n = s->forgotten;

    s->forgotten = 0;
    return n;
}

/* --- rows --- */

static struct stats_source *
source_at(const struct sources *s, uint32_t row)
{
    MS_ASSERT(row > 0 && row <= ROWS);
    return &s->own->set[(row - 1) / STATS_SOURCE_WAYS].way[(row - 1) % STATS_SOURCE_WAYS];
}

static struct sources_key
key_at(const struct sources *s, uint32_t row)
{
    const struct stats_source *source = source_at(s, row);

    return (struct sources_key){SOURCES_GET(source, address), sources_kind(source)};
}

/* The row changes, so it is to be published. */
static struct stats_source *
source_touch(const struct sources *s, uint32_t row)
{
    struct stats_source *source = source_at(s, row);

    SOURCES_SET(source, seen_s, s->now_s);
    return source;
}

/* What an earlier worker has left in a set goes when the set is used for the first time. */
static struct stats_source_set *
set_use(struct sources *s, unsigned number)
{
    struct stats_source_set *set = &s->own->set[number];
    _Atomic uint64_t *word = &s->own->used[number / 64];
    uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);

    if (!sources_set_is_used(s->own, number)) {
        memset(set, 0, sizeof(*set));
        atomic_store_explicit(word, bits | UINT64_C(1) << (number % 64), memory_order_release);
    }
    return set;
}

uint32_t
sources_enter(struct sources *s, const struct source *source)
{
    const struct sources_key key = sources_key(source);
    unsigned number = sources_hash(s->table, &key) % STATS_SOURCE_SETS;
    struct stats_source_set *set;
    struct stats_source *row;

    if (key.kind == SOURCE_NONE)
        return 0;
    set = set_use(s, number);
    row = sources_row(set, &key, s->now_s, &s->forgotten);
    if (row == NULL)
        return 0;
    SOURCES_SET(row, seen_s, s->now_s);
    SOURCES_SET(row, open, SOURCES_GET(row, open) + 1);
    return 1 + number * STATS_SOURCE_WAYS + (uint32_t)(row - set->way);
}

void
sources_leave(struct sources *s, uint32_t row)
{
    struct stats_source *source = source_touch(s, row);

    MS_ASSERT(SOURCES_GET(source, open) > 0);
    SOURCES_SET(source, open, SOURCES_GET(source, open) - 1);
}

void
sources_add_bytes(struct sources *s, uint32_t row, uint64_t n)
{
    struct stats_source *source = source_touch(s, row);

    SOURCES_SET(source, bytes, SOURCES_GET(source, bytes) + n);
}

void
sources_add_unfinished(struct sources *s, uint32_t row, int64_t bytes)
{
    struct stats_source *source = source_touch(s, row);

    SOURCES_SET(source, unfinished, SOURCES_GET(source, unfinished) + (uint64_t)bytes);
}

uint32_t
sources_note(struct sources *s, unsigned by, uint32_t row)
{
    uint32_t before = SOURCES_GET(s->own, note[by]);

    SOURCES_SET(s->own, note[by], row);
    return before;
}

/* --- all tables --- */

static void
sum_add(const struct sources *s, const struct stats_source_set *set, const struct sources_key *key,
        struct sources_sum *sum)
{
    const struct stats_source *row = sources_find(set, key);
    uint32_t penalty_s;
    uint64_t trouble_us;

    if (row == NULL)
        return;
    sum->open += SOURCES_GET(row, open);
    sum->unfinished += SOURCES_GET(row, unfinished);
    if (SOURCES_GET(row, second) == s->now_s)
        sum->messages += SOURCES_GET(row, messages);
    trouble_us = SOURCES_GET(row, trouble_us);
    if (trouble_us > s->now_us)
        sum->trouble_us += sources_min(trouble_us - s->now_us, BITES_US);
    penalty_s = SOURCES_GET(row, penalty_s);
    if (penalty_s <= sum->penalty_s || penalty_s > s->now_s + SOURCES_DAY_S)
        return;
    sum->penalty_s = penalty_s;
    sum->times = SOURCES_GET(row, times);
    sum->reason = SOURCES_GET(row, reason);
}

/* Pages nobody has are not touched: that would cost memory. */
static bool
region_lives(const struct sources *s, unsigned region)
{
    uint64_t incarnation =
        atomic_load_explicit(&s->control->worker[region].incarnation, memory_order_acquire);

    return incarnation != 0 &&
           atomic_load_explicit(&s->all[region].incarnation, memory_order_acquire) == incarnation;
}

void
sources_look(const struct sources *s, uint32_t row, struct sources_sum *sum_out)
{
    const struct sources_key key = key_at(s, row);
    uint64_t hash = sources_hash(s->table, &key);
    unsigned number = hash % STATS_SOURCE_SETS;

    *sum_out = (struct sources_sum){0};
    sum_add(s, &s->control->sources[hash % STATS_SOURCE_MASTER_SETS], &key, sum_out);
    for (unsigned r = 0; r < stats_regions_used(s->control); r++)
        if (region_lives(s, r) && sources_set_is_used(&s->all[r], number))
            sum_add(s, &s->all[r].set[number], &key, sum_out);
    if (sum_out->penalty_s > s->now_s)
        sum_out->wait_s = sum_out->penalty_s - s->now_s;
}

void
sources_promise(struct sources *s, uint64_t promised)
{
    SOURCES_SET(s->own, promised, promised);
}

void
sources_reserve(struct sources *s, uint64_t bytes)
{
    SOURCES_SET(s->own, reserved, SOURCES_GET(s->own, reserved) + bytes);
}

/* No disk has more than PROMISED_MAX, so nothing overflows, whatever a worker says. */
struct sources_disk
sources_disk(const struct sources *s)
{
    struct sources_disk sum = {0};

    for (unsigned r = 0; r < stats_regions_used(s->control); r++) {
        if (!region_lives(s, r))
            continue;
        sum.promised += sources_min(SOURCES_GET(&s->all[r], promised), PROMISED_MAX);
        sum.reserved += sources_min(SOURCES_GET(&s->all[r], reserved), UINT64_MAX / STATS_REGIONS);
    }
    return sum;
}

/* --- how fast --- */

void
sources_add_message(struct sources *s, uint32_t row)
{
    struct stats_source *source = source_touch(s, row);
    uint32_t second = SOURCES_GET(source, second), messages = SOURCES_GET(source, messages);

    if (second != s->now_s) {
        SOURCES_SET(source, before, second + 1 == s->now_s ? messages : 0);
        SOURCES_SET(source, second, s->now_s);
        messages = 0;
    }
    SOURCES_SET(source, messages, messages + 1);
    if (s->lease[row - 1] > 0)
        s->lease[row - 1]--;
}

/* Adding up costs a few cache lines for each worker. So where much is left, a part of it may be
 * used before the next time, so small that all workers together do not go beyond the rest. */
bool
sources_may_send(struct sources *s, uint32_t row, uint32_t rate)
{
    uint16_t *lease = &s->lease[row - 1];
    struct sources_sum sum;
    uint64_t part;

    if (s->leased_s != s->now_s) {
        memset(s->lease, 0, sizeof(s->lease));
        s->leased_s = s->now_s;
    }
    if (*lease > 0)
        return true;
    sources_look(s, row, &sum);
    if (sum.messages >= rate)
        return false;
    part = (rate - sum.messages) / (2 * stats_regions_used(s->control));
    *lease = (uint16_t)sources_min(part, UINT16_MAX);
    return true;
}

/* --- penalties --- */

static uint32_t
penalty_length(unsigned times)
{
    uint32_t length = SOURCES_PENALTY_S;

    while (times-- > 0 && length < SOURCES_PENALTY_MAX)
        length *= 2;
    return (uint32_t)sources_min(length, SOURCES_PENALTY_MAX);
}

bool
sources_blame(struct sources *s, uint32_t row, enum stats_blame what, unsigned n)
{
    static const uint32_t weights_ms[] = {0,
#define X(name, words, weight_ms) weight_ms,
                                          STATS_BLAME_LIST(X)
#undef X
    };
    struct stats_source *source = source_touch(s, row);
    uint64_t trouble_us = SOURCES_GET(source, trouble_us);
    struct sources_sum sum;
    unsigned times;

    trouble_us =
        (trouble_us > s->now_us ? trouble_us : s->now_us) + (uint64_t)n * weights_ms[what] * 1000;
    SOURCES_SET(source, trouble_us, trouble_us);
    sources_look(s, row, &sum);
    if (sum.wait_s > 0 || sum.trouble_us < BITES_US)
        return false;
    times = s->now_s < sum.penalty_s + SOURCES_FORGET_S ? sum.times : 0;
    SOURCES_SET(source, trouble_us, 0);
    SOURCES_SET(source, reason, (uint8_t)what);
    SOURCES_SET(source, times, (uint8_t)sources_min(times + 1, UINT8_MAX));
    SOURCES_SET(source, penalty_s, s->now_s + penalty_length(times));
    return true;
}

uint32_t
sources_crashes(const struct sources *s)
{
    return atomic_load_explicit(&s->control->crashes, memory_order_acquire);
}

/* Only the master gives these, so only its table is looked at: all connections are asked about. */
uint32_t
sources_crash_wait(const struct sources *s, uint32_t row)
{
    const struct sources_key key = key_at(s, row);
    const struct stats_source *source = sources_find(
        &s->control->sources[sources_hash(s->table, &key) % STATS_SOURCE_MASTER_SETS], &key);
    uint32_t penalty_s = source != NULL ? SOURCES_GET(source, penalty_s) : 0;

    if (penalty_s <= s->now_s || SOURCES_GET(source, reason) != STATS_BLAME_crash)
        return 0;
    return penalty_s - s->now_s;
}

/* --- for msockctl --- */

static bool
set_has_changed(const struct sources *s, const struct stats_source_set *set)
{
    for (unsigned i = 0; i < STATS_SOURCE_WAYS; i++)
        if (SOURCES_GET(&set->way[i], seen_s) >= s->published_s)
            return true;
    return false;
}

void
sources_publish(struct sources *s)
{
    for (unsigned i = 0; i < STATS_SOURCE_SETS && s->stats_fd >= 0; i++) {
        off_t at = (off_t)(STATS_SOURCES_AT + i * sizeof(struct stats_source_set));

        if (!sources_set_is_used(s->own, i) || !set_has_changed(s, &s->own->set[i]))
            continue;
        if (fd_pwrite_all(s->stats_fd, &s->own->set[i], sizeof(s->own->set[i]), at) < 0) {
            log_line(LOG_sources_not_shown, "the sources cannot be shown: %s", strerror(errno));
            return;
        }
    }
    s->published_s = s->now_s;
}
