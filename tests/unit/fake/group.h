/* Three servers of a list, of which some are away: there is none then, and nobody listens. */
#ifndef TESTS_FAKE_GROUP_H
#define TESTS_FAKE_GROUP_H

#include "unit/fake/net.h"

#define GROUP_COUNT 3
#define NO_WAIT     1000000 /* milliseconds of a pause that no test may come to */

struct group {
    struct server *s[GROUP_COUNT];
    uint16_t port[GROUP_COUNT];
};

/* All of them with empty scripts. */
struct group group_create(void);

/* Starts the servers that exist, and takes a port that is free for each of the others. */
void group_start(struct group *g);

/* A handle for the list, with "?..." or "" behind it. */
msock *group_open(const struct group *g, const char *options);

void group_stop(struct group *g);
void group_destroy(struct group *g);

/* How many connections each one that exists has had. */
void expect_connections(const struct group *g, int a, int b, int c);

#endif
