#include "bus_fixture.h"

#include <poll.h>
#include <sys/epoll.h>

/* --- what is published and heard --- */

static void
all_others_hear_what_one_publishes(void **state)
{
    struct table *t = *state;

    say(t->bus[0], "one");
    say(t->bus[0], "two");
    say(t->bus[2], "x");
    say(t->bus[0], "");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(bus_dispatch(t->bus[i], false), 0);
    assert_string_equal(t->ear[0].text, "x,");
    assert_string_equal(t->ear[1].text, "one,two,,x,");
    assert_string_equal(t->ear[2].text, "one,two,,");
    assert_string_equal(t->ear[3].text, "one,two,,x,");
}

static void
nothing_is_heard_twice(void **state)
{
    struct table *t = *state;

    say(t->bus[0], "one");
    bus_dispatch(t->bus[1], false);
    bus_dispatch(t->bus[1], false);
    say(t->bus[0], "two");
    bus_dispatch(t->bus[1], true);
    assert_string_equal(t->ear[1].text, "one,two,");
}

static void
each_channel_has_its_own_subscriber(void **state)
{
    struct table *t = *state;
    struct ear other = {.count = 0};

    say_on(t->bus[0], 90, "nobody's");
    bus_subscribe(t->bus[1], 90, ear_hear, &other);
    say_on(t->bus[0], 90, "heard");
    say_on(t->bus[0], CHANNEL, "mine");
    say_on(t->bus[0], 91, "nobody's");
    say_on(t->bus[0], 5, "nobody's");
    bus_dispatch(t->bus[1], false);
    bus_unsubscribe(t->bus[1], 90);
    say_on(t->bus[0], 90, "no more");
    say_on(t->bus[0], CHANNEL, "too");
    bus_dispatch(t->bus[1], false);
    /* What came before the subscription was not read yet: it is heard all the same. */
    assert_string_equal(other.text, "nobody's,heard,");
    assert_string_equal(t->ear[1].text, "mine,too,");
}

static void
who_begins_to_listen_hears_what_comes_from_then_on(void **state)
{
    struct table *t = *state;
    struct ear late = {.count = 0};
    struct bus *bus;

    say(t->bus[0], "before");
    bus = bus_open(&t->place, 9);
    say(t->bus[0], "between");
    bus_subscribe(bus, CHANNEL, ear_hear, &late);
    say(t->bus[0], "after");
    assert_int_equal(bus_dispatch(bus, false), 0);
    assert_string_equal(late.text, "after,");
    bus_unsubscribe(bus, CHANNEL);
    say(t->bus[0], "meanwhile");
    bus_subscribe(bus, CHANNEL, ear_hear, &late);
    say(t->bus[0], "again");
    assert_int_equal(bus_dispatch(bus, false), 0);
    assert_string_equal(late.text, "after,again,");
    bus_close(bus);
}

static void
a_worker_that_comes_later_is_heard_from_its_first_message_on(void **state)
{
    struct table *t = *state;
    struct bus *bus = bus_open(&t->place, BUS_RINGS - 1);

    say(bus, "first");
    bus_dispatch(t->bus[1], false);
    assert_string_equal(t->ear[1].text, "first,");
    bus_close(bus);
}

static void
both_parts_of_a_message_are_one(void **state)
{
    struct table *t = *state;

    assert_int_equal(bus_publish(t->bus[0], CHANNEL, "head", 4, "body", 4, 0), 0);
    assert_int_equal(bus_publish(t->bus[0], CHANNEL, "head", 4, NULL, 0, 0), 0);
    bus_dispatch(t->bus[1], false);
    assert_string_equal(t->ear[1].text, "headbody,head,");
}

static void
a_message_that_is_too_long_is_not_taken(void **state)
{
    struct table *t = *state;
    static const struct {
        size_t head_len, n;
        int error;
    } cases[] = {
        {0, BUS_MESSAGE_MAX, 0},
        {1, BUS_MESSAGE_MAX - 1, 0},
        {0, BUS_MESSAGE_MAX + 1, EMSGSIZE},
        {1, BUS_MESSAGE_MAX, EMSGSIZE},
        {BUS_MESSAGE_MAX + 1, 0, EMSGSIZE},
        {SIZE_MAX, 2, EMSGSIZE},
        {2, SIZE_MAX, EMSGSIZE},
    };

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        int rc =
            bus_publish(t->bus[0], CHANNEL, t->body, cases[i].head_len, t->body, cases[i].n, 0);

        assert_int_equal(rc, cases[i].error != 0 ? -1 : 0);
        if (rc < 0)
            assert_int_equal(errno, cases[i].error);
        for (unsigned w = 1; w < 4; w++)
            assert_int_equal(bus_dispatch(t->bus[w], true), 0);
        assert_int_equal(t->ear[1].count, i < 2 ? i + 1 : 2);
    }
    assert_int_equal(t->ear[1].bytes, 2 * BUS_MESSAGE_MAX);
}

