/* Verify beside workers that are played here: what they write while it reads is no finding, and
 * what no record explains is one. */
#include "disk.h"
#include "handler_fixture.h"

#include "handler/journal/journal.h"
#include "handler/journal/verify.h"
#include "support/wait.h"

#define SEGMENT_A "journal/01ARYZ6S410000000000000000-w0.ndjson"
#define SEGMENT_B "journal/01ARYZ6S420000000000000000-w1.ndjson"
#define SEGMENT_C "journal/01ARYZ6S430000000000000000-w1.ndjson"

struct context {
    struct fixture *f;
    struct data_dirs dirs; /* of the worker that is played */
    struct dir_syncs syncs;
    struct buffer lines;
    unsigned ids;
    void (*during)(struct context *c); /* called by progress; NULL: nothing is played */
    unsigned calls;
    int segment; /* the one that is being written */
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dirs = DATA_DIRS_CLOSED;
    c->segment = -1;
    buffer_init(&c->lines);
    dir_syncs_init(&c->syncs, &file_ops_synced);
    *state = c;
    return data_dirs_open(&c->dirs, &c->f->config, &c->syncs);
}

static int
teardown(void **state)
{
    struct context *c = *state;

    data_dirs_close(&c->dirs);
    dir_syncs_fini(&c->syncs);
    buffer_fini(&c->lines);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

/* One more record of a file with that content, for the next segment. */
static void
add_record(struct context *c, const char *name, const char *content)
{
    struct message_origin origin = {
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "p"};
    struct record_place place = {.key = "file", .directory = "files/", .name = name};
    struct message *m = fixture_message(c->f, MESSAGE_FILE, name, content, strlen(content));
    struct record_clock clock = {0};
    size_t from = c->lines.len;
    char id[ULID_LEN + 1];

    snprintf(id, sizeof(id), "01ARYZ6S43%016u", ++c->ids);
    record_head(&c->lines, id, 1, &clock, &origin, m);
    record_end_with_place(&c->lines, from, &place);
    message_destroy(m);
}

/* Writes the records as a segment. */
static void
write_segment(struct context *c, const char *path)
{
    fixture_write(c->f, path, buffer_bytes(&c->lines), c->lines.len);
    buffer_clear(&c->lines);
}

static void
write_file(struct context *c, const char *path, const char *content)
{
    fixture_write(c->f, path, content, strlen(content));
}

static void
play(void *arg, const struct verify_tally *so_far)
{
    struct context *c = arg;

    (void)so_far;
    c->calls++;
    if (c->during != NULL)
        c->during(c);
}

static void
expect(struct context *c, const char *findings)
{
    c->calls = 0;
    fixture_expect_findings(c->f, findings, play, c);
}

/* Workers put the records of a path into their segments in another order than they have renamed:
 * the older record may be of the younger file. */
static void
a_replaced_file_is_what_the_last_record_of_any_segment_says(void **state)
{
    struct context *c = *state;

    add_record(c, "a", "held up, and stored last");
    write_segment(c, SEGMENT_A);
    add_record(c, "a", "first");
    add_record(c, "a", "second");
    write_segment(c, SEGMENT_B);
    write_file(c, "files/a", "held up, and stored last");
    expect(c, "");
    write_file(c, "files/a", "second");
    expect(c, "");
    write_file(c, "files/a", "first"); /* its own worker has replaced it */
    expect(c, "wrong files/a\n");
    write_file(c, "files/a", "third");
    expect(c, "wrong files/a\n");
}

/* The last record of a segment counts also where it says what an earlier one has said. */
static void
a_content_that_comes_back_is_the_last_one(void **state)
{
    struct context *c = *state;

    add_record(c, "a", "one");
    write_segment(c, SEGMENT_A);
    add_record(c, "a", "one");
    add_record(c, "a", "two");
    add_record(c, "a", "one");
    write_segment(c, SEGMENT_B);
    write_file(c, "files/a", "one");
    expect(c, "");
    write_file(c, "files/a", "two");
    expect(c, "wrong files/a\n");
}

/* The first worker's commit begins while files are read. Its record comes while verify waits. */
static void
commit_slowly(struct context *c)
{
    if (c->calls == 1) {
        data_dirs_begin_commit(&c->dirs);
        write_file(c, "files/new", "new");
        write_file(c, "files/old", "replaced");
    } else if (c->calls == 5) {
        assert_string_equal(c->f->findings, "");
        add_record(c, "new", "new");
        add_record(c, "old", "replaced");
        write_segment(c, SEGMENT_B);
        data_dirs_end_commit(&c->dirs);
    }
}

static void
a_file_that_is_being_committed_is_waited_for_however_long_it_takes(void **state)
{
    struct context *c = *state;

    add_record(c, "old", "before");
    write_segment(c, SEGMENT_A);
    write_file(c, "files/old", "before");
    c->during = commit_slowly;
    expect(c, "");
    assert_true(c->calls >= 5);
}

/* The worker goes on with its segment, in which the record of what was seen is not the last. */
static void
commit_twice(struct context *c)
{
    if (c->calls == 1) {
        write_file(c, "files/a", "two");
    } else if (c->calls == 2) {
        add_record(c, "a", "one");
        add_record(c, "a", "two");
        add_record(c, "a", "three");
        write_segment(c, SEGMENT_A);
        write_file(c, "files/a", "three");
    }
}

static void
a_file_that_is_replaced_again_while_it_is_read_is_no_finding(void **state)
{
    struct context *c = *state;

    add_record(c, "a", "one");
    write_segment(c, SEGMENT_A);
    c->ids = 0; /* the same line again: the segment has grown */
    write_file(c, "files/a", "one");
    c->during = commit_twice;
    expect(c, "");
}

/* Commits that never end, each of which begins after the files were looked at. */
static void
commit_for_ever(struct context *c)
{
    data_dirs_end_commit(&c->dirs);
    data_dirs_begin_commit(&c->dirs);
}

static void
a_stray_file_is_found_beside_workers_that_always_commit(void **state)
{
    struct context *c = *state;

    add_record(c, "a", "one");
    write_segment(c, SEGMENT_A);
    write_file(c, "files/a", "damaged");
    write_file(c, "files/stray", "");
    c->during = commit_for_ever;
    expect(c, "wrong files/a\nunnamed files/stray\n");
    data_dirs_end_commit(&c->dirs);
}

/* --- a real commit --- */

static struct {
    int root;
    unsigned renames, syncs, unseen; /* unseen: of these, while others could not see the commit */
} watched;

static int
watched_rename(int from_fd, const char *from, int to_fd, const char *to, bool replace)
{
    watched.renames++;
    watched.unseen += !data_dir_has_commit(watched.root, clock_mono_us());
    return file_ops_synced.rename(from_fd, from, to_fd, to, replace);
}

static int
watched_sync_data(int fd)
{
    watched.syncs++;
    watched.unseen += !data_dir_has_commit(watched.root, clock_mono_us());
    return file_ops_synced.sync_data(fd);
}

/* Sends a file, and waits for the verdict. */
static enum proto_outcome
send_file(struct context *c, const char *name)
{
    unsigned before = c->f->settled_count;

    journal_handler.submit(c->f->handler, fixture_message(c->f, MESSAGE_FILE, name, "x", 1));
    WAIT_FOR((journal_handler.flush(c->f->handler, 0), journal_handler.complete(c->f->handler),
              c->f->settled_count > before),
             20000);
    return c->f->settled[before].outcome;
}

static void
a_commit_can_be_seen_from_before_the_name_to_behind_the_line(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_synced;

    watched.root = open(c->f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ops.rename = watched_rename;
    ops.sync_data = watched_sync_data;
    ops.sync_at_once = false;
    fixture_open_journal(c->f, &ops);
    assert_int_equal(send_file(c, "a"), PROTO_COMMITTED);
    assert_int_equal(watched.renames, 1);
    assert_int_equal(watched.syncs, 2); /* the body and the line */
    assert_int_equal(watched.unseen, 0);
    assert_false(data_dir_has_commit(watched.root, clock_mono_us()));
    journal_handler.destroy(c->f->handler);
    close(watched.root);
    expect(c, "");
}

/* Whoever removes it may be stopped, for ever. */
static void
a_commit_waits_for_a_name_that_is_removed_and_no_other_name_does(void **state)
{
    const uint64_t a = dir_place(DIR_PLACE_ROOT, "files/a", 7);
    struct context *c = *state;
    int root = open(c->f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    fixture_open_journal(c->f, &file_ops_synced);
    assert_int_equal(data_name_take(root, NAME_REMOVED, a), 0);
    journal_handler.submit(c->f->handler, fixture_message(c->f, MESSAGE_FILE, "a", "x", 1));
    journal_handler.flush(c->f->handler, 0);
    assert_int_equal(c->f->settled_count, 0); /* it waits, in another thread */
    data_names_give(root, NAME_REMOVED);
    WAIT_FOR((journal_handler.complete(c->f->handler), c->f->settled_count == 1), 20000);
    assert_int_equal(data_name_take(root, NAME_REMOVED, a), 0);
    journal_handler.submit(c->f->handler, fixture_message(c->f, MESSAGE_FILE, "b", "x", 1));
    assert_int_equal(send_file(c, "a"), PROTO_COMMITTED); /* the first of the two */
    WAIT_FOR((journal_handler.complete(c->f->handler), c->f->settled_count == 3), 20000);
    assert_int_equal(c->f->settled[2].outcome, PROTO_FAILED);
    assert_true(fixture_exists(c->f, "files/b"));
    assert_false(data_name_is_taken(root, NAME_COMMITTED, a));
    close(root); /* and whoever dies gives it back */
    assert_int_equal(send_file(c, "a"), PROTO_COMMITTED);
    journal_handler.destroy(c->f->handler);
    expect(c, "");
}

#define TEMP ".msockd-01ARYZ6S410000000000000000"

static void
what_a_crash_left_is_a_finding_and_what_somebody_writes_is_none(void **state)
{
    static const char *const places[] = {TEMP, "files/" TEMP, "blobs/" TEMP,
                                         "journal/damaged/" TEMP};
    struct context *c = *state;
    char expected[100];

    assert_int_equal(mkdir(fixture_path(c->f, "journal/damaged"), 0700), 0);
    for (size_t i = 0; i < MS_ARRAY_LEN(places); i++) {
        int fd;

        write_file(c, places[i], "x");
        fd = open(fixture_path(c->f, places[i]), O_RDWR);
        assert_int_equal(file_ops_synced.lock(fd), 0);
        expect(c, "");
        close(fd);
        snprintf(expected, sizeof(expected), "leftover %s\n", places[i]);
        expect(c, expected);
        assert_int_equal(unlink(fixture_path(c->f, places[i])), 0);
    }
}

static void
a_sender_may_give_such_a_name_in_a_directory_of_its_own(void **state)
{
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0700), 0);
    write_file(c, "files/d/" TEMP, "x");
    expect(c, "unnamed files/d/" TEMP "\n");
    add_record(c, "d/" TEMP, "x");
    write_segment(c, SEGMENT_A);
    expect(c, "");
}

static void
what_has_a_segments_name_and_is_no_file_is_a_finding(void **state)
{
    struct context *c = *state;
    const char *path = fixture_path(c->f, SEGMENT_A);

    assert_int_equal(mkfifo(path, 0600), 0);
    expect(c, "irregular " SEGMENT_A "\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect(c, "irregular " SEGMENT_A "\n");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect(c, "irregular " SEGMENT_A "\n");
    assert_int_equal(unlink(path), 0);
    expect(c, "");
}

static void
begin_segment(struct context *c, const char *path)
{
    fd_close(&c->segment);
    fixture_write(c->f, path, "", 0);
    c->segment = open(fixture_path(c->f, path), O_RDWR | O_CLOEXEC);
    assert_int_equal(file_ops_synced.lock(c->segment), 0);
}

/* The worker leaves its segment, which was not looked at yet. */
static void
rotate(struct context *c)
{
    if (c->calls == 1)
        begin_segment(c, SEGMENT_C);
}

static void
the_segments_that_are_written_are_counted_in_the_end(void **state)
{
    struct context *c = *state;
    const struct verify verify = {.data_dir = c->f->config.data_dir, .progress = play, .arg = c};
    struct verify_tally tally;

    add_record(c, "a", "a");
    write_segment(c, SEGMENT_A);
    write_file(c, "files/a", "a");
    begin_segment(c, SEGMENT_B);
    c->during = rotate;
    assert_int_equal(verify_run(&verify, &tally), 0);
    assert_int_equal(tally.findings, 0);
    assert_int_equal(tally.segments, 2);
    assert_int_equal(tally.open, 1);
    fd_close(&c->segment);
    assert_int_equal(verify_run(&verify, &tally), 0);
    assert_int_equal(tally.open, 0);
}

static void
a_directory_that_cannot_be_read_to_its_end_is_a_finding(void **state)
{
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0750), 0);
    disk_damage_dir(fixture_path(c->f, "files/d"));
    expect(c, "unread files/d\n");
    disk_damage_dir(NULL);
    expect(c, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_replaced_file_is_what_the_last_record_of_any_segment_says),
        TEST(a_content_that_comes_back_is_the_last_one),
        TEST(a_file_that_is_being_committed_is_waited_for_however_long_it_takes),
        TEST(a_file_that_is_replaced_again_while_it_is_read_is_no_finding),
        TEST(a_stray_file_is_found_beside_workers_that_always_commit),
        TEST(a_commit_can_be_seen_from_before_the_name_to_behind_the_line),
        TEST(a_commit_waits_for_a_name_that_is_removed_and_no_other_name_does),
        TEST(what_a_crash_left_is_a_finding_and_what_somebody_writes_is_none),
        TEST(a_sender_may_give_such_a_name_in_a_directory_of_its_own),
        TEST(the_segments_that_are_written_are_counted_in_the_end),
        TEST(a_directory_that_cannot_be_read_to_its_end_is_a_finding),
        TEST(what_has_a_segments_name_and_is_no_file_is_a_finding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
