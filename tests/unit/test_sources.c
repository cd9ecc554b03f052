/* The share of each source: tables of several workers that are one, sets that are full, workers
 * that write nonsense, and trouble that grows and fades. Time is what the test says. */
#include "sources/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND_US UINT64_C(1000000)
#define WORKERS   2

struct fixture {
    struct sources_table *table;
    struct stats_control *control;
    struct sources *worker[WORKERS + 1]; /* the last one only looks: it does not count */
    uint64_t now_us;
};

static int
set_up(void **state)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));

    f->table = sources_table_create();
    assert_non_null(f->table);
    f->control = ms_calloc(1, sizeof(*f->control));
    f->now_us = 1000 * SECOND_US;
    atomic_store(&f->control->regions_used, WORKERS);
    for (unsigned r = 0; r <= WORKERS; r++) {
        atomic_store(&f->control->worker[r].incarnation, 100 + r);
        f->worker[r] = sources_open(f->table, r, 100 + r, f->control, -1, f->now_us);
        assert_non_null(f->worker[r]);
    }
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    for (unsigned r = 0; r <= WORKERS; r++)
        sources_close(f->worker[r]);
    sources_table_destroy(f->table);
    free(f->control);
    free(f);
    return 0;
}

static void
pass(struct fixture *f, unsigned seconds)
{
    f->now_us += seconds * SECOND_US;
    for (unsigned r = 0; r <= WORKERS; r++)
        sources_set_time(f->worker[r], f->now_us);
}

static struct source
ipv4(uint32_t address)
{
    struct source source = {.kind = SOURCE_IPV4};

    be32_store(source.bytes, address);
    return source;
}

static struct sources_sum
look(const struct fixture *f, const struct source *source)
{
    struct sources *looks = f->worker[WORKERS];
    struct sources_sum sum;
    uint32_t row = sources_enter(looks, source);

    assert_int_not_equal(row, 0);
    sources_look(looks, row, &sum);
    sources_leave(looks, row);
    return sum;
}

static void
what_a_source_has_is_the_sum_over_all_workers(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1), b = ipv4(2);
    uint32_t row = sources_enter(f->worker[0], &a), other = sources_enter(f->worker[1], &a);

    assert_int_equal(sources_enter(f->worker[0], &a), row);
    sources_add_unfinished(f->worker[0], row, 70);
    sources_add_unfinished(f->worker[1], other, 7);
    assert_int_equal(look(f, &a).open, 3);
    assert_int_equal(look(f, &a).unfinished, 77);
    assert_int_equal(look(f, &b).open, 0);
    sources_leave(f->worker[1], other);
    sources_add_unfinished(f->worker[1], other, -7);
    assert_int_equal(look(f, &a).open, 2);
    assert_int_equal(look(f, &a).unfinished, 70);
}

static void
an_ipv6_network_of_64_bits_is_one_source(void **state)
{
    struct fixture *f = *state;
    struct source a = {.kind = SOURCE_IPV6, .bytes = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1}}, b = a,
                  c = a;
    struct source user = {.kind = SOURCE_USER}, v4 = ipv4(0);

    b.bytes[15] = 9;
    c.bytes[7] = 2;
    sources_enter(f->worker[0], &a);
    sources_enter(f->worker[1], &b);
    sources_enter(f->worker[1], &user);
    assert_int_equal(look(f, &a).open, 2);
    assert_int_equal(look(f, &c).open, 0);
    assert_int_equal(look(f, &v4).open, 0); /* the same bytes, another kind */
    assert_int_equal(sources_enter(f->worker[0], &(struct source){.kind = SOURCE_NONE}), 0);
}

