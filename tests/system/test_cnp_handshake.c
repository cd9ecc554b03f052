/* cnp: the handshake (docs/protocol.md 3.2), what keeps a connection alive and ends it (3.3), and
 * the packets of clients that others have written. */
#include "journal.h"
#include "raw_cnp.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sends a SYN and returns the SYN-ACK's payload, which the caller frees. */
static char *
syn(struct raw *r, const char *json)
{
    struct raw_packet p;

    raw_cnp_say(r, RAW_CNP_DATA, 7, json);
    if (raw_cnp_get(r, &p) < 0)
        fail_msg("no SYN-ACK to %s", json);
    if (p.type != RAW_CNP_ACK || p.sequence != 7 || !p.sound)
        fail_msg("type %u, sequence %u to %s: %.200s", p.type, p.sequence, json, p.payload);
    return p.payload;
}

/* --- the handshake --- */

static void
the_handshake_takes_the_smaller_of_both(void **state)
{
    static const struct {
        const char *syn;
        long long size, window; /* window -1: the server's own */
        const char *mode;
    } rows[] = {
        {"{}", 5000, -1, "step-by-step"},
        {"{\"operation_mode\": \"step-by-step\"}", 5000, -1, "step-by-step"},
        {"{\"operation_mode\": \"burst\", \"max_packet_size\": 1000}", 1000, -1, "burst"},
        {"{\"operation_mode\": \"burst\", \"max_packet_size\": 6000, \"window_size\": 5}", 5000, 5,
         "burst"},
        {"{\"operation_mode\": \"burst\", \"window_size\": 500}", 5000, 20, "burst"},
        {"{\"max_size\": 999}", 999, -1, "step-by-step"},
        {"{\"max_size\": 999, \"client_id\": \"\\u00e9\", \"more\": [1, {\"a\": null}]}", 999, -1,
         "step-by-step"},
        {" { \"window_size\" : 1,\n\"operation_mode\":\"burst\" } ", 5000, 1, "burst"},
        {"{\"max_packet_size\": 4294967296}", 5000, -1, "step-by-step"},
    };
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?packet_size_max=5000&window_size=20", "echo");
    char session[64], last[64] = "", text[128];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct raw r;
        char *json;

        raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
        r.manner = i % 2 == 0 ? RAW_WHOLE : RAW_BYTES;
        json = syn(&r, rows[i].syn);
        raw_cnp_expect_word(json, "status", "ok");
        raw_cnp_expect_word(json, "operation_mode", rows[i].mode);
        raw_cnp_expect_number(json, "max_packet_size", rows[i].size);
        raw_cnp_expect_number(json, "max_size", rows[i].size);
        assert_non_null(strstr(json, "\"fragments\":"));
        assert_non_null(strstr(json, "\"message\":"));
        if (rows[i].window >= 0)
            raw_cnp_expect_number(json, "window_size", rows[i].window);
        raw_cnp_word(json, "session_id", session);
        assert_int_equal(strspn(session, "0123456789abcdef"), 16);
        assert_int_equal(strlen(session), 16);
        assert_string_not_equal(session, last);
        memcpy(last, session, sizeof(last));
        free(json);
        snprintf(text, sizeof(text), "{\"session_id\": \"%s\"}", session);
        raw_cnp_say(&r, i % 3 == 0 ? 0x03 : 0x02, 0, text);
        raw_cnp_say(&r, RAW_CNP_DATA, 1, "hello");
        raw_cnp_expect_ack(&r, 1);
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
unacceptable_parameters_are_told_and_end_the_connection(void **state)
{
    static const char *const syns[] = {
        "[]",
        "{",
        "\"burst\"",
        "{\"operation_mode\": \"both\"}",
        "{\"operation_mode\": 1}",
        "{\"max_packet_size\": 0}",
        "{\"max_packet_size\": -1}",
        "{\"max_packet_size\": \"many\"}",
        "{\"max_packet_size\": 1.5}",
        "{\"window_size\": 0}",
        "{\"window_size\": []}",
        "{\"fragments\": 1}",
        "{\"fragments\": true} x",
        "\xff\xfe",
        "{\"client_id\": \"\xc0\x80\"}",
    };
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(syns); i++) {
        struct raw r;
        char *json;

        raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
        json = syn(&r, syns[i]);
        raw_cnp_expect_word(json, "status", "error");
        assert_non_null(strstr(json, "\"message\":"));
        free(json);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, i + 1);
    }
    daemon_stop(d);
}

