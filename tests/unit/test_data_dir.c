#include "handler_fixture.h"

#include <poll.h>
#include <pwd.h>
#include <sys/wait.h>

static struct config *
config_for(struct fixture *f, const char *data_dir)
{
    f->config.data_dir = (char *)(uintptr_t)data_dir;
    return &f->config;
}

static void
assert_directory(struct fixture *f, const char *name, mode_t mode)
{
    struct stat st;

    assert_int_equal(stat(fixture_path(f, name), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, mode);
}

static void
all_that_is_missing_is_created(void **state)
{
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN];
    char *dir = ms_strdup(fixture_path(f, "deep/er/data"));
    mode_t mask = umask(022);

    assert_int_equal(data_dir_prepare(config_for(f, dir), NULL, error), 0);
    assert_int_equal(data_dir_prepare(config_for(f, dir), NULL, error), 0);
    umask(mask);
    assert_directory(f, "deep/er/data", 0750);
    assert_directory(f, "deep/er/data/journal", 0750);
    assert_directory(f, "deep/er/data/files", 0750);
    assert_directory(f, "deep/er/data/blobs", 0750);
    free(dir);
}

static void
what_is_in_the_way_is_named(void **state)
{
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN], expected[CONFIG_ERROR_LEN];

    fixture_write(f, "file", "x", 1);
    assert_int_equal(data_dir_prepare(config_for(f, fixture_path(f, "file")), NULL, error), -1);
    snprintf(expected, sizeof(expected), "the data directory %s cannot be created: Not a directory",
             fixture_path(f, "file"));
    assert_string_equal(error, expected);

    assert_int_equal(rmdir(fixture_path(f, "files")), 0);
    fixture_write(f, "files", "x", 1);
    assert_int_equal(data_dir_prepare(config_for(f, f->dir), NULL, error), -1);
    snprintf(expected, sizeof(expected), "the data directory %s cannot be written: Not a directory",
             fixture_path(f, "files"));
    assert_string_equal(error, expected);
}

static void
the_workers_user_gets_what_is_created_and_must_be_able_to_write(void **state)
{
    struct fixture *f = *state;
    const struct passwd *nobody = getpwnam("nobody");
    char error[CONFIG_ERROR_LEN];
    char *dir = ms_strdup(fixture_path(f, "data"));
    struct stat st;

    if (geteuid() != 0 || nobody == NULL) {
        free(dir);
        skip();
    }
    assert_int_equal(chmod(f->dir, 0755), 0);
    config_for(f, dir)->user = (char *)(uintptr_t) "nobody";
    f->config.uid = nobody->pw_uid;
    f->config.gid = nobody->pw_gid;
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
    assert_int_equal(stat(fixture_path(f, "data/files"), &st), 0);
    assert_int_equal(st.st_uid, nobody->pw_uid);
    assert_int_equal(st.st_gid, nobody->pw_gid);

    assert_int_equal(chmod(fixture_path(f, "data/blobs"), 0550), 0);
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), -1);
    assert_non_null(
        strstr(error, "data/blobs cannot be written by user nobody: Permission denied"));
    free(dir);
}

/* Makes f's workers run as nobody. False where that cannot be. */
static bool
workers_are_nobody(struct fixture *f)
{
    const struct passwd *nobody = getpwnam("nobody");

    if (geteuid() != 0 || nobody == NULL)
        return false;
    f->config.user = (char *)(uintptr_t) "nobody";
    f->config.uid = nobody->pw_uid;
    f->config.gid = nobody->pw_gid;
    return chmod(f->dir, 0755) == 0;
}

static void
expect_distrust(struct fixture *f, const char *said, const char *path, const char *mend)
{
    char error[CONFIG_ERROR_LEN], expected[CONFIG_ERROR_LEN];

    snprintf(expected, sizeof(expected), "%.120s %s: %s %.120s", path, said, mend, path);
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), -1);
    assert_string_equal(error, expected);
    assert_int_equal(data_dir_trust(&f->config, error), -1);
    assert_string_equal(error, expected);
}

static void
nobody_else_may_write_into_any_of_the_directories(void **state)
{
    static const char *const parts[] = {"", "/journal", "/files", "/blobs"};
    static const mode_t modes[] = {0770, 0752, 03777};
    struct fixture *f = *state;
    char path[300], said[120], error[CONFIG_ERROR_LEN];

    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        snprintf(path, sizeof(path), "%s%s", f->dir, parts[i]);
        for (size_t k = 0; k < MS_ARRAY_LEN(modes); k++) {
            assert_int_equal(chmod(path, modes[k]), 0);
            snprintf(said, sizeof(said),
                     "may be written by others than its owner, uid %u (mode %04o)",
                     (unsigned)geteuid(), (unsigned)modes[k]);
            expect_distrust(f, said, path, "chmod go-w");
        }
        assert_int_equal(chmod(path, 0755), 0);
        assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
    }
}

