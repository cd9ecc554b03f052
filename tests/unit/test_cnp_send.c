/* Messages of ours over cnp: replies and pushes cut into packets, kept until their ACK, sent again;
 * and the client's side of the handshake. */
#include "cnp_packets.h"

#include <errno.h>

static const struct verdict committed = {.outcome = PROTO_COMMITTED};

static void
push(struct proto_peer *p, const char *text)
{
    assert_int_equal(proto_peer_push(p, text, strlen(text)), 0);
}

/* A server that replies with what it gets. */
static void
begin_echo(struct proto_peer *p, const char *syn)
{
    proto_peer_init(p, &cnp_protocol);
    p->limits.reply = REPLY_YES;
    p->echo = true;
    peer_ready(p, syn);
}

/* --- the window --- */

static void
step_by_step_has_one_packet_in_flight(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{}");
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    push(&p, "three");
    expect_ack(&p, 1);
    expect(&p, T_DATA, 1, "one");
    expect_ack(&p, 2);
    expect_silence(&p);
    hear_one(&p, T_ACK, 2, "ACK"); /* of nothing */
    expect_silence(&p);
    hear_one(&p, T_ACK, 1, "ACK");
    expect(&p, T_DATA, 2, "two");
    hear_one(&p, T_ACK, 2, "ACK");
    expect(&p, T_DATA, 3, "three");
    assert_int_equal(p.results.sent, 3);
    assert_int_equal(p.results.delivered, 2);
    proto_peer_fini(&p);
}

static void
burst_has_a_window_of_them(void **state)
{
    struct proto_peer p;
    char text[2] = "a";

    (void)state;
    begin_echo(&p, BURST_OF_4);
    for (; text[0] < 'g'; text[0]++)
        push(&p, text);
    expect(&p, T_DATA, 1, "a");
    expect(&p, T_DATA, 2, "b");
    expect(&p, T_DATA, 3, "c");
    expect(&p, T_DATA, 4, "d");
    expect_silence(&p);
    hear_one(&p, T_ACK, 3, "ACK"); /* and the window waits for 1 */
    hear_one(&p, T_ACK, 3, "ACK"); /* a double */
    expect_silence(&p);
    hear_one(&p, T_ACK, 1, "ACK");
    expect(&p, T_DATA, 5, "e");
    expect_silence(&p);
    hear_one(&p, T_ACK, 2, "ACK");
    expect(&p, T_DATA, 6, "f");
    for (unsigned i = 4; i <= 6; i++)
        hear_one(&p, T_ACK, i, "ACK");
    assert_int_equal(p.results.delivered, 6);
    assert_true(cnp_protocol.idle(&p.state));
    assert_int_equal(packet_window_bytes(p.window), 0);
    proto_peer_fini(&p);
}

static void
who_sends_without_numbers_gets_none(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST_OF_4);
    hear_one(&p, T_DATA, 0, "one");
    hear_one(&p, T_DATA, 0, "two");
    expect_ack(&p, 0);
    expect(&p, T_DATA, 0, "one");
    expect_ack(&p, 0);
    expect_silence(&p);
    hear_one(&p, T_ACK, 0, "ACK");
    expect(&p, T_DATA, 0, "two");
    hear_one(&p, T_ACK, 0, "ACK");
    hear_one(&p, T_DATA, 1, "three");
    expect_ack(&p, 1);
    expect(&p, T_DATA, 1, "three");
    assert_int_equal(p.results.delivered, 2);
    proto_peer_fini(&p);
}

/* It was not known yet that the peer knows no numbers. */
static void
an_ack_without_number_is_for_the_oldest_packet(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{}");
    push(&p, "early");
    expect(&p, T_DATA, 1, "early");
    hear_one(&p, T_DATA, 0, "plain");
    expect_ack(&p, 0);
    hear_one(&p, T_ACK, 0, "ACK");
    expect(&p, T_DATA, 0, "plain");
    assert_int_equal(p.results.delivered, 1);
    proto_peer_fini(&p);
}

static void
an_ack_of_a_keepalive_is_no_ack_of_data(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{}");
    hear_one(&p, T_DATA, 0, "one");
    expect_ack(&p, 0);
    expect(&p, T_DATA, 0, "one");
    hear_one(&p, T_ACK, 0, "ACK");
    proto_peer_wait(&p, p.limits.keepalive_us);
    expect(&p, T_KEEPALIVE, 0, "");
    push(&p, "two");
    expect(&p, T_DATA, 0, "two");
    hear_one(&p, T_ACK, 0, "ACK");
    assert_int_equal(p.results.delivered, 1);
    hear_one(&p, T_ACK, 0, "ACK");
    assert_int_equal(p.results.delivered, 2);
    proto_peer_fini(&p);
}

