/* What the tests of the bus share: four workers of one process that hear each other. */
#ifndef TESTS_UNIT_BUS_FIXTURE_H
#define TESTS_UNIT_BUS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus/bus_state.h"
#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

static inline void
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

static inline void
ear_clear(struct ear *ear)
{
    *ear = (struct ear){.count = 0};
}

/* Four workers on the first rings, all of which hear CHANNEL. */
static inline int
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

static inline int
teardown(void **state)
{
    struct table *t = *state;

    for (unsigned i = 0; i < 4; i++)
        bus_close(t->bus[i]);
    bus_place_close(&t->place);
    free(t);
    return 0;
}

static inline int
say_on(struct bus *bus, uint16_t channel, const char *text)
{
    return bus_publish(bus, channel, NULL, 0, text, strlen(text), 0);
}

static inline void
say(struct bus *bus, const char *text)
{
    assert_int_equal(say_on(bus, CHANNEL, text), 0);
}

/* One worker alone is left on the bus, and one that writes. */
static inline void
leave_two(struct table *t)
{
    for (unsigned i = 2; i < 4; i++) {
        bus_close(t->bus[i]);
        t->bus[i] = NULL;
    }
}

/* Publishes BIG bytes from bus 0 until nobody can wait any more. Returns how many went out. */
static inline unsigned
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
static inline struct bus_words *
words_of(const struct table *t, unsigned ring)
{
    void *map = mmap(NULL, BUS_PAGE + RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                     t->place.memory_fd, BUS_PAGE + (off_t)ring * (BUS_PAGE + RING_SIZE));

    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

static inline void
words_drop(struct bus_words *words)
{
    munmap(words, BUS_PAGE + RING_SIZE);
}

#endif
