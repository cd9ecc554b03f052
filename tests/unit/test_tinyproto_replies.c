/* Replies over tinyproto: their order, and what becomes of the connection where one cannot come. */
#include "tinyproto_peer.h"

/* An open server that has taken the messages "0", "1", "2" and so on and answered none. */
static void
begin_held(struct proto_peer *p, unsigned messages)
{
    begin_open(p);
    p->limits.reply = REPLY_YES;
    p->hold = true;
    for (unsigned i = 0; i < messages; i++) {
        hears_and_says(p, "00000001", "ff");
        proto_peer_hear(p, &(char){(char)('0' + i)}, 1, 1, false);
    }
    says(p, "");
}

static void
settle(struct proto_peer *p, size_t i, const char *reply)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED, .reply = reply};

    yes.reply_len = reply != NULL ? strlen(reply) : 0;
    proto_peer_settle(p, i, &yes);
}

static void
replies_leave_in_the_order_of_their_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 3);
    settle(&p, 2, "C");
    says(&p, "");
    settle(&p, 0, "A");
    says(&p, "00000001");
    settle(&p, 1, "B");
    hears_and_says(&p, "ff", "41 00000001");
    hears_and_says(&p, "ff", "42 00000001");
    hears_and_says(&p, "ff", "43");
    assert_true(outbox_idle(&p.outbox));
    assert_int_equal(p.tally.messages, 3);
    proto_peer_fini(&p);
}

static void
a_push_does_not_wait_for_a_reply(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 1);
    proto_peer_push(&p, "p", 1);
    says(&p, "00000001");
    settle(&p, 0, "A");
    hears_and_says(&p, "ff", "70 00000001");
    hears_and_says(&p, "ff", "41");
    proto_peer_fini(&p);
}

static void
a_reply_at_once_waits_behind_those_still_to_come(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 1);
    p.hold = false;
    p.echo = true;
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "42", "");
    settle(&p, 0, "A");
    says(&p, "00000001");
    hears_and_says(&p, "ff", "41 00000001");
    hears_and_says(&p, "ff", "42");
    proto_peer_fini(&p);
}

static void
where_there_is_no_reply_the_next_one_follows(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, 2);
    settle(&p, 1, "B");
    settle(&p, 0, NULL);
    says(&p, "00000001");
    hears_and_says(&p, "ff", "42");
    assert_int_equal(p.tally.messages, 2);
    proto_peer_fini(&p);
}

static void
nothing_goes_back_where_no_reply_is_wanted(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.hold = true;
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "61", "");
    assert_null(p.held[0].place);
    assert_false(p.held[0].message->wants_reply);
    settle(&p, 0, "A");
    says(&p, "");
    assert_true(outbox_idle(&p.outbox));
    assert_int_equal(p.tally.messages, 1);
    proto_peer_fini(&p);
}

static void
only_handlers_that_answer_do_so_unless_told_otherwise(void **state)
{
    static const struct {
        enum reply_policy reply;
        bool answers, wants;
    } cases[] = {
        {REPLY_AUTO, true, true}, {REPLY_AUTO, false, false}, {REPLY_YES, false, true},
        {REPLY_YES, true, true},  {REPLY_NO, true, false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_open(&p);
        p.limits.reply = cases[i].reply;
        p.limits.answers = cases[i].answers;
        hears(&p, "00000000", 4);
        assert_int_equal(p.delivered_count, 1);
        assert_int_equal(p.delivered[0].wants_reply, cases[i].wants);
        proto_peer_fini(&p);
    }
}

static void
a_refusal_that_nobody_waits_for_changes_nothing(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.verdict = (struct verdict){.outcome = PROTO_REFUSED, .code = "refused", .text = "no"};
    hears_and_says(&p, "00000000 00000000", "ff ff");
    assert_false(p.closed);
    assert_int_equal(p.tally.rej, 2);
    assert_int_equal(p.tally.err, 0);
    assert_int_equal(p.tally.messages, 0);
    proto_peer_fini(&p);
}

static void
where_a_reply_cannot_come_the_connection_ends_in_its_place(void **state)
{
    static struct blob huge = {.refs = 1, .len = (uint64_t)TINYPROTO_SEND_MAX + 1, .fd = -1};
    static const struct {
        struct verdict verdict;
        unsigned rej, messages;
    } cases[] = {
        {{.outcome = PROTO_REFUSED, .code = "refused", .text = "no"}, 1, 1},
        {{.outcome = PROTO_FAILED, .text = "broken"}, 0, 1},
        {{.outcome = PROTO_COMMITTED, .blob = &huge}, 0, 2},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_held(&p, 3);
        proto_peer_settle(&p, 1, &cases[i].verdict);
        says(&p, "");
        assert_false(p.closed);
        settle(&p, 0, "A");
        says(&p, "00000001");
        hears_and_says(&p, "ff", "41 00");
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        assert_int_equal(p.tally.rej, cases[i].rej);
        assert_int_equal(p.tally.messages, cases[i].messages);
        settle(&p, 2, "C");
        says(&p, "");
        proto_peer_fini(&p);
    }
}

static void
a_message_the_handler_could_not_take_ends_the_connection_also_without_replies(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.reply = REPLY_NO;
    p.verdict = (struct verdict){.outcome = PROTO_FAILED, .text = "broken"};
    hears(&p, "00000000 00000000", PEER_WHOLE);
    proto_peer_expect_said(&p, "\xff\0", 2);
    assert_true(p.closed);
    assert_int_equal(p.delivered_count, 1);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_leave_in_the_order_of_their_messages),
        cmocka_unit_test(a_push_does_not_wait_for_a_reply),
        cmocka_unit_test(a_reply_at_once_waits_behind_those_still_to_come),
        cmocka_unit_test(where_there_is_no_reply_the_next_one_follows),
        cmocka_unit_test(nothing_goes_back_where_no_reply_is_wanted),
        cmocka_unit_test(only_handlers_that_answer_do_so_unless_told_otherwise),
        cmocka_unit_test(a_refusal_that_nobody_waits_for_changes_nothing),
        cmocka_unit_test(where_a_reply_cannot_come_the_connection_ends_in_its_place),
        cmocka_unit_test(
            a_message_the_handler_could_not_take_ends_the_connection_also_without_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
