/* msockctl top on a terminal: what stands on the screen while messages come, keys, a msockd that
 * goes and comes back, and what it says where there is no terminal. */
#include "screen.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 8 /* the table begins below this line */

/* Waits for a text on the screen; shows the screen where it does not come. */
static void
expect_from(struct screen *s, unsigned first, const char *text)
{
    for (struct waiting w = waiting_begin(20000); !screen_has(s, first, text);) {
        if (!waiting_more(&w)) {
            screen_show(s);
            fail_msg("the screen does not show \"%s\"", text);
        }
    }
}

static void
expect(struct screen *s, const char *text)
{
    expect_from(s, 0, text);
}

static void
expect_gone(struct screen *s, unsigned first, const char *text)
{
    for (struct waiting w = waiting_begin(20000); screen_has(s, first, text);) {
        if (!waiting_more(&w)) {
            screen_show(s);
            fail_msg("the screen still shows \"%s\"", text);
        }
    }
}

static void
top_start(struct screen *s, const struct daemon *d)
{
    const char *argv[] = {
        harness_program("msockctl"), "-r", d->runtime_dir, "top", "--delay", "0.2", NULL};

    if (!harness_is_built("msockctl-top")) {
        print_message("msockctl-top is not built: there is no libncurses-dev\n");
        skip();
    }
    screen_start(s, argv, "vt52");
    expect(s, "[1 conns]");
}

/* By the number that stands before the name of the table, whichever that is. */
static void
go_to(struct screen *s, const char *table)
{
    char key[2] = "1", tab[64], chosen[64];

    for (; key[0] <= '9'; key[0]++) {
        snprintf(tab, sizeof(tab), "%s %s", key, table);
        if (screen_has(s, 0, tab))
            break;
    }
    screen_type(s, key);
    snprintf(chosen, sizeof(chosen), "[%s %s]", key, table);
    expect(s, chosen);
}

static void
send_some(struct peer *p, unsigned count)
{
    struct answer a;

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(peer_send_plain(p, NULL, "0123456789", 10, &a), ANSWER_ACK);
}

static void
the_screen_follows_what_happens(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct screen s;
    struct peer p;

    (void)state;
    top_start(&s, d);
    expect(&s, "workers 2/2");
    expect(&s, "messages 0 ");
    peer_connect(&p, &d->listeners[0]);
    send_some(&p, 12);
    expect(&s, "messages 12 ");
    expect_from(&s, ROWS, p.name);
    expect(&s, "open 1");
    peer_close(&p);
    expect_gone(&s, ROWS, p.name);
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    daemon_stop(d);
}

static void
rows_are_sorted_and_filtered(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer good, bad;
    struct screen s;

    (void)state;
    peer_connect(&good, &d->listeners[0]);
    peer_connect(&bad, &d->listeners[0]);
    bad.spoil_crc = 3;
    send_some(&bad, 1);
    send_some(&good, 5);
    top_start(&s, d);
    expect_from(&s, ROWS, good.name);
    expect_from(&s, ROWS, bad.name);
    screen_type(&s, "N");
    expect(&s, "NACK1v");
    WAIT_FOR(screen_find(&s, bad.name) < screen_find(&s, good.name), 10000);
    screen_type(&s, "r");
    expect(&s, "NACK1^");
    WAIT_FOR(screen_find(&s, good.name) < screen_find(&s, bad.name), 10000);
    screen_type(&s, ">");
    expect(&s, "NACK2v");
    screen_type(&s, "/");
    screen_type(&s, strrchr(good.name, ':'));
    expect_gone(&s, ROWS, bad.name);
    expect_from(&s, ROWS, good.name);
    screen_type(&s, "x\r");
    expect(&s, "no row has");
    screen_type(&s, "/\033");
    expect_from(&s, ROWS, bad.name);
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    daemon_stop(d);
}

static void
one_row_and_the_other_tables_are_shown(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct screen s;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    send_some(&p, 3);
    top_start(&s, d);
    expect_from(&s, ROWS, p.name);
    screen_type(&s, "\r");
    expect(&s, "escape goes back");
    expect(&s, "bytes_in");
    expect(&s, "listener ");
    screen_type(&s, "\033");
    expect(&s, "q quit 1-9");
    screen_type(&s, "2");
    expect(&s, "[2 ");
    go_to(&s, "workers");
    expect_from(&s, ROWS, "ready");
    screen_type(&s, "\r");
    expect(&s, "escape goes back");
    assert_false(screen_has(&s, ROWS, "latency_us max"));
    screen_type(&s, "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj");
    expect(&s, "latency_us max");
    screen_type(&s, "\033");
    expect(&s, "q quit 1-9");
    go_to(&s, "listeners");
    expect_from(&s, ROWS, strstr(d->listeners[0].url, "127.0.0.1"));
    screen_type(&s, "h");
    expect(&s, "sort by rate");
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    daemon_stop(d);
}

