#include "follow_case.h"

int
follow_case_setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->locked = -1;
    *state = c;
    return 0;
}

int
follow_case_teardown(void **state)
{
    struct context *c = *state;

    follow_close(c->follow);
    fd_close(&c->locked);
    buffer_fini(&c->lines);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

void
follow_case_begin_with(struct context *c, const struct file_ops *ops)
{
    char error[FOLLOW_ERROR_LEN];

    follow_close(c->follow);
    c->follow = follow_open(&c->f->config, ops, error);
    assert_non_null(c->follow);
}

void
follow_case_begin(struct context *c)
{
    follow_case_begin_with(c, &file_ops_synced);
}

void
follow_case_add(struct context *c, unsigned from, unsigned to)
{
    for (unsigned number = from; number <= to; number++)
        follow_add(c->f, &c->lines, number, NULL, NULL, "body");
}

void
follow_case_write(struct context *c, const char *segment, unsigned from, unsigned to, mode_t mode)
{
    follow_case_add(c, from, to);
    follow_write(c->f, segment, &c->lines, mode);
}

void
follow_case_lock(struct context *c, const char *segment)
{
    c->locked = open(fixture_path(c->f, segment), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    assert_true(c->locked >= 0);
    assert_int_equal(file_ops_synced.lock(c->locked), 0);
}

struct follow_lag
follow_case_lag(struct context *c)
{
    struct follow_lag now;

    follow_lag(c->follow, &now);
    return now;
}