static void
a_wrong_session_ends_the_connection(void **state)
{
    static const char *const steps[] = {
        "{\"session_id\": \"0123456789abcdef\"}",
        "{\"session_id\": 7}",
        "{}",
        "[]",
        "{\"session",
        "{\"session_id\": \"\"}",
    };
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(steps); i++) {
        struct raw r;

        raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
        free(syn(&r, "{}"));
        raw_cnp_say(&r, i % 2 == 0 ? 0x02 : 0x03, 3, steps[i]);
        raw_cnp_say(&r, RAW_CNP_DATA, 1, "never");
        raw_cnp_expect_error(&r, "bad-session", 3);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, i + 1);
    }
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
nothing_else_may_come_before_the_handshake_is_complete(void **state)
{
    static const uint8_t first[] = {0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x63};
    static const uint8_t second[] = {0x00, 0x01, 0x04, 0x05, 0x06, 0x07};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    unsigned errors = 0;
    struct raw r;

    (void)state;
    for (size_t i = 0; i < sizeof(first); i++) {
        raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
        raw_cnp_say(&r, first[i], 9, "{}");
        raw_cnp_expect_error(&r, "handshake", 9);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, ++errors);
    }
    for (size_t i = 0; i < sizeof(second); i++) {
        raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
        free(syn(&r, "{}"));
        raw_cnp_say(&r, second[i], 9, "early");
        raw_cnp_expect_error(&r, "handshake", 9);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, ++errors);
    }
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
a_damaged_handshake_is_asked_for_again(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");
    char session[64], text[128];
    struct raw r;
    char *json;

    (void)state;
    raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_DATA, 7, "{\"window_size\": 3}", 18), 0);
    raw_cnp_expect_error(&r, "checksum", 7);
    json = syn(&r, "{\"window_size\": 3}");
    raw_cnp_word(json, "session_id", session);
    free(json);
    snprintf(text, sizeof(text), "{\"session_id\": \"%s\"}", session);
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_ACK, 8, text, strlen(text)), 0);
    raw_cnp_expect_error(&r, "checksum", 8);
    raw_cnp_say(&r, RAW_CNP_ACK, 8, text);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "hello");
    raw_cnp_expect_ack(&r, 1);
    raw_expect_counts(d, 1, 0, 2, 0);
    raw_close(&r);
    daemon_stop(d);
}

static void
a_handshake_that_does_not_end_is_a_timeout_at_every_place(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?timeout=300ms", "journal");
    uint8_t packet[64];
    struct raw r[14];
    size_t n;

    (void)state;
    memset(r, 0, sizeof(r));
    n = raw_cnp_encode(&r[0], packet, RAW_CNP_DATA, 0, "{}", 2);
    assert_int_equal(n, 13);
    for (size_t cut = 1; cut <= n; cut++) {
        raw_begin(&r[cut], &raw_cnp_step, &d->listeners[0]);
        raw_say(&r[cut], packet, cut);
    }
    for (size_t cut = 1; cut <= n; cut++) {
        struct raw_packet p;

        if (cut == n) {
            assert_int_equal(raw_cnp_get(&r[cut], &p), 0);
            free(p.payload);
        }
        raw_cnp_expect_error(&r[cut], "timeout", 0);
        raw_expect_end(&r[cut]);
    }
    raw_expect_counts(d, 0, 0, 0, n);
    daemon_stop(d);
}

