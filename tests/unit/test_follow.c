/* What is told, in which order and from where on, beside a writer that is played here. */
#include "follow_case.h"

#include "support/wait.h"

static struct follow *following; /* for what is called back */

/* --- order --- */

static void
records_of_all_segments_come_in_the_order_of_their_ids(void **state)
{
    struct context *c = *state;

    follow_case_write(c, SEGMENT_A, 1, 2, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 3, 3, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_C, 4, 4, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 6, 9, 0);
    follow_case_write(c, SEGMENT_A, 5, 5, 0);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 9);
}

static void
more_than_one_slice_of_each_segment_comes_in_order(void **state)
{
    struct context *c = *state;
    char body[3000];

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    for (unsigned number = 1; number <= 1000; number += 2)
        follow_add(c->f, &c->lines, number, NULL, NULL, body);
    follow_write(c->f, SEGMENT_A, &c->lines, SEGMENT_SEALED);
    for (unsigned number = 2; number <= 1000; number += 2)
        follow_add(c->f, &c->lines, number, NULL, NULL, body);
    follow_write(c->f, SEGMENT_B, &c->lines, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 1000);
    assert_int_equal(follow_case_lag(c).bytes, 0);
}

static void
a_line_is_told_as_it_stands_with_its_segment_and_offset(void **state)
{
    struct context *c = *state;
    struct follow_item *item;
    size_t first;

    follow_case_add(c, 1, 1);
    first = c->lines.len;
    follow_case_add(c, 2, 2);
    follow_write(c->f, SEGMENT_A, &c->lines, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_done(c->follow, follow_expect(c->follow, 1));
    item = follow_expect(c->follow, 2);
    assert_int_equal(item->at, first);
    assert_int_equal(item->n, first - 1);
    assert_int_equal(item->line[item->n], '\0');
    assert_string_equal(item->segment, strchr(SEGMENT_A, '/') + 1);
    follow_done(c->follow, item);
}

/* --- beside a writer --- */

static void
what_is_written_is_told_and_segments_come_and_are_sealed(void **state)
{
    struct context *c = *state;

    follow_case_begin(c);
    follow_expect_none(c->follow);
    follow_case_lock(c, SEGMENT_A);
    for (unsigned number = 1; number < 6; number++) {
        follow_case_write(c, SEGMENT_A, number, number, 0);
        follow_expect_all(c->follow, number, number);
    }
    assert_int_equal(fchmod(c->locked, SEGMENT_SEALED), 0);
    fd_close(&c->locked);
    follow_case_lock(c, SEGMENT_B);
    follow_case_write(c, SEGMENT_B, 6, 7, 0);
    follow_expect_all(c->follow, 6, 7);
}

static void
a_line_that_is_not_whole_yet_is_waited_for(void **state)
{
    struct context *c = *state;
    size_t half;
    char *rest;

    follow_case_lock(c, SEGMENT_A);
    follow_case_add(c, 1, 2);
    half = c->lines.len - 1; /* without the newline alone */
    rest = strndup(buffer_bytes(&c->lines) + half, c->lines.len - half);
    buffer_unappend(&c->lines, c->lines.len - half);
    follow_write(c->f, SEGMENT_A, &c->lines, 0);
    follow_case_begin(c);
    follow_done(c->follow, follow_expect(c->follow, 1));
    follow_expect_none(c->follow);
    assert_int_equal(follow_case_lag(c).bytes, half / 2);
    buffer_append_str(&c->lines, rest);
    free(rest);
    follow_write(c->f, SEGMENT_A, &c->lines, 0);
    follow_expect_all(c->follow, 2, 2);
}

/* A worker that is killed leaves a torn line, which recovery cuts off. */
static void
a_line_that_is_torn_waits_for_recovery(void **state)
{
    struct context *c = *state;
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct recovery_tally tally;
    struct dir_syncs syncs;

    follow_case_add(c, 1, 2);
    buffer_unappend(&c->lines, 10);
    follow_write(c->f, SEGMENT_A, &c->lines, 0);
    follow_case_begin(c);
    follow_done(c->follow, follow_expect(c->follow, 1));
    follow_expect_none(c->follow);
    dir_syncs_init(&syncs, &file_ops_synced);
    assert_int_equal(data_dirs_open(&dirs, &c->f->config, &syncs), 0);
    recovery_run(&dirs, &file_ops_synced, NULL, &tally);
    data_dirs_close(&dirs);
    dir_syncs_fini(&syncs);
    assert_int_equal(tally.cut, 1);
    follow_expect_none(c->follow);
    assert_int_equal(follow_case_lag(c).bytes, 0);
    assert_true(fixture_exists(c->f, FOLLOW_POSITION));
}

static void
damaged_lines_and_blanks_are_passed_over(void **state)
{
    struct context *c = *state;
    char damage[200];

    follow_case_add(c, 1, 1);
    record_damage(damage, sizeof(damage), "journal/damaged/x");
    buffer_append(&c->lines, damage, sizeof(damage));
    buffer_append_str(&c->lines, "      \n");
    follow_case_add(c, 2, 2);
    buffer_append_str(&c->lines, "{\"id\":\"what the disk has made of one\n");
    follow_case_add(c, 3, 3);
    follow_write(c->f, SEGMENT_A, &c->lines, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 3);
    assert_int_equal(follow_case_lag(c).damaged, 2);
    assert_int_equal(follow_case_lag(c).records, 0);
    assert_int_equal(follow_case_lag(c).bytes, 0);
}

/* In the middle of a commit: its lines stand there, all whole, and nobody knows yet how it ends. */
static int
look_and_sync(int fd)
{
    follow_expect_none(following);
    return file_ops_synced.sync_data(fd);
}

static int
look_and_fail(int fd)
{
    static unsigned calls;

    follow_expect_none(following);
    errno = EIO;
    return calls++ == 0 ? -1 : file_ops_synced.sync_data(fd); /* then it is cut back */
}

static void
append(struct context *c, struct segment *segment, unsigned number, int rc)
{
    follow_case_add(c, number, number);
    assert_int_equal(segment_append(segment, buffer_bytes(&c->lines), c->lines.len), rc);
    if (rc == 0)
        file_unmark(segment->fd);
    buffer_clear(&c->lines);
}

static void
what_a_commit_writes_is_told_when_it_is_over_and_never_if_it_fails(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_synced;
    struct segment segment;
    struct dir_syncs syncs;
    int dir_fd = open(fixture_path(c->f, "journal"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    dir_syncs_init(&syncs, &ops);
    segment_init(&segment, &syncs, 3);
    assert_int_equal(segment_open(&segment, dir_fd), 0);
    follow_case_begin(c);
    following = c->follow;
    ops.sync_data = look_and_sync;
    append(c, &segment, 1, 0);
    follow_expect_all(c->follow, 1, 1);
    append(c, &segment, 2, 0);
    follow_expect_all(c->follow, 2, 2);
    ops.sync_data = look_and_fail;
    append(c, &segment, 3, -1);
    follow_expect_none(c->follow);
    assert_int_equal(follow_case_lag(c).bytes, 0);
    assert_int_equal(segment_open(&segment, dir_fd), 0);
    ops.sync_data = file_ops_synced.sync_data;
    append(c, &segment, 4, 0);
    follow_expect_all(c->follow, 4, 4);
    segment_close(&segment);
    dir_syncs_fini(&syncs);
    close(dir_fd);
}

/* A busy worker is always in a commit: what stands before its mark is told. */
static void
what_stands_before_the_mark_is_told_and_the_rest_when_its_writer_is_gone(void **state)
{
    struct context *c = *state;

    follow_case_lock(c, SEGMENT_A);
    follow_case_write(c, SEGMENT_A, 1, 2, 0);
    assert_int_equal(file_mark(c->locked, (uint64_t)lseek(c->locked, 0, SEEK_END)), 0);
    follow_case_write(c, SEGMENT_A, 3, 3, 0);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 2);
    follow_expect_none(c->follow);
    assert_int_not_equal(follow_case_lag(c).bytes, 0);
    fd_close(&c->locked);
    follow_expect_all(c->follow, 3, 3);
}

static void
a_new_segment_with_its_first_commit_under_way_tells_nothing(void **state)
{
    struct context *c = *state;

    follow_case_lock(c, SEGMENT_A);
    assert_int_equal(file_mark(c->locked, 0), 0);
    follow_case_write(c, SEGMENT_A, 1, 1, 0);
    follow_case_begin(c);
    follow_expect_none(c->follow);
    file_unmark(c->locked);
    follow_expect_all(c->follow, 1, 1);
}

static void
a_segment_that_is_taken_away_is_counted_and_forgotten(void **state)
{
    struct context *c = *state;
    struct follow_item *item;
    size_t one;

    follow_case_write(c, SEGMENT_A, 1, 3, SEGMENT_SEALED);
    follow_case_write(c, SEGMENT_B, 4, 4, SEGMENT_SEALED);
    follow_case_begin(c);
    item = follow_expect(c->follow, 1);
    one = item->n + 1;
    assert_int_equal(unlink(fixture_path(c->f, SEGMENT_A)), 0);
    follow_done(c->follow, item);
    for (bool is_last = false; !is_last;) {
        WAIT_FOR(follow_next(c->follow, &item) == 1, 20000);
        is_last = strcmp(item->id, follow_id(4)) == 0;
        follow_done(c->follow, item);
    }
    follow_expect_none(c->follow);
    assert_true(follow_case_lag(c).lost_bytes <= 2 * one);
    assert_int_equal(follow_case_lag(c).bytes, 0);
    assert_int_equal(follow_save(c->follow), 0);
}

static void
a_segment_that_is_taken_away_when_all_is_told_is_no_loss(void **state)
{
    struct context *c = *state;
    struct follow_item *items[2];

    follow_case_write(c, SEGMENT_A, 1, 2, SEGMENT_SEALED);
    follow_case_begin(c);
    items[0] = follow_expect(c->follow, 1);
    items[1] = follow_expect(c->follow, 2);
    assert_int_equal(unlink(fixture_path(c->f, SEGMENT_A)), 0);
    follow_expect_none(c->follow);
    follow_done(c->follow, items[1]);
    follow_done(c->follow, items[0]);
    assert_int_equal(follow_case_lag(c).lost_bytes, 0);
}

/* --- lag --- */

static void
lag_counts_all_that_is_not_done(void **state)
{
    struct context *c = *state;
    struct follow_item *items[50], *item;
    size_t bytes;

    follow_case_add(c, 1, 50);
    bytes = c->lines.len;
    follow_write(c->f, SEGMENT_A, &c->lines, SEGMENT_SEALED);
    follow_case_begin(c);
    items[0] = follow_expect(c->follow, 1);
    assert_int_equal(follow_case_lag(c).records, 50);
    assert_int_equal(follow_case_lag(c).bytes, bytes);
    assert_int_equal(follow_case_lag(c).oldest_us, ulid_ms(follow_id(1)) * 1000);
    assert_false(follow_case_lag(c).counting);
    for (unsigned i = 1; i < 50; i++)
        items[i] = follow_expect(c->follow, i + 1);
    follow_case_lock(c, SEGMENT_B);
    follow_case_write(c, SEGMENT_B, 51, 60, 0);
    item = follow_expect(c->follow, 51);
    assert_int_equal(follow_case_lag(c).records, 60);
    follow_done(c->follow, items[1]);
    assert_int_equal(follow_case_lag(c).records, 60); /* one before it is not done */
    follow_done(c->follow, items[0]);
    assert_int_equal(follow_case_lag(c).records, 58);
    for (unsigned i = 2; i < 50; i++)
        follow_done(c->follow, items[i]);
    follow_done(c->follow, item);
    follow_expect_all(c->follow, 52, 60);
    assert_int_equal(follow_case_lag(c).records, 0);
    assert_int_equal(follow_case_lag(c).bytes, 0);
    assert_int_equal(follow_case_lag(c).oldest_us, 0);
}

/* --- a real journal --- */

/* Messages in batches, segments of a few hundred bytes, a restart here and there: what is told is
 * the journal. */
static void
what_a_worker_writes_is_told_once_over_rotations_and_restarts(void **state)
{
    struct context *c = *state;
    unsigned told = 0, sent = 0;
    json_t *journal;
    char last[ULID_LEN + 1] = "";

    c->f->config.segment_size = 700;
    fixture_open_journal(c->f, &file_ops_synced);
    follow_case_begin(c);
    for (unsigned turn = 0; turn < 200 || told < sent; turn++) {
        struct follow_item *item;

        for (unsigned i = 0; i < turn % 4 && turn < 200; i++, sent++)
            journal_handler.submit(c->f->handler,
                                   fixture_message(c->f, MESSAGE_PLAIN, "", "a message", 9));
        journal_handler.flush(c->f->handler, 0);
        journal_handler.complete(c->f->handler); /* where the disk is slow, a thread commits */
        while (follow_next(c->follow, &item) == 1) {
            assert_true(strcmp(item->id, last) > 0);
            snprintf(last, sizeof(last), "%s", item->id);
            follow_done(c->follow, item);
            told++;
        }
        if (turn % 50 == 49) {
            assert_int_equal(follow_save(c->follow), 0);
            follow_case_begin(c);
        }
        usleep(1000);
    }
    assert_int_equal(told, sent);
    follow_expect_none(c->follow);
    journal = fixture_journal(c->f);
    assert_int_equal(json_array_size(journal), told);
    json_decref(journal);
    journal_handler.destroy(c->f->handler);
}

/* The clock was set back, and all segments are gone: no new name may be one that was relayed. */
static void
what_comes_after_a_restart_is_not_taken_for_relayed(void **state)
{
    static const char first[] = "journal/01ZZZZ6S410000000000000000-w0.ndjson";
    static const char second[] = "journal/01ZZZZZS410000000000000000-w0.ndjson";
    struct context *c = *state;
    struct follow_item *item;

    follow_case_write(c, first, 1, 1, SEGMENT_SEALED);
    follow_case_write(c, second, 2, 2, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 2);
    assert_int_equal(follow_save(c->follow), 0);
    assert_int_equal(unlink(fixture_path(c->f, first)) + unlink(fixture_path(c->f, second)), 0);
    fixture_open_journal(c->f, &file_ops_synced);
    journal_handler.submit(c->f->handler, fixture_message(c->f, MESSAGE_PLAIN, "", "x", 1));
    journal_handler.flush(c->f->handler, 0);
    journal_handler.destroy(c->f->handler);
    follow_case_begin(c);
    assert_int_equal(follow_next(c->follow, &item), 1);
    assert_true(strcmp(item->segment, strchr(first, '/') + 1) > 0);
    follow_done(c->follow, item);
}

static enum proto_outcome
commit_one(struct fixture *f)
{
    journal_handler.submit(f->handler, fixture_message(f, MESSAGE_PLAIN, "", "x", 1));
    journal_handler.flush(f->handler, 0);
    journal_handler.finish(f->handler);
    return f->settled[f->settled_count - 1].outcome;
}

/* Another daemon wrote them, whose clock was ahead. The worker here knows nothing of that: it began
 * before, and has had no message. Its first one comes when the relay is dead, and is refused as
 * long as the position cannot be read. */
static void
a_worker_whose_clock_is_behind_what_was_relayed_begins_behind_that(void **state)
{
    static const char first[] = "journal/01ZZZZ6S410000000000000000-w0.ndjson";
    static const char second[] = "journal/01ZZZZZS410000000000000000-w0.ndjson";
    struct context *c = *state;
    struct follow_item *item;
    char aside[PATH_MAX];

    fixture_open_journal(c->f, &file_ops_synced);
    follow_case_write(c, first, 1, 1, SEGMENT_SEALED);
    follow_case_write(c, second, 2, 2, SEGMENT_SEALED);
    follow_case_begin(c);
    follow_expect_all(c->follow, 1, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(follow_save(c->follow), 0);
        follow_expect_none(c->follow);
    }
    follow_close(c->follow);
    c->follow = NULL;
    snprintf(aside, sizeof(aside), "%s", fixture_path(c->f, "aside"));
    assert_int_equal(rename(fixture_path(c->f, FOLLOW_POSITION), aside), 0);
    assert_int_equal(symlink(aside, fixture_path(c->f, FOLLOW_POSITION)), 0); /* not followed */
    assert_int_equal(commit_one(c->f), PROTO_FAILED);
    assert_int_equal(rename(aside, fixture_path(c->f, FOLLOW_POSITION)), 0);
    assert_int_equal(commit_one(c->f), PROTO_COMMITTED);
    follow_case_begin(c);
    assert_int_equal(follow_next(c->follow, &item), 1);
    assert_true(strcmp(item->segment, strchr(first, '/') + 1) > 0);
    follow_done(c->follow, item);
    journal_handler.destroy(c->f->handler);
    assert_int_equal(fixture_count(c->f, "journal", "", NULL), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_of_all_segments_come_in_the_order_of_their_ids),
        TEST(more_than_one_slice_of_each_segment_comes_in_order),
        TEST(a_line_is_told_as_it_stands_with_its_segment_and_offset),
        TEST(what_is_written_is_told_and_segments_come_and_are_sealed),
        TEST(a_line_that_is_not_whole_yet_is_waited_for),
        TEST(a_line_that_is_torn_waits_for_recovery),
        TEST(damaged_lines_and_blanks_are_passed_over),
        TEST(what_a_commit_writes_is_told_when_it_is_over_and_never_if_it_fails),
        TEST(what_stands_before_the_mark_is_told_and_the_rest_when_its_writer_is_gone),
        TEST(a_new_segment_with_its_first_commit_under_way_tells_nothing),
        TEST(a_segment_that_is_taken_away_is_counted_and_forgotten),
        TEST(a_segment_that_is_taken_away_when_all_is_told_is_no_loss),
        TEST(lag_counts_all_that_is_not_done),
        TEST(what_comes_after_a_restart_is_not_taken_for_relayed),
        TEST(a_worker_whose_clock_is_behind_what_was_relayed_begins_behind_that),
        TEST(what_a_worker_writes_is_told_once_over_rotations_and_restarts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
