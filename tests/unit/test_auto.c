/* Which protocol a connection speaks, told by its first bytes: whole, a byte at a time and split
 * anywhere; and what becomes of bytes that do not say it (docs/protocol.md 5). */
#include "msp_build.h"
#include "proto_peer.h"

#include "common/base.h"
#include "proto/cnp/cnp_wire.h"
#include "proto/proto_table.h"

#define TEXT(text) (text), sizeof(text) - 1

/* What one sender says first. */
struct opening {
    const char *name;
    const char *proto;   /* it is this one */
    const char *message; /* that comes of it; NULL: none yet */
    size_t n;
    uint8_t wire[256];
};

static struct opening openings[32];
static size_t opening_count;

static struct opening *
opening_add(const char *name, const char *proto, const char *message)
{
    struct opening *o = &openings[opening_count++];

    MS_ASSERT(opening_count <= MS_ARRAY_LEN(openings));
    *o = (struct opening){.name = name, .proto = proto, .message = message};
    return o;
}

static void
opening_add_bytes(const char *name, const char *proto, const char *message, const void *wire,
                  size_t n)
{
    struct opening *o = opening_add(name, proto, message);

    memcpy(o->wire, wire, n);
    o->n = n;
}

/* A first packet of cnp, with LAST behind its checksum in the second dialect. Returns its
 * length. */
static size_t
build_syn(uint8_t *out, const char *json, size_t n, bool second)
{
    size_t header = second ? 12 : 11;

    memset(out, 0, header);
    be32_store(out, (uint32_t)n);
    out[4] = 1;
    cnp_sum_of(json, n, out + 7);
    memcpy(out + header, json, n);
    return header + n;
}

static void
add_cnp(const char *name, const char *json, bool second)
{
    struct opening *o = opening_add(name, "cnp", NULL);

    o->n = build_syn(o->wire, json, strlen(json), second);
}

/* alone: its trailer comes only when the body has had its answer. */
static void
add_msp(const char *name, const char *body, bool late, bool undetermined, bool alone)
{
    struct opening *o = opening_add(name, "msp", alone ? NULL : body);

    o->n = build_first(o->wire, body, strlen(body), late, undetermined);
    if (!alone)
        o->n += build_trailer(o->wire + o->n, 'A', 0, NULL, 0);
}

static int
make_openings(void **state)
{
    struct opening *o;

    (void)state;
    opening_add_bytes("tinyproto", "tinyproto", "hello", TEXT("\377\0\0\0\5hello"));
    opening_add_bytes("tinyproto's first byte", "tinyproto", NULL, TEXT("\377"));
    add_msp("msp", "hello", false, false, false);
    add_msp("msp, empty", "", false, true, false);
    add_msp("msp, undetermined", "hello", false, true, true);
    add_msp("msp, late digest", "hello", true, false, true);
    o = opening_add("msp, its SIZE all but too large", "msp", NULL);
    build_first(o->wire, "", 0, true, false);
    be64_store(o->wire, UINT32_MAX);
    o->n = MSP_FIRST_HEADER;
    add_cnp("cnp", "{\"operation_mode\": \"burst\", \"max_packet_size\": 1024, \"window_size\": 5}",
            false);
    add_cnp("cnp, second dialect",
            "{\"protocol\": \"gbn\", \"max_fragment_size\": 3, \"window_size\": 4}", true);
    add_cnp("cnp, the shortest", "{}", false);
    add_cnp("cnp, second dialect, the shortest", "{}", true);
    opening_add_bytes("frame", "frame", "hello", TEXT("\0\0\0\5hello"));
    opening_add_bytes("frame of one byte", "frame", "x", TEXT("\0\0\0\1x"));
    opening_add_bytes("frame of two", "frame", "xy", TEXT("\0\0\0\2xy"));
    opening_add_bytes("frame of four", "frame", "\r\n\r\n", TEXT("\0\0\0\4\r\n\r\n"));
    opening_add_bytes("frame with CRLF at 8", "frame", "1234\r\n",
                      TEXT("\0\0\0\6"
                           "1234\r\n"));
    opening_add_bytes("frame of 01 too short for cnp", "frame", "\1", TEXT("\0\0\0\1\1"));
    opening_add_bytes("two short frames", "frame", "x", TEXT("\0\0\0\1x\0\0\0\1y"));
    opening_add_bytes("an empty frame and another", "frame", "", TEXT("\0\0\0\0\0\0\0\1y"));
    opening_add_bytes("a frame like cnp, but no {", "frame", "\1\2\3\4\5\6\7xyz",
                      TEXT("\0\0\0\12\1\2\3\4\5\6\7xyz"));
    opening_add_bytes("a frame like cnp, but its checksum", "frame", "\1\2\3\4\5\6\7{}{}",
                      TEXT("\0\0\0\13\1\2\3\4\5\6\7{}{}\0\0\0\0\0\0\0\0"));
    return 0;
}

