/* Which id the next worker goes on from. */
#include "handler_fixture.h"

#include "handler/journal/journal.h"

#define W0 "-w0.ndjson"
#define W1 "-w1.ndjson"

struct context {
    struct fixture *f;
    int dir_fd;
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dir_fd = open(fixture_path(c->f, "journal"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = c;
    return c->dir_fd >= 0 ? 0 : -1;
}

static int
teardown(void **state)
{
    struct context *c = *state;

    fd_close(&c->dir_fd);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
put(const struct context *c, const char *name, const char *bytes, size_t n)
{
    int fd = openat(c->dir_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, bytes, n), 0);
    fd_close(&fd);
}

static void
put_record(const struct context *c, const char *name, const char *id, size_t body)
{
    char *text = ms_malloc(body);
    struct buffer line;

    memset(text, 'x', body);
    buffer_init(&line);
    buffer_printf(&line, "{\"id\":\"%s\"", id);
    record_body(&line, 0, MESSAGE_PLAIN, text, body);
    free(text);
    put(c, name, buffer_bytes(&line), line.len);
    buffer_fini(&line);
}

static void
assert_newest(const struct context *c, const char *expected)
{
    char id[ULID_LEN];

    assert_true(newest_id(c->dir_fd, id));
    assert_memory_equal(id, expected, ULID_LEN);
}

static void
an_empty_journal_has_none(void **state)
{
    struct context *c = *state;
    char id[ULID_LEN];

    put(c, "notes.txt", "01J00000000000000000000000\n", 27);
    assert_false(newest_id(c->dir_fd, id));
}

static void
it_is_in_a_name_or_in_the_last_record_of_any_worker(void **state)
{
    struct context *c = *state;

    put_record(c, "01J10000000000000000000000" W0, "01J10000010000000000000000", 10);
    put_record(c, "01J10000000000000000000000" W0, "01J10000090000000000000000", 10);
    put_record(c, "01J10000050000000000000000" W1, "01J10000060000000000000000", 10);
    assert_newest(c, "01J10000090000000000000000");
    put(c, "01J20000000000000000000000" W1, "", 0);
    assert_newest(c, "01J20000000000000000000000");
}

static void
an_older_segment_of_a_worker_that_still_wrote_counts(void **state)
{
    struct context *c = *state;

    put_record(c, "01J10000000000000000000000" W0, "01J30000000000000000000000", 10);
    put_record(c, "01J20000000000000000000000" W0, "01J20000010000000000000000", 10);
    assert_newest(c, "01J30000000000000000000000");
}

/* A forged or torn id would take all later ones with it. */
static void
only_whole_records_count(void **state)
{
    static const char torn[] = "{\"id\":\"01Z00000000000000000000000\",\"text\":\"xx";
    struct context *c = *state;

    put_record(c, "01J10000000000000000000000" W0, "01J10000010000000000000000", 10);
    put(c, "01J10000000000000000000000" W0, "\n\0garbage\n", 10);
    put(c, "01J10000000000000000000000" W0, torn, sizeof(torn) - 1);
    assert_newest(c, "01J10000010000000000000000");
    put(c, "01J10000000000000000000000" W0, "\n", 1);
    assert_newest(c, "01J10000010000000000000000");
}

static void
long_lines_are_read_to_their_begin(void **state)
{
    struct context *c = *state;

    put_record(c, "01J10000000000000000000000" W0, "01J10000010000000000000000", 10);
    put_record(c, "01J10000000000000000000000" W0, "01J10000020000000000000000", 3 << 20);
    assert_newest(c, "01J10000020000000000000000");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_journal_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_in_a_name_or_in_the_last_record_of_any_worker, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_older_segment_of_a_worker_that_still_wrote_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(only_whole_records_count, setup, teardown),
        cmocka_unit_test_setup_teardown(long_lines_are_read_to_their_begin, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
