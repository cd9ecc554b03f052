/* cnp (docs/protocol.md 3.3): what becomes of packets that are damaged, doubled, early, late, too
 * large or not agreed on, in both directions. */
#include "journal.h"
#include "raw_cnp.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW     8
#define WRAP_COUNT 65600

static void
connect_to(struct raw *r, const struct raw_kind *kind, const struct daemon *d)
{
    raw_connect(r, kind, &d->listeners[0], RAW_WHOLE);
}

/* The next packet is DATA with that number and text. It is not acknowledged. */
static void
expect_data(struct raw *r, uint16_t sequence, const char *text)
{
    struct raw_packet p;

    if (raw_cnp_get(r, &p) < 0)
        fail_msg("no DATA %u", sequence);
    if (p.type != RAW_CNP_DATA || p.sequence != sequence || !p.sound ||
        strcmp(p.payload, text) != 0)
        fail_msg("instead of DATA %u \"%s\" type %u, sequence %u: %.200s", sequence, text, p.type,
                 p.sequence, p.payload);
    free(p.payload);
}

/* Entries of a stopped daemon's journal are these texts, in this order. */
static void
expect_journal(const struct daemon *d, const char *const *texts, size_t count)
{
    struct journal j;

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(j.entries[i].body, texts[i]);
    journal_free(&j);
}

/* --- one packet at a time --- */

static void
a_damaged_packet_is_asked_for_again(void **state)
{
    static const char *const texts[] = {"one", "two, in parts"};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_step, d);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_DATA, 1, "one", 3), 0);
        raw_cnp_expect_error(&r, "checksum", 1);
    }
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "one");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_say(&r, RAW_CNP_FRAGMENT, 2, "two, ");
    raw_cnp_expect_ack(&r, 2);
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_FRAGMENT, 3, "in XX", 5), 0);
    raw_cnp_expect_error(&r, "checksum", 3);
    raw_cnp_say(&r, RAW_CNP_FRAGMENT, 3, "in p");
    raw_cnp_expect_ack(&r, 3);
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_DATA, 4, "much too long", 13), 0);
    raw_cnp_expect_error(&r, "checksum", 4);
    raw_cnp_say(&r, RAW_CNP_DATA, 4, "arts");
    raw_cnp_expect_ack(&r, 4);
    raw_expect_counts(d, 2, 0, 5, 0);
    raw_close(&r);
    daemon_stop(d);
    expect_journal(d, texts, 2);
}

static void
a_double_is_acknowledged_again_and_not_handed_on(void **state)
{
    static const char *const texts[] = {"one", "two, in parts", "three"};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    for (unsigned kind = 0; kind < 2; kind++) {
        connect_to(&r, kind == 0 ? &raw_cnp_step : &raw_cnp_burst, d);
        for (unsigned i = 0; i < 3; i++) {
            raw_cnp_say(&r, RAW_CNP_DATA, 1, "one");
            raw_cnp_expect_ack(&r, 1);
        }
        for (unsigned i = 0; i < 3; i++) {
            raw_cnp_say(&r, RAW_CNP_FRAGMENT, 2, "two, ");
            raw_cnp_expect_ack(&r, 2);
        }
        raw_cnp_say(&r, RAW_CNP_DATA, 3, "in parts");
        raw_cnp_expect_ack(&r, 3);
        raw_cnp_say(&r, RAW_CNP_FRAGMENT, 2, "two, ");
        raw_cnp_expect_ack(&r, 2);
        raw_cnp_say(&r, RAW_CNP_DATA, 4, "three");
        raw_cnp_expect_ack(&r, 4);
        raw_cnp_say(&r, RAW_CNP_DATA, 1, "one");
        raw_cnp_expect_ack(&r, 1);
        raw_expect_counts(d, 3, 0, 0, 0);
        raw_close(&r);
        daemon_stop(d);
        expect_journal(d, texts, 3);
        if (kind == 0)
            d = raw_daemon("cnp://127.0.0.1:0", "journal");
    }
}