static void
numbers_of_ours_go_round_after_65535(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{}");
    p.echo = false;
    for (unsigned i = 0; i < 65536; i++) {
        push(&p, "x");
        expect(&p, T_DATA, i % 65535 + 1, "x");
        hear_one(&p, T_ACK, i % 65535 + 1, "ACK");
    }
    assert_int_equal(p.results.delivered, 65536);
    proto_peer_fini(&p);
}

/* --- replies --- */

static void
replies_leave_in_the_order_of_their_messages(void **state)
{
    const struct verdict first = {.reply = "first", .reply_len = 5};
    const struct verdict second = {.reply = "second", .reply_len = 6};
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    hear_one(&p, T_DATA, 3, "three");
    p.hold = false;
    hear_one(&p, T_DATA, 4, "four"); /* settled at once */
    expect_ack(&p, 4);
    proto_peer_settle(&p, 1, &second);
    expect_ack(&p, 2);
    expect_silence(&p);
    proto_peer_settle(&p, 0, &first);
    expect_ack(&p, 1);
    expect(&p, T_DATA, 1, "first");
    expect(&p, T_DATA, 2, "second");
    proto_peer_settle(&p, 2, &committed); /* without a reply */
    expect_ack(&p, 3);
    expect(&p, T_DATA, 3, "four");
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
an_empty_reply_is_a_packet_too(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    hear_one(&p, T_DATA, 1, "");
    expect_ack(&p, 1);
    expect(&p, T_DATA, 1, "");
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
nothing_goes_back_where_no_reply_is_wanted(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    p.limits.reply = REPLY_AUTO;
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    expect_silence(&p);
    p.limits.answers = true;
    hear_one(&p, T_DATA, 2, "two");
    expect_ack(&p, 2);
    expect(&p, T_DATA, 1, "two");
    proto_peer_fini(&p);
}

static void
what_does_not_fit_is_cut_where_that_was_agreed(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, FRAGMENTS);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "x");
    proto_peer_settle(&p, 0, &(struct verdict){.reply = "12345678abcdefghz", .reply_len = 17});
    push(&p, "87654321");
    push(&p, "12345678abcdefgh");
    expect_ack(&p, 1);
    expect(&p, T_FRAGMENT, 1, "12345678");
    expect(&p, T_FRAGMENT, 2, "abcdefgh");
    expect(&p, T_DATA, 3, "z");
    expect(&p, T_DATA, 4, "87654321");
    expect_silence(&p);
    for (unsigned i = 1; i <= 4; i++)
        hear_one(&p, T_ACK, i, "ACK");
    expect(&p, T_FRAGMENT, 5, "12345678");
    expect(&p, T_DATA, 6, "abcdefgh");
    assert_int_equal(p.results.delivered, 2);
    proto_peer_fini(&p);
}

static void
what_does_not_fit_is_an_error_where_it_was_not(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{\"max_packet_size\": 4}");
    errno = 0;
    assert_int_equal(proto_peer_push(&p, "five5", 5), -1);
    assert_int_equal(errno, EMSGSIZE);
    expect_silence(&p);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "four");
    proto_peer_settle(&p, 0, &(struct verdict){.reply = "five5", .reply_len = 5});
    expect_ack(&p, 1);
    expect(&p, T_ERROR, 1, "\"too-large\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
a_push_before_the_handshake_waits_for_it(void **state)
{
    static const struct {
        const char *syn;
        bool fits;
    } cases[] = {{"{\"max_packet_size\": 5}", true}, {"{\"max_packet_size\": 4}", false}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct buffer wire = {0};
        struct proto_peer p;

        proto_peer_init(&p, &cnp_protocol);
        proto_peer_begin(&p, PROTO_SERVER);
        push(&p, "hello");
        expect_silence(&p);
        put_handshake(&wire, cases[i].syn);
        hear(&p, &wire);
        expect(&p, T_ACK, 0, "\"ok\"");
        expect(&p, cases[i].fits ? T_DATA : T_ERROR, cases[i].fits,
               cases[i].fits ? "hello" : "\"too-large\"");
        assert_int_equal(p.closed, !cases[i].fits);
        proto_peer_fini(&p);
    }
}

static void
a_peer_that_sends_on_without_taking_is_dropped(void **state)
{
    struct proto_peer p;
    size_t n = 1 << 20;
    char *large = ms_calloc(1, n);
    unsigned i = 0;

    (void)state;
    begin_echo(&p, "{}");
    while (!p.closed) {
        struct buffer wire = {0};

        assert_true(++i < 64);
        put_packet(&wire, T_DATA, i, -1, large, n);
        hear(&p, &wire);
    }
    assert_in_range(p.outbox.bytes, PROTO_REPLY_MAX, PROTO_REPLY_MAX + 2 * n);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
    free(large);
}

/* --- again --- */

static void
what_has_no_ack_is_sent_again_later_and_later(void **state)
{
    struct proto_peer p;
    uint64_t patience;

    (void)state;
    begin_echo(&p, BURST);
    p.limits.retries = 3;
    push(&p, "lost");
    expect(&p, T_DATA, 1, "lost");
    assert_false(cnp_protocol.idle(&p.state));
    patience = p.limits.timeout_us;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(proto_peer_patience(&p), patience);
        proto_peer_wait(&p, patience);
        expect(&p, T_DATA, 1, "lost");
        patience *= 2;
    }
    assert_int_equal(proto_peer_patience(&p), patience);
    proto_peer_wait(&p, patience);
    expect(&p, T_ERROR, 1, "\"retries\"");
    assert_true(p.closed);
    assert_int_equal(p.results.delivered, 0);
    proto_peer_fini(&p);
}

