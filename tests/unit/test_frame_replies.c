/* Plain frames: what becomes of each verdict, and what a framing can carry. */
#include "frame_peer.h"

#include "common/base.h"

#include <errno.h>

/* --- replies --- */

static void
an_echo_comes_back_in_the_framing_it_came_in(void **state)
{
    static const struct {
        struct framing framing;
        const char *wire;
        size_t wire_len, count;
    } echoes[] = {
        {LENGTH32, "\0\0\0\5hello\0\0\0\0\0\0\0\1x", 18, 3},
        {FIXED(4), "abcdefgh", 8, 2},
        {LINES, "hello\n\nx\n", 9, 3},
        {DELIMITER("--"), "hello----x-y--", 14, 3},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(echoes); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            struct proto_peer p;

            frame_begin(&p, echoes[i].framing);
            p.limits.reply = REPLY_YES;
            p.echo = true;
            proto_peer_hear(&p, echoes[i].wire, echoes[i].wire_len, piece, false);
            proto_peer_expect_said(&p, echoes[i].wire, echoes[i].wire_len);
            assert_int_equal(p.tally.messages, echoes[i].count);
            assert_int_equal(p.tally.packets, echoes[i].count);
            assert_int_equal(p.tally.acks, 0);
            assert_false(p.closed);
            proto_peer_fini(&p);
        }
}

static void
a_long_echo_comes_back_at_once_or_at_its_place(void **state)
{
    static uint8_t wire[100004];
    struct proto_peer p;

    (void)state;
    be32_store(wire, sizeof(wire) - 4);
    memcpy(wire + 4, sample_stream(1 << 16), 1 << 16);
    for (int later = 0; later < 2; later++) {
        struct verdict yes = {
            .outcome = PROTO_COMMITTED, .reply = wire + 4, .reply_len = sizeof(wire) - 4};

        frame_begin(&p, (struct framing)LENGTH32);
        p.limits.reply = REPLY_YES;
        p.hold = later != 0;
        p.echo = !p.hold;
        frame_hear(&p, (const char *)wire, sizeof(wire));
        if (p.hold)
            proto_peer_settle(&p, 0, &yes);
        proto_peer_expect_said(&p, wire, sizeof(wire));
        proto_peer_fini(&p);
    }
}

static void
which_replies_go_back_is_the_listeners_choice(void **state)
{
    static const struct {
        struct framing framing;
        enum reply_policy reply;
        bool answers, wanted;
    } cases[] = {
        {LENGTH32, REPLY_AUTO, false, true}, {UNTIL_EOF, REPLY_AUTO, false, true},
        {LINES, REPLY_AUTO, false, false},   {FIXED(1), REPLY_AUTO, false, false},
        {LINES, REPLY_AUTO, true, true},     {FIXED(1), REPLY_AUTO, true, true},
        {LENGTH32, REPLY_NO, true, false},   {LINES, REPLY_YES, false, true},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (int client = 0; client < 2; client++) {
            struct proto_peer p;

            proto_peer_init(&p, &frame_protocol);
            p.limits.framing = cases[i].framing;
            p.limits.reply = cases[i].reply;
            p.limits.answers = cases[i].answers;
            proto_peer_begin(&p, client ? PROTO_CLIENT : PROTO_SERVER);
            frame_hear(&p, "\0\0\0\0\n", 4 + (cases[i].framing.kind == FRAMING_DELIMITER));
            proto_peer_eof(&p);
            assert_int_equal(p.delivered[0].wants_reply, cases[i].wanted && !client);
            proto_peer_expect_said(&p, NULL, 0); /* no reply is not an empty one */
            proto_peer_fini(&p);
        }
}

static void
begin_held(struct proto_peer *p, enum reply_policy reply)
{
    frame_begin(p, (struct framing)LINES);
    p->limits.reply = reply;
    p->hold = true;
    frame_hear(p, "a\nb\nc\n", 6);
    assert_int_equal(p->held_count, 3);
}

static void
settle(struct proto_peer *p, size_t i, enum proto_outcome outcome, const char *reply)
{
    struct verdict verdict = {.outcome = outcome,
                              .code = "refused",
                              .text = "no",
                              .reply = reply,
                              .reply_len = reply != NULL ? strlen(reply) : 0};

    proto_peer_settle(p, i, &verdict);
}

static void
replies_leave_in_the_order_of_the_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    settle(&p, 1, PROTO_COMMITTED, NULL);
    proto_peer_expect_said(&p, "C\n", 2);
    assert_int_equal(p.tally.messages, 3);
    assert_true(answers_idle(&p.answers));
    proto_peer_fini(&p);
}

static void
a_refusal_ends_the_connection_where_its_reply_would_have_stood(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 1, PROTO_REFUSED, NULL);
    assert_false(p.closed);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    assert_true(p.closed);
    assert_int_equal(p.tally.rej, 1);
    assert_int_equal(p.tally.err, 0);
    assert_int_equal(p.tally.messages, 2);
    proto_peer_fini(&p);
}

static void
a_refusal_is_only_counted_where_nobody_waits_for_a_reply(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_NO);
    settle(&p, 0, PROTO_REFUSED, NULL);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 1, PROTO_COMMITTED, NULL);
    assert_false(p.closed);
    assert_int_equal(p.tally.rej, 1);
    assert_int_equal(p.tally.messages, 2);
    proto_peer_expect_said(&p, NULL, 0);
    frame_hear(&p, "d\n", 2);
    assert_int_equal(p.delivered_count, 4);
    proto_peer_fini(&p);
}

