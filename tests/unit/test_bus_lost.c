#include "bus_fixture.h"

#include <sys/mman.h>

/* --- readers that are behind --- */

static void
a_writer_waits_for_the_slowest_reader_and_no_longer(void **state)
{
    struct table *t = *state;
    unsigned first = fill(t);

    assert_int_equal(first, RING_SIZE / (BIG + PREFIX));
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(bus_dispatch(t->bus[i], true), 0);
        assert_int_equal(fill(t), 0);
    }
    assert_int_equal(bus_dispatch(t->bus[3], true), 0);
    assert_int_equal(fill(t), first);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(bus_dispatch(t->bus[i], true), 0);
        assert_int_equal(t->ear[i].count, 2 * first);
    }
}

static void
nobody_waits_for_a_worker_that_hears_no_channel(void **state)
{
    struct table *t = *state;

    for (unsigned i = 1; i < 4; i++)
        bus_unsubscribe(t->bus[i], CHANNEL);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0), 0);
}

static void
patience_ends_and_what_was_overwritten_is_counted(void **state)
{
    struct table *t = *state;
    unsigned count;

    leave_two(t);
    count = fill(t);
    assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US - 1),
                     -1);
    assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US), 0);
    /* It was given up: there is no waiting for it any more. */
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US),
                         0);
    assert_int_equal(bus_dispatch(t->bus[1], true), count + 51);
    assert_int_equal(t->ear[1].count, 0);
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    /* It is back, hears, and is waited for. */
    say(t->bus[0], "new");
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_string_equal(t->ear[1].text, "new,");
    assert_int_equal(fill(t), count);
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_int_equal(t->ear[1].count, count + 1);
}

static void
a_reader_that_moves_on_gets_new_patience(void **state)
{
    struct table *t = *state;

    leave_two(t);
    fill(t);
    bus_dispatch(t->bus[1], false); /* BUS_TURN_BYTES, which is one message here */
    bus_ring(t->bus[1]);
    assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US), 0);
    assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US), -1);
    assert_int_equal(
        bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 2 * BUS_PATIENCE_US - 1), -1);
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
}

static void
what_a_writer_is_about_to_overwrite_is_not_heard(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);
    unsigned count;

    leave_two(t);
    count = fill(t);
    /* As far as it gets between giving up the first message and writing over it. */
    atomic_store(&words->reserve, atomic_load(&words->head) + BIG + PREFIX);
    assert_int_equal(bus_dispatch(t->bus[1], true), count);
    assert_int_equal(t->ear[1].count, 0);
    words_drop(words);
}

/* --- writers that came to an end --- */

static void
a_ring_goes_on_with_its_next_worker(void **state)
{
    struct table *t = *state;

    say(t->bus[0], "old");
    bus_close(t->bus[0]);
    t->bus[0] = bus_open(&t->place, 0);
    assert_non_null(t->bus[0]);
    say(t->bus[0], "new");
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_string_equal(t->ear[1].text, "old,new,");
}

static void
a_message_whose_writer_died_is_passed_over(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);
    static const uint64_t torn[] = {
        1, PREFIX, PREFIX + 1, PREFIX + BUS_MESSAGE_MAX, PREFIX + BUS_MESSAGE_MAX + 1, UINT64_MAX};

    for (size_t i = 0; i < MS_ARRAY_LEN(torn); i++) {
        ear_clear(&t->ear[1]);
        say(t->bus[0], "whole");
        atomic_store(&words->reserve, atomic_load(&words->head) + torn[i]);
        bus_close(t->bus[0]);
        t->bus[0] = bus_open(&t->place, 0);
        say(t->bus[0], "after");
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
        assert_string_equal(t->ear[1].text, "whole,after,");
        fill(t); /* it knows who is behind */
        for (unsigned k = 1; k < 4; k++)
            assert_int_equal(bus_dispatch(t->bus[k], true), 0);
    }
    words_drop(words);
}

/* A writer that died while it overwrote what a slow reader had not read. */
static void
what_a_dead_writer_overwrote_stays_lost(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);

    leave_two(t);
    fill(t);
    atomic_store(&words->reserve, atomic_load(&words->head) + BIG + PREFIX);
    bus_close(t->bus[0]);
    t->bus[0] = bus_open(&t->place, 0);
    say(t->bus[0], "x");
    assert_in_range(bus_dispatch(t->bus[1], true), RING_SIZE / (BIG + PREFIX), UINT64_MAX);
    assert_int_equal(t->ear[1].count, 0);
    words_drop(words);
}

