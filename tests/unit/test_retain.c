/* What is removed, what stays, and what a verify sees that runs meanwhile. */
#include "disk.h"
#include "follow_fixture.h"

#include "handler/journal/retain.h"
#include "support/signals.h"
#include "support/wait.h"

#include <sys/wait.h>

struct context {
    struct fixture *f;
    struct follow *follow;
    struct follow_finished finished;
    struct buffer lines;
    struct file_ops ops;
    struct retain_tally tally;
    unsigned calls;
};

static struct context *now; /* for what is called back */

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    c->f = fixture_create();
    c->ops = file_ops_synced;
    *state = now = c;
    return 0;
}

static int
teardown(void **state)
{
    struct context *c = *state;

    follow_close(c->follow);
    free(c->finished.segments);
    buffer_fini(&c->lines);
    fixture_destroy(c->f);
    free(c);
    return 0;
}

/* A file with a record of it, in the lines. */
static void
add_file(struct context *c, unsigned number, const char *name, const char *body)
{
    char path[300];

    snprintf(path, sizeof(path), "files/%s", name);
    fixture_write(c->f, path, body, strlen(body));
    follow_add(c->f, &c->lines, number, "file", name, body);
}

static void
add_blob(struct context *c, unsigned number, const char *body)
{
    char path[SHA256_HEX_LEN + 10] = "blobs/";
    uint8_t sha256[SHA256_LEN];

    digest_sha256(c->f->store.digester, body, strlen(body), sha256);
    digest_hex(sha256, SHA256_LEN, path + strlen(path));
    fixture_write(c->f, path, body, strlen(body));
    follow_add(c->f, &c->lines, number, "blob", path + strlen("blobs/"), body);
}

/* A sealed segment of the lines. */
static void
write_segment(struct context *c, const char *segment)
{
    follow_write(c->f, segment, &c->lines, SEGMENT_SEALED);
}

/* Follows to the end, and is done with the first `done` records. */
static void
relay(struct context *c, unsigned done)
{
    char error[FOLLOW_ERROR_LEN];
    struct follow_item *item;

    follow_close(c->follow);
    c->follow = follow_open(&c->f->config, &file_ops_synced, error);
    assert_non_null(c->follow);
    for (unsigned i = 0; follow_next(c->follow, &item) == 1; i++)
        if (i < done)
            follow_done(c->follow, item);
    assert_int_equal(follow_save(c->follow), 0);
    free(c->finished.segments);
    follow_finished(c->follow, &c->finished);
}

static int
turn_after(struct context *c, uint64_t min_age_us)
{
    struct retain retain = {.config = &c->f->config,
                            .ops = &c->ops,
                            .finished = &c->finished,
                            .min_age_us = min_age_us};

    return retain_run(&retain, &c->tally);
}

static int
turn(struct context *c)
{
    return turn_after(c, 0);
}

static void
expect_while(struct context *c, const char *findings,
             void (*progress)(void *arg, const struct verify_tally *so_far))
{
    c->calls = 0;
    fixture_expect_findings(c->f, findings, progress, c);
}

static void
expect(struct context *c, const char *findings)
{
    expect_while(c, findings, NULL);
}

static unsigned
count(struct context *c, const char *directory)
{
    return fixture_count(c->f, directory, "", NULL);
}

/* --- what is due --- */

static void
what_was_relayed_goes_with_its_files_and_blobs(void **state)
{
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0750), 0);
    add_file(c, 1, "a", "a file");
    add_file(c, 2, "d/b", "a file in a directory");
    add_blob(c, 3, "a blob");
    follow_add(c->f, &c->lines, 4, NULL, NULL, "in its line, \",\"file\":\"files/stays\"");
    add_blob(c, 5, "a blob");
    write_segment(c, SEGMENT_A);
    fixture_write(c->f, "files/stays", "x", 1);
    relay(c, 5);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(c->tally.bodies, 3);
    assert_int_equal(c->tally.bytes, c->finished.segments[0].bytes + 6 + 21 + 6);
    assert_int_equal(count(c, "journal") + count(c, "blobs"), 0);
    assert_int_equal(count(c, "files"), 2);
    assert_true(fixture_exists(c->f, "files/stays"));
    relay(c, 0);
    assert_int_equal(c->finished.count, 0);
    assert_int_equal(turn(c), 0);
}

