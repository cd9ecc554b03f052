/* tinyproto (docs/protocol.md 2): openings, limits, transmissions that cross, and everything that
 * ends a connection. */
#include "journal.h"
#include "raw_tiny.h"
#include "stats.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The server says GENERIC_ERROR and closes. */
static void
expect_error(struct raw *r)
{
    int byte = raw_tiny_byte(r);

    if (byte != RAW_TINY_ERROR)
        fail_msg("%02x instead of GENERIC_ERROR", (unsigned)byte);
    raw_expect_end(r);
}

static void
expect_ok(struct raw *r)
{
    int byte = raw_tiny_byte(r);

    if (byte != RAW_TINY_OK)
        fail_msg("%02x instead of OK", (unsigned)byte);
}

/* The server's SIZE is this one. */
static void
expect_size(struct raw *r, uint32_t want)
{
    uint32_t size = 0;

    assert_int_equal(raw_tiny_size(r, raw_tiny_byte(r), &size), 0);
    assert_int_equal(size, want);
}

static void
expect_payload(struct raw *r, const char *text)
{
    char *got = raw_tiny_payload(r, (uint32_t)strlen(text));

    assert_non_null(got);
    assert_string_equal(got, text);
    free(got);
}

/* --- opening --- */

static void
a_wrong_opening_ends_the_connection(void **state)
{
    static const uint8_t wrong[] = {0x00, 0x01, 'G', 0xf0, 0xfc, 0xfd, 0xfe};
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "journal");

    (void)state;
    for (size_t i = 0; i < sizeof(wrong); i++) {
        struct raw r;

        raw_begin(&r, &raw_tiny, &d->listeners[0]);
        raw_say(&r, &wrong[i], 1);
        expect_error(&r);
        raw_expect_counts(d, 0, 0, 0, i + 1);
    }
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
an_opening_that_never_comes_is_closed_without_a_word(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?idle_timeout=2s", "echo");
    struct raw r;

    (void)state;
    raw_begin(&r, &raw_tiny, &d->listeners[0]);
    raw_expect_end(&r);
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_expect_end(&r);
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_echo(&r, 10, 0);
    raw_expect_end(&r);
    raw_expect_counts(d, 1, 0, 0, 0);
    daemon_stop(d);
}

static void
one_connection_too_many_hears_conlimit(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2,
                                                             .handler = "echo",
                                                             .listen = {"tinyproto://127.0.0.1:0"},
                                                             .set = {"max_connections=2"}});
    struct raw held[2], extra;

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        raw_connect(&held[i], &raw_tiny, &d->listeners[0], RAW_WHOLE);
    for (unsigned i = 0; i < 6; i++) {
        raw_begin(&extra, &raw_tiny, &d->listeners[0]);
        if (i % 2 == 0)
            (void)raw_write(&extra, "\xff", 1);
        assert_int_equal(raw_tiny_byte(&extra), RAW_TINY_CONLIMIT);
        raw_expect_end(&extra);
    }
    WAIT_FOR(stats_total(d, "refused") == 6, 5000);
    for (unsigned i = 0; i < 2; i++)
        raw_echo(&held[i], 100, i);
    raw_close(&held[0]);
    WAIT_FOR(stats_total(d, "open") == 1, 5000);
    raw_connect(&extra, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_echo(&extra, 100, 0);
    daemon_stop(d);
}

/* --- sizes --- */

static void
a_size_over_the_limit_gets_generic_error(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?max_message_size=1000", "echo");
    static const uint32_t sizes[] = {1001, 65536, 0xf0000000, 0xf0ffffff};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        struct raw r;

        raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_BYTES);
        raw_echo(&r, 1000, 0);
        assert_int_equal(raw_tiny_ask(&r, sizes[i]), 0);
        expect_error(&r);
        raw_expect_counts(d, i + 1, 0, 0, i + 1);
    }
    daemon_stop(d);
}

