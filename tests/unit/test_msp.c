/* The server's side of msp: every conversation of the vectors, cut in every way, and every state,
 * limit and code of docs/protocol.md 1. */
#include "msp_build.h"
#include "proto_peer.h"

#include "common/base.h"

#include "support/hex.h"

#include <jansson.h>

static uint8_t wire[1 << 21];
static uint8_t body[1 << 20];

static void
fill_body(size_t n)
{
    for (size_t i = 0; i < n; i++)
        body[i] = (uint8_t)(i * 131 + i / 251);
}

static void
peer_begin(struct proto_peer *p)
{
    proto_peer_init(p, &msp_protocol);
    proto_peer_begin(p, PROTO_SERVER);
}

/* --- the vectors --- */

static void
expect_said(struct proto_peer *p, const char *expected, const char *name, size_t piece)
{
    const char *said = proto_peer_said(p);
    bool prefix = strncmp(expected, "REJ", 3) == 0 || strncmp(expected, "ERR", 3) == 0;

    if (prefix ? strncmp(said, expected, strlen(expected)) != 0 || strstr(said, "\r\n") == NULL
               : strcmp(said, expected) != 0)
        fail_msg("%s in pieces of %zu: expected \"%s\", got \"%s\"", name, piece, expected, said);
}

static void
expect_delivered(const struct proto_peer *p, json_t *expected, const char *name)
{
    static uint8_t bytes[1 << 16];
    size_t i;
    json_t *want;

    if (p->delivered_count != json_array_size(expected))
        fail_msg("%s: %zu messages delivered", name, p->delivered_count);
    json_array_foreach(expected, i, want)
    {
        const struct peer_delivered *d = &p->delivered[i];
        const char *value = json_string_value(json_object_get(want, "value"));
        size_t n = hex_read(json_string_value(json_object_get(want, "body")), bytes);

        assert_int_equal(d->kind, json_string_value(json_object_get(want, "kind"))[0]);
        assert_int_equal(d->size, n);
        assert_memory_equal(d->body, bytes, n);
        n = value != NULL ? hex_read(value, bytes) : 0;
        assert_int_equal(d->value_len, n);
        assert_memory_equal(d->value, bytes, n);
    }
}

static void
run_vector(json_t *vector, size_t piece)
{
    const char *name = json_string_value(json_object_get(vector, "name"));
    bool together = strncmp(name, "undetermined", 12) == 0;
    struct proto_peer p;
    size_t i;
    json_t *step, *v;

    peer_begin(&p);
    if ((v = json_object_get(vector, "packet_size_max")) != NULL)
        p.limits.packet_size_max = (uint32_t)json_integer_value(v);
    json_array_foreach(json_object_get(vector, "steps"), i, step)
    {
        const char *client = json_string_value(json_object_get(step, "client"));
        const char *server = json_string_value(json_object_get(step, "server"));

        if (client != NULL)
            proto_peer_hear(&p, wire, hex_read(client, wire), piece, together);
        else if (json_is_true(json_object_get(vector, "reply")) &&
                 i + 1 == json_array_size(json_object_get(vector, "steps")))
            assert_int_equal(p.said.len, strlen(server) + MSP_FIRST_HEADER);
        else
            expect_said(&p, server, name, piece);
    }
    expect_delivered(&p, json_object_get(vector, "delivers"), name);
    assert_int_equal(p.closed, json_is_true(json_object_get(vector, "closes")));
    proto_peer_fini(&p);
}

static void
every_vector_passes_whole_and_in_pieces_of_every_size(void **state)
{
    const char *root = getenv("MSOCK_SOURCE");
    char path[4096];
    json_t *all, *vector;
    json_error_t error;
    size_t i;

    (void)state;
    snprintf(path, sizeof(path), "%s/tests/vectors/msp.json", root != NULL ? root : ".");
    all = json_load_file(path, 0, &error);
    assert_non_null(all);
    assert_true(json_array_size(json_object_get(all, "cases")) > 30);
    json_array_foreach(json_object_get(all, "cases"), i, vector)
    {
        run_vector(vector, sizeof(wire));
        for (size_t piece = 1; piece < 120; piece++)
            run_vector(vector, piece);
        for (size_t piece = 2040; piece < 2060; piece++)
            run_vector(vector, piece);
    }
    json_decref(all);
}