struct patterned {
    unsigned count;
    bool wrong;
};

static void
patterned_hear(void *arg, const void *data, size_t n)
{
    struct patterned *p = arg;
    const uint8_t *bytes = data;
    uint32_t number;

    memcpy(&number, bytes, sizeof(number));
    for (size_t i = sizeof(number); i < n; i++)
        if (bytes[i] != (uint8_t)(number + i))
            p->wrong = true;
    p->wrong = p->wrong || number != p->count;
    p->count++;
}

/* Messages of all sizes pass the end of the ring at all places of prefix and body. */
static void
messages_pass_the_end_of_the_ring_whole(void **state)
{
    struct table *t = *state;
    struct patterned heard = {0, false};
    struct bus_words *words = words_of(t, 0);

    leave_two(t);
    bus_unsubscribe(t->bus[1], CHANNEL);
    bus_subscribe(t->bus[1], CHANNEL, patterned_hear, &heard);
    for (uint32_t number = 0; number < 3000; number++) {
        size_t n = 4 + (number * 7919) % 9001;

        for (size_t i = 0; i < n; i++)
            t->body[i] = (uint8_t)(number + i);
        memcpy(t->body, &number, sizeof(number));
        assert_int_equal(
            bus_publish(t->bus[0], CHANNEL, t->body, n / 3, t->body + n / 3, n - n / 3, 0), 0);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    }
    /* And a prefix that begins on each of the last bytes. */
    for (uint32_t number = 3000; number < 3000 + 2 * PREFIX; number++) {
        size_t n =
            RING_SIZE - atomic_load(&words->head) % RING_SIZE - PREFIX - number % (2 * PREFIX);

        while (n > BUS_MESSAGE_MAX || n < 4)
            n = n < 4 ? n + RING_SIZE / 4 : n / 2;
        for (size_t i = 0; i < n; i++)
            t->body[i] = (uint8_t)(number + i);
        memcpy(t->body, &number, sizeof(number));
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, t->body, n, NULL, 0, 0), 0);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    }
    assert_int_equal(heard.count, 3000 + 2 * PREFIX);
    assert_false(heard.wrong);
    words_drop(words);
}

static void
a_turn_reads_only_so_much_and_the_bell_says_that_there_is_more(void **state)
{
    struct table *t = *state;
    unsigned turns = 0;
    struct pollfd bell = {.fd = bus_bell(t->bus[1]), .events = POLLIN};
    uint64_t rung;

    for (unsigned i = 0; i < 20; i++)
        for (unsigned w = 2; w < 4; w++)
            assert_int_equal(
                bus_publish(t->bus[w], CHANNEL, t->body, BUS_TURN_BYTES / 4, NULL, 0, 0), 0);
    do {
        unsigned before = t->ear[1].count;

        bus_dispatch(t->bus[1], false);
        bus_dispatch(t->bus[1], false);
        assert_in_range(t->ear[1].count - before, 1, 4);
        turns++;
        bus_ring(t->bus[1]);
    } while (poll(&bell, 1, 0) == 1 && read(bell.fd, &rung, sizeof(rung)) == sizeof(rung));
    assert_int_equal(t->ear[1].count, 40);
    assert_in_range(turns, 10, 12);
}

static void
no_ring_is_forgotten_when_others_never_end(void **state)
{
    struct table *t = *state;

    for (unsigned w = 1; w < 4; w++)
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(bus_publish(t->bus[w], CHANNEL, t->body, BUS_TURN_BYTES, NULL, 0, 0),
                             0);
    say(t->bus[3], "last");
    for (unsigned turn = 0; turn < 9; turn++) {
        assert_int_equal(bus_publish(t->bus[1], CHANNEL, t->body, BUS_TURN_BYTES, NULL, 0, 0), 0);
        bus_dispatch(t->bus[0], false);
        bus_ring(t->bus[0]);
    }
    assert_string_equal(t->ear[0].text, "last,");
}

