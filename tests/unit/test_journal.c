#include "handler_fixture.h"

#include "support/signals.h"

#include "common/base.h"
#include "handler/handler.h"
#include "handler/journal/journal.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const struct handler_ops *const journal = &journal_handler;

static void
start(struct fixture *f)
{
    char error[HANDLER_ERROR_LEN];

    f->handler = journal_create_with(&f->host, faulty_ops(), error);
    assert_non_null(f->handler);
    faults = (struct faults){0};
}

static int
setup(void **state)
{
    *state = fixture_create();
    start(*state);
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    if (f->handler != NULL)
        journal->destroy(f->handler);
    fixture_destroy(f);
    return 0;
}

static void
submit(struct fixture *f, enum message_kind kind, const char *value, const char *body)
{
    journal->submit(f->handler, fixture_message(f, kind, value, body, strlen(body)));
}

/* Several messages of one sender; others have one each. */
static void
submit_from(struct fixture *f, unsigned sender, enum message_kind kind, const char *value,
            const char *body)
{
    struct message *m = fixture_message(f, kind, value, body, strlen(body));

    m->owner = (void *)(uintptr_t)sender;
    journal->submit(f->handler, m);
}

/* As the worker's loop does it: flushes, waits for the commit thread or until a batch that is held
 * back may be flushed, and settles, until all is settled. */
static void
complete_all(struct fixture *f, unsigned expected)
{
    while (f->settled_count < expected) {
        struct pollfd event = {.fd = journal->event_fd(f->handler), .events = POLLIN};
        uint64_t again_us = journal->flush(f->handler, 1), now_us = clock_mono_us();
        int wait_ms = again_us > now_us ? (int)((again_us - now_us) / 1000) + 1 : 0;
        int ready = poll(&event, 1, again_us != 0 ? wait_ms : 20000);

        assert_true(ready == 1 || (ready == 0 && again_us != 0));
        if (ready == 1)
            journal->complete(f->handler);
    }
    assert_int_equal(f->settled_count, expected);
}

/* In the worker's thread; on a slow disk the commit thread does it after all. */
static void
commit_here(struct fixture *f)
{
    journal->flush(f->handler, 0);
    journal->finish(f->handler);
}

/* Settled once each, in the order in which they came. */
static void
assert_in_order(struct fixture *f, unsigned count)
{
    assert_int_equal(f->settled_count, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(f->settled[i].number, i);
}

static void
assert_line_count(struct fixture *f, size_t count)
{
    json_t *lines = fixture_journal(f);

    assert_int_equal(json_array_size(lines), count);
    json_decref(lines);
}

static void
a_commit_in_the_workers_thread_is_settled_when_flush_returns(void **state)
{
    struct fixture *f = *state;
    json_t *lines, *receipt;

    submit(f, MESSAGE_JSON, "id-1", "{\"a\":1}");
    submit(f, MESSAGE_PLAIN, "", "text");
    submit(f, MESSAGE_PLAIN, "", "\xff");
    assert_int_equal(f->settled_count, 0);
    assert_int_equal(faults.writes, 0);
    journal->flush(f->handler, 0);
    assert_in_order(f, 3);
    assert_int_equal(faults.writes, 1);
    assert_int_equal(faults.data_syncs, 1);
    assert_int_equal(f->committed_calls, 1);
    assert_int_equal(f->committed_messages, 3);
    lines = fixture_journal(f);
    assert_int_equal(json_array_size(lines), 3);
    assert_string_equal(fixture_member(json_array_get(lines, 0), "key"), "id-1");
    assert_string_equal(fixture_member(json_array_get(lines, 2), "base64"), "/w==");
    receipt = json_loads(f->settled[0].reply, 0, NULL);
    assert_non_null(receipt);
    assert_string_equal(fixture_member(receipt, "id"),
                        fixture_member(json_array_get(lines, 0), "id"));
    assert_string_equal(fixture_member(receipt, "sha256"),
                        fixture_member(json_array_get(lines, 0), "sha256"));
    json_decref(receipt);
    json_decref(lines);
}

static void
a_commit_in_the_thread_is_settled_by_complete_and_the_next_batch_fills_meanwhile(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 500; i++) {
        submit(f, MESSAGE_PLAIN, "", "text");
        journal->flush(f->handler, 1);
    }
    journal->flush(f->handler, 0); /* one is under way: this must not start another */
    complete_all(f, 500);
    assert_in_order(f, 500);
    assert_true(f->committed_calls < 500); /* they were grouped */
    assert_int_equal(f->committed_messages, 500);
    assert_line_count(f, 500);
}

