/* The runtime directory, its lock and its pid file, and the way to the background. */
#include "guard.h"

#include "common/fd.h"
#include "master/master.h"
#include "master/state.h"

#include "support/signals.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

struct place {
    char dir[64], run[80], link[80], file[96];
};

static int
setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    guard_directory(p->dir, sizeof(p->dir));
    snprintf(p->run, sizeof(p->run), "%s/run", p->dir);
    snprintf(p->link, sizeof(p->link), "%s/link", p->dir);
    *state = p;
    return 0;
}

static int
teardown(void **state)
{
    static const char *const names[] = {"lock", "msockd.pid"};
    struct place *p = *state;

    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        snprintf(p->file, sizeof(p->file), "%s/%s", p->run, names[i]);
        unlink(p->file);
    }
    unlink(p->link);
    rmdir(p->run);
    rmdir(p->dir);
    free(p);
    return 0;
}

static mode_t
mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

/* Opens and closes. Returns 0 or -1. */
static int
try_dir(const char *path, struct failure *why)
{
    struct run_dir d;

    if (run_dir_open(&d, path, (gid_t)-1, why) < 0)
        return -1;
    run_dir_close(&d);
    return 0;
}

static void
it_is_made_0750_and_in_an_open_place_0700(void **state)
{
    struct place *p = *state;
    struct failure why;

    assert_int_equal(try_dir(p->run, &why), 0);
    assert_int_equal(mode_of(p->run), 0750);
    snprintf(p->file, sizeof(p->file), "%s/lock", p->run);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(rmdir(p->run), 0);
    assert_int_equal(chmod(p->dir, 01777), 0);
    assert_int_equal(try_dir(p->run, &why), 0);
    assert_int_equal(mode_of(p->run), 0700);
    assert_int_equal(try_dir(p->run, &why), 0);
}

static void
a_symbolic_link_is_refused_with_and_without_a_slash(void **state)
{
    struct place *p = *state;
    struct failure why;
    char slashed[96];

    assert_int_equal(mkdir(p->run, 0700), 0);
    assert_int_equal(symlink(p->run, p->link), 0);
    assert_int_equal(try_dir(p->link, &why), -1);
    assert_int_equal(why.code, EX_CANTCREAT);
    assert_non_null(strstr(why.text, "symbolic link"));
    snprintf(slashed, sizeof(slashed), "%s/", p->link);
    assert_int_equal(try_dir(slashed, &why), -1);
}

static void
one_that_everybody_may_write_is_refused(void **state)
{
    struct place *p = *state;
    struct failure why;

    assert_int_equal(mkdir(p->run, 0700), 0);
    assert_int_equal(chmod(p->run, 0777), 0);
    assert_int_equal(try_dir(p->run, &why), -1);
    assert_non_null(strstr(why.text, "can be written by everybody"));
}

static void
one_of_another_owner_is_refused(void **state)
{
    struct place *p = *state;
    struct failure why;

    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir(p->run, 0700), 0);
    assert_int_equal(chown(p->run, 65534, (gid_t)-1), 0);
    assert_int_equal(try_dir(p->run, &why), -1);
    assert_non_null(strstr(why.text, "belongs to uid 65534"));
}

static void
a_missing_parent_is_named(void **state)
{
    struct failure why;

    (void)state;
    assert_int_equal(try_dir("/nonexistent/run", &why), -1);
    assert_int_equal(why.code, EX_CANTCREAT);
    assert_non_null(strstr(why.text, "/nonexistent/run: No such file"));
}

/* Nobody else may open the file; what our own user holds there is named, and not the last master.
 */
