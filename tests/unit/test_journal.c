/* The journal: batches, lanes, rotation, and what is left when it ends. */
#include "journal_fixture.h"

#include "support/signals.h"
#include "support/wait.h"

#include "common/base.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

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

    for (unsigned i = 0; i < 3; i++)
        submit(f, MESSAGE_PLAIN, "", "this commit shows how long one takes");
    journal->flush(f->handler, 1);
    complete_all(f, 3);

    submit(f, MESSAGE_PLAIN, "", "a few");
    until = journal->flush(f->handler, 100);
    assert_int_not_equal(until, 0);
    submit(f, MESSAGE_PLAIN, "", "more");
    while ((again = journal->flush(f->handler, 100)) != 0)
        assert_int_equal(again, until); /* what comes does not push it back */
    assert_true(clock_mono_us() >= until);
    complete_all(f, 5);
    assert_int_equal(f->committed_calls, 2);

    submit(f, MESSAGE_PLAIN, "", "one");
    submit(f, MESSAGE_PLAIN, "", "two");
    assert_int_equal(journal->flush(f->handler, 2), 0); /* half of all is enough */
    submit(f, MESSAGE_PLAIN, "", "three");
    complete_all(f, 8);
    assert_int_equal(f->committed_calls, 4);
}

static void
nobody_waits_for_peers_that_bring_no_messages(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 1; i <= 3; i++) {
        submit_from(f, 1, MESSAGE_PLAIN, "", "two at a time");
        submit_from(f, 1, MESSAGE_PLAIN, "", "of one sender");
        assert_int_equal(journal->flush(f->handler, 100), 0);
        complete_all(f, 2 * i);
    }
    assert_int_equal(f->committed_calls, 3);
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

    journal->destroy(f->handler);
    ops.sync_dir = slow_sync_dir;
    ops.sync_at_once = false;
    assert_int_equal(sem_init(&dirs_may, 0, 1), 0);
    fixture_open_journal(f, &ops);
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
without_sync_nothing_waits_for_the_disk(void **state)
{
    struct fixture *f = *state;

    journal->destroy(f->handler);
    f->config.sync = false;
    fixture_open_journal(f, &file_ops_unsynced);
    submit(f, MESSAGE_FILE, "a", "content");
    submit(f, MESSAGE_PLAIN, "", "text");
    commit_here(f);
    assert_int_equal(f->settled[1].outcome, PROTO_COMMITTED);
    assert_line_count(f, 2);
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
    journal_start(f);
    WAIT_FOR(fixture_count(f, ".", ".msockd", NULL) == 0, 20000); /* it recovers beside us */
    journal->destroy(f->handler);
    f->handler = NULL;
    lines = fixture_journal(f);
    assert_true(json_array_size(lines) >= told);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *file = fixture_member(json_array_get(lines, i), "file");

        assert_true(*file == '\0' || fixture_exists(f, file));
    }
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_commit_in_the_workers_thread_is_settled_when_flush_returns),
        TEST(a_commit_in_the_thread_is_settled_by_complete_and_the_next_batch_fills_meanwhile),
        TEST(a_small_batch_waits_a_moment_for_the_messages_that_are_expected),
        TEST(nobody_waits_for_peers_that_bring_no_messages),
        TEST(finish_settles_everything),
        TEST(without_a_wish_there_is_no_reply),
        TEST(large_bodies_become_blobs_and_files_are_linked_in_the_order_of_the_lines),
        TEST(who_sends_a_line_does_not_wait_for_the_files_of_others),
        TEST(a_body_of_the_inline_limit_stays_in_its_line_though_it_is_in_a_file),
        TEST(a_segment_is_left_when_it_is_large_or_old_or_on_demand),
        TEST(a_segment_of_lines_and_one_of_bodies_are_left_together),
        TEST(without_sync_nothing_waits_for_the_disk),
        TEST(messages_that_are_out_when_it_is_destroyed_are_freed),
        TEST(what_was_settled_before_a_kill_is_in_the_journal_after_recovery),
        TEST(a_worker_takes_messages_while_a_cut_line_is_still_being_mended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