static void
packets_without_a_number_are_always_taken(void **state)
{
    static const char *const texts[] = {"zero", "zero", "between", "one and two", "three"};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_step, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 0, "zero");
    raw_cnp_expect_ack(&r, 0);
    raw_cnp_say(&r, RAW_CNP_DATA, 0, "zero");
    raw_cnp_expect_ack(&r, 0);
    raw_cnp_say(&r, RAW_CNP_FRAGMENT, 1, "one and ");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_say(&r, RAW_CNP_DATA, 0, "between");
    raw_cnp_expect_ack(&r, 0);
    raw_cnp_say(&r, RAW_CNP_DATA, 2, "two");
    raw_cnp_expect_ack(&r, 2);
    raw_cnp_say(&r, RAW_CNP_DATA, 3, "three");
    raw_cnp_expect_ack(&r, 3);
    raw_expect_counts(d, 5, 0, 0, 0);
    raw_close(&r);
    daemon_stop(d);
    expect_journal(d, texts, 5);
}

/* --- the window --- */

static void
shuffle(unsigned order[WINDOW], uint64_t *seed)
{
    for (unsigned i = 0; i < WINDOW; i++)
        order[i] = i;
    for (unsigned i = WINDOW - 1; i > 0; i--) {
        unsigned k, was = order[i];

        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(*seed >> 33) % (i + 1);
        order[i] = order[k];
        order[k] = was;
    }
}

/* Each ACK of base + 1 to base + WINDOW comes once, in whatever order. */
static void
expect_window_of_acks(struct raw *r, unsigned base)
{
    bool seen[WINDOW] = {false};

    for (unsigned i = 0; i < WINDOW; i++) {
        struct raw_packet p;

        assert_int_equal(raw_cnp_get(r, &p), 0);
        assert_int_equal(p.type, RAW_CNP_ACK);
        assert_in_range(p.sequence, base + 1, base + WINDOW);
        assert_false(seen[p.sequence - base - 1]);
        seen[p.sequence - base - 1] = true;
        free(p.payload);
    }
}

/* Windows of messages, or of the parts of two messages, arrive in any order. */
static void
gaps_are_filled_in_any_order(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    unsigned order[WINDOW], base = 0, lines = 0;
    uint64_t seed = 4711;
    struct journal j;
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    for (unsigned round = 0; round < 60; round++, base += WINDOW) {
        shuffle(order, &seed);
        for (unsigned i = 0; i < WINDOW; i++) {
            bool part = round % 2 == 1 && order[i] % 4 != 3;
            char text[32];

            snprintf(text, sizeof(text), "%u.", base + order[i]);
            raw_cnp_say(&r, part ? RAW_CNP_FRAGMENT : RAW_CNP_DATA, (uint16_t)(base + order[i] + 1),
                        text);
        }
        expect_window_of_acks(&r, base);
        lines += round % 2 == 1 ? 2 : WINDOW;
    }
    raw_expect_counts(d, lines, 0, 0, 0);
    assert_int_equal(stats_total(d, "packets"), 60 * WINDOW);
    raw_close(&r);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, lines);
    for (unsigned line = 0, next = 0; line < lines; line++) {
        unsigned parts = next / WINDOW % 2 == 1 ? 4 : 1;
        char text[64] = "";

        for (unsigned i = 0; i < parts; i++)
            snprintf(text + strlen(text), 16, "%u.", next++);
        assert_string_equal(j.entries[line].body, text);
    }
    journal_free(&j);
}

/* What is beyond a gap is not handed on before the gap is filled, and is there but once. */
static void
nothing_overtakes_a_gap(void **state)
{
    static const char *const texts[] = {"one", "two", "three"};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 3, "three");
    raw_cnp_say(&r, RAW_CNP_DATA, 2, "two");
    raw_cnp_say(&r, RAW_CNP_DATA, 3, "three");
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_CNP_DATA, 1, "one", 3), 0);
    raw_cnp_expect_error(&r, "checksum", 1);
    assert_int_equal(stats_total(d, "messages"), 0);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "one");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_expect_ack(&r, 2);
    raw_cnp_expect_ack(&r, 3);
    raw_expect_counts(d, 3, 0, 1, 0);
    raw_close(&r);
    daemon_stop(d);
    expect_journal(d, texts, 3);
}

