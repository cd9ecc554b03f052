/* Reload as a transaction: all of the new generation, or everything as it was. */
#include "master_toy.h"

#include "support/signals.h"

#include <netinet/in.h>
#include <sys/socket.h>

static void
remember(const struct bench *b, int pids[], int n)
{
    for (int i = 0; i < n; i++)
        pids[i] = atomic_load(&b->toy->pid[i]);
}

static void
assert_alive(const int pids[], int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(signal_send(pids[i], 0), 0);
}

static const char *
listener_address(const struct bench *b, int row)
{
    return b->reader.control->listener[row].address;
}

/* 0 where something listens at that address ("127.0.0.1:port"), else errno. */
static int
try_connect(const char *address)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    addr.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
    rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? errno : 0;
    close(fd);
    return rc;
}

static void
a_reload_changes_all_workers_and_keeps_the_socket(void **state)
{
    struct bench *b = *state;
    char address[512];
    int before[2];

    bench_start_ready(b);
    remember(b, before, 2);
    snprintf(address, sizeof(address), "%s", listener_address(b, 0));
    b->toy->workers = 3;
    assert_true(bench_reload(b));
    assert_int_equal(atomic_load(&b->reader.control->generation), 2);
    assert_int_equal(atomic_load(&b->reader.control->workers), 3);
    assert_string_equal(listener_address(b, 0), address);
    assert_int_equal(try_connect(address), 0);
    WAIT_FOR(bench_rows(b) == 3, TOY_WAIT_MS);
    WAIT_FOR(signal_send(before[0], 0) < 0 && signal_send(before[1], 0) < 0, TOY_WAIT_MS);
    assert_int_equal(atomic_load(&b->toy->forks), 5);
    assert_non_null(strstr(b->reader.control->reload_text, "generation 2: 3 workers"));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_wrong_configuration_changes_nothing(void **state)
{
    struct bench *b = *state;
    int before[2];

    bench_start_ready(b);
    remember(b, before, 2);
    snprintf(b->toy->wrong, sizeof(b->toy->wrong), "etc/x.conf line 3: no such option");
    assert_false(bench_reload(b));
    assert_string_equal(b->reader.control->reload_text, b->toy->wrong);
    assert_true(bench_logged(b, "error master ["));
    assert_true(bench_logged(b, "nothing has changed: etc/x.conf line 3"));
    assert_alive(before, 2);
    assert_int_equal(atomic_load(&b->toy->forks), 2);
    assert_int_equal(atomic_load(&b->reader.control->generation), 1);
    b->toy->wrong[0] = '\0';
    assert_true(bench_reload(b));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

/* As where the server of a host name is silent. */
static void
a_configuration_that_cannot_be_read_disturbs_nobody(void **state)
{
    struct bench *b = *state;
    int before[2];

    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "%us", 3 * WAIT_SCALE);
    bench_start_ready(b);
    remember(b, before, 2);
    b->toy->hangs = true;
    assert_int_equal(signal_send(b->master, SIGHUP), 0);
    WAIT_FOR(atomic_load(&b->reader.control->reload_requests) == 1, TOY_WAIT_MS);
    assert_int_equal(signal_send(before[0], SIGKILL), 0);
    WAIT_FOR(atomic_load(&b->toy->forks) == 3, TOY_WAIT_MS); /* replaced meanwhile */
    assert_int_equal(atomic_load(&b->reader.control->reloads), 0);
    WAIT_FOR(atomic_load(&b->reader.control->reloads) == 1, TOY_WAIT_MS);
    assert_non_null(strstr(b->reader.control->reload_text, "could not be read within"));
    assert_int_equal(signal_send(before[1], 0), 0);
    b->toy->hangs = false;
    assert_true(bench_reload(b));
    b->toy->hangs = true;
    assert_int_equal(signal_send(b->master, SIGHUP), 0);
    WAIT_FOR(atomic_load(&b->reader.control->reload_requests) == 3, TOY_WAIT_MS);
    assert_int_equal(bench_stop(b, SIGTERM), 0); /* it waits for nobody */
}

/* Workers that do not leave until they are told TERM. */
static void
many_reloads_leave_no_more_than_some_old_workers(void **state)
{
    struct bench *b = *state;

    snprintf(b->toy->drain_timeout, sizeof(b->toy->drain_timeout), "100s");
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "100s");
    b->toy->mode = TOY_STAY;
    b->toy->mode_index = -1;
    b->toy->workers = CONFIG_WORKERS_MAX;
    bench_start_ready(b);
    for (unsigned i = 0; i < 6; i++) {
        assert_true(bench_reload(b));
        WAIT_FOR(bench_rows(b) <= 4 * CONFIG_WORKERS_MAX, TOY_WAIT_MS);
    }
    assert_true(bench_logged(b, "too many workers still drain"));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
the_runtime_directory_cannot_change(void **state)
{
    struct bench *b = *state;

    bench_start_ready(b);
    snprintf(b->toy->runtime_dir, sizeof(b->toy->runtime_dir), "%s/other", b->dir);
    assert_false(bench_reload(b));
    assert_string_equal(b->reader.control->reload_text, "runtime_dir cannot change while running");
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
new_workers_that_die_refuse_or_hang_change_nothing(void **state)
{
    static const struct {
        enum toy_mode mode;
        const char *says;
    } cases[] = {{TOY_DIE, "died: exit status 7"},
                 {TOY_REFUSE, "could not start: Really"},
                 {TOY_SILENT, "was not ready within "}};
    struct bench *b = *state;
    int before[2];

    bench_start_ready(b);
    remember(b, before, 2);
    b->toy->mode_index = 1;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        b->toy->mode = cases[i].mode;
        if (b->toy->mode == TOY_SILENT)
            snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "500ms");
        assert_false(bench_reload(b));
        assert_non_null(strstr(b->reader.control->reload_text, cases[i].says));
        assert_alive(before, 2);
        WAIT_FOR(bench_rows(b) == 2, TOY_WAIT_MS);
        assert_int_equal(atomic_load(&b->reader.control->generation), 1);
        assert_int_equal(try_connect(listener_address(b, 0)), 0);
    }
    /* A new neighbour that was ready may have accepted, and is allowed to finish. */
    assert_true(atomic_load(&b->toy->terms) >= 1);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
listeners_come_and_go_without_a_gap(void **state)
{
    struct bench *b = *state;
    char first[512], second[512];

    bench_start_ready(b);
    snprintf(first, sizeof(first), "%s", listener_address(b, 0));
    snprintf(b->toy->url[1], sizeof(b->toy->url[1]), "msp://127.0.0.1:0?backlog=7");
    b->toy->url_count = 2;
    assert_true(bench_reload(b));
    snprintf(second, sizeof(second), "%s", listener_address(b, 1));
    assert_string_not_equal(first, second);
    assert_int_equal(try_connect(second), 0);

    /* The one that stays is the one with the same URL, and the other one is really closed. */
    memcpy(b->toy->url[0], b->toy->url[1], sizeof(b->toy->url[0]));
    b->toy->url_count = 1;
    assert_true(bench_reload(b));
    assert_int_equal(atomic_load(&b->reader.control->listener[0].active), 0);
    assert_int_equal(atomic_load(&b->reader.control->listener[1].active), 1);
    WAIT_FOR(try_connect(first) == ECONNREFUSED, TOY_WAIT_MS);
    assert_int_equal(try_connect(second), 0);

    /* The same port written out is the same socket. */
    snprintf(b->toy->url[0], sizeof(b->toy->url[0]), "msp://%.100s", second);
    assert_true(bench_reload(b));
    assert_int_equal(try_connect(second), 0);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_port_in_use_on_reload_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd;

    bench_start_ready(b); /* first, so that it does not inherit the socket */
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    snprintf(b->toy->url[1], sizeof(b->toy->url[1]), "msp://127.0.0.1:%u", ntohs(addr.sin_port));
    b->toy->url_count = 2;
    assert_false(bench_reload(b));
    assert_non_null(strstr(b->reader.control->reload_text, "address already in use"));
    assert_int_equal(atomic_load(&b->toy->forks), 2);
    close(fd);
    assert_true(bench_reload(b));
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_unix_socket_gets_its_mode_and_is_removed_at_the_end(void **state)
{
    struct bench *b = *state;
    char path[100];
    struct stat st;
    int left[2];
    ino_t ino;

    snprintf(path, sizeof(path), "%s/s.sock", b->dir);
    snprintf(b->toy->url[0], sizeof(b->toy->url[0]), "msp://%s?mode=0600", path);
    bench_start_ready(b);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ino = st.st_ino;
    snprintf(b->toy->url[0], sizeof(b->toy->url[0]), "msp://%s?mode=0660", path);
    assert_true(bench_reload(b));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(st.st_ino, ino);
    /* One left behind by a crash is taken over. */
    remember(b, left, 2);
    assert_int_equal(bench_stop(b, SIGKILL), 1000 + SIGKILL);
    for (size_t i = 0; i < MS_ARRAY_LEN(left); i++)
        WAIT_FOR(signal_send(left[i], 0) < 0, TOY_WAIT_MS);
    bench_start_ready(b);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(stat(path, &st), -1);
}

static void
a_worker_that_dies_during_a_reload_is_replaced(void **state)
{
    struct bench *b = *state;
    int before[2];

    bench_start_ready(b);
    remember(b, before, 2);
    b->toy->mode = TOY_SILENT;
    signal_send(b->master, SIGHUP);
    WAIT_FOR(atomic_load(&b->toy->forks) == 4, TOY_WAIT_MS);
    b->toy->mode = TOY_GOOD;
    signal_send(before[0], SIGKILL);
    WAIT_FOR(atomic_load(&b->toy->forks) == 5, TOY_WAIT_MS);
    WAIT_FOR(atomic_load(&b->toy->pid[0]) != before[0], TOY_WAIT_MS);
    assert_int_equal(signal_send(before[1], 0), 0);
    assert_int_equal(atomic_load(&b->reader.control->reloads), 0);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

static void
a_worker_that_drains_is_not_replaced(void **state)
{
    struct bench *b = *state;
    int before[2];

    b->toy->mode = TOY_STAY;
    bench_start_ready(b);
    remember(b, before, 2);
    assert_true(bench_reload(b));
    WAIT_FOR(atomic_load(&b->toy->quits) == 2, TOY_WAIT_MS);
    assert_int_equal(bench_rows(b), 4);
    signal_send(before[0], SIGKILL);
    WAIT_FOR(bench_rows(b) == 3, TOY_WAIT_MS);
    assert_int_equal(atomic_load(&b->toy->forks), 4);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(atomic_load(&b->toy->terms), 3);
}

static void
reloads_asked_for_during_one_become_one_more(void **state)
{
    struct bench *b = *state;

    bench_start_ready(b);
    b->toy->mode = TOY_SILENT;
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "3s");
    signal_send(b->master, SIGHUP);
    WAIT_FOR(atomic_load(&b->toy->forks) == 4, TOY_WAIT_MS);
    b->toy->mode = TOY_GOOD;
    snprintf(b->toy->ready_timeout, sizeof(b->toy->ready_timeout), "10s");
    for (int i = 0; i < 5; i++) {
        signal_send(b->master, SIGHUP);
        WAIT_FOR(signal_send(b->master, 0) == 0, TOY_WAIT_MS);
    }
    WAIT_FOR(atomic_load(&b->reader.control->reloads) == 2, TOY_WAIT_MS);
    assert_int_equal(atomic_load(&b->reader.control->reload_verdict), STATS_VERDICT_OK);
    assert_int_equal(atomic_load(&b->reader.control->reload_requests), 2);
    assert_int_equal(atomic_load(&b->reader.control->generation), 2);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
    assert_int_equal(atomic_load(&b->reader.control->reloads), 2);
}

static void
a_stop_during_a_reload_ends_both_generations(void **state)
{
    struct bench *b = *state;

    bench_start_ready(b);
    b->toy->mode = TOY_SILENT;
    signal_send(b->master, SIGHUP);
    WAIT_FOR(atomic_load(&b->toy->forks) == 4, TOY_WAIT_MS);
    signal_send(b->master, SIGHUP);
    assert_int_equal(bench_stop(b, SIGQUIT), 0);
    assert_int_equal(atomic_load(&b->reader.control->reload_verdict), STATS_VERDICT_FAILED);
    assert_string_equal(b->reader.control->reload_text, "msockd was told to stop");
    assert_int_equal(atomic_load(&b->reader.control->reload_requests), 1);
    assert_int_equal(bench_rows(b), 0);
}

static void
a_hundred_reloads_leave_nothing_behind(void **state)
{
    struct bench *b = *state;
    struct stats_totals totals;
    unsigned fds;

    bench_start_ready(b);
    assert_true(bench_reload(b));
    WAIT_FOR(bench_rows(b) == 2, TOY_WAIT_MS);
    fds = bench_fds(b);
    for (int i = 0; i < 100; i++) {
        /* Every fourth fails, and one listener comes and goes. */
        b->toy->mode = i % 4 == 3 ? TOY_DIE : TOY_GOOD;
        b->toy->url_count = 1 + i % 2;
        snprintf(b->toy->url[1], sizeof(b->toy->url[1]), "msp://127.0.0.1:0?backlog=9");
        assert_int_equal(bench_reload(b), i % 4 != 3);
    }
    b->toy->url_count = 1;
    b->toy->mode = TOY_GOOD;
    assert_true(bench_reload(b));
    WAIT_FOR(bench_rows(b) == 2, TOY_WAIT_MS);
    WAIT_FOR(bench_fds(b) == fds, TOY_WAIT_MS);
    stats_reader_totals(&b->reader, &totals);
    assert_true(totals.counts.acks >= 2 * 77);
    assert_int_equal(bench_stop(b, SIGTERM), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_reload_changes_all_workers_and_keeps_the_socket),
        CASE(a_wrong_configuration_changes_nothing),
        CASE(a_configuration_that_cannot_be_read_disturbs_nobody),
        CASE(many_reloads_leave_no_more_than_some_old_workers),
        CASE(the_runtime_directory_cannot_change),
        CASE(new_workers_that_die_refuse_or_hang_change_nothing),
        CASE(listeners_come_and_go_without_a_gap),
        CASE(a_port_in_use_on_reload_changes_nothing),
        CASE(a_unix_socket_gets_its_mode_and_is_removed_at_the_end),
        CASE(a_worker_that_dies_during_a_reload_is_replaced),
        CASE(a_worker_that_drains_is_not_replaced),
        CASE(reloads_asked_for_during_one_become_one_more),
        CASE(a_stop_during_a_reload_ends_both_generations),
        CASE(a_hundred_reloads_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
