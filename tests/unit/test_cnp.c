/* cnp after the handshake: what a server takes, and in which order. */
#include "cnp_packets.h"

#include "support/hex.h"

#include <jansson.h>

/* --- vectors --- */

static size_t
vector(const char *name, uint8_t *out)
{
    const char *root = getenv("MSOCK_SOURCE"), *hex;
    char path[4096];
    json_t *all;
    size_t n;

    snprintf(path, sizeof(path), "%s/tests/vectors/packets.json", root != NULL ? root : ".");
    all = json_load_file(path, 0, NULL);
    assert_non_null(all);
    hex = json_string_value(json_object_get(json_object_get(all, "cnp"), name));
    assert_non_null(hex);
    n = hex_read(hex, out);
    json_decref(all);
    return n;
}

static void
the_vectors_make_a_conversation(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};
    uint8_t packet[256];

    (void)state;
    proto_peer_init(&p, &cnp_protocol);
    proto_peer_begin(&p, PROTO_SERVER);
    proto_peer_hear(&p, packet, vector("syn", packet), 1, false);
    expect(&p, T_ACK, 0,
           "\"max_packet_size\": 1024, \"max_size\": 1024, \"operation_mode\": \"burst\", "
           "\"window_size\": 5");
    put(&wire, T_ACK, 0, PEER_SESSION);
    hear(&p, &wire);
    proto_peer_hear(&p, packet, vector("data-bad-checksum", packet), 1, false);
    expect(&p, T_ERROR, 1, "\"checksum\"");
    assert_int_equal(p.delivered_count, 0);
    proto_peer_hear(&p, packet, vector("data-1", packet), 1, false);
    proto_peer_expect_said(&p, packet, vector("ack-1", packet));
    proto_peer_expect_delivered(&p, 0, "Hello World", 11);
    proto_peer_hear(&p, packet, vector("disconnect", packet), 1, false);
    expect_ack(&p, 0);
    assert_true(p.closed);
    assert_int_equal(p.tally.packets, 1);
    assert_int_equal(p.tally.messages, 1);
    assert_int_equal(p.tally.nack1, 1);
    assert_int_equal(p.tally.acks, 2);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

/* --- order --- */

static void
packets_without_a_number_are_always_taken(void **state)
{
    static const char *const bodies[] = {"one", "one", "three", "plain", "ab", "AB"};
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    begin_ready(&p, "{\"fragments\": true}");
    put(&wire, T_DATA, 0, "one");
    put(&wire, T_DATA, 0, "one");
    put(&wire, T_DATA, 1, "three");
    put(&wire, T_FRAGMENT, 2, "a");
    put(&wire, T_DATA, 0, "plain");
    put(&wire, T_FRAGMENT, 0, "A");
    put(&wire, T_DATA, 3, "b");
    put(&wire, T_DATA, 0, "B");
    hear(&p, &wire);
    expect_ack(&p, 0);
    expect_ack(&p, 0);
    expect_ack(&p, 1);
    expect_ack(&p, 2);
    expect_ack(&p, 0);
    expect_ack(&p, 0);
    expect_ack(&p, 3);
    expect_ack(&p, 0);
    expect_silence(&p);
    expect_bodies(&p, bodies, MS_ARRAY_LEN(bodies));
    assert_int_equal(p.tally.packets, 8);
    assert_true(cnp_protocol.idle(&p.state));
    proto_peer_fini(&p);
}

static void
check_reordered(struct proto_peer *p, const void *arg)
{
    static const char *const bodies[] = {"one", "two", "", "fourfive", "six"};

    (void)arg;
    expect(p, T_ACK, 0, "\"ok\"");
    expect_ack(p, 4); /* a fragment, when it is kept */
    expect_ack(p, 1);
    expect_ack(p, 2);
    expect_ack(p, 3);
    expect_ack(p, 5);
    expect_ack(p, 6);
    expect_silence(p);
    expect_bodies(p, bodies, MS_ARRAY_LEN(bodies));
    assert_int_equal(p->tally.packets, 6);
    assert_int_equal(p->tally.messages, 5);
    assert_true(cnp_protocol.idle(&p->state));
    assert_true(packet_window_idle(p->window));
}

