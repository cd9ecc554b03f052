/* The supervisor with a toy worker: start, replacement, stop, and what workers learn of its
 * death. */
#include "master_toy.h"

#include "support/signals.h"

#include "master/state.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sysexits.h>

static uint64_t
total_acks(struct bench *b)
{
    struct stats_totals totals;

    stats_reader_totals(&b->reader, &totals);
    return totals.counts.acks;
}

static void
it_says_ready_when_all_workers_are(void **state)
{
    struct bench *b = *state;
    char path[128];

    b->toy->workers = 4;
    bench_start_ready(b);
    assert_int_equal(atomic_load(&b->toy->forks), 4);
    assert_int_equal(bench_rows(b), 4);
    WAIT_FOR(bench_logged(b, "ready: 4 workers, listening on msp://127.0.0.1:"), TOY_WAIT_MS);
    assert_true(bench_logged(b, "notice master ["));
    assert_false(bench_logged(b, "listening on msp://127.0.0.1:0"));
    assert_int_equal(atomic_load(&b->reader.control->generation), 1);
    snprintf(path, sizeof(path), "%s/msockd.pid", b->run);
    assert_int_equal(access(path, R_OK), 0);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(access(path, R_OK), -1);
    assert_int_equal(bench_rows(b), 0);
    assert_int_equal(total_acks(b), 4);
}

static void
it_is_not_ready_before_the_last_worker_is(void **state)
{
    struct bench *b = *state;

    b->toy->mode = TOY_SILENT;
    b->toy->mode_index = 1;
    bench_start(b);
    WAIT_FOR(atomic_load(&b->toy->forks) == 2, TOY_WAIT_MS);
    WAIT_FOR(bench_logged(b, "worker 0 (pid"), TOY_WAIT_MS);
    assert_false(bench_is_ready(b));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_worker_that_is_never_ready_ends_the_start(void **state)
{
    struct bench *b = *state;

    b->toy->mode = TOY_SILENT; /* all of them: one that is ready might be late */
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "200ms");
    bench_start(b);
    assert_int_equal(bench_end(b), EX_SOFTWARE);
    assert_non_null(strstr(b->why->text, "worker 0 (pid "));
    assert_non_null(strstr(b->why->text, "was not ready within 0.2 s"));
}

static void
a_worker_that_cannot_start_is_quoted(void **state)
{
    struct bench *b = *state;

    b->toy->mode = TOY_REFUSE;
    b->toy->mode_index = 0;
    bench_start(b);
    assert_int_equal(bench_end(b), EX_SOFTWARE);
    assert_non_null(strstr(b->why->text, "could not start: Really\\x"));
    assert_non_null(strstr(b->why->text, "not today"));
    assert_null(strchr(b->why->text, '\n'));
}

static void
a_second_master_is_told_who_holds_the_lock(void **state)
{
    struct bench *b = *state;
    struct bench second = *b;
    char expected[160];

    bench_start_ready(b);
    bench_start(&second);
    assert_int_equal(bench_end(&second), EX_TEMPFAIL);
    snprintf(expected, sizeof(expected), "another msockd (pid %d) holds %s/lock", (int)b->master,
             b->run);
    assert_string_equal(b->why->text, expected);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_port_in_use_is_named(void **state)
{
    struct bench *b = *state;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    snprintf(b->toy->url[0], sizeof(b->toy->url[0]), "msp://127.0.0.1:%u", ntohs(addr.sin_port));
    bench_start(b);
    assert_int_equal(bench_end(b), EX_UNAVAILABLE);
    assert_ptr_equal(strstr(b->why->text, b->toy->url[0]), b->why->text);
    assert_non_null(strstr(b->why->text, "already in use"));
    assert_int_equal(atomic_load(&b->toy->forks), 0);
    fd_close(&fd);
}

static void
a_killed_worker_is_replaced_and_its_neighbour_left_alone(void **state)
{
    struct bench *b = *state;
    int first, neighbour;

    bench_start_ready(b);
    first = atomic_load(&b->toy->pid[0]);
    neighbour = atomic_load(&b->toy->pid[1]);
    signal_send(first, SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->forks) == 3, TOY_WAIT_MS);
    WAIT_FOR(atomic_load(&b->toy->pid[0]) != first, TOY_WAIT_MS);
    assert_int_equal(signal_send(neighbour, 0), 0);
    assert_int_equal(atomic_load(&b->toy->pid[1]), neighbour);
    assert_true(bench_logged(b, "died: signal 9 (Killed)"));
    WAIT_FOR(total_acks(b) == 3, TOY_WAIT_MS);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(total_acks(b), 3);
}