static void
check_opening(struct proto_peer *p, const void *arg)
{
    const struct opening *o = arg;

    if (strcmp(p->proto->name, o->proto) != 0)
        fail_msg("%s was taken for %s", o->name, p->proto->name);
    assert_false(p->closed);
    assert_int_equal(p->tally.err, 0);
    assert_int_equal(p->tally.nack1, 0);
    assert_int_equal(p->lookahead.len, 0);
    if (o->message != NULL)
        proto_peer_expect_delivered(p, 0, o->message, strlen(o->message));
    if (strcmp(o->proto, "cnp") == 0) {
        assert_true(p->said.len > 11);
        assert_int_equal(buffer_bytes(&p->said)[4], 2); /* SYN-ACK: it had all of the SYN */
    }
}

static void
every_protocol_is_told_however_its_bytes_come(void **state)
{
    (void)state;
    for (size_t i = 0; i < opening_count; i++) {
        struct peer_case c = {.proto = &auto_protocol,
                              .data = openings[i].wire,
                              .n = openings[i].n,
                              .check = check_opening,
                              .arg = &openings[i]};

        peer_case_run(&c);
    }
}

static void
begin(struct proto_peer *p)
{
    proto_peer_init(p, &auto_protocol);
    proto_peer_begin(p, PROTO_SERVER);
}

static void
hear(struct proto_peer *p, const void *data, size_t n, size_t piece)
{
    const uint8_t *at = data;

    for (; n > 0; at += piece, n -= piece) {
        piece = piece < n ? piece : n;
        proto_peer_hear(p, at, piece, piece, false);
        assert_true(p->lookahead.len <= AUTO_LOOKAHEAD_MAX);
    }
}

static void
frames_of_every_short_length_are_told_at_once(void **state)
{
    uint8_t wire[4 + 64];

    (void)state;
    for (size_t n = 1; n <= 64; n++)
        for (size_t piece = 1; piece <= n + 4; piece++) {
            struct proto_peer p;

            memset(wire, 'x', sizeof(wire));
            be32_store(wire, (uint32_t)n);
            begin(&p);
            hear(&p, wire, n + 4, piece);
            assert_ptr_equal(p.proto, &frame_protocol);
            proto_peer_expect_delivered(&p, 0, wire + 4, n);
            proto_peer_fini(&p);
        }
}

static void
what_the_first_bytes_decide_is_not_consumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < opening_count; i++) {
        struct proto_tally tally = {0};
        struct proto_peer p;
        struct proto_io io;
        struct message *m = NULL;
        size_t used = 99;

        begin(&p);
        io = (struct proto_io){.limits = &p.limits, .lookahead = &p.lookahead, .tally = &tally};
        if (openings[i].n >= 9 && auto_protocol.feed(&p.state, &io, openings[i].wire, openings[i].n,
                                                     &used, &m) == PROTO_BECOME) {
            assert_int_equal(used, 0);
            assert_int_equal(p.lookahead.len, 0);
            assert_string_equal(io.become->name, openings[i].proto);
        } else {
            assert_true(openings[i].n < 9 || openings[i].wire[8] == '\r');
        }
        proto_peer_fini(&p);
    }
}

static void
the_three_line_ends_make_it_msp_whatever_else_it_looks_like(void **state)
{
    uint8_t wire[MSP_FIRST_HEADER];
    struct proto_peer p;

    (void)state;
    for (size_t piece = 1; piece <= sizeof(wire); piece++) {
        build_first(wire, "", 0, true, false);
        memcpy(wire, "\0\0\1\0\1\0\0\0", 8); /* as cnp: 256 bytes to come */
        wire[11] = '{';
        begin(&p);
        hear(&p, wire, sizeof(wire), piece);
        assert_ptr_equal(p.proto, &msp_protocol);
        proto_peer_fini(&p);
    }
}