static void
no_size_begins_with_more_than_f0(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "echo");
    struct raw r;

    (void)state;
    raw_begin(&r, &raw_tiny, &d->listeners[0]);
    raw_say_vector(&r, "tinyproto", "open");
    expect_ok(&r);
    raw_say_vector(&r, "tinyproto", "size-too-large");
    expect_error(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    daemon_stop(d);
}

static void
a_huge_size_and_then_silence_ends_as_an_error(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?timeout=2s", "journal");
    struct raw r[20];

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        raw_connect(&r[i], &raw_tiny, &d->listeners[0], RAW_WHOLE);
        assert_int_equal(raw_tiny_ask(&r[i], 0xf0ffffff), 0);
        assert_int_equal(raw_tiny_await_ok(&r[i]), 0);
        raw_say(&r[i], "some", 4);
    }
    for (unsigned i = 0; i < 20; i++)
        expect_error(&r[i]);
    raw_expect_counts(d, 0, 0, 0, 20);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
the_packets_of_old_clients_are_understood(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "echo");
    struct raw r;

    (void)state;
    for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_BYTES; manner++) {
        raw_begin(&r, &raw_tiny, &d->listeners[0]);
        r.manner = manner;
        raw_say_vector(&r, "tinyproto", "open");
        expect_ok(&r);
        raw_say_vector(&r, "tinyproto", "size-5");
        expect_ok(&r);
        raw_say_vector(&r, "tinyproto", "payload");
        expect_size(&r, 5);
        expect_payload(&r, "hello");
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
an_empty_message_is_taken_with_its_size(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "\0\0\0\0", 4);
    expect_ok(&r);
    raw_expect_counts(d, 1, 0, 0, 0);
    raw_say(&r, "\0\0\0\0\0\0\0\0", 8);
    expect_ok(&r);
    expect_ok(&r);
    raw_expect_counts(d, 3, 0, 0, 0);
    raw_close(&r);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 3);
}

/* A client that does not wait for any OK, not even that of the opening: it knows each by its
 * place. */
static void
messages_sent_without_waiting_are_answered_in_order(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "echo");
    char bytes[1 + 200 * 104];
    struct raw r;

    (void)state;
    bytes[0] = (char)RAW_TINY_OK;
    for (unsigned k = 0; k < 200; k++) {
        char *body = raw_body(100, k), *at = bytes + 1 + k * 104;

        memcpy(at, "\0\0\0\x64", 4);
        memcpy(at + 4, body, 100);
        free(body);
    }
    for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_PIECES; manner++) {
        raw_begin(&r, &raw_tiny, &d->listeners[0]);
        r.manner = manner;
        raw_say(&r, bytes, sizeof(bytes));
        expect_ok(&r);
        for (unsigned k = 0; k < 200; k++)
            assert_int_equal(raw_tiny_await_ok(&r), 0);
        for (unsigned k = 0; k < 200; k++) {
            char *body = raw_body(100, k);

            raw_expect(&r, body, 100);
            free(body);
        }
        raw_close(&r);
    }
    raw_expect_counts(d, 600, 0, 0, 0);
    daemon_stop(d);
}

/* --- signals out of place --- */

static void
a_signal_where_none_belongs_is_an_error(void **state)
{
    static const uint8_t signals[] = {0xf1, RAW_TINY_CONFLICT, RAW_TINY_CONLIMIT, RAW_TINY_OK};
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "echo");

    (void)state;
    for (size_t i = 0; i < sizeof(signals); i++) {
        struct raw r;

        raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
        raw_echo(&r, 50, 0);
        raw_say(&r, &signals[i], 1);
        expect_error(&r);
        raw_expect_counts(d, i + 1, 0, 0, i + 1);
    }
    daemon_stop(d);
}

