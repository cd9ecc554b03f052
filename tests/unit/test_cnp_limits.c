/* cnp after the handshake: how large and how slow a packet or message may be. */
#include "cnp_packets.h"

/* --- limits --- */

static void
a_length_over_the_limit_is_the_end_before_a_byte_of_it(void **state)
{
    static const struct {
        const char *syn;
        uint64_t max_message;
        int type;
        unsigned sequence;
        uint32_t length;
        const char *code;
    } cases[] = {
        {"{\"max_packet_size\": 8}", 100, T_DATA, 0, 9, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 100, T_DATA, 1, 9, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 100, T_DATA, 2, UINT32_MAX, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 4, T_DATA, 1, 5, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 100, T_ACK, 1, 4097, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 100, T_DISCONNECT, 0, UINT32_MAX, "\"too-large\""},
        {"{\"max_packet_size\": 8}", 100, T_FRAGMENT, 1, 1, "\"fragments\""},
        {"{\"max_packet_size\": 8}", 100, 0, 1, 0, "\"bad-type\""},
        {"{\"max_packet_size\": 8}", 100, 7, 1, 0, "\"bad-type\""},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        uint8_t head[11] = {(uint8_t)(cases[i].length >> 24), (uint8_t)(cases[i].length >> 16),
                            (uint8_t)(cases[i].length >> 8),  (uint8_t)cases[i].length,
                            (uint8_t)cases[i].type,           0,
                            (uint8_t)cases[i].sequence};
        struct proto_peer p;

        proto_peer_init(&p, &cnp_protocol);
        p.limits.max_message_size = cases[i].max_message;
        peer_ready(&p, cases[i].syn);
        proto_peer_hear(&p, head, 11, 1, false);
        expect(&p, T_ERROR, cases[i].sequence, cases[i].code);
        expect_silence(&p);
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        assert_in_range(p.store.ledger.used, 0, 4096);
        proto_peer_fini(&p);
    }
}

static void
fragments_make_no_message_over_the_limit(void **state)
{
    struct proto_peer p;

    (void)state;
    for (int gap = 0; gap < 2; gap++) {
        proto_peer_init(&p, &cnp_protocol);
        p.limits.max_message_size = 10;
        peer_ready(&p, FRAGMENTS);
        if (gap != 0)
            hear_one(&p, T_DATA, 2, "sixsix");
        hear_one(&p, T_FRAGMENT, 1, "five5");
        if (gap == 0)
            hear_one(&p, T_DATA, 2, "sixsix");
        expect_ack(&p, 1);
        expect(&p, T_ERROR, 2, "\"too-large\"");
        assert_true(p.closed);
        assert_int_equal(p.delivered_count, 0);
        proto_peer_fini(&p);
    }
}

static void
control_packets_may_be_larger_than_the_packets_agreed(void **state)
{
    struct proto_peer p;
    char *text = ms_calloc(1, 4097);

    (void)state;
    memset(text, 'x', 4096);
    begin_ready(&p, "{\"max_packet_size\": 1}");
    hear_one(&p, T_ACK, 9, text);
    hear_one(&p, T_ERROR, 9, text);
    hear_one(&p, T_KEEPALIVE, 9, text);
    expect_ack(&p, 9);
    hear_one(&p, T_DISCONNECT, 8, text);
    expect_ack(&p, 8);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
    free(text);
}

/* --- time --- */