static void
another_process_sees_what_a_worker_counts(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        static struct sources *own; /* still known at the end, or valgrind would miss it */
        struct sources_place place;

        sources_table_place(f->table, &place);
        own = sources_open(sources_table_attach(&place, 1), 1, 101, f->control, -1, f->now_us);
        for (int i = 0; i < 5; i++)
            if (sources_enter(own, &a) == 0)
                _exit(1);
        _exit(look(f, &a).open == 5 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(look(f, &a).open, 5);
    atomic_store(&f->control->worker[1].incarnation, 0); /* the master says that it is gone */
    assert_int_equal(look(f, &a).open, 0);
}

static void
a_worker_begins_without_what_the_last_one_left(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);

    sources_enter(f->worker[1], &a);
    sources_close(f->worker[1]);
    atomic_store(&f->control->worker[1].incarnation, 102);
    assert_int_equal(look(f, &a).open, 0);
    f->worker[1] = sources_open(f->table, 1, 102, f->control, -1, f->now_us);
    assert_int_equal(look(f, &a).open, 0);
    sources_enter(f->worker[1], &a);
    assert_int_equal(look(f, &a).open, 1);
}

/* The n-th address that belongs into the same set as address 1. */
static struct source
neighbour(const struct fixture *f, unsigned n)
{
    struct source source = ipv4(1);
    struct sources_key key = sources_key(&source);
    uint64_t set = sources_hash(f->table, &key) % STATS_SOURCE_SETS;

    for (uint32_t address = 1;; address++) {
        source = ipv4(address);
        key = sources_key(&source);
        if (sources_hash(f->table, &key) % STATS_SOURCE_SETS == set && n-- == 0)
            return source;
    }
}

static void
the_oldest_source_without_connections_makes_room(void **state)
{
    struct fixture *f = *state;
    const struct source more = neighbour(f, STATS_SOURCE_WAYS);
    uint32_t rows[STATS_SOURCE_WAYS];

    for (unsigned i = 0; i < STATS_SOURCE_WAYS; i++) {
        const struct source source = neighbour(f, i);

        rows[i] = sources_enter(f->worker[0], &source);
        assert_true(rows[i] > 0);
    }
    assert_int_equal(sources_enter(f->worker[0], &more), 0);
    sources_leave(f->worker[0], rows[9]);
    pass(f, 1);
    sources_leave(f->worker[0], rows[3]);
    sources_leave(f->worker[0], rows[5]);
    sources_add_unfinished(f->worker[0], rows[9], 1); /* its body is not finished */
    pass(f, 1);
    sources_add_bytes(f->worker[0], rows[3], 1);
    assert_int_equal(sources_take_forgotten(f->worker[0]), 0);
    assert_int_equal(sources_enter(f->worker[0], &more), rows[5]);
    assert_int_equal(sources_take_forgotten(f->worker[0]), 1);
    assert_int_equal(look(f, &more).open, 1);
}

static void
any_bytes_in_the_table_of_another_worker_are_harmless(void **state)
{
    struct fixture *f = *state;
    struct sources_region *spoiled = regions_own(&f->table->place.regions, 1);
    const struct source a = ipv4(1);
    struct source found;

    for (unsigned i = 0; i < 20; i++) {
        ms_random(spoiled, sizeof(*spoiled));
        atomic_store(&spoiled->incarnation, 101);
        for (unsigned k = 0; k < STATS_SOURCE_SETS; k++) /* the row of a, in any state */
            if (i % 2 == 0) {
                SOURCES_SET(&spoiled->set[k].way[k % STATS_SOURCE_WAYS], kind, SOURCE_IPV4);
                SOURCES_SET(&spoiled->set[k].way[k % STATS_SOURCE_WAYS], address,
                            UINT64_C(1) << 32);
            }
        (void)sources_enter(f->worker[0], &a);
        assert_in_range(look(f, &a).wait_s, 0, SOURCES_DAY_S);
        (void)sources_bury(f->table, f->control, 1, 101, true, f->now_us, &found);
    }
    memset(spoiled, 0xff, sizeof(*spoiled));
    atomic_store(&spoiled->incarnation, 101);
    assert_false(sources_bury(f->table, f->control, 1, 101, true, f->now_us, &found));
}

