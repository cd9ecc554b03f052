#include "store_fixture.h"

#include "support/signals.h"

#include <signal.h>
#include <sys/wait.h>

/* Stores a body under a path; returns the code of its refusal, "" for success, "failed" else. */
static const char *
store_bytes(struct context *c, const char *path, const void *body, size_t n)
{
    struct message *m = fixture_message(c->f, MESSAGE_FILE, path, body, n);

    c->put = (struct store_put){.m = m};
    store_run(&c->store, &c->put, 1);
    message_destroy(m);
    if (c->put.outcome.is == PROTO_COMMITTED)
        return "";
    return c->put.outcome.is == PROTO_REFUSED ? c->put.outcome.code : "failed";
}

static const char *
store_file(struct context *c, const char *path, const char *body)
{
    return store_bytes(c, path, body, strlen(body));
}

static void
assert_file(struct context *c, const char *path, const char *expected)
{
    char name[300], *data;

    snprintf(name, sizeof(name), "files/%s", path);
    data = fixture_read(c->f, name, NULL);
    assert_non_null(data);
    assert_string_equal(data, expected);
    free(data);
}

static void
assert_no_leftovers(struct context *c)
{
    assert_int_equal(fixture_count(c->f, ".", ".msockd", NULL), 0);
}

static void
a_file_appears_whole_with_its_directories(void **state)
{
    struct context *c = *state;
    struct stat st;
    mode_t mask = umask(0);

    assert_string_equal(store_file(c, "a/b/c.txt", "body"), "");
    umask(mask);
    assert_file(c, "a/b/c.txt", "body");
    assert_int_equal(stat(fixture_path(c->f, "files/a/b/c.txt"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(faults.data_syncs, 1);
    assert_int_equal(faults.dir_syncs, 3); /* files/, files/a/, files/a/b/ */
    assert_string_equal(store_file(c, "empty", ""), "");
    assert_file(c, "empty", "");
    assert_no_leftovers(c);
}

static void
a_large_body_is_linked_and_not_copied(void **state)
{
    struct context *c = *state;
    char body[20000];
    struct stat before, after;
    struct message *m;

    memset(body, 'x', sizeof(body));
    m = fixture_message(c->f, MESSAGE_FILE, "large", body, sizeof(body));
    assert_true(m->fd >= 0);
    assert_int_equal(fstat(m->fd, &before), 0);
    c->put = (struct store_put){.m = m};
    store_run(&c->store, &c->put, 1);
    assert_int_equal(c->put.outcome.is, PROTO_COMMITTED);
    assert_int_equal(stat(fixture_path(c->f, "files/large"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(faults.writes, 0);
    message_destroy(m);
}

static void
a_body_that_cannot_be_linked_is_copied(void **state)
{
    struct context *c = *state;
    char path[300], body[9000];
    struct message *m = fixture_message(c->f, MESSAGE_FILE, "copied", "", 0);

    memset(body, 'y', sizeof(body));
    snprintf(path, sizeof(path), "%s/spill-XXXXXX", c->f->dir);
    m->fd = mkostemp(path, O_CLOEXEC);
    ledger_take_descriptor(&c->f->store.ledger);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fd_pwrite_all(m->fd, body, sizeof(body), 0), 0);
    m->size = sizeof(body);
    digest_sha256(c->f->store.digester, body, sizeof(body), m->sha256);
    c->store.on_conflict = ON_CONFLICT_REPLACE;
    for (unsigned round = 0; round < 4; round++) {
        c->put = (struct store_put){.m = m};
        if (round == 2) {
            faults.no_link = true;
            message_set_value(m, "copied-to-a-name", 16);
        }
        store_run(&c->store, &c->put, 1);
        assert_int_equal(c->put.outcome.is, PROTO_COMMITTED);
        assert_no_leftovers(c);
    }
    message_destroy(m);
    for (unsigned round = 0; round < 2; round++) {
        size_t n = 0;
        char *data = fixture_read(c->f, round == 0 ? "files/copied" : "files/copied-to-a-name", &n);

        assert_int_equal(n, sizeof(body));
        assert_memory_equal(data, body, n);
        free(data);
    }
}

static void
what_is_there_is_kept_and_the_same_again_is_a_duplicate(void **state)
{
    struct context *c = *state;

    assert_string_equal(store_file(c, "a", "first"), "");
    assert_false(c->put.duplicate);
    assert_string_equal(store_file(c, "a", "other"), "exists");
    assert_string_equal(store_file(c, "a", "longer than that"), "exists");
    faults.data_syncs = faults.dir_syncs = 0;
    assert_string_equal(store_file(c, "a", "first"), "");
    assert_true(c->put.duplicate);
    assert_int_equal(faults.data_syncs, 2); /* the new body, and what is there */
    assert_int_equal(faults.dir_syncs, 1);
    assert_file(c, "a", "first");
    assert_int_equal(mkdir(fixture_path(c->f, "files/dir"), 0750), 0);
    assert_string_equal(store_file(c, "dir", "x"), "exists");
    assert_int_equal(mkfifo(fixture_path(c->f, "files/fifo"), 0640), 0);
    assert_string_equal(store_file(c, "fifo", ""), "exists");
    assert_no_leftovers(c);
}

static void
a_file_is_replaced_in_one_step(void **state)
{
    struct context *c = *state;
    char old[16] = "";
    int fd;

    c->store.on_conflict = ON_CONFLICT_REPLACE;
    assert_string_equal(store_file(c, "d/a", "first"), "");
    fd = open(fixture_path(c->f, "files/d/a"), O_RDONLY | O_CLOEXEC);
    assert_string_equal(store_file(c, "d/a", "second"), "");
    assert_file(c, "d/a", "second");
    assert_int_equal(fd_read(fd, old, sizeof(old) - 1), 5); /* who reads the old one reads on */
    assert_string_equal(old, "first");
    fd_close(&fd);
    assert_int_equal(mkdir(fixture_path(c->f, "files/dir"), 0750), 0);
    assert_string_equal(store_file(c, "dir", "x"), "exists");
    assert_no_leftovers(c);
}

static void
a_file_gets_the_next_free_number(void **state)
{
    struct context *c = *state;
    char name[STORE_NAME_LEN], longest[256];
    struct message *m;

    c->store.on_conflict = ON_CONFLICT_NUMBER;
    assert_string_equal(store_file(c, "d/a", "zero"), "");
    assert_string_equal(store_file(c, "d/a", "one"), "");
    assert_string_equal(store_file(c, "d/a", "two"), "");
    assert_file(c, "d/a", "zero");
    assert_file(c, "d/a.1", "one");
    assert_file(c, "d/a.2", "two");
    m = fixture_message(c->f, MESSAGE_FILE, "d/a", "three", 5);
    c->put = (struct store_put){.m = m};
    store_run(&c->store, &c->put, 1);
    assert_string_equal(store_name(&c->put, name), "d/a.3");
    message_destroy(m);
    memset(longest, 'n', 255);
    longest[255] = '\0';
    assert_string_equal(store_file(c, longest, "x"), "");
    assert_string_equal(store_file(c, longest, "y"), "bad-path");
}

/* Whatever a consumer has taken meanwhile. The bodies have one size, so that all must be read. */
static void
a_file_that_is_there_under_a_higher_number_gets_no_lower_one(void **state)
{
    struct context *c = *state;
    char body[16], path[16];

    c->store.on_conflict = ON_CONFLICT_NUMBER;
    for (unsigned i = 0; i < 30; i++) {
        snprintf(body, sizeof(body), "content %02u", i);
        assert_string_equal(store_file(c, "r", body), "");
        assert_int_equal(c->put.number, i);
    }
    assert_int_equal(unlink(fixture_path(c->f, "files/r.1")), 0);
    assert_string_equal(store_file(c, "r", "content 02"), "");
    assert_true(c->put.duplicate);
    assert_int_equal(c->put.number, 2);
    assert_int_equal(unlink(fixture_path(c->f, "files/r")), 0);
    for (unsigned i = 2; i < 29; i++) {
        snprintf(path, sizeof(path), "files/r.%u", i);
        assert_int_equal(unlink(fixture_path(c->f, path)), 0);
    }
    assert_string_equal(store_file(c, "r", "content 29"), "");
    assert_true(c->put.duplicate);
    assert_int_equal(c->put.number, 29);
    assert_string_equal(store_file(c, "r", "new"), "");
    assert_int_equal(c->put.number, 0);
    assert_int_equal(fixture_count(c->f, "files", "", NULL), 2);
    assert_no_leftovers(c);
}

static void
no_link_and_no_file_in_the_way_is_followed(void **state)
{
    static const enum on_conflict ways[] = {ON_CONFLICT_KEEP, ON_CONFLICT_REPLACE,
                                            ON_CONFLICT_NUMBER};
    struct context *c = *state;

    assert_int_equal(mkdir(fixture_path(c->f, "outside"), 0750), 0);
    assert_int_equal(symlink("../outside", fixture_path(c->f, "files/link")), 0);
    assert_int_equal(symlink("../outside/target", fixture_path(c->f, "files/leaf")), 0);
    assert_int_equal(symlink("/proc/self/cwd", fixture_path(c->f, "files/magic")), 0);
    assert_string_equal(store_file(c, "plain", "x"), "");
    for (size_t i = 0; i < MS_ARRAY_LEN(ways) * 2; i++) {
        c->store.on_conflict = ways[i / 2];
        faults.no_beneath = i % 2 == 1;
        assert_string_equal(store_file(c, "link/a", "x"), "bad-path");
        assert_string_equal(store_file(c, "link/new/a", "x"), "bad-path");
        assert_string_equal(store_file(c, "magic/a", "x"), "bad-path");
        assert_string_equal(store_file(c, "leaf", "x"), "bad-path");
        assert_string_equal(store_file(c, "plain/a", "x"), "bad-path");
        assert_string_equal(store_file(c, "plain/new/a", "x"), "bad-path");
    }
    assert_int_equal(fixture_count(c->f, "outside", "", NULL), 0);
    assert_int_equal(rmdir(fixture_path(c->f, "outside")), 0);
    assert_no_leftovers(c);
}

static void
a_path_that_was_never_checked_is_refused_all_the_same(void **state)
{
    static const char *const paths[] = {"",      "/a",   "../a", "a/../b", "a/..", ".",
                                        "a/./b", "a//b", "a/",   "..",     "\xff"};
    struct context *c = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(paths); i++) {
        assert_string_equal(store_file(c, paths[i], "x"), "bad-path");
        faults.no_beneath = !faults.no_beneath;
    }
    assert_int_equal(fixture_count(c->f, "files", "", NULL), 0);
}

static void
names_of_our_own_are_refused(void **state)
{
    static const char *const ours[] = {".msockd-", ".msockd-AAAAAAAAAAAAAAAAAAAAAAAA",
                                       "a/.msockd-AAAAAAAAAAAAAAAAAAAAAAAAAA", ".msockd-x/a"};
    struct context *c = *state;

    c->store.on_conflict = ON_CONFLICT_NUMBER;
    for (size_t i = 0; i < MS_ARRAY_LEN(ours); i++)
        assert_string_equal(store_file(c, ours[i], "x"), "bad-path");
    assert_int_equal(fixture_count(c->f, "files", "", NULL), 0);
    assert_string_equal(store_file(c, ".msockd", "x"), "");
    assert_string_equal(store_file(c, "a.msockd-/x.msockd-", "x"), "");
}

static void
without_openat2_and_unnamed_files_all_is_the_same(void **state)
{
    struct context *c = *state;

    faults.no_beneath = true;
    faults.no_link = true;
    assert_string_equal(store_file(c, "a/b/c", "body"), "");
    assert_string_equal(store_file(c, "a/b/c", "body"), "");
    assert_true(c->put.duplicate);
    assert_string_equal(store_file(c, "a/b/c", "else"), "exists");
    c->store.on_conflict = ON_CONFLICT_REPLACE;
    assert_string_equal(store_file(c, "a/b/c", "else"), "");
    assert_file(c, "a/b/c", "else");
    c->store.on_conflict = ON_CONFLICT_NUMBER;
    assert_string_equal(store_file(c, "a/b/c", "more"), "");
    assert_file(c, "a/b/c.1", "more");
    assert_no_leftovers(c);
}

static void
a_full_disk_is_no_space_and_another_error_is_a_failure(void **state)
{
    struct context *c = *state;

    faults.write_error = ENOSPC;
    faults.write_errors = 1;
    assert_string_equal(store_file(c, "a", "body"), "no-space");
    faults.write_error = EDQUOT;
    faults.write_errors = 1;
    faults.no_link = true;
    assert_string_equal(store_file(c, "a", "body"), "no-space");
    faults.data_error = EIO;
    faults.data_errors = 1;
    assert_string_equal(store_file(c, "a", "body"), "failed");
    assert_false(fixture_exists(c->f, "files/a"));
    faults.dir_error = EIO;
    faults.dir_errors = 1;
    assert_string_equal(store_file(c, "d/a", "body"), "failed");
    assert_string_equal(store_file(c, "d/a", "body"), "failed"); /* files/ is not used again */
    assert_false(fixture_exists(c->f, "files/d/a"));
    assert_no_leftovers(c);
}

static void
a_directory_without_room_is_used_again_and_the_names_in_it_are_given_anew(void **state)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG};
    struct context *c = *state;
    struct stat before, after;

    for (size_t i = 0; i < MS_ARRAY_LEN(errors); i++) {
        faults.dir_error = errors[i];
        faults.dir_errors = 1;
        assert_string_equal(store_file(c, "d/e/a", "body"), "no-space");
        assert_int_equal(c->put.outcome.error, errors[i]);
        assert_false(fixture_exists(c->f, "files/d")); /* its name may not be on the disk */
    }
    assert_string_equal(store_file(c, "d/e/a", "body"), "");
    faults.dir_error = ENOSPC;
    faults.dir_errors = 1;
    assert_string_equal(store_file(c, "d/e/b", "body"), "failed"); /* it has its name by then */
    assert_int_equal(stat(fixture_path(c->f, "files/d/e/b"), &before), 0);
    assert_string_equal(store_file(c, "d/e/b", "body"), "");
    assert_true(c->put.duplicate);
    assert_int_equal(stat(fixture_path(c->f, "files/d/e/b"), &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
    assert_string_equal(store_file(c, "d/e/b", "other"), "exists");
    assert_no_leftovers(c);
}

/* What cannot be told is no reason to refuse a retry for good. */
static void
a_file_that_cannot_be_compared_is_a_failure_and_no_conflict(void **state)
{
    static const enum on_conflict ways[] = {ON_CONFLICT_KEEP, ON_CONFLICT_REPLACE,
                                            ON_CONFLICT_NUMBER};
    struct context *c = *state;

    assert_string_equal(store_file(c, "a", "body"), "");
    for (size_t i = 0; i < MS_ARRAY_LEN(ways); i++) {
        c->store.on_conflict = ways[i];
        faults.skip_data = 1; /* the new body is safe, what is there is not */
        faults.data_error = EIO;
        faults.data_errors = 1;
        assert_string_equal(store_file(c, "a", "body"), "failed");
        faults = (struct faults){0};
        assert_string_equal(store_file(c, "a", "body"), "");
        assert_true(c->put.duplicate);
    }
    assert_int_equal(fixture_count(c->f, "files", "", NULL), 1);
}

/* More than are known at first, and in one group as well as one by one. */
static void
any_number_of_directories_is_made_safe(void **state)
{
    struct context *c = *state;
    struct store_put puts[900];
    char path[64];

    for (unsigned i = 0; i < MS_ARRAY_LEN(puts); i++) {
        snprintf(path, sizeof(path), "group/%u/x", i);
        puts[i] = (struct store_put){.m = fixture_message(c->f, MESSAGE_FILE, path, "body", 4)};
    }
    store_run(&c->store, puts, MS_ARRAY_LEN(puts));
    for (unsigned i = 0; i < MS_ARRAY_LEN(puts); i++) {
        assert_int_equal(puts[i].outcome.is, PROTO_COMMITTED);
        message_destroy(puts[i].m);
    }
    for (unsigned i = 0; i < 900; i++) {
        snprintf(path, sizeof(path), "single/%u/x", i);
        assert_string_equal(store_file(c, path, "body"), "");
    }
    faults.dir_syncs = 0;
    assert_string_equal(store_file(c, "group/0/y", "body"), "");
    assert_int_equal(faults.dir_syncs, 1); /* it is still known */
}

/* Where it was renamed to, its name may not be on the disk, nor those above it. */
static void
a_directory_that_somebody_renamed_is_made_safe_again(void **state)
{
    struct context *c = *state;

    assert_string_equal(store_file(c, "d/e/one", "x"), "");
    assert_int_equal(rename(fixture_path(c->f, "files/d"), fixture_path(c->f, "files/m")), 0);
    for (unsigned round = 0; round < 2; round++) {
        faults.no_beneath = round == 1;
        faults.dir_syncs = 0;
        assert_string_equal(store_file(c, round == 0 ? "m/e/two" : "m/two", "x"), "");
        assert_int_equal(faults.dir_syncs, round == 0 ? 3 : 1); /* files/, m/, m/e/; m/ */
    }
}

/* As if the file system had no time of birth and a directory of before had this inode. */
static struct context *known_before;

static int
make_dir_with_a_known_inode(int dir_fd, const char *name)
{
    int rc = file_ops_synced.make_dir(dir_fd, name);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    dir_set_named(&known_before->syncs, fd, dir_place(DIR_PLACE_ROOT, "files/d", 7));
    fd_close(&fd);
    return rc;
}

static void
a_directory_that_was_just_made_is_made_safe_whatever_had_its_inode(void **state)
{
    struct context *c = *state;
    struct file_ops ops = *c->store.ops;

    ops.make_dir = make_dir_with_a_known_inode;
    known_before = c;
    c->store.ops = &ops;
    assert_string_equal(store_file(c, "d/one", "x"), "");
    assert_int_equal(faults.dir_syncs, 2); /* files/, d/ */
}

static void
one_that_is_refused_does_not_hurt_the_others(void **state)
{
    struct context *c = *state;
    struct store_put puts[200];

    assert_string_equal(store_file(c, "taken", "x"), "");
    faults.dir_syncs = 0;
    for (unsigned i = 0; i < MS_ARRAY_LEN(puts); i++) {
        char path[32];

        snprintf(path, sizeof(path), i % 10 == 3 ? "taken" : "many/%u", i);
        puts[i] = (struct store_put){.m = fixture_message(c->f, MESSAGE_FILE, path, "body", 4)};
    }
    store_run(&c->store, puts, MS_ARRAY_LEN(puts));
    for (unsigned i = 0; i < MS_ARRAY_LEN(puts); i++) {
        assert_int_equal(puts[i].outcome.is, i % 10 == 3 ? PROTO_REFUSED : PROTO_COMMITTED);
        message_destroy(puts[i].m);
    }
    assert_int_equal(fixture_count(c->f, "files/many", "", NULL), 180);
    assert_in_range(faults.dir_syncs, 2, 8); /* once each in a group, not once each file */
}

static void
a_directory_that_is_swapped_for_a_link_leads_nowhere(void **state)
{
    struct context *c = *state;
    pid_t pid;

    assert_int_equal(mkdir(fixture_path(c->f, "outside"), 0750), 0);
    assert_int_equal(mkdir(fixture_path(c->f, "files/swap"), 0750), 0);
    assert_int_equal(symlink("../outside", fixture_path(c->f, "files/other")), 0);
    pid = fork();
    if (pid == 0) {
        for (;;)
            (void)renameat2(AT_FDCWD, fixture_path(c->f, "files/swap"), AT_FDCWD,
                            fixture_path(c->f, "files/other"), RENAME_EXCHANGE);
    }
    for (unsigned i = 0; i < 400; i++) {
        char path[64];
        const char *code;

        snprintf(path, sizeof(path), i % 3 == 0 ? "swap/%u" : "swap/d%u/x", i);
        faults.no_beneath = i % 2 == 0;
        code = store_file(c, path, "x");
        assert_true(strcmp(code, "") == 0 || strcmp(code, "bad-path") == 0);
    }
    signal_send(pid, 9);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(fixture_count(c->f, "outside", "", NULL), 0);
}

static void
another_file_system_beneath_gets_a_copy(void **state)
{
    struct context *c = *state;
    char body[20000];

    assert_int_equal(mkdir(fixture_path(c->f, "files/disk"), 0750), 0);
    if (!fixture_mount(fixture_path(c->f, "files/disk"), "size=1m"))
        skip();
    data_dirs_close(&c->dirs); /* what was open before still sees what was there before */
    assert_int_equal(data_dirs_open(&c->dirs, &c->f->config, &c->syncs), 0);
    memset(body, 'x', sizeof(body));
    assert_string_equal(store_file(c, "disk/small", "body"), "");
    assert_string_equal(store_bytes(c, "disk/d/large", body, sizeof(body)), "");
    assert_file(c, "disk/small", "body");
    c->store.on_conflict = ON_CONFLICT_REPLACE;
    assert_string_equal(store_file(c, "disk/small", "other"), "");
    assert_file(c, "disk/small", "other");
    c->store.on_conflict = ON_CONFLICT_NUMBER;
    assert_string_equal(store_file(c, "disk/small", "third"), "");
    assert_file(c, "disk/small.1", "third");
    assert_int_equal(fixture_count(c->f, "files/disk", "", NULL), 3);
    assert_no_leftovers(c);
    assert_int_equal(umount2(fixture_path(c->f, "files/disk"), MNT_DETACH), 0);
}

/* Whoever removes a body knows it by its path. */
static void
a_commit_and_a_removal_mean_the_same_name(void **state)
{
    static const char *const paths[] = {"a", "a/much/longer/path", "b"};
    struct context *c = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(paths); i++) {
        struct message *m = fixture_message(c->f, MESSAGE_FILE, paths[i], "x", 1);
        char path[96], hex[2 * SHA256_LEN + 1];

        snprintf(path, sizeof(path), "files/%s", paths[i]);
        assert_true(store_place_of(&(struct store_put){.m = m}) ==
                    dir_place(DIR_PLACE_ROOT, path, strlen(path)));
        digest_hex(m->sha256, SHA256_LEN, hex);
        snprintf(path, sizeof(path), "blobs/%.*s", 2 * SHA256_LEN, hex);
        assert_true(store_place_of(&(struct store_put){.m = m, .blob = true}) ==
                    dir_place(DIR_PLACE_ROOT, path, strlen(path)));
        message_destroy(m);
    }
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_appears_whole_with_its_directories),
        TEST(a_large_body_is_linked_and_not_copied),
        TEST(a_body_that_cannot_be_linked_is_copied),
        TEST(what_is_there_is_kept_and_the_same_again_is_a_duplicate),
        TEST(a_file_is_replaced_in_one_step),
        TEST(a_file_gets_the_next_free_number),
        TEST(a_file_that_is_there_under_a_higher_number_gets_no_lower_one),
        TEST(no_link_and_no_file_in_the_way_is_followed),
        TEST(a_path_that_was_never_checked_is_refused_all_the_same),
        TEST(names_of_our_own_are_refused),
        TEST(a_commit_and_a_removal_mean_the_same_name),
        TEST(without_openat2_and_unnamed_files_all_is_the_same),
        TEST(a_full_disk_is_no_space_and_another_error_is_a_failure),
        TEST(a_directory_without_room_is_used_again_and_the_names_in_it_are_given_anew),
        TEST(a_file_that_cannot_be_compared_is_a_failure_and_no_conflict),
        TEST(any_number_of_directories_is_made_safe),
        TEST(a_directory_that_somebody_renamed_is_made_safe_again),
        TEST(a_directory_that_was_just_made_is_made_safe_whatever_had_its_inode),
        TEST(one_that_is_refused_does_not_hurt_the_others),
        TEST(a_directory_that_is_swapped_for_a_link_leads_nowhere),
        TEST(another_file_system_beneath_gets_a_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
