#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus/bus_layout.h"
#include "common/fd.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING_SIZE (2u * BUS_MESSAGE_MAX)
#define CHANNEL   7
#define PREFIX    sizeof(struct bus_prefix)
#define BIG       (BUS_MESSAGE_MAX / 4) /* a few of these fill a ring */

/* What one subscriber heard: the messages one behind the other, "a,b,". */
struct ear {
    char text[4096];
    unsigned count;
    uint64_t bytes;
};

struct table {
    struct bus_place place;
    struct bus *bus[4];
    struct ear ear[4];
    uint8_t body[BUS_MESSAGE_MAX + 1];
};

static void
ear_hear(void *arg, const void *data, size_t n)
{
    struct ear *ear = arg;
    size_t len = strlen(ear->text);

    ear->count++;
    ear->bytes += n;
    if (len + n + 2 > sizeof(ear->text) || n > 64)
        return;
    memcpy(ear->text + len, data, n);
    memcpy(ear->text + len + n, ",", 2);
}

static void
ear_clear(struct ear *ear)
{
    *ear = (struct ear){.count = 0};
}

/* Four workers on the first rings, all of which hear CHANNEL. */
static int
setup(void **state)
{
    struct table *t = ms_calloc(1, sizeof(*t));

    assert_int_equal(bus_place_create(RING_SIZE, &t->place), 0);
    for (unsigned i = 0; i < 4; i++) {
        t->bus[i] = bus_open(&t->place, i);
        assert_non_null(t->bus[i]);
        bus_subscribe(t->bus[i], CHANNEL, ear_hear, &t->ear[i]);
    }
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    struct table *t = *state;

    for (unsigned i = 0; i < 4; i++)
        bus_close(t->bus[i]);
    bus_place_close(&t->place);
    free(t);
    return 0;
}

static int
say_on(struct bus *bus, uint16_t channel, const char *text)
{
    return bus_publish(bus, channel, NULL, 0, text, strlen(text), 0);
}

static void
say(struct bus *bus, const char *text)
{
    assert_int_equal(say_on(bus, CHANNEL, text), 0);
}

/* One worker alone is left on the bus, and one that writes. */
static void
leave_two(struct table *t)
{
    for (unsigned i = 2; i < 4; i++) {
        bus_close(t->bus[i]);
        t->bus[i] = NULL;
    }
}

/* Publishes BIG bytes from bus 0 until nobody can wait any more. Returns how many went out. */
static unsigned
fill(struct table *t)
{
    unsigned count = 0;

    while (count < 100 && bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, 0) == 0)
        count++;
    assert_in_range(count, 0, 99);
    assert_int_equal(errno, EAGAIN);
    return count;
}

/* A worker's page of words, as a broken worker may write it. */
static struct bus_words *
words_of(const struct table *t, unsigned ring)
{
    void *map = mmap(NULL, BUS_PAGE + RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                     t->place.memory_fd, BUS_PAGE + (off_t)ring * (BUS_PAGE + RING_SIZE));

    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

static void
words_drop(struct bus_words *words)
{
    munmap(words, BUS_PAGE + RING_SIZE);
}

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
memory_of_another_size_is_not_taken(void **state)
{
    struct bus_place place;
    static const size_t sizes[] = {
        0, BUS_MESSAGE_MAX, RING_SIZE - 1, RING_SIZE + 4096, RING_SIZE * 3, SIZE_MAX};
    int fd = memfd_create("short", MFD_CLOEXEC);
    struct bus_place small = {.memory_fd = fd, .bell_fd = -1};

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

/* --- several processes --- */

#define PROCESSES 4
#define PUBLISHED 20000

struct check {
    uint32_t next[PROCESSES];
    unsigned wrong;
};

struct numbered {
    uint32_t process, number, seed;
};

static void
check_hear(void *arg, const void *data, size_t n)
{
    struct check *check = arg;
    const uint8_t *bytes = data;
    struct numbered head;

    if (n < sizeof(head)) {
        check->wrong++;
        return;
    }
    memcpy(&head, data, sizeof(head));
    if (head.process >= PROCESSES || head.number != check->next[head.process])
        check->wrong++;
    else
        check->next[head.process]++;
    for (size_t i = sizeof(head); i < n; i++)
        if (bytes[i] != (uint8_t)(head.seed + i))
            check->wrong++;
}

/* Mostly short ones, and now and then a long one. */
static size_t
process_make(uint8_t *body, uint32_t process, uint32_t number, uint32_t *seed)
{
    struct numbered head = {process, number, *seed = *seed * 1103515245u + 12345};
    size_t n = sizeof(head) + (*seed >> 8) % (number % 500 == 0 ? 100000 : 200);

    for (size_t i = sizeof(head); i < n; i++)
        body[i] = (uint8_t)(head.seed + i);
    memcpy(body, &head, sizeof(head));
    return n;
}

static bool
check_done(const struct check *check, uint32_t own)
{
    for (uint32_t i = 0; i < PROCESSES; i++)
        if (i != own && check->next[i] != PUBLISHED)
            return false;
    return true;
}

static void
process_wait_bell(int epoll_fd)
{
    struct epoll_event event;

    (void)epoll_wait(epoll_fd, &event, 1, 5);
}

/* Exit status 0: all was heard, once and in order. */
static int
process_main(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, 10 + own);
    struct check check = {.wrong = 0};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint8_t *body = ms_malloc(200000);
    uint32_t published = 0, seed = own;
    size_t n = 0;
    char byte = 0;

    if (bus == NULL || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bus_bell(bus), &event) < 0)
        return 2;
    bus_subscribe(bus, CHANNEL, check_hear, &check);
    if (write(ready_fd, &byte, 1) != 1 || read(go_fd, &byte, 1) != 0)
        return 3;
    while (published < PUBLISHED || !check_done(&check, own)) {
        bool stuck = published == PUBLISHED;

        for (unsigned i = 0; i < 64 && published < PUBLISHED && !stuck; i++) {
            if (n == 0)
                n = process_make(body, own, published, &seed);
            /* Time stands still: nobody is ever overwritten. */
            stuck = bus_publish(bus, CHANNEL, body, n / 2, body + n / 2, n - n / 2, 0) < 0;
            published += !stuck;
            n = stuck ? n : 0;
        }
        if (bus_dispatch(bus, false) != 0 || check.wrong != 0)
            return 4;
        bus_ring(bus);
        if (stuck)
            process_wait_bell(epoll_fd);
    }
    bus_close(bus);
    return 0;
}

