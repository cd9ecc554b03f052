/* Plain frames: how long and how slow a message may be, and what of it is kept. */
#include "frame_peer.h"

#include "common/base.h"

#include <errno.h>

/* --- limits --- */

static void
a_length_over_the_limit_ends_the_connection_before_it_costs_anything(void **state)
{
    uint8_t head[FRAME_HEADER];
    struct proto_peer p;

    (void)state;
    for (uint64_t max = 1000; max < UINT32_MAX; max *= 1000) {
        for (int over = 0; over < 2; over++) {
            frame_begin(&p, (struct framing)LENGTH32);
            p.limits.max_message_size = max;
            be32_store(head, (uint32_t)max + (uint32_t)over);
            proto_peer_hear(&p, head, sizeof(head), 1, false);
            assert_int_equal(p.closed, over);
            assert_int_equal(p.tally.err, over);
            assert_int_equal(p.message != NULL, !over);
            assert_in_range(p.store.ledger.used, 0, 1024);
            proto_peer_fini(&p);
        }
    }
}

static void
an_end_must_come_within_the_limit(void **state)
{
    static const struct {
        struct framing framing;
        size_t body; /* bytes before this end */
        const char *end;
        bool good;
    } cases[] = {
        {LINES, 10, "\n", true},
        {LINES, 10, "\r\n", true},
        {LINES, 11, "\n", false},
        {LINES, 10, "\r\r\n", false},
        {LINES, 11, "", false},
        {LINES, 10, "", true},
        {DELIMITER("aab"), 10, "aab", true},
        {DELIMITER("aab"), 11, "aab", false},
        {DELIMITER("--"), 10, "-x", false},
        {UNTIL_EOF, 10, "", true},
        {UNTIL_EOF, 11, "", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            char wire[32];
            int n = snprintf(wire, sizeof(wire), "%.*s%s", (int)cases[i].body, "................",
                             cases[i].end);
            struct proto_peer p;

            frame_begin(&p, cases[i].framing);
            p.limits.max_message_size = 10;
            proto_peer_hear(&p, wire, (size_t)n, piece, true);
            if (p.closed == cases[i].good)
                fail_msg("case %zu in pieces of %zu", i, piece);
            proto_peer_eof(&p);
            assert_int_equal(p.tally.err, !cases[i].good);
            if (!cases[i].good)
                assert_int_equal(p.delivered_count, 0);
            proto_peer_fini(&p);
        }
}

static void
a_long_message_arrives_whole_by_way_of_a_file(void **state)
{
    static char wire[400004];
    struct proto_peer p;

    (void)state;
    for (size_t i = 4; i < sizeof(wire); i++)
        wire[i] = (char)(i * 131 + i / 251);
    be32_store(wire, sizeof(wire) - 4);
    frame_begin(&p, (struct framing)LENGTH32);
    proto_peer_hear(&p, wire, sizeof(wire), 65536, true);
    proto_peer_expect_delivered(&p, 0, wire + 4, sizeof(wire) - 4);
    proto_peer_fini(&p);
}

static int
no_room(void *arg)
{
    (void)arg;
    errno = ENOSPC;
    return -1;
}

static void
a_body_that_cannot_be_stored_ends_the_connection(void **state)
{
    static const struct framing framings[] = {LENGTH32, FIXED(8192), LINES, UNTIL_EOF};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(framings); i++) {
        struct proto_peer p;

        frame_begin(&p, framings[i]);
        p.store.memory_max = 1000;
        p.store.spill_open = no_room;
        if (framings[i].kind == FRAMING_LENGTH32)
            frame_hear(&p, "\0\0\x20\0", 4);
        frame_hear(&p, sample_stream(5000), 5000);
        assert_true(p.closed); /* at once: the rest would only be thrown away */
        assert_int_equal(p.delivered_count, 0);
        assert_int_equal(p.tally.err, 1);
        assert_null(p.message);
        proto_peer_fini(&p);
    }
}

static void
a_body_that_nobody_wants_is_still_counted(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    p.keep_max = 3;
    frame_hear(&p, "\0\0\0\5hello", 9);
    assert_int_equal(p.delivered[0].size, 5);
    assert_null(p.delivered[0].body);
    proto_peer_fini(&p);
}

