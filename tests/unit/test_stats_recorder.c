/* The flight recorder: a ring that is read while it is written, and what is kept of a dead
 * worker. */
#include "stats_fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Each field of event n tells n. */
static void
record(struct fixture *f, uint64_t n)
{
    struct stats_slot slot = {.id = n, .listener = (uint16_t)n, .port = (uint16_t)n};
    char code[16];

    slot.family = STATS_FAMILY_IPV4;
    be32_store(slot.address, (uint32_t)n);
    snprintf(code, sizeof(code), "%llu", (unsigned long long)n);
    stats_record(&f->writer, STATS_EVENT_refused, &slot, n, (uint32_t)n, code);
}

struct seen {
    unsigned count;
    uint64_t least, most;
};

static void
see(void *arg, const struct stats_event_view *e)
{
    struct seen *seen = arg;
    char peer[ENDPOINT_TEXT_LEN];
    uint8_t address[16] = {0};

    be32_store(address, (uint32_t)e->number);
    stats_peer_format(STATS_FAMILY_IPV4, address, (uint16_t)e->number, peer);
    assert_int_equal(e->conn, e->number);
    assert_int_equal(e->time_us, e->number);
    assert_int_equal(e->value, (uint32_t)e->number);
    assert_int_equal(e->listener, (uint16_t)e->number);
    assert_int_equal(strtoull(e->code, NULL, 10), e->number);
    assert_string_equal(e->peer, peer);
    seen->least = seen->count == 0 || e->number < seen->least ? e->number : seen->least;
    seen->most = e->number > seen->most ? e->number : seen->most;
    seen->count++;
}

static void
the_last_256_events_are_there(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};

    for (uint64_t n = 1; n <= 1000; n++)
        record(f, n);
    stats_reader_events(&f->reader, see, &seen);
    assert_int_equal(seen.count, STATS_EVENTS);
    assert_int_equal(seen.least, 1000 - STATS_EVENTS + 1);
    assert_int_equal(seen.most, 1000);
}

static _Atomic bool writing;

static void *
write_on(void *arg)
{
    for (uint64_t n = 1; atomic_load(&writing); n++)
        record(arg, n);
    return NULL;
}

static void
an_event_is_never_torn(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    pthread_t thread;

    atomic_store(&writing, true);
    assert_int_equal(pthread_create(&thread, NULL, write_on, f), 0);
    for (unsigned i = 0; i < 3000 || seen.count == 0; i++)
        stats_reader_events(&f->reader, see, &seen);
    atomic_store(&writing, false);
    pthread_join(thread, NULL);
}

static void
what_a_dead_worker_did_is_kept_and_the_oldest_goes(void **state)
{
    struct fixture *f = *state;
    struct stats_crash crash;
    struct seen seen = {0};

    for (unsigned i = 1; i <= STATS_CRASHES + 1; i++) {
        record(f, i);
        assert_ptr_equal(stats_master_crashed(&f->master, &f->place, (int)i),
                         &f->master.control->crash[(i - 1) % STATS_CRASHES]);
    }
    assert_true(stats_reader_crash(&f->reader, 0, &crash));
    assert_int_equal(crash.status, STATS_CRASHES + 1);
    assert_true(stats_reader_crash(&f->reader, 1, &crash));
    assert_int_equal(crash.status, 2);
    assert_int_equal(crash.index, 3);
    stats_master_fold(&f->master, &f->place);
    stats_reader_events(&f->reader, see, &seen);
    assert_int_equal(seen.most, STATS_CRASHES + 1);
}

/* The file is cut short, and the numbers in it lead nowhere. */
static void
a_region_that_was_damaged_hurts_nobody(void **state)
{
    struct fixture *f = *state;
    const struct stats_crash *crash;

    atomic_store(&f->writer.recorder->reading[0], STATS_SLOTS + 1);
    crash = stats_master_crashed(&f->master, &f->place, 11);
    assert_int_equal(crash->reading[0].id, 0);
    assert_int_equal(ftruncate(f->place.stats_fd, 100), 0);
    crash = stats_master_crashed(&f->master, &f->place, 11);
    assert_int_equal(atomic_load(&crash->recorder.events[0].number), 0);
    assert_int_equal(atomic_load(&crash->recorder.reading[0]), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_last_256_events_are_there),
        TEST(an_event_is_never_torn),
        TEST(what_a_dead_worker_did_is_kept_and_the_oldest_goes),
        TEST(a_region_that_was_damaged_hurts_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