static void
one_wrong_byte_in_a_line_end_makes_it_no_msp(void **state)
{
    static const uint8_t places[] = {8, 9, 42, 43, 48, 49};
    uint8_t wire[MSP_FIRST_HEADER];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(places); i++)
        for (size_t piece = 1; piece <= sizeof(wire); piece++) {
            struct proto_peer p;

            build_first(wire, "", 0, true, false);
            be64_store(wire, 256);
            wire[places[i]] ^= 1;
            begin(&p);
            hear(&p, wire, places[i], piece);
            assert_ptr_equal(p.proto, &auto_protocol);
            hear(&p, wire + places[i], sizeof(wire) - places[i], piece);
            assert_ptr_equal(p.proto, &frame_protocol);
            proto_peer_expect_delivered(&p, 0, "", 0);
            proto_peer_fini(&p);
        }
}

/* A SYN whose checksum has CRLF where msp has it. Returns its length. */
static size_t
build_syn_with_crlf(uint8_t *out)
{
    struct cnp_sum *cnp_sum = cnp_sum_create();
    uint8_t sum[CNP_SUM_LEN] = {0};
    char json[32];
    unsigned id = 0;

    assert_non_null(cnp_sum);
    while (sum[1] != '\r' || sum[2] != '\n') {
        snprintf(json, sizeof(json), "{\"client_id\": \"%u\"}", id++);
        cnp_sum_whole(cnp_sum, json, strlen(json), sum);
    }
    cnp_sum_destroy(cnp_sum);
    return build_syn(out, json, strlen(json), false);
}

static void
a_cnp_is_told_though_an_msp_could_begin_like_it(void **state)
{
    uint8_t wire[64];
    size_t n = build_syn_with_crlf(wire);

    (void)state;
    assert_true(n < MSP_FIRST_HEADER);
    assert_memory_equal(wire + 8, "\r\n", 2);
    for (size_t piece = 1; piece <= n; piece++) {
        struct proto_peer p;

        begin(&p);
        hear(&p, wire, n, piece);
        assert_string_equal(p.proto->name, "cnp");
        proto_peer_fini(&p);
    }
}

/* --- long first packets of cnp --- */

static void
a_first_packet_of_cnp_may_have_65535_bytes(void **state)
{
    static char json[65536];
    static uint8_t wire[AUTO_LOOKAHEAD_MAX + 1];

    (void)state;
    memset(json, ' ', sizeof(json));
    json[0] = '{';
    json[65534] = '}';
    for (int second = 0; second < 2; second++)
        for (int good = 0; good < 2; good++)
            for (size_t piece = 1000; piece < 100000; piece *= 5) {
                size_t n = build_syn(wire, json, 65535, second != 0);
                struct proto_peer p;

                begin(&p);
                wire[n - 1] ^= (uint8_t)!good;
                wire[n] = 0; /* where the other dialect would end */
                hear(&p, wire, n + !good, piece);
                assert_string_equal(p.proto->name, good ? "cnp" : "frame");
                proto_peer_fini(&p);
            }
}

static void
what_comes_behind_the_longest_first_packet_is_left_where_it_is(void **state)
{
    static uint8_t wire[100000] = "\0\0\377\377\1\0\0abcd{{";
    struct proto_tally tally = {0};
    struct message *m = NULL;
    struct proto_peer p;
    struct proto_io io;
    size_t used;

    (void)state;
    begin(&p);
    io = (struct proto_io){.limits = &p.limits, .lookahead = &p.lookahead, .tally = &tally};
    assert_int_equal(auto_protocol.feed(&p.state, &io, wire, 60000, &used, &m), PROTO_MORE);
    assert_int_equal(used, 60000);
    assert_int_equal(auto_protocol.feed(&p.state, &io, wire + 60000, 40000, &used, &m),
                     PROTO_BECOME);
    assert_int_equal(used, AUTO_LOOKAHEAD_MAX - 60000);
    assert_ptr_equal(io.become, &frame_protocol);
    proto_peer_fini(&p);
}

static void
a_longer_one_is_a_frame_at_once(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    hear(&p, TEXT("\0\1\0\0\1\0\0\0\0"), 1);
    assert_ptr_equal(p.proto, &frame_protocol);
    proto_peer_fini(&p);
}

/* --- bytes that do not say it --- */

