/* The handshake of cnp on the server's side: what it agrees to in either dialect, what it refuses,
 * and how long it waits. */
#include "cnp_packets.h"

#include <jansson.h>

/* Limits small enough to be met. */
static void
small_limits(struct proto_peer *p, const void *arg)
{
    (void)arg;
    p->limits.packet_size_max = 1000;
    p->limits.window_size = 10;
}

static json_t *
syn_ack(struct proto_peer *p, size_t header)
{
    const char *at = buffer_bytes(&p->said);
    json_t *json;

    assert_true(p->said.len > header);
    assert_true(p->said.len < 1024);
    assert_int_equal(at[4], T_ACK);
    json = json_loadb(at + header, p->said.len - header, 0, NULL);
    assert_non_null(json);
    buffer_consume(&p->said, p->said.len);
    return json;
}

struct agreed {
    const char *syn;
    const char *answer; /* without status, session_id and message */
};

/* The SYN-ACK has exactly the agreed members and the three of every one. */
static void
check_agreed(json_t *json, const char *answer)
{
    json_t *expected = json_loads(answer, 0, NULL);

    assert_non_null(expected);
    assert_string_equal(json_string_value(json_object_get(json, "status")), "ok");
    assert_string_equal(json_string_value(json_object_get(json, "session_id")), "0123456789abcdef");
    assert_true(json_is_string(json_object_get(json, "message")));
    json_object_del(json, "status");
    json_object_del(json, "session_id");
    json_object_del(json, "message");
    if (!json_equal(json, expected))
        fail_msg("got %s, expected %s", json_dumps(json, 0), answer);
    json_decref(expected);
    json_decref(json);
}

static void
parameters_are_the_smaller_of_both_sides(void **state)
{
#define AGREED(size, mode, window, fragments)                                             \
    "{\"max_packet_size\": " size ", \"max_size\": " size ", \"operation_mode\": \"" mode \
    "\", \"window_size\": " window ", \"fragments\": " fragments "}"
    static const struct agreed cases[] = {
        {"{}", AGREED("1000", "step-by-step", "10", "false")},
        {BURST, AGREED("1000", "burst", "10", "false")},
        {"{\"max_packet_size\": 7, \"window_size\": 3, \"fragments\": true}",
         AGREED("7", "step-by-step", "3", "true")},
        {"{\"max_size\": 8}", AGREED("8", "step-by-step", "10", "false")},
        {"{\"max_size\": 8, \"max_packet_size\": 9}", AGREED("9", "step-by-step", "10", "false")},
        {"{\"max_packet_size\": 4294967296, \"window_size\": 9223372036854775807}",
         AGREED("1000", "step-by-step", "10", "false")},
        {"{\"max_packet_size\": 1, \"window_size\": 1, \"operation_mode\": \"step-by-step\"}",
         AGREED("1", "step-by-step", "1", "false")},
        {"{\"client_id\": \"me\", \"more\": [1, {}]}",
         AGREED("1000", "step-by-step", "10", "false")},
        {"{\"client_id\": null, \"window_size\": null}",
         AGREED("1000", "step-by-step", "10", "false")},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;
        struct buffer wire = {0};

        proto_peer_init(&p, &cnp_protocol);
        small_limits(&p, NULL);
        proto_peer_begin(&p, PROTO_SERVER);
        put(&wire, T_DATA, 0, cases[i].syn);
        hear(&p, &wire);
        check_agreed(syn_ack(&p, 11), cases[i].answer);
        assert_false(p.closed);
        proto_peer_fini(&p);
    }
}

