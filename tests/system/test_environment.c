/* What a launcher left does not decide: signals, masks, timers, umask, limits, descriptors, the
 * current directory, environment variables, and a terminal that goes away. */
#include "daemon.h"

#include "support/signals.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 30000
#define EXEC_URL    "msp://127.0.0.1:0?handler=exec&exec=once&reply=yes&command="

/* --- what a launcher does --- */

static void
ignore_all(void)
{
    for (int signo = 1; signo < NSIG; signo++)
        (void)signal(signo, SIG_IGN);
}

static void
ignore_and_block_all(void)
{
    const uint64_t ignored[8] = {(uintptr_t)SIG_IGN}; /* the kernel's struct sigaction */
    sigset_t all;

    ignore_all();
    for (int signo = SIGSYS + 1; signo < SIGRTMIN; signo++)
        (void)syscall(SYS_rt_sigaction, signo, ignored, NULL, 8); /* as posix_spawn does */
    sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
}

static void
ignore_hangup(void)
{
    (void)signal(SIGHUP, SIG_IGN);
}

static void
set_timer(void)
{
    const struct itimerval soon = {.it_value = {.tv_sec = 1}};

    (void)setitimer(ITIMER_REAL, &soon, NULL);
}

static void
mask_nothing(void)
{
    umask(0);
}

static void
mask_all(void)
{
    umask(0777);
}

static void
limit_softly(void)
{
    static const int resources[] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE};
    struct rlimit limit;

    for (size_t i = 0; i < MS_ARRAY_LEN(resources); i++) {
        (void)getrlimit((__rlimit_resource_t)resources[i], &limit);
        limit.rlim_cur = 64;
        (void)setrlimit((__rlimit_resource_t)resources[i], &limit);
    }
}

static void
limit_cpu_time(void)
{
    const struct rlimit limit = {.rlim_cur = 86400, .rlim_max = 86400};

    (void)setrlimit(RLIMIT_CPU, &limit);
}

static void
close_all(void)
{
    close(0);
    close(1);
    close(2);
}

static void
close_output(void)
{
    close(1);
}

static void
remove_directory(void)
{
    char path[HARNESS_PATH_LEN];

    if (getcwd(path, sizeof(path)) != NULL)
        (void)rmdir(path);
}

/* Set by the test, for the child. */
static int left_open;

static void
leave_open(void)
{
    (void)dup2(left_open, 9);
}

/* --- signals --- */

static uint64_t
signal_bit(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

static void
ignored_signals_do_not_keep_old_workers(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .child = ignore_and_block_all});
    struct proc_list before;
    struct run_result result;

    (void)state;
    assert_int_equal(proc_status(d->run.pid, "SigIgn:", 16),
                     signal_bit(SIGPIPE) | signal_bit(SIGXFSZ) | signal_bit(SIGTTOU));
    daemon_workers(d, &before);
    assert_int_equal(proc_status(before.pid[0], "SigIgn:", 16),
                     signal_bit(SIGPIPE) | signal_bit(SIGXFSZ) | signal_bit(SIGTTOU) |
                         signal_bit(SIGINT) | signal_bit(SIGHUP));
    daemon_reload(d);
    signal_send(before.pid[0], SIGKILL);
    WAIT_FOR(!proc_alive(before.pid[0]) && !proc_alive(before.pid[1]), PATIENCE_MS);
    WAIT_FOR(daemon_has_workers(d, 2), PATIENCE_MS);
    result = daemon_control(d, "quit", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    daemon_finish(d, PATIENCE_MS);
}

/* The reply to a message for a command, which has no blanks but %20. */
static char *
reply_of(const char *command, void (*child)(void))
{
    struct daemon_options options = {.workers = 1, .child = child};
    char url[512], *reply;
    struct daemon *d;
    struct run_result result;

    snprintf(url, sizeof(url), EXEC_URL "%s", command);
    options.listen[0] = url;
    d = daemon_start(&options);
    result = run_program(harness_program("msock"), "-u", d->listeners[0].url, "send", "--reply",
                         "x", NULL);
    if (result.status != 0)
        fail_msg("%s: status %d: %s", command, result.status, result.err);
    daemon_stop(d);
    reply = strdup(result.out);
    run_result_free(&result);
    return reply;
}

