/* cnp after the handshake: what a server says to each verdict, and how a connection ends or goes
 * to another process. */
#include "cnp_packets.h"

#include <errno.h>

static const struct verdict committed = {.outcome = PROTO_COMMITTED};
static const struct verdict refused = {
    .outcome = PROTO_REFUSED, .code = "refused", .text = "not \"this\" one"};
static const struct verdict failed = {.outcome = PROTO_FAILED, .text = "the disk is gone"};

/* --- verdicts --- */

static void
a_refused_message_is_said_to_be_and_stays_so(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST_OF_4);
    p.verdict = refused;
    hear_one(&p, T_DATA, 1, "no");
    expect(&p, T_ERROR, 1, "{\"error\": \"refused\", \"message\": \"not \\\"this\\\" one\"}");
    p.verdict = committed;
    hear_one(&p, T_DATA, 2, "yes");
    expect_ack(&p, 2);
    hear_one(&p, T_DATA, 1, "no");
    expect(&p, T_ERROR, 1, "\"refused\"");
    hear_one(&p, T_DATA, 0, "plain");
    expect_ack(&p, 0);
    assert_int_equal(p.tally.rej, 1);
    assert_int_equal(p.tally.messages, 2);
    assert_false(p.closed);
    p.verdict = refused;
    for (unsigned i = 3; i < 1000; i++)
        hear_one(&p, T_DATA, i, "no");
    assert_in_range(p.window->marks_len, 4, 16);
    proto_peer_fini(&p);
}

/* Message 1 is refused, and all others up to the last number are taken. */
static void
begin_and_go_round(struct proto_peer *p)
{
    begin_ready(p, FRAGMENTS);
    p->verdict = refused;
    hear_one(p, T_DATA, 1, "no");
    expect(p, T_ERROR, 1, "\"refused\"");
    p->verdict = committed;
    for (unsigned i = 2; i <= 65535; i++) {
        hear_one(p, T_DATA, i, "yes");
        expect_ack(p, i);
    }
}

static void
a_number_that_comes_round_has_nothing_of_a_refused_message(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_and_go_round(&p);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "new");
    hear_one(&p, T_DATA, 1, "new");
    expect_silence(&p); /* its fate is open */
    proto_peer_settle(&p, 0, &committed);
    expect_ack(&p, 1);
    hear_one(&p, T_DATA, 1, "new");
    expect_ack(&p, 1);
    expect_silence(&p);
    proto_peer_fini(&p);
}

static void
a_fragment_whose_number_was_a_refused_messages_is_acknowledged_again(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_and_go_round(&p);
    hear_one(&p, T_FRAGMENT, 1, "ne");
    expect_ack(&p, 1);
    hear_one(&p, T_FRAGMENT, 1, "ne");
    expect_ack(&p, 1);
    hear_one(&p, T_DATA, 2, "w");
    expect_ack(&p, 2);
    hear_one(&p, T_FRAGMENT, 1, "ne");
    expect_ack(&p, 1);
    proto_peer_expect_delivered(&p, 65535, "new", 3);
    proto_peer_fini(&p);
}

static void
a_failed_message_ends_the_connection_behind_the_others(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    hear_one(&p, T_DATA, 3, "three");
    proto_peer_settle(&p, 0, &failed);
    expect_silence(&p);
    proto_peer_settle(&p, 2, &committed);
    expect_ack(&p, 3);
    assert_false(p.answers.ended);
    proto_peer_settle(&p, 1, &refused);
    expect(&p, T_ERROR, 2, "\"refused\"");
    expect(&p, T_ERROR, 1, "{\"error\": \"internal\", \"message\": \"the disk is gone\"}");
    assert_true(p.answers.ended);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
a_failure_may_say_that_the_server_is_busy(void **state)
{
    const struct verdict busy = {.outcome = PROTO_FAILED, .code = "busy", .text = "later"};
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    proto_peer_settle(&p, 0, &busy);
    expect(&p, T_ERROR, 1, "{\"error\": \"busy\", \"message\": \"later\"}");
    assert_true(p.answers.ended);
    proto_peer_fini(&p);
}

static int
no_file(void *arg)
{
    errno = *(int *)arg;
    return -1;
}

static void
what_cannot_be_stored_is_refused_or_the_end(void **state)
{
    static const struct {
        int error;
        bool ends;
    } cases[] = {{ENOSPC, false}, {EDQUOT, false}, {EIO, true}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        int error = cases[i].error;
        struct proto_peer p;

        begin_ready(&p, BURST);
        p.store.memory_max = 4;
        p.store.spill_open = no_file;
        p.store.spill_arg = &error;
        hear_one(&p, T_DATA, 1, "too long for memory");
        expect(&p, T_ERROR, 1, cases[i].ends ? "\"internal\"" : "\"refused\"");
        assert_int_equal(p.closed, cases[i].ends);
        assert_int_equal(p.delivered_count, 0);
        assert_int_equal(p.tally.rej, !cases[i].ends);
        if (!cases[i].ends) {
            hear_one(&p, T_DATA, 2, "fits");
            expect_ack(&p, 2);
        }
        proto_peer_fini(&p);
    }
}

static void
nobody_pays_for_a_digest_that_nobody_wants(void **state)
{
    static const uint8_t none[SHA256_LEN];
    struct proto_peer p;

    (void)state;
    for (int wanted = 0; wanted < 2; wanted++) {
        begin_ready(&p, BURST);
        p.want_digest = wanted != 0;
        p.hold = true;
        hear_one(&p, T_DATA, 1, "x");
        assert_int_equal(memcmp(p.held[0].message->sha256, none, SHA256_LEN) != 0, wanted);
        proto_peer_fini(&p);
    }
}

/* --- leaving --- */

static void
disconnect_is_acknowledged_behind_all_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    hear_one(&p, T_DISCONNECT, 7, "bye");
    hear_one(&p, T_DATA, 3, "unheard");
    expect_silence(&p);
    proto_peer_settle(&p, 0, &committed);
    expect_ack(&p, 1);
    assert_false(p.answers.ended);
    proto_peer_settle(&p, 1, &committed);
    expect_ack(&p, 2);
    expect_ack(&p, 7);
    assert_true(p.answers.ended);
    assert_int_equal(p.held_count, 2);
    proto_peer_fini(&p);
}

