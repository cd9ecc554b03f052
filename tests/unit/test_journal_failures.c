/* The journal when calls fail: writes, syncs, directories, a full disk. */
#include "journal_fixture.h"

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

static void
a_disk_that_is_full_and_has_room_again_needs_no_restart(void **state)
{
    struct fixture *f = *state;
    unsigned submitted = 0, committed;
    char body[1000], error[CONFIG_ERROR_LEN];

    journal->destroy(f->handler);
    if (!fixture_mount(f->dir, "size=1m,mode=0750")) {
        journal_start(f);
        skip();
    }
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
    journal_start(f);
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
    const struct CMUnitTest tests[] = {
        TEST(a_failed_write_refuses_its_batch_and_the_next_goes_to_a_new_segment),
        TEST(a_failed_write_in_the_thread_does_the_same),
        TEST(a_failed_sync_fails_its_batch_and_the_next_goes_to_a_new_segment),
        TEST(a_failed_sync_in_the_thread_does_the_same),
        TEST(a_file_that_fails_alone_does_not_hurt_the_others),
        TEST(files_whose_lines_fail_are_not_acknowledged_and_a_retry_is),
        TEST(a_journal_directory_without_room_is_used_again_when_there_is_room),
        TEST(a_journal_directory_that_failed_is_said_to_need_somebody),
        TEST(a_message_that_could_not_be_kept_is_settled_at_once),
        TEST(a_disk_that_is_full_and_has_room_again_needs_no_restart),
        TEST(a_journal_that_cannot_be_written_says_so_when_it_is_created),
        TEST(every_message_is_settled_exactly_once_whatever_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