static void
silence_is_asked_about_and_then_ended(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, "{}");
    p.limits.idle_timeout_us = UINT64_C(3600000000);
    assert_true(cnp_protocol.idle(&p.state));
    for (int i = 0; i < 3; i++) { /* one that answers may stay for a while */
        assert_int_equal(proto_peer_patience(&p), p.limits.keepalive_us);
        proto_peer_wait(&p, p.limits.keepalive_us);
        expect(&p, T_KEEPALIVE, 0, "");
        assert_int_equal(proto_peer_patience(&p), 3 * p.limits.timeout_us);
        proto_peer_wait(&p, 1000000);
        hear_one(&p, T_ACK, 0, "ACK");
    }
    proto_peer_wait(&p, p.limits.keepalive_us);
    expect(&p, T_KEEPALIVE, 0, "");
    proto_peer_wait(&p, 3 * p.limits.timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    assert_true(p.closed);
    expect_silence(&p);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
answers_to_keepalives_alone_keep_no_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, "{}");
    p.limits.keepalive_us = p.limits.idle_timeout_us / 2;
    for (int i = 0; i < 2; i++) { /* each message begins the time anew */
        proto_peer_wait(&p, p.limits.keepalive_us);
        expect(&p, T_KEEPALIVE, 0, "");
        hear_one(&p, T_ACK, 0, "ACK");
        hear_one(&p, T_DATA, 0, "a message");
        expect_ack(&p, 0);
    }
    proto_peer_wait(&p, p.limits.keepalive_us);
    expect(&p, T_KEEPALIVE, 0, "");
    hear_one(&p, T_ACK, 0, "ACK");
    assert_false(p.closed);
    proto_peer_wait(&p, p.limits.idle_timeout_us - p.limits.keepalive_us);
    assert_true(p.closed);
    expect_silence(&p);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
a_keepalive_is_answered_with_its_sequence(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, "{}");
    p.hold = true;
    hear_one(&p, T_DATA, 1, "with its handler");
    hear_one(&p, T_KEEPALIVE, 0, "");
    hear_one(&p, T_KEEPALIVE, 777, "");
    expect_ack(&p, 0);
    expect_ack(&p, 777);
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_packet_that_never_ends_is_ended(void **state)
{
    struct buffer whole = {0};

    (void)state;
    put(&whole, T_DATA, 7, "payload");
    for (size_t n = 1; n < whole.len; n++) {
        struct proto_peer p;

        begin_ready(&p, "{}");
        proto_peer_hear(&p, buffer_bytes(&whole), n, PEER_WHOLE, true);
        assert_false(cnp_protocol.idle(&p.state));
        assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
        proto_peer_wait(&p, p.limits.timeout_us);
        expect(&p, T_ERROR, n < CNP_HEADER_LEN ? 0 : 7, "\"timeout\"");
        assert_true(p.closed);
        assert_int_equal(p.delivered_count, 0);
        proto_peer_fini(&p);
    }
    buffer_fini(&whole);
}

/* A byte a second: too slow, whether in a packet, between fragments or beyond a gap. */
static void
a_message_that_comes_too_slowly_is_ended(void **state)
{
    static const struct {
        int type;
        unsigned sequence;
    } firsts[] = {{0, 0}, {T_FRAGMENT, 1}, {T_DATA, 2}};
    struct proto_peer p;
    struct buffer slow = {0};
    char payload[64] = {0};

    (void)state;
    memset(payload, 'x', sizeof(payload) - 1);
    put(&slow, T_FRAGMENT, 3, payload);
    for (size_t i = 0; i < MS_ARRAY_LEN(firsts); i++) {
        size_t at = 0;

        begin_ready(&p, "{\"fragments\": true}");
        if (firsts[i].type != 0)
            hear_one(&p, firsts[i].type, firsts[i].sequence, "x");
        proto_peer_expect_said(&p, buffer_bytes(&p.said), p.said.len);
        while (!p.closed) {
            assert_true(at < slow.len);
            proto_peer_hear(&p, buffer_bytes(&slow) + at++, 1, 1, false);
            proto_peer_wait(&p, 1000000);
        }
        assert_in_range(at, 10, 11);
        expect(&p, T_ERROR, at < CNP_HEADER_LEN ? 0 : 3, "\"timeout\"");
        proto_peer_fini(&p);
    }
    buffer_fini(&slow);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_over_the_limit_is_the_end_before_a_byte_of_it),
        cmocka_unit_test(fragments_make_no_message_over_the_limit),
        cmocka_unit_test(control_packets_may_be_larger_than_the_packets_agreed),
        cmocka_unit_test(silence_is_asked_about_and_then_ended),
        cmocka_unit_test(answers_to_keepalives_alone_keep_no_connection),
        cmocka_unit_test(a_keepalive_is_answered_with_its_sequence),
        cmocka_unit_test(a_packet_that_never_ends_is_ended),
        cmocka_unit_test(a_message_that_comes_too_slowly_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