static void
what_happened_is_shown_the_newest_first(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .errors_expected = true});
    struct proc_list workers;
    struct screen s;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    send_some(&p, 3);
    top_start(&s, d);
    go_to(&s, "events");
    expect_from(&s, ROWS, "accepted");
    assert_false(screen_has(&s, ROWS, "closed"));
    peer_close(&p);
    expect_from(&s, ROWS, "closed");
    WAIT_FOR(screen_find(&s, "Z  closed") < screen_find(&s, "Z  accepted"), 10000);
    go_to(&s, "crashes");
    expect_from(&s, ROWS, "nothing");
    daemon_workers(d, &workers);
    signal_send(workers.pid[0], SIGKILL);
    expect_from(&s, ROWS, "signal 9 (Killed)");
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    daemon_stop(d);
}

static void
a_msockd_may_go_and_come_back(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct screen s;

    (void)state;
    top_start(&s, d);
    expect(&s, "workers 1/1");
    daemon_stop(d);
    expect(&s, "not running");
    daemon_launch(d);
    expect(&s, "workers 1/1");
    expect_gone(&s, 0, "not running");
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    daemon_stop(d);
}

static void
a_terminal_that_cannot_place_its_cursor_is_told_so(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const char *argv[] = {harness_program("msockctl"), "-r", d->runtime_dir, "top", NULL};
    struct run_result result;
    struct screen s;

    (void)state;
    top_start(&s, d);
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    screen_start(&s, argv, "dumb");
    assert_int_equal(screen_finish(&s), 64);
    assert_true(screen_has(&s, 0, "cannot place its cursor"));
    result = daemon_control(d, "top", NULL);
    assert_int_equal(result.status, 64);
    assert_non_null(strstr(result.err, "--once"));
    run_result_free(&result);
    daemon_stop(d);
}

static void
one_frame_is_printed_without_a_terminal(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct run_result result;
    struct screen s;
    struct peer p;

    (void)state;
    top_start(&s, d);
    screen_type(&s, "q");
    assert_int_equal(screen_finish(&s), 0);
    peer_connect(&p, &d->listeners[0]);
    send_some(&p, 3);
    result = daemon_control(d, "top", "--once", "--delay", "0.01", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.out, p.name));
    assert_non_null(strstr(result.out, "messages 3 "));
    run_result_free(&result);
    result = daemon_control(d, "top", "--once", "--view", "workers", "--sort", "p99", NULL);
    assert_int_equal(result.status, 64);
    run_result_free(&result);
    result = daemon_control(d, "top", "--once", "--view", "nothing", NULL);
    assert_int_equal(result.status, 64);
    assert_non_null(strstr(result.err, "conns"));
    run_result_free(&result);
    daemon_stop(d);
}

static void
a_command_that_was_not_built_names_its_package(void **state)
{
    char dir[HARNESS_PATH_LEN], program[HARNESS_PATH_LEN], line[3 * HARNESS_PATH_LEN];
    struct run_result result;

    (void)state;
    harness_directory(dir);
    harness_join(program, dir, "msockctl");
    snprintf(line, sizeof(line), "cp '%s' '%s'", harness_program("msockctl"), program);
    assert_int_equal(system(line), 0);
    result = run_program(program, "top", NULL);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, "libncurses-dev"));
    run_result_free(&result);
    result = run_program(program, "serve", NULL);
    assert_int_equal(result.status, 69);
    assert_non_null(strstr(result.err, "libmicrohttpd-dev and libjs-chart.js"));
    run_result_free(&result);
    result = run_program(program, "top", "--help", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.out, "--once"));
    run_result_free(&result);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_screen_follows_what_happens),
        SYSTEM_TEST(rows_are_sorted_and_filtered),
        SYSTEM_TEST(one_row_and_the_other_tables_are_shown),
        SYSTEM_TEST(what_happened_is_shown_the_newest_first),
        SYSTEM_TEST(a_msockd_may_go_and_come_back),
        SYSTEM_TEST(a_terminal_that_cannot_place_its_cursor_is_told_so),
        SYSTEM_TEST(one_frame_is_printed_without_a_terminal),
        SYSTEM_TEST(a_command_that_was_not_built_names_its_package),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
