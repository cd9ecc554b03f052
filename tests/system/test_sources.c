/* Each source has its share: who may connect at all, how many connections one address may have, how
 * fast it may send, how much of the disk its unfinished messages may take, and for how long a
 * source that makes trouble is turned away. */
#include "raw_tiny.h"
#include "stats.h"
#include "support/signals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static void
send_some(struct peer *p, unsigned messages)
{
    struct answer a;

    for (unsigned i = 0; i < messages; i++)
        assert_int_equal(peer_send_plain(p, NULL, "x", 1, &a), ANSWER_ACK);
}

static void
a_source_that_sends_too_fast_waits(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .handler = "discard",
        .listen = {"frame://127.0.0.1:0?framing=delimiter", "msp://127.0.0.1:0"},
        .set = {"source_rate=10", "exempt=127.0.0.3"}});
    struct peer p[2], q;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        peer_connect_from(&p[i], &d->listeners[0], "127.0.0.2");
        assert_int_equal(peer_write(&p[i], "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n", 24), 0);
    }
    WAIT_FOR(stats_total(d, "throttled") > 0, 5000);
    peer_connect_from(&q, &d->listeners[1], "127.0.0.2");
    send_some(&q, 3); /* of whatever connection */
    WAIT_FOR(stats_total(d, "messages") == 27, 10000);
    assert_int_equal(stats_total(d, "err"), 0);
    peer_close(&q);
    peer_connect_from(&q, &d->listeners[1], "127.0.0.3");
    send_some(&q, 100);
    /* It is shown for two seconds, and who looks may be slower. */
    WAIT_FOR((send_some(&q, 30), source_figure(d, "127.0.0.3", "rate") > 10), 5000);
    daemon_stop(d);
}

static void
connections_of_a_source_that_waits_take_turns(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1,
                                              .handler = "echo",
                                              .listen = {"frame://127.0.0.1:0?framing=delimiter"},
                                              .set = {"source_rate=10", "exempt=none"}});
    struct proc_list workers;
    struct peer p[2];
    char got[30];

    (void)state;
    daemon_workers(d, &workers);
    proc_stop(workers.pid[0]); /* it meets both at once */
    for (unsigned i = 0; i < 2; i++) {
        peer_connect_from(&p[i], &d->listeners[0], "127.0.0.2");
        for (unsigned k = 0; k < 60; k++)
            assert_int_equal(peer_write(&p[i], "a\n", 2), 0);
    }
    proc_go_on(workers.pid[0]);
    WAIT_FOR(stats_total(d, "bytes_out") >= 100, 20000); /* 50 answers have left */
    for (unsigned i = 0; i < 2; i++) {                   /* neither has all of them */
        p[i].answer_ms = 1;
        assert_int_equal(peer_read(&p[i], got, sizeof(got)), 0);
    }
    daemon_stop(d);
}

/* --- the disk --- */

#define MIB (1u << 20)

static char large[40 * MIB];