static void
a_digest_is_made_only_for_who_looks_at_it(void **state)
{
    static const uint8_t none[SHA256_LEN];
    static const struct framing framings[] = {LENGTH32, LINES};
    uint8_t sum[SHA256_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(framings); i++)
        for (int want = 0; want < 2; want++) {
            struct proto_peer p;

            frame_begin(&p, framings[i]);
            p.want_digest = want != 0;
            p.hold = true;
            frame_hear(&p, i == 0 ? "\0\0\0\5hello" : "hello\n\n\n\n", 9);
            digest_sha256(p.store.digester, "hello", 5, sum);
            assert_memory_equal(p.held[0].message->sha256, want ? sum : none, SHA256_LEN);
            assert_int_equal(p.held[0].message->kind, MESSAGE_PLAIN);
            assert_string_equal(p.held[0].message->value, "");
            proto_peer_fini(&p);
        }
}

/* --- time --- */

static void
silence_inside_a_message_ends_the_connection_and_is_an_error(void **state)
{
    static const struct {
        struct framing framing;
        const char *wire;
        size_t n;
    } cases[] = {
        {LENGTH32, "\0", 1},       {LENGTH32, "\0\0\0\5", 4}, {LENGTH32, "\0\0\0\5hell", 8},
        {FIXED(2), "a", 1},        {LINES, "a", 1},           {LINES, "a\n\r", 3},
        {DELIMITER("ab"), "a", 1}, {UNTIL_EOF, "a", 1},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        frame_begin(&p, cases[i].framing);
        proto_peer_wait(&p, p.limits.timeout_us * 2);
        frame_hear(&p, cases[i].wire, cases[i].n);
        assert_false(frame_protocol.idle(&p.state));
        assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        assert_true(p.closed);
        assert_int_equal(p.tally.err, 1);
        assert_null(p.message);
        proto_peer_fini(&p);
    }
}

static void
an_idle_connection_is_closed_without_an_error(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    frame_hear(&p, "\0\0\0\1x", 5);
    assert_true(frame_protocol.idle(&p.state));
    proto_peer_expect_idle_end(&p);
    proto_peer_fini(&p);
}

static void
who_is_sent_messages_need_not_speak(void **state)
{
    static const struct verdict reply = {
        .outcome = PROTO_COMMITTED, .reply = "reply", .reply_len = 5};
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    p.limits.reply = REPLY_YES;
    p.hold = true;
    frame_hear(&p, "\0\0\0\1x", 5);
    for (unsigned i = 0; i < 3; i++) {
        proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
        assert_int_equal(proto_peer_push(&p, "push", 4), 0);
        assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    }
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_settle(&p, 0, &reply);
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    assert_int_equal(proto_peer_push(&p, "", (size_t)1 << 31), -1); /* not sent: no sign of life */
    proto_peer_expect_idle_end(&p);
    proto_peer_fini(&p);
}

static void
what_is_sent_gives_no_time_for_a_message_under_way(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    frame_hear(&p, "\0\0\0\2x", 5);
    proto_peer_wait(&p, p.limits.timeout_us - 1);
    assert_int_equal(proto_peer_push(&p, "push", 4), 0);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
one_byte_a_second_is_too_slow_for_a_message_as_a_whole(void **state)
{
    struct proto_peer p;
    size_t sent = 0;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    frame_hear(&p, "\0\0\x80\0", 4); /* what one before has earned does not count */
    frame_hear(&p, sample_stream(0x8000), 0x8000);
    proto_peer_wait(&p, 30000000);
    assert_false(p.closed);
    frame_hear(&p, "\0\0\1\0", 4);
    while (!p.closed && sent < 100) {
        frame_hear(&p, "x", 1);
        sent++;
        proto_peer_wait(&p, 1000000);
    }
    assert_true(p.closed);
    assert_in_range(sent, 10, 11);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_over_the_limit_ends_the_connection_before_it_costs_anything),
        cmocka_unit_test(an_end_must_come_within_the_limit),
        cmocka_unit_test(a_long_message_arrives_whole_by_way_of_a_file),
        cmocka_unit_test(a_body_that_cannot_be_stored_ends_the_connection),
        cmocka_unit_test(a_body_that_nobody_wants_is_still_counted),
        cmocka_unit_test(a_digest_is_made_only_for_who_looks_at_it),
        cmocka_unit_test(silence_inside_a_message_ends_the_connection_and_is_an_error),
        cmocka_unit_test(an_idle_connection_is_closed_without_an_error),
        cmocka_unit_test(who_is_sent_messages_need_not_speak),
        cmocka_unit_test(what_is_sent_gives_no_time_for_a_message_under_way),
        cmocka_unit_test(one_byte_a_second_is_too_slow_for_a_message_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