static const struct {
    const char *wire;
    size_t n;
    size_t frames; /* it is so many when nothing more comes; 0: it is nothing */
} unsaid[] = {
    {TEXT("\0\0\0\0"), 1}, /* an empty frame, or most of msp's SIZE */
    {TEXT("\0\0\0\0\0\0\0\0"), 2},
    {TEXT("\0\0\0\0\0\0\0\2\r\n"), 2},
    {TEXT("\0\0\0\6\1abcde"), 1},                   /* or cnp, before its header is whole */
    {TEXT("\0\0\0\24\1\0\0abcd{234567890123"), 1},  /* or cnp, before its payload is */
    {TEXT("\0\0\0\24\1\0\0abcd\0{34567890123"), 1}, /* or its second dialect */
    {TEXT("\0"), 0},
    {TEXT("\0\0\0"), 0},
    {TEXT("\0\0\0\5h"), 0},
    {TEXT("\0\0\0\0\0"), 0},
    {TEXT("\0\0\0\0\0\0\0\5\r\n"), 0},
    {TEXT("\0\0\0\7\1abcde"), 0},
    {TEXT("\376\0\0\0"), 0},
};

static void
expect_frames(struct proto_peer *p, size_t frames)
{
    assert_int_equal(p->closed, frames == 0);
    assert_int_equal(p->delivered_count, frames);
    if (frames > 0)
        assert_ptr_equal(p->proto, &frame_protocol);
}

static void
whole_frames_are_told_when_all_is_silent_and_anything_else_is_given_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(unsaid); i++)
        for (size_t piece = 1; piece <= unsaid[i].n; piece++) {
            struct proto_peer p;

            begin(&p);
            proto_peer_wait(&p, p.limits.timeout_us * 2);
            hear(&p, unsaid[i].wire, unsaid[i].n, piece);
            assert_ptr_equal(p.proto, &auto_protocol);
            assert_false(auto_protocol.idle(&p.state));
            proto_peer_wait(&p, p.limits.timeout_us - 1);
            assert_ptr_equal(p.proto, &auto_protocol);
            assert_false(p.closed);
            proto_peer_wait(&p, 1);
            expect_frames(&p, unsaid[i].frames);
            assert_int_equal(p.tally.err, unsaid[i].frames == 0);
            proto_peer_fini(&p);
        }
}

static void
whole_frames_are_told_when_the_peer_sends_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(unsaid); i++) {
        struct proto_peer p;

        begin(&p);
        hear(&p, unsaid[i].wire, unsaid[i].n, 1);
        proto_peer_eof(&p);
        assert_true(p.closed);
        assert_int_equal(p.delivered_count, unsaid[i].frames);
        assert_int_equal(p.tally.err, 0);
        proto_peer_fini(&p);
    }
}

static void
the_beginning_of_an_msp_is_never_handed_on(void **state)
{
    uint8_t wire[MSP_FIRST_HEADER];

    (void)state;
    build_first(wire, "", 0, true, false);
    be64_store(wire, 256);
    for (size_t cut = 1; cut < sizeof(wire); cut++)
        for (int eof = 0; eof < 2; eof++) {
            struct proto_peer p;

            begin(&p);
            hear(&p, wire, cut, 1);
            if (eof)
                proto_peer_eof(&p);
            else
                proto_peer_wait(&p, p.limits.timeout_us);
            assert_int_equal(p.delivered_count, cut == 4); /* which an empty frame looks like */
            assert_int_equal(p.closed, cut != 4 || eof);
            proto_peer_fini(&p);
        }
}

/* Its first six bytes are a frame too. */
static void
an_msp_over_the_limit_is_told_where_its_size_comes_whole(void **state)
{
    uint8_t wire[MSP_FIRST_HEADER];

    (void)state;
    build_first(wire, "", 0, true, false);
    be64_store(wire, UINT64_C(8) << 30);
    for (size_t cut = 9; cut < sizeof(wire); cut++) {
        struct proto_peer p;

        begin(&p);
        hear(&p, wire, cut, cut);
        assert_ptr_equal(p.proto, &auto_protocol);
        hear(&p, wire + cut, sizeof(wire) - cut, 1);
        assert_ptr_equal(p.proto, &msp_protocol);
        proto_peer_fini(&p);
    }
}