static void
more_than_the_window_ends_the_connection(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?window_size=4", "journal");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    for (uint16_t i = 2; i <= 4; i++)
        raw_cnp_say(&r, RAW_CNP_DATA, i, "early");
    raw_cnp_say(&r, RAW_CNP_DATA, 5, "too early");
    raw_cnp_expect_error(&r, "window", 5);
    raw_expect_end(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    connect_to(&r, &raw_cnp_burst, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 65535, "from before the beginning");
    raw_cnp_expect_error(&r, "window", 65535);
    raw_expect_end(&r);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

/* --- numbers go round --- */

/* Reads n ACKs and n replies; what is next of each is known. Acknowledges the replies at once. */
static void
take_answers(struct raw *r, unsigned n, unsigned *acked, unsigned *replied, bool *seen)
{
    uint8_t acks[WINDOW * 16];
    size_t len = 0;

    for (unsigned i = 0; i < 2 * n; i++) {
        struct raw_packet p;

        if (raw_cnp_get(r, &p) < 0)
            fail_msg("no answer behind %u ACKs and %u replies", *acked, *replied);
        if (p.type == RAW_CNP_ACK) {
            assert_int_equal(p.sequence, *acked % 65535 + 1);
            ++*acked;
        } else {
            unsigned number = (unsigned)strtoul(p.payload, NULL, 10);

            assert_int_equal(p.type, RAW_CNP_DATA);
            assert_int_equal(p.sequence, *replied % 65535 + 1);
            assert_int_equal(number, *replied);
            assert_false(seen[number]);
            seen[number] = true;
            ++*replied;
            len += raw_cnp_encode(r, acks + len, RAW_CNP_ACK, p.sequence, "ACK", 3);
        }
        free(p.payload);
    }
    raw_say(r, acks, len);
}

static void
numbers_go_round_in_both_directions(void **state)
{
    static bool seen[WRAP_COUNT];
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");
    unsigned acked = 0, replied = 0;
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    for (unsigned sent = 0; sent < WRAP_COUNT; sent += WINDOW) {
        uint8_t bytes[WINDOW * 32];
        size_t len = 0;

        for (unsigned i = sent; i < sent + WINDOW; i++) {
            char text[16];
            int n = snprintf(text, sizeof(text), "%u", i);

            len += raw_cnp_encode(&r, bytes + len, RAW_CNP_DATA, (uint16_t)(i % 65535 + 1), text,
                                  (size_t)n);
        }
        raw_say(&r, bytes, len);
        take_answers(&r, WINDOW, &acked, &replied, seen);
    }
    raw_cnp_say(&r, RAW_CNP_DATA, WRAP_COUNT % 65535, "a double");
    raw_cnp_expect_ack(&r, WRAP_COUNT % 65535);
    raw_cnp_say(&r, RAW_CNP_DATA, 65535, "not a double any more, or one");
    raw_cnp_expect_ack(&r, 65535);
    raw_expect_counts(d, WRAP_COUNT, 0, 0, 0);
    raw_close(&r);
    daemon_stop(d);
}

/* --- sizes, fragments, types --- */

static void
a_payload_over_the_agreed_size_ends_the_connection(void **state)
{
    struct daemon *d =
        raw_daemon("cnp://127.0.0.1:0?packet_size=64&packet_size_max=100", "journal");
    char *body = raw_body(101, 0);
    struct raw r;

    (void)state;
    for (unsigned sequence = 0; sequence < 2; sequence++) {
        connect_to(&r, sequence == 0 ? &raw_cnp_old : &raw_cnp_burst, d);
        assert_int_equal(r.packet_size, 100);
        assert_int_equal(raw_cnp_put(&r, RAW_CNP_DATA, (uint16_t)sequence, body, 100), 0);
        raw_cnp_expect_ack(&r, (uint16_t)sequence);
        (void)raw_cnp_put(&r, RAW_CNP_DATA, (uint16_t)(2 * sequence), body, 101);
        raw_cnp_expect_error(&r, "too-large", (uint16_t)(2 * sequence));
        raw_expect_end(&r);
        raw_expect_counts(d, sequence + 1, 0, 0, sequence + 1);
    }
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

/* The messages before are still committed and acknowledged; the ERROR is the last word. */
static void
what_ends_a_connection_is_said_behind_what_came_before(void **state)
{
    struct daemon *d =
        raw_daemon("cnp://127.0.0.1:0?packet_size=64&packet_size_max=100", "journal");
    uint8_t bytes[512];
    char *body = raw_body(101, 0);
    struct raw r;
    size_t n;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    n = raw_cnp_encode(&r, bytes, RAW_CNP_DATA, 1, "one", 3);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_DATA, 2, "two", 3);
    n += raw_cnp_encode(&r, bytes + n, RAW_CNP_DATA, 3, body, 101);
    raw_say(&r, bytes, n);
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_expect_ack(&r, 2);
    raw_cnp_expect_error(&r, "too-large", 3);
    raw_expect_end(&r);
    raw_expect_counts(d, 2, 0, 0, 1);
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

static void
fragments_together_may_not_be_over_the_limit_either(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?max_message_size=250", "journal");
    char *body = raw_body(100, 0);
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    for (uint16_t i = 1; i <= 2; i++) {
        assert_int_equal(raw_cnp_put(&r, RAW_CNP_FRAGMENT, i, body, 100), 0);
        raw_cnp_expect_ack(&r, i);
    }
    assert_int_equal(raw_cnp_put(&r, RAW_CNP_DATA, 3, body, 100), 0);
    raw_cnp_expect_error(&r, "too-large", 3);
    raw_expect_end(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
what_was_not_agreed_ends_the_connection(void **state)
{
    static const struct {
        uint8_t type;
        const char *code;
    } rows[] = {{RAW_CNP_FRAGMENT, "fragments"},
                {0x00, "bad-type"},
                {0x07, "bad-type"},
                {0xff, "bad-type"}};
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?packet_size_max=16M", "journal");
    struct raw r;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        connect_to(&r, &raw_cnp_old, d);
        raw_cnp_say(&r, rows[i].type, 5, "something");
        raw_cnp_expect_error(&r, rows[i].code, 5);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, i + 1);
    }
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

/* --- the handler says no --- */

#define REFUSES_NO "handler=exec&exec=once&command=grep%20-v%20no%20%7C%7C%20exit%2065"

static void
a_refused_message_gets_an_error_and_the_connection_goes_on(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?" REFUSES_NO, NULL);
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_burst, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "no");
    raw_cnp_expect_error(&r, "refused", 1);
    raw_cnp_say(&r, RAW_CNP_DATA, 2, "yes");
    raw_cnp_expect_ack(&r, 2);
    expect_data(&r, 1, "yes\n");
    raw_cnp_say(&r, RAW_CNP_ACK, 1, "ACK");
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "no");
    raw_cnp_expect_error(&r, "refused", 1);
    raw_cnp_say(&r, RAW_CNP_DATA, 0, "no");
    raw_cnp_expect_error(&r, "refused", 0);
    raw_expect_counts(d, 1, 2, 0, 0);
    raw_close(&r);
    daemon_stop(d);
}

/* --- what the server sends --- */

static void
the_server_sends_again_what_was_damaged(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_step, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "hello");
    raw_cnp_expect_ack(&r, 1);
    expect_data(&r, 1, "hello");
    for (unsigned i = 0; i < 3; i++) {
        raw_cnp_say(&r, RAW_CNP_ERROR, 1, "{\"error\": \"checksum\", \"message\": \"damaged\"}");
        expect_data(&r, 1, "hello");
    }
    raw_cnp_say(&r, RAW_CNP_ACK, 1, "ACK");
    raw_cnp_say(&r, RAW_CNP_DATA, 2, "next");
    raw_cnp_expect_ack(&r, 2);
    expect_data(&r, 2, "next");
    raw_close(&r);
    raw_expect_counts(d, 2, 0, 0, 0);
    daemon_stop(d);
}

static void
the_server_sends_again_what_was_not_acknowledged(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?retries=2&timeout=1s", "echo");
    struct raw r;

    (void)state;
    connect_to(&r, &raw_cnp_step, d);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "deaf");
    raw_cnp_expect_ack(&r, 1);
    for (unsigned i = 0; i < 3; i++)
        expect_data(&r, 1, "deaf");
    raw_cnp_expect_error(&r, "retries", 1);
    raw_expect_end(&r);
    raw_expect_counts(d, 1, 0, 0, 1);
    daemon_stop(d);
}