/* --- sizes and grants --- */

/* Sends size bytes of body[] as a strict client would and returns the largest grant it was
 * given. */
static uint32_t
send_strictly(struct proto_peer *p, size_t size, bool late, size_t piece)
{
    size_t done = size < MSP_FIRST_BODY ? size : MSP_FIRST_BODY;
    uint32_t largest = 0;
    uint8_t digest[SHA256_LEN];

    proto_peer_hear(p, wire, build_first(wire, body, size, late, false), piece, true);
    while (done < size) {
        unsigned grant;
        size_t n;

        assert_int_equal(sscanf(proto_peer_said(p), "ACK %u\r\n", &grant), 1);
        largest = grant > largest ? grant : largest;
        n = grant - MSP_PACKET_HEADER < size - done ? grant - MSP_PACKET_HEADER : size - done;
        proto_peer_hear(p, wire, build_packet(wire, body + done, n), piece, true);
        done += n;
    }
    assert_string_equal(proto_peer_said(p), "ACK\r\n");
    digest_sha256(p->store.digester, body, size, digest);
    proto_peer_hear(p, wire, msp_trailer_encode(wire, 'A', 0, late ? digest : NULL, "id", 2), piece,
                    true);
    assert_string_equal(proto_peer_said(p), "ACK\r\n");
    return largest;
}

static void
messages_of_every_size_around_a_packet_arrive_whole(void **state)
{
    static const size_t sizes[] = {1,    2,    1997,  1998,   1999,   4039,
                                   4040, 4041, 20000, 300000, 1000000};

    (void)state;
    fill_body(sizeof(body));
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++)
        for (int late = 0; late < 2; late++)
            for (size_t piece = 777; piece < sizeof(wire); piece *= 9) {
                struct proto_peer p;

                peer_begin(&p);
                send_strictly(&p, sizes[i], late != 0, piece);
                assert_int_equal(p.delivered_count, 1);
                assert_int_equal(p.delivered[0].size, sizes[i]);
                assert_memory_equal(p.delivered[0].body, body, sizes[i]);
                assert_string_equal(p.delivered[0].value, "id");
                assert_int_equal(p.tally.acks, p.tally.packets);
                proto_peer_fini(&p);
            }
}

static void
a_clean_sender_gets_larger_grants_up_to_the_limit(void **state)
{
    struct proto_peer p;

    (void)state;
    fill_body(sizeof(body));
    peer_begin(&p);
    p.limits.packet_size_max = 100000;
    assert_int_equal(send_strictly(&p, sizeof(body), false, sizeof(wire)), 100000);
    proto_peer_fini(&p);
}

static void
a_nack1_halves_the_grant_and_the_same_packet_is_taken_again(void **state)
{
    struct proto_peer p;
    unsigned before, after;
    size_t n;

    (void)state;
    fill_body(sizeof(body));
    peer_begin(&p);
    proto_peer_hear(&p, wire, build_first(wire, body, 200000, false, false), 5000, true);
    assert_int_equal(sscanf(proto_peer_said(&p), "ACK %u", &before), 1);
    n = build_packet(wire, body + MSP_FIRST_BODY, before - MSP_PACKET_HEADER);
    wire[n / 2] ^= 0x10;
    proto_peer_hear(&p, wire, n, 5000, true);
    assert_string_equal(proto_peer_said(&p), "NACK1\r\n");
    wire[n / 2] ^= 0x10;
    proto_peer_hear(&p, wire, n, 5000, true);
    assert_int_equal(sscanf(proto_peer_said(&p), "ACK %u", &after), 1);
    assert_int_equal(after, before / 2);
    assert_int_equal(p.tally.nack1, 1);
    proto_peer_fini(&p);
}