static void
a_crash_loop_is_slowed_down_and_the_loop_stays_responsive(void **state)
{
    struct bench *b = *state;
    uint64_t allowed_us = 0;

    b->toy->mode = TOY_GOOD;
    bench_start_ready(b);
    b->toy->mode_index = 1;
    b->toy->mode = TOY_CRASH;
    signal_send(atomic_load(&b->toy->pid[1]), SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->forks) >= 9, TOY_WAIT_MS);
    /* The third began at once, each later one after its delay at the earliest. */
    for (unsigned i = 3; i < 9; i++) {
        allowed_us = BACKOFF_FIRST_US << (i - 3);
        assert_true(b->toy->forked_us[i] - b->toy->forked_us[i - 1] >= allowed_us);
    }
    WAIT_FOR(bench_logged(b, "worker 1 keeps dying"), TOY_WAIT_MS);
    WAIT_FOR(bench_rows(b) == 2, TOY_WAIT_MS);
    b->toy->mode = TOY_DIE;
    assert_false(bench_reload(b));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_replacement_that_is_not_ready_in_time_counts_as_a_crash(void **state)
{
    struct bench *b = *state;
    int before;

    bench_start_ready(b);
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "500ms");
    WAIT_FOR(bench_reload(b), TOY_WAIT_MS); /* a busy machine may not manage the first one */
    before = atomic_load(&b->toy->forks);
    b->toy->mode_index = 0;
    b->toy->mode = TOY_SILENT;
    signal_send(atomic_load(&b->toy->pid[0]), SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->forks) >= before + 2, TOY_WAIT_MS);
    assert_true(bench_logged(b, "was not ready within 0.5 s: killed"));
    before = atomic_load(&b->toy->forks);
    b->toy->mode = TOY_GOOD;
    WAIT_FOR(atomic_load(&b->toy->forks) > before, TOY_WAIT_MS);
    assert_int_equal(bench_stop(b, SIGQUIT), 0);
}

static void
workers_leave_when_the_master_is_killed(void **state)
{
    struct bench *b = *state;

    b->toy->workers = 3;
    bench_start_ready(b);
    assert_int_equal(bench_stop(b, SIGKILL), 1000 + SIGKILL);
    /* QUIT is the second line; either way they are gone. */
    WAIT_FOR(atomic_load(&b->toy->eofs) + atomic_load(&b->toy->quits) >= 3, TOY_WAIT_MS);
    for (int i = 0; i < 3; i++)
        WAIT_FOR(waitpid(atomic_load(&b->toy->pid[i]), NULL, WNOHANG) != 0 &&
                     signal_send(atomic_load(&b->toy->pid[i]), 0) < 0,
                 TOY_WAIT_MS);
}

static void
an_orphan_that_drains_does_not_keep_a_new_master_out(void **state)
{
    struct bench *b = *state;
    int orphan;

    b->toy->workers = 1;
    bench_start_ready(b);
    orphan = atomic_load(&b->toy->pid[0]);
    signal_send(orphan, SIGSTOP);
    assert_int_equal(bench_stop(b, SIGKILL), 1000 + SIGKILL);
    bench_start_ready(b);
    assert_int_equal(signal_send(orphan, 0), 0);
    signal_send(orphan, SIGKILL);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
every_worker_sees_end_of_file_even_with_younger_siblings(void **state)
{
    struct bench *b = *state;

    b->toy->workers = 4;
    b->toy->mode = TOY_DEAF; /* leaves by end-of-file alone */
    bench_start_ready(b);
    signal_send(atomic_load(&b->toy->pid[0]), SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->forks) == 5, TOY_WAIT_MS);
    WAIT_FOR(total_acks(b) == 5, TOY_WAIT_MS);
    assert_int_equal(bench_stop(b, SIGKILL), 1000 + SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->eofs) == 4, TOY_WAIT_MS);
}

