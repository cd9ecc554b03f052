/* The journal beside others that handle its files, at any moment of a batch. */
#include "journal_fixture.h"

/* Where they do it: before the batch, or in the middle of it, before and behind its bytes. */
enum moment { BEFORE, BEFORE_WRITE, BEHIND_SYNC, MOMENTS };

struct deed {
    const char *command; /* of /bin/sh, in journal/, $S is the segment's name */
    const char *said;
    bool keeps; /* what was written before is still in the segment */
};

static struct {
    struct fixture *f;
    const char *command;
    enum moment when;
    struct file_ops ops;
} meddler;

static void
meddle(enum moment when)
{
    char name[256], text[900];

    if (meddler.command == NULL || meddler.when != when)
        return;
    fixture_count(meddler.f, "journal", ".ndjson", name);
    snprintf(text, sizeof(text), "cd %s/journal && S=%s && { %s; }", meddler.f->dir, name,
             meddler.command);
    meddler.command = NULL;
    assert_int_equal(system(text), 0);
}

static ssize_t
meddled_write(int fd, const void *data, size_t n, off_t at)
{
    meddle(BEFORE_WRITE);
    return file_ops_synced.write(fd, data, n, at);
}

static int
meddled_sync(int fd)
{
    int rc = file_ops_synced.sync_data(fd);

    meddle(BEHIND_SYNC);
    return rc;
}

/* The journal, what the consumer has copied or moved to ../taken included, has that text. */
static bool
is_kept(struct fixture *f, const char *text)
{
    char command[700];

    snprintf(command, sizeof(command), "cat %s/journal/*.ndjson %s/taken/* 2>&1 | grep -q '\"%s\"'",
             f->dir, f->dir, text);
    return system(command) == 0;
}

static void
has_no_nul(struct fixture *f)
{
    char command[600];

    snprintf(command, sizeof(command), "test $(cat %s/journal/*.ndjson | tr -dc '\\0' | wc -c) = 0",
             f->dir);
    assert_int_equal(system(command), 0);
}

static void
meddle_once(const struct deed *deed, enum moment when)
{
    struct fixture *f = fixture_create();
    struct buffer said;
    struct log_sink sink = {.level = LOG_LEVEL_INFO, .write = keep_said, .arg = &said};

    buffer_init(&said);
    meddler.ops = file_ops_synced;
    meddler.ops.write = meddled_write;
    meddler.ops.sync_data = meddled_sync;
    meddler.ops.sync_at_once = false;
    meddler.f = f;
    fixture_open_journal(f, &meddler.ops);
    assert_int_equal(mkdir(fixture_path(f, "taken"), 0750), 0);
    submit(f, MESSAGE_PLAIN, "", "one");
    commit_here(f);
    log_to(&sink);
    meddler.when = when;
    meddler.command = deed->command;
    meddle(BEFORE);
    submit(f, MESSAGE_PLAIN, "", "two");
    commit_here(f);
    submit(f, MESSAGE_PLAIN, "", "three");
    commit_here(f);
    log_to(NULL);
    buffer_append(&said, "", 1);
    if (strstr(buffer_bytes(&said), deed->said) == NULL)
        fail_msg("%s at %d: \"%s\" is not said in: %s", deed->command, when, deed->said,
                 buffer_bytes(&said));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f->settled[i].outcome, PROTO_COMMITTED);
    if (!is_kept(f, "two") || !is_kept(f, "three") || (deed->keeps && !is_kept(f, "one")))
        fail_msg("%s at %d: a message is lost", deed->command, when);
    has_no_nul(f);
    buffer_fini(&said);
    journal->destroy(f->handler);
    fixture_destroy(f);
}

static void
whatever_others_do_to_a_segment_the_batch_is_where_it_can_be_found(void **state)
{
    static const struct deed deeds[] = {
        {"mv $S ../taken", "was moved away or removed", true},
        {"cp $S ../taken/c && mv $S x && rm x", "was moved away or removed", true},
        {"gzip -c $S >$S.gz; zcat $S.gz >../taken/c; rm $S", "was moved away", true},
        {"rm $S", "was moved away or removed", false},
        {"cp $S x && mv x $S", "was replaced", true},
        {"echo '{}' >x && cp $S ../taken/c && ln -f x $S", "was replaced", true},
        {"mv $S ../taken/c && ln -s ../taken/c $S", "was replaced", true},
        {"cp $S ../taken/c && : >$S", "was cut short", true},
        {"truncate -s -1 $S", "was cut short", false},
        {"echo '{}' >>$S", "was written by somebody else", true},
        {"chmod 440 $S", "was made read-only", true},
        {"cd .. && mv journal taken/j && ln taken/j/$S taken/", "was moved away", true},
        {"cp $S ../taken/c && cd .. && rm -r journal", "was moved away", true},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(deeds); i++)
        for (enum moment when = BEFORE; when < MOMENTS; when++)
            meddle_once(&deeds[i], when);
}