static void
what_has_arrived_behind_a_bad_packet_is_dropped(void **state)
{
    struct proto_peer p;
    size_t n;

    (void)state;
    peer_begin(&p);
    n = build_message(wire, 'A', "hello", 5, NULL);
    wire[MSP_FIRST_HEADER] ^= 1;
    n += build_message(wire + n, 'A', "world", 5, NULL);
    proto_peer_hear(&p, wire, n, 11, true);
    assert_string_equal(proto_peer_said(&p), "NACK1\r\n");
    n = build_message(wire, 'A', "hello", 5, NULL);
    proto_peer_hear(&p, wire, n, n, false);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nACK\r\n");
    assert_int_equal(p.delivered_count, 1);
    proto_peer_fini(&p);
}

static void
more_nacks_than_the_limit_end_the_connection(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, false, false);

    (void)state;
    peer_begin(&p);
    wire[MSP_FIRST_HEADER] ^= 1;
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        proto_peer_hear(&p, wire, n, n, false);
        assert_string_equal(proto_peer_said(&p), "NACK1\r\n");
    }
    proto_peer_hear(&p, wire, n, n, false);
    assert_int_equal(strncmp(proto_peer_said(&p), "ERR retries ", 12), 0);
    assert_true(p.closed);
    assert_true(p.answers.ended);
    assert_int_equal(p.tally.nack1, p.limits.nack_limit);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
nack2_keeps_the_count_of_nacks(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, false, false);

    (void)state;
    peer_begin(&p);
    wire[12] ^= 1;
    for (unsigned i = 0; i < p.limits.nack_limit; i++) {
        proto_peer_hear(&p, wire, n, n, false);
        assert_string_equal(proto_peer_said(&p), "NACK2\r\n");
    }
    proto_peer_hear(&p, wire, n, n, false);
    assert_int_equal(strncmp(proto_peer_said(&p), "ERR retries ", 12), 0);
    proto_peer_fini(&p);
}

static void
a_length_that_no_trailer_can_have_is_a_damaged_packet(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, false, false);
    size_t trailer = build_trailer(wire + n, 'A', 0, NULL, 0);

    (void)state;
    peer_begin(&p);
    wire[n + 8] = 0xff;
    proto_peer_hear(&p, wire, n + trailer, 7, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nNACK1\r\n");
    wire[n + 8] = 0;
    proto_peer_hear(&p, wire + n, trailer, 1, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\n");
    proto_peer_fini(&p);
}

/* --- what is foreseen --- */

static void
an_id_that_came_with_its_body_is_foreseen(void **state)
{
    struct proto_peer p;
    size_t n = build_message(wire, 'A', "hello", 5, "an id");

    (void)state;
    peer_begin(&p);
    proto_peer_hear(&p, wire, n, PEER_WHOLE, true);
    assert_int_equal(p.foreseen_count, 1);
    for (size_t piece = n - 1; piece > 0; piece--)
        proto_peer_hear(&p, wire, n, piece, true);
    assert_int_equal(p.delivered_count, n);
    assert_true(p.foreseen_count < n);
    proto_peer_fini(&p);
}

static void
an_id_that_was_damaged_is_not_the_one_that_was_foreseen(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, false, false);
    size_t trailer = build_trailer(wire + n, 'A', 0, "an id", 5);

    (void)state;
    peer_begin(&p);
    wire[n + trailer - 1] ^= 1;
    proto_peer_hear(&p, wire, n + trailer, PEER_WHOLE, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nNACK1\r\n");
    wire[n + trailer - 1] ^= 1;
    proto_peer_hear(&p, wire + n, trailer, PEER_WHOLE, true);
    assert_int_equal(p.delivered_count, 1);
    assert_string_equal(p.delivered[0].value, "an id");
    assert_int_equal(p.foreseen_count, 0);
    proto_peer_fini(&p);
}

/* --- undetermined size --- */

static void
an_undetermined_message_without_an_end_is_cut_off(void **state)
{
    struct proto_peer p;
    unsigned acks = 0;

    (void)state;
    fill_body(4096);
    peer_begin(&p);
    p.limits.packet_size_max = 2048;
    build_first(wire, body, 4000, false, true);
    be32_store(wire + 44, digest_crc32(0, body, 100));
    wire[10] ^= 1;
    proto_peer_hear(&p, wire, MSP_FIRST_HEADER + 100, 4096, true);
    while (!p.closed && strcmp(proto_peer_said(&p), "ACK 2048\r\n") == 0) {
        acks++;
        proto_peer_hear(&p, wire, build_packet(wire, body, 100), 4096, true);
    }
    assert_int_equal(acks, p.limits.reread_limit);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
an_undetermined_packet_that_matches_nothing_gets_nack1_in_time(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, false, true);

    (void)state;
    peer_begin(&p);
    wire[n - 1] ^= 1;
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p), "");
    proto_peer_wait(&p, p.limits.timeout_us);
    assert_string_equal(proto_peer_said(&p), "NACK1\r\n");
    wire[n - 1] ^= 1;
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\n");
    proto_peer_fini(&p);
}