/* Its own window is kept, too: in bursts so many replies are without an ACK, step by step one. */
static void
the_server_keeps_to_the_window(void **state)
{
    static const struct raw_kind *const kinds[] = {&raw_cnp_burst, &raw_cnp_step};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "echo", .listen = {"cnp://127.0.0.1:0?window_size=4"}});

    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        unsigned window = k == 0 ? 4 : 1, replies = 0;
        struct raw_packet p;
        struct raw r;

        connect_to(&r, kinds[k], d);
        for (uint16_t i = 1; i <= 12; i++) {
            raw_cnp_say(&r, RAW_CNP_DATA, i, "hello");
            do {
                assert_int_equal(raw_cnp_get(&r, &p), 0);
                replies += p.type == RAW_CNP_DATA;
                free(p.payload);
            } while (p.type != RAW_CNP_ACK);
        }
        raw_cnp_say(&r, RAW_CNP_KEEPALIVE, 77, "");
        do {
            assert_int_equal(raw_cnp_get(&r, &p), 0);
            replies += p.type == RAW_CNP_DATA;
            free(p.payload);
        } while (p.type != RAW_CNP_ACK || p.sequence != 77);
        assert_int_equal(replies, window);
        for (uint16_t i = 1; i <= 12; i++) {
            raw_cnp_say(&r, RAW_CNP_ACK, i, "ACK");
            if (i + window <= 12)
                expect_data(&r, (uint16_t)(i + window), "hello");
        }
        raw_cnp_say(&r, RAW_CNP_DISCONNECT, 78, "");
        raw_cnp_expect_ack(&r, 78);
        raw_expect_end(&r);
    }
    daemon_stop(d);
}

