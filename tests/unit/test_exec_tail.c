#include "guard.h"

#include "handler/exec/exec.h"

static unsigned said_count;

static void
said(void *arg, const char *line, size_t n)
{
    (void)arg;
    (void)line;
    assert_true(n > 0 && n <= EXEC_TAIL_MAX);
    said_count++;
}

static const struct {
    const char *text, *last;
    unsigned lines;
} cases[] = {
    {"", "", 0},
    {"\n\n", "", 0},
    {"one", "one", 1},
    {"one\n", "one", 1},
    {"one\ntwo", "two", 2},
    {"one\r\ntwo\r\n\r\n", "two", 2},
    {"\none\n\n", "one", 1},
};

static void
check(struct guard *g, size_t i, size_t split)
{
    size_t n = strlen(cases[i].text);
    struct exec_tail tail;

    exec_tail_init(&tail);
    said_count = 0;
    exec_tail_feed(&tail, guard_copy(g, cases[i].text, split), split, said, NULL);
    exec_tail_feed(&tail, guard_copy(g, cases[i].text + split, n - split), n - split, said, NULL);
    exec_tail_end(&tail, said, NULL);
    assert_int_equal(tail.last_len, strlen(cases[i].last));
    assert_memory_equal(tail.last, cases[i].last, tail.last_len);
    assert_int_equal(said_count, cases[i].lines);
}

static void
the_last_line_that_is_not_empty_is_kept(void **state)
{
    struct guard g = guard_create(32);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (size_t split = 0; split <= strlen(cases[i].text); split++)
            check(&g, i, split);
    guard_destroy(&g);
}

static void
of_a_long_line_its_beginning_is_kept(void **state)
{
    struct exec_tail tail;
    char line[3 * EXEC_TAIL_MAX];

    (void)state;
    memset(line, 'x', sizeof(line));
    line[EXEC_TAIL_MAX - 1] = 'y';
    for (size_t split = 0; split <= sizeof(line); split += EXEC_TAIL_MAX / 2) {
        exec_tail_init(&tail);
        exec_tail_feed(&tail, line, split, said, NULL);
        exec_tail_feed(&tail, line + split, sizeof(line) - split, said, NULL);
        assert_int_equal(tail.last_len, 0);
        exec_tail_feed(&tail, "\n", 1, said, NULL);
        assert_int_equal(tail.last_len, EXEC_TAIL_MAX);
        assert_memory_equal(tail.last, line, EXEC_TAIL_MAX);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_line_that_is_not_empty_is_kept),
        cmocka_unit_test(of_a_long_line_its_beginning_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