static void
packets_in_any_order_are_handed_on_in_sequence(void **state)
{
    struct buffer wire = {0};
    struct peer_case c = {.proto = &cnp_protocol, .check = check_reordered};

    (void)state;
    put_handshake(&wire, "{\"operation_mode\": \"burst\", \"fragments\": true}");
    put(&wire, T_DATA, 3, "");
    put(&wire, T_FRAGMENT, 4, "four");
    put(&wire, T_DATA, 2, "two");
    put(&wire, T_DATA, 5, "five");
    put(&wire, T_DATA, 1, "one"); /* and four messages have their turn */
    put(&wire, T_DATA, 6, "six");
    c.data = buffer_bytes(&wire);
    c.n = wire.len;
    peer_case_run(&c);
    buffer_fini(&wire);
}

static void
an_empty_packet_may_end_a_gap(void **state)
{
    static const char *const bodies[] = {"", "two", "three"};
    struct buffer wire = {0};
    struct proto_peer p;

    (void)state;
    for (size_t piece = 1; piece < 30; piece++) {
        begin_ready(&p, BURST);
        put(&wire, T_DATA, 2, "two");
        put(&wire, T_DATA, 3, "three");
        put(&wire, T_DATA, 1, "");
        proto_peer_hear(&p, buffer_bytes(&wire), wire.len, piece, false);
        buffer_fini(&wire);
        expect_ack(&p, 1);
        expect_ack(&p, 2);
        expect_ack(&p, 3);
        expect_bodies(&p, bodies, 3);
        proto_peer_fini(&p);
    }
}

static void
doubles_are_acknowledged_again_and_handed_on_once(void **state)
{
    static const char *const bodies[] = {"one", "two", "three"};
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    begin_ready(&p, BURST);
    put(&wire, T_DATA, 1, "one");
    put(&wire, T_DATA, 1, "one");
    put(&wire, T_DATA, 3, "three");
    put(&wire, T_DATA, 3, "three"); /* kept, and not acknowledged yet */
    put(&wire, T_DATA, 2, "two");
    put(&wire, T_DATA, 3, "three");
    put(&wire, T_DATA, 1, "one");
    hear(&p, &wire);
    expect_ack(&p, 1);
    expect_ack(&p, 1);
    expect_ack(&p, 2);
    expect_ack(&p, 3);
    expect_ack(&p, 3);
    expect_ack(&p, 1);
    expect_silence(&p);
    expect_bodies(&p, bodies, 3);
    assert_int_equal(p.tally.packets, 3);
    proto_peer_fini(&p);
}

static void
a_double_is_not_acknowledged_before_its_message_is_taken(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    expect_silence(&p);
    assert_int_equal(p.held_count, 2);
    proto_peer_settle(&p, 1, &p.verdict);
    expect_ack(&p, 2);
    hear_one(&p, T_DATA, 1, "one");
    expect_silence(&p);
    hear_one(&p, T_DATA, 2, "two");
    expect_ack(&p, 2);
    proto_peer_settle(&p, 0, &p.verdict);
    expect_ack(&p, 1);
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    assert_int_equal(p.delivered_count, 2);
    proto_peer_fini(&p);
}

static void
a_packet_beyond_the_window_is_the_end(void **state)
{
    static const struct {
        unsigned before, sequence;
        bool closes;
    } cases[] = {{0, 4, false},   {0, 5, true},   {0, 65535, true}, {0, 32768, true},
                 {3, 7, false},   {3, 8, true},   {3, 65535, true}, {10, 1, false},
                 {10, 14, false}, {10, 15, true}, {10, 65535, true}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct proto_peer p;

        begin_ready(&p, BURST_OF_4);
        for (unsigned k = 1; k <= cases[i].before; k++) {
            hear_one(&p, T_DATA, k, "x");
            expect_ack(&p, k);
        }
        hear_one(&p, T_DATA, cases[i].sequence, "x");
        assert_int_equal(p.closed, cases[i].closes);
        if (cases[i].closes)
            expect(&p, T_ERROR, cases[i].sequence, "\"window\"");
        assert_int_equal(p.delivered_count, cases[i].before);
        proto_peer_fini(&p);
    }
}