static void
what_was_not_relayed_or_not_saved_stays_with_all_behind_it(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    add_file(c, 2, "b", "b");
    follow_add(c->f, &c->lines, 3, NULL, NULL, "not relayed");
    write_segment(c, SEGMENT_B);
    add_file(c, 4, "c", "c");
    write_segment(c, SEGMENT_C);
    relay(c, 2);
    assert_int_equal(c->finished.count, 1);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(count(c, "journal"), 2);
    assert_int_equal(count(c, "files"), 2);
    expect(c, "");
}

static void
what_is_not_old_enough_or_still_written_stays(void **state)
{
    struct context *c = *state;
    int fd;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    relay(c, 1);
    assert_int_equal(turn_after(c, UINT64_C(60000000)), 0);
    assert_int_equal(c->tally.segments, 0);
    assert_int_equal(chmod(fixture_path(c->f, SEGMENT_A), 0640), 0);
    fd = open(fixture_path(c->f, SEGMENT_A), O_RDWR | O_CLOEXEC);
    assert_int_equal(fchmod(fd, SEGMENT_SEALED), 0);
    assert_int_equal(file_ops_synced.lock(fd), 0);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments + c->tally.bodies, 0);
    fd_close(&fd);
    follow_add(c->f, &c->lines, 2, NULL, NULL, "somebody has made it longer");
    write_segment(c, SEGMENT_A);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments + c->tally.bodies, 0);
    expect(c, "");
}

static int write_error;

static ssize_t
failing_write(int fd, const void *data, size_t n, off_t at)
{
    errno = write_error;
    return write_error != 0 ? -1 : file_ops_synced.write(fd, data, n, at);
}

/* Else nothing would ever make room on a full disk. */
static void
what_is_done_goes_where_there_is_no_room_to_save_that(void **state)
{
    struct context *c = *state;
    char error[FOLLOW_ERROR_LEN];
    struct follow_item *item;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    c->ops.write = failing_write;
    c->follow = follow_open(&c->f->config, &c->ops, error);
    assert_non_null(c->follow);
    assert_int_equal(follow_next(c->follow, &item), 1);
    follow_done(c->follow, item);
    for (unsigned i = 0; i < 2; i++) {
        write_error = i == 0 ? EIO : ENOSPC;
        assert_int_equal(follow_save(c->follow), -1);
        free(c->finished.segments);
        follow_finished(c->follow, &c->finished);
        assert_int_equal(turn(c), 0);
        assert_int_equal(c->tally.segments, i);
    }
    write_error = 0;
    assert_int_equal(count(c, "files") + count(c, "journal"), 0);
    relay(c, 0);
    assert_int_equal(follow_next(c->follow, &item), 0);
}

/* Its last write was when the clock was ahead. */
static void
a_segment_from_a_time_to_come_goes_by_the_age_of_its_ids(void **state)
{
    const struct timespec later[2] = {{.tv_sec = time(NULL) + 100000},
                                      {.tv_sec = time(NULL) + 100000}};
    struct context *c = *state;
    uint64_t age_us;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    assert_int_equal(utimensat(AT_FDCWD, fixture_path(c->f, SEGMENT_A), later, 0), 0);
    relay(c, 1);
    age_us = clock_real_us() - ulid_ms(strchr(SEGMENT_A, '/') + 1) * 1000;
    assert_int_equal(turn_after(c, age_us + UINT64_C(3600000000)), 0);
    assert_int_equal(c->tally.segments, 0);
    assert_int_equal(turn_after(c, age_us - UINT64_C(3600000000)), 0);
    assert_int_equal(c->tally.segments, 1);
}