static void
a_syn_that_is_too_long_is_refused_at_once(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");
    struct raw r;

    (void)state;
    raw_begin(&r, &raw_cnp_step, &d->listeners[0]);
    raw_say(&r, "\xff\xff\xff\xff\1\0\0abcd", 11);
    raw_cnp_expect_error(&r, "handshake", 0);
    raw_expect_end(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    daemon_stop(d);
}

static void
one_connection_too_many_is_told_so_in_a_packet(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1,
                                                             .handler = "echo",
                                                             .listen = {"cnp://127.0.0.1:0"},
                                                             .set = {"max_connections=1"}});
    struct raw held, extra;

    (void)state;
    raw_connect(&held, &raw_cnp_step, &d->listeners[0], RAW_WHOLE);
    for (unsigned i = 0; i < 4; i++) {
        raw_begin(&extra, &raw_cnp_step, &d->listeners[0]);
        if (i % 2 == 0)
            raw_cnp_say(&extra, RAW_CNP_DATA, 0, "{}");
        raw_cnp_expect_error(&extra, "busy", 0);
        raw_expect_end(&extra);
    }
    WAIT_FOR(stats_total(d, "refused") == 4, 5000);
    raw_echo(&held, 1000, 0);
    daemon_stop(d);
}

/* --- alive, and leaving --- */

static void
a_keepalive_is_answered(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_step, &d->listeners[0], RAW_WHOLE);
    raw_cnp_say(&r, RAW_CNP_KEEPALIVE, 4711, "");
    raw_cnp_expect_ack(&r, 4711);
    raw_cnp_say(&r, RAW_CNP_KEEPALIVE, 0, "");
    raw_cnp_expect_ack(&r, 0);
    raw_echo(&r, 100, 0);
    raw_close(&r);
    daemon_stop(d);
}

static void
a_client_that_is_silent_is_asked_and_then_left(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?keepalive=100ms&timeout=1s", "echo");
    struct raw_packet p;
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_step, &d->listeners[0], RAW_WHOLE);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(raw_cnp_get(&r, &p), 0);
        assert_int_equal(p.type, RAW_CNP_KEEPALIVE);
        assert_int_equal(p.len, 0);
        assert_true(p.sound);
        raw_cnp_say(&r, RAW_CNP_ACK, p.sequence, "ACK");
        free(p.payload);
    }
    raw_echo(&r, 100, 0);
    assert_int_equal(raw_cnp_get(&r, &p), 0);
    assert_int_equal(p.type, RAW_CNP_KEEPALIVE); /* and now no answer */
    free(p.payload);
    raw_expect_end(&r);
    assert_int_equal(stats_total(d, "messages"), 1);
    daemon_stop(d);
}

/* What was sent before it is still committed and acknowledged. */
static void
disconnect_is_acknowledged_behind_everything_else(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    uint8_t bytes[256];
    size_t n = 0;
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_burst, &d->listeners[0], RAW_WHOLE);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_DATA, 1, "one", 3);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_DATA, 2, "two", 3);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_FRAGMENT, 3, "never whole", 11);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_DISCONNECT, 4, "bye", 3);
    raw_say(&r, bytes, n);
    raw_cnp_expect_ack(&r, 3);
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_expect_ack(&r, 2);
    raw_cnp_expect_ack(&r, 4);
    raw_expect_end(&r);
    raw_expect_counts(d, 2, 0, 0, 0);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