static void
each_of_the_directories_must_be_the_workers(void **state)
{
    static const char *const parts[] = {"", "/journal", "/files", "/blobs"};
    struct fixture *f = *state;
    char path[300], said[120], mend[40], error[CONFIG_ERROR_LEN];

    if (!workers_are_nobody(f))
        skip();
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        snprintf(path, sizeof(path), "%s%s", f->dir, parts[i]);
        snprintf(said, sizeof(said), "belongs to uid 0 (mode %s), and the workers are uid %u",
                 i == 0 ? "0755" : "0750", (unsigned)f->config.uid);
        snprintf(mend, sizeof(mend), "chown -R %u", (unsigned)f->config.uid);
        expect_distrust(f, said, path, mend);
        assert_int_equal(chown(path, f->config.uid, f->config.gid), 0);
    }
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
}

static void
a_link_among_the_parts_is_not_followed_but_the_data_directory_may_be_one(void **state)
{
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN];
    char *dir = ms_strdup(fixture_path(f, "data")), *link = ms_strdup(fixture_path(f, "link"));

    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(symlink("data", link), 0);
    assert_int_equal(data_dir_prepare(config_for(f, link), NULL, error), 0);
    assert_directory(f, "data/journal", 0750);

    assert_int_equal(rmdir(fixture_path(f, "data/journal")), 0);
    assert_int_equal(symlink(f->dir, fixture_path(f, "data/journal")), 0);
    assert_int_equal(data_dir_prepare(config_for(f, link), NULL, error), -1);
    assert_non_null(strstr(error, "link/journal cannot be written"));
    assert_int_equal(unlink(fixture_path(f, "data/journal")), 0);
    free(dir);
    free(link);
}

/* As the workers' user: puts one directory of root's, and a link to it, under the name of a part as
 * soon as that is made. */
static _Noreturn void
swap_run(const struct config *config, int data_fd, int stop_fd)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};

    if (setresgid(config->gid, config->gid, config->gid) < 0 ||
        setresuid(config->uid, config->uid, config->uid) < 0)
        _exit(1);
    while (poll(&stop, 1, 0) == 0) {
        if (unlinkat(data_fd, "files", AT_REMOVEDIR) == 0)
            (void)!symlinkat("../roots", data_fd, "files");
        (void)renameat2(data_fd, "own", data_fd, "blobs", RENAME_EXCHANGE);
    }
    _exit(0);
}

