/* The shared memory of statistics in a directory of its own: a master, one worker and a reader, all
 * in this process. */
#ifndef UNIT_STATS_FIXTURE_H
#define UNIT_STATS_FIXTURE_H

#include "stats/stats_reader.h"
#include "stats/stats_writer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    char dir[128];
    struct stats_master master;
    struct stats_place place;
    struct stats_writer writer;
    struct stats_reader reader;
};

int set_up(void **state);
int tear_down(void **state);

/* Of a file there. */
void path_of(const struct fixture *f, const char *name, char out[256]);

#endif