static void
a_huge_size_and_then_silence_is_a_timeout_and_costs_no_memory(void **state)
{
    struct proto_peer p;

    (void)state;
    peer_begin(&p);
    build_first(wire, "hello", 5, false, false);
    memset(wire, 0xff, 8);
    proto_peer_hear(&p, wire, MSP_FIRST_HEADER, 1, true);
    assert_in_range(p.store.ledger.used, 1, 1024);
    proto_peer_wait(&p, p.limits.timeout_us);
    assert_int_equal(strncmp(proto_peer_said(&p), "ERR timeout ", 12), 0);
    assert_true(p.closed);
    proto_peer_fini(&p);
}

static void
a_late_digest_with_an_undetermined_size_is_refused(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "hello", 5, true, true);

    (void)state;
    peer_begin(&p);
    proto_peer_hear(&p, wire, n, n, true);
    assert_int_equal(strncmp(proto_peer_said(&p), "REJ bad-flags ", 14), 0);
    n = build_message(wire, 'A', "x", 1, NULL);
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nACK\r\n");
    proto_peer_fini(&p);
}

static void
no_size_no_digest_and_no_body_is_refused_at_once(void **state)
{
    struct proto_peer p;
    size_t n = build_first(wire, "", 0, true, true);

    (void)state;
    peer_begin(&p);
    proto_peer_hear(&p, wire, n, n, true);
    assert_int_equal(strncmp(proto_peer_said(&p), "REJ bad-flags ", 14), 0);
    assert_false(p.closed);
    proto_peer_fini(&p);
}

/* --- too large --- */

#define TOO_LARGE "REJ too-large the message is larger than max_message_size, 100 bytes\r\n"

static void
a_size_over_the_limit_is_refused_with_the_first_packet(void **state)
{
    static const struct {
        size_t size, piece;
        const char *says;
    } cases[] = {
        {100, 4096, "ACK\r\n"}, {101, 4096, TOO_LARGE},  {101, 1, TOO_LARGE},
        {1998, 7, TOO_LARGE},   {1999, 4096, TOO_LARGE}, {1 << 20, 4096, TOO_LARGE},
    };

    (void)state;
    fill_body(1 << 20);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        size_t n = build_first(wire, body, cases[i].size, true, false);
        struct proto_peer p;

        peer_begin(&p);
        p.limits.max_message_size = 100;
        proto_peer_hear(&p, wire, n, cases[i].piece, false);
        assert_string_equal(proto_peer_said(&p), cases[i].says);
        assert_false(p.closed);
        assert_int_equal(p.tally.rej, cases[i].says[0] == 'R');
        if (cases[i].says[0] == 'R') {
            n = build_message(wire, 'A', "x", 1, NULL);
            proto_peer_hear(&p, wire, n, n, true);
            assert_string_equal(proto_peer_said(&p), "ACK\r\nACK\r\n");
        }
        proto_peer_fini(&p);
    }
}

