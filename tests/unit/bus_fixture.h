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

/* The subscriber of each worker; arg is its ear. */
void ear_hear(void *arg, const void *data, size_t n);

/* It has heard nothing. */
void ear_clear(struct ear *ear);

/* Four workers on the first rings, all of which hear CHANNEL. */
int setup(void **state);

/* Takes all four off the bus. */
int teardown(void **state);

/* Publishes text from bus. As bus_publish. */
int say_on(struct bus *bus, uint16_t channel, const char *text);

/* Publishes text on CHANNEL, which must work. */
void say(struct bus *bus, const char *text);

/* One worker alone is left on the bus, and one that writes. */
void leave_two(struct table *t);

/* Publishes BIG bytes from bus 0 until nobody can wait any more. Returns how many went out. */
unsigned fill(struct table *t);

/* A worker's page of words, as a broken worker may write it. */
struct bus_words *words_of(const struct table *t, unsigned ring);

/* Unmaps them. */
void words_drop(struct bus_words *words);

#endif