static void
children_of_exec_begin_with_defaults(void **state)
{
    char *reply =
        reply_of("grep%20-E%20'^Sig(Ign%7CBlk):'%20/proc/self/status", ignore_and_block_all);

    (void)state;
    assert_string_equal(reply, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    free(reply);
}

static void
a_timer_of_the_launcher_ends_nobody(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .child = set_timer});
    uint64_t until = now_us() + 2000000;
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    while (now_us() < until)
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
    daemon_stop(d);
}

static void
leave_signals_pending(void)
{
    static const int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF};

    ignore_and_block_all();
    for (size_t i = 0; i < MS_ARRAY_LEN(signals); i++) {
        (void)signal(signals[i], SIG_DFL);
        (void)raise(signals[i]);
    }
}

/* Who asks for an upgrade or a reload while msockd starts gets it when it has started. */
static void
what_is_asked_too_early_is_done_later(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .child = leave_signals_pending});

    (void)state;
    WAIT_FOR(daemon_logged(d, "reloaded: generation 3"), 20000);
    assert_true(daemon_logged(d, "upgraded: version "));
    daemon_stop(d);
}

/* --- msock listen --- */

struct receiver {
    struct running r;
    char err[HARNESS_PATH_LEN], url[128];
};

static bool
receiver_ready(struct receiver *l)
{
    static const char word[] = "msock: ready ";
    char *said = harness_read_file(l->err, NULL);
    char *at = said != NULL ? strstr(said, word) : NULL;
    bool ready = at != NULL && strchr(at, '\n') != NULL;

    if (ready)
        snprintf(l->url, sizeof(l->url), "%.*s", (int)strcspn(at + strlen(word), " \n"),
                 at + strlen(word));
    free(said);
    return ready;
}

static void
receiver_start(struct receiver *l, const char *option, const char *value, void (*child)(void))
{
    const char *argv[] = {
        harness_program("msock"), "listen", "-l", "msp://127.0.0.1:0", option, value, NULL};
    char dir[HARNESS_PATH_LEN];

    harness_directory(dir);
    harness_join(l->err, dir, "err");
    run_start(&l->r, argv, &(struct run_options){.error_file = l->err, .child = child});
    WAIT_FOR(receiver_ready(l), PATIENCE_MS);
}

static void
receiver_take(struct receiver *l)
{
    struct run_result result =
        run_program(harness_program("msock"), "-u", l->url, "send", "-r", "0", "x", NULL);

    if (result.status != 0)
        fail_msg("send: status %d: %s", result.status, result.err);
    run_result_free(&result);
}

static void
receiver_stop(struct receiver *l)
{
    struct run_result result;

    signal_send(l->r.pid, SIGTERM);
    run_finish(&l->r, PATIENCE_MS, &result);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
}

static void
a_command_of_listen_takes_its_messages(void **state)
{
    static void (*const launchers[])(void) = {ignore_and_block_all, close_output};
    struct receiver l;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        receiver_start(&l, "-x", "cat && ! grep -E '^Sig(Ign|Blk):.*[2-9a-f]' /proc/self/status",
                       launchers[i]);
        receiver_take(&l);
        receiver_stop(&l);
    }
}

/* An ignored SIGHUP is the user's wish, and no other signal's is. */
static void
nohup_lets_a_tool_outlive_its_terminal(void **state)
{
    struct receiver l;

    (void)state;
    receiver_start(&l, NULL, NULL, ignore_all);
    assert_int_equal(proc_status(l.r.pid, "SigIgn:", 16), signal_bit(SIGHUP) | signal_bit(SIGXFSZ));
    signal_send(l.r.pid, SIGHUP);
    receiver_take(&l);
    receiver_stop(&l);
}

static int pipe_ends[2];

static void
print_into_pipe(void)
{
    (void)dup2(pipe_ends[1], 1);
}