static void
a_small_batch_waits_a_moment_for_the_messages_that_are_expected(void **state)
{
    struct fixture *f = *state;
    uint64_t until, again;

    submit(f, MESSAGE_PLAIN, "", "this commit shows how long one takes");
    journal->flush(f->handler, 1);
    complete_all(f, 1);

    submit(f, MESSAGE_PLAIN, "", "a few");
    until = journal->flush(f->handler, 100);
    assert_int_not_equal(until, 0);
    submit(f, MESSAGE_PLAIN, "", "more");
    while ((again = journal->flush(f->handler, 100)) != 0)
        assert_int_equal(again, until); /* what comes does not push it back */
    assert_true(clock_mono_us() >= until);
    complete_all(f, 3);
    assert_int_equal(f->committed_calls, 2);

    submit(f, MESSAGE_PLAIN, "", "one");
    submit(f, MESSAGE_PLAIN, "", "two");
    assert_int_equal(journal->flush(f->handler, 2), 0); /* half of all is enough */
    submit(f, MESSAGE_PLAIN, "", "three");
    complete_all(f, 6);
    assert_int_equal(f->committed_calls, 4);
}

static void
finish_settles_everything(void **state)
{
    struct fixture *f = *state;

    submit(f, MESSAGE_PLAIN, "", "under way");
    journal->flush(f->handler, 1);
    submit(f, MESSAGE_PLAIN, "", "not flushed");
    submit(f, MESSAGE_FILE, "file", "a file");
    journal->finish(f->handler);
    assert_in_order(f, 3);
    assert_line_count(f, 3);
    journal->finish(f->handler);
    assert_in_order(f, 3);
}

static void
without_a_wish_there_is_no_reply(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "x", 1);

    m->wants_reply = false;
    journal->submit(f->handler, m);
    commit_here(f);
    assert_null(f->settled[0].reply);
}

static void
large_bodies_become_blobs_and_files_are_linked_in_the_order_of_the_lines(void **state)
{
    struct fixture *f = *state;
    char body[20001];
    json_t *lines;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    submit_from(f, 1, MESSAGE_FILE, "dir/file", "content");
    submit_from(f, 1, MESSAGE_PLAIN, "", body);
    submit_from(f, 1, MESSAGE_FILE, "dir/file", "other content");
    submit_from(f, 1, MESSAGE_FILE, "dir/file", "content");
    submit_from(f, 1, MESSAGE_PLAIN, "", "last");
    commit_here(f);
    assert_int_equal(f->settled_count, 5);
    assert_string_equal(f->settled[2].code, "exists");
    lines = fixture_journal(f);
    assert_int_equal(json_array_size(lines), 4);
    assert_string_equal(fixture_member(json_array_get(lines, 0), "file"), "files/dir/file");
    assert_memory_equal(fixture_member(json_array_get(lines, 1), "blob"), "blobs/", 6);
    assert_true(fixture_exists(f, fixture_member(json_array_get(lines, 1), "blob")));
    assert_string_equal(fixture_member(json_array_get(lines, 3), "text"), "last");
    assert_non_null(strstr(f->settled[0].reply, ",\"file\":\"files/dir/file\"}"));
    assert_non_null(strstr(f->settled[1].reply, ",\"blob\":\"blobs/"));
    assert_non_null(strstr(f->settled[3].reply, "\"files/dir/file\",\"duplicate\":true}"));
    for (size_t i = 1; i < 4; i++)
        assert_true(strcmp(fixture_member(json_array_get(lines, i - 1), "id"),
                           fixture_member(json_array_get(lines, i), "id")) < 0);
    json_decref(lines);
}

/* --- a file whose directory takes long --- */

static sem_t dirs_may;

static int
slow_sync_dir(int fd)
{
    while (sem_wait(&dirs_may) < 0)
        ;
    sem_post(&dirs_may);
    return file_ops_synced.sync_dir(fd);
}