static void
only_what_is_due_is_sent_again(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    push(&p, "one");
    proto_peer_wait(&p, 500000);
    push(&p, "two");
    push(&p, "three");
    for (unsigned i = 1; i <= 3; i++)
        expect(&p, T_DATA, i, "");
    proto_peer_wait(&p, p.limits.timeout_us - 500000);
    expect(&p, T_DATA, 1, "one");
    expect_silence(&p);
    hear_one(&p, T_ACK, 2, "ACK");
    proto_peer_wait(&p, 500000);
    expect(&p, T_DATA, 3, "three");
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_damaged_packet_is_sent_again_at_once(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    p.limits.retries = 2;
    push(&p, "one");
    push(&p, "two");
    expect(&p, T_DATA, 1, "one");
    expect(&p, T_DATA, 2, "two");
    for (int i = 0; i < 2; i++) {
        hear_one(&p, T_ERROR, 2, "{\"error\": \"checksum\", \"message\": \"\"}");
        expect(&p, T_DATA, 2, "two");
    }
    hear_one(&p, T_ERROR, 7, "{\"error\": \"checksum\"}"); /* nothing of ours */
    hear_one(&p, T_ERROR, 8, "no JSON");
    expect_silence(&p);
    hear_one(&p, T_ERROR, 2, "{\"error\": \"checksum\"}");
    expect(&p, T_ERROR, 2, "\"retries\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
a_packet_that_is_always_damaged_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    p.limits.retries = UINT8_MAX;
    push(&p, "one");
    expect(&p, T_DATA, 1, "one");
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        hear_one(&p, T_ERROR, 1, "{\"error\": \"checksum\"}");
        expect(&p, T_DATA, 1, "one");
    }
    hear_one(&p, T_ERROR, 1, "{\"error\": \"checksum\"}");
    expect(&p, T_ERROR, 1, "\"retries\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
an_ack_that_is_always_damaged_ends_the_connection(void **state)
{
    static const uint8_t ack[] = {0, 0, 0, 3, T_ACK, 0, 1, 0, 0, 0, 0, 'A', 'C', 'K'};
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    push(&p, "one");
    expect(&p, T_DATA, 1, "one");
    for (unsigned i = 0; i <= p.limits.nack_limit; i++) {
        assert_false(p.closed);
        proto_peer_hear(&p, ack, sizeof(ack), 1, false);
        expect(&p, T_ERROR, 1, "\"checksum\"");
    }
    expect(&p, T_ERROR, 1, "\"retries\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

/* A peer that knows one number only, and was slower than our patience, answers both copies with
 * it. */
static void
an_answer_to_a_double_is_none_to_the_next_packet(void **state)
{
    static const struct {
        int type;
        const char *payload;
    } answers[] = {
        {T_ACK, "ACK"},
        {T_ERROR, "{\"error\": \"refused\"}"},
        {T_ERROR, "{\"error\": \"checksum\"}"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(answers); i++) {
        struct proto_peer p;

        begin_echo(&p, "{}");
        push(&p, "one");
        expect(&p, T_DATA, 1, "one");
        proto_peer_wait(&p, p.limits.timeout_us);
        expect(&p, T_DATA, 1, "one");
        push(&p, "two");
        hear_one(&p, T_ACK, 0, "ACK");
        expect(&p, T_DATA, 2, "two");
        hear_one(&p, answers[i].type, 0, answers[i].payload);
        expect_silence(&p);
        assert_int_equal(p.results.delivered, 1);
        assert_int_equal(p.results.refused, 0);
        hear_one(&p, T_ACK, 0, "ACK");
        assert_int_equal(p.results.delivered, 2);
        proto_peer_fini(&p);
    }
}

static void
a_copy_that_came_damaged_has_its_answer(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, "{}");
    push(&p, "one");
    push(&p, "two");
    expect(&p, T_DATA, 1, "one");
    hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\"}");
    expect(&p, T_DATA, 1, "one");
    hear_one(&p, T_ACK, 0, "ACK");
    expect(&p, T_DATA, 2, "two");
    hear_one(&p, T_ACK, 0, "ACK");
    assert_int_equal(p.results.delivered, 2);
    proto_peer_fini(&p);
}

static void
a_damaged_ack_is_said_again(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    p.echo = false;
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    hear_one(&p, T_ERROR, 1, "{\"error\": \"checksum\"}");
    expect_ack(&p, 1);
    hear_one(&p, T_ERROR, 2, "{\"error\": \"checksum\"}"); /* there was none yet */
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_refusal_of_the_peers_is_kept_for_who_asks(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_echo(&p, BURST);
    push(&p, "one");
    push(&p, "two");
    hear_one(&p, T_ERROR, 1, "{\"error\": \"refused\", \"message\": \"not today\"}");
    hear_one(&p, T_ACK, 2, "ACK");
    assert_int_equal(p.results.sent, 2);
    assert_int_equal(p.results.delivered, 1);
    assert_int_equal(p.results.refused, 1);
    assert_string_equal(p.results.refusal, "not today");
    assert_true(cnp_protocol.idle(&p.state));
    proto_peer_fini(&p);
}

/* --- the client --- */

#define SYN_ACK_OF(size, mode, window)                                                      \
    "{\"status\": \"ok\", \"session_id\": \"any \\\"word\\\"\", \"max_packet_size\": " size \
    ", \"max_size\": " size ", \"operation_mode\": \"" mode "\", \"window_size\": " window  \
    ", \"fragments\": false, \"message\": \"hi\"}"

static void
begin_client(struct proto_peer *p, uint32_t window)
{
    proto_peer_init(p, &cnp_protocol);
    p->limits.window_size = window;
    p->limits.packet_size_max = 1000;
    proto_peer_begin(p, PROTO_CLIENT);
}

static void
a_client_asks_and_takes_what_it_is_given(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 8);
    expect(&p, T_DATA, 0,
           "{\"operation_mode\": \"burst\", \"max_packet_size\": 1000, \"window_size\": 8, "
           "\"fragments\": true}");
    push(&p, "one");
    push(&p, "two");
    push(&p, "three");
    expect_silence(&p);
    hear_one(&p, T_ACK, 0, SYN_ACK_OF("5", "burst", "2"));
    expect(&p, T_ACK, 0, "{\"session_id\": \"any \\\"word\\\"\"}");
    expect(&p, T_DATA, 1, "one");
    expect(&p, T_DATA, 2, "two");
    expect_silence(&p);
    assert_int_equal(proto_peer_push(&p, "sixsix", 6), -1);
    hear_one(&p, T_ACK, 1, "ACK");
    expect(&p, T_DATA, 3, "three");
    hear_one(&p, T_DATA, 1, "reply");
    expect_ack(&p, 1);
    proto_peer_expect_delivered(&p, 0, "reply", 5);
    proto_peer_shutdown(&p);
    expect(&p, T_DISCONNECT, 0, "");
    proto_peer_fini(&p);
}

static void
a_client_with_a_window_of_one_goes_step_by_step(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 1);
    expect(&p, T_DATA, 0, "\"step-by-step\"");
    push(&p, "one");
    push(&p, "two");
    hear_one(&p, T_ACK, 0, SYN_ACK_OF("5", "step-by-step", "9"));
    expect(&p, T_ACK, 0, "session_id");
    expect(&p, T_DATA, 1, "one");
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_client_is_told_why_it_is_not_served(void **state)
{
    static const struct {
        int type;
        const char *payload, *refusal;
    } cases[] = {
        {T_ACK, "{\"status\": \"error\", \"message\": \"go away\"}", "go away"},
        {T_ACK, "{\"status\": \"error\"}", "SYN-ACK"},
        {T_ACK, "ACK", "SYN-ACK"},
        {T_ACK, "{\"status\": \"ok\"}", "session_id"},
        {T_ACK, "{\"status\": \"ok\", \"session_id\": \"x\", \"window_size\": 0}", "window_size"},
        {T_ERROR, "{\"error\": \"busy\", \"message\": \"too many\"}", "too many"},
        {T_ERROR, "?", "refused"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_client(&p, 8);
        expect(&p, T_DATA, 0, "");
        push(&p, "lost");
        hear_one(&p, cases[i].type, 0, cases[i].payload);
        assert_true(p.closed);
        expect_silence(&p);
        assert_non_null(strstr(p.results.refusal, cases[i].refusal));
        assert_int_equal(p.results.sent, 0);
        proto_peer_fini(&p);
    }
}

static void
a_last_step_that_is_always_damaged_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 8);
    expect(&p, T_DATA, 0, "\"burst\"");
    hear_one(&p, T_ACK, 0, SYN_ACK_OF("5", "burst", "2"));
    expect(&p, T_ACK, 0, "session_id");
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\"}");
        expect(&p, T_ACK, 0, "session_id");
    }
    hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\"}");
    expect(&p, T_ERROR, 0, "\"retries\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
a_client_says_its_syn_again_when_it_was_damaged(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 8);
    for (unsigned i = 0; i <= p.limits.nack_limit; i++) {
        expect(&p, T_DATA, 0, "\"burst\"");
        hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\", \"message\": \"damaged\"}");
    }
    expect_silence(&p);
    assert_true(p.closed);
    assert_string_equal(p.results.refusal, "damaged");
    proto_peer_fini(&p);
}