/* Announces a frame of n bytes and sends half of it. */
static void
begin_frame(struct peer *p, const struct target *target, const char *from, uint32_t n)
{
    uint8_t head[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    peer_connect_from(p, target, from);
    assert_int_equal(peer_write(p, head, 4), 0);
    assert_int_equal(peer_write(p, large, n / 2), 0);
}

static void
end_frame(struct peer *p, uint32_t n)
{
    assert_int_equal(peer_write(p, large, n - n / 2), 0);
}

static enum answer_kind
send_from(const struct target *target, const char *from, size_t n, struct answer *a)
{
    enum answer_kind kind;
    struct peer p;

    peer_connect_from(&p, target, from);
    kind = peer_send_plain(&p, NULL, large, n, a);
    peer_close(&p);
    return kind;
}

static void
no_message_fills_the_disk_and_what_was_begun_can_end(void **state)
{
    char disk[HARNESS_PATH_LEN], data[HARNESS_PATH_LEN];
    struct peer begun, endless;
    struct daemon *d;
    struct answer a;

    (void)state;
    harness_small_disk(64 * 1024, disk);
    harness_join(data, disk, "data");
    d = daemon_start(&(struct daemon_options){.listen = {"msp://127.0.0.1:0", "frame://127.0.0.1:0",
                                                         "frame://127.0.0.1:0?framing=delimiter"},
                                              .set = {"min_free=24M", "timeout=1h", "min_rate=0"},
                                              .data_dir = data});
    begin_frame(&begun, &d->listeners[1], "127.0.0.1", 20 * MIB);
    WAIT_FOR(source_figure(d, "127.0.0.1", "bytes") >= 10 * MIB, 5000);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.1", 22 * MIB, &a), ANSWER_REJ);
    assert_string_equal(a.code, "no-space");
    peer_connect(&endless, &d->listeners[2]);
    (void)peer_write(&endless, large, sizeof(large));
    assert_true(peer_closed(&endless, 10000));
    assert_int_equal(stats_total(d, "held_back"), 2);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.1", 1000, &a), ANSWER_ACK);
    end_frame(&begun, 20 * MIB);
    WAIT_FOR(stats_total(d, "messages") == 2, 10000);
    daemon_stop(d);
}

/* blobs/ is a small disk of its own, to which what is kept of a large message goes in the end. */
static void
a_part_on_a_small_disk_of_its_own_is_not_filled(void **state)
{
    char disk[HARNESS_PATH_LEN], data[HARNESS_PATH_LEN], blobs[HARNESS_PATH_LEN];
    struct daemon *d;
    struct answer a;

    (void)state;
    harness_small_disk(256 * 1024, disk);
    harness_join(data, disk, "data");
    harness_join(blobs, data, "blobs");
    assert_int_equal(mkdir(data, 0750), 0);
    assert_int_equal(mkdir(blobs, 0750), 0);
    assert_true(harness_mount("tmpfs", "size=64m,mode=0750", blobs)); /* goes with the other */
    d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0"}, .set = {"min_free=44M"}, .data_dir = data});
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.1", 22 * MIB, &a), ANSWER_REJ);
    assert_string_equal(a.code, "no-space");
    assert_int_equal(stats_total(d, "held_back"), 1);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.1", 10 * MIB, &a), ANSWER_ACK);
    daemon_stop(d);
}

static void
one_source_has_its_share_of_the_disk(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0", "frame://127.0.0.1:0"},
        .set = {"source_unfinished=8M", "exempt=none", "timeout=1h", "min_rate=0"}});
    struct peer begun;
    struct answer a;

    (void)state;
    begin_frame(&begun, &d->listeners[1], "127.0.0.2", 6 * MIB);
    WAIT_FOR(source_figure(d, "127.0.0.2", "unfinished") == 6 * MIB, 5000);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.2", 6 * MIB, &a), ANSWER_ERR);
    assert_string_equal(a.code, "busy");
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.3", 6 * MIB, &a), ANSWER_ACK);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.2", 1000, &a), ANSWER_ACK);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.3", 9 * MIB, &a), ANSWER_REJ);
    assert_string_equal(a.code, "no-space"); /* later it would not fit either */
    end_frame(&begun, 6 * MIB);
    WAIT_FOR(stats_total(d, "messages") == 3, 10000);
    WAIT_FOR(source_figure(d, "127.0.0.2", "unfinished") == 0, 5000);
    assert_int_equal(send_from(&d->listeners[0], "127.0.0.2", 6 * MIB, &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "held_back"), 2);
    daemon_stop(d);
}

/* --- trouble --- */

static void
say(struct peer *p, const char *text)
{
    (void)peer_write(p, text, strlen(text));
    assert_true(peer_closed(p, 10000));
}

static void
make_bad_header(struct peer *p)
{
    say(p, "--------------------------------------------------");
}

static void
make_nothing_known(struct peer *p)
{
    say(p, "????????????????????????????????????????????????????");
}

static void
make_http(struct peer *p)
{
    say(p, "GET / HTTP/1.1\r\nHost: here\r\n\r\n");
}

static void
make_half(struct peer *p)
{
    assert_int_equal(peer_write(p, "half", 4), 0);
}

/* What the server says once it has waited long enough. */
static void
make_late(struct peer *p)
{
    struct answer a;

    make_half(p);
    assert_int_equal(peer_answer(p, &a), ANSWER_ERR);
}

static void
make_damage(struct peer *p)
{
    struct answer a;

    p->spoil_crc = 5;
    p->spoil_digest = 1;
    assert_int_equal(peer_send_plain(p, NULL, "x", 1, &a), ANSWER_ACK);
}

static void
who_makes_trouble_is_turned_away_for_a_while(void **state)
{
    static const struct {
        const char *from, *why;
        unsigned listener;
        void (*make)(struct peer *p);
    } cases[] = {
        {"127.0.0.2", "bad headers", 0, make_bad_header},
        {"127.0.0.3", "no protocol that is known", 1, make_nothing_known},
        {"127.0.0.4", "HTTP requests", 2, make_http},
        {"127.0.0.5", "messages without an end", 0, make_half},
        {"127.0.0.6", "too slow to send, or to read", 3, make_late},
        {"127.0.0.7", "damaged packets", 0, make_damage},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0?timeout=1h", "auto://127.0.0.1:0?max_message_size=1M",
                   "frame://127.0.0.1:0?framing=delimiter", "msp://127.0.0.1:0?timeout=10ms"},
        .set = {"exempt=none"}});

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct answer a;
        struct peer p;
        unsigned n = 0;

        for (; stats_total(d, "penalties") == i && n < 1000; n++) {
            peer_connect_from(&p, &d->listeners[cases[i].listener], cases[i].from);
            cases[i].make(&p);
            peer_close(&p);
        }
        if (n < 2 || n == 1000)
            fail_msg("%s after %u", cases[i].why, n);
        expect_refused(&d->listeners[0], cases[i].from, "busy");
        peer_connect_from(&p, &d->listeners[0], cases[i].from);
        assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
        assert_non_null(strstr(a.text, "seconds"));
        peer_close(&p);
        WAIT_FOR(source_figure(d, cases[i].from, "penalty") > 0, 5000);
        expect_served(&d->listeners[0], "127.0.0.1");
    }
    daemon_stop(d);
}