/* Some launchers leave O_NONBLOCK on the pipes that they read. */
static void
what_is_printed_waits_for_its_reader(void **state)
{
    static char body[300000], heard[65536];
    struct receiver l;
    const char *argv[] = {harness_program("msock"), "-u", l.url, "send", "-r", "0", "-", NULL};
    struct run_options how = {.input = body, .input_len = sizeof(body)};
    struct run_result result;
    struct running sender;
    size_t total = 0;

    (void)state;
    memset(body, 'x', sizeof(body));
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK), 0);
    receiver_start(&l, "--count", "1", print_into_pipe);
    close(pipe_ends[1]);
    run_start(&sender, argv, &how);
    for (ssize_t n; (n = read(pipe_ends[0], heard, sizeof(heard))) > 0;)
        total += (size_t)n;
    close(pipe_ends[0]);
    assert_int_equal(total, sizeof(body) + 1);
    run_finish(&sender, PATIENCE_MS, &result);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    run_finish(&l.r, PATIENCE_MS, &result);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
}

/* --- files and limits --- */

static unsigned
mode_of(const char *dir, const char *name)
{
    char path[2 * HARNESS_PATH_LEN];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (stat(path, &st) < 0)
        fail_msg("%s is not there", path);
    return st.st_mode & 07777;
}

static void
modes_do_not_follow_the_umask(void **state)
{
    static void (*const launchers[])(void) = {mask_nothing, mask_all};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d =
            daemon_create(&(struct daemon_options){.workers = 1, .child = launchers[i]});
        char pattern[HARNESS_PATH_LEN + 32];
        glob_t segments;
        struct answer a;
        struct peer p;

        daemon_launch(d);
        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
        peer_close(&p);
        assert_int_equal(mode_of(d->dir, "data"), 0750);
        assert_int_equal(mode_of(d->data_dir, "journal"), 0750);
        assert_int_equal(mode_of(d->data_dir, "msockd.id"), 0644);
        assert_int_equal(mode_of(d->runtime_dir, "msockd.pid"), 0644);
        snprintf(pattern, sizeof(pattern), "%s/journal/*.ndjson", d->data_dir);
        assert_int_equal(glob(pattern, 0, NULL, &segments), 0);
        assert_int_equal(mode_of("/", segments.gl_pathv[0]), 0640);
        globfree(&segments);
        daemon_stop(d);
    }
}

/* Programs that msockd starts get what the launcher took from the group and others, and a usual
 * number of descriptors: some close as many as they may have. */
static void
children_of_exec_get_usual_limits(void **state)
{
    char *reply = reply_of("umask;ulimit%20-Sn", mask_nothing);

    (void)state;
    assert_memory_equal(reply, "0022\n", 5);
    free(reply);
    reply = reply_of("umask;ulimit%20-Sn", limit_softly);
    assert_string_equal(reply + 5, "64\n");
    free(reply);
}

static void
soft_limits_are_raised_and_hard_ones_are_said(void **state)
{
    static const int raised[] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE};
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .child = limit_softly});
    struct rlimit limit;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(prlimit(d->run.pid, (__rlimit_resource_t)raised[i], NULL, &limit), 0);
        assert_true(limit.rlim_cur == limit.rlim_max);
    }
    daemon_stop(d);
    d = daemon_start(&(struct daemon_options){.workers = 1, .child = limit_cpu_time});
    assert_true(daemon_logged(d, "a limit of 86400 s of CPU time"));
    daemon_stop(d);
}

