/* handler=nats in front of a real server: what arrives there, and what senders are told. */
#include "nats_case.h"
#include "raw.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- what arrives --- */

static void
check_message(const struct nats *n, unsigned seq, const char *subject, const char *const headers[])
{
    struct nats_client c;
    struct nats_message m;

    assert_true(nats_open(&c, n));
    assert_true(nats_get(&c, "S", seq, &m));
    assert_string_equal(m.subject, subject);
    for (size_t i = 0; headers[i] != NULL; i += 2)
        if (strcmp(nats_header(&m, headers[i]), headers[i + 1]) != 0)
            fail_msg("%u: %s is \"%s\"", seq, headers[i], nats_header(&m, headers[i]));
    assert_int_equal(strlen(nats_header(&m, "Msock-Id")), 26);
    assert_int_equal(strlen(nats_header(&m, "Msock-Time")), 27);
    nats_message_free(&m);
    nats_close(&c);
}

static void
messages_of_all_kinds_arrive_with_their_headers(void **state)
{
    static const char sha[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const struct outgoing json = {'J', WIRE_REPLY, "k\r\nX: y", 7, "{\"a\":1}", 7};
    const struct outgoing file = {'F', WIRE_REPLY, "a/b c.txt", 9, "hello", 5};
    struct journal j;
    struct daemon *d;
    struct answer a;
    struct nats n = {0};

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, NATS_KEEP "&subject=in.{kind}.{proto}.{id}.{identity}&id_scope=x", 0);
    nats_expect_receipt(nats_send_text(d, "", "hello", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_text(d, "a.b", "hello", &a), &a, 2, NATS_STORED);
    nats_expect_receipt(nats_send_one(d, &json, &a), &a, 3, NATS_STORED);
    nats_expect_receipt(nats_send_one(d, &file, &a), &a, 4, NATS_STORED);
    nats_expect_receipt(nats_send_text(d, "-", "", &a), &a, 5, NATS_STORED);
    check_message(&n, 1, "in.plain.msp.-.-",
                  (const char *[]){"Msock-Kind", "plain", "Msock-Size", "5", "Msock-SHA256", sha,
                                   "Msock-Key", "", "Msock-Proto", "msp", "Nats-Expected-Stream",
                                   "S", NULL});
    check_message(&n, 2, "in.plain.msp.a%2Eb.-",
                  (const char *[]){"Nats-Msg-Id", "x id a.b", "Msock-Key", "a.b", NULL});
    check_message(
        &n, 3, "in.json.msp.k%0D%0AX:%20y.-",
        (const char *[]){"Msock-Kind", "json", "Msock-Key", "k%0D%0AX: y", "X", "", NULL});
    check_message(&n, 4, "in.file.msp.a/b%20c%2Etxt.-",
                  (const char *[]){"Msock-Kind", "file", "Msock-Path", "a/b c.txt", NULL});
    check_message(&n, 5, "in.plain.msp.%2D.-", (const char *[]){"Msock-Size", "0", NULL});
    nats_read_stream(&n, "S", &j, NULL);
    assert_int_equal(j.count, 5);
    journal_check(&j);
    journal_free(&j);
    daemon_stop(d);
}

static void
an_id_that_comes_again_is_a_duplicate_over_two_daemons(void **state)
{
    static const char options[] = NATS_KEEP "&id_scope=both&dedup_window=0";
    struct daemon *one, *two;
    struct nats n = {0};
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    one = nats_daemon(&n, options, 1);
    two = nats_daemon(&n, options, 1);
    nats_expect_receipt(nats_send_text(one, "m1", "hello", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_text(two, "m1", "hello", &a), &a, 1, NATS_DOUBLE);
    nats_expect_receipt(nats_send_text(two, "m2", "hello", &a), &a, 2, NATS_STORED);
    nats_expect_receipt(nats_send_text(one, "m2", "hello", &a), &a, 2, NATS_DOUBLE);
    /* The stream would drop another message under this id without a word. */
    free(nats_send_text(two, "m1", "another", &a));
    if (strncmp(a.text, "REJ id-reused another message has this id", 41) != 0)
        fail_msg("%s", a.text);
    nats_request_made(&n, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":1}");
    nats_expect_receipt(nats_send_text(two, "m1", "another", &a), &a, 1, NATS_DOUBLE);
    daemon_stop(one);
    daemon_stop(two);
}

static void
an_id_that_comes_again_to_the_same_daemon_is_known_there(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, NATS_KEEP, 2);
    nats_expect_receipt(nats_send_text(d, "m0", "hello", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_text(d, "m1", "hello", &a), &a, 2, NATS_STORED);
    nats_expect_receipt(nats_send_text(d, "m1", "hello", &a), &a, 2, NATS_DOUBLE);
    assert_int_equal(stats_total(d, "duplicates"), 1);
    daemon_stop(d);
}

/* Small ones, and some that go in chunks. */
static void
every_protocol_reaches_the_stream(void **state)
{
    static const size_t sizes[] = {300, 2500000};
    char url[NATS_URL_SIZE];
    struct nats n = {0};
    struct daemon *d;
    struct journal j;
    unsigned count = 0;

    (void)state;
    nats_start(&n, NULL);
    snprintf(url, sizeof(url), "auto%s", strstr(nats_url(&n, NATS_KEEP), "://"));
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    for (size_t i = 0; i < RAW_FOUND * MS_ARRAY_LEN(sizes); i++) {
        char *body = raw_body(sizes[i / RAW_FOUND], (unsigned)i);
        struct raw r;

        raw_connect(&r, raw_kinds[i % RAW_FOUND], &d->listeners[0], RAW_WHOLE);
        assert_int_equal(r.kind->send(&r, body, sizes[i / RAW_FOUND]), 0);
        r.kind->finish(&r);
        count++;
        WAIT_FOR(stats_total(d, "messages") == count, 20000);
        raw_close(&r);
        free(body);
    }
    nats_read_stream(&n, "S", &j, NULL);
    journal_check(&j);
    assert_int_equal(j.count, count);
    for (size_t i = 0; i < j.count; i++) {
        assert_int_equal(j.entries[i].body_len, sizes[i / RAW_FOUND]);
        assert_string_equal(j.entries[i].proto, raw_kinds[i % RAW_FOUND]->proto);
    }
    journal_free(&j);
    daemon_stop(d);
}

/* --- answers to senders --- */

static void
a_full_stream_refuses_and_takes_again(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    nats_request_made(
        &n, "$JS.API.STREAM.CREATE.S",
        "{\"name\":\"S\",\"subjects\":[\"in.>\"],\"max_msgs\":2,\"discard\":\"new\"}");
    d = nats_daemon(&n, "nats_timeout=1s", 1);
    nats_expect_receipt(nats_send_text(d, "", "1", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_text(d, "", "2", &a), &a, 2, NATS_STORED);
    nats_expect_line(d, "x", "REJ no-space maximum messages exceeded");
    nats_request_made(&n, "$JS.API.STREAM.PURGE.S", "");
    nats_expect_receipt(nats_send_text(d, "x", "hello", &a), &a, 3, NATS_STORED);
    daemon_stop(d);
}

static void
a_subject_that_lost_its_stream_is_busy(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, NATS_KEEP, 1);
    nats_expect_receipt(nats_send_text(d, "", "1", &a), &a, 1, NATS_STORED);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"other\"]}");
    nats_expect_line(d, "", "ERR busy no stream takes in.*.*, or it has no leader now");
    nats_request_made(&n, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"in.>\"]}");
    nats_expect_line(d, "", "ERR internal expected stream does not match");
    daemon_stop(d);
}

static void
a_stream_that_was_deleted_is_made_again_or_missed(void **state)
{
    struct nats n = {0};
    struct daemon *makes, *misses;
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    makes = nats_daemon(&n, "stream_create=yes&nats_timeout=1s", 1);
    misses = daemon_start(&(struct daemon_options){.workers = 1,
                                                   .listen = {nats_url(&n, "nats_timeout=1s")},
                                                   .set = {LOAD_PATIENCE},
                                                   .errors_expected = true});
    nats_expect_receipt(nats_send_text(makes, "", "1", &a), &a, 1, NATS_STORED);
    nats_request_made(&n, "$JS.API.STREAM.DELETE.S", "");
    nats_expect_line(misses, "", "ERR busy no stream takes in.*.*, or it has no leader now");
    nats_expect_line(misses, "", "ERR busy there is no stream S");
    nats_expect_line(makes, "", "ERR busy no stream takes in.*.*, or it has no leader now");
    nats_expect_receipt(nats_send_text(makes, "", "2", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_text(misses, "", "3", &a), &a, 2, NATS_STORED);
    daemon_stop(makes);
    daemon_stop(misses);
}

#define WAITING_SENDERS 4

/* Answers to senders with many messages here wait for others to leave with, but not for ever. */
static void
an_answer_leaves_though_messages_behind_it_wait(void **state)
{
    const struct outgoing plain = {'A', 0, NULL, 0, "1", 1}, json = {'J', 0, NULL, 0, "2", 1};
    uint8_t packets[12 * (WIRE_FIRST_MAX + WIRE_TRAILER_MAX)];
    size_t len = wire_ahead(packets, &plain);
    struct nats n = {0};
    struct daemon *d;
    struct answer a;
    struct peer p[WAITING_SENDERS];

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=60s&subject=in.{kind}", 1);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S",
                      "{\"name\":\"S\",\"subjects\":[\"in.plain\"]}");
    for (unsigned i = 0; i < 11; i++)
        len += wire_ahead(packets + len, &json);
    for (unsigned i = 0; i < WAITING_SENDERS; i++) {
        peer_connect(&p[i], &d->listeners[0]);
        assert_int_equal(peer_write(&p[i], packets, len), 0);
    }
    for (unsigned i = 0; i < 2 * WAITING_SENDERS; i++)
        assert_int_equal(peer_answer(&p[i / 2], &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "messages"), WAITING_SENDERS);
    peer_close_all();
    daemon_stop(d);
}

static void
without_a_server_senders_wait_and_then_are_told(void **state)
{
    struct run_result result;
    struct nats n = {0};
    struct daemon *d;
    struct answer a;
    unsigned port;

    (void)state;
    nats_start(&n, NULL);
    nats_kill(&n);
    result = run_program(harness_program("msockd"), "-t", "-l", nats_url(&n, ""), NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.err, "the stream was not looked at: no NATS server can be"));
    run_result_free(&result);
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=1s", 1);
    assert_true(daemon_logged(d, "senders wait until it is there"));
    nats_expect_line(d, "", "ERR busy no NATS server can be reached");
    nats_launch(&n);
    WAIT_FOR(daemon_logged(d, "connected to"), 10000);
    nats_expect_receipt(nats_send_text(d, "", "1", &a), &a, 1, NATS_STORED);
    daemon_stop(d);
    n.port = 0;
    /* Nobody ever accepts there. */
    assert_true(nats_listen(&port) >= 0);
    n.port = port;
    d = nats_daemon(&n, "nats_timeout=300ms", 1);
    nats_expect_line(d, "", "ERR busy no NATS server can be reached");
    daemon_stop(d);
}