static void
a_penalty_is_shown_and_outlives_a_reload(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.set = {"exempt=none"}});
    struct run_result shown;
    json_t *rows;
    struct peer p;

    (void)state;
    for (int i = 0; i < 3; i++) {
        peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
        make_bad_header(&p);
        peer_close(&p);
    }
    WAIT_FOR(source_figure(d, "127.0.0.2", "penalty") > 0, 5000);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 2), 10000); /* those that knew it are gone */
    expect_refused(&d->listeners[0], "127.0.0.2", "busy");
    rows = stats_read(d, "sources");
    assert_string_equal(json_string_value(json_object_get(source_row(rows, "127.0.0.2"), "why")),
                        "bad headers");
    json_decref(rows);
    shown = daemon_control(d, "stats", "--prometheus", NULL);
    assert_non_null(strstr(shown.out, "\nmsockd_sources_penalized 1\n"));
    assert_non_null(strstr(shown.out, "\nmsockd_penalties_total 1\n"));
    run_result_free(&shown);
    daemon_stop(d);
}

static void
a_crash_that_can_be_repeated_is_met_three_times_at_most(void **state)
{
    char url[HARNESS_PATH_LEN + 64];
    struct peer p, witness;
    struct daemon *d;
    struct answer a;

    (void)state;
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=module&path=%s",
             harness_program("tests/modules/crash.so"));
    d = daemon_start(
        &(struct daemon_options){.listen = {url}, .set = {"exempt=none"}, .errors_expected = true});
    peer_connect_from(&witness, &d->listeners[0], "127.0.0.3");
    assert_int_equal(peer_send_plain(&witness, NULL, "x", 1, &a), ANSWER_ACK);
    for (unsigned i = 0; i < 40; i++) {
        peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
        (void)peer_send_plain(&p, NULL, "crash", 5, &a);
        peer_close(&p);
    }
    WAIT_FOR(stats_total(d, "penalized") >= 37, 5000);
    WAIT_FOR(stats_workers_sum(d, "restarts") >= 1, 5000); /* those are counted a moment later */
    assert_in_range(stats_workers_sum(d, "restarts"), 1, 3);
    expect_refused(&d->listeners[0], "127.0.0.2", "busy");
    expect_served(&d->listeners[0], "127.0.0.3");
    daemon_stop(d);
}

/* What it opened before helps it no more. */
static void
the_other_connections_of_who_crashed_a_worker_end(void **state)
{
    char url[HARNESS_PATH_LEN + 64];
    struct peer p[8], last;
    struct daemon *d;
    struct answer a;

    (void)state;
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=module&path=%s",
             harness_program("tests/modules/crash.so"));
    d = daemon_start(&(struct daemon_options){
        .workers = 4, .listen = {url}, .set = {"exempt=none"}, .errors_expected = true});
    for (unsigned i = 0; i < 8; i++) {
        peer_connect_from(&p[i], &d->listeners[0], "127.0.0.2");
        assert_int_equal(peer_send_plain(&p[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    peer_connect_from(&last, &d->listeners[0], "127.0.0.2");
    (void)peer_send_plain(&last, NULL, "crash", 5, &a);
    WAIT_FOR(stats_workers_sum(d, "restarts") == 1, 5000);
    for (unsigned i = 0; i < 8; i++)
        assert_int_not_equal(peer_send_plain(&p[i], NULL, "crash", 5, &a), ANSWER_ACK);
    expect_served(&d->listeners[0], "127.0.0.3");
    assert_int_equal(stats_workers_sum(d, "restarts"), 1);
    daemon_stop(d);
}

static void
exempt_sources_are_never_turned_away(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.set = {"source_connections=1"}});
    struct peer p;

    (void)state;
    for (int i = 0; i < 10; i++) {
        peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
        make_bad_header(&p);
        peer_close(&p);
    }
    expect_served(&d->listeners[0], "127.0.0.2");
    assert_int_equal(stats_total(d, "penalties"), 0);
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
        SYSTEM_TEST(a_source_that_sends_too_fast_waits),
        SYSTEM_TEST(connections_of_a_source_that_waits_take_turns),
        SYSTEM_TEST(no_message_fills_the_disk_and_what_was_begun_can_end),
        SYSTEM_TEST(a_part_on_a_small_disk_of_its_own_is_not_filled),
        SYSTEM_TEST(one_source_has_its_share_of_the_disk),
        SYSTEM_TEST(who_makes_trouble_is_turned_away_for_a_while),
        SYSTEM_TEST(a_penalty_is_shown_and_outlives_a_reload),
        SYSTEM_TEST(a_crash_that_can_be_repeated_is_met_three_times_at_most),
        SYSTEM_TEST(the_other_connections_of_who_crashed_a_worker_end),
        SYSTEM_TEST(exempt_sources_are_never_turned_away),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