static void
anything_but_ok_to_the_server_s_size_ends_the_connection(void **state)
{
    static const uint8_t signals[] = {0xf1, RAW_TINY_CONFLICT, RAW_TINY_CONLIMIT};
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "echo");

    (void)state;
    for (size_t i = 0; i < sizeof(signals); i++) {
        struct raw r;

        raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
        assert_int_equal(raw_tiny.send(&r, "hello", 5), 0);
        expect_size(&r, 5);
        raw_say(&r, &signals[i], 1);
        expect_error(&r);
        raw_expect_counts(d, i + 1, 0, 0, i + 1);
    }
    daemon_stop(d);
}

static void
no_answer_to_the_server_s_size_ends_the_connection(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?timeout=2s", "echo");
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(raw_tiny.send(&r, "hello", 5), 0);
    expect_size(&r, 5);
    expect_error(&r);
    raw_expect_counts(d, 1, 0, 0, 1);
    daemon_stop(d);
}

/* --- both sides send --- */

static void
the_server_sends_by_itself(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "broadcast");
    struct raw a, b;

    (void)state;
    raw_connect(&a, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_connect(&b, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    WAIT_FOR(stats_total(d, "open") == 2, 5000);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(raw_tiny.send(&a, "from a", 6), 0);
        raw_expect(&b, "from a", 6);
        assert_int_equal(raw_tiny.send(&b, "", 0), 0);
        raw_expect(&a, "", 0);
    }
    daemon_stop(d);
}

/* The server's SIZE is out when the client's comes: the client's has the way, however often. */
static void
the_server_yields_where_both_begin(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "broadcast");
    struct raw a, b;

    (void)state;
    raw_connect(&a, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_connect(&b, &raw_tiny, &d->listeners[0], RAW_BYTES);
    WAIT_FOR(stats_total(d, "open") == 2, 5000);
    assert_int_equal(raw_tiny.send(&a, "first", 5), 0);
    assert_int_equal(raw_tiny.send(&a, "second one", 10), 0);
    expect_size(&b, 5);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(raw_tiny_ask(&b, 6), 0);
        expect_ok(&b);
        raw_say(&b, "from b", 6);
        raw_expect(&a, "from b", 6);
    }
    expect_payload(&b, "first");
    expect_size(&b, 10);
    expect_payload(&b, "second one");
    raw_expect_counts(d, 5, 0, 0, 0);
    daemon_stop(d);
}

/* Both SIZEs are on their way at the same time: the server finds the client's in its socket when it
 * has something to send. */
static void
transmissions_that_cross_on_their_way_both_arrive(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "broadcast");
    struct proc_list workers;
    struct raw a, b;

    (void)state;
    daemon_workers(d, &workers);
    raw_connect(&a, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    raw_connect(&b, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    WAIT_FOR(stats_total(d, "open") == 2, 5000);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(raw_tiny_ask(&a, 6), 0);
        assert_int_equal(raw_tiny_await_ok(&a), 0);
        proc_stop(workers.pid[0]);
        raw_say(i % 2 == 0 ? &a : &b, i % 2 == 0 ? "from a" : "\0\0\0\6", i % 2 == 0 ? 6 : 4);
        raw_say(i % 2 == 0 ? &b : &a, i % 2 == 0 ? "\0\0\0\6" : "from a", i % 2 == 0 ? 4 : 6);
        proc_go_on(workers.pid[0]);
        assert_int_equal(raw_tiny_await_ok(&b), 0);
        raw_say(&b, "from b", 6);
        raw_expect(&a, "from b", 6);
        raw_expect(&b, "from a", 6);
    }
    raw_expect_counts(d, 40, 0, 0, 0);
    daemon_stop(d);
}

/* --- cut short, silence --- */