static void
nothing_else_of_roots_is_ever_given_away(void **state)
{
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN];
    char *dir = ms_strdup(fixture_path(f, "data"));
    int stop[2], status, data_fd;
    struct stat st, own;
    pid_t pid;

    if (!workers_are_nobody(f)) {
        free(dir);
        skip();
    }
    assert_int_equal(data_dir_prepare(config_for(f, dir), NULL, error), 0);
    assert_int_equal(mkdir(fixture_path(f, "roots"), 0755), 0);
    assert_int_equal(mkdir(fixture_path(f, "data/own"), 0755), 0);
    fixture_write(f, "data/own/kept", "x", 1);
    assert_int_equal(stat(fixture_path(f, "data/own"), &own), 0);
    data_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(pipe(stop), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        swap_run(&f->config, data_fd, stop[0]);
    for (int i = 0; i < 300; i++) {
        (void)unlinkat(data_fd, "files", 0);
        (void)unlinkat(data_fd, "files", AT_REMOVEDIR);
        (void)unlinkat(data_fd, "blobs", AT_REMOVEDIR);
        (void)!data_dir_prepare(&f->config, NULL, error);
    }
    assert_int_equal(write(stop[1], "x", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(stat(fixture_path(f, "roots"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    if (stat(fixture_path(f, "data/own"), &st) < 0 || st.st_ino != own.st_ino)
        assert_int_equal(stat(fixture_path(f, "data/blobs"), &st), 0);
    assert_int_equal(st.st_ino, own.st_ino);
    assert_int_equal(st.st_uid, 0);
    close(stop[0]);
    close(stop[1]);
    close(data_fd);
    free(dir);
}

static void
a_spill_file_can_be_linked_into_files(void **state)
{
    struct fixture *f = *state;
    int fd = data_dir_spill_open(&f->config), dir_fd;
    char byte = 0;

    assert_true(fd >= 0);
    assert_int_equal(fd_pwrite_all(fd, "abc", 3, 0), 0);
    assert_int_equal(fd_pread_all(fd, &byte, 1, 2), 0);
    assert_int_equal(byte, 'c');
    dir_fd = open(fixture_path(f, "files"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_ops_synced.link_fd(fd, dir_fd, "linked"), 0);
    assert_true(fixture_exists(f, "files/linked"));
    fd_close(&dir_fd);
    fd_close(&fd);
}

static void
a_spill_file_needs_the_data_directory_only(void **state)
{
    struct fixture *f = *state;
    int fd;

    assert_int_equal(rmdir(fixture_path(f, "files")), 0);
    fd = data_dir_spill_open(&f->config);
    assert_true(fd >= 0);
    fd_close(&fd);
    assert_int_equal(fixture_count(f, ".", ".msockd", NULL), 0);
    fixture_remove_tree(f->dir);
    assert_int_equal(data_dir_spill_open(&f->config), -1);
    assert_int_equal(errno, ENOENT);
}

static void
directories_that_go_away_are_created_again_but_not_the_data_directory(void **state)
{
    struct fixture *f = *state;
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct dir_syncs syncs;
    uint64_t opened;
    char aside[300];

    dir_syncs_init(&syncs, &file_ops_synced);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    opened = dirs.opened;
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    assert_int_equal(dirs.opened, opened);
    assert_int_equal(rename(fixture_path(f, "journal"), fixture_path(f, "journal.old")), 0);
    assert_int_equal(rmdir(fixture_path(f, "blobs")), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    assert_int_equal(dirs.opened, opened + 2);
    assert_true(fixture_exists(f, "journal"));
    assert_true(fixture_exists(f, "blobs"));
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    assert_int_equal(rename(f->dir, aside), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), -1);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(dirs.root, -1);
    assert_int_equal(mkdir(f->dir, 0750), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), -1);
    assert_int_equal(errno, ESTALE);
    assert_false(fixture_exists(f, "files"));
    assert_int_equal(rmdir(f->dir), 0);
    assert_int_equal(rename(aside, f->dir), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0); /* it is back */
    data_dirs_close(&dirs);
    dir_syncs_fini(&syncs);
}

static void
another_directory_is_not_taken_for_the_one_in_use(void **state)
{
    struct fixture *f = *state;
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    char error[CONFIG_ERROR_LEN], id[DATA_ID_LEN + 1];
    struct config now = f->config;
    struct dir_syncs syncs;

    memcpy(id, f->config.data_id, sizeof(id));
    assert_int_equal(strlen(id), DATA_ID_LEN);
    assert_int_equal(data_dir_prepare(&f->config, &now, error), 0);
    assert_string_equal(f->config.data_id, id);
    dir_syncs_init(&syncs, &file_ops_synced);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    assert_int_equal(unlink(fixture_path(f, DATA_DIR_MARKER)), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), -1);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(data_dir_prepare(&f->config, &now, error), -1);
    assert_non_null(strstr(error, "is its file system mounted?"));
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0); /* a start takes it as it is */
    assert_string_not_equal(f->config.data_id, id);
    fixture_write(f, DATA_DIR_MARKER, "no uuid", 7);
    assert_int_equal(data_dir_prepare(&f->config, NULL, error), -1);
    assert_non_null(strstr(error, "it holds no UUID"));
    data_dirs_close(&dirs);
    dir_syncs_fini(&syncs);
}

static void
a_copy_of_the_directory_in_use_is_not_taken_for_it(void **state)
{
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN], aside[300], marker[DATA_ID_LEN + 8];
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct config now = f->config;
    struct dir_syncs syncs;

    snprintf(marker, sizeof(marker), "%s\n", f->config.data_id);
    snprintf(aside, sizeof(aside), "%s.aside", f->dir);
    assert_int_equal(rename(f->dir, aside), 0);
    assert_int_equal(mkdir(f->dir, 0750), 0);
    fixture_write(f, DATA_DIR_MARKER, marker, strlen(marker));
    dir_syncs_init(&syncs, &file_ops_synced);
    assert_int_equal(data_dirs_open(&dirs, &now, &syncs), -1);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(data_dir_prepare(&f->config, &now, error), -1);
    assert_non_null(strstr(error, "is a copy of it"));
    fixture_remove_tree(f->dir);
    assert_int_equal(rename(aside, f->dir), 0);
    dir_syncs_fini(&syncs);
}

static void
a_part_that_was_mounted_is_not_made_anew_beneath(void **state)
{
    static const char *const parts[DATA_PARTS] = {"journal", "files", "blobs"};
    struct fixture *f = *state;
    char error[CONFIG_ERROR_LEN], note[64];
    struct dir_syncs syncs;

    dir_syncs_init(&syncs, &file_ops_synced);
    for (size_t i = 0; i < DATA_PARTS; i++) {
        struct data_dirs dirs = DATA_DIRS_CLOSED;
        struct config now;

        snprintf(note, sizeof(note), DATA_DIR_MOUNTED "%s", parts[i]);
        if (!fixture_mount(fixture_path(f, parts[i]), "size=1m,mode=0750"))
            skip();
        assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
        assert_true(fixture_exists(f, note));
        assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
        now = f->config;
        assert_int_equal(umount2(fixture_path(f, parts[i]), MNT_DETACH), 0);
        for (unsigned round = 0; round < 2; round++) {
            assert_int_equal(data_dirs_open(&dirs, &now, &syncs), -1);
            assert_int_equal(errno, ESTALE);
            assert_int_equal(data_dir_prepare(&f->config, &now, error), -1);
            assert_non_null(strstr(error, "is its file system mounted?"));
            assert_int_equal(data_dir_prepare(&f->config, NULL, error), -1);
            assert_non_null(strstr(error, "was a file system of its own"));
            assert_non_null(strstr(error, note));
            (void)rmdir(fixture_path(f, parts[i])); /* and not where its name is gone either */
        }
        assert_int_equal(unlink(fixture_path(f, note)), 0);
        assert_int_equal(data_dir_prepare(&f->config, NULL, error), 0);
        assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
        data_dirs_close(&dirs);
    }
    dir_syncs_fini(&syncs);
}

static void
a_part_on_which_something_is_mounted_later_waits_until_it_is_gone(void **state)
{
    struct fixture *f = *state;
    struct data_dirs dirs = DATA_DIRS_CLOSED;
    struct dir_syncs syncs;

    dir_syncs_init(&syncs, &file_ops_synced);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    if (!fixture_mount(fixture_path(f, "files"), "size=1m,mode=0750"))
        skip();
    data_dirs_close(&dirs); /* what was open before does not see the mount of this test */
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), -1);
    assert_int_equal(errno, ESTALE);
    assert_int_equal(umount2(fixture_path(f, "files"), MNT_DETACH), 0);
    assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
    data_dirs_close(&dirs);
    dir_syncs_fini(&syncs);
}

