/* The master: its end, however it comes, its signals, the lock, the background, and process 1. */
#include "load.h"
#include "stats.h"
#include "target.h"

#include "support/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLS 10

static void
ten_killed_masters_lose_no_acknowledged_message(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 3, .errors_expected = true});
    struct load *l;

    (void)state;
    daemon_keep_ports(d);
    l = load_start(&d->listeners[0], "m", 4, 5000);
    for (unsigned i = 0; i < KILLS; i++) {
        load_advance(l, 30, 20000);
        daemon_kill(d);
        daemon_launch(d); /* on the same port: nobody holds it any more */
    }
    load_advance(l, 30, 20000);
    load_stop(l);
    assert_int_equal(l->rejected, 0);
    assert_int_equal(l->broken, 0);
    daemon_stop(d);
    load_check_stored(l, d->data_dir);
}

static void
workers_whose_master_died_finish_the_message_under_way(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .set = {"timeout=20s"}});
    struct outgoing m = {
        .kind = 'A', .value = "last", .value_len = 4, .body = "0123456789", .len = 10};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_first(packet, &m);
    struct proc_list workers;
    struct run_result result;
    struct journal j;
    struct answer a;
    struct peer p;

    (void)state;
    daemon_workers(d, &workers);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, packet, 20), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == 20, 5000);
    signal_send(d->run.pid, SIGKILL);
    run_finish(&d->run, 5000, &result);
    run_result_free(&result);
    d->running = false;
    assert_int_equal(peer_write(&p, packet + 20, n - 20), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&p, packet, wire_trailer(packet, &m)), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    assert_true(peer_closed(&p, 5000));
    WAIT_FOR((waitpid(-1, NULL, WNOHANG), !proc_alive(workers.pid[0])), 10000);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(journal_find_key(&j, "last", NULL), 1);
    journal_free(&j);
}

static void
a_second_master_is_told_who_holds_the_lock(void **state)
{
    struct daemon *first = daemon_start(&(struct daemon_options){.workers = 1});
    struct daemon *second = daemon_create(&(struct daemon_options){.workers = 1});
    struct run_result result;
    struct answer a;
    struct peer p;
    char pid[16];

    (void)state;
    snprintf(pid, sizeof(pid), "%d", (int)first->run.pid);
    memcpy(second->runtime_dir, first->runtime_dir, sizeof(second->runtime_dir));
    result = daemon_fail(second);
    assert_int_equal(result.status, 75);
    if (strstr(result.err, pid) == NULL)
        fail_msg("the holder, %s, is not named in: %s", pid, result.err);
    run_result_free(&result);
    assert_int_equal(stats_total(first, "accepted"), 0); /* its figures are still there */
    peer_connect(&p, &first->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    daemon_stop(first);
}

static void
quit_lets_the_message_under_way_finish(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2, .set = {"timeout=20s"}});
    struct outgoing m = {
        .kind = 'A', .value = "q", .value_len = 1, .body = "0123456789", .len = 10};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_first(packet, &m);
    struct peer busy, idle, late;
    struct journal j;
    struct answer a;

    (void)state;
    peer_connect(&busy, &d->listeners[0]);
    peer_connect(&idle, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&idle, NULL, "x", 1, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&busy, packet, 20), 0);
    WAIT_FOR(stats_total(d, "accepted") == 2 &&
                 stats_total(d, "bytes_in") == 20 + idle.counts.bytes_in,
             5000);
    signal_send(d->run.pid, SIGQUIT);
    assert_true(peer_closed(&idle, 5000));
    WAIT_FOR(peer_try_connect(&late, &d->listeners[0], NULL) < 0, 5000);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(peer_write(&busy, packet + 20, n - 20), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&busy, packet, wire_trailer(packet, &m)), 0);
    assert_int_equal(peer_answer(&busy, &a), ANSWER_ACK);
    daemon_finish(d, 10000);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(journal_find_key(&j, "q", NULL), 1);
    journal_free(&j);
}

static void
term_and_int_stop_at_once(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = daemon_start(
            &(struct daemon_options){.workers = 2, .set = {"timeout=60s", "min_rate=0"}});
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_write(&p, "\0\0\0", 3), 0);
        WAIT_FOR(stats_total(d, "bytes_in") == 3, 5000);
        signal_send(d->run.pid, signals[i]);
        daemon_finish(d, 5000);
        peer_close(&p);
    }
}

static void
msockctl_stop_and_quit_wait_for_the_end(void **state)
{
    static const char *const words[] = {"stop", "quit"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2}), *next;
        struct run_result result = daemon_control(d, words[i], NULL);

        if (result.status != 0)
            fail_msg("msockctl %s: %d, %s", words[i], result.status, result.err);
        run_result_free(&result);
        next = daemon_create(&(struct daemon_options){.workers = 2});
        memcpy(next->runtime_dir, d->runtime_dir, sizeof(next->runtime_dir));
        daemon_launch(next); /* nobody has what it needs any more */
        daemon_finish(d, 10000);
        daemon_stop(next);
    }
}