static void
a_body_too_large_for_chunks_is_refused(void **state)
{
    static char body[2000000];
    struct outgoing m = {.kind = 'A', .flags = WIRE_REPLY, .body = body, .len = 100000};
    struct nats n = {0};
    struct journal j;
    struct daemon *d;
    struct answer a;

    (void)state;
    memset(body, 'x', sizeof(body));
    nats_start(&n, "max_payload: 4096");
    d = nats_daemon(&n, NATS_KEEP, 1);
    free(nats_send_one(d, &m, &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    m.len = sizeof(body);
    free(nats_send_one(d, &m, &a));
    assert_string_equal(a.code, "too-large");
    nats_read_stream(&n, "S", &j, NULL);
    assert_int_equal(j.count, 1);
    journal_check(&j);
    assert_int_equal(j.entries[0].body_len, 100000);
    journal_free(&j);
    daemon_stop(d);
}

/* Of the first message two chunks are in the stream, and its sender has given it up. */
static void
chunks_of_a_message_that_failed_are_none_of_the_next_one(void **state)
{
    static const char narrow[] =
        "{\"name\":\"S\",\"subjects\":[\"in.>\"],\"max_msgs\":2,\"discard\":\"new\"}";
    static const char wide[] = "{\"name\":\"S\",\"subjects\":[\"in.>\"],\"discard\":\"new\"}";
    static char body[10000];
    const struct outgoing m = {'A', 0, "k", 1, body, sizeof(body)};
    struct nats n = {0};
    struct journal j;
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_start(&n, "max_payload: 4096");
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", narrow);
    d = nats_daemon(&n, "nats_timeout=1s", 1);
    memset(body, 'x', sizeof(body));
    free(nats_send_one(d, &m, &a));
    assert_string_equal(a.code, "no-space");
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", wide);
    memset(body, 'y', sizeof(body));
    free(nats_send_one(d, &m, &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    nats_read_stream(&n, "S", &j, NULL);
    journal_check(&j);
    assert_int_equal(j.count, 1);
    journal_free(&j);
    daemon_stop(d);
}

/* --- the example --- */

static void
run_reader(const struct nats *n, const char *dir, int status, const char *out, const char *err)
{
    char url[64];
    struct run_result result;

    snprintf(url, sizeof(url), "nats://127.0.0.1:%u", n->port);
    result = run_program(harness_program("examples/nats_reader"), url, "S", dir, NULL);
    if (result.status != status || strcmp(result.out, out) != 0 || strcmp(result.err, err) != 0)
        fail_msg("%d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

static void
the_example_reads_what_came_in_chunks_and_notices_a_missing_one(void **state)
{
    static char body[10000];
    char dir[HARNESS_PATH_LEN], path[HARNESS_PATH_LEN], *back;
    const struct outgoing m = {'F', WIRE_REPLY, "a/big", 5, body, sizeof(body)};
    struct nats n = {0};
    struct daemon *d;
    struct answer a;
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)(i * 7 + i / 256);
    nats_start(&n, "max_payload: 4096");
    harness_directory(dir);
    d = nats_daemon(&n, NATS_KEEP, 1);
    nats_expect_receipt(nats_send_text(d, "k", "hello", &a), &a, 1, NATS_STORED);
    nats_expect_receipt(nats_send_one(d, &m, &a), &a, 5, NATS_STORED);
    run_reader(&n, dir, 0, "1 plain 5 k\n5 file 10000 a/big\n", "");
    harness_join(path, dir, "5");
    back = harness_read_file(path, &len);
    assert_non_null(back);
    assert_int_equal(len, sizeof(body));
    assert_memory_equal(back, body, len);
    free(back);
    nats_request_made(&n, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":3}");
    run_reader(&n, dir, 1, "1 plain 5 k\n", "5: a chunk is missing\n");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_of_all_kinds_arrive_with_their_headers),
        SYSTEM_TEST(every_protocol_reaches_the_stream),
        SYSTEM_TEST(an_id_that_comes_again_to_the_same_daemon_is_known_there),
        SYSTEM_TEST(an_id_that_comes_again_is_a_duplicate_over_two_daemons),
        SYSTEM_TEST(a_full_stream_refuses_and_takes_again),
        SYSTEM_TEST(a_subject_that_lost_its_stream_is_busy),
        SYSTEM_TEST(a_stream_that_was_deleted_is_made_again_or_missed),
        SYSTEM_TEST(an_answer_leaves_though_messages_behind_it_wait),
        SYSTEM_TEST(without_a_server_senders_wait_and_then_are_told),
        SYSTEM_TEST(a_body_too_large_for_chunks_is_refused),
        SYSTEM_TEST(chunks_of_a_message_that_failed_are_none_of_the_next_one),
        SYSTEM_TEST(the_example_reads_what_came_in_chunks_and_notices_a_missing_one),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