static void
a_large_rest_of_the_journal_is_not_read_for_little(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    relay(c, 1);
    c->finished.rest = UINT64_C(65) << 20;
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 0);
    c->finished.rest = UINT64_C(64) << 20;
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
}

/* --- bodies that stay --- */

static void
a_body_that_another_segment_names_goes_with_the_last_of_them(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a file");
    add_blob(c, 2, "a blob");
    write_segment(c, SEGMENT_A);
    add_blob(c, 3, "a blob");
    write_segment(c, SEGMENT_B);
    add_file(c, 4, "a", "a file");
    write_segment(c, SEGMENT_C);
    relay(c, 2);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(c->tally.bodies, 0);
    expect(c, "");
    relay(c, 1);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.bodies, 1);
    assert_int_equal(count(c, "blobs"), 0);
    expect(c, "");
    relay(c, 1);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.bodies, 1);
    assert_int_equal(count(c, "files") + count(c, "journal"), 0);
}

static void
what_was_changed_or_put_in_the_place_of_a_body_stays(void **state)
{
    static const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    struct context *c = *state;

    add_file(c, 1, "same-size", "one");
    add_file(c, 2, "longer", "one");
    add_file(c, 3, "link", "one");
    add_file(c, 4, "directory", "one");
    add_file(c, 5, "touched", "one");
    add_file(c, 6, "gone", "one");
    add_file(c, 7, "replaced", "one");
    follow_add(c->f, &c->lines, 8, "file", "replaced", "two");
    add_file(c, 9, "moved-here", "one");
    fixture_write(c->f, "files/replaced", "two", 3);
    write_segment(c, SEGMENT_A);
    usleep(20000); /* the time of a file is that of a tick */
    fixture_write(c->f, "files/same-size", "two", 3);
    fixture_write(c->f, "files/moved-here", "two", 3);
    assert_int_equal(utimensat(AT_FDCWD, fixture_path(c->f, "files/moved-here"), old, 0), 0);
    fixture_write(c->f, "files/longer", "three", 5);
    fixture_write(c->f, "files/touched", "one", 3);
    assert_int_equal(unlink(fixture_path(c->f, "files/link")), 0);
    assert_int_equal(symlink("longer", fixture_path(c->f, "files/link")), 0);
    assert_int_equal(unlink(fixture_path(c->f, "files/directory")), 0);
    assert_int_equal(mkdir(fixture_path(c->f, "files/directory"), 0750), 0);
    assert_int_equal(unlink(fixture_path(c->f, "files/gone")), 0);
    relay(c, 9);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(c->tally.bodies, 2); /* touched, replaced */
    assert_int_equal(count(c, "files"), 5);
}

/* Nothing of a path is followed out of files/. */
static void
a_link_on_the_way_to_a_body_is_not_followed(void **state)
{
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0750), 0);
    add_file(c, 1, "d/a", "a");
    write_segment(c, SEGMENT_A);
    assert_int_equal(rename(fixture_path(c->f, "files/d"), fixture_path(c->f, "elsewhere")), 0);
    assert_int_equal(symlink("../elsewhere", fixture_path(c->f, "files/d")), 0);
    relay(c, 1);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_true(fixture_exists(c->f, "elsewhere/a"));
}

/* --- beside commits --- */

/* Comes between the look through the rest of the journal and the names: the last moment. */
static int
open_and_commit(int dir_fd, const char *name, int flags)
{
    struct context *c = now;

    if (strcmp(name, "a") == 0 && c->calls++ == 0) {
        add_file(c, 9, "a", "a file");
        follow_write(c->f, SEGMENT_B, &c->lines, 0);
    }
    return file_ops_synced.open(dir_fd, name, flags);
}