static void
a_moved_log_file_is_opened_anew(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 2});
    char option[HARNESS_PATH_LEN + 16], moved[HARNESS_PATH_LEN + 16];
    struct run_result result;
    struct proc_list workers;

    (void)state;
    snprintf(option, sizeof(option), "log_file=%s", d->log_path);
    snprintf(moved, sizeof(moved), "%s.1", d->log_path);
    d->options.set[0] = option;
    daemon_launch(d);
    assert_int_equal(rename(d->log_path, moved), 0);
    result = daemon_control(d, "reopen", NULL);
    if (result.status != 0)
        fail_msg("msockctl reopen: %d, %s", result.status, result.err);
    run_result_free(&result);
    assert_int_equal(access(d->log_path, F_OK), 0);
    daemon_workers(d, &workers);
    d->log_from = 0;
    signal_send(workers.pid[0], SIGKILL);
    WAIT_FOR(daemon_logged(d, "worker"), 5000); /* its death stands in the new file */
    assert_int_equal(rename(d->log_path, moved), 0);
    signal_send(d->run.pid, SIGUSR1);
    WAIT_FOR(access(d->log_path, F_OK) == 0, 5000);
    d->options.errors_expected = true;
    daemon_stop(d);
}

static void
reopen_begins_a_new_journal_segment(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result;
    struct journal j;
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "1", "x", 1, &a), ANSWER_ACK);
    result = daemon_control(d, "reopen", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    assert_int_equal(peer_send_plain(&p, "2", "x", 1, &a), ANSWER_ACK);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, 2);
    assert_int_equal(j.segments, 2);
    journal_free(&j);
}

static pid_t
read_pid_file(const struct daemon *d)
{
    char path[HARNESS_PATH_LEN];
    char *text;
    pid_t pid;

    harness_join(path, d->runtime_dir, "msockd.pid");
    text = harness_read_file(path, NULL);
    pid = text != NULL ? (pid_t)atoi(text) : 0;
    free(text);
    return pid;
}

static void
the_pid_file_names_the_master_and_goes_with_it(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char path[HARNESS_PATH_LEN];

    (void)state;
    assert_int_equal(read_pid_file(d), d->run.pid);
    harness_join(path, d->runtime_dir, "msockd.pid");
    daemon_stop(d);
    assert_int_equal(access(path, F_OK), -1);
}

/* Its pid may be a stranger's by then. The next start removes the file, also one that fails. */
static void
the_pid_file_of_a_killed_master_goes_with_the_next_start(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    pid_t killed = d->run.pid;
    struct run_result result;

    (void)state;
    daemon_kill(d);
    assert_int_equal(read_pid_file(d), killed);
    d->options.listen[0] = "msp://192.0.2.1:1"; /* nobody's address (RFC 5737) */
    result = daemon_fail(d);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
    assert_int_equal(read_pid_file(d), 0);
}

/* A daemon in the background, from then on as if it had been started in the foreground. */
static void
adopt(struct daemon *d, pid_t master)
{
    d->run.pid = master;
    d->run.pidfd = pidfd_open(master, 0);
    assert_true(d->run.pidfd >= 0);
    d->run.out = memfd_create("nothing", MFD_CLOEXEC);
    d->running = true;
}

/* The first process ends when the daemon is ready, so everything works when it has ended. */
static void
in_the_background_the_command_ends_when_it_is_ready(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 2});
    struct target target;
    struct answer a;
    struct peer p;

    (void)state;
    daemon_launch_behind(d, &target);
    peer_connect(&p, &target);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    assert_true(daemon_logged(d, "ready: "));
    adopt(d, read_pid_file(d));
    assert_int_not_equal(getsid(d->run.pid), getsid(0));
    daemon_stop(d);
}

static void
expect_nothing_held(pid_t pid)
{
    for (int fd = 0; fd <= 2; fd++) {
        char path[64], target[HARNESS_PATH_LEN] = "";

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "/dev/null");
    }
}

