#include "handler_fixture.h"

#include "handler/journal/journal.h"

struct context {
    struct fixture *f;
    struct dir_syncs syncs;
    struct segment segment;
    int dir_fd;
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dir_fd = open(fixture_path(c->f, "journal"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir_syncs_init(&c->syncs, faulty_ops());
    segment_init(&c->segment, &c->syncs, 3);
    *state = c;
    return c->dir_fd >= 0 ? 0 : -1;
}

static int
teardown(void **state)
{
    struct context *c = *state;

    segment_close(&c->segment);
    dir_syncs_fini(&c->syncs);
    fd_close(&c->dir_fd);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
assert_content(struct context *c, const char *name, const char *expected)
{
    char path[300], *data;

    snprintf(path, sizeof(path), "journal/%s", name);
    data = fixture_read(c->f, path, NULL);
    assert_non_null(data);
    assert_string_equal(data, expected);
    free(data);
}

static void
a_segment_is_named_after_its_worker_locked_and_appended_to(void **state)
{
    struct context *c = *state;
    char path[300];
    int other;

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    assert_int_equal(faults.dir_syncs, 1);
    assert_int_equal(strlen(c->segment.name), ULID_LEN + strlen("-w3.ndjson"));
    assert_non_null(strstr(c->segment.name, "-w3.ndjson"));
    assert_int_equal(segment_append(&c->segment, "one\n", 4), 0);
    assert_int_equal(segment_append(&c->segment, "two\n", 4), 0);
    assert_int_equal(faults.data_syncs, 2);
    assert_int_equal(c->segment.good, 8);
    snprintf(path, sizeof(path), "journal/%s", c->segment.name);
    other = open(fixture_path(c->f, path), O_RDWR | O_CLOEXEC);
    assert_int_equal(file_ops_synced.lock(other), -1);
    segment_close(&c->segment);
    assert_int_equal(file_ops_synced.lock(other), 0);
    fd_close(&other);
    assert_content(c, c->segment.name, "one\ntwo\n");
}

static void
an_empty_segment_leaves_nothing_behind(void **state)
{
    struct context *c = *state;

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    segment_close(&c->segment);
    segment_close(&c->segment);
    assert_int_equal(fixture_count(c->f, "journal", "", NULL), 0);
}

static void
a_failed_write_is_cut_back_and_the_segment_is_left(void **state)
{
    struct context *c = *state;

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    assert_int_equal(segment_append(&c->segment, "good\n", 5), 0);
    faults.write_error = ENOSPC;
    faults.write_errors = 1;
    assert_int_equal(segment_append(&c->segment, "half of this is written\n", 24), -1);
    assert_int_equal(errno, ENOSPC);
    assert_false(segment_is_open(&c->segment));
    assert_content(c, c->segment.name, "good\n");
    assert_int_equal(c->segment.left.state, SEGMENT_SOUND);
}

static void
a_failed_sync_is_final_for_its_segment(void **state)
{
    struct context *c = *state;
    char first[SEGMENT_NAME_LEN];

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    memcpy(first, c->segment.name, sizeof(first));
    assert_int_equal(segment_append(&c->segment, "good\n", 5), 0);
    faults.data_error = EIO;
    faults.data_errors = 1;
    assert_int_equal(segment_append(&c->segment, "lost\n", 5), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    assert_string_not_equal(c->segment.name, first);
    assert_int_equal(segment_append(&c->segment, "next\n", 5), 0);
    assert_content(c, first, "good\n");
    assert_content(c, c->segment.name, "next\n");
}

static void
a_segment_whose_first_lines_failed_is_removed(void **state)
{
    struct context *c = *state;

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    faults.data_error = EIO;
    faults.data_errors = 1;
    assert_int_equal(segment_append(&c->segment, "lost\n", 5), -1);
    assert_int_equal(fixture_count(c->f, "journal", "", NULL), 0);
}

static void
what_cannot_be_cut_back_safely_is_remembered(void **state)
{
    struct context *c = *state;

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    assert_int_equal(segment_append(&c->segment, "good\n", 5), 0);
    faults.data_error = EIO;
    faults.data_errors = 2;
    assert_int_equal(segment_append(&c->segment, "lost\n", 5), -1);
    assert_int_equal(c->segment.left.state, SEGMENT_UNCUT);
    assert_string_equal(c->segment.left.name, c->segment.name);
}

static void
a_directory_that_cannot_be_synced_gives_no_segment(void **state)
{
    struct context *c = *state;

    faults.dir_error = EIO;
    faults.dir_errors = 1;
    assert_int_equal(segment_open(&c->segment, c->dir_fd), -1);
    assert_int_equal(errno, EIO);
    assert_false(segment_is_open(&c->segment));
    assert_int_equal(fixture_count(c->f, "journal", "", NULL), 0);
    assert_int_equal(segment_open(&c->segment, c->dir_fd), -1); /* nor does a second try */
    assert_int_equal(errno, ENOTRECOVERABLE);
    assert_int_equal(faults.dir_syncs, 1);
}

static void
a_directory_that_found_no_room_gives_a_segment_when_there_is_room(void **state)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG};
    struct context *c = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(errors); i++) {
        faults.dir_error = errors[i];
        faults.dir_errors = 1;
        assert_int_equal(segment_open(&c->segment, c->dir_fd), -1);
        assert_int_equal(errno, errors[i]);
        assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
        segment_close(&c->segment);
    }
}

static void
a_segment_that_was_removed_is_known_to_be_gone(void **state)
{
    struct context *c = *state;
    char path[300];

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    assert_int_equal(segment_look(&c->segment, NULL), SEGMENT_SOUND);
    snprintf(path, sizeof(path), "journal/%s", c->segment.name);
    assert_int_equal(unlink(fixture_path(c->f, path)), 0);
    assert_int_equal(segment_look(&c->segment, NULL), SEGMENT_GONE);
}

/* A write that fails after `: > segment` must not make it longer again, nor cut what is not ours.
 */
static void
a_failed_write_changes_nothing_that_others_have_changed(void **state)
{
    static const struct {
        const char *now; /* what others have made of "good\n" since it was looked at */
        const char *then;
    } cases[] = {{"", "half"}, {"good\ntheirs, long\n", "good\ntheirs, long\nhalf"}};
    struct context *c = *state;
    char path[300], name[SEGMENT_NAME_LEN];

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
        memcpy(name, c->segment.name, sizeof(name));
        assert_int_equal(segment_append(&c->segment, "good\n", 5), 0);
        snprintf(path, sizeof(path), "journal/%s", name);
        fixture_write(c->f, path, cases[i].now, strlen(cases[i].now));
        faults.write_error = ENOSPC;
        faults.write_errors = 1;
        assert_int_equal(segment_append(&c->segment, "halfhalf\n", 8), -1);
        assert_int_equal(errno, ENOSPC);
        assert_content(c, name, cases[i].then);
        assert_int_equal(c->segment.left.state, SEGMENT_UNCUT);
        c->segment.left.state = SEGMENT_SOUND;
    }
}

static void
a_stranger_of_the_same_name_is_not_removed(void **state)
{
    struct context *c = *state;
    char path[300], name[SEGMENT_NAME_LEN];

    assert_int_equal(segment_open(&c->segment, c->dir_fd), 0);
    memcpy(name, c->segment.name, sizeof(name));
    snprintf(path, sizeof(path), "journal/%s", name);
    assert_int_equal(unlink(fixture_path(c->f, path)), 0);
    fixture_write(c->f, path, "theirs", 6);
    segment_close(&c->segment);
    assert_content(c, name, "theirs");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_segment_is_named_after_its_worker_locked_and_appended_to,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_segment_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_is_cut_back_and_the_segment_is_left, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_final_for_its_segment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_segment_whose_first_lines_failed_is_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_cut_back_safely_is_remembered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_synced_gives_no_segment, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_directory_that_found_no_room_gives_a_segment_when_there_is_room, setup, teardown),
        cmocka_unit_test_setup_teardown(a_segment_that_was_removed_is_known_to_be_gone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_changes_nothing_that_others_have_changed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_stranger_of_the_same_name_is_not_removed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