static void
no_part_is_opened_through_a_symbolic_link(void **state)
{
    static const char *const parts[] = {"journal", "files", "blobs"};
    struct fixture *f = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        struct data_dirs dirs = DATA_DIRS_CLOSED;
        struct dir_syncs syncs;

        dir_syncs_init(&syncs, &file_ops_synced);
        assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
        assert_int_equal(rename(fixture_path(f, parts[i]), fixture_path(f, "aside")), 0);
        assert_int_equal(symlink("aside", fixture_path(f, parts[i])), 0);
        assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), -1);
        assert_int_equal(unlink(fixture_path(f, parts[i])), 0);
        assert_int_equal(rename(fixture_path(f, "aside"), fixture_path(f, parts[i])), 0);
        assert_int_equal(data_dirs_open(&dirs, &f->config, &syncs), 0);
        data_dirs_close(&dirs);
        dir_syncs_fini(&syncs);
    }
}

static int
failed_sync(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static void
many_directories_that_failed_are_remembered_and_looked_through_once(void **state)
{
    enum { MANY = 13000 };
    struct fixture *f = *state;
    struct file_ops ops = file_ops_synced;
    struct dir_syncs syncs;
    int first = -1;

    ops.sync_dir = failed_sync;
    dir_syncs_init(&syncs, &ops);
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        int fd;

        snprintf(name, sizeof(name), "files/%u", i);
        assert_int_equal(mkdir(fixture_path(f, name), 0750), 0);
        fd = open(fixture_path(f, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(dir_sync(&syncs, fd), -1);
        if (i == 0)
            first = fd;
        else
            close(fd);
    }
    assert_true(dir_syncs_trim(&syncs));
    assert_false(dir_syncs_trim(&syncs));
    assert_int_equal(dir_check(&syncs, first), -1);
    assert_int_equal(syncs.count, MANY);
    close(first);
    dir_syncs_fini(&syncs);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_missing_is_created),
        TEST(what_is_in_the_way_is_named),
        TEST(the_workers_user_gets_what_is_created_and_must_be_able_to_write),
        TEST(nobody_else_may_write_into_any_of_the_directories),
        TEST(each_of_the_directories_must_be_the_workers),
        TEST(a_link_among_the_parts_is_not_followed_but_the_data_directory_may_be_one),
        TEST(nothing_else_of_roots_is_ever_given_away),
        TEST(a_spill_file_can_be_linked_into_files),
        TEST(a_spill_file_needs_the_data_directory_only),
        TEST(directories_that_go_away_are_created_again_but_not_the_data_directory),
        TEST(another_directory_is_not_taken_for_the_one_in_use),
        TEST(a_copy_of_the_directory_in_use_is_not_taken_for_it),
        TEST(a_part_that_was_mounted_is_not_made_anew_beneath),
        TEST(a_part_on_which_something_is_mounted_later_waits_until_it_is_gone),
        TEST(no_part_is_opened_through_a_symbolic_link),
        TEST(many_directories_that_failed_are_remembered_and_looked_through_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