static void
a_child_that_is_no_worker_is_reaped_in_silence(void **state)
{
    struct bench *b = *state;
    int grandchild[2];
    pid_t pid = 0, shell;

    assert_int_equal(pipe(grandchild), 0);
    fflush(NULL);
    shell = fork();
    if (shell == 0) {
        /* The master's process gets a child before it is the master. */
        pid = fork();
        if (pid == 0) {
            char c;

            close(grandchild[1]);
            _exit(read(grandchild[0], &c, 1) < 0);
        }
        close(grandchild[0]);
        close(grandchild[1]);
        bench_master(b);
    }
    close(grandchild[0]);
    b->master = shell;
    WAIT_FOR(bench_is_ready(b), TOY_WAIT_MS);
    close(grandchild[1]);
    WAIT_FOR(({
                 char path[64];
                 FILE *f;
                 int seen = 0, child;

                 snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)shell, (int)shell);
                 f = fopen(path, "r");
                 while (f != NULL && fscanf(f, "%d", &child) == 1)
                     seen++;
                 if (f != NULL)
                     fclose(f);
                 seen == 2;
             }),
             TOY_WAIT_MS);
    assert_int_equal(atomic_load(&b->toy->forks), 2);
    assert_false(bench_logged(b, "died"));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
quit_waits_for_workers_and_term_speeds_it_up(void **state)
{
    struct bench *b = *state;

    b->toy->mode = TOY_STAY;
    bench_start_ready(b);
    signal_send(b->master, SIGQUIT);
    WAIT_FOR(atomic_load(&b->toy->quits) == 2, TOY_WAIT_MS);
    assert_int_equal(atomic_load(&b->reader.control->stopping), SIGQUIT);
    assert_int_equal(atomic_load(&b->toy->terms), 0);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(atomic_load(&b->toy->terms), 2);
}

static void
workers_that_do_not_leave_are_killed(void **state)
{
    struct bench *b = *state;

    b->toy->mode = TOY_DEAF;
    bench_start_ready(b);
    assert_int_equal(bench_stop(b, SIGINT), 0);
    assert_true(bench_logged(b, "have not left in time: killed"));
    assert_int_equal(bench_rows(b), 0);
}

static void
logs_are_reopened_everywhere(void **state)
{
    struct bench *b = *state;
    char moved[128];

    bench_start_ready(b);
    snprintf(moved, sizeof(moved), "%s.1", b->log);
    assert_int_equal(rename(b->log, moved), 0);
    signal_send(b->master, SIGUSR1);
    WAIT_FOR(atomic_load(&b->reader.control->reopens) == 1, TOY_WAIT_MS);
    WAIT_FOR(bench_logged(b, "log reopened"), TOY_WAIT_MS);
    WAIT_FOR(atomic_load(&b->toy->reopened) == 2, TOY_WAIT_MS);
    signal_send(b->master, SIGUSR2);
    WAIT_FOR(bench_logged(
                 b, "upgrade failed, nothing has changed: it is not known which file to execute"),
             TOY_WAIT_MS);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_says_ready_when_all_workers_are),
        CASE(it_is_not_ready_before_the_last_worker_is),
        CASE(a_worker_that_is_never_ready_ends_the_start),
        CASE(a_worker_that_cannot_start_is_quoted),
        CASE(a_second_master_is_told_who_holds_the_lock),
        CASE(a_port_in_use_is_named),
        CASE(a_killed_worker_is_replaced_and_its_neighbour_left_alone),
        CASE(a_crash_loop_is_slowed_down_and_the_loop_stays_responsive),
        CASE(a_replacement_that_is_not_ready_in_time_counts_as_a_crash),
        CASE(workers_leave_when_the_master_is_killed),
        CASE(an_orphan_that_drains_does_not_keep_a_new_master_out),
        CASE(every_worker_sees_end_of_file_even_with_younger_siblings),
        CASE(a_child_that_is_no_worker_is_reaped_in_silence),
        CASE(quit_waits_for_workers_and_term_speeds_it_up),
        CASE(workers_that_do_not_leave_are_killed),
        CASE(logs_are_reopened_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