static void
assert_read_lock_is_named(struct place *p)
{
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX], expected[128];
    struct failure why;
    struct stat st;
    int fds[2], status;
    pid_t pid;
    char byte;

    snprintf(path, sizeof(path), "%s/lock", p->run);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fcntl(fd, F_OFD_SETLK, &whole) < 0 || write(fds[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    assert_int_equal(fd_read(fds[0], &byte, 1), 1);
    assert_int_equal(try_dir(p->run, &why), -1);
    snprintf(expected, sizeof(expected), "process %d, which is no msockd that runs here", (int)pid);
    assert_non_null(strstr(why.text, expected));
    signal_send(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
}

static void
the_lock_has_one_holder_and_says_who(void **state)
{
    struct place *p = *state;
    struct run_dir d;
    struct failure why;
    char expected[128];

    assert_int_equal(run_dir_open(&d, p->run, (gid_t)-1, &why), 0);
    assert_int_equal(try_dir(p->run, &why), -1);
    assert_int_equal(why.code, EX_TEMPFAIL);
    snprintf(expected, sizeof(expected), "another msockd (pid %d) holds %s/lock", (int)getpid(),
             p->run);
    assert_string_equal(why.text, expected);
    run_dir_close(&d);
    assert_read_lock_is_named(p);
    assert_int_equal(try_dir(p->run, &why), 0);
}

/* So it does not fight with the first over its files. */
static void
a_lock_file_that_was_removed_lets_no_second_master_in(void **state)
{
    struct place *p = *state;
    struct run_dir d;
    struct failure why;
    char expected[128];

    assert_int_equal(run_dir_open(&d, p->run, (gid_t)-1, &why), 0);
    snprintf(p->file, sizeof(p->file), "%s/lock", p->run);
    assert_int_equal(unlink(p->file), 0);
    assert_int_equal(try_dir(p->run, &why), -1);
    assert_int_equal(why.code, EX_TEMPFAIL);
    snprintf(expected, sizeof(expected), "another msockd (pid %d) runs in %s", (int)getpid(),
             p->run);
    assert_non_null(strstr(why.text, expected));
    assert_int_equal(access(p->file, F_OK), -1);
    run_dir_close(&d);
    assert_int_equal(try_dir(p->run, &why), 0);
}

/* Whoever may read the directory can hold that lock. */
static void
a_stranger_who_locks_the_directory_keeps_no_master_out(void **state)
{
    struct place *p = *state;
    struct failure why;
    char byte, program[] = "exec 9<\"$0\"; flock -x 9; echo x; exec sleep 60";
    int fds[2], status;
    pid_t pid;

    assert_int_equal(try_dir(p->run, &why), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", program, p->run, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(fd_read(fds[0], &byte, 1), 1);
    assert_int_equal(try_dir(p->run, &why), 0);
    signal_send(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
}

static void
the_pid_file_holds_the_pid(void **state)
{
    struct place *p = *state;
    struct run_dir d;
    struct failure why;
    char *data;
    size_t len;

    assert_int_equal(run_dir_open(&d, p->run, (gid_t)-1, &why), 0);
    assert_int_equal(run_dir_write_pid(&d, &why), 0);
    snprintf(p->file, sizeof(p->file), "%s/msockd.pid", p->run);
    assert_int_equal(fd_read_file(p->file, 100, &data, &len), 0);
    assert_int_equal(atoi(data), getpid());
    free(data);
    run_dir_close(&d);
    assert_int_equal(access(p->file, F_OK), -1);
}

static void
a_pid_file_of_somebody_else_is_not_removed(void **state)
{
    struct place *p = *state;
    struct run_dir d;
    struct failure why;
    int fd;

    assert_int_equal(run_dir_open(&d, p->run, (gid_t)-1, &why), 0);
    assert_int_equal(run_dir_write_pid(&d, &why), 0);
    snprintf(p->file, sizeof(p->file), "%s/msockd.pid", p->run);
    assert_int_equal(unlink(p->file), 0);
    fd = open(p->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    fd_close(&fd);
    run_dir_close(&d);
    assert_int_equal(access(p->file, F_OK), 0);
}

/* Runs body as the daemon and returns what the process that waits was told. */
static struct failure
verdict_of(int code, const char *text)
{
    struct failure verdict = {.code = -1};
    enum daemonize_side side;
    int fd = -1;

    fflush(NULL);
    side = daemonize(0, &fd, &verdict);
    if (side == DAEMONIZE_DAEMON) {
        if (text != NULL)
            daemonize_tell(&fd, code, text);
        _exit(0);
    }
    assert_int_equal(side, DAEMONIZE_WAITER);
    wait(NULL);
    return verdict;
}

static void
the_process_that_waits_learns_the_verdict(void **state)
{
    struct failure verdict;

    (void)state;
    verdict = verdict_of(0, "");
    assert_int_equal(verdict.code, 0);
    verdict = verdict_of(69, "msp://127.0.0.1:1: in use");
    assert_int_equal(verdict.code, 69);
    assert_string_equal(verdict.text, "msp://127.0.0.1:1: in use");
    verdict = verdict_of(0, NULL);
    assert_int_equal(verdict.code, EX_SOFTWARE);
    assert_string_equal(verdict.text, "the daemon died before it was ready");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_is_made_0750_and_in_an_open_place_0700),
        CASE(a_symbolic_link_is_refused_with_and_without_a_slash),
        CASE(one_that_everybody_may_write_is_refused),
        CASE(one_of_another_owner_is_refused),
        CASE(a_missing_parent_is_named),
        CASE(the_lock_has_one_holder_and_says_who),
        CASE(a_lock_file_that_was_removed_lets_no_second_master_in),
        CASE(a_stranger_who_locks_the_directory_keeps_no_master_out),
        CASE(the_pid_file_holds_the_pid),
        CASE(a_pid_file_of_somebody_else_is_not_removed),
        cmocka_unit_test(the_process_that_waits_learns_the_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