static void
it_starts_in_a_directory_that_is_gone(void **state)
{
    static const char unnamed[] = "the current directory cannot be told";
    struct daemon *d = daemon_create(
        &(struct daemon_options){.workers = 1, .more = {"-D"}, .child = remove_directory});
    const char *argv[] = {harness_program("msockd"), "-t", NULL};
    char dir[HARNESS_PATH_LEN], log[HARNESS_PATH_LEN + 16];
    struct run_result result;
    struct running r;

    (void)state;
    harness_directory(dir);
    run_start(&r, argv, &(struct run_options){.cwd = dir, .child = remove_directory});
    run_finish(&r, PATIENCE_MS, &result);
    assert_int_equal(result.status, 78);
    assert_non_null(strstr(result.err, unnamed));
    run_result_free(&result);
    harness_directory(dir);
    assert_int_equal(chdir(dir), 0);
    snprintf(log, sizeof(log), "log_file=%s", d->log_path);
    d->options.set[0] = log;
    result = daemon_fail(d); /* it does not: the foreground process ends with 0 */
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    result = daemon_control(d, "stop", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
}

static void
no_environment_and_no_descriptors_are_enough(void **state)
{
    static const char *const programs[] = {"msockd", "msockctl", "msock"};
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1, .child = close_all});
    char log[HARNESS_PATH_LEN + 16];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct run_result result =
            run_program("/usr/bin/env", "-i", harness_program(programs[i]), "-h", NULL);

        assert_int_equal(result.status, 0);
        run_result_free(&result);
    }
    snprintf(log, sizeof(log), "log_file=%s", d->log_path);
    d->options.set[0] = log;
    daemon_launch(d);
    daemon_reload(d);
    daemon_stop(d);
}

/* --- descriptors of the launcher --- */

/* In the background it keeps none, so that nobody waits for the end of a pipe for ever; but what
 * the command line names is read first. */
static void
in_the_background_no_descriptor_stays_open(void **state)
{
    static const char text[] = "workers = 1\nlisten = \"msp://127.0.0.1:0\"\n";
    struct daemon *d = daemon_create(&(struct daemon_options){
        .workers = 1, .more = {"-D", "-c", "/dev/fd/8"}, .child = leave_open});
    char log[HARNESS_PATH_LEN + 16], path[HARNESS_PATH_LEN];
    struct pollfd open_end = {.events = POLLIN};
    struct run_result result;
    int ends[2], file, heard;

    (void)state;
    harness_join(path, d->dir, "conf");
    harness_write_file(path, text, strlen(text));
    snprintf(log, sizeof(log), "log_file=%s", d->log_path);
    d->options.set[0] = log;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    left_open = ends[1];
    file = open(path, O_RDONLY);
    assert_int_equal(dup2(file, 8), 8);
    result = daemon_fail(d);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    close(ends[1]);
    close(8);
    close(file);
    open_end.fd = ends[0];
    heard = poll(&open_end, 1, PATIENCE_MS);
    result = daemon_control(d, "stop", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    assert_int_equal(heard, 1);
    close(ends[0]);
}

static bool
has_open(pid_t pid, const char *wanted)
{
    bool found = false;

    for (int fd = 0; fd < 64 && !found; fd++) {
        char path[64], name[128] = "";

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        (void)!readlink(path, name, sizeof(name) - 1);
        found = strcmp(name, wanted) == 0;
    }
    return found;
}

static void
a_worker_has_none_of_the_launchers(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 1, .child = leave_open});
    struct proc_list workers;
    struct stat st;
    char name[64];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fstat(ends[1], &st), 0);
    snprintf(name, sizeof(name), "pipe:[%lu]", (unsigned long)st.st_ino);
    left_open = ends[1];
    daemon_launch(d);
    assert_true(has_open(d->run.pid, name));
    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
    if (proc_may_look(workers.pid[0]))
        assert_false(has_open(workers.pid[0], name));
    daemon_stop(d);
    close(ends[0]);
    close(ends[1]);
}

/* --- a terminal that goes away --- */

static struct {
    int master;
    char name[64];
    bool controls; /* it is the daemon's controlling terminal */
    bool is_error; /* it is the daemon's standard error */
    bool nohup;
} terminal;

static void
begin_on_terminal(void)
{
    int fd;

    (void)setsid();
    fd = open(terminal.name, O_RDWR | O_NOCTTY);
    if (terminal.controls)
        (void)ioctl(fd, TIOCSCTTY, 0);
    (void)dup2(fd, 0);
    if (terminal.is_error)
        (void)dup2(fd, 2);
    close(fd);
    if (terminal.nohup)
        ignore_hangup();
}

