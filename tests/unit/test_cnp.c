/* cnp after the handshake: what a server takes, in which order, and what it says to it. */
#include "cnp_packets.h"

#include <errno.h>
#include <jansson.h>

static const struct verdict committed = {.outcome = PROTO_COMMITTED};
static const struct verdict refused = {
    .outcome = PROTO_REFUSED, .code = "refused", .text = "not \"this\" one"};
static const struct verdict failed = {.outcome = PROTO_FAILED, .text = "the disk is gone"};

static void
expect_bodies(const struct proto_peer *p, const char *const *bodies, size_t n)
{
    assert_int_equal(p->delivered_count, n);
    for (size_t i = 0; i < n; i++)
        proto_peer_expect_delivered(p, i, bodies[i], strlen(bodies[i]));
}

/* A peer with limits that the test may have changed before. */
static void
begin(struct proto_peer *p, const char *syn)
{
    proto_peer_init(p, &cnp_protocol);
    peer_ready(p, syn);
}

/* Hears one packet. */
static void
hear_one(struct proto_peer *p, int type, unsigned seq, const char *text)
{
    struct buffer wire = {0};

    put(&wire, type, seq, text);
    hear(p, &wire);
}

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
    n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &out[i]), 1);
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
    begin(&p, "{\"fragments\": true}");
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
        begin(&p, BURST);
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
    begin(&p, BURST);
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
    begin(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    hear_one(&p, T_DATA, 1, "one");
    hear_one(&p, T_DATA, 2, "two");
    expect_silence(&p);
    assert_int_equal(p.held_count, 2);
    proto_peer_settle(&p, 1, &committed);
    expect_ack(&p, 2);
    hear_one(&p, T_DATA, 1, "one");
    expect_silence(&p);
    hear_one(&p, T_DATA, 2, "two");
    expect_ack(&p, 2);
    proto_peer_settle(&p, 0, &committed);
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

        begin(&p, BURST_OF_4);
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
    begin(&p, FRAGMENTS); /* a window of 4 */
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

            begin(&p, FRAGMENTS);
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
    begin(&p, BURST_OF_4);
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
    begin(&p, BURST);
    p.memory_low = true;
    hear_one(&p, T_DATA, 2, "two");
    p.memory_low = false;
    p.store.memory_limit = 4;
    hear_one(&p, T_DATA, 3, "three");
    assert_int_equal(p.store.memory_used, 0);
    expect_silence(&p);
    p.store.memory_limit = 5;
    hear_one(&p, T_DATA, 3, "three");
    assert_int_equal(p.store.memory_used, 5);
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
    begin(&p, BURST);
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
        assert_int_equal(p.store.memory_used, 0);
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
    begin(&p, "{\"max_packet_size\": 1}");
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

/* --- verdicts --- */

static void
a_refused_message_is_said_to_be_and_stays_so(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, BURST_OF_4);
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
    begin(p, FRAGMENTS);
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
    begin(&p, BURST);
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

        begin(&p, BURST);
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
        begin(&p, BURST);
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
    begin(&p, BURST);
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
    begin(&p, BURST);
    p.hold = true;
    hear_one(&p, T_DATA, 1, "one");
    proto_peer_shutdown(&p);
    expect_silence(&p);
    proto_peer_settle(&p, 0, &committed);
    expect_ack(&p, 1);
    expect(&p, T_ERROR, 0, "\"shutdown\"");
    assert_true(p.answers.ended);
    proto_peer_fini(&p);
    begin(&p, BURST);
    proto_peer_shutdown(&p);
    expect(&p, T_ERROR, 0, "\"shutdown\"");
    expect_silence(&p);
    proto_peer_fini(&p);
}

/* --- time --- */

static void
silence_is_asked_about_and_then_ended(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, "{}");
    assert_true(cnp_protocol.idle(&p.state));
    for (int i = 0; i < 3; i++) { /* one that answers may stay */
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
a_keepalive_is_answered_with_its_sequence(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, "{}");
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
    put(&whole, T_DATA, 1, "payload");
    for (size_t n = 1; n < whole.len; n++) {
        struct proto_peer p;

        begin(&p, "{}");
        proto_peer_hear(&p, buffer_bytes(&whole), n, PEER_WHOLE, true);
        assert_false(cnp_protocol.idle(&p.state));
        assert_int_equal(proto_peer_patience(&p), p.limits.timeout_us);
        proto_peer_wait(&p, p.limits.timeout_us);
        expect(&p, T_ERROR, 0, "\"timeout\"");
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

        begin(&p, "{\"fragments\": true}");
        if (firsts[i].type != 0)
            hear_one(&p, firsts[i].type, firsts[i].sequence, "x");
        proto_peer_expect_said(&p, buffer_bytes(&p.said), p.said.len);
        while (!p.closed) {
            assert_true(at < slow.len);
            proto_peer_hear(&p, buffer_bytes(&slow) + at++, 1, 1, false);
            proto_peer_wait(&p, 1000000);
        }
        assert_in_range(at, 10, 11);
        expect(&p, T_ERROR, 0, "\"timeout\"");
        proto_peer_fini(&p);
    }
    buffer_fini(&slow);
}

/* --- from one process to the next --- */

static void
a_connection_goes_on_with_its_struct_alone(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, BURST);
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
    struct buffer saved = {0};

    (void)state;
    begin(&p, BURST);
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
        cmocka_unit_test(a_length_over_the_limit_is_the_end_before_a_byte_of_it),
        cmocka_unit_test(fragments_make_no_message_over_the_limit),
        cmocka_unit_test(control_packets_may_be_larger_than_the_packets_agreed),
        cmocka_unit_test(a_refused_message_is_said_to_be_and_stays_so),
        cmocka_unit_test(a_number_that_comes_round_has_nothing_of_a_refused_message),
        cmocka_unit_test(a_fragment_whose_number_was_a_refused_messages_is_acknowledged_again),
        cmocka_unit_test(a_failed_message_ends_the_connection_behind_the_others),
        cmocka_unit_test(what_cannot_be_stored_is_refused_or_the_end),
        cmocka_unit_test(nobody_pays_for_a_digest_that_nobody_wants),
        cmocka_unit_test(disconnect_is_acknowledged_behind_all_messages),
        cmocka_unit_test(a_server_that_leaves_says_so_behind_all_messages),
        cmocka_unit_test(silence_is_asked_about_and_then_ended),
        cmocka_unit_test(a_keepalive_is_answered_with_its_sequence),
        cmocka_unit_test(a_packet_that_never_ends_is_ended),
        cmocka_unit_test(a_message_that_comes_too_slowly_is_ended),
        cmocka_unit_test(a_connection_goes_on_with_its_struct_alone),
        cmocka_unit_test(a_refused_message_stays_refused_in_the_next_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
