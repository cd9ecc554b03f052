/* The relay before what it cannot pass on now, or ever: a stream that is full, refuses or is gone,
 * a journal that cannot be read, a body that is not there. */
#include "relay_case.h"
#include "stats.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
a_full_stream_is_waited_for(void **state)
{
    static const char few[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msgs\":3,"
                              "\"discard\":\"new\",\"duplicate_window\":60000000000}";
    static const char many[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msgs\":-1,"
                               "\"discard\":\"new\",\"duplicate_window\":60000000000}";
    struct nats n = {0};
    struct journal stream;
    struct daemon *d;
    char text[16];

    (void)state;
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", few);
    d = relay_daemon(&n, "", NULL);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "%u", i);
        relay_send_text(d, text);
    }
    WAIT_FOR(relay_error_has(d, "maximum messages exceeded"), 20000);
    WAIT_FOR(relay_number(d, "lag_records") == 7, 10000);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", many);
    relay_check_stream(d, &n);
    WAIT_FOR(daemon_logged(d, "records are relayed again"), 5000);
    nats_read_stream(&n, "S", &stream, NULL);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(atoi(stream.entries[i].body), i);
    journal_free(&stream);
    daemon_stop(d);
}

/* Nothing behind it is relayed, and nothing of it is passed over. */
static void
a_record_that_the_stream_refuses_stops_the_relay(void **state)
{
    static const char small[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msg_size\":700}";
    static const char large[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"],\"max_msg_size\":-1}";
    char body[2000];
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", small);
    d = relay_daemon(&n, "", NULL);
    memset(body, 'x', sizeof(body));
    relay_send_text(d, "before");
    relay_send(d, 'A', "", body, sizeof(body));
    relay_send_text(d, "behind");
    WAIT_FOR(relay_error_has(d, "larger than NATS takes"), 20000);
    WAIT_FOR(relay_number(d, "lag_records") == 2, 10000);
    relay_kill(d);
    WAIT_FOR(relay_error_has(d, "larger than NATS takes"), 20000);
    assert_int_equal(relay_stream_count(&n, "S"), 1);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", large);
    relay_check_stream(d, &n);
    daemon_stop(d);
}

static void
a_stream_that_goes_away_is_missed_and_found_again(void **state)
{
    static const char stream[] = "{\"name\":\"S\",\"subjects\":[\"in.*\"]}";
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", stream);
    d = relay_daemon(&n, "nats_timeout=200ms", NULL);
    relay_send_text(d, "one");
    relay_check_stream(d, &n);
    for (unsigned i = 1; i < 3; i++) {
        nats_request_made(&n, "$JS.API.STREAM.DELETE.S", "");
        if (i == 1)
            relay_kill(d);
        relay_send_text(d, "two");
        WAIT_FOR(relay_error_has(d, "there is no stream S"), 20000);
        WAIT_FOR(relay_number(d, "lag_records") == 1, 10000);
        nats_request_made(&n, "$JS.API.STREAM.CREATE.S", stream);
        WAIT_FOR(relay_stream_count(&n, "S") == 1, 20000);
    }
    assert_true(daemon_has_workers(d, 2));
    daemon_stop(d);
}

/* Senders choose names, and none of them can stop the relay. */
static void
a_name_that_is_too_long_for_a_subject_gives_way_to_the_records_id(void **state)
{
    char option[RELAY_URL_SIZE], path[400], subject[64];
    struct nats n = {0};
    struct nats_client c;
    struct nats_message m;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    snprintf(option, sizeof(option),
             "relay=nats://127.0.0.1:%u?stream=S&subject=in.{id}&stream_create=yes", n.port);
    d = daemon_start(&(struct daemon_options){.workers = 1, .set = {option}});
    for (size_t i = 0; i < sizeof(path) - 1; i++)
        path[i] = i % 100 == 99 ? '/' : '%';
    path[sizeof(path) - 1] = '\0';
    relay_send(d, 'F', path, "x", 1);
    relay_check_stream(d, &n);
    assert_true(nats_open(&c, &n));
    assert_true(nats_get(&c, "S", 1, &m));
    snprintf(subject, sizeof(subject), "in.%s", nats_header(&m, "Msock-Id"));
    assert_string_equal(m.subject, subject);
    nats_message_free(&m);
    nats_close(&c);
    daemon_stop(d);
}

static void
a_relay_that_waits_for_another_one_says_so_beside_it(void **state)
{
    struct nats n = {0};
    json_int_t first;
    struct daemon *d;
    json_t *row;

    (void)state;
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    relay_send_text(d, "one");
    relay_check_stream(d, &n);
    first = relay_number(d, "pid");
    proc_stop((pid_t)first);
    daemon_reload(d);
    relay_send_text(d, "two");
    WAIT_FOR(relay_error_has(d, "another process does that"), 20000);
    row = relay_row(d);
    assert_true(json_is_true(json_object_get(row, "lag_is_more")));
    json_decref(row);
    assert_int_equal(relay_number_of(d, first, "relayed"), 1);
    assert_int_equal(relay_number_of(d, relay_number(d, "pid"), "relayed"), 0);
    proc_go_on((pid_t)first);
    relay_check_stream(d, &n);
    daemon_stop(d);
}

static void
a_journal_that_cannot_be_read_does_not_fill_the_log(void **state)
{
    char moved[HARNESS_PATH_LEN + 8];
    struct nats n = {0};
    const char *first;
    struct daemon *d;
    double age;
    char *log;

    (void)state;
    nats_start(&n, NULL);
    d = relay_daemon(&n, "stream_create=yes", NULL);
    relay_send_text(d, "one");
    relay_check_stream(d, &n);
    snprintf(moved, sizeof(moved), "%s-moved", d->data_dir);
    assert_int_equal(rename(d->data_dir, moved), 0);
    WAIT_FOR(relay_error_has(d, "the journal cannot be read"), 10000);
    age = relay_seconds(d, "age");
    WAIT_FOR(relay_seconds(d, "age") > age + 1, 10000); /* many turns of the loop */
    log = daemon_log(d);
    first = strstr(log, "the journal cannot be read");
    assert_non_null(first);
    assert_null(strstr(first + 1, "the journal cannot be read"));
    free(log);
    assert_int_equal(rename(moved, d->data_dir), 0);
    relay_send_text(d, "two");
    relay_check_stream(d, &n);
    daemon_stop(d);
}

static void
a_body_that_is_gone_is_passed_over_and_counted(void **state)
{
    char path[HARNESS_PATH_LEN];
    struct nats n = {0};
    struct journal stream;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    nats_kill(&n);
    d = relay_daemon(&n, "stream_create=yes&nats_timeout=200ms", NULL);
    relay_send(d, 'F', "gone", "one", 3);
    relay_send(d, 'F', "other", "two", 3);
    relay_send_text(d, "three");
    harness_join(path, d->data_dir, "files/gone");
    assert_int_equal(unlink(path), 0);
    harness_join(path, d->data_dir, "files/other");
    assert_int_equal(unlink(path), 0);
    harness_write_file(path, "TWO", 3);
    nats_launch(&n);
    WAIT_FOR(stats_total(d, "relayed") == 1, 30000);
    assert_int_equal(stats_total(d, "missing"), 2);
    assert_true(daemon_logged(d, "is passed over: its body cannot be had: No such file"));
    nats_read_stream(&n, "S", &stream, NULL);
    assert_int_equal(stream.count, 1);
    assert_string_equal(stream.entries[0].body, "three");
    journal_free(&stream);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_full_stream_is_waited_for),
        SYSTEM_TEST(a_record_that_the_stream_refuses_stops_the_relay),
        SYSTEM_TEST(a_stream_that_goes_away_is_missed_and_found_again),
        SYSTEM_TEST(a_name_that_is_too_long_for_a_subject_gives_way_to_the_records_id),
        SYSTEM_TEST(a_relay_that_waits_for_another_one_says_so_beside_it),
        SYSTEM_TEST(a_journal_that_cannot_be_read_does_not_fill_the_log),
        SYSTEM_TEST(a_body_that_is_gone_is_passed_over_and_counted),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