/* out=$(msockd -D) waits until nobody has the other end of the pipe. */
static void
in_the_background_nothing_of_the_caller_is_held(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.workers = 2, .more = {"-D"}});
    struct run_result result;
    char url[HARNESS_PATH_LEN + 16], path[64], *children, *at, *end;
    unsigned workers = 0;
    size_t n;

    (void)state;
    snprintf(url, sizeof(url), "msp://%s/sock", d->dir);
    d->options.listen[0] = url;
    result = daemon_fail(d);
    assert_int_equal(result.status, 0);
    assert_string_equal(result.err, "");
    run_result_free(&result);
    adopt(d, read_pid_file(d));
    expect_nothing_held(d->run.pid);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)d->run.pid, (int)d->run.pid);
    children = harness_read_file(path, &n);
    assert_non_null(children);
    for (at = children; strtol(at, &end, 10) > 0; at = end, workers++)
        if (geteuid() == 0) /* others are not told, since workers cannot be dumped */
            expect_nothing_held((pid_t)strtol(at, NULL, 10));
    assert_int_equal(workers, 2);
    free(children);
    daemon_stop(d);
}

static void
in_the_background_a_failed_start_is_told_to_the_command(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){
        .workers = 1, .more = {"-D"}, .listen = {"msp:///no/such/directory/sock"}});
    struct run_result result = daemon_fail(d);

    (void)state;
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "/no/such/directory"));
    run_result_free(&result);
}

/* Zombies of the process namespace that /proc of that namespace shows. */
static bool
no_zombies(const char *proc_dir)
{
    char command[HARNESS_PATH_LEN + 64];
    int found;

    snprintf(command, sizeof(command), "! grep -qs '^State:.Z' %s/[0-9]*/status", proc_dir);
    found = system(command);
    return found == 0;
}

static bool
only_workers(pid_t master, size_t count)
{
    struct proc_list list;

    proc_children(master, &list);
    return list.count == count;
}

/* Starts msockd by a script, whose words it is, and waits until it is ready; p is connected to its
 * Unix socket, url. */
static void
start_by(struct daemon *d, const char *script, char url[HARNESS_PATH_LEN + 16], struct peer *p)
{
    const char *argv[] = {"/bin/sh",      "-c", script,      "sh", harness_program("msockd"),
                          "-w",           "2",  "-l",        url,  "-r",
                          d->runtime_dir, "-d", d->data_dir, NULL};
    struct run_options how = {.error_file = d->log_path};
    struct target target;

    snprintf(url, HARNESS_PATH_LEN + 16, "msp://%s/sock", d->dir);
    target_from_url(url, &target);
    run_start(&d->run, argv, &how);
    d->running = true;
    WAIT_FOR(daemon_logged(d, "ready: "), 15000);
    peer_connect(p, &target);
}

/* Ends what start_by started, whose master has this pid. */
static void
stop_by(struct daemon *d, pid_t master)
{
    signal_send(master, SIGTERM);
    assert_true(run_ended(&d->run, 10000));
    d->running = false;
    daemon_check_log(d);
}

/* In a process namespace of its own msockd is process 1. Two orphans are made there: each is a
 * shell whose own child outlives it. */
