#include "handler_fixture.h"

#include "handler/exec/exec.h"

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
        exec_feed_take(&feed, data, part);
        at += part;
    }
    assert_int_equal(at, n);
    exec_feed_fini(&feed);
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
    exec_feed_fini(&feed);
    message_destroy(m);
}

/* As after a write-back that failed. */
static void
a_body_that_its_file_gives_back_changed_never_ends(void **state)
{
    static const off_t places[] = {0, 1, 63, 64, 5000, 9999};
    struct fixture *f = *state;
    char body[10000] = {0}, chunk[64];

    for (size_t i = 0; i < 2 * MS_ARRAY_LEN(places); i++) {
        struct message *m = fixture_message(f, MESSAGE_PLAIN, "", body, sizeof(body));
        struct exec_feed feed;
        const char *data;
        size_t at = 0;
        ssize_t n;

        assert_int_equal(pwrite(m->fd, "x", 1, places[i / 2]), 1);
        exec_feed_init(&feed, m, i % 2 == 0);
        while ((n = exec_feed_next(&feed, chunk, sizeof(chunk), &data)) > 0) {
            size_t part = n > 7 ? (size_t)n - 7 : (size_t)n;

            exec_feed_take(&feed, data, part);
            at += part;
        }
        assert_int_equal(n, -1);
        assert_int_equal(errno, EBADMSG);
        assert_false(exec_feed_done(&feed));
        assert_true(at + sizeof(chunk) >= sizeof(body));
        exec_feed_fini(&feed);
        message_destroy(m);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_is_the_same_in_whatever_pieces_it_is_taken,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_lost_its_end_is_an_error, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_body_that_its_file_gives_back_changed_never_ends,
                                        fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