/* --- broken rings --- */

static void
a_length_that_cannot_be_ends_what_is_read_of_that_ring(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);
    uint8_t *bytes = (uint8_t *)words + BUS_PAGE;
    static const uint32_t lens[] = {6,        100,       BUS_MESSAGE_MAX, BUS_MESSAGE_MAX + 1,
                                    1u << 31, UINT32_MAX};

    for (size_t i = 0; i < MS_ARRAY_LEN(lens); i++) {
        uint64_t head = atomic_load(&words->head);

        ear_clear(&t->ear[1]);
        say(t->bus[0], "12345");
        memcpy(bytes + head, &lens[i], sizeof(lens[i]));
        say(t->bus[2], "another's");
        assert_in_range(bus_dispatch(t->bus[1], true), 1, 2);
        say(t->bus[0], "next");
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
        assert_string_equal(t->ear[1].text, "another's,next,");
    }
    words_drop(words);
}

/* Though the ring has so many bytes. */
static void
a_message_over_the_limit_is_not_copied(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);
    uint32_t len = BUS_MESSAGE_MAX + 1;

    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0), 0);
    memcpy((uint8_t *)words + BUS_PAGE, &len, sizeof(len));
    atomic_store(&words->count, UINT64_MAX / 2); /* nor is that many believed */
    assert_int_equal(bus_dispatch(t->bus[1], true), 1);
    assert_int_equal(t->ear[1].count, 0);
    words_drop(words);
}

static void
positions_that_cannot_be_are_survived(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 0);
    static const uint64_t values[] = {
        0, 1, 7, RING_SIZE - 1, RING_SIZE + 1, 1u << 30, UINT64_MAX, UINT64_MAX / 2};

    say(t->bus[0], "x");
    for (size_t i = 0; i < MS_ARRAY_LEN(values); i++)
        for (size_t k = 0; k < MS_ARRAY_LEN(values); k++) {
            atomic_store(&words->head, values[i]);
            atomic_store(&words->reserve, values[k]);
            atomic_store(&words->count, values[k]);
            atomic_store(&words->read_to[1], values[i]);
            (void)bus_dispatch(t->bus[1], true);
            assert_int_equal(bus_dispatch(t->bus[1], true), 0);
            bus_ring(t->bus[1]);
        }
    /* Whoever takes the ring over brings it back to order. */
    bus_close(t->bus[0]);
    t->bus[0] = bus_open(&t->place, 0);
    (void)bus_dispatch(t->bus[1], true);
    ear_clear(&t->ear[1]);
    say(t->bus[0], "sound");
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_string_equal(t->ear[1].text, "sound,");
    words_drop(words);
}

static void
a_reader_that_claims_to_be_ahead_holds_nobody_up(void **state)
{
    struct table *t = *state;
    struct bus_words *words = words_of(t, 1);

    leave_two(t);
    atomic_store(&words->read_to[0], UINT64_MAX / 2);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0), 0);
    words_drop(words);
}

static void
what_others_write_cannot_become_writable(void **state)
{
    struct table *t = *state;
    const struct bus *bus = t->bus[0];

    assert_int_equal(mprotect((void *)(uintptr_t)bus->all, bus->all_len, PROT_READ | PROT_WRITE),
                     -1);
    assert_int_equal(errno, EACCES);
}

static void
memory_of_another_size_is_not_taken(void **state)
{
    struct bus_place place;
    static const size_t sizes[] = {
        0, BUS_MESSAGE_MAX, RING_SIZE - 1, RING_SIZE + 4096, RING_SIZE * 3, SIZE_MAX};
    int fd = memfd_create("short", MFD_CLOEXEC);
    struct bus_place small = {.memory_fd = fd, .read_fd = -1, .bell_fd = -1};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++)
        assert_int_equal(bus_place_create(sizes[i], &place), -1);
    assert_null(bus_open(&small, 0));
    assert_int_equal(ftruncate(fd, BUS_PAGE * 300), 0);
    assert_null(bus_open(&small, 0));
    fd_close(&fd);
    assert_int_equal(bus_place_create(RING_SIZE, &place), 0);
    assert_int_equal(ftruncate(place.memory_fd, 0), -1);
    bus_place_close(&place);
    assert_int_equal(place.memory_fd, -1);
}