static void
a_transmission_cut_short_is_never_handed_on(void **state)
{
    static const char bytes[] = "\xff\0\0\0\x05hello";
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    for (size_t cut = 0; cut < sizeof(bytes) - 1; cut++)
        for (unsigned reset = 0; reset < 2; reset++) {
            raw_begin(&r, &raw_tiny, &d->listeners[0]);
            raw_say(&r, bytes, cut);
            if (reset)
                peer_reset_on_close(&r.peer);
            raw_close(&r);
        }
    WAIT_FOR(stats_total(d, "accepted") == 20 && stats_total(d, "open") == 0, 5000);
    raw_expect_counts(d, 0, 0, 0, 0);
    raw_begin(&r, &raw_tiny, &d->listeners[0]);
    raw_say(&r, bytes, sizeof(bytes) - 1);
    raw_close(&r);
    raw_expect_counts(d, 1, 0, 0, 0);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
silence_inside_a_transmission_is_an_error_at_every_place(void **state)
{
    static const char bytes[] = "\0\0\0\x05hello";
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?timeout=2s", "journal");
    struct raw r[8];

    (void)state;
    for (size_t cut = 1; cut <= 8; cut++) {
        raw_connect(&r[cut - 1], &raw_tiny, &d->listeners[0], RAW_WHOLE);
        raw_say(&r[cut - 1], bytes, cut);
    }
    for (size_t cut = 1; cut <= 8; cut++) {
        if (cut >= 4)
            expect_ok(&r[cut - 1]);
        expect_error(&r[cut - 1]);
    }
    raw_expect_counts(d, 0, 0, 0, 8);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

/* --- the handler says no --- */

#define REFUSES_NO "handler=exec&exec=once&command=grep%20-v%20no%20%7C%7C%20exit%2065"

static void
a_refused_message_ends_the_connection_where_a_reply_is_due(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?" REFUSES_NO, NULL);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(raw_tiny.send(&r, "yes", 3), 0);
    assert_int_equal(raw_tiny.send(&r, "no", 2), 0);
    raw_expect(&r, "yes\n", 4);
    expect_error(&r);
    WAIT_FOR(stats_total(d, "rej") == 1, 5000);
    assert_int_equal(stats_total(d, "messages"), 1);
    daemon_stop(d);
}

static void
a_refused_message_is_counted_where_nothing_is_answered(void **state)
{
    struct daemon *d = raw_daemon("tinyproto://127.0.0.1:0?reply=no&" REFUSES_NO, NULL);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_tiny, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(raw_tiny.send(&r, "yes", 3), 0);
    assert_int_equal(raw_tiny.send(&r, "no", 2), 0);
    assert_int_equal(raw_tiny.send(&r, "yes", 3), 0);
    raw_expect_counts(d, 2, 1, 0, 0);
    r.kind->finish(&r);
    raw_expect_end(&r);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_wrong_opening_ends_the_connection),
        SYSTEM_TEST(an_opening_that_never_comes_is_closed_without_a_word),
        SYSTEM_TEST(one_connection_too_many_hears_conlimit),
        SYSTEM_TEST(a_size_over_the_limit_gets_generic_error),
        SYSTEM_TEST(no_size_begins_with_more_than_f0),
        SYSTEM_TEST(a_huge_size_and_then_silence_ends_as_an_error),
        SYSTEM_TEST(the_packets_of_old_clients_are_understood),
        SYSTEM_TEST(an_empty_message_is_taken_with_its_size),
        SYSTEM_TEST(messages_sent_without_waiting_are_answered_in_order),
        SYSTEM_TEST(a_signal_where_none_belongs_is_an_error),
        SYSTEM_TEST(anything_but_ok_to_the_server_s_size_ends_the_connection),
        SYSTEM_TEST(no_answer_to_the_server_s_size_ends_the_connection),
        SYSTEM_TEST(the_server_sends_by_itself),
        SYSTEM_TEST(the_server_yields_where_both_begin),
        SYSTEM_TEST(transmissions_that_cross_on_their_way_both_arrive),
        SYSTEM_TEST(a_transmission_cut_short_is_never_handed_on),
        SYSTEM_TEST(silence_inside_a_transmission_is_an_error_at_every_place),
        SYSTEM_TEST(a_refused_message_ends_the_connection_where_a_reply_is_due),
        SYSTEM_TEST(a_refused_message_is_counted_where_nothing_is_answered),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
