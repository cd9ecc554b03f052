/* Workers that exist only as hosts of handlers: each has connections that write down what is pushed
 * to them, and all are on one bus. */
#ifndef TESTS_UNIT_FANOUT_FIXTURE_H
#define TESTS_UNIT_FANOUT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus/bus.h"
#include "handler/handler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HALL_WORKERS 4
#define HALL_CONNS   12
#define HALL_CHANNEL 3

struct conn {
    unsigned id;
    struct desk *desk; /* the worker it is with; NULL: on its way */
    int refuses;       /* errno of each push, or 0 */
    char text[1024];   /* what was pushed to it: "a,b," */
    unsigned pushes;
    size_t bytes;
    void (*got)(struct conn *c, const void *data, size_t n); /* or NULL */
};

struct hall;

/* One worker. */
struct desk {
    struct hall *hall;
    struct bus *bus;
    struct handler_host host;
    uint64_t lost;
};

struct hall {
    struct bus_place place;
    struct desk desk[HALL_WORKERS];
    struct conn conn[HALL_CONNS];
};

/* Connection i begins with worker i modulo HALL_WORKERS. */
struct hall *hall_create(void);

/* Takes all workers off the bus and frees the hall. */
void hall_destroy(struct hall *hall);

#endif