/* The window counts packets without an ACK, and FRAGMENTs beyond a gap have theirs. */
static void
acknowledged_fragments_beyond_a_gap_let_the_sender_go_further(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_ready(&p, FRAGMENTS); /* a window of 4 */
    for (unsigned i = 2; i <= 5; i++) {
        hear_one(&p, T_FRAGMENT, i, (const char[]){(char)('0' + i), '\0'});
        expect_ack(&p, i);
    }
    hear_one(&p, T_FRAGMENT, 6, "6"); /* no more than a window is kept */
    hear_one(&p, T_FRAGMENT, 8, "8");
    expect_silence(&p);
    hear_one(&p, T_FRAGMENT, 5, "5"); /* a double of one that is kept */
    expect_ack(&p, 5);
    hear_one(&p, T_FRAGMENT, 1, "1");
    expect_ack(&p, 1);
    hear_one(&p, T_FRAGMENT, 6, "6");
    expect_ack(&p, 6);
    hear_one(&p, T_DATA, 7, "7");
    expect_ack(&p, 7);
    expect_silence(&p);
    expect_bodies(&p, (const char *const[]){"1234567"}, 1);
    hear_one(&p, T_DATA, 12, "beyond");
    expect(&p, T_ERROR, 12, "\"window\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
what_no_fragment_explains_is_beyond_the_window(void **state)
{
    static const struct {
        unsigned fragments, ends; /* kept beyond the missing packet 1 */
        unsigned last;            /* still within what the sender may send */
    } cases[] = {{0, 0, 4}, {0, 3, 4}, {1, 2, 5}, {3, 0, 7}, {4, 0, 8}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (unsigned over = 0; over <= 1; over++) {
            unsigned next = 2;
            struct proto_peer p;

            begin_ready(&p, FRAGMENTS);
            for (unsigned k = 0; k < cases[i].fragments; k++, next++) {
                hear_one(&p, T_FRAGMENT, next, "x");
                expect_ack(&p, next);
            }
            for (unsigned k = 0; k < cases[i].ends; k++, next++)
                hear_one(&p, T_DATA, next, "x");
            expect_silence(&p);
            hear_one(&p, T_DATA, cases[i].last + over, "x");
            assert_int_equal(p.closed, over);
            if (over)
                expect(&p, T_ERROR, cases[i].last + 1, "\"window\"");
            expect_silence(&p);
            proto_peer_fini(&p);
        }
}

static void
numbers_go_round_after_65535(void **state)
{
    struct proto_peer p;
    char text[16];

    (void)state;
    begin_ready(&p, BURST_OF_4);
    for (unsigned i = 0; i < 2 * 65535 - 1; i++) {
        snprintf(text, sizeof(text), "%u", i);
        hear_one(&p, T_DATA, i % 65535 + 1, text);
    }
    assert_int_equal(p.delivered_count, 2 * 65535 - 1);
    for (unsigned i = 0; i < 2 * 65535 - 1; i++) {
        snprintf(text, sizeof(text), "%u", i);
        proto_peer_expect_delivered(&p, i, text, strlen(text));
        expect_ack(&p, i % 65535 + 1);
    }
    hear_one(&p, T_DATA, 2, "last"); /* a gap across the end: 65535 and 1 are missing */
    hear_one(&p, T_DATA, 1, "then");
    hear_one(&p, T_DATA, 65533, "0"); /* a double */
    expect_ack(&p, 65533);
    hear_one(&p, T_DATA, 65535, "first");
    expect_ack(&p, 65535);
    expect_ack(&p, 1);
    expect_ack(&p, 2);
    expect_silence(&p);
    proto_peer_expect_delivered(&p, 2 * 65535 + 1, "last", 4);
    hear_one(&p, T_DATA, 65535, "first");
    expect_ack(&p, 65535);
    hear_one(&p, T_DATA, 7, "beyond");
    expect(&p, T_ERROR, 7, "\"window\"");
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
what_is_beyond_a_gap_is_dropped_while_memory_is_short(void **state)
{
    static const char *const bodies[] = {"one", "two", "three"};
    struct proto_peer p;

    (void)state;
    begin_ready(&p, BURST);
    p.memory_low = true;
    hear_one(&p, T_DATA, 2, "two");
    p.memory_low = false;
    p.store.ledger.max = p.store.ledger.used + 4;
    hear_one(&p, T_DATA, 3, "three");
    assert_int_equal(packet_window_bytes(p.window), 0);
    expect_silence(&p);
    p.store.ledger.max++;
    hear_one(&p, T_DATA, 3, "three");
    assert_int_equal(packet_window_bytes(p.window), 5);
    hear_one(&p, T_DATA, 1, "one");
    expect_ack(&p, 1);
    hear_one(&p, T_DATA, 2, "two");
    expect_ack(&p, 2);
    expect_ack(&p, 3);
    expect_bodies(&p, bodies, 3);
    proto_peer_fini(&p);
}

/* --- damage --- */

static void
check_damaged(struct proto_peer *p, const void *arg)
{
    static const char *const bodies[] = {"good", "aabbcc", "eight"};

    (void)arg;
    expect(p, T_ACK, 0, "\"ok\"");
    expect(p, T_ERROR, 1, "\"checksum\"");
    expect_ack(p, 1);
    expect_ack(p, 2);
    expect(p, T_ERROR, 3, "\"checksum\"");
    expect(p, T_ERROR, 5, "\"checksum\"");
    expect(p, T_ERROR, 1, "\"checksum\"");
    expect_ack(p, 3);
    expect_ack(p, 4);
    expect_ack(p, 5);
    expect_silence(p);
    expect_bodies(p, bodies, 3);
    assert_int_equal(p->tally.nack1, 4);
    assert_int_equal(p->tally.packets, 5);
    assert_true(cnp_protocol.idle(&p->state));
}

static void
a_damaged_packet_leaves_no_trace(void **state)
{
    struct buffer wire = {0};
    struct peer_case c = {.proto = &cnp_protocol, .check = check_damaged};

    (void)state;
    put_handshake(&wire, "{\"operation_mode\": \"burst\", \"fragments\": true}");
    put_damaged(&wire, T_DATA, 1, "evil"); /* a message of its own */
    put(&wire, T_DATA, 1, "good");
    put(&wire, T_FRAGMENT, 2, "aa");
    put_damaged(&wire, T_FRAGMENT, 3, "bb"); /* within one */
    put_damaged(&wire, T_DATA, 5, "eight");  /* beyond a gap */
    put_damaged(&wire, T_DATA, 1, "good");   /* a double */
    put(&wire, T_FRAGMENT, 3, "bb");
    put(&wire, T_DATA, 4, "cc");
    put(&wire, T_DATA, 5, "eight");
    c.data = buffer_bytes(&wire);
    c.n = wire.len;
    peer_case_run(&c);
    buffer_fini(&wire);
}

static void
damaged_answers_are_not_taken_for_answers(void **state)
{
    struct proto_peer p;
    struct buffer wire = {0};

    (void)state;
    begin_ready(&p, BURST);
    assert_int_equal(proto_peer_push(&p, "push", 4), 0);
    expect(&p, T_DATA, 1, "push");
    put_damaged(&wire, T_ACK, 1, "ACK");
    put_damaged(&wire, T_ACK, 0, "ACK");
    put_damaged(&wire, T_DISCONNECT, 0, "x");
    hear(&p, &wire);
    expect(&p, T_ERROR, 1, "\"checksum\"");
    expect(&p, T_ERROR, 0, "\"checksum\"");
    expect_silence(&p);
    assert_int_equal(p.tally.nack1, 3);
    assert_int_equal(p.results.delivered, 0);
    assert_false(p.closed);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_make_a_conversation),
        cmocka_unit_test(packets_without_a_number_are_always_taken),
        cmocka_unit_test(packets_in_any_order_are_handed_on_in_sequence),
        cmocka_unit_test(an_empty_packet_may_end_a_gap),
        cmocka_unit_test(doubles_are_acknowledged_again_and_handed_on_once),
        cmocka_unit_test(a_double_is_not_acknowledged_before_its_message_is_taken),
        cmocka_unit_test(a_packet_beyond_the_window_is_the_end),
        cmocka_unit_test(acknowledged_fragments_beyond_a_gap_let_the_sender_go_further),
        cmocka_unit_test(what_no_fragment_explains_is_beyond_the_window),
        cmocka_unit_test(numbers_go_round_after_65535),
        cmocka_unit_test(what_is_beyond_a_gap_is_dropped_while_memory_is_short),
        cmocka_unit_test(a_damaged_packet_leaves_no_trace),
        cmocka_unit_test(damaged_answers_are_not_taken_for_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