/* --- marks --- */

static void
what_is_between_a_mark_and_now_is_given_again(void **state)
{
    struct table *t = *state;
    struct ear ear = {.count = 0};
    uint8_t mark[BUS_MARK_MAX];
    struct bus *late;
    size_t n;

    say(t->bus[0], "a");
    say(t->bus[1], "b");
    bus_dispatch(t->bus[0], true);
    say(t->bus[1], "unread");
    n = bus_mark(t->bus[0], mark, sizeof(mark));
    say(t->bus[0], "c");
    say(t->bus[2], "d");
    say_on(t->bus[2], CHANNEL + 1, "another channel's");
    late = bus_open(&t->place, 20);
    say(late, "e");
    bus_dispatch(t->bus[2], true);
    assert_int_equal(bus_replay(t->bus[2], CHANNEL, mark, n, ear_hear, &ear), 0);
    assert_string_equal(ear.text, "c,unread,d,e,");
    ear_clear(&ear);
    n = bus_mark(t->bus[2], mark, sizeof(mark));
    assert_int_equal(bus_replay(t->bus[2], CHANNEL, mark, n, ear_hear, &ear), 0);
    assert_int_equal(ear.count, 0);
    bus_close(late);
}

static void
a_mark_that_makes_no_sense_is_told(void **state)
{
    struct table *t = *state;
    struct ear ear = {.count = 0};
    uint8_t mark[BUS_MARK_MAX + 1];
    uint8_t bad[BUS_MARK_MAX];
    size_t n;

    say(t->bus[0], "a");
    bus_dispatch(t->bus[1], true);
    n = bus_mark(t->bus[1], mark, sizeof(mark));
    assert_int_equal(n, 2 + 4 * 8);
    assert_int_equal(bus_mark(t->bus[1], bad, n - 1), 0);
    for (size_t len = 0; len < n; len++)
        assert_int_equal(bus_replay(t->bus[1], CHANNEL, mark, len, ear_hear, &ear), -1);
    assert_int_equal(bus_replay(t->bus[1], CHANNEL, mark, n + 1, ear_hear, &ear), -1);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, mark, n);
        bad[i] ^= 0x80;
        assert_int_equal(bus_replay(t->bus[1], CHANNEL, bad, n, ear_hear, &ear), -1);
    }
    assert_int_equal(ear.count, 0);
}

static void
what_is_overwritten_since_the_mark_is_told(void **state)
{
    struct table *t = *state;
    struct ear ear = {.count = 0};
    uint8_t mark[BUS_MARK_MAX];
    size_t n;

    leave_two(t);
    n = bus_mark(t->bus[1], mark, sizeof(mark));
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0), 0);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    }
    assert_int_equal(bus_replay(t->bus[1], CHANNEL, mark, n, ear_hear, &ear), -1);
    assert_int_equal(ear.count, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_writer_waits_for_the_slowest_reader_and_no_longer),
        TEST(nobody_waits_for_a_worker_that_hears_no_channel),
        TEST(patience_ends_and_what_was_overwritten_is_counted),
        TEST(a_reader_that_moves_on_gets_new_patience),
        TEST(what_a_writer_is_about_to_overwrite_is_not_heard),
        TEST(a_ring_goes_on_with_its_next_worker),
        TEST(a_message_whose_writer_died_is_passed_over),
        TEST(what_a_dead_writer_overwrote_stays_lost),
        TEST(a_length_that_cannot_be_ends_what_is_read_of_that_ring),
        TEST(a_message_over_the_limit_is_not_copied),
        TEST(positions_that_cannot_be_are_survived),
        TEST(a_reader_that_claims_to_be_ahead_holds_nobody_up),
        cmocka_unit_test_setup_teardown(what_others_write_cannot_become_writable, setup, teardown),
        cmocka_unit_test(memory_of_another_size_is_not_taken),
        TEST(what_is_between_a_mark_and_now_is_given_again),
        TEST(a_mark_that_makes_no_sense_is_told),
        TEST(what_is_overwritten_since_the_mark_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
