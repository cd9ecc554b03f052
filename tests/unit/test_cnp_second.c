/* The second dialect of cnp (docs/protocol.md 3.4): 12-byte headers, numbers that begin at 0 with
 * each message, NACK. */
#include "cnp_packets.h"

enum {
    S_SYN = 0x01,
    S_ACK = 0x02,
    S_STEP = 0x03,
    S_DATA = 0x04,
    S_NACK = 0x05,
    S_DISCONNECT = 0x06,
    S_CHANNEL = 0x63,
};

#define GBN "{\"protocol\": \"gbn\", \"max_fragment_size\": 8, \"window_size\": 4}"
#define SR  "{\"protocol\": \"sr\", \"max_fragment_size\": 8, \"window_size\": 4}"

static void
hear_second(struct proto_peer *p, int type, unsigned seq, int last, const char *text)
{
    struct buffer wire = {0};

    put_second(&wire, type, seq, last, text);
    hear(p, &wire);
}

static void
hear_damaged(struct proto_peer *p, unsigned seq, int last, const char *text)
{
    struct buffer wire = {0};

    put_second(&wire, S_DATA, seq, last, text);
    wire.data[wire.head + wire.len - 1] ^= 1;
    hear(p, &wire);
}

static void
begin(struct proto_peer *p, const char *syn)
{
    proto_peer_init(p, &cnp_protocol);
    proto_peer_begin(p, PROTO_SERVER);
    hear_second(p, S_SYN, 0, 0, syn);
    expect_packet(p, S_ACK, 0, 0, "\"ok\"");
    hear_second(p, S_CHANNEL, 1, 0, "loss=0");
    hear_second(p, S_STEP, 0, 0, PEER_SESSION);
    expect_silence(p);
    assert_false(p->closed);
}

static void
the_last_step_may_leave_the_session_out_but_not_have_another(void **state)
{
    static const struct {
        int type;
        const char *payload;
        const char *code; /* NULL: complete */
    } cases[] = {
        {S_STEP, "", NULL},
        {S_STEP, "anything", NULL},
        {S_STEP, "{\"other\": 1}", NULL},
        {S_STEP, PEER_SESSION, NULL},
        {S_STEP, "{\"session_id\": \"else\"}", "\"bad-session\""},
        {S_STEP, "{\"session_id\": 7}", "\"bad-session\""},
        {S_DATA, "data", "\"handshake\""},
        {S_ACK, "ACK", "\"handshake\""},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        proto_peer_init(&p, &cnp_protocol);
        proto_peer_begin(&p, PROTO_SERVER);
        hear_second(&p, S_SYN, 0, 0, GBN);
        expect_packet(&p, S_ACK, 0, 0, "\"ok\"");
        hear_second(&p, cases[i].type, 3, 0, cases[i].payload);
        if (cases[i].code != NULL)
            expect_packet(&p, S_NACK, 3, 0, cases[i].code);
        expect_silence(&p);
        assert_int_equal(p.closed, cases[i].code != NULL);
        proto_peer_fini(&p);
    }
}

static void
numbers_begin_at_0_with_each_message(void **state)
{
    static const char *const protocols[] = {GBN, SR};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(protocols); i++) {
        struct proto_peer p;

        begin(&p, protocols[i]);
        for (int k = 0; k < 3; k++) {
            hear_second(&p, S_DATA, 0, 0, "12345678");
            expect_packet(&p, S_ACK, 0, 0, "ACK");
            hear_second(&p, S_DATA, 1, 1, "9");
            expect_packet(&p, S_ACK, 1, 0, "ACK");
            hear_second(&p, S_DATA, 0, 1, "same"); /* twice is two messages */
            expect_packet(&p, S_ACK, 0, 0, "ACK");
        }
        expect_silence(&p);
        assert_int_equal(p.delivered_count, 6);
        proto_peer_expect_delivered(&p, 4, "123456789", 9);
        proto_peer_expect_delivered(&p, 5, "same", 4);
        assert_true(cnp_protocol.idle(&p.state));
        proto_peer_fini(&p);
    }
}