static void
a_damaged_first_packet_is_asked_for_again_before_it_is_refused(void **state)
{
    size_t n = build_first(wire, "hello", 5, true, false);
    struct proto_peer p;

    (void)state;
    peer_begin(&p);
    p.limits.max_message_size = 4;
    wire[n - 1] ^= 1;
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p), "NACK1\r\n");
    wire[n - 1] ^= 1;
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p),
                        "REJ too-large the message is larger than max_message_size, 4 bytes\r\n");
    proto_peer_fini(&p);
}

/* With its digest in the header its size is undetermined, whatever its SIZE says. */
static void
a_size_over_the_limit_with_a_digest_is_undetermined(void **state)
{
    struct proto_peer p;
    size_t n;

    (void)state;
    fill_body(150);
    n = build_first(wire, body, 150, false, false);
    peer_begin(&p);
    p.limits.max_message_size = 100;
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p), "ACK\r\n");
    proto_peer_fini(&p);
}

static void
what_the_handler_cannot_take_is_refused_with_the_first_packet(void **state)
{
    size_t n;
    struct proto_peer p;

    (void)state;
    fill_body(5001);
    peer_begin(&p);
    p.limits.take_max = 5000;
    snprintf(p.limits.taker, sizeof(p.limits.taker), "what handler=x takes");
    for (unsigned late = 0; late < 2; late++) {
        n = build_first(wire, body, 5001, late == 1, false);
        proto_peer_hear(&p, wire, n, n, true);
        assert_string_equal(
            proto_peer_said(&p),
            "REJ refused the message is larger than what handler=x takes, 5000 bytes\r\n");
    }
    n = build_first(wire, body, 5000, true, false);
    proto_peer_hear(&p, wire, n, n, true);
    assert_int_equal(strncmp(proto_peer_said(&p), "ACK ", 4), 0);
    proto_peer_fini(&p);
}

/* --- time --- */

static void
silence_inside_a_message_is_a_timeout_in_every_state(void **state)
{
    size_t n = build_message(wire, 'A', "hello", 5, "some id");

    (void)state;
    for (size_t cut = 1; cut < n; cut++) {
        struct proto_peer p;

        peer_begin(&p);
        proto_peer_hear(&p, wire, cut, cut, true);
        proto_peer_said(&p);
        proto_peer_wait(&p, p.limits.timeout_us - 1);
        assert_false(p.closed);
        proto_peer_wait(&p, 1);
        assert_int_equal(strncmp(proto_peer_said(&p), "ERR timeout ", 12), 0);
        assert_true(p.closed);
        proto_peer_fini(&p);
    }
}

static void
an_idle_connection_is_closed_without_a_word(void **state)
{
    struct proto_peer p;

    (void)state;
    peer_begin(&p);
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    assert_true(p.closed);
    assert_string_equal(proto_peer_said(&p), "");
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
one_byte_a_second_is_too_slow_for_a_message_as_a_whole(void **state)
{
    struct proto_peer p;
    size_t n = build_message(wire, 'A', "hello", 5, "some id");
    size_t sent = 0;

    (void)state;
    peer_begin(&p);
    while (!p.closed && sent < n) {
        proto_peer_hear(&p, wire + sent++, 1, 1, true);
        proto_peer_wait(&p, 1000000);
    }
    assert_true(p.closed);
    assert_in_range(sent, 10, 11);
    assert_int_equal(strncmp(proto_peer_said(&p), "ERR timeout ", 12), 0);
    proto_peer_fini(&p);
}

/* --- answers --- */

/* Three messages, which the handler keeps. */
static void
hear_three(struct proto_peer *p)
{
    size_t n = 0;

    peer_begin(p);
    p->hold = true;
    for (int i = 0; i < 3; i++)
        n += build_message(wire + n, 'A', "hello", 5, NULL);
    proto_peer_hear(p, wire, n, n, true);
}

static void
answers_leave_in_order_whatever_order_they_are_settled_in(void **state)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED};
    struct verdict no = {.outcome = PROTO_REFUSED, .code = "exists", .text = "it is\nthere"};
    struct proto_peer p;

    (void)state;
    hear_three(&p);
    assert_string_equal(proto_peer_said(&p), ""); /* the first ACK waits for the final one */
    proto_peer_settle(&p, 2, &yes);
    proto_peer_settle(&p, 1, &no);
    assert_string_equal(proto_peer_said(&p), "");
    proto_peer_settle(&p, 0, &yes);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nACK\r\nACK\r\nREJ exists it is\\x0Athere\r\n"
                                             "ACK\r\nACK\r\n");
    assert_int_equal(p.tally.messages, 2);
    assert_int_equal(p.tally.rej, 1);
    proto_peer_fini(&p);
}