struct echoing {
    struct bus *bus;
    unsigned count;
};

static void
echoing_hear(void *arg, const void *data, size_t n)
{
    struct echoing *e = arg;

    e->count++;
    assert_int_equal(bus_publish(e->bus, CHANNEL, data, n, "!", 1, 0), 0);
    assert_int_equal(bus_dispatch(e->bus, true), 0);
}

static void
a_subscriber_may_publish(void **state)
{
    struct table *t = *state;
    struct echoing e = {t->bus[1], 0};

    bus_unsubscribe(t->bus[1], CHANNEL);
    bus_subscribe(t->bus[1], CHANNEL, echoing_hear, &e);
    say(t->bus[0], "one");
    say(t->bus[0], "two");
    bus_dispatch(t->bus[1], false);
    bus_dispatch(t->bus[0], false);
    assert_int_equal(e.count, 2);
    assert_string_equal(t->ear[0].text, "one!,two!,");
}

/* --- the bell --- */

static unsigned
woken(int epoll_fd)
{
    struct epoll_event event;

    return (unsigned)epoll_wait(epoll_fd, &event, 1, 0);
}

static void
the_bell_wakes_everybody_each_time_though_nobody_reads_it(void **state)
{
    struct table *t = *state;
    int epoll_fd[4];

    for (unsigned i = 0; i < 4; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET};

        epoll_fd[i] = epoll_create1(EPOLL_CLOEXEC);
        assert_int_equal(epoll_ctl(epoll_fd[i], EPOLL_CTL_ADD, bus_bell(t->bus[i]), &event), 0);
    }
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(woken(epoll_fd[i]), 0);
        say(t->bus[round % 4], "x");
        say(t->bus[round % 4], "y");
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(woken(epoll_fd[i]), 0);
        bus_ring(t->bus[round % 4]);
        bus_ring(t->bus[round % 4]);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(woken(epoll_fd[i]), 1);
    }
    for (unsigned i = 0; i < 4; i++) {
        bus_ring(t->bus[i]); /* nothing was published since */
        assert_int_equal(woken(epoll_fd[0]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        fd_close(&epoll_fd[i]);
}

static void
readers_ring_when_they_move_on_only_while_a_writer_waits(void **state)
{
    struct table *t = *state;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    leave_two(t);
    bus_ring(t->bus[0]);
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, t->place.bell_fd, &event), 0);
    (void)woken(epoll_fd);
    say(t->bus[0], "x");
    bus_dispatch(t->bus[1], true);
    bus_ring(t->bus[1]);
    assert_int_equal(woken(epoll_fd), 0);
    fill(t);
    bus_dispatch(t->bus[1], true);
    bus_ring(t->bus[1]);
    assert_int_equal(woken(epoll_fd), 1);
    say(t->bus[0], "x"); /* it waits no more */
    bus_dispatch(t->bus[1], true);
    bus_ring(t->bus[1]);
    assert_int_equal(woken(epoll_fd), 0);
    fd_close(&epoll_fd);
}

static void
who_leaves_wakes_those_that_waited_for_it(void **state)
{
    struct table *t = *state;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    leave_two(t);
    fill(t);
    bus_ring(t->bus[0]);
    assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, t->place.bell_fd, &event), 0);
    assert_int_equal(woken(epoll_fd), 1);
    bus_close(t->bus[1]);
    t->bus[1] = NULL;
    assert_int_equal(woken(epoll_fd), 1);
    say(t->bus[0], "x");
    fd_close(&epoll_fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_others_hear_what_one_publishes),
        TEST(nothing_is_heard_twice),
        TEST(each_channel_has_its_own_subscriber),
        TEST(who_begins_to_listen_hears_what_comes_from_then_on),
        TEST(a_worker_that_comes_later_is_heard_from_its_first_message_on),
        TEST(both_parts_of_a_message_are_one),
        TEST(a_message_that_is_too_long_is_not_taken),
        TEST(messages_pass_the_end_of_the_ring_whole),
        TEST(a_turn_reads_only_so_much_and_the_bell_says_that_there_is_more),
        TEST(no_ring_is_forgotten_when_others_never_end),
        TEST(a_subscriber_may_publish),
        TEST(the_bell_wakes_everybody_each_time_though_nobody_reads_it),
        TEST(readers_ring_when_they_move_on_only_while_a_writer_waits),
        TEST(who_leaves_wakes_those_that_waited_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