static struct daemon *
start_on_terminal(bool controls, bool is_error, bool nohup)
{
    struct daemon *d =
        daemon_create(&(struct daemon_options){.workers = 1, .child = begin_on_terminal});
    static char log[HARNESS_PATH_LEN + 16];

    terminal.controls = controls;
    terminal.is_error = is_error;
    terminal.nohup = nohup;
    terminal.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal.master >= 0);
    assert_int_equal(grantpt(terminal.master), 0);
    assert_int_equal(unlockpt(terminal.master), 0);
    assert_int_equal(ptsname_r(terminal.master, terminal.name, sizeof(terminal.name)), 0);
    snprintf(log, sizeof(log), "log_file=%s", d->log_path);
    d->options.set[0] = log;
    daemon_launch(d);
    return d;
}

/* With and without a SIGHUP of the kernel, which the controlling terminal brings, and where a
 * terminal emulator sends one first. */
static void
a_daemon_ends_with_the_terminal_that_shows_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct daemon *d = start_on_terminal(i % 2 == 0, true, false);

        /* The reload that a SIGHUP before the hang-up asks for may be refused by the end. */
        d->options.errors_expected = i >= 2;
        if (i >= 2)
            signal_send(d->run.pid, SIGHUP);
        close(terminal.master);
        daemon_finish(d, PATIENCE_MS);
        assert_true(daemon_logged(d, "stopped"));
    }
}

static void
a_hang_up_by_the_kernel_ends_a_daemon_that_logs_to_a_file(void **state)
{
    struct daemon *d = start_on_terminal(true, false, false);

    (void)state;
    close(terminal.master);
    daemon_finish(d, PATIENCE_MS);
}

static void
nohup_lets_a_daemon_outlive_its_terminal(void **state)
{
    struct daemon *d = start_on_terminal(true, false, true);

    (void)state;
    close(terminal.master);
    WAIT_FOR(daemon_logged(d, "goes on, as nohup asks"), PATIENCE_MS);
    daemon_reload(d);
    daemon_stop(d);
}

/* A terminal in copy mode: it is there, and nobody reads. */
static void
a_terminal_that_nobody_reads_is_no_hang_up(void **state)
{
    struct daemon *d = start_on_terminal(true, true, false);
    int fd = open(terminal.name, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    while (write(fd, "full\n", 5) > 0)
        ;
    close(fd);
    daemon_reload(d);
    signal_send(d->run.pid, SIGHUP);
    WAIT_FOR(daemon_logged(d, "generation 3: "), PATIENCE_MS);
    close(terminal.master);
    daemon_finish(d, PATIENCE_MS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(ignored_signals_do_not_keep_old_workers),
        SYSTEM_TEST(what_is_asked_too_early_is_done_later),
        SYSTEM_TEST(children_of_exec_begin_with_defaults),
        SYSTEM_TEST(a_timer_of_the_launcher_ends_nobody),
        SYSTEM_TEST(a_command_of_listen_takes_its_messages),
        SYSTEM_TEST(nohup_lets_a_tool_outlive_its_terminal),
        SYSTEM_TEST(what_is_printed_waits_for_its_reader),
        SYSTEM_TEST(modes_do_not_follow_the_umask),
        SYSTEM_TEST(children_of_exec_get_usual_limits),
        SYSTEM_TEST(soft_limits_are_raised_and_hard_ones_are_said),
        SYSTEM_TEST(it_starts_in_a_directory_that_is_gone),
        SYSTEM_TEST(no_environment_and_no_descriptors_are_enough),
        SYSTEM_TEST(in_the_background_no_descriptor_stays_open),
        SYSTEM_TEST(a_worker_has_none_of_the_launchers),
        SYSTEM_TEST(a_daemon_ends_with_the_terminal_that_shows_it),
        SYSTEM_TEST(a_hang_up_by_the_kernel_ends_a_daemon_that_logs_to_a_file),
        SYSTEM_TEST(nohup_lets_a_daemon_outlive_its_terminal),
        SYSTEM_TEST(a_terminal_that_nobody_reads_is_no_hang_up),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