static void
all_workers_share_the_messages_of_a_second(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);
    uint32_t row[WORKERS];

    for (unsigned r = 0; r < WORKERS; r++)
        row[r] = sources_enter(f->worker[r], &a);
    for (unsigned second = 0; second < 3; second++) {
        unsigned sent = 0;

        for (unsigned i = 0; i < 3000; i++) {
            if (!sources_may_send(f->worker[i % WORKERS], row[i % WORKERS], 1000))
                continue;
            sources_add_message(f->worker[i % WORKERS], row[i % WORKERS]);
            sent++;
        }
        assert_int_equal(sent, 1000);
        assert_int_equal(look(f, &a).messages, 1000);
        pass(f, 1);
        assert_int_equal(look(f, &a).messages, 0);
    }
}

static void
promises_of_disk_are_those_of_all_workers_that_live(void **state)
{
    struct fixture *f = *state;

    sources_reserve(f->worker[0], 10);
    sources_promise(f->worker[0], 10);
    sources_reserve(f->worker[1], 5);
    sources_promise(f->worker[1], 5);
    sources_promise(f->worker[0], 4); /* some of it is written */
    assert_int_equal(sources_disk(f->worker[1]).promised, 9);
    assert_int_equal(sources_disk(f->worker[1]).reserved, 15);
    atomic_store(&f->control->worker[0].incarnation, 0);
    assert_int_equal(sources_disk(f->worker[1]).promised, 5);
}

static bool
is_turned_away(const struct fixture *f, const struct source *source)
{
    return look(f, source).wait_s > 0;
}

/* Makes trouble until that has consequences; returns how often. */
static unsigned
provoke(const struct fixture *f, unsigned worker, uint32_t row, enum stats_blame what)
{
    for (unsigned n = 1; n < 100; n++)
        if (sources_blame(f->worker[worker], row, what, 1))
            return n;
    fail();
    return 0;
}

static void
small_trouble_fades_and_much_of_it_does_not(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1), b = ipv4(2);
    uint32_t row = sources_enter(f->worker[0], &a);

    for (int i = 0; i < 100; i++) { /* 0.5 s of trouble each second */
        assert_false(sources_blame(f->worker[0], row, STATS_BLAME_damaged, 1));
        pass(f, 1);
    }
    assert_false(is_turned_away(f, &a));
    assert_int_equal(provoke(f, 0, row, STATS_BLAME_header), 2);
    assert_true(is_turned_away(f, &a));
    assert_false(is_turned_away(f, &b));
    assert_int_equal(look(f, &a).reason, STATS_BLAME_header);
}

static void
trouble_in_several_workers_adds_up(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);
    uint32_t row = sources_enter(f->worker[0], &a), other = sources_enter(f->worker[1], &a);

    assert_false(sources_blame(f->worker[0], row, STATS_BLAME_damaged, 18));
    assert_true(sources_blame(f->worker[1], other, STATS_BLAME_cut, 1));
    assert_true(is_turned_away(f, &a));
}

static void
each_penalty_is_longer_than_the_last_one_until_it_is_forgotten(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);
    uint32_t row = sources_enter(f->worker[0], &a), last = 0;

    for (unsigned i = 0; i < 12; i++) {
        provoke(f, 0, row, STATS_BLAME_http);
        assert_int_equal(look(f, &a).wait_s, i == 0        ? SOURCES_PENALTY_S
                                             : last < 1800 ? 2 * last
                                                           : SOURCES_PENALTY_MAX);
        last = look(f, &a).wait_s;
        pass(f, last - 1);
        assert_true(is_turned_away(f, &a));
        pass(f, 1);
        assert_false(is_turned_away(f, &a));
    }
    pass(f, SOURCES_FORGET_S);
    provoke(f, 0, row, STATS_BLAME_http);
    assert_int_equal(look(f, &a).wait_s, SOURCES_PENALTY_S);
}