static void
a_damaged_packet_gets_a_nack_with_its_number(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, GBN);
    hear_second(&p, S_DATA, 0, 0, "good");
    hear_damaged(&p, 1, 0, "bad");
    expect_packet(&p, S_ACK, 0, 0, "ACK");
    expect_packet(&p, S_NACK, 1, 0, "checksum");
    hear_second(&p, S_DATA, 2, 0, "three"); /* an ACK of it would speak for packet 1 too */
    expect_silence(&p);
    hear_second(&p, S_DATA, 1, 0, "two");
    hear_second(&p, S_DATA, 2, 0, "three");
    hear_second(&p, S_DATA, 3, 1, "four");
    expect_packet(&p, S_ACK, 1, 0, "ACK");
    expect_packet(&p, S_ACK, 2, 0, "ACK");
    expect_packet(&p, S_ACK, 3, 0, "ACK");
    proto_peer_expect_delivered(&p, 0, "goodtwothreefour", 16);
    assert_int_equal(p.tally.nack1, 1);
    proto_peer_fini(&p);
}

static void
selective_repeat_keeps_what_is_beyond_a_gap(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, SR);
    hear_damaged(&p, 0, 0, "one");
    hear_second(&p, S_DATA, 3, 1, "four");
    hear_second(&p, S_DATA, 1, 0, "two");
    hear_second(&p, S_DATA, 1, 0, "two");
    hear_second(&p, S_DATA, 0, 0, "one");
    expect_packet(&p, S_NACK, 0, 0, "checksum");
    expect_packet(&p, S_ACK, 1, 0, "ACK");
    expect_packet(&p, S_ACK, 1, 0, "ACK");
    expect_packet(&p, S_ACK, 0, 0, "ACK");
    expect_silence(&p);
    hear_second(&p, S_DATA, 2, 0, "three");
    expect_packet(&p, S_ACK, 2, 0, "ACK");
    expect_packet(&p, S_ACK, 3, 0, "ACK");
    proto_peer_expect_delivered(&p, 0, "onetwothreefour", 15);
    /* The end once more, and then a message that looks like it from behind. */
    hear_second(&p, S_DATA, 3, 1, "four");
    expect_packet(&p, S_ACK, 3, 0, "ACK");
    expect_silence(&p);
    assert_true(cnp_protocol.idle(&p.state));
    hear_second(&p, S_DATA, 0, 0, "1");
    expect_packet(&p, S_ACK, 0, 0, "ACK");
    hear_second(&p, S_DATA, 3, 1, "four");
    expect_silence(&p);
    hear_second(&p, S_DATA, 1, 0, "2");
    hear_second(&p, S_DATA, 2, 0, "3");
    proto_peer_expect_delivered(&p, 1, "123four", 7);
    proto_peer_fini(&p);
}

/* Its ACK got lost. The number may be beyond the window of the next message. */
static void
the_end_of_a_message_is_acknowledged_again(void **state)
{
    static const char *const protocols[] = {GBN, SR};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(protocols); i++) {
        struct proto_peer p;

        begin(&p, protocols[i]);
        for (unsigned k = 0; k < 6; k++) {
            hear_second(&p, S_DATA, k, k == 5, "part");
            expect_packet(&p, S_ACK, k, 0, "ACK");
        }
        for (int k = 0; k < 2; k++) {
            hear_damaged(&p, 5, 1, "part");
            expect_packet(&p, S_NACK, 5, 0, "checksum");
            hear_second(&p, S_DATA, 5, 1, "part");
            expect_packet(&p, S_ACK, 5, 0, "ACK");
        }
        hear_damaged(&p, 0, 0, "next"); /* has begun all the same */
        expect_packet(&p, S_NACK, 0, 0, "checksum");
        hear_second(&p, S_DATA, 5, 1, "part");
        expect_packet(&p, S_NACK, 5, 0, "\"window\"");
        assert_true(p.closed);
        assert_int_equal(p.delivered_count, 1);
        proto_peer_fini(&p);
    }
}

