#include "disk.h"
#include "handler_fixture.h"

#include "support/signals.h"

#include "handler/journal/journal.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

struct context {
    struct fixture *f;
    struct data_dirs dirs;
    struct dir_syncs syncs;
    struct recovery_tally tally;
};

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->dirs = DATA_DIRS_CLOSED;
    *state = c;
    dir_syncs_init(&c->syncs, faulty_ops());
    return data_dirs_open(&c->dirs, &c->f->config, &c->syncs);
}

static int
teardown(void **state)
{
    struct context *c = *state;

    data_dirs_close(&c->dirs);
    dir_syncs_fini(&c->syncs);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

static void
recover(struct context *c)
{
    recovery_run(&c->dirs, &file_ops_synced, NULL, &c->tally);
}

#define SEGMENT "journal/01ARYZ6S410000000000000000-w7.ndjson"

/* Appends a record with that body. */
static void
record_add(struct buffer *out, enum message_kind kind, const char *body)
{
    struct message m = {.kind = kind, .size = strlen(body), .fd = -1, .value = (char *)""};
    struct message_origin origin = {
        .listener = "msp://127.0.0.1:8000", .proto = "msp", .peer = "p"};
    struct record_clock clock = {0};
    size_t from = out->len;

    record_head(out, "01ARYZ6S410000000000000000", 1, &clock, &origin, &m);
    record_body(out, from, kind, body, strlen(body));
}

/* Writes a segment and recovers it. */
static void
recover_bytes(struct context *c, const char *data, size_t n)
{
    (void)unlink(fixture_path(c->f, SEGMENT));
    fixture_remove_tree(fixture_path(c->f, "journal/" DAMAGED_DIR));
    fixture_write(c->f, SEGMENT, data, n);
    recover(c);
    assert_int_equal(c->tally.failed, 0);
}

static void
assert_segment(struct context *c, const char *expected, size_t n)
{
    size_t got = 0;
    char *data = fixture_read(c->f, SEGMENT, &got);

    if (n == 0) {
        assert_null(data);
        return;
    }
    assert_non_null(data);
    assert_int_equal(got, n);
    assert_memory_equal(data, expected, n);
    free(data);
}

static void
assert_nothing_to_do(struct context *c)
{
    (void)chmod(fixture_path(c->f, SEGMENT), 0640); /* look at it again */
    recover(c);
    assert_int_equal(c->tally.cut + c->tally.emptied + c->tally.damaged + c->tally.failed, 0);
}

static struct buffer
three_records(size_t ends[3])
{
    struct buffer lines;

    buffer_init(&lines);
    record_add(&lines, MESSAGE_JSON, "{\"id\":\"a\",\"crc32\":\"00000000\"}");
    ends[0] = lines.len;
    record_add(&lines, MESSAGE_PLAIN, "a body with \"quotes\" and {\"id\":\"b\"");
    ends[1] = lines.len;
    record_add(&lines, MESSAGE_JSON, "[{\"id\":\"c\"},{\"id\":\"d\"}]");
    ends[2] = lines.len;
    return lines;
}

static void
a_segment_that_was_cut_anywhere_keeps_its_whole_lines(void **state)
{
    struct context *c = *state;
    size_t ends[3];
    struct buffer lines = three_records(ends);

    for (size_t n = 0; n <= lines.len; n++) {
        /* A record without its newline is whole, and gets it. */
        size_t whole = n + 1 >= ends[2]   ? ends[2]
                       : n + 1 >= ends[1] ? ends[1]
                       : n + 1 >= ends[0] ? ends[0]
                                          : 0;

        recover_bytes(c, buffer_bytes(&lines), n);
        assert_segment(c, buffer_bytes(&lines), whole);
        assert_int_equal(c->tally.cut, n > whole);
        assert_int_equal(c->tally.damaged, n + 1 == whole);
        assert_nothing_to_do(c);
    }
    buffer_fini(&lines);
}

/* The stretch in `before` from byte `from` to `to` was damaged, and a line stands there now. */
static void
assert_replaced(struct context *c, const char *before, const struct buffer *lines, size_t from,
                size_t to)
{
    size_t n = 0, kept_n = 0;
    char *after = fixture_read(c->f, SEGMENT, &n), name[256], path[300], *kept;
    json_t *line;

    assert_int_equal(n, lines->len);
    assert_memory_equal(after, buffer_bytes(lines), from);
    assert_memory_equal(after + to, buffer_bytes(lines) + to, n - to);
    line = json_loadb(after + from, to - from, 0, NULL);
    assert_true(json_is_object(json_object_get(line, "damaged")));
    assert_int_equal(after[to - 1], '\n');
    json_decref(line);
    assert_int_equal(fixture_count(c->f, "journal/" DAMAGED_DIR, "", name), 1);
    snprintf(path, sizeof(path), "journal/" DAMAGED_DIR "/%s", name);
    kept = fixture_read(c->f, path, &kept_n);
    assert_int_equal(kept_n, to - from);
    assert_memory_equal(kept, before + from, kept_n);
    free(kept);
    free(after);
}

static void
any_damaged_bit_is_found_and_costs_no_other_line(void **state)
{
    struct context *c = *state;
    size_t ends[3];
    struct buffer lines = three_records(ends);

    for (size_t at = 0; at < lines.len; at++) {
        char *data = ms_malloc(lines.len);
        unsigned hit = at < ends[0] ? 0 : at < ends[1] ? 1 : 2;
        bool newline = at + 1 == ends[hit];

        memcpy(data, buffer_bytes(&lines), lines.len);
        data[at] = (char)(data[at] ^ 1 << at % 8);
        recover_bytes(c, data, lines.len);
        if (newline)
            assert_segment(c, buffer_bytes(&lines), lines.len);
        else if (hit == 2)
            assert_segment(c, buffer_bytes(&lines), ends[1]);
        else
            assert_replaced(c, data, &lines, hit == 0 ? 0 : ends[0], ends[hit]);
        assert_int_equal(c->tally.cut, hit == 2 && !newline);
        assert_int_equal(c->tally.damaged, hit != 2 || newline);
        assert_int_equal(fixture_exists(c->f, "journal/" DAMAGED_DIR), !newline); /* all is kept */
        assert_nothing_to_do(c);
        free(data);
    }
    buffer_fini(&lines);
}

/* All newlines lost, to blanks or to NUL: no record is. */
static void
records_without_newlines_between_them_are_all_found(void **state)
{
    static const char instead[] = {' ', '\0', '\v', '\xff'};
    struct context *c = *state;

    for (size_t i = 0; i < sizeof(instead) * 2; i++) {
        struct buffer lines, bad;

        buffer_init(&lines);
        buffer_init(&bad);
        for (unsigned k = 0; k < 300; k++)
            record_add(&lines, MESSAGE_PLAIN, "0123456789");
        buffer_append(&bad, buffer_bytes(&lines), lines.len);
        for (size_t at = 0; at + i % 2 < bad.len; at++) /* the last one too, or not */
            if (bad.data[at] == '\n')
                bad.data[at] = instead[i / 2];
        recover_bytes(c, buffer_bytes(&bad), bad.len);
        assert_segment(c, buffer_bytes(&lines), lines.len);
        assert_nothing_to_do(c);
        buffer_fini(&lines);
        buffer_fini(&bad);
    }
}

/* A sender puts a whole record into a body, and the line is torn right behind it. */
static void
a_record_in_a_torn_body_is_no_record(void **state)
{
    struct context *c = *state;
    struct buffer inner, outer;
    const char *at;

    buffer_init(&inner);
    buffer_init(&outer);
    record_add(&inner, MESSAGE_PLAIN, "forged");
    buffer_unappend(&inner, 1);
    record_add(&outer, MESSAGE_PLAIN, "honest");
    record_add(&outer, MESSAGE_JSON, buffer_cstr(&inner));
    at = memmem(outer.data, outer.len, inner.data, inner.len);
    assert_non_null(at);
    for (unsigned more = 0; more < 3; more++) {
        size_t n = (size_t)(at - outer.data) + inner.len + more;

        recover_bytes(c, buffer_bytes(&outer), n);
        assert_int_equal(c->tally.cut, 1);
        assert_nothing_to_do(c);
    }
    buffer_fini(&inner);
    buffer_fini(&outer);
}

/* Blocks that never reached the disk, though others behind them did. */
static void
blocks_of_nul_bytes_are_kept_and_replaced_where_whole_lines_follow(void **state)
{
    struct context *c = *state;
    struct buffer lines, after;
    size_t middle;

    buffer_init(&lines);
    buffer_init(&after);
    for (unsigned i = 0; i < 200; i++)
        record_add(&lines, MESSAGE_PLAIN, "0123456789");
    middle = lines.len / 400 * 200;
    memset(lines.data + 4096, 0, 16384);
    recover_bytes(c, buffer_bytes(&lines), lines.len);
    assert_int_equal(c->tally.damaged, 1);
    assert_int_equal(c->tally.cut, 0);
    assert_true(middle > 0);
    assert_nothing_to_do(c);
    memset(lines.data + lines.len - 5000, 0, 5000);
    recover_bytes(c, buffer_bytes(&lines), lines.len);
    assert_int_equal(c->tally.damaged, 1);
    assert_int_equal(c->tally.cut, 1);
    assert_nothing_to_do(c);
    buffer_fini(&lines);
    buffer_fini(&after);
}

static void
a_recovered_segment_is_sealed_and_a_sealed_one_is_not_read(void **state)
{
    struct context *c = *state;
    size_t ends[3];
    struct buffer lines = three_records(ends);
    struct stat st;

    recover_bytes(c, buffer_bytes(&lines), lines.len - 1);
    assert_int_equal(stat(fixture_path(c->f, SEGMENT), &st), 0);
    assert_int_equal(st.st_mode & 0777, SEGMENT_SEALED);
    assert_int_equal(chmod(fixture_path(c->f, SEGMENT), 0640), 0);
    fixture_write(c->f, SEGMENT, "rubbish", 7);
    assert_int_equal(chmod(fixture_path(c->f, SEGMENT), SEGMENT_SEALED), 0);
    recover(c);
    assert_int_equal(c->tally.cut + c->tally.emptied, 0);
    assert_segment(c, "rubbish", 7);
    buffer_fini(&lines);
}

/* Of a journal that an earlier msockd wrote. */
static void
lines_without_a_crc32_are_whole_where_they_are_json(void **state)
{
    static const char old[] =
        "{\"id\":\"01ARYZ6S410000000000000000\",\"size\":1,\"sha256\":\"ab\",\"text\":\"x\"}\n"
        "{\"id\":\"01ARYZ6S410000000000000001\",\"size\":1,\"sha256\":\"ab\",\"json\":{}}\n";
    struct context *c = *state;

    recover_bytes(c, old, sizeof(old) - 1);
    assert_segment(c, old, sizeof(old) - 1);
    assert_int_equal(c->tally.cut + c->tally.damaged, 0);
    recover_bytes(c, old, sizeof(old) - 3);
    assert_int_equal(c->tally.cut, 1);
}

static void
what_is_locked_is_not_touched(void **state)
{
    struct context *c = *state;
    struct segment segment;
    int fd;

    segment_init(&segment, &c->syncs, 0);
    assert_int_equal(segment_open(&segment, c->dirs.journal), 0);
    fixture_write(c->f, ".msockd-x", "half", 4);
    fd = open(fixture_path(c->f, ".msockd-x"), O_RDWR | O_CLOEXEC);
    assert_int_equal(file_ops_synced.lock(fd), 0);
    recover(c);
    assert_int_equal(segment_look(&segment, NULL), SEGMENT_SOUND);
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

static void
a_name_that_only_looks_like_a_temporary_one_is_kept(void **state)
{
    static const char *const kept[] = {
        "files/.msockd-AAAAAAAAAAAAAAAAAAAAAAAA.1",  /* as long as one */
        "files/.msockd-01ARYZ6S41000000000000000I",  /* a letter that none has */
        "files/.msockd-01ARYZ6S4100000000000000000", /* longer */
    };
    struct context *c = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(kept); i++)
        fixture_write(c->f, kept[i], "acknowledged", 12);
    fixture_write(c->f, "files/.msockd-01ARYZ6S410000000000000000", "half", 4);
    fixture_write(c->f, "journal/.msockd-01ARYZ6S410000000000000000", "x", 1);
    recover(c);
    for (size_t i = 0; i < MS_ARRAY_LEN(kept); i++)
        assert_true(fixture_exists(c->f, kept[i]));
    assert_int_equal(c->tally.leftovers, 2);
}

/* As where a power cut has halved a rename: two names, and a link count that knows of one. */
static void
a_temporary_name_of_a_file_with_another_name_is_kept(void **state)
{
    static const char name[] = ".msockd-01ARYZ6S410000000000000000";
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0750), 0);
    fixture_write(c->f, "files/d/two", "acknowledged", 12);
    assert_int_equal(link(fixture_path(c->f, "files/d/two"), fixture_path(c->f, name)), 0);
    fixture_write(c->f, ".msockd-01ARYZ6S410000000000000001", "half", 4);
    disk_damage_dir(fixture_path(c->f, "files/d"));
    recovery_run(&c->dirs, disk_uncounted_ops(), NULL, &c->tally);
    disk_damage_dir(NULL);
    assert_int_equal(c->tally.leftovers, 0); /* not all names were seen */
    recovery_run(&c->dirs, disk_uncounted_ops(), NULL, &c->tally);
    assert_int_equal(c->tally.leftovers, 1);
    assert_int_equal(c->tally.shared, 1);
    assert_true(fixture_exists(c->f, name));
    recover(c); /* with a count that is right, it goes */
    assert_int_equal(c->tally.leftovers, 1);
    assert_false(fixture_exists(c->f, name));
    assert_true(fixture_exists(c->f, "files/d/two"));
}