static void
who_sends_a_line_does_not_wait_for_the_files_of_others(void **state)
{
    struct fixture *f = *state;
    struct file_ops ops = file_ops_synced;
    char error[HANDLER_ERROR_LEN];

    journal->destroy(f->handler);
    ops.sync_dir = slow_sync_dir;
    ops.sync_at_once = false;
    assert_int_equal(sem_init(&dirs_may, 0, 1), 0);
    f->handler = journal_create_with(&f->host, &ops, error);
    assert_non_null(f->handler);
    submit_from(f, 2, MESSAGE_PLAIN, "", "opens the segment");
    complete_all(f, 1);
    assert_int_equal(sem_wait(&dirs_may), 0);
    submit_from(f, 1, MESSAGE_FILE, "a/b/file", "content");
    journal->flush(f->handler, 1);
    submit_from(f, 2, MESSAGE_PLAIN, "", "another sender's");
    submit_from(f, 1, MESSAGE_PLAIN, "", "behind the file");
    complete_all(f, 2);
    assert_int_equal(f->settled[1].number, 2);
    assert_int_equal(f->settled_count, 2);
    assert_int_equal(sem_post(&dirs_may), 0);
    complete_all(f, 4);
    assert_int_equal(f->settled[2].number, 1);
    assert_int_equal(f->settled[3].number, 1);
    assert_line_count(f, 4);
    journal->destroy(f->handler);
    f->handler = NULL;
    sem_destroy(&dirs_may);
}

static void
a_body_of_the_inline_limit_stays_in_its_line_though_it_is_in_a_file(void **state)
{
    struct fixture *f = *state;
    char body[8001];
    json_t *lines;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    f->config.inline_max = sizeof(body) - 1;
    submit(f, MESSAGE_PLAIN, "", body);
    commit_here(f);
    lines = fixture_journal(f);
    assert_string_equal(fixture_member(json_array_get(lines, 0), "text"), body);
    json_decref(lines);
}

/* Both ways to commit, for the tests of failures. */
static void
commit(struct fixture *f, bool in_thread, unsigned expected)
{
    if (in_thread) {
        journal->flush(f->handler, 1);
        complete_all(f, expected);
    } else {
        commit_here(f);
    }
    assert_in_order(f, expected);
}

static void
failing_writes(struct fixture *f, bool in_thread)
{
    submit(f, MESSAGE_PLAIN, "", "good");
    commit(f, in_thread, 1);
    faults.write_error = ENOSPC;
    faults.write_errors = 1;
    submit(f, MESSAGE_PLAIN, "", "no room");
    submit(f, MESSAGE_PLAIN, "", "no room");
    commit(f, in_thread, 3);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(f->settled[i].outcome, PROTO_REFUSED);
        assert_string_equal(f->settled[i].code, "no-space");
        assert_string_equal(f->settled[i].text,
                            "the journal cannot be written: No space left on device");
    }
    faults.write_error = EIO;
    faults.write_errors = 1;
    submit(f, MESSAGE_PLAIN, "", "broken");
    commit(f, in_thread, 4);
    assert_int_equal(f->settled[3].outcome, PROTO_FAILED);
    submit(f, MESSAGE_PLAIN, "", "good again");
    commit(f, in_thread, 5);
    assert_int_equal(f->settled[4].outcome, PROTO_COMMITTED);
    assert_int_equal(f->committed_messages, 2);
    assert_line_count(f, 2);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 2);
}

static void
a_failed_write_refuses_its_batch_and_the_next_goes_to_a_new_segment(void **state)
{
    failing_writes(*state, false);
}

static void
a_failed_write_in_the_thread_does_the_same(void **state)
{
    failing_writes(*state, true);
}

static void
failing_syncs(struct fixture *f, bool in_thread)
{
    submit(f, MESSAGE_PLAIN, "", "good");
    commit(f, in_thread, 1);
    faults.data_error = EIO;
    faults.data_errors = 1;
    submit(f, MESSAGE_PLAIN, "", "lost");
    commit(f, in_thread, 2);
    assert_int_equal(f->settled[1].outcome, PROTO_FAILED);
    assert_string_equal(f->settled[1].text, "the journal cannot be written: Input/output error");
    submit(f, MESSAGE_PLAIN, "", "good again");
    commit(f, in_thread, 3);
    assert_int_equal(f->settled[2].outcome, PROTO_COMMITTED);
    assert_line_count(f, 2);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 2);
}

static void
a_failed_sync_fails_its_batch_and_the_next_goes_to_a_new_segment(void **state)
{
    failing_syncs(*state, false);
}

