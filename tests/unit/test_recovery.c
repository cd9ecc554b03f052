#include "handler_fixture.h"

#include "support/signals.h"

#include "handler/journal/journal.h"

#include <signal.h>
#include <sys/wait.h>

struct context {
    struct fixture *f;
    struct data_dirs dirs;
    struct recovery_tally tally;
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dirs = DATA_DIRS_CLOSED;
    *state = c;
    return data_dirs_open(&c->dirs, c->f->dir, faulty_ops());
}

static int
teardown(void **state)
{
    struct context *c = *state;

    data_dirs_close(&c->dirs);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
recover(struct context *c)
{
    recovery_run(&c->dirs, &file_ops_synced, &c->tally);
}

static void
assert_recovered(struct context *c, const char *before, size_t n, const char *after)
{
    char *data;

    fixture_write(c->f, "journal/x.ndjson", before, n);
    recover(c);
    data = fixture_read(c->f, "journal/x.ndjson", NULL);
    if (after == NULL) {
        assert_null(data);
        return;
    }
    assert_non_null(data);
    assert_string_equal(data, after);
    free(data);
}

static void
a_last_line_that_was_cut_off_goes(void **state)
{
    struct context *c = *state;

    assert_recovered(c, "{}\n{}\n", 6, "{}\n{}\n");
    assert_int_equal(c->tally.cut, 0);
    assert_recovered(c, "{}\n{\"a\":", 8, "{}\n");
    assert_int_equal(c->tally.cut, 1);
    assert_recovered(c, "{\"a\":", 5, NULL);
    assert_recovered(c, "", 0, NULL);
    assert_int_equal(c->tally.emptied, 1);
    assert_recovered(c, "\n", 1, "\n");
}

static void
blocks_that_never_reached_the_disk_go(void **state)
{
    struct context *c = *state;

    assert_recovered(c, "{}\n\0\0\0", 6, "{}\n");
    assert_recovered(c, "{}\n{\0\0}\n{}\n", 11, "{}\n");
    assert_recovered(c, "\0\0\0\n", 4, NULL);
}

/* Behind a block that never reached the disk stand others that did, so that no NUL is near the end:
 * the first start must find it, for without the torn line it is the end. */
static void
a_second_start_finds_nothing_to_cut(void **state)
{
    struct context *c = *state;
    const size_t holes[] = {3, 2000, 5000, 300000, 650000};
    size_t n = 700000, left;

    for (size_t i = 0; i < MS_ARRAY_LEN(holes); i++) {
        char *data = ms_malloc(n);

        for (size_t at = 0; at < n; at++)
            data[at] = at % 100 == 99 && at < holes[i] + 1000 ? '\n' : 'x';
        data[holes[i]] = '\0';
        fixture_write(c->f, "journal/x.ndjson", data, n);
        free(data);
        recover(c);
        assert_int_equal(c->tally.cut, 1);
        left = 0;
        free(fixture_read(c->f, "journal/x.ndjson", &left));
        assert_true(left <= holes[i]);
        recover(c);
        assert_int_equal(c->tally.cut + c->tally.emptied, 0);
    }
}

static void
long_last_lines_are_found_to_their_beginning(void **state)
{
    struct context *c = *state;
    size_t n = 700000;
    char *data = ms_malloc(n);

    memset(data, 'x', n);
    data[4] = '\n';
    fixture_write(c->f, "journal/x.ndjson", data, n);
    free(data);
    recover(c);
    data = fixture_read(c->f, "journal/x.ndjson", &n);
    assert_int_equal(n, 5);
    free(data);
}

static void
what_is_locked_is_not_touched(void **state)
{
    struct context *c = *state;
    struct segment segment;
    int fd;

    segment_init(&segment, &file_ops_synced, 0);
    assert_int_equal(segment_open(&segment, c->dirs.journal), 0);
    fixture_write(c->f, ".msockd-x", "half", 4);
    fd = open(fixture_path(c->f, ".msockd-x"), O_RDWR | O_CLOEXEC);
    assert_int_equal(temp_file_lock(fd), 0);
    recover(c);
    assert_true(segment_is_there(&segment));
    assert_true(fixture_exists(c->f, ".msockd-x"));
    assert_int_equal(c->tally.leftovers + c->tally.emptied + c->tally.cut, 0);
    fd_close(&fd);
    recover(c);
    assert_false(fixture_exists(c->f, ".msockd-x"));
    assert_int_equal(c->tally.leftovers, 1);
    segment_close(&segment);
}

static void
other_files_are_not_ours(void **state)
{
    struct context *c = *state;

    fixture_write(c->f, "journal/notes.txt", "half a line", 11);
    fixture_write(c->f, "journal/.ndjson", "", 0);
    fixture_write(c->f, "files/.msockd-x", "a sender's file", 15);
    fixture_write(c->f, "outside", "half a line", 11);
    assert_int_equal(symlink("../outside", fixture_path(c->f, "journal/l.ndjson")), 0);
    assert_int_equal(mkdir(fixture_path(c->f, "journal/d.ndjson"), 0750), 0);
    assert_int_equal(mkfifo(fixture_path(c->f, "journal/f.ndjson"), 0640), 0);
    recover(c);
    assert_true(fixture_exists(c->f, "journal/notes.txt"));
    assert_true(fixture_exists(c->f, "journal/.ndjson"));
    assert_true(fixture_exists(c->f, "files/.msockd-x"));
    assert_true(fixture_exists(c->f, "journal/d.ndjson"));
    assert_true(fixture_exists(c->f, "journal/f.ndjson"));
    assert_int_equal(c->tally.cut, 0);
    assert_int_equal(c->tally.failed, 0);
}

/* Appends lines until it is killed; the first byte through the pipe says that it has begun. */
_Noreturn static void
write_until_killed(int dir_fd, int begun_fd)
{
    static char line[5000];
    struct segment segment;

    memset(line, 'x', sizeof(line));
    line[0] = '"';
    memcpy(line + sizeof(line) - 2, "\"\n", 2);
    segment_init(&segment, &file_ops_unsynced, 1);
    if (segment_open(&segment, dir_fd) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        size_t cut = i * 37 % sizeof(line); /* a line in two writes: it may end in between */

        if (fd_write_all(segment.fd, line, cut) < 0 ||
            fd_write_all(segment.fd, line + cut, sizeof(line) - cut) < 0)
            _exit(1);
        if (i == 10 && write(begun_fd, "x", 1) != 1)
            _exit(1);
    }
}

static void
a_killed_writer_leaves_whole_lines(void **state)
{
    struct context *c = *state;

    for (unsigned round = 0; round < 20; round++) {
        int begun[2], status;
        char byte;
        pid_t pid;

        assert_int_equal(pipe2(begun, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0)
            write_until_killed(c->dirs.journal, begun[1]);
        fd_close(&begun[1]);
        assert_int_equal(fd_read(begun[0], &byte, 1), 1);
        recover(c); /* it is alive: nothing may change under it */
        assert_int_equal(c->tally.cut + c->tally.emptied, 0);
        signal_send(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        fd_close(&begun[0]);
        recover(c);
    }
    assert_int_equal(fixture_count(c->f, "journal", ".ndjson", NULL), 20);
    for (;;) {
        char name[256], path[300], *data;
        size_t n = 0;

        if (fixture_count(c->f, "journal", ".ndjson", name) == 0)
            break;
        snprintf(path, sizeof(path), "journal/%s", name);
        data = fixture_read(c->f, path, &n);
        assert_true(n > 0);
        assert_int_equal(n % 5000, 0);
        assert_int_equal(data[n - 1], '\n');
        free(data);
        assert_int_equal(unlink(fixture_path(c->f, path)), 0);
    }
}

/* Opens a segment while others recover, and appends to it. */
_Noreturn static void
start_like_a_worker(struct fixture *f, unsigned worker)
{
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct recovery_tally tally;
    struct segment segment;

    if (data_dirs_open(&dirs, f->dir, &file_ops_unsynced) < 0)
        _exit(1);
    segment_init(&segment, &file_ops_unsynced, worker);
    for (unsigned i = 0; i < 50; i++) {
        recovery_run(&dirs, &file_ops_unsynced, &tally);
        if (tally.failed != 0 || segment_open(&segment, dirs.journal) < 0 ||
            segment_append(&segment, "{}\n", 3) < 0 || !segment_is_there(&segment))
            _exit(2);
        segment_close(&segment);
    }
    _exit(0);
}

static void
eight_workers_that_start_at_once_do_not_disturb_each_other(void **state)
{
    struct context *c = *state;
    pid_t pids[8];

    for (unsigned i = 0; i < 8; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            start_like_a_worker(c->f, i);
    }
    for (unsigned i = 0; i < 8; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    recover(c);
    assert_int_equal(fixture_count(c->f, "journal", ".ndjson", NULL), 400);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_last_line_that_was_cut_off_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_that_never_reached_the_disk_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_start_finds_nothing_to_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(long_last_lines_are_found_to_their_beginning, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_locked_is_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_not_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_whole_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(eight_workers_that_start_at_once_do_not_disturb_each_other,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