static void
a_packet_cut_short_is_never_handed_on(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    uint8_t packet[64];
    struct raw r;
    size_t n;

    (void)state;
    for (size_t cut = 1; cut < 16; cut++)
        for (unsigned reset = 0; reset < 2; reset++) {
            raw_connect(&r, &raw_cnp_step, &d->listeners[0], RAW_WHOLE);
            n = raw_cnp_encode(&r, packet, RAW_CNP_DATA, 1, "hello", 5);
            assert_int_equal(n, 16);
            raw_say(&r, packet, cut);
            if (reset)
                peer_reset_on_close(&r.peer);
            raw_close(&r);
        }
    WAIT_FOR(stats_total(d, "accepted") == 30 && stats_total(d, "open") == 0, 5000);
    raw_expect_counts(d, 0, 0, 0, 0);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
silence_inside_a_packet_is_a_timeout(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?timeout=2s", "journal");
    uint8_t packet[64];
    struct raw r[16];

    (void)state;
    for (size_t cut = 1; cut < 16; cut++) {
        raw_connect(&r[cut], &raw_cnp_step, &d->listeners[0], RAW_WHOLE);
        raw_cnp_encode(&r[cut], packet, RAW_CNP_DATA, 1, "hello", 5);
        raw_say(&r[cut], packet, cut);
    }
    for (size_t cut = 1; cut < 16; cut++) {
        raw_cnp_expect_error(&r[cut], "timeout", cut < 11 ? 0 : 1);
        raw_expect_end(&r[cut]);
    }
    raw_expect_counts(d, 0, 0, 0, 15);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

/* --- packets of others --- */

/* The server's next bytes are these. */
static void
expect_vector(struct raw *r, const char *name)
{
    size_t n;
    uint8_t *want = raw_vector("cnp", name, &n), got[64];

    assert_int_equal(peer_read(&r->peer, got, n), 0);
    assert_memory_equal(got, want, n);
    free(want);
}

static void
packets_of_old_clients_are_understood(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");

    (void)state;
    for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_BYTES; manner++) {
        char session[64], text[128];
        struct raw_packet p;
        struct raw r;

        raw_begin(&r, &raw_cnp_burst, &d->listeners[0]);
        r.manner = manner;
        raw_say_vector(&r, "cnp", "syn");
        assert_int_equal(raw_cnp_get(&r, &p), 0);
        raw_cnp_expect_word(p.payload, "operation_mode", "burst");
        raw_cnp_expect_number(p.payload, "max_packet_size", 1024);
        raw_cnp_expect_number(p.payload, "window_size", 5);
        raw_cnp_word(p.payload, "session_id", session);
        free(p.payload);
        snprintf(text, sizeof(text), "{\"session_id\": \"%s\"}", session);
        raw_cnp_say(&r, 0x03, 0, text);
        raw_say_vector(&r, "cnp", "data-bad-checksum");
        raw_cnp_expect_error(&r, "checksum", 1);
        raw_say_vector(&r, "cnp", "data-1");
        expect_vector(&r, "ack-1");
        raw_say_vector(&r, "cnp", "disconnect");
        raw_cnp_expect_ack(&r, 0);
        raw_expect_end(&r);
    }
    raw_expect_counts(d, 2, 0, 2, 0);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_handshake_takes_the_smaller_of_both),
        SYSTEM_TEST(unacceptable_parameters_are_told_and_end_the_connection),
        SYSTEM_TEST(a_wrong_session_ends_the_connection),
        SYSTEM_TEST(nothing_else_may_come_before_the_handshake_is_complete),
        SYSTEM_TEST(a_damaged_handshake_is_asked_for_again),
        SYSTEM_TEST(a_handshake_that_does_not_end_is_a_timeout_at_every_place),
        SYSTEM_TEST(a_syn_that_is_too_long_is_refused_at_once),
        SYSTEM_TEST(one_connection_too_many_is_told_so_in_a_packet),
        SYSTEM_TEST(a_keepalive_is_answered),
        SYSTEM_TEST(a_client_that_is_silent_is_asked_and_then_left),
        SYSTEM_TEST(disconnect_is_acknowledged_behind_everything_else),
        SYSTEM_TEST(a_packet_cut_short_is_never_handed_on),
        SYSTEM_TEST(silence_inside_a_packet_is_a_timeout),
        SYSTEM_TEST(packets_of_old_clients_are_understood),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
