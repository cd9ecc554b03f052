/* The limits of tinyproto, in bytes and in time. */
#include "tinyproto_peer.h"

#include <errno.h>

/* --- bytes --- */

static void
a_size_up_to_the_limit_is_taken(void **state)
{
    static const struct {
        uint64_t limit;
        const char *size;
        bool taken;
    } cases[] = {
        {5, "00000005", true},           {5, "00000006", false},
        {0, "00000000", true},           {0, "00000001", false},
        {65536, "00010000", true},       {65536, "00010001", false},
        {UINT64_MAX, "f0ffffff", true},  {UINT32_MAX, "f0ffffff", true},
        {UINT32_MAX, "f1000000", false}, {0xf0fffffe, "f0ffffff", false},
        {UINT64_MAX, "ffffffff", false}, {5, "f0000000", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_open(&p);
        p.limits.max_message_size = cases[i].limit;
        hears(&p, cases[i].size, i % 4 + 1);
        if (cases[i].taken) {
            says(&p, "ff");
            assert_int_equal(p.tally.acks, 1);
        } else {
            expect_fault(&p);
            assert_int_equal(p.tally.acks, 0);
        }
        proto_peer_fini(&p);
    }
}

static void
a_size_over_the_limit_is_not_kept_for_later(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    p.limits.max_message_size = 5;
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    says(&p, "00000002");
    hears(&p, "00000006", 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_push_over_what_can_be_sent_is_too_long(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    errno = 0;
    assert_int_equal(proto_peer_push(&p, "", (size_t)TINYPROTO_SEND_MAX + 1), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_true(outbox_idle(&p.outbox));
    says(&p, "");
    proto_peer_fini(&p);
}

static void
who_sends_on_and_takes_nothing_back_is_cut_off(void **state)
{
    static uint8_t wire[100004] = {0x00, 0x01, 0x86, 0xa0};
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.echo = true;
    p.limits.reply = REPLY_YES;
    while (!p.closed && p.delivered_count < 100)
        proto_peer_hear(&p, wire, sizeof(wire), PEER_WHOLE, false);
    assert_int_equal(machine(&p)->state, TINYPROTO_CLOSED);
    assert_int_equal(p.tally.err, 1);
    assert_int_equal(p.delivered_count, TINYPROTO_BACKLOG_MAX / 100000 + 1);
    proto_peer_fini(&p);
}

static void
what_waits_may_be_empty_and_is_too_much_all_the_same(void **state)
{
    struct proto_peer p;
    size_t pushes = 0;

    (void)state;
    begin_open(&p);
    for (; p.outbox.bytes <= TINYPROTO_BACKLOG_MAX && pushes < TINYPROTO_BACKLOG_MAX; pushes++)
        assert_int_equal(proto_peer_push(&p, "", 0), 0);
    assert_true(pushes < TINYPROTO_BACKLOG_MAX);
    says(&p, "00000000");
    hears_and_says(&p, "00000000", "ff"); /* this one may have crossed ours */
    hears(&p, "00000000", PEER_WHOLE);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_large_message_may_be_crossed_and_the_next_one_too(void **state)
{
    static uint8_t large[TINYPROTO_BACKLOG_MAX + 1];
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    assert_int_equal(proto_peer_push(&p, large, sizeof(large)), 0);
    assert_int_equal(proto_peer_push(&p, large, sizeof(large)), 0);
    says(&p, "00100001");
    hears_and_says(&p, "00000001", "ff");
    hears_and_says(&p, "61", "");
    hears(&p, "ff", 1);
    assert_int_equal(p.said.len, sizeof(large) + TINYPROTO_SIZE_LEN);
    buffer_consume(&p.said, p.said.len);
    hears_and_says(&p, "00000001", "ff");
    assert_false(p.closed);
    proto_peer_fini(&p);
}

static int
no_file(void *arg)
{
    (void)arg;
    errno = ENOSPC;
    return -1;
}

static void
a_body_that_cannot_be_kept_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.store.memory_max = 4;
    p.store.spill_open = no_file;
    hears_and_says(&p, "00000005", "ff");
    hears(&p, "6162636465", 2);
    expect_fault(&p);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.messages, 0);
    proto_peer_fini(&p);
}

/* --- time --- */

static void
a_message_that_stops_ends_the_connection(void **state)
{
    static const char *const parts[] = {"00", "000000", "00000005", "00000005 61"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        struct proto_peer p;

        begin_open(&p);
        hears_and_says(&p, parts[i], i < 2 ? "" : "ff");
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        expect_fault(&p);
        assert_int_equal(p.delivered_count, 0);
        proto_peer_fini(&p);
    }
}

static void
a_message_that_creeps_ends_the_connection(void **state)
{
    struct proto_peer p;
    unsigned bytes = 0;

    (void)state;
    begin_open(&p);
    hears_and_says(&p, "00010000", "ff");
    for (; !p.closed && bytes < 1000; bytes++) {
        proto_peer_wait(&p, p.limits.timeout_us / 2);
        proto_peer_hear(&p, "a", 1, 1, false);
    }
    expect_fault(&p);
    assert_true(bytes > p.limits.rate_grace_us / (p.limits.timeout_us / 2) - 1);
    proto_peer_fini(&p);
}

static void
a_message_that_keeps_the_pace_may_take_its_time(void **state)
{
    static uint8_t second[1024];
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    assert_int_equal(p.limits.min_rate, sizeof(second));
    hears_and_says(&p, "0000f000", "ff"); /* of 60 seconds */
    for (unsigned i = 0; i < 60; i++) {
        proto_peer_wait(&p, 1000000);
        proto_peer_hear(&p, second, sizeof(second), PEER_WHOLE, false);
    }
    assert_false(p.closed);
    assert_int_equal(p.delivered_count, 1);
    proto_peer_fini(&p);
}

static void
each_message_has_its_time_for_itself(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    hears_and_says(&p, "00000001 61", "ff");
    proto_peer_wait(&p, 2 * p.limits.rate_grace_us);
    hears_and_says(&p, "00", "");
    assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
    p.hold = true;
    proto_peer_wait(&p, 1);
    hears_and_says(&p, "000000", "ff");
    assert_int_equal(p.held[0].message->begun_us, p.now_us - 1);
    proto_peer_fini(&p);
}

static void
without_a_minimal_rate_a_message_may_creep(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    p.limits.min_rate = 0;
    hears_and_says(&p, "000003e8", "ff");
    for (unsigned i = 0; i < 1000; i++) {
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        proto_peer_hear(&p, "a", 1, 1, false);
    }
    assert_false(p.closed);
    assert_int_equal(p.delivered_count, 1);
    proto_peer_fini(&p);
}

static void
a_size_without_an_answer_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_push(&p, "hi", 2);
    says(&p, "00000002");
    assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    hears_and_says(&p, "00000000", "ff"); /* it has something to say first */
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
a_client_that_was_crossed_waits_no_longer_than_ever(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "00000005", "00000002");
    proto_peer_wait(&p, p.limits.timeout_us);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
the_pace_of_a_message_counts_from_the_leave_to_send_it(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    p.limits.timeout_us = 20000000;
    hears_and_says(&p, "ff", "ff");
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "00000005", "00000002");
    proto_peer_wait(&p, p.limits.rate_grace_us * 3 / 2);
    hears_and_says(&p, "ff", "6869 ff");
    proto_peer_wait(&p, p.limits.rate_grace_us / 2);
    assert_false(p.closed);
    proto_peer_fini(&p);
}

static void
an_opening_without_an_answer_ends_the_connection(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, PROTO_CLIENT);
    says(&p, "ff");
    proto_peer_push(&p, "hi", 2);
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    expect_fault(&p);
    proto_peer_fini(&p);
}

static void
an_idle_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    for (int opened = 0; opened < 2; opened++) {
        struct proto_peer p;

        begin(&p, PROTO_SERVER);
        if (opened != 0)
            hears_and_says(&p, "ff", "ff");
        proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        assert_true(p.closed);
        says(&p, "");
        assert_int_equal(p.tally.err, 0);
        proto_peer_fini(&p);
    }
}

