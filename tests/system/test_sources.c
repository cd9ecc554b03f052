/* Each source has its share: who may connect at all, how many connections one address may have, how
 * fast it may send, how much of the disk its unfinished messages may take, and for how long a
 * source that makes trouble is turned away. */
#include "raw_tiny.h"
#include "stats.h"
#include "support/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
expect_refused(const struct target *target, const char *from, const char *code)
{
    struct answer a;
    struct peer p;

    peer_connect_from(&p, target, from);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, code);
    assert_true(peer_closed(&p, 5000));
    peer_close(&p);
}

static void
expect_served(const struct target *target, const char *from)
{
    struct answer a;
    struct peer p;

    peer_connect_from(&p, target, from);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
}

static void
rules_say_who_may_connect(void **state)
{
    char unix_url[HARNESS_PATH_LEN * 2], dir[HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    harness_directory(dir);
    snprintf(unix_url, sizeof(unix_url), "msp://%s/s?allow=user:65533", dir);
    d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0?allow=127.0.0.0/8&deny=127.0.0.2", unix_url,
                   "msp://127.0.0.1:0?allow=10.0.0.0/8,::1,unix"}});
    expect_served(&d->listeners[0], "127.0.0.1");
    expect_refused(&d->listeners[0], "127.0.0.2", "denied");
    expect_refused(&d->listeners[1], NULL, "denied");
    expect_refused(&d->listeners[2], "127.0.0.1", "denied");
    assert_int_equal(stats_total(d, "denied"), 3);
    assert_int_equal(stats_total(d, "refused"), 3);
    daemon_stop(d);
}

static void
a_rule_is_said_in_the_word_of_each_protocol(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"auto://127.0.0.1:0?deny=127.0.0.1", "tinyproto://127.0.0.1:0?deny=127.0.0.1",
                   "frame://127.0.0.1:0?deny=127.0.0.1", "cnp://127.0.0.1:0?deny=127.0.0.1"}});
    const struct outgoing m = {.kind = 'A', .body = "x", .len = 1};
    uint8_t first[WIRE_FIRST_MAX], byte;
    char error[256];
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]); /* not before it is known what it speaks */
    assert_int_equal(peer_write(&p, first, wire_first(first, &m)), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "denied");
    peer_close(&p);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_read(&p, &byte, 1), 0);
    assert_int_equal(byte, 0); /* GENERIC_ERROR */
    peer_close(&p);
    peer_connect(&p, &d->listeners[2]);
    assert_true(peer_closed(&p, 5000));
    peer_close(&p);
    peer_connect(&p, &d->listeners[3]);
    memset(error, 0, sizeof(error));
    assert_true(peer_read_some(&p, error, sizeof(error) - 1, 5000) > 11);
    assert_non_null(memmem(error, sizeof(error), "\"denied\"", 8));
    peer_close(&p);
    assert_int_equal(stats_total(d, "denied"), 4);
    daemon_stop(d);
}

/* A row of `msockctl sources`, or NULL; borrowed from rows. */
static json_t *
source_row(json_t *rows, const char *source)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row) if (strcmp(json_string_value(json_object_get(row, "source")),
                                                source) == 0) return row;
    return NULL;
}

static long
source_figure(const struct daemon *d, const char *source, const char *key)
{
    json_t *rows = stats_read(d, "sources");
    long value = json_integer_value(json_object_get(source_row(rows, source), key));

    json_decref(rows);
    return value;
}

static void
one_source_has_its_share_of_connections(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.listen = {"msp://127.0.0.1:0", "msp://[::1]:0"},
                                              .set = {"source_connections=3", "exempt=none"}});
    struct peer p[3], q[4];
    struct answer a;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        peer_connect_from(&p[i], &d->listeners[0], "127.0.0.2");
        assert_int_equal(peer_send_plain(&p[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    expect_refused(&d->listeners[0], "127.0.0.2", "busy");
    expect_served(&d->listeners[0], "127.0.0.3");
    for (unsigned i = 0; i < 3; i++) {
        peer_connect(&q[i], &d->listeners[1]);
        assert_int_equal(peer_send_plain(&q[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    expect_refused(&d->listeners[1], NULL, "busy");
    assert_int_equal(stats_total(d, "crowded"), 2);
    WAIT_FOR(source_figure(d, "127.0.0.2", "open") == 3, 5000);
    WAIT_FOR(source_figure(d, "::/64", "open") == 3, 5000);
    assert_true(source_figure(d, "127.0.0.2", "bytes") > 3 * 50);
    peer_close(&p[1]);
    WAIT_FOR(stats_total(d, "open") == 5, 5000);
    expect_served(&d->listeners[0], "127.0.0.2");
    daemon_stop(d);
}

static void
connections_of_a_worker_that_died_count_no_more(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1, .set = {"source_connections=2", "exempt=none"}});
    struct proc_list workers;
    struct answer a;
    struct peer p;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    }
    expect_refused(&d->listeners[0], "127.0.0.2", "busy");
    d->options.errors_expected = true;
    daemon_workers(d, &workers);
    assert_int_equal(signal_send(workers.pid[0], SIGKILL), 0);
    WAIT_FOR(stats_workers_sum(d, "restarts") == 1, 5000);
    expect_served(&d->listeners[0], "127.0.0.2");
    daemon_stop(d);
}

static void
connections_that_move_on_a_reload_count_for_their_source(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .handler = "discard",
                                 .listen = {"tinyproto://127.0.0.1:0", "msp://127.0.0.1:0"},
                                 .set = {"source_connections=2", "exempt=none"}});
    struct raw r[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        raw_connect(&r[i], &raw_tiny, &d->listeners[0], RAW_WHOLE);
        assert_int_equal(r[i].kind->send(&r[i], "x", 1), 0);
    }
    daemon_reload(d);
    WAIT_FOR(stats_total(d, "adopted") == 2, 10000);
    expect_refused(&d->listeners[1], NULL, "busy");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(r[i].kind->send(&r[i], "y", 1), 0);
        raw_close(&r[i]);
    }
    daemon_stop(d);
}

static void
exempt_sources_have_no_limits_of_their_own(void **state)
{
    char unix_url[HARNESS_PATH_LEN + 32], dir[HARNESS_PATH_LEN];
    struct peer p[6];
    struct daemon *d;
    struct answer a;

    (void)state;
    harness_directory(dir);
    snprintf(unix_url, sizeof(unix_url), "msp://%s/s", dir);
    d = daemon_start(&(struct daemon_options){.listen = {"msp://127.0.0.1:0", unix_url},
                                              .set = {"source_connections=1"}});
    for (unsigned i = 0; i < 6; i++) {
        peer_connect(&p[i], &d->listeners[i % 2]);
        assert_int_equal(peer_send_plain(&p[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    assert_int_equal(stats_total(d, "refused"), 0);
    WAIT_FOR(source_figure(d, "127.0.0.1", "open") == 3, 5000);
    if (geteuid() == 0)
        WAIT_FOR(source_figure(d, "user:root", "open") == 3, 5000);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(rules_say_who_may_connect),
        SYSTEM_TEST(a_rule_is_said_in_the_word_of_each_protocol),
        SYSTEM_TEST(one_source_has_its_share_of_connections),
        SYSTEM_TEST(connections_of_a_worker_that_died_count_no_more),
        SYSTEM_TEST(connections_that_move_on_a_reload_count_for_their_source),
        SYSTEM_TEST(exempt_sources_have_no_limits_of_their_own),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