static void
a_failure_ends_the_connection_at_its_place(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 1, PROTO_FAILED, NULL);
    settle(&p, 2, PROTO_COMMITTED, "C");
    assert_false(p.closed);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);

    begin_held(&p, REPLY_NO);
    settle(&p, 1, PROTO_FAILED, NULL);
    assert_true(p.closed);
    proto_peer_expect_said(&p, NULL, 0);
    assert_int_equal(p.tally.err, 1);
    settle(&p, 0, PROTO_COMMITTED, NULL);
    assert_int_equal(p.tally.messages, 1);
    proto_peer_fini(&p);
}

/* --- what a framing can carry --- */

static const struct {
    struct framing framing;
    const char *message;
    const char *wire; /* NULL: it cannot */
} carried[] = {
    {FIXED(3), "abc", "abc"},
    {FIXED(3), "ab", NULL},
    {FIXED(3), "abcd", NULL},
    {FIXED(3), "", NULL},
    {LINES, "abc", "abc\n"},
    {LINES, "", "\n"},
    {LINES, "a\nb", NULL},
    {LINES, "a\n", NULL},
    {DELIMITER("--"), "a-b", "a-b--"},
    {DELIMITER("--"), "a--b", NULL},
    {DELIMITER("--"), "a-", NULL}, /* the peer would see it end one byte too early */
    {DELIMITER("aab"), "xa", "xaaab"},
    {DELIMITER("abab"), "xab", NULL},
    {DELIMITER("abab"), "ab", NULL},
    {UNTIL_EOF, "abc", "abc"},
    {UNTIL_EOF, "", ""},
};

static void
a_push_is_framed_or_said_to_be_impossible(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(carried); i++) {
        const char *message = carried[i].message, *wire = carried[i].wire;
        struct proto_peer p;
        int rc;

        frame_begin(&p, carried[i].framing);
        errno = 0;
        rc = proto_peer_push(&p, message, strlen(message));
        if (rc != (wire != NULL ? 0 : -1))
            fail_msg("case %zu", i);
        assert_int_equal(errno, wire != NULL ? 0 : EMSGSIZE);
        proto_peer_expect_said(&p, wire, wire != NULL ? strlen(wire) : 0);
        assert_false(p.closed);
        proto_peer_fini(&p);
    }
}

/* The shortest one that each framing has, or of three bytes. */
static void
hear_one_message(struct proto_peer *p)
{
    const struct framing *framing = &p->limits.framing;

    if (framing->kind == FRAMING_FIXED)
        frame_hear(p, "abc", 3);
    else if (framing->kind == FRAMING_DELIMITER)
        frame_hear(p, (const char *)framing->delimiter, framing->delimiter_len);
    else
        proto_peer_eof(p);
    assert_int_equal(p->delivered_count, 1);
}

static void
a_reply_that_cannot_be_framed_ends_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(carried); i++)
        for (int later = 0; later < 2; later++) {
            const char *message = carried[i].message, *wire = carried[i].wire;
            struct verdict verdict = {
                .outcome = PROTO_COMMITTED, .reply = message, .reply_len = strlen(message)};
            struct proto_peer p;

            frame_begin(&p, carried[i].framing);
            p.limits.reply = REPLY_YES;
            p.verdict = verdict;
            p.hold = later != 0;
            hear_one_message(&p);
            if (p.hold)
                proto_peer_settle(&p, 0, &verdict);
            proto_peer_expect_said(&p, wire, wire != NULL ? strlen(wire) : 0);
            assert_int_equal(p.tally.messages, 1);
            assert_int_equal(p.tally.err, wire == NULL);
            assert_int_equal(p.closed, wire == NULL || carried[i].framing.kind == FRAMING_EOF);
            proto_peer_fini(&p);
        }
}

static void
what_is_too_long_for_the_queue_is_not_pushed(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    assert_int_equal(proto_peer_push(&p, "", FRAME_SEND_MAX + 1), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(proto_peer_push(&p, NULL, 0), 0);
    proto_peer_expect_said(&p, "\0\0\0\0", 4);
    proto_peer_fini(&p);
}

static void
a_stream_carries_one_message_in_each_direction(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)UNTIL_EOF);
    p.limits.reply = REPLY_YES;
    p.echo = true;
    assert_int_equal(proto_peer_push(&p, "one", 3), 0);
    assert_int_equal(proto_peer_push(&p, "two", 3), -1);
    assert_int_equal(errno, EMSGSIZE);
    frame_hear(&p, "x", 1);
    proto_peer_eof(&p);
    proto_peer_expect_said(&p, "one", 3);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
pushes_and_replies_share_the_way(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_push(&p, "push", 4);
    settle(&p, 1, PROTO_COMMITTED, "B");
    settle(&p, 2, PROTO_COMMITTED, "C");
    proto_peer_expect_said(&p, "A\nB\nC\npush\n", 11);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo_comes_back_in_the_framing_it_came_in),
        cmocka_unit_test(a_long_echo_comes_back_at_once_or_at_its_place),
        cmocka_unit_test(which_replies_go_back_is_the_listeners_choice),
        cmocka_unit_test(replies_leave_in_the_order_of_the_messages),
        cmocka_unit_test(a_refusal_ends_the_connection_where_its_reply_would_have_stood),
        cmocka_unit_test(a_refusal_is_only_counted_where_nobody_waits_for_a_reply),
        cmocka_unit_test(a_failure_ends_the_connection_at_its_place),
        cmocka_unit_test(a_push_is_framed_or_said_to_be_impossible),
        cmocka_unit_test(a_reply_that_cannot_be_framed_ends_the_connection),
        cmocka_unit_test(what_is_too_long_for_the_queue_is_not_pushed),
        cmocka_unit_test(a_stream_carries_one_message_in_each_direction),
        cmocka_unit_test(pushes_and_replies_share_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