static void
a_packet_beyond_the_window_or_too_large_is_the_end(void **state)
{
    static const struct {
        unsigned sequence;
        const char *text, *code;
    } cases[] = {{4, "x", "\"window\""}, {65535, "x", "\"window\""}, {0, "123456789", "too-large"}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin(&p, SR);
        hear_second(&p, S_DATA, cases[i].sequence, 0, cases[i].text);
        expect_packet(&p, S_NACK, cases[i].sequence, 0, cases[i].code);
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        proto_peer_fini(&p);
    }
}

static void
the_last_ack_waits_for_the_handler(void **state)
{
    static const struct verdict committed = {.outcome = PROTO_COMMITTED};
    struct proto_peer p;

    (void)state;
    begin(&p, SR);
    p.hold = true;
    hear_second(&p, S_DATA, 0, 0, "a");
    hear_second(&p, S_DATA, 1, 1, "b");
    expect_packet(&p, S_ACK, 0, 0, "ACK");
    hear_second(&p, S_DATA, 1, 1, "b"); /* its sender's patience is short */
    hear_second(&p, S_DATA, 0, 0, "a");
    expect_silence(&p);
    proto_peer_settle(&p, 0, &committed);
    expect_packet(&p, S_ACK, 1, 0, "ACK");
    assert_int_equal(p.held_count, 1);
    hear_second(&p, S_DATA, 0, 1, "next");
    assert_int_equal(p.held_count, 2);
    hear_second(&p, S_DISCONNECT, 9, 0, "");
    expect_silence(&p);
    proto_peer_settle(&p, 1, &committed);
    expect_packet(&p, S_ACK, 0, 0, "ACK");
    expect_packet(&p, S_ACK, 9, 0, "ACK");
    assert_true(p.answers.ended);
    proto_peer_fini(&p);
}

static void
a_refused_message_is_the_end(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, SR);
    p.verdict = (struct verdict){.outcome = PROTO_REFUSED, .code = "refused", .text = "no"};
    hear_second(&p, S_DATA, 0, 1, "x");
    expect_packet(&p, S_NACK, 0, 0, "{\"error\": \"refused\", \"message\": \"no\"}");
    expect_silence(&p);
    assert_true(p.closed);
    assert_int_equal(p.tally.rej, 1);
    proto_peer_fini(&p);
}

static void
replies_are_cut_and_follow_one_another(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, SR);
    assert_int_equal(proto_peer_push(&p, "12345678abcdefghz", 17), 0);
    assert_int_equal(proto_peer_push(&p, "next", 4), 0);
    expect_packet(&p, S_DATA, 0, 0, "12345678");
    expect_packet(&p, S_DATA, 1, 0, "abcdefgh");
    expect_packet(&p, S_DATA, 2, 1, "z");
    expect_silence(&p);
    hear_second(&p, S_NACK, 1, 0, "NACK");
    expect_packet(&p, S_DATA, 1, 0, "abcdefgh");
    hear_second(&p, S_ACK, 0, 0, "ACK");
    hear_second(&p, S_ACK, 2, 0, "ACK");
    expect_silence(&p);
    hear_second(&p, S_ACK, 1, 0, "ACK");
    expect_packet(&p, S_DATA, 0, 1, "next");
    proto_peer_fini(&p);
}

static void
an_idle_connection_is_closed_without_being_asked(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, SR);
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    proto_peer_wait(&p, p.limits.idle_timeout_us);
    expect_silence(&p);
    assert_true(p.closed);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_step_may_leave_the_session_out_but_not_have_another),
        cmocka_unit_test(numbers_begin_at_0_with_each_message),
        cmocka_unit_test(a_damaged_packet_gets_a_nack_with_its_number),
        cmocka_unit_test(selective_repeat_keeps_what_is_beyond_a_gap),
        cmocka_unit_test(the_end_of_a_message_is_acknowledged_again),
        cmocka_unit_test(a_packet_beyond_the_window_or_too_large_is_the_end),
        cmocka_unit_test(the_last_ack_waits_for_the_handler),
        cmocka_unit_test(a_refused_message_is_the_end),
        cmocka_unit_test(replies_are_cut_and_follow_one_another),
        cmocka_unit_test(an_idle_connection_is_closed_without_being_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