static void
a_failed_sync_in_the_thread_does_the_same(void **state)
{
    failing_syncs(*state, true);
}

static void
a_file_that_fails_alone_does_not_hurt_the_others(void **state)
{
    struct fixture *f = *state;

    faults.data_error = ENOSPC;
    faults.data_errors = 1;
    submit(f, MESSAGE_FILE, "no/room", "content");
    submit(f, MESSAGE_FILE, "room", "content");
    commit(f, true, 2);
    assert_string_equal(f->settled[0].code, "no-space");
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_false(fixture_exists(f, "files/no/room"));
    assert_line_count(f, 1);
}

static void
files_whose_lines_fail_are_not_acknowledged_and_a_retry_is(void **state)
{
    struct fixture *f = *state;

    faults.skip_data = 1; /* the body is safe, the line not */
    faults.data_error = EIO;
    faults.data_errors = 1;
    submit(f, MESSAGE_FILE, "a", "content");
    commit_here(f);
    assert_int_equal(f->settled[0].outcome, PROTO_FAILED);
    assert_line_count(f, 0);
    submit(f, MESSAGE_FILE, "a", "content");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_line_count(f, 1);
}

/* What the log says, line after line. */
static void
keep_said(void *arg, const struct log_record *record)
{
    buffer_append(arg, record->text, record->n);
}

static const char *
said_of_failing_directory(struct fixture *f, int error, struct buffer *said)
{
    struct log_sink sink = {.level = LOG_LEVEL_ERROR, .write = keep_said, .arg = said};

    buffer_init(said);
    log_to(&sink);
    faults.dir_error = error;
    faults.dir_errors = 1;
    for (unsigned i = 0; i < 3; i++) {
        submit(f, MESSAGE_PLAIN, "", "x");
        journal->finish(f->handler);
    }
    log_to(NULL);
    buffer_append(said, "", 1);
    return buffer_bytes(said);
}

static void
a_journal_directory_without_room_is_used_again_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct buffer said;
    const char *text = said_of_failing_directory(f, EDQUOT, &said);

    assert_string_equal(f->settled[0].code, "no-space");
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_int_equal(f->settled[2].outcome, PROTO_COMMITTED);
    assert_non_null(strstr(text, "Disk quota exceeded; messages are refused while this lasts"));
    assert_line_count(f, 2);
    buffer_fini(&said);
}

static void
a_journal_directory_that_failed_is_said_to_need_somebody(void **state)
{
    struct fixture *f = *state;
    struct buffer said;
    const char *text = said_of_failing_directory(f, EIO, &said), *need;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f->settled[i].outcome, PROTO_FAILED);
    assert_non_null(strstr(text, "a journal segment cannot be opened: Input/output error; mess"));
    need = strstr(text, "check the disk, then run msockctl reload");
    assert_non_null(need);
    assert_null(strstr(need + 1, "check the disk")); /* once */
    buffer_fini(&said);
}

static void
a_message_that_could_not_be_kept_is_settled_at_once(void **state)
{
    struct fixture *f = *state;
    struct message *m = fixture_message(f, MESSAGE_PLAIN, "", "x", 1);

    m->error = ENOSPC;
    journal->submit(f->handler, m);
    assert_string_equal(f->settled[0].code, "no-space");
    m = fixture_message(f, MESSAGE_FILE, "x", "x", 1);
    m->error = EIO;
    journal->submit(f->handler, m);
    assert_int_equal(f->settled[1].outcome, PROTO_FAILED);
}

/* --- what others do to the segment that is being written --- */

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
    char error[HANDLER_ERROR_LEN];
    struct buffer said;
    struct log_sink sink = {.level = LOG_LEVEL_INFO, .write = keep_said, .arg = &said};

    buffer_init(&said);
    meddler.ops = file_ops_synced;
    meddler.ops.write = meddled_write;
    meddler.ops.sync_data = meddled_sync;
    meddler.ops.sync_at_once = false;
    meddler.f = f;
    f->handler = journal_create_with(&f->host, &meddler.ops, error);
    assert_non_null(f->handler);
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