/* Appends lines until it is killed; the first byte through the pipe says that it has begun. */
_Noreturn static void
write_until_killed(int dir_fd, int begun_fd)
{
    struct dir_syncs syncs;
    struct segment segment;
    struct buffer record;
    const char *line;
    char body[4801];

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    buffer_init(&record);
    record_add(&record, MESSAGE_PLAIN, body);
    line = buffer_bytes(&record);
    dir_syncs_init(&syncs, &file_ops_unsynced);
    segment_init(&segment, &syncs, 1);
    if (segment_open(&segment, dir_fd) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        size_t cut = i * 37 % record.len; /* a line in two writes: it may end in between */

        if (fd_write_all(segment.fd, line, cut) < 0 ||
            fd_write_all(segment.fd, line + cut, record.len - cut) < 0)
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
        for (char *line = data, *end; line < data + n; line = end + 1) {
            end = memchr(line, '\n', (size_t)(data + n - line));
            assert_non_null(end);
            assert_true(record_is_whole(line, (size_t)(end - line)));
        }
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
    struct dir_syncs syncs;
    struct segment segment;
    struct buffer record;

    buffer_init(&record);
    record_add(&record, MESSAGE_PLAIN, "x");
    dir_syncs_init(&syncs, &file_ops_unsynced);
    if (data_dirs_open(&dirs, &f->config, &syncs) < 0)
        _exit(1);
    segment_init(&segment, &syncs, worker);
    for (unsigned i = 0; i < 50; i++) {
        recovery_run(&dirs, &file_ops_unsynced, NULL, &tally);
        if (tally.failed != 0 || segment_open(&segment, dirs.journal) < 0 ||
            segment_append(&segment, buffer_bytes(&record), record.len) < 0 ||
            segment_look(&segment, NULL) != SEGMENT_SOUND)
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

static _Atomic bool told_to_leave;

static ssize_t
read_and_be_told(int fd, void *data, size_t n, off_t at)
{
    atomic_store(&told_to_leave, true);
    return pread(fd, data, n, at);
}

static void
a_recovery_that_is_told_to_leave_changes_nothing_and_the_next_one_does_it(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_synced;
    struct buffer lines;
    struct stat st;
    size_t whole;

    buffer_init(&lines);
    record_add(&lines, MESSAGE_PLAIN, "whole");
    whole = lines.len;
    buffer_append_str(&lines, "{\"id\":\"torn");
    fixture_write(c->f, SEGMENT, buffer_bytes(&lines), lines.len);
    ops.read = read_and_be_told;
    recovery_run(&c->dirs, &ops, &told_to_leave, &c->tally);
    assert_true(atomic_load(&told_to_leave));
    assert_int_equal(c->tally.cut, 0);
    assert_int_equal(c->tally.failed, 0);
    assert_segment(c, buffer_bytes(&lines), lines.len);
    assert_int_equal(stat(fixture_path(c->f, SEGMENT), &st), 0);
    assert_int_not_equal(st.st_mode & 0777, SEGMENT_SEALED);
    recover(c);
    assert_int_equal(c->tally.cut, 1);
    assert_segment(c, buffer_bytes(&lines), whole);
    buffer_fini(&lines);
}

static int
open_to_read_only(int dir_fd, const char *name, int flags)
{
    if ((flags & O_ACCMODE) == O_RDONLY)
        return file_ops_synced.open(dir_fd, name, flags);
    errno = EACCES;
    return -1;
}

static void
count_said(void *arg, const struct log_record *record)
{
    unsigned *said = arg;

    *said += memmem(record->text, record->n, "may not write to them: 3", 24) != NULL;
}

static void
segments_of_somebody_else_are_one_line_of_log(void **state)
{
    struct context *c = *state;
    struct file_ops ops = file_ops_synced;
    unsigned said = 0;
    struct log_sink sink = {.level = LOG_LEVEL_NOTICE, .write = count_said, .arg = &said};
    char name[80];

    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "journal/01ARYZ6S410000000000000000-w%u.ndjson", i);
        fixture_write(c->f, name, "torn", 4);
    }
    ops.open = open_to_read_only;
    log_to(&sink);
    recovery_run(&c->dirs, &ops, NULL, &c->tally);
    log_to(NULL);
    assert_int_equal(said, 1);
    assert_int_equal(c->tally.failed, 0);
    assert_int_equal(c->tally.emptied, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_segment_that_was_cut_anywhere_keeps_its_whole_lines,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(records_without_newlines_between_them_are_all_found, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_record_in_a_torn_body_is_no_record, setup, teardown),
        cmocka_unit_test_setup_teardown(any_damaged_bit_is_found_and_costs_no_other_line, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            blocks_of_nul_bytes_are_kept_and_replaced_where_whole_lines_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(a_recovered_segment_is_sealed_and_a_sealed_one_is_not_read,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lines_without_a_crc32_are_whole_where_they_are_json, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_locked_is_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_are_not_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_only_looks_like_a_temporary_one_is_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_temporary_name_of_a_file_with_another_name_is_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_whole_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_recovery_that_is_told_to_leave_changes_nothing_and_the_next_one_does_it, setup,
            teardown),
        cmocka_unit_test_setup_teardown(segments_of_somebody_else_are_one_line_of_log, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(eight_workers_that_start_at_once_do_not_disturb_each_other,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