static void
a_client_says_its_last_step_again_until_it_has_arrived(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 8);
    expect(&p, T_DATA, 0, "\"burst\"");
    hear_one(&p, T_ACK, 0, SYN_ACK_OF("5", "burst", "2"));
    push(&p, "one");
    expect(&p, T_ACK, 0, "session_id");
    expect(&p, T_DATA, 1, "one");
    hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\", \"message\": \"\"}");
    expect(&p, T_ACK, 0, "session_id");
    expect_silence(&p);
    hear_one(&p, T_ACK, 1, "ACK");
    hear_one(&p, T_ERROR, 0, "{\"error\": \"checksum\", \"message\": \"\"}");
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_client_that_gets_no_answer_gives_up(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_client(&p, 8);
    expect(&p, T_DATA, 0, "");
    assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
    proto_peer_wait(&p, p.limits.timeout_us);
    assert_true(p.closed);
    expect_silence(&p);
    assert_non_null(strstr(p.results.refusal, "no answer"));
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_by_step_has_one_packet_in_flight),
        cmocka_unit_test(burst_has_a_window_of_them),
        cmocka_unit_test(who_sends_without_numbers_gets_none),
        cmocka_unit_test(an_ack_without_number_is_for_the_oldest_packet),
        cmocka_unit_test(an_ack_of_a_keepalive_is_no_ack_of_data),
        cmocka_unit_test(numbers_of_ours_go_round_after_65535),
        cmocka_unit_test(replies_leave_in_the_order_of_their_messages),
        cmocka_unit_test(an_empty_reply_is_a_packet_too),
        cmocka_unit_test(nothing_goes_back_where_no_reply_is_wanted),
        cmocka_unit_test(what_does_not_fit_is_cut_where_that_was_agreed),
        cmocka_unit_test(what_does_not_fit_is_an_error_where_it_was_not),
        cmocka_unit_test(a_push_before_the_handshake_waits_for_it),
        cmocka_unit_test(a_peer_that_sends_on_without_taking_is_dropped),
        cmocka_unit_test(what_has_no_ack_is_sent_again_later_and_later),
        cmocka_unit_test(only_what_is_due_is_sent_again),
        cmocka_unit_test(a_damaged_packet_is_sent_again_at_once),
        cmocka_unit_test(a_packet_that_is_always_damaged_ends_the_connection),
        cmocka_unit_test(an_ack_that_is_always_damaged_ends_the_connection),
        cmocka_unit_test(an_answer_to_a_double_is_none_to_the_next_packet),
        cmocka_unit_test(a_copy_that_came_damaged_has_its_answer),
        cmocka_unit_test(a_damaged_ack_is_said_again),
        cmocka_unit_test(a_refusal_of_the_peers_is_kept_for_who_asks),
        cmocka_unit_test(a_client_asks_and_takes_what_it_is_given),
        cmocka_unit_test(a_client_with_a_window_of_one_goes_step_by_step),
        cmocka_unit_test(a_client_is_told_why_it_is_not_served),
        cmocka_unit_test(a_client_says_its_syn_again_when_it_was_damaged),
        cmocka_unit_test(a_last_step_that_is_always_damaged_ends_the_connection),
        cmocka_unit_test(a_client_says_its_last_step_again_until_it_has_arrived),
        cmocka_unit_test(a_client_that_gets_no_answer_gives_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