/* Its sender sends it again then: what was written would be a second record. */
static void
a_batch_that_is_refused_after_its_sync_leaves_no_line(void **state)
{
    struct fixture *f = fixture_create();
    char aside[300], command[900];

    (void)state;
    meddler.ops = file_ops_synced;
    meddler.ops.sync_data = meddled_sync;
    meddler.f = f;
    fixture_open_journal(f, &meddler.ops);
    submit(f, MESSAGE_PLAIN, "", "one");
    commit_here(f);
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    snprintf(command, sizeof(command), "mv %s %s", f->dir, aside);
    meddler.when = BEHIND_SYNC;
    meddler.command = command;
    submit(f, MESSAGE_PLAIN, "", "two");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_FAILED);
    assert_int_equal(rename(aside, f->dir), 0);
    submit(f, MESSAGE_PLAIN, "", "two");
    commit_here(f);
    assert_int_equal(f->settled[2].outcome, PROTO_COMMITTED);
    assert_line_count(f, 2);
    journal->destroy(f->handler);
    fixture_destroy(f);
}

static void
what_a_consumer_has_taken_is_there_again_when_it_is_sent_again(void **state)
{
    struct fixture *f = *state;
    char body[20001] = "";

    memset(body, 'x', sizeof(body) - 1);
    for (unsigned i = 0; i < 3; i++) {
        submit(f, MESSAGE_FILE, "d/file", "content");
        submit(f, MESSAGE_PLAIN, "", body);
        commit_here(f);
        assert_int_equal(f->settled[2 * i].outcome, PROTO_COMMITTED);
        assert_int_equal(f->settled[2 * i + 1].outcome, PROTO_COMMITTED);
        assert_true(fixture_exists(f, "files/d/file"));
        assert_int_equal(fixture_count(f, "blobs", "", NULL), 1);
        fixture_remove_tree(fixture_path(f, i == 0 ? "files/d/file" : "files/d"));
        fixture_remove_tree(fixture_path(f, "blobs"));
        if (i == 0)
            assert_int_equal(mkdir(fixture_path(f, "blobs"), 0750), 0);
    }
    assert_line_count(f, 6);
}

static void
a_batch_goes_to_a_new_segment_where_nobody_may_write_to_the_old_one(void **state)
{
    struct fixture *f = *state;

    submit(f, MESSAGE_PLAIN, "", "one");
    commit_here(f);
    faults.write_error = EPERM; /* as with chattr +i */
    faults.write_errors = 1;
    submit(f, MESSAGE_PLAIN, "", "two");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 2);
}

static void
directories_that_go_away_are_no_reason_for_a_restart(void **state)
{
    struct fixture *f = *state;
    char aside[300];

    submit(f, MESSAGE_PLAIN, "", "one");
    commit_here(f);
    fixture_remove_tree(fixture_path(f, "journal"));
    fixture_remove_tree(fixture_path(f, "files"));
    submit(f, MESSAGE_PLAIN, "", "two");
    submit(f, MESSAGE_FILE, "d/file", "content");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_int_equal(f->settled[2].outcome, PROTO_COMMITTED);
    assert_line_count(f, 2);
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    assert_int_equal(rename(f->dir, aside), 0);
    assert_int_equal(mkdir(f->dir, 0750), 0); /* as below a file system that was unmounted */
    submit(f, MESSAGE_PLAIN, "", "three");
    submit(f, MESSAGE_FILE, "d/file2", "content");
    commit_here(f);
    assert_int_equal(f->settled[3].outcome, PROTO_FAILED);
    assert_int_equal(f->settled[4].outcome, PROTO_FAILED);
    assert_non_null(strstr(f->settled[3].text, "was unmounted, moved or replaced"));
    assert_int_equal(rmdir(f->dir), 0); /* nothing was written there */
    assert_int_equal(rename(aside, f->dir), 0);
    submit(f, MESSAGE_PLAIN, "", "four");
    commit_here(f);
    assert_int_equal(f->settled[5].outcome, PROTO_COMMITTED);
    assert_line_count(f, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whatever_others_do_to_a_segment_the_batch_is_where_it_can_be_found),
        cmocka_unit_test(a_batch_that_is_refused_after_its_sync_leaves_no_line),
        TEST(what_a_consumer_has_taken_is_there_again_when_it_is_sent_again),
        TEST(a_batch_goes_to_a_new_segment_where_nobody_may_write_to_the_old_one),
        TEST(directories_that_go_away_are_no_reason_for_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