static void
a_failed_commit_ends_the_connection_in_its_place(void **state)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED};
    struct verdict broken = {.outcome = PROTO_FAILED, .text = "the disk is gone"};
    struct proto_peer p;

    (void)state;
    hear_three(&p);
    proto_peer_settle(&p, 1, &broken);
    proto_peer_settle(&p, 2, &yes);
    assert_false(p.answers.ended);
    proto_peer_settle(&p, 0, &yes);
    assert_true(p.answers.ended);
    assert_string_equal(proto_peer_said(&p),
                        "ACK\r\nACK\r\nACK\r\nERR internal the disk is gone\r\n");
    proto_peer_fini(&p);
}

static void
a_failure_may_say_that_the_server_is_busy(void **state)
{
    struct verdict busy = {.outcome = PROTO_FAILED, .code = "busy", .text = "later"};
    struct proto_peer p;
    size_t n;

    (void)state;
    peer_begin(&p);
    p.hold = true;
    n = build_message(wire, 'A', "hello", 5, NULL);
    proto_peer_hear(&p, wire, n, n, true);
    proto_peer_settle(&p, 0, &busy);
    assert_true(p.answers.ended);
    assert_string_equal(proto_peer_said(&p), "ACK\r\nERR busy later\r\n");
    proto_peer_fini(&p);
}

static void
a_reply_follows_its_ack_with_both_sums(void **state)
{
    struct verdict yes = {.outcome = PROTO_COMMITTED, .reply = "pong", .reply_len = 4};
    struct msp_first first;
    struct proto_peer p;
    uint8_t digest[SHA256_LEN];
    const char *said;
    size_t n = build_first(wire, "ping", 4, false, false);

    (void)state;
    peer_begin(&p);
    p.hold = true;
    n += build_trailer(wire + n, 'A', MSP_FLAG_REPLY, NULL, 0);
    proto_peer_hear(&p, wire, n, n, true);
    proto_peer_settle(&p, 0, &yes);
    said = buffer_bytes(&p.said);
    assert_int_equal(p.said.len, 10 + MSP_FIRST_HEADER + 4);
    assert_memory_equal(said, "ACK\r\nACK\r\n", 10);
    assert_true(msp_first_decode((const uint8_t *)said + 10, &first));
    digest_sha256(p.store.digester, "pong", 4, digest);
    assert_int_equal(first.size, 4);
    assert_int_equal(first.crc, digest_crc32(0, "pong", 4));
    assert_memory_equal(first.sha256, digest, SHA256_LEN);
    assert_memory_equal(said + 10 + MSP_FIRST_HEADER, "pong", 4);
    proto_peer_fini(&p);
}

static void
a_document_larger_than_the_limit_is_refused_and_the_rest_goes_on(void **state)
{
    struct proto_peer p;
    size_t n = build_message(wire, 'J', "[1,2,3]", 7, NULL);

    (void)state;
    peer_begin(&p);
    p.limits.max_json_size = 6;
    p.keep_max = 6;
    n += build_message(wire + n, 'A', "[1,2,3]", 7, NULL);
    proto_peer_hear(&p, wire, n, n, true);
    assert_string_equal(proto_peer_said(&p),
                        "ACK\r\nREJ bad-json a document of over 6 bytes is not "
                        "taken\r\nACK\r\nACK\r\n");
    assert_int_equal(p.delivered_count, 1);
    assert_null(p.delivered[0].body);
    proto_peer_fini(&p);
}