static void
a_segment_is_left_when_it_is_large_or_old_or_on_demand(void **state)
{
    struct fixture *f = *state;

    submit(f, MESSAGE_PLAIN, "", "one");
    commit_here(f);
    journal->tick(f->handler, 0);
    submit(f, MESSAGE_PLAIN, "", "two");
    commit_here(f);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 1);
    journal->tick(f->handler, UINT64_MAX / 2);
    submit(f, MESSAGE_PLAIN, "", "three");
    commit_here(f);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 2);
    journal->reopen(f->handler);
    submit(f, MESSAGE_PLAIN, "", "four");
    journal->flush(f->handler, 1);
    journal->reopen(f->handler); /* while one is under way */
    submit(f, MESSAGE_PLAIN, "", "five");
    complete_all(f, 5);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 4);
    f->config.segment_size = 1;
    for (unsigned i = 0; i < 3; i++) {
        submit(f, MESSAGE_PLAIN, "", "six");
        commit_here(f);
    }
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 6);
    assert_line_count(f, 8);
}

static void
a_segment_of_lines_and_one_of_bodies_are_left_together(void **state)
{
    struct fixture *f = *state;

    f->config.segment_size = 2000;
    submit(f, MESSAGE_FILE, "one", "content");
    commit_here(f);
    submit(f, MESSAGE_PLAIN, "", "small");
    commit_here(f);
    submit(f, MESSAGE_FILE, "two", "content");
    commit_here(f);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 2);
    for (unsigned i = 0; i < 10; i++)
        submit(f, MESSAGE_PLAIN, "", "enough of these");
    commit_here(f);
    submit(f, MESSAGE_FILE, "three", "content");
    commit_here(f);
    assert_int_equal(fixture_count(f, "journal", ".ndjson", NULL), 3);
}