static void
a_peer_that_says_nothing_and_leaves_is_no_error(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    proto_peer_eof(&p);
    assert_true(p.closed);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

/* --- limits --- */

static void
a_length_over_the_limit_ends_the_connection(void **state)
{
    (void)state;
    for (uint32_t over = 0; over < 2; over++)
        for (size_t piece = 1; piece <= 9; piece++) {
            uint8_t wire[9] = "....xxxxx";
            struct proto_peer p;

            begin(&p);
            p.limits.max_message_size = 1000000;
            be32_store(wire, 1000000 + over);
            hear(&p, wire, sizeof(wire), piece);
            assert_int_equal(p.closed, over);
            assert_int_equal(p.tally.err, over);
            assert_ptr_equal(p.proto, over ? &auto_protocol : &frame_protocol);
            assert_int_equal(p.message != NULL, !over);
            proto_peer_fini(&p);
        }
}

static void
where_an_msp_may_be_that_large_a_short_frame_waits(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    p.limits.max_message_size = (uint64_t)1 << 40;
    hear(&p, TEXT("\0\0\0\1x"), 5);
    assert_ptr_equal(p.proto, &auto_protocol);
    proto_peer_wait(&p, p.limits.timeout_us);
    proto_peer_expect_delivered(&p, 0, "x", 1);
    proto_peer_fini(&p);
}

static void
one_byte_a_second_is_too_slow_to_say_who_one_is(void **state)
{
    uint8_t wire[MSP_FIRST_HEADER];
    struct proto_peer p;
    size_t sent = 0;

    (void)state;
    build_first(wire, "", 0, true, false);
    be64_store(wire, 256);
    begin(&p);
    proto_peer_wait(&p, 30000000);
    while (!p.closed && sent < sizeof(wire)) {
        hear(&p, wire + sent++, 1, 1);
        proto_peer_wait(&p, 1000000);
    }
    assert_in_range(sent, 10, 11);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
the_pace_counts_all_bytes_that_came(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    p.limits.min_rate = 1;
    p.limits.timeout_us = 100000000;
    hear(&p, TEXT("\0\0\377\377\1\0\0abcd{{34567890"), 4);
    assert_int_equal(proto_peer_patience(&p), p.limits.rate_grace_us + 21 * 1000000);
    proto_peer_fini(&p);
}

static void
a_silent_connection_is_idle_and_closed_in_time(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    assert_true(auto_protocol.idle(&p.state));
    proto_peer_expect_idle_end(&p);
    proto_peer_fini(&p);
}

/* --- the rest --- */

static void
a_push_waits_for_whoever_it_becomes(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    assert_int_equal(proto_peer_push(&p, "early", 5), 0);
    proto_peer_expect_said(&p, NULL, 0);
    assert_int_equal(p.outbox.first->blob->len, 5);
    assert_memory_equal(p.outbox.first->blob->mem, "early", 5);
    proto_peer_push(&p, "", 0);
    hear(&p, TEXT("\0\0\0\1x"), 1);
    proto_peer_expect_said(&p, TEXT("\0\0\0\5early\0\0\0\0"));
    assert_true(outbox_idle(&p.outbox));
    proto_peer_fini(&p);
}

static void
it_leaves_without_a_word_and_cannot_turn_away(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p);
    hear(&p, "", 1, 1);
    proto_peer_shutdown(&p);
    proto_peer_expect_said(&p, NULL, 0);
    assert_null(auto_protocol.refusal);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_protocol_is_told_however_its_bytes_come),
        cmocka_unit_test(frames_of_every_short_length_are_told_at_once),
        cmocka_unit_test(what_the_first_bytes_decide_is_not_consumed),
        cmocka_unit_test(the_three_line_ends_make_it_msp_whatever_else_it_looks_like),
        cmocka_unit_test(one_wrong_byte_in_a_line_end_makes_it_no_msp),
        cmocka_unit_test(a_cnp_is_told_though_an_msp_could_begin_like_it),
        cmocka_unit_test(what_comes_behind_the_longest_first_packet_is_left_where_it_is),
        cmocka_unit_test(a_first_packet_of_cnp_may_have_65535_bytes),
        cmocka_unit_test(a_longer_one_is_a_frame_at_once),
        cmocka_unit_test(whole_frames_are_told_when_all_is_silent_and_anything_else_is_given_up),
        cmocka_unit_test(whole_frames_are_told_when_the_peer_sends_no_more),
        cmocka_unit_test(the_beginning_of_an_msp_is_never_handed_on),
        cmocka_unit_test(an_msp_over_the_limit_is_told_where_its_size_comes_whole),
        cmocka_unit_test(a_peer_that_says_nothing_and_leaves_is_no_error),
        cmocka_unit_test(a_length_over_the_limit_ends_the_connection),
        cmocka_unit_test(where_an_msp_may_be_that_large_a_short_frame_waits),
        cmocka_unit_test(one_byte_a_second_is_too_slow_to_say_who_one_is),
        cmocka_unit_test(the_pace_counts_all_bytes_that_came),
        cmocka_unit_test(a_silent_connection_is_idle_and_closed_in_time),
        cmocka_unit_test(a_push_waits_for_whoever_it_becomes),
        cmocka_unit_test(it_leaves_without_a_word_and_cannot_turn_away),
    };

    return cmocka_run_group_tests(tests, make_openings, NULL);
}
