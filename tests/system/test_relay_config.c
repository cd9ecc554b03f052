/* How the relay is configured and shown, and what it removes. */
#include "relay_case.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* --- configuration --- */

#define PLAIN "workers = 1\nlisten = {\"msp://127.0.0.1:0\"}\n"

static void
configure(struct daemon *d, const char *relay)
{
    char text[1024];

    snprintf(text, sizeof(text), PLAIN "drain_timeout = \"2s\"\n%s\n", relay);
    daemon_configure(d, text);
}

static void
a_reload_changes_the_stream_and_ends_the_relay(void **state)
{
    char relay[2][RELAY_URL_SIZE];
    struct run_result result;
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    for (unsigned i = 0; i < 2; i++)
        snprintf(relay[i], sizeof(relay[i]),
                 "relay = \"nats://127.0.0.1:%u?stream=%c&subject=%c.{kind}&stream_create=yes\"",
                 n.port, 'S' + (int)i, 'S' + (int)i);
    d = daemon_create(&(struct daemon_options){.config = PLAIN, .errors_expected = true});
    daemon_launch(d);
    assert_true(daemon_has_workers(d, 1));
    result = daemon_control(d, "relay", NULL);
    assert_string_equal(result.out, "there is no relay: the option relay is not set\n");
    run_result_free(&result);
    relay_send_text(d, "one");
    configure(d, relay[0]);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    relay_check_stream(d, &n);
    configure(d, relay[1]);
    daemon_reload(d);
    relay_send_text(d, "two");
    WAIT_FOR(relay_stream_count(&n, "T") == 1, 10000);
    configure(d, "");
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 10000);
    relay_send_text(d, "three");
    configure(d, relay[0]);
    daemon_reload(d);
    WAIT_FOR(relay_stream_count(&n, "S") == 2, 10000);
    assert_int_equal(relay_stream_count(&n, "T"), 1);
    daemon_stop(d);
}

static void
expect_end(struct run_result result, int status, const char *text)
{
    if (result.status != status || strstr(result.err, text) == NULL)
        fail_msg("status %d: %s", result.status, result.err);
    run_result_free(&result);
}

static void
a_stream_that_will_not_do_is_refused(void **state)
{
    struct daemon_options o = {.set = {NULL}, .errors_expected = true};
    char test[RELAY_URL_SIZE];
    struct nats n = {0};
    struct run_result result;
    struct running r;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    o.set[0] = relay_option(&n, "");
    expect_end(daemon_fail(daemon_create(&o)), EX_SOFTWARE,
               "relay: there is no stream S; stream_create=yes makes it");
    snprintf(test, sizeof(test), "%s", relay_option(&n, ""));
    run_start(&r, (const char *[]){harness_program("msockd"), "-t", "-o", test, NULL}, NULL);
    run_finish(&r, 20000, &result);
    expect_end(result, EX_CONFIG, "relay: there is no stream S");
    d = daemon_create(&(struct daemon_options){.config = PLAIN, .errors_expected = true});
    daemon_launch(d);
    test[5] = '\0';
    snprintf(test + 5, sizeof(test) - 5, " = \"%.200s\"", relay_option(&n, "") + 6);
    configure(d, test);
    expect_end(daemon_control(d, "reload", NULL), EX_CONFIG, "there is no stream S");
    WAIT_FOR(daemon_has_workers(d, 1), 10000); /* those of the reload leave a moment later */
    relay_send_text(d, "still here");
    daemon_stop(d);
}

static void
a_relay_without_a_journal_is_warned_of(void **state)
{
    static const char warning[] = "no listener has handler=journal, so nothing new is relayed";
    struct nats n = {0};
    struct run_result result;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    result = run_program(harness_program("msockd"), "-t", "-H", "echo", "-o",
                         relay_option(&n, "stream_create=yes"), NULL);
    expect_end(result, EX_OK, warning);
    d = daemon_start(&(struct daemon_options){.workers = 1,
                                              .listen = {"msp://127.0.0.1:0?handler=echo"},
                                              .set = {relay_option(&n, "stream_create=yes")}});
    assert_true(daemon_logged(d, warning));
    daemon_stop(d);
    d = relay_daemon(&n, "", NULL);
    assert_false(daemon_logged(d, warning));
    daemon_stop(d);
}