static void
who_takes_what_is_pushed_is_not_idle(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_open(&p);
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_push(&p, "hi", 2);
    hears_and_says(&p, "ff", "00000002 6869");
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_up_to_the_limit_is_taken),
        cmocka_unit_test(a_size_over_the_limit_is_not_kept_for_later),
        cmocka_unit_test(a_push_over_what_can_be_sent_is_too_long),
        cmocka_unit_test(who_sends_on_and_takes_nothing_back_is_cut_off),
        cmocka_unit_test(what_waits_may_be_empty_and_is_too_much_all_the_same),
        cmocka_unit_test(a_large_message_may_be_crossed_and_the_next_one_too),
        cmocka_unit_test(a_body_that_cannot_be_kept_ends_the_connection),
        cmocka_unit_test(a_message_that_stops_ends_the_connection),
        cmocka_unit_test(a_message_that_creeps_ends_the_connection),
        cmocka_unit_test(a_message_that_keeps_the_pace_may_take_its_time),
        cmocka_unit_test(each_message_has_its_time_for_itself),
        cmocka_unit_test(without_a_minimal_rate_a_message_may_creep),
        cmocka_unit_test(a_size_without_an_answer_ends_the_connection),
        cmocka_unit_test(a_client_that_was_crossed_waits_no_longer_than_ever),
        cmocka_unit_test(the_pace_of_a_message_counts_from_the_leave_to_send_it),
        cmocka_unit_test(an_opening_without_an_answer_ends_the_connection),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(who_takes_what_is_pushed_is_not_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
