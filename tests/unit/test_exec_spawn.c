/* How a child begins: what it may not begin with, what becomes of it when its worker is killed, and
 * what is left of a beginning that failed. */
#include "exec_fixture.h"

#include "support/signals.h"

#include "handler/exec/exec.h"

#include <fcntl.h>
#include <sys/socket.h>

extern char **environ;

static int
spawn(const char *command, pid_t *pid_out)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), error;
    struct exec_spawn setup = {
        .command = command, .env = environ, .in = null, .out = null, .err = null};

    assert_true(null > 2);
    error = exec_spawn(&setup, pid_out);
    close(null);
    return error;
}

static void
its_end_is_the_commands(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(spawn("exit 7", &pid), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* Where a tool that watches the program makes a vfork(2) a fork(2), what a child found out is known
 * by its exit status alone. */
static bool
children_share_memory(void)
{
    volatile bool shared = false;
    pid_t pid = vfork();

    if (pid == 0) {
        shared = true;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return shared;
}

static void
what_cannot_begin_is_told_and_leaves_no_process(void **state)
{
    size_t n = 1 << 20; /* more than one argument may have */
    char *command = ms_malloc(n);
    pid_t pid = 17;

    (void)state;
    if (!children_share_memory()) {
        free(command);
        skip();
    }
    memset(command, '#', n - 1);
    command[n - 1] = '\0';
    assert_int_equal(spawn(command, &pid), E2BIG);
    assert_int_equal(pid, 17);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    free(command);
}

static void
ignore_signal(int signo)
{
    (void)signo;
}

static void
the_workers_own_signals_stay_as_they_were(void **state)
{
    struct sigaction handler = {.sa_handler = ignore_signal}, after;
    sigset_t blocked, mask;
    pid_t pid;

    (void)state;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    assert_int_equal(sigprocmask(SIG_SETMASK, &blocked, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &handler, NULL), 0);
    assert_int_equal(spawn("exit 0", &pid), 0);
    assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &mask), 0);
    assert_int_equal(sigaction(SIGUSR1, NULL, &after), 0);
    assert_ptr_equal(after.sa_handler, ignore_signal);
    for (int signo = 1; signo < 32; signo++)
        assert_int_equal(sigismember(&mask, signo), signo == SIGUSR2);
    sigemptyset(&blocked);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A process that gives its command one message and waits for its own end. */
static pid_t
start_worker(struct fixture *f, const char *command)
{
    pid_t worker = fork();

    assert_true(worker >= 0);
    if (worker > 0)
        return worker;
    exec_start(f, command);
    exec_give(f, "x", 1);
    for (;;)
        pause();
}

static void
the_children_of_a_killed_worker_are_killed(void **state)
{
    struct fixture *f = *state;

    for (int once = 0; once <= 1; once++) {
        pid_t worker, child;

        exec_listener.number[OPTION_EXEC] = (uint64_t)once;
        worker = start_worker(f, "trap '' HUP TERM; echo $$ >$MSOCK_DATA_DIR/pid; exec sleep 1000");
        child = (pid_t)exec_number(f, "pid");
        assert_true(exec_group_runs(child));
        assert_int_equal(signal_send(worker, SIGKILL), 0);
        assert_int_equal(waitpid(worker, NULL, 0), worker);
        if (!exec_group_is_gone(child)) {
            signal_group(child, SIGKILL);
            fail_msg("once %d: the child still runs", once);
        }
        assert_int_equal(unlink(fixture_path(f, "pid")), 0);
    }
}

static int
ask_helper(struct exec_helper *helper, const char *vars, size_t n, pid_t *pid_out)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), error;
    struct buffer bytes;

    buffer_init(&bytes);
    buffer_append(&bytes, vars, n);
    error = exec_helper_spawn(helper, &bytes, (int[]){null, null, null}, pid_out);
    buffer_fini(&bytes);
    close(null);
    return error;
}

/* Whatever a worker that was taken over says. */
static void
a_helper_does_what_it_is_for_and_nothing_else(void **state)
{
    static const char loader[] = "MSOCK_ID=x\0LD_PRELOAD=/tmp/x.so";
    static const char endless[] = {'M', 'S', 'O', 'C', 'K', '_', 'I', 'D', '=', 'x'};
    const struct exec_place place = {
        .command = "test \"$MSOCK_ID\" = fine", .listener = "l", .data_dir = "/"};
    struct exec_helper helper;
    pid_t stranger, pid = 0;
    int status;

    (void)state;
    assert_int_equal(exec_helper_start(&helper, &place), 0);
    assert_int_equal(ask_helper(&helper, loader, sizeof(loader), &pid), EINVAL);
    assert_int_equal(ask_helper(&helper, endless, sizeof(endless), &pid), EINVAL);
    assert_int_equal(pid, 0);
    assert_int_equal(ask_helper(&helper, "MSOCK_ID=fine", sizeof("MSOCK_ID=fine"), &pid), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);

    stranger = fork();
    if (stranger == 0) {
        setpgid(0, 0);
        for (;;)
            pause();
    }
    setpgid(stranger, stranger);
    exec_helper_signal(&helper, stranger, SIGKILL);
    assert_int_equal(waitpid(stranger, &status, WNOHANG), 0);
    signal_send(stranger, SIGKILL);
    waitpid(stranger, &status, 0);
    exec_helper_stop(&helper);
}

/* Memory for three, rounded up, has room for a fourth. */
static void
a_helper_takes_no_descriptor_too_many(void **state)
{
    const struct exec_place place = {.command = "true", .listener = "l", .data_dir = "/"};
    const int request[2] = {0, 0}, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int fds[4] = {null, null, null, null};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(fds))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(fds)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {(void *)(uintptr_t)request, sizeof(request)};
    const struct msghdr msg = {.msg_iov = &part,
                               .msg_iovlen = 1,
                               .msg_control = control.bytes,
                               .msg_controllen = sizeof(control.bytes)};
    struct exec_helper helper;
    int reply[2], status; /* a pid and an error */

    (void)state;
    memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
    assert_int_equal(exec_helper_start(&helper, &place), 0);
    assert_int_equal(sendmsg(helper.fd, &msg, 0), sizeof(request));
    assert_int_equal(recv(helper.fd, reply, sizeof(reply), 0), sizeof(reply));
    assert_int_equal(reply[1], 0);
    assert_int_equal(waitpid(reply[0], &status, 0), reply[0]);
    exec_helper_stop(&helper);
    close(null);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_end_is_the_commands),
        cmocka_unit_test(what_cannot_begin_is_told_and_leaves_no_process),
        cmocka_unit_test(the_workers_own_signals_stay_as_they_were),
        cmocka_unit_test(a_helper_does_what_it_is_for_and_nothing_else),
        cmocka_unit_test(a_helper_takes_no_descriptor_too_many),
        cmocka_unit_test_setup_teardown(the_children_of_a_killed_worker_are_killed, exec_setup_pool,
                                        exec_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