static void
as_process_one_it_reaps_children_that_are_not_its_own(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){0});
    char url[HARNESS_PATH_LEN + 16], proc_dir[64];
    struct proc_list children;
    struct answer a;
    struct peer p;

    (void)state;
    harness_need_root();
    start_by(d,
             "exec unshare --pid --fork --kill-child --mount-proc sh -c '"
             "(sh -c \"sleep 0.2 & exec true\" &) ; (sh -c true &) ; exec \"$@\"' sh \"$@\"",
             url, &p);
    proc_children(d->run.pid, &children);
    assert_int_equal(children.count, 1);
    snprintf(proc_dir, sizeof(proc_dir), "/proc/%d/root/proc", (int)children.pid[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    WAIT_FOR(only_workers(children.pid[0], 2) && no_zombies(proc_dir), 15000);
    stop_by(d, children.pid[0]);
}

#ifndef MS_SANITIZE
/* It is not upgraded, and its Unix socket keeps the mode with which it was bound. */
static void
it_works_without_proc(void **state)
{
    struct daemon *d = daemon_create(&(struct daemon_options){.errors_expected = true});
    char url[HARNESS_PATH_LEN + 16];
    struct answer a;
    struct stat st;
    struct peer p;

    (void)state;
    harness_need_root();
    start_by(d, "exec unshare --mount sh -c 'umount -l /proc && exec \"$@\"' sh \"$@\"", url, &p);
    assert_int_equal(lstat(url + strlen("msp://"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    signal_send(d->run.pid, SIGUSR2);
    WAIT_FOR(daemon_logged(d, "is /proc mounted?"), 15000);
    signal_send(d->run.pid, SIGHUP);
    WAIT_FOR(daemon_logged(d, "reloaded: "), 15000);
    assert_int_equal(peer_send_plain(&p, NULL, "y", 1, &a), ANSWER_ACK);
    stop_by(d, d->run.pid);
}
#endif

/* Nobody is told of it any more when msockd begins. */
static void
leave_a_dead_child(void)
{
    pid_t pid = fork();
    siginfo_t info;

    if (pid == 0)
        _exit(0);
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
}

/* Also the dead. */
static unsigned
count_children(pid_t pid)
{
    char path[64], *children, *end;
    unsigned count = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    children = harness_read_file(path, NULL);
    assert_non_null(children);
    for (char *at = children; strtol(at, &end, 10) > 0; at = end)
        count++;
    free(children);
    return count;
}

static void
children_of_its_launcher_that_died_before_are_reaped(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .child = leave_a_dead_child});

    (void)state;
    WAIT_FOR(count_children(d->run.pid) == 1, 10000);
    daemon_stop(d);
}

/* As a worker could that was taken over: it runs as the same user. */
static void
statistics_of_a_worker_that_are_cut_short_hurt_it_alone(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .errors_expected = true});
    char path[HARNESS_PATH_LEN];
    struct run_result result;
    struct peer p = {.fd = -1};
    struct proc_list before, after;
    struct answer a;
    unsigned same = 0;

    (void)state;
    daemon_workers(d, &before);
    harness_join(path, d->runtime_dir, "stats.0");
    assert_int_equal(truncate(path, 0), 0);
    result = daemon_control(d, "stats", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    WAIT_FOR((peer_close(&p), peer_try_connect(&p, &d->listeners[0], NULL) == 0 &&
                                  peer_send_plain(&p, NULL, "again", 5, &a) == ANSWER_ACK),
             20000);
    peer_close(&p);
    WAIT_FOR(daemon_has_workers(d, 2), 20000);
    daemon_workers(d, &after);
    for (size_t i = 0; i < 4; i++)
        same += before.pid[i / 2] == after.pid[i % 2];
    assert_int_not_equal(same, 0);
    daemon_stop(d);
}

static void
health_tells_whether_connections_are_taken(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result = daemon_control(d, "health", NULL);

    (void)state;
    assert_int_equal(result.status, 0);
    assert_string_equal(result.out, "ok\n");
    run_result_free(&result);
    daemon_stop(d);
    result = daemon_control(d, "health", NULL);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, "no msockd runs here"));
    run_result_free(&result);
}

static void
a_msockd_of_another_layout_is_not_said_to_be_gone(void **state)
{
    static const struct {
        const char *command, *said;
    } cases[] = {{"health", "has layout version 99"}, {"doctor", "a msockd runs, and cannot be"}};
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const uint32_t strange = 99;
    char path[HARNESS_PATH_LEN];
    struct run_result result;
    int fd;

    (void)state;
    harness_join(path, d->runtime_dir, STATS_CONTROL_FILE);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &strange, sizeof(strange), offsetof(struct stats_control, version)),
                     sizeof(strange));
    close(fd);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        result = daemon_control(d, cases[i].command, NULL);
        assert_true(result.status != 0);
        if (strstr(result.out, cases[i].said) == NULL && strstr(result.err, cases[i].said) == NULL)
            fail_msg("%s: %s%s", cases[i].command, result.out, result.err);
        assert_null(strstr(result.err, "removed"));
        assert_null(strstr(result.out, "no msockd runs"));
        run_result_free(&result);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(statistics_of_a_worker_that_are_cut_short_hurt_it_alone),
        SYSTEM_TEST(ten_killed_masters_lose_no_acknowledged_message),
        SYSTEM_TEST(workers_whose_master_died_finish_the_message_under_way),
        SYSTEM_TEST(a_second_master_is_told_who_holds_the_lock),
        SYSTEM_TEST(quit_lets_the_message_under_way_finish),
        SYSTEM_TEST(term_and_int_stop_at_once),
        SYSTEM_TEST(msockctl_stop_and_quit_wait_for_the_end),
        SYSTEM_TEST(a_moved_log_file_is_opened_anew),
        SYSTEM_TEST(reopen_begins_a_new_journal_segment),
        SYSTEM_TEST(the_pid_file_names_the_master_and_goes_with_it),
        SYSTEM_TEST(the_pid_file_of_a_killed_master_goes_with_the_next_start),
        SYSTEM_TEST(in_the_background_the_command_ends_when_it_is_ready),
        SYSTEM_TEST(in_the_background_nothing_of_the_caller_is_held),
        SYSTEM_TEST(in_the_background_a_failed_start_is_told_to_the_command),
        SYSTEM_TEST(health_tells_whether_connections_are_taken),
        SYSTEM_TEST(as_process_one_it_reaps_children_that_are_not_its_own),
#ifndef MS_SANITIZE /* which looks for leaks in /proc */
        SYSTEM_TEST(it_works_without_proc),
#endif
        SYSTEM_TEST(a_msockd_of_another_layout_is_not_said_to_be_gone),
        SYSTEM_TEST(children_of_its_launcher_that_died_before_are_reaped),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