static void
penalties_outlive_their_worker(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1), b = ipv4(2);
    uint32_t row = sources_enter(f->worker[1], &a);
    struct source found;

    sources_enter(f->worker[1], &b);
    provoke(f, 1, row, STATS_BLAME_cut);
    pass(f, 3);
    assert_false(sources_bury(f->table, f->control, 1, 101, false, f->now_us, &found));
    atomic_store(&f->control->worker[1].incarnation, 0);
    assert_int_equal(look(f, &a).wait_s, SOURCES_PENALTY_S - 3);
    assert_int_equal(look(f, &a).reason, STATS_BLAME_cut);
    assert_int_equal(look(f, &a).times, 1);
    assert_false(is_turned_away(f, &b));
}

/* The worker in region 1 dies with that note. */
static bool
crash(struct fixture *f, unsigned by, uint32_t row)
{
    struct source found;

    sources_note(f->worker[1], by, row);
    return sources_bury(f->table, f->control, 1, 101, true, f->now_us, &found);
}

static void
whose_bytes_a_worker_dies_of_is_gone_for_a_minute_an_hour_a_day(void **state)
{
    static const uint32_t lengths[] = {60, 3600, 86400, 86400};
    struct fixture *f = *state;
    const struct source a = ipv4(1), b = ipv4(2);
    uint32_t row = sources_enter(f->worker[1], &a), here = sources_enter(f->worker[0], &a);
    uint32_t other = sources_enter(f->worker[0], &b);

    for (unsigned i = 0; i < MS_ARRAY_LEN(lengths); i++) {
        uint32_t before = sources_crashes(f->worker[0]);

        assert_true(crash(f, i % SOURCES_NOTES, row));
        sources_note(f->worker[1], i % SOURCES_NOTES, 0);
        assert_int_equal(look(f, &a).wait_s, lengths[i]);
        assert_int_not_equal(sources_crashes(f->worker[0]), before);
        assert_int_equal(sources_crash_wait(f->worker[0], here), lengths[i]);
        assert_int_equal(sources_crash_wait(f->worker[0], other), 0);
        pass(f, lengths[i]);
        assert_false(is_turned_away(f, &a));
    }
    pass(f, SOURCES_DAY_S);
    crash(f, 0, row);
    assert_int_equal(look(f, &a).wait_s, lengths[0]);
    assert_false(is_turned_away(f, &b));
}

static void
a_worker_that_read_nothing_or_was_killed_blames_nobody(void **state)
{
    struct fixture *f = *state;
    const struct source a = ipv4(1);
    uint32_t row = sources_enter(f->worker[1], &a);
    struct source found;

    assert_false(crash(f, 0, 0));
    assert_false(crash(f, 0, UINT32_MAX));
    sources_note(f->worker[1], 0, row);
    assert_false(sources_bury(f->table, f->control, 1, 101, false, f->now_us, &found));
    assert_false(sources_bury(f->table, f->control, 1, 999, true, f->now_us, &found));
    assert_false(is_turned_away(f, &a));
}

int
main(void)
{
#define ROW(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ROW(what_a_source_has_is_the_sum_over_all_workers),
        ROW(an_ipv6_network_of_64_bits_is_one_source),
        ROW(another_process_sees_what_a_worker_counts),
        ROW(a_worker_begins_without_what_the_last_one_left),
        ROW(the_oldest_source_without_connections_makes_room),
        ROW(all_workers_share_the_messages_of_a_second),
        ROW(promises_of_disk_are_those_of_all_workers_that_live),
        ROW(small_trouble_fades_and_much_of_it_does_not),
        ROW(trouble_in_several_workers_adds_up),
        ROW(each_penalty_is_longer_than_the_last_one_until_it_is_forgotten),
        ROW(penalties_outlive_their_worker),
        ROW(whose_bytes_a_worker_dies_of_is_gone_for_a_minute_an_hour_a_day),
        ROW(a_worker_that_read_nothing_or_was_killed_blames_nobody),
        ROW(any_bytes_in_the_table_of_another_worker_are_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