static void
a_server_that_leaves_says_so_behind_all_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    proto_peer_shutdown(&p);
    expect_silence(&p);
    proto_peer_settle(&p, 0, &committed);
    expect_ack(&p, 1);
    expect(&p, T_ERROR, 0, "\"shutdown\"");
    assert_true(p.answers.ended);
    proto_peer_fini(&p);
    begin_ready(&p, BURST);
    proto_peer_shutdown(&p);
    expect(&p, T_ERROR, 0, "\"shutdown\"");
    expect_silence(&p);
    proto_peer_fini(&p);
}

/* --- from one process to the next --- */

static void
a_connection_goes_on_with_its_struct_alone(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    assert_int_equal(proto_peer_push(&p, "push", 4), 0);
    expect(&p, T_DATA, 1, "push");
    assert_false(cnp_protocol.idle(&p.state));
    hear_one(&p, T_ACK, 1, "ACK");
    assert_true(cnp_protocol.idle(&p.state));
    assert_true(packet_window_idle(p.window));
    packet_window_destroy(p.window);
    p.window = NULL;
    hear_one(&p, T_DATA, 2, "two");
    expect_ack(&p, 2);
    packet_window_destroy(p.window);
    p.window = NULL;
    assert_int_equal(proto_peer_push(&p, "push", 4), 0);
    expect(&p, T_DATA, 2, "push");
    proto_peer_fini(&p);
}

static void
a_refused_message_stays_refused_in_the_next_process(void **state)
{
    struct proto_peer p;
    struct proto_begin next = {.limits = &p.limits, .role = PROTO_SERVER};
    union proto_state moved;
    struct buffer saved = {0};

    (void)state;
    begin_ready(&p, BURST);
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    p.verdict = refused;
    hear_one(&p, T_DATA, 2, "two");
    expect(&p, T_ERROR, 2, "\"refused\"");
    assert_true(cnp_protocol.idle(&p.state));
    packet_window_save(p.window, &saved);
    packet_window_destroy(p.window);
    p.window = packet_window_restore(&p.store, buffer_bytes(&saved), saved.len);
    assert_non_null(p.window);
    moved = p.state;
    next.now_us = p.now_us;
    cnp_protocol.init(&p.state, &next);
    assert_true(cnp_protocol.adopt(&p.state, &moved));
    hear_one(&p, T_DATA, 2, "two");
    expect(&p, T_ERROR, 2, "\"refused\"");
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    assert_int_equal(p.delivered_count, 2);
    assert_int_equal(p.tally.rej, 1);
    buffer_fini(&saved);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_message_is_said_to_be_and_stays_so),
        cmocka_unit_test(a_number_that_comes_round_has_nothing_of_a_refused_message),
        cmocka_unit_test(a_fragment_whose_number_was_a_refused_messages_is_acknowledged_again),
        cmocka_unit_test(a_failed_message_ends_the_connection_behind_the_others),
        cmocka_unit_test(a_failure_may_say_that_the_server_is_busy),
        cmocka_unit_test(what_cannot_be_stored_is_refused_or_the_end),
        cmocka_unit_test(nobody_pays_for_a_digest_that_nobody_wants),
        cmocka_unit_test(disconnect_is_acknowledged_behind_all_messages),
        cmocka_unit_test(a_server_that_leaves_says_so_behind_all_messages),
        cmocka_unit_test(a_connection_goes_on_with_its_struct_alone),
        cmocka_unit_test(a_refused_message_stays_refused_in_the_next_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