static void
the_second_dialect_is_told_from_its_syn(void **state)
{
    static const struct agreed cases[] = {
        {"{\"protocol\": \"gbn\", \"max_fragment_size\": 3, \"window_size\": 4}",
         "{\"protocol\": \"gbn\", \"max_fragment_size\": 3, \"window_size\": 4}"},
        {"{\"protocol\": \"sr\"}",
         "{\"protocol\": \"sr\", \"max_fragment_size\": 1000, \"window_size\": 10}"},
        {"{}", "{\"protocol\": \"gbn\", \"max_fragment_size\": 1000, \"window_size\": 10}"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (int last = 0; last < 2; last++) {
            struct proto_peer p;
            struct buffer wire = {0};

            proto_peer_init(&p, &cnp_protocol);
            small_limits(&p, NULL);
            proto_peer_begin(&p, PROTO_SERVER);
            put_second(&wire, 0x01, 0, last, cases[i].syn);
            hear(&p, &wire);
            check_agreed(syn_ack(&p, 12), cases[i].answer);
            proto_peer_fini(&p);
        }
}

static void
unacceptable_parameters_are_an_error_and_the_end(void **state)
{
    static const char *const first[] = {
        "{\"operation_mode\": \"fast\"}",
        "{\"operation_mode\": 1}",
        "{\"max_packet_size\": 0}",
        "{\"max_packet_size\": -1}",
        "{\"max_packet_size\": \"7\"}",
        "{\"max_packet_size\": 7.5}",
        "{\"max_packet_size\": 99999999999999999999}",
        "{\"max_size\": 0, \"max_packet_size\": 7}",
        "{\"window_size\": 0}",
        "{\"window_size\": true}",
        "{\"fragments\": 1}",
        "{\"client_id\": 7}",
        "{\"window_size\": 1, \"window_size\": 2}",
        "[]",
        "{",
        "{\"client_id\": \"\xff\"}",
        "",
    };
    static const char *const second[] = {
        "{\"protocol\": \"tcp\"}",
        "{\"max_fragment_size\": 0}",
        "{\"window_size\": []}",
        "7",
    };
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(first) + MS_ARRAY_LEN(second); i++) {
        bool is_second = i >= MS_ARRAY_LEN(first);

        proto_peer_init(&p, &cnp_protocol);
        proto_peer_begin(&p, PROTO_SERVER);
        if (is_second)
            put_second(&wire, 1, 3, 0, second[i - MS_ARRAY_LEN(first)]);
        else
            put(&wire, 1, 3, first[i]);
        put(&wire, T_ACK, 0, PEER_SESSION);
        hear(&p, &wire);
        expect_packet(&p, T_ACK, 3, is_second ? 0 : -1, "{\"status\": \"error\", \"message\": \"");
        expect_silence(&p);
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        proto_peer_fini(&p);
    }
}

/* --- what ends it early --- */

static void
anything_else_before_it_is_complete_is_the_end(void **state)
{
    static const struct {
        bool after_syn;
        int type;
        const char *payload, *code;
    } cases[] = {
        {false, T_ACK, "{}", "\"handshake\""},
        {false, T_KEEPALIVE, "", "\"handshake\""},
        {false, 0x63, "x", "\"handshake\""},
        {true, T_DATA, "data", "\"handshake\""},
        {true, T_KEEPALIVE, "", "\"handshake\""},
        {true, T_DISCONNECT, "", "\"handshake\""},
        {true, T_FRAGMENT, "x", "\"handshake\""},
        {true, T_ACK, "ACK", "\"bad-session\""},
        {true, T_ACK, "{}", "\"bad-session\""},
        {true, T_ACK, "{\"session_id\": 1}", "\"bad-session\""},
        {true, T_ACK, "{\"session_id\": \"0123456789abcdee\"}", "\"bad-session\""},
        {true, 0x03, "{\"session_id\": \"0123456789abcdef0\"}", "\"bad-session\""},
        {true, 0x03, "", "\"bad-session\""},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;
        struct buffer wire = {0};

        proto_peer_init(&p, &cnp_protocol);
        proto_peer_begin(&p, PROTO_SERVER);
        if (cases[i].after_syn)
            put(&wire, T_DATA, 0, "{}");
        put(&wire, cases[i].type, 5, cases[i].payload);
        hear(&p, &wire);
        if (cases[i].after_syn)
            expect(&p, T_ACK, 0, "\"ok\"");
        expect(&p, T_ERROR, 5, cases[i].code);
        expect_silence(&p);
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        proto_peer_fini(&p);
    }
}

static void
a_step_may_not_be_longer_than_4096_bytes(void **state)
{
    char *text = ms_calloc(1, 4098);

    (void)state;
    memset(text, ' ', 4097);
    memcpy(text, "{}", 2);
    for (int at = 0; at < 2; at++)
        for (size_t n = 4096; n <= 4097; n++) {
            struct proto_peer p;
            struct buffer wire = {0};

            proto_peer_init(&p, &cnp_protocol);
            proto_peer_begin(&p, PROTO_SERVER);
            if (at == 1) {
                put(&wire, T_DATA, 0, "{}");
                memcpy(text, PEER_SESSION, strlen(PEER_SESSION));
            }
            put_packet(&wire, at == 0 ? T_DATA : T_ACK, 0, -1, text, n);
            hear(&p, &wire);
            expect(&p, at == 0 && n > 4096 ? T_ERROR : T_ACK, 0, "");
            assert_int_equal(p.closed, n > 4096);
            proto_peer_fini(&p);
        }
    free(text);
}

static void
what_is_turned_away_is_told_so_in_a_packet(void **state)
{
    char out[PROTO_REFUSAL_MAX];
    struct proto_peer p;

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    buffer_append(&p.said, out, cnp_protocol.refusal("busy", "too many", out));
    expect(&p, T_ERROR, 0, "{\"error\": \"busy\", \"message\": \"too many\"}");
    proto_peer_fini(&p);
}

/* --- damage --- */

static void
a_damaged_step_is_waited_for_again(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    put_damaged(&wire, T_DATA, 0, "{}");
    hear(&p, &wire);
    expect(&p, T_ERROR, 0, "\"checksum\"");
    put_second(&wire, 0x01, 9, 0, "{}");
    wire.data[wire.head + wire.len - 1] ^= 1;
    hear(&p, &wire);
    expect_packet(&p, 0x05, 9, 0, "\"checksum\"");
    put(&wire, T_DATA, 0, "{}");
    hear(&p, &wire);
    expect(&p, T_ACK, 0, "\"ok\"");
    put_damaged(&wire, T_ACK, 1, PEER_SESSION);
    hear(&p, &wire);
    expect(&p, T_ERROR, 1, "\"checksum\"");
    put(&wire, 0x03, 1, PEER_SESSION);
    put(&wire, T_DATA, 1, "first");
    hear(&p, &wire);
    expect_ack(&p, 1);
    proto_peer_expect_delivered(&p, 0, "first", 5);
    assert_int_equal(p.tally.nack1, 3);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
a_syn_ack_that_was_damaged_is_said_again(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    put(&wire, T_DATA, 0, "{}");
    hear(&p, &wire);
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        expect(&p, T_ACK, 0, "\"ok\"");
        put(&wire, T_ERROR, 0, "{\"error\": \"checksum\", \"message\": \"\"}");
        hear(&p, &wire);
    }
    expect(&p, T_ACK, 0, "\"ok\"");
    put(&wire, T_ERROR, 0, "{\"error\": \"checksum\", \"message\": \"\"}");
    hear(&p, &wire);
    expect(&p, T_ERROR, 0, "\"bad-session\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
data_behind_a_damaged_step_is_dropped_until_it_comes_again(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    put(&wire, T_DATA, 0, "{\"max_packet_size\": 8}");
    put_damaged(&wire, T_ACK, 0, PEER_SESSION);
    put(&wire, T_DATA, 1, "dropped");
    put_damaged(&wire, T_DATA, 2, "dropped");
    put(&wire, T_DATA, 0, "");
    put(&wire, T_ACK, 0, PEER_SESSION);
    put(&wire, T_DATA, 1, "taken");
    hear(&p, &wire);
    expect(&p, T_ACK, 0, "\"ok\"");
    expect(&p, T_ERROR, 0, "\"checksum\"");
    expect_ack(&p, 1);
    expect_silence(&p);
    assert_int_equal(p.delivered_count, 1);
    proto_peer_expect_delivered(&p, 0, "taken", 5);
    proto_peer_fini(&p);
}

static void
damage_without_end_is_the_end(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        put_damaged(&wire, T_DATA, i, "{}");
        hear(&p, &wire);
        expect(&p, T_ERROR, i, "\"checksum\"");
    }
    put_damaged(&wire, T_DATA, 99, "{}");
    hear(&p, &wire);
    expect(&p, T_ERROR, 99, "\"retries\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

/* --- time --- */

static void
a_handshake_that_never_ends_is_ended(void **state)
{
    struct buffer whole = {0};

    (void)state;
    put(&whole, T_DATA, 7, "{}");
    for (size_t n = 1; n <= whole.len; n++) {
        struct proto_peer p;

        proto_peer_init(&p, &cnp_protocol);
        proto_peer_begin(&p, PROTO_SERVER);
        assert_true(cnp_protocol.idle(&p.state));
        for (size_t i = 0; i < n; i++) { /* bytes alone buy no time */
            assert_true(proto_peer_patience(&p) > 0);
            proto_peer_hear(&p, buffer_bytes(&whole) + i, 1, 1, false);
            proto_peer_wait(&p, 1000);
        }
        assert_false(cnp_protocol.idle(&p.state));
        if (n == whole.len)
            expect(&p, T_ACK, 7, "\"ok\"");
        assert_true(proto_peer_patience(&p) <= p.limits.timeout_us);
        proto_peer_wait(&p, proto_peer_patience(&p));
        expect(&p, T_ERROR, n < CNP_HEADER_LEN || n == whole.len ? 0 : 7, "\"timeout\"");
        assert_true(p.closed);
        proto_peer_fini(&p);
    }
    buffer_fini(&whole);
}

static void
silence_from_the_first_is_closed_in_silence(void **state)
{
    struct proto_peer p;

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    expect_silence(&p);
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    proto_peer_wait(&p, p.limits.idle_timeout_us);
    expect_silence(&p);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

/* --- cut anywhere --- */

static void
check_first(struct proto_peer *p, const void *arg)
{
    (void)arg;
    expect(p, T_ACK, 0, "\"window_size\": 5");
    expect_ack(p, 1);
    expect_silence(p);
    proto_peer_expect_delivered(p, 0, "Hello World", 11);
}

static void
check_second(struct proto_peer *p, const void *arg)
{
    (void)arg;
    expect_packet(p, T_ACK, 0, 0, "\"gbn\"");
    expect_packet(p, T_ACK, 0, 0, "ACK");
    expect_packet(p, T_ACK, 1, 0, "ACK");
    expect_silence(p);
    proto_peer_expect_delivered(p, 0, "Hello", 5);
}

static void
both_dialects_pass_cut_anywhere(void **state)
{
    struct buffer first = {0}, second = {0};
    struct peer_case c = {.proto = &cnp_protocol};

    (void)state;
    put_handshake(&first, "{\"operation_mode\": \"burst\", \"window_size\": 5}");
    put(&first, T_DATA, 1, "Hello World");
    c.data = buffer_bytes(&first);
    c.n = first.len;
    c.check = check_first;
    peer_case_run(&c);
    put_second(&second, 0x01, 0, 0, "{\"protocol\": \"gbn\", \"max_fragment_size\": 3}");
    put_second(&second, 0x03, 0, 0, PEER_SESSION);
    put_second(&second, 0x04, 0, 0, "Hel");
    put_second(&second, 0x04, 1, 1, "lo");
    c.data = buffer_bytes(&second);
    c.n = second.len;
    c.check = check_second;
    peer_case_run(&c);
    buffer_fini(&first);
    buffer_fini(&second);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_the_smaller_of_both_sides),
        cmocka_unit_test(the_second_dialect_is_told_from_its_syn),
        cmocka_unit_test(unacceptable_parameters_are_an_error_and_the_end),
        cmocka_unit_test(anything_else_before_it_is_complete_is_the_end),
        cmocka_unit_test(a_step_may_not_be_longer_than_4096_bytes),
        cmocka_unit_test(what_is_turned_away_is_told_so_in_a_packet),
        cmocka_unit_test(a_damaged_step_is_waited_for_again),
        cmocka_unit_test(a_syn_ack_that_was_damaged_is_said_again),
        cmocka_unit_test(data_behind_a_damaged_step_is_dropped_until_it_comes_again),
        cmocka_unit_test(damage_without_end_is_the_end),
        cmocka_unit_test(a_handshake_that_never_ends_is_ended),
        cmocka_unit_test(silence_from_the_first_is_closed_in_silence),
        cmocka_unit_test(both_dialects_pass_cut_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