static void
a_disk_that_is_full_and_has_room_again_needs_no_restart(void **state)
{
    struct fixture *f = *state;
    unsigned submitted = 0, committed;
    char body[1000], error[CONFIG_ERROR_LEN];

    journal->destroy(f->handler);
    if (!fixture_mount(f->dir, "size=1m,mode=0750")) {
        start(f);
        skip();
    }
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
    start(f);
    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    do {
        submit(f, MESSAGE_PLAIN, "", body);
        commit_here(f);
        submitted++;
        assert_true(submitted < 3000);
    } while (f->settled[submitted - 1].outcome == PROTO_COMMITTED);
    assert_string_equal(f->settled[submitted - 1].code, "no-space");
    committed = f->committed_messages;
    assert_line_count(f, committed);
    assert_int_equal(mount("none", f->dir, "tmpfs", MS_REMOUNT, "size=2m"), 0);
    submit(f, MESSAGE_PLAIN, "", body);
    submit(f, MESSAGE_FILE, "file", body);
    commit_here(f);
    assert_int_equal(f->committed_messages, committed + 2);
    assert_line_count(f, committed + 2);

    journal->reopen(f->handler); /* the kernel refuses while a file is open for writing */
    assert_int_equal(mount("none", f->dir, "tmpfs", MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    submit(f, MESSAGE_FILE, "file2", body);
    commit_here(f);
    assert_int_equal(f->settled[f->settled_count - 1].outcome, PROTO_FAILED);
    assert_int_equal(mount("none", f->dir, "tmpfs", MS_REMOUNT | MS_BIND, NULL), 0);
    submit(f, MESSAGE_FILE, "file2", body);
    commit_here(f);
    assert_int_equal(f->settled[f->settled_count - 1].outcome, PROTO_COMMITTED);
    assert_int_equal(umount2(f->dir, MNT_DETACH), 0);
}

static void
without_sync_nothing_waits_for_the_disk(void **state)
{
    struct fixture *f = *state;
    char error[HANDLER_ERROR_LEN];

    journal->destroy(f->handler);
    f->config.sync = false;
    f->handler = journal->create(&f->host, error);
    assert_non_null(f->handler);
    submit(f, MESSAGE_FILE, "a", "content");
    submit(f, MESSAGE_PLAIN, "", "text");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_line_count(f, 2);
}

static void
a_journal_that_cannot_be_written_says_so_when_it_is_created(void **state)
{
    struct fixture *f = *state;
    char error[HANDLER_ERROR_LEN], expected[HANDLER_ERROR_LEN + 300];

    fixture_remove_tree(fixture_path(f, "journal"));
    fixture_write(f, "journal", "x", 1);
    assert_null(journal->create(&f->host, error));
    snprintf(expected, sizeof(expected),
             "the journal in %s cannot be used, since its "
             "directories cannot be opened, written and made safe: Not a directory",
             f->dir);
    assert_string_equal(error, expected);
    assert_int_equal(unlink(fixture_path(f, "journal")), 0);
}

static void
messages_that_are_out_when_it_is_destroyed_are_freed(void **state)
{
    struct fixture *f = *state;

    submit(f, MESSAGE_PLAIN, "", "under way");
    journal->flush(f->handler, 1);
    submit(f, MESSAGE_PLAIN, "", "not flushed");
    journal->destroy(f->handler);
    f->handler = NULL;
    assert_int_equal(f->settled_count, 0);
}

/* Writes "1" for each message that was settled as committed, until it is killed. */
static unsigned told_fd, told_count;

static void
tell_settle(void *ctx, struct message *m, const struct verdict *verdict)
{
    (void)ctx;
    if (verdict->outcome != PROTO_COMMITTED || write((int)told_fd, "1", 1) != 1)
        _exit(1);
    told_count++;
    message_destroy(m);
}

_Noreturn static void
commit_until_killed(struct fixture *f, int fd)
{
    char error[HANDLER_ERROR_LEN];
    struct journal *h;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    told_fd = (unsigned)fd;
    f->host.settle = tell_settle;
    h = journal->create(&f->host, error);
    if (h == NULL)
        _exit(1);
    for (unsigned i = 0;; i++) {
        char path[32];

        snprintf(path, sizeof(path), "%d-%u", (int)getpid(), i);
        journal->submit(
            h, fixture_message(f, i % 5 == 0 ? MESSAGE_FILE : MESSAGE_JSON, path, "[1,2,3]", 7));
        journal->flush(h, i % 2 == 0);
        journal->complete(h);
        if (i - told_count > 64)
            journal->finish(h); /* or the group under way would grow without an end */
    }
}

static void
what_was_settled_before_a_kill_is_in_the_journal_after_recovery(void **state)
{
    struct fixture *f = *state;
    size_t told = 0;
    json_t *lines;

    journal->destroy(f->handler);
    for (unsigned round = 0; round < 5; round++) {
        int fds[2];
        char bytes[4096];
        ssize_t n;
        pid_t pid;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0)
            commit_until_killed(f, fds[1]);
        fd_close(&fds[1]);
        for (size_t before = told; told < before + 40;) {
            n = fd_read(fds[0], bytes, sizeof(bytes));
            assert_true(n > 0);
            told += (size_t)n;
        }
        signal_send(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while ((n = fd_read(fds[0], bytes, sizeof(bytes))) > 0)
            told += (size_t)n;
        fd_close(&fds[0]);
    }
    start(f);
    journal->destroy(f->handler); /* it recovers beside us, and waits for that in the end */
    f->handler = NULL;
    lines = fixture_journal(f);
    assert_true(json_array_size(lines) >= told);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *file = fixture_member(json_array_get(lines, i), "file");

        assert_true(*file == '\0' || fixture_exists(f, file));
    }
    assert_int_equal(fixture_count(f, ".", ".msockd", NULL), 0);
    json_decref(lines);
}

static sem_t truncate_begun, truncate_may;

static int
held_truncate(int fd, off_t n)
{
    sem_post(&truncate_begun);
    while (sem_wait(&truncate_may) < 0)
        ;
    return ftruncate(fd, n);
}

static void
a_worker_takes_messages_while_a_cut_line_is_still_being_mended(void **state)
{
    static const char torn[] = "journal/01ARYZ6S410000000000000000-w7.ndjson";
    static const char line[] =
        "{\"id\":\"01ARYZ6S410000000000000000\",\"sha256\":\"\",\"text\":\"x\"}\n{\"id\":\"";
    struct fixture *f = *state;
    struct file_ops ops = file_ops_synced;
    char error[HANDLER_ERROR_LEN];
    size_t n;

    journal->destroy(f->handler);
    fixture_write(f, torn, line, sizeof(line) - 1);
    assert_int_equal(sem_init(&truncate_begun, 0, 0), 0);
    assert_int_equal(sem_init(&truncate_may, 0, 0), 0);
    ops.truncate = held_truncate;
    f->handler = journal_create_with(&f->host, &ops, error);
    assert_non_null(f->handler);
    assert_int_equal(sem_wait(&truncate_begun), 0);
    submit(f, MESSAGE_PLAIN, "", "text");
    commit_here(f);
    assert_in_order(f, 1);
    assert_int_equal(f->settled[0].outcome, PROTO_COMMITTED);
    assert_int_equal(sem_post(&truncate_may), 0);
    journal->destroy(f->handler);
    f->handler = NULL;
    free(fixture_read(f, torn, &n));
    assert_int_equal(n, strcspn(line, "\n") + 1);
    assert_line_count(f, 2);
    sem_destroy(&truncate_begun);
    sem_destroy(&truncate_may);
}

static void
every_message_is_settled_exactly_once_whatever_fails(void **state)
{
    struct fixture *f = *state;
    unsigned count = 0, committed = 0;
    unsigned char seen[4000] = {0};

    for (unsigned round = 0; round < 400; round++) {
        bool idle = f->settled_count == count; /* the faults are the commit thread's otherwise */

        for (unsigned i = 0; i < 1 + round % 9; i++) {
            char path[32];

            snprintf(path, sizeof(path), "p%u", (round * 7 + i) % 50);
            submit(f, (round + i) % 4 == 0 ? MESSAGE_FILE : MESSAGE_PLAIN, path, path);
            count++;
        }
        if (idle && round % 3 == 0) {
            faults.write_error = faults.data_error = round % 2 != 0 ? ENOSPC : EIO;
            faults.write_errors = round % 5 == 0;
            faults.data_errors = round % 7 == 0;
        }
        journal->flush(f->handler, round % 2 == 0);
        if (round % 4 == 0)
            journal->complete(f->handler);
        if (round % 13 == 0)
            complete_all(f, count);
    }
    journal->finish(f->handler);
    assert_int_equal(f->settled_count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(seen[f->settled[i].number]++, 0);
        committed += f->settled[i].outcome == PROTO_COMMITTED;
    }
    assert_int_equal(committed, f->committed_messages);
    assert_line_count(f, committed);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_commit_in_the_workers_thread_is_settled_when_flush_returns),
        TEST(a_commit_in_the_thread_is_settled_by_complete_and_the_next_batch_fills_meanwhile),
        TEST(a_small_batch_waits_a_moment_for_the_messages_that_are_expected),
        TEST(finish_settles_everything),
        TEST(without_a_wish_there_is_no_reply),
        TEST(large_bodies_become_blobs_and_files_are_linked_in_the_order_of_the_lines),
        TEST(who_sends_a_line_does_not_wait_for_the_files_of_others),
        TEST(a_body_of_the_inline_limit_stays_in_its_line_though_it_is_in_a_file),
        TEST(a_failed_write_refuses_its_batch_and_the_next_goes_to_a_new_segment),
        TEST(a_failed_write_in_the_thread_does_the_same),
        TEST(a_failed_sync_fails_its_batch_and_the_next_goes_to_a_new_segment),
        TEST(a_failed_sync_in_the_thread_does_the_same),
        TEST(a_file_that_fails_alone_does_not_hurt_the_others),
        TEST(files_whose_lines_fail_are_not_acknowledged_and_a_retry_is),
        TEST(a_journal_directory_without_room_is_used_again_when_there_is_room),
        TEST(a_journal_directory_that_failed_is_said_to_need_somebody),
        TEST(a_message_that_could_not_be_kept_is_settled_at_once),
        TEST(whatever_others_do_to_a_segment_the_batch_is_where_it_can_be_found),
        TEST(what_a_consumer_has_taken_is_there_again_when_it_is_sent_again),
        TEST(a_batch_goes_to_a_new_segment_where_nobody_may_write_to_the_old_one),
        TEST(directories_that_go_away_are_no_reason_for_a_restart),
        TEST(a_segment_is_left_when_it_is_large_or_old_or_on_demand),
        TEST(a_segment_of_lines_and_one_of_bodies_are_left_together),
        TEST(a_disk_that_is_full_and_has_room_again_needs_no_restart),
        TEST(without_sync_nothing_waits_for_the_disk),
        TEST(a_journal_that_cannot_be_written_says_so_when_it_is_created),
        TEST(messages_that_are_out_when_it_is_destroyed_are_freed),
        TEST(what_was_settled_before_a_kill_is_in_the_journal_after_recovery),
        TEST(a_worker_takes_messages_while_a_cut_line_is_still_being_mended),
        TEST(every_message_is_settled_exactly_once_whatever_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