/* Forks a process that calls run; it is killed when the test takes too long. */
static pid_t
start(int (*run)(const struct table *, uint32_t, int, int), const struct table *t, uint32_t own,
      const int ready[2], const int go[2])
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    alarm(30);
    close(ready[0]);
    close(go[1]);
    _exit(run(t, own, ready[1], go[0]));
}

static void
await_ready(int fd, unsigned count)
{
    char byte;

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fd_read(fd, &byte, 1), 1);
}

static void
processes_hear_each_other_in_order_and_once(void **state)
{
    struct table *t = *state;
    pid_t pids[PROCESSES];
    int ready[2], go[2];

    for (unsigned i = 0; i < 4; i++) {
        bus_close(t->bus[i]);
        t->bus[i] = NULL;
    }
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    for (uint32_t i = 0; i < PROCESSES; i++)
        pids[i] = start(process_main, t, i, ready, go);
    close(ready[1]);
    close(go[0]);
    await_ready(ready[0], PROCESSES);
    close(go[1]);
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    close(ready[0]);
}

static int
process_listen(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, own);
    struct ear ear = {.count = 0};
    char byte = 0;

    if (bus == NULL)
        return 2;
    bus_subscribe(bus, CHANNEL, ear_hear, &ear);
    if (write(ready_fd, &byte, 1) != 1)
        return 3;
    return (int)fd_read(go_fd, &byte, 1); /* killed here */
}

static void
a_reader_that_was_killed_holds_the_others_up_for_a_moment_only(void **state)
{
    struct table *t = *state;
    int ready[2], go[2];
    unsigned count;
    pid_t pid;

    leave_two(t);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = start(process_listen, t, 30, ready, go);
    await_ready(ready[0], 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    count = fill(t);
    assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    assert_int_equal(fill(t), 0); /* it cannot be known yet that it is gone */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(bus_publish(t->bus[0], CHANNEL, NULL, 0, t->body, BIG, BUS_PATIENCE_US),
                         0);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
    }
    assert_int_equal(t->ear[1].count, count + 100);
    for (unsigned i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

static int
process_publish(const struct table *t, uint32_t own, int ready_fd, int go_fd)
{
    struct bus *bus = bus_open(&t->place, own);
    uint8_t *body = ms_malloc(200000);
    uint32_t seed = own, number = 0;
    char byte = 0;

    (void)go_fd;
    if (bus == NULL || write(ready_fd, &byte, 1) != 1)
        return 2;
    for (;; number++) {
        size_t n = process_make(body, 0, number, &seed);

        while (bus_publish(bus, CHANNEL, body, n, NULL, 0, 0) < 0)
            sched_yield();
    }
}

/* Each time it dies somewhere else; whoever takes the ring over begins to count anew. */
static void
a_writer_that_was_killed_leaves_whole_messages(void **state)
{
    struct table *t = *state;
    struct check check;

    leave_two(t);
    bus_unsubscribe(t->bus[0], CHANNEL);
    bus_unsubscribe(t->bus[1], CHANNEL);
    bus_subscribe(t->bus[1], CHANNEL, check_hear, &check);
    for (unsigned round = 0; round < 20; round++) {
        int ready[2], go[2];
        pid_t pid;

        check = (struct check){.wrong = 0};
        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(go), 0);
        pid = start(process_publish, t, 30, ready, go);
        await_ready(ready[0], 1);
        while (check.next[0] < 1000 + round * 37) {
            assert_int_equal(bus_dispatch(t->bus[1], true), 0);
            assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(bus_dispatch(t->bus[1], true), 0);
        assert_int_equal(check.wrong, 0);
        for (unsigned i = 0; i < 2; i++) {
            close(ready[i]);
            close(go[i]);
        }
    }
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
        cmocka_unit_test(memory_of_another_size_is_not_taken),
        TEST(what_is_between_a_mark_and_now_is_given_again),
        TEST(a_mark_that_makes_no_sense_is_told),
        TEST(what_is_overwritten_since_the_mark_is_told),
        TEST(processes_hear_each_other_in_order_and_once),
        TEST(a_reader_that_was_killed_holds_the_others_up_for_a_moment_only),
        TEST(a_writer_that_was_killed_leaves_whole_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
