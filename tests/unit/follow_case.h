/* One follower of a journal that is written by hand: for the tests of what it tells, and of where
 * it goes on. */
#ifndef TESTS_UNIT_FOLLOW_CASE_H
#define TESTS_UNIT_FOLLOW_CASE_H

#include "follow_fixture.h"

struct context {
    struct fixture *f;
    struct follow *follow;
    struct buffer lines;
    int locked; /* a segment that a worker has, or -1 */
};

int follow_case_setup(void **state);
int follow_case_teardown(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, follow_case_setup, follow_case_teardown)

/* Follows, from the saved position on. */
void follow_case_begin(struct context *c);
void follow_case_begin_with(struct context *c, const struct file_ops *ops);

/* Records with these numbers, in the lines; and in a segment. */
void follow_case_add(struct context *c, unsigned from, unsigned to);
void
follow_case_write(struct context *c, const char *segment, unsigned from, unsigned to, mode_t mode);

/* As a worker does it that writes there. */
void follow_case_lock(struct context *c, const char *segment);

struct follow_lag follow_case_lag(struct context *c);

#endif