static void
a_body_that_a_commit_uses_again_at_that_moment_stays(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a file");
    add_file(c, 2, "b", "another file");
    write_segment(c, SEGMENT_A);
    relay(c, 2);
    c->ops.open = open_and_commit;
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(c->tally.bodies, 1);
    expect(c, "");
    assert_true(fixture_exists(c->f, "files/a"));
}

/* Such a descriptor takes no locks. */
static int
open_root_without_locks(int dir_fd, const char *name, int flags)
{
    return file_ops_synced.open(dir_fd, name, dir_fd == AT_FDCWD ? flags | O_PATH : flags);
}

static int
sync_nothing(int fd)
{
    (void)fd;
    return 0;
}

static void
without_locks_nothing_goes_and_no_body_is_committed(void **state)
{
    struct context *c = *state;
    char error[HANDLER_ERROR_LEN];

    add_file(c, 1, "a", "a file");
    write_segment(c, SEGMENT_A);
    relay(c, 1);
    c->ops.open = open_root_without_locks;
    c->ops.sync_dir = sync_nothing;
    assert_int_equal(turn(c), -1);
    assert_int_equal(c->tally.segments + c->tally.bodies, 0);
    assert_true(fixture_exists(c->f, "files/a"));
    for (unsigned i = 0; i < 2; i++) {
        c->f->config.retain_relayed = i == 0;
        c->f->handler = journal_create_with(&c->f->host, &c->ops, error);
        assert_non_null(c->f->handler);
        journal_handler.submit(c->f->handler, fixture_message(c->f, MESSAGE_FILE, "b", "x", 1));
        journal_handler.finish(c->f->handler);
        assert_int_equal(c->f->settled[i].outcome, i == 0 ? PROTO_FAILED : PROTO_COMMITTED);
        journal_handler.destroy(c->f->handler);
    }
    c->f->handler = NULL;
}

/* A commit that gives numbers has the name without one. */
static void
nothing_goes_whose_name_a_commit_has(void **state)
{
    static const char *const names[] = {"files/a.1", "files/a"};
    const uint64_t file = dir_place(DIR_PLACE_ROOT, names[0], strlen(names[0]));
    struct context *c = *state;
    int root = open(c->f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    add_file(c, 1, "a.1", "a file");
    write_segment(c, SEGMENT_A);
    relay(c, 1);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        assert_int_equal(data_name_take(root, NAME_COMMITTED,
                                        dir_place(DIR_PLACE_ROOT, names[i], strlen(names[i]))),
                         0);
        assert_int_equal(turn(c), -1);
        assert_int_equal(errno, EBUSY);
        assert_int_equal(c->tally.segments + c->tally.bodies, 0);
        assert_false(data_name_is_taken(root, NAME_REMOVED, file));
        expect_while(c, "", NULL);
        data_names_give(root, NAME_COMMITTED);
    }
    assert_int_equal(data_name_take(root, NAME_COMMITTED, dir_place(DIR_PLACE_ROOT, "files/b", 7)),
                     0);
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.bodies, 1);
    assert_false(data_name_is_taken(root, NAME_REMOVED, file));
    assert_false(data_dir_has_commit(root, clock_mono_us()));
    close(root);
}

/* --- a relay that is stopped --- */

static int
stop_before_removing(int dir_fd, const char *name)
{
    if (now->calls++ == 0)
        raise(SIGSTOP);
    return file_ops_synced.remove(dir_fd, name);
}