static void
what_a_refusal_quotes_is_escaped_once(void **state)
{
    static const char doc[] = "[\"a\\x\n\"]";
    struct proto_peer p;
    const char *said;
    size_t n = build_message(wire, 'J', doc, sizeof(doc) - 1, NULL);

    (void)state;
    peer_begin(&p);
    proto_peer_hear(&p, wire, n, n, true);
    said = proto_peer_said(&p);
    assert_non_null(strstr(said, "REJ bad-json line 1 column "));
    assert_non_null(strstr(said, "\\x5C"));
    assert_null(strstr(said, "\\x5Cx5C"));
    proto_peer_fini(&p);
}

static void
leaving_is_said_and_nothing_is_taken_afterwards(void **state)
{
    struct proto_peer p;
    struct proto_io io;
    size_t n = build_message(wire, 'A', "hello", 5, NULL);

    (void)state;
    peer_begin(&p);
    io = (struct proto_io){.limits = &p.limits,
                           .store = &p.store,
                           .answers = &p.answers,
                           .message = &p.message,
                           .tally = &p.tally};
    assert_int_equal(msp_shutdown(&p.state.msp, &io), PROTO_CLOSE);
    proto_peer_hear(&p, wire, n, n, true);
    assert_int_equal(strncmp(proto_peer_said(&p), "ERR shutdown ", 13), 0);
    assert_int_equal(p.delivered_count, 0);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_passes_whole_and_in_pieces_of_every_size),
        cmocka_unit_test(messages_of_every_size_around_a_packet_arrive_whole),
        cmocka_unit_test(a_clean_sender_gets_larger_grants_up_to_the_limit),
        cmocka_unit_test(a_nack1_halves_the_grant_and_the_same_packet_is_taken_again),
        cmocka_unit_test(what_has_arrived_behind_a_bad_packet_is_dropped),
        cmocka_unit_test(more_nacks_than_the_limit_end_the_connection),
        cmocka_unit_test(nack2_keeps_the_count_of_nacks),
        cmocka_unit_test(a_length_that_no_trailer_can_have_is_a_damaged_packet),
        cmocka_unit_test(an_id_that_came_with_its_body_is_foreseen),
        cmocka_unit_test(an_id_that_was_damaged_is_not_the_one_that_was_foreseen),
        cmocka_unit_test(an_undetermined_message_without_an_end_is_cut_off),
        cmocka_unit_test(an_undetermined_packet_that_matches_nothing_gets_nack1_in_time),
        cmocka_unit_test(a_huge_size_and_then_silence_is_a_timeout_and_costs_no_memory),
        cmocka_unit_test(a_late_digest_with_an_undetermined_size_is_refused),
        cmocka_unit_test(no_size_no_digest_and_no_body_is_refused_at_once),
        cmocka_unit_test(silence_inside_a_message_is_a_timeout_in_every_state),
        cmocka_unit_test(an_idle_connection_is_closed_without_a_word),
        cmocka_unit_test(one_byte_a_second_is_too_slow_for_a_message_as_a_whole),
        cmocka_unit_test(answers_leave_in_order_whatever_order_they_are_settled_in),
        cmocka_unit_test(a_failed_commit_ends_the_connection_in_its_place),
        cmocka_unit_test(a_failure_may_say_that_the_server_is_busy),
        cmocka_unit_test(a_reply_follows_its_ack_with_both_sums),
        cmocka_unit_test(a_size_over_the_limit_is_refused_with_the_first_packet),
        cmocka_unit_test(a_damaged_first_packet_is_asked_for_again_before_it_is_refused),
        cmocka_unit_test(a_size_over_the_limit_with_a_digest_is_undetermined),
        cmocka_unit_test(what_the_handler_cannot_take_is_refused_with_the_first_packet),
        cmocka_unit_test(a_document_larger_than_the_limit_is_refused_and_the_rest_goes_on),
        cmocka_unit_test(what_a_refusal_quotes_is_escaped_once),
        cmocka_unit_test(leaving_is_said_and_nothing_is_taken_afterwards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