static void
a_broadcast_reaches_both_kinds_of_clients(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0?packet_size_max=16M", "broadcast");
    struct raw a, b;

    (void)state;
    connect_to(&a, &raw_cnp_old, d);
    connect_to(&b, &raw_cnp_burst, d);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(raw_cnp_old.send(&a, "from a", 6), 0);
        raw_expect(&b, "from a", 6);
        assert_int_equal(raw_cnp_burst.send(&b, "from b", 6), 0);
        raw_expect(&a, "from b", 6);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_damaged_packet_is_asked_for_again),
        SYSTEM_TEST(a_double_is_acknowledged_again_and_not_handed_on),
        SYSTEM_TEST(packets_without_a_number_are_always_taken),
        SYSTEM_TEST(gaps_are_filled_in_any_order),
        SYSTEM_TEST(nothing_overtakes_a_gap),
        SYSTEM_TEST(more_than_the_window_ends_the_connection),
        SYSTEM_TEST(numbers_go_round_in_both_directions),
        SYSTEM_TEST(a_payload_over_the_agreed_size_ends_the_connection),
        SYSTEM_TEST(what_ends_a_connection_is_said_behind_what_came_before),
        SYSTEM_TEST(fragments_together_may_not_be_over_the_limit_either),
        SYSTEM_TEST(what_was_not_agreed_ends_the_connection),
        SYSTEM_TEST(a_refused_message_gets_an_error_and_the_connection_goes_on),
        SYSTEM_TEST(the_server_sends_again_what_was_damaged),
        SYSTEM_TEST(the_server_sends_again_what_was_not_acknowledged),
        SYSTEM_TEST(the_server_keeps_to_the_window),
        SYSTEM_TEST(a_broadcast_reaches_both_kinds_of_clients),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