static pid_t
start_and_stop(struct context *c)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        c->ops.remove = stop_before_removing;
        _exit(turn(c) == 0 && c->tally.bodies == 3 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

static enum proto_outcome
commit_file(struct context *c, const char *name, const char *body)
{
    unsigned before = c->f->settled_count;

    journal_handler.submit(c->f->handler,
                           fixture_message(c->f, MESSAGE_FILE, name, body, strlen(body)));
    WAIT_FOR((journal_handler.flush(c->f->handler, 0), journal_handler.complete(c->f->handler),
              c->f->settled_count > before),
             20000);
    return c->f->settled[before].outcome;
}

/* It is stopped between its look at the first body and the removal. */
static void
while_it_is_stopped_all_other_names_are_committed(void **state)
{
    static const char *const due[] = {"a", "b", "c"}, *const other[] = {"d", "e/f", "kept"};
    struct context *c = *state;
    int status;
    pid_t pid;

    for (unsigned i = 0; i < 3; i++)
        add_file(c, i + 1, due[i], due[i]);
    write_segment(c, SEGMENT_A);
    add_file(c, 4, "kept", "kept");
    write_segment(c, SEGMENT_B);
    relay(c, 3);
    fixture_open_journal(c->f, &file_ops_synced);
    pid = start_and_stop(c);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(commit_file(c, other[i], other[i]), PROTO_COMMITTED);
        assert_int_equal(commit_file(c, due[i], due[i]), PROTO_FAILED);
    }
    signal_send(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(commit_file(c, due[i], due[i]), PROTO_COMMITTED);
    journal_handler.destroy(c->f->handler);
    expect(c, "");
}

/* --- beside verify --- */

static int
remove_and_look(int dir_fd, const char *name)
{
    struct context *c = now;
    int root = open(c->f->config.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    c->calls += !data_dir_has_commit(root, clock_mono_us());
    close(root);
    return file_ops_synced.remove(dir_fd, name);
}

/* The first file has been read; the others are gone when it comes to them. */
static void
turn_while_files_are_read(void *arg, const struct verify_tally *so_far)
{
    struct context *c = arg;

    if (so_far->files == 1 && c->finished.count > 0) {
        assert_int_equal(turn(c), 0);
        assert_int_equal(c->tally.segments, 1);
        c->finished.count = 0;
    }
}

static void
verify_does_not_miss_what_is_removed_while_it_reads(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a");
    add_file(c, 2, "b", "b");
    add_blob(c, 3, "c");
    write_segment(c, SEGMENT_A);
    add_file(c, 4, "d", "d");
    write_segment(c, SEGMENT_B);
    relay(c, 3);
    c->ops.remove = remove_and_look;
    expect_while(c, "", turn_while_files_are_read);
    assert_int_equal(c->finished.count, 0);
    assert_int_equal(c->calls, 0); /* verify waits for a turn as for a commit */
    assert_int_equal(unlink(fixture_path(c->f, "files/d")), 0);
    expect(c, "missing files/d\n");
}

/* --- faults --- */

static int
remove_no_segment(int dir_fd, const char *name)
{
    if (!segment_is_name(name))
        return file_ops_synced.remove(dir_fd, name);
    errno = EIO;
    return -1;
}

static void
a_turn_that_was_cut_off_is_finished_by_the_next_one(void **state)
{
    struct context *c = *state;

    add_file(c, 1, "a", "a");
    write_segment(c, SEGMENT_A);
    relay(c, 1);
    c->ops.remove = remove_no_segment;
    assert_int_equal(turn(c), -1);
    assert_int_equal(errno, EIO);
    assert_int_equal(c->tally.bodies, 1);
    c->ops.remove = file_ops_synced.remove;
    assert_int_equal(turn(c), 0);
    assert_int_equal(c->tally.segments, 1);
    assert_int_equal(c->tally.bodies, 0);
    assert_int_equal(count(c, "journal"), 0);
}

/* Two segments with a body in common, and one that stays. */
static void
write_journal(struct context *c)
{
    assert_int_equal(mkdir(fixture_path(c->f, "files/d"), 0750), 0);
    add_file(c, 1, "a", "a");
    add_file(c, 2, "d/b", "b");
    add_blob(c, 3, "blob");
    write_segment(c, SEGMENT_A);
    add_blob(c, 4, "blob");
    add_file(c, 5, "a", "a");
    write_segment(c, SEGMENT_B);
    add_file(c, 6, "d/stays", "x");
    write_segment(c, SEGMENT_C);
}

static void
whichever_call_fails_the_next_turn_does_the_rest(void **state)
{
    struct context *c = *state;
    bool over = false;

    for (size_t call = 1; !over; call++) {
        fixture_remove_tree(fixture_path(c->f, "files/d"));
        (void)unlink(fixture_path(c->f, SEGMENT_C));
        (void)unlink(fixture_path(c->f, FOLLOW_POSITION));
        write_journal(c);
        relay(c, 5);
        disk_begin(c->f->dir);
        c->ops = *disk_ops();
        disk_fail(call, EIO);
        (void)turn(c);
        over = disk_failed() == NULL;
        disk_end();
        c->ops = file_ops_synced;
        relay(c, 0);
        assert_int_equal(turn(c), 0);
        assert_int_equal(count(c, "journal"), 1);
        assert_int_equal(count(c, "files") + count(c, "files/d"), 2);
        assert_int_equal(count(c, "blobs"), 0);
        expect(c, "");
        assert_true(call < 300);
    }
}

/* Whatever of a turn a power cut leaves: no body is left that no record names. */
static void
after_a_power_cut_the_next_turn_does_the_rest(void **state)
{
    struct context *c = *state;
    char states[300], *dir = c->f->config.data_dir;
    unsigned behind = 0;
    struct stat st;
    size_t calls;

    write_journal(c);
    relay(c, 5);
    disk_begin(c->f->dir);
    c->ops = *disk_ops();
    assert_int_equal(turn(c), 0);
    calls = disk_count();
    c->ops = file_ops_synced;
    snprintf(states, sizeof(states), "%s-cut", c->f->dir);
    for (size_t at = 0; at <= calls; at++) {
        for (uint64_t seed = 1; seed <= 10; seed++) {
            assert_int_equal(mkdir(states, 0750), 0);
            disk_cut(at, seed, states);
            assert_int_equal(stat(states, &st), 0);
            c->f->config.data_dir = states;
            c->f->config.data_inode = st.st_ino;
            relay(c, 0);
            assert_int_equal(turn(c), 0);
            behind += c->tally.segments > 0;
            expect(c, "");
            fixture_remove_tree(states);
        }
    }
    assert_true(behind > 10);
    c->f->config.data_dir = dir;
    disk_end();
}

static void
a_directory_with_locks_will_do(void **state)
{
    struct context *c = *state;
    char error[CONFIG_ERROR_LEN];

    assert_int_equal(retain_check(&c->f->config, error), 0);
    c->f->config.data_dir = (char *)(uintptr_t) "/nonexistent";
    assert_int_equal(retain_check(&c->f->config, error), -1);
    assert_non_null(strstr(error, "retain = relayed needs locks"));
    c->f->config.data_dir = c->f->dir;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_relayed_goes_with_its_files_and_blobs),
        TEST(what_was_not_relayed_or_not_saved_stays_with_all_behind_it),
        TEST(what_is_not_old_enough_or_still_written_stays),
        TEST(what_is_done_goes_where_there_is_no_room_to_save_that),
        TEST(a_segment_from_a_time_to_come_goes_by_the_age_of_its_ids),
        TEST(a_large_rest_of_the_journal_is_not_read_for_little),
        TEST(a_body_that_another_segment_names_goes_with_the_last_of_them),
        TEST(what_was_changed_or_put_in_the_place_of_a_body_stays),
        TEST(a_link_on_the_way_to_a_body_is_not_followed),
        TEST(a_body_that_a_commit_uses_again_at_that_moment_stays),
        TEST(without_locks_nothing_goes_and_no_body_is_committed),
        TEST(nothing_goes_whose_name_a_commit_has),
        TEST(while_it_is_stopped_all_other_names_are_committed),
        TEST(verify_does_not_miss_what_is_removed_while_it_reads),
        TEST(a_turn_that_was_cut_off_is_finished_by_the_next_one),
        TEST(whichever_call_fails_the_next_turn_does_the_rest),
        TEST(after_a_power_cut_the_next_turn_does_the_rest),
        TEST(a_directory_with_locks_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
