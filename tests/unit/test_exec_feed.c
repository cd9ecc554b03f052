#include "handler_fixture.h"

#include "handler/exec/exec.h"

static int
setup(void **state)
{
    *state = fixture_create();
    return 0;
}

static int
teardown(void **state)
{
    fixture_destroy(*state);
    return 0;
}

/* Takes everything, at most `most` bytes at a time, and compares it. */
static void
check(const struct message *m, bool framed, size_t chunk_size, size_t most, const char *expected,
      size_t n)
{
    struct exec_feed feed;
    char *chunk = ms_malloc(chunk_size);
    size_t at = 0;

    exec_feed_init(&feed, m, framed);
    while (!exec_feed_done(&feed)) {
        const char *data;
        ssize_t got = exec_feed_next(&feed, chunk, chunk_size, &data);
        size_t part = got > 0 && (size_t)got > most ? most : (size_t)got;

        assert_true(got > 0);
        assert_true(at + part <= n);
        assert_memory_equal(data, expected + at, part);
        exec_feed_take(&feed, part);
        at += part;
    }
    assert_int_equal(at, n);
    free(chunk);
}

static void
a_message_is_the_same_in_whatever_pieces_it_is_taken(void **state)
{
    static const size_t sizes[] = {0, 1, 5, 300, 10000}; /* the last one is in a file */
    struct fixture *f = *state;
    char expected[4 + 10000] = {0};

    for (size_t i = 0; i < 10000; i++)
        expected[4 + i] = (char)(i * 7);
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        struct message *m = fixture_message(f, MESSAGE_PLAIN, "", expected + 4, n);

        assert_int_equal(m->fd >= 0, n == 10000);
        expected[2] = (char)(n >> 8);
        expected[3] = (char)n;
        for (size_t most = 1; most <= 7; most++) {
            check(m, true, 64, most, expected, 4 + n);
            check(m, false, 64, most, expected + 4, n);
        }
        check(m, true, 4096, SIZE_MAX, expected, 4 + n);
        check(m, true, 5, SIZE_MAX, expected, 4 + n);
        message_destroy(m);
    }
}

static void
a_file_that_lost_its_end_is_an_error(void **state)
{
    struct fixture *f = *state;
    char body[10000] = {0}, chunk[64];
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", body, sizeof(body));
    struct exec_feed feed;
    const char *data;

    assert_int_equal(ftruncate(m->fd, 10), 0);
    exec_feed_init(&feed, m, false);
    assert_int_equal(exec_feed_next(&feed, chunk, sizeof(chunk), &data), -1);
    assert_int_equal(errno, EIO);
    message_destroy(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_is_the_same_in_whatever_pieces_it_is_taken, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_that_lost_its_end_is_an_error, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