static void
a_window_that_is_too_small_is_warned_of(void **state)
{
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S",
                      "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"duplicate_window\":20000000000}");
    d = relay_daemon(&n, "", NULL);
    WAIT_FOR(daemon_logged(d, "stream S remembers ids for 20 s, and a restart at the worst moment "
                              "takes 35.1 s"),
             10000);
    daemon_stop(d);
}

/* --- what is removed --- */

static bool
is_there(const struct daemon *d, const char *name)
{
    char path[HARNESS_PATH_LEN];

    harness_join(path, d->data_dir, name);
    return access(path, F_OK) == 0;
}

static size_t
segments(const struct daemon *d)
{
    struct journal j;
    size_t count;

    journal_load(d->data_dir, true, &j);
    count = j.segments;
    journal_free(&j);
    return count;
}

static void
what_was_relayed_is_removed_in_time_and_nothing_else(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    char body[5000];
    size_t before;

    (void)state;
    nats_start(&n, NULL);
    nats_kill(&n);
    d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .set = {relay_option(&n, "stream_create=yes&nats_timeout=200ms"), "retain=relayed",
                "retain_min=1s", "dedup_window=0", "segment_size=4K", "segment_age=1s"}});
    memset(body, 'x', sizeof(body));
    relay_send(d, 'F', "file", "one", 3);
    for (unsigned i = 0; i < 5; i++)
        relay_send(d, 'A', "", body, sizeof(body));
    WAIT_FOR(relay_number(d, "lag_records") == 6, 10000);
    before = segments(d);
    assert_true(before > 3);
    WAIT_FOR(relay_seconds(d, "age") > 4, 10000); /* there were turns of removal after retain_min */
    assert_int_equal(segments(d), before);
    assert_true(is_there(d, "files/file"));
    nats_launch(&n);
    WAIT_FOR(!is_there(d, "files/file"), 60000);
    WAIT_FOR(segments(d) <= 1, 60000);
    assert_int_equal(relay_stream_count(&n, "S"), 6);
    daemon_stop(d);
}

/* --- msockctl --- */

/* The ids of the daemon are behind it then. */
static void
a_clock_that_was_set_forward_makes_no_record_old(void **state)
{
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    nats_kill(&n);
    d = daemon_create(&(struct daemon_options){
        .workers = 1,
        .clock = true,
        .set = {relay_option(&n, "stream_create=yes&nats_timeout=200ms")}});
    daemon_shift_clock(d, -7200);
    daemon_launch(d);
    daemon_shift_clock(d, 0);
    relay_send(d, 'A', "", "x", 1);
    WAIT_FOR(relay_number(d, "lag_records") == 1, 10000);
    assert_true(relay_seconds(d, "lag_seconds") < 7000);
    daemon_stop(d);
}

static void
msockctl_shows_the_relay(void **state)
{
    struct run_result result;
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    relay_send_text(d, "one");
    relay_check_stream(d, &n);
    assert_int_equal(relay_number(d, "relayed"), 1);
    result = daemon_control(d, "relay", NULL);
    assert_int_equal(result.status, 0);
    assert_true(strncmp(result.out, "STREAM  STATE ", 14) == 0);
    run_result_free(&result);
    result = daemon_control(d, "workers", NULL);
    assert_non_null(strstr(result.out, "\nrelay        -"));
    run_result_free(&result);
    result = daemon_control(d, "stats", "--prometheus", NULL);
    assert_non_null(strstr(result.out, "\nmsockd_relayed_total 1\n"));
    assert_non_null(strstr(result.out, "\nmsockd_relay_lag_records 0\n"));
    assert_non_null(strstr(result.out, "worker=\"relay\""));
    run_result_free(&result);
    daemon_reload(d);
    relay_check_stream(d, &n); /* the new one knows where the old one was */
    result = daemon_control(d, "reopen", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_reload_changes_the_stream_and_ends_the_relay),
        SYSTEM_TEST(a_stream_that_will_not_do_is_refused),
        SYSTEM_TEST(a_relay_without_a_journal_is_warned_of),
        SYSTEM_TEST(a_window_that_is_too_small_is_warned_of),
        SYSTEM_TEST(what_was_relayed_is_removed_in_time_and_nothing_else),
        SYSTEM_TEST(a_clock_that_was_set_forward_makes_no_record_old),
        SYSTEM_TEST(msockctl_shows_the_relay),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
