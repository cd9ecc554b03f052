/* The second dialect of cnp (docs/protocol.md 3.4), as later clients speak it. */
#include "journal.h"
#include "raw_cnp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A DATA packet that is not the last of its message. */
static void
put_more(struct raw *r, uint16_t sequence, const char *text)
{
    uint8_t packet[256];

    raw_say(r, packet,
            raw_cnp_encode_more(r, packet, RAW_SECOND_DATA, sequence, text, strlen(text)));
}

static void
shake_second(struct raw *r, const struct daemon *d, const char *json)
{
    raw_begin(r, &raw_cnp_second, &d->listeners[0]);
    if (raw_cnp_shake(r, json) < 0)
        fail_msg("no handshake with %s", json);
}

static void
packets_of_the_second_dialect_are_understood(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");

    (void)state;
    for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_BYTES; manner++) {
        char session[64], text[128];
        struct raw_packet p;
        struct raw r;

        raw_begin(&r, &raw_cnp_second, &d->listeners[0]);
        r.manner = manner;
        raw_say_vector(&r, "cnp", "second-dialect-syn");
        assert_int_equal(raw_cnp_get(&r, &p), 0);
        assert_int_equal(p.type, RAW_SECOND_ACK);
        assert_true(p.sound);
        assert_true(p.len + 12 < 1024);
        raw_cnp_expect_word(p.payload, "status", "ok");
        raw_cnp_expect_word(p.payload, "protocol", "gbn");
        raw_cnp_expect_number(p.payload, "max_fragment_size", 3);
        raw_cnp_expect_number(p.payload, "window_size", 4);
        assert_non_null(strstr(p.payload, "\"message\":"));
        raw_cnp_word(p.payload, "session_id", session);
        free(p.payload);
        snprintf(text, sizeof(text), "{\"session_id\": \"%s\"}", session);
        raw_cnp_say(&r, RAW_SECOND_STEP, 0, text);
        raw_say_vector(&r, "cnp", "second-dialect-data-0");
        raw_cnp_expect_ack(&r, 0);
        raw_cnp_say(&r, RAW_SECOND_DATA, 1, "lo");
        raw_cnp_expect_ack(&r, 1);
        raw_expect(&r, "Hello", 5);
        raw_cnp_say(&r, RAW_SECOND_DISCONNECT, 9, "");
        raw_cnp_expect_ack(&r, 9);
        raw_expect_end(&r);
    }
    raw_expect_counts(d, 2, 0, 0, 0);
    daemon_stop(d);
}

static void
the_second_dialect_nacks_what_is_damaged(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct raw r;

    (void)state;
    shake_second(&r, d, "{\"protocol\": \"sr\", \"window_size\": 4}");
    put_more(&r, 0, "one, ");
    raw_cnp_expect_ack(&r, 0);
    assert_int_equal(raw_cnp_put_damaged(&r, RAW_SECOND_DATA, 1, "two", 3), 0);
    raw_cnp_expect_error(&r, "checksum", 1);
    raw_cnp_say(&r, RAW_SECOND_DATA, 1, "two");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_say(&r, RAW_SECOND_CHANNEL, 0, "{\"loss\": 0.1}");
    raw_cnp_say(&r, RAW_SECOND_DATA, 0, "three");
    raw_cnp_expect_ack(&r, 0);
    raw_expect_counts(d, 2, 0, 1, 0);
    raw_close(&r);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

/* sr keeps what is beyond a gap, gbn waits for it to be sent again. */
static void
gaps_of_the_second_dialect_depend_on_its_protocol(void **state)
{
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "journal");
    struct journal j;
    struct raw r;

    (void)state;
    shake_second(&r, d, "{\"protocol\": \"sr\", \"window_size\": 4}");
    raw_cnp_say(&r, RAW_SECOND_DATA, 2, "c");
    put_more(&r, 1, "b");
    raw_cnp_expect_ack(&r, 1);
    put_more(&r, 0, "a");
    raw_cnp_expect_ack(&r, 0);
    raw_cnp_expect_ack(&r, 2);
    put_more(&r, 0, "d");
    raw_cnp_expect_ack(&r, 0);
    put_more(&r, 0, "d");
    raw_cnp_expect_ack(&r, 0);
    raw_cnp_say(&r, RAW_SECOND_DATA, 1, "e");
    raw_cnp_expect_ack(&r, 1);
    raw_close(&r);
    shake_second(&r, d, "{\"protocol\": \"gbn\", \"window_size\": 4}");
    put_more(&r, 1, "b");
    raw_cnp_say(&r, RAW_SECOND_DATA, 2, "c");
    put_more(&r, 0, "a");
    raw_cnp_expect_ack(&r, 0);
    put_more(&r, 1, "b");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_say(&r, RAW_SECOND_DATA, 2, "c");
    raw_cnp_expect_ack(&r, 2);
    raw_close(&r);
    raw_expect_counts(d, 3, 0, 0, 0);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, 3);
    for (size_t i = 0; i < j.count; i++)
        assert_true(strcmp(j.entries[i].body, "abc") == 0 || strcmp(j.entries[i].body, "de") == 0);
    journal_free(&j);
}

/* DATA of the server, which is not acknowledged. */
static void
expect_second_data(struct raw *r, uint16_t sequence, bool last, const char *text)
{
    struct raw_packet p;

    assert_int_equal(raw_cnp_get(r, &p), 0);
    if (p.type != RAW_SECOND_DATA || p.sequence != sequence || p.last != last || !p.sound ||
        strcmp(p.payload, text) != 0)
        fail_msg("instead of DATA %u \"%s\" type %u, sequence %u: %.200s", sequence, text, p.type,
                 p.sequence, p.payload);
    free(p.payload);
}

/* Sequence numbers begin at 0 with each message, so a second one waits for all ACKs of the
 * first. */
static void
replies_of_the_second_dialect_are_sent_again_after_a_nack(void **state)
{
    static const char *const syns[] = {
        "{\"protocol\": \"sr\", \"max_fragment_size\": 3, \"window_size\": 2}",
        "{\"protocol\": \"gbn\", \"max_fragment_size\": 3, \"window_size\": 2}",
    };
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct raw r;

        shake_second(&r, d, syns[i]);
        put_more(&r, 0, "abc");
        raw_cnp_expect_ack(&r, 0);
        put_more(&r, 1, "def");
        raw_cnp_expect_ack(&r, 1);
        raw_cnp_say(&r, RAW_SECOND_DATA, 2, "g");
        raw_cnp_expect_ack(&r, 2);
        expect_second_data(&r, 0, false, "abc");
        expect_second_data(&r, 1, false, "def");
        raw_cnp_say(&r, RAW_SECOND_ACK, 0, "ACK");
        expect_second_data(&r, 2, true, "g");
        raw_cnp_say(&r, RAW_SECOND_NACK, 1, "NACK");
        expect_second_data(&r, 1, false, "def");
        raw_cnp_say(&r, RAW_SECOND_ACK, 1, "ACK");
        raw_cnp_say(&r, RAW_SECOND_ACK, 2, "ACK");
        raw_cnp_say(&r, RAW_SECOND_DATA, 0, "x");
        raw_cnp_expect_ack(&r, 0);
        expect_second_data(&r, 0, true, "x");
        raw_cnp_say(&r, RAW_SECOND_ACK, 0, "ACK");
        raw_cnp_say(&r, RAW_SECOND_DISCONNECT, 0, "");
        raw_cnp_expect_ack(&r, 0);
        raw_expect_end(&r);
    }
    daemon_stop(d);
}

static void
the_second_dialect_is_answered_under_1024_bytes(void **state)
{
    static const char *const syns[] = {
        "{}",
        "{\"protocol\": \"sr\", \"max_fragment_size\": 4294967295, \"window_size\": 4294967295}",
        "{\"protocol\": \"tcp\"}",
        "{\"max_fragment_size\": 0}",
        "{\"window_size\": -4}",
        "[1, 2]",
    };
    struct daemon *d = raw_daemon("cnp://127.0.0.1:0", "echo");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(syns); i++) {
        struct raw_packet p;
        struct raw r;

        raw_begin(&r, &raw_cnp_second, &d->listeners[0]);
        raw_cnp_say(&r, RAW_SECOND_SYN, 0, syns[i]);
        assert_int_equal(raw_cnp_get(&r, &p), 0);
        assert_int_equal(p.type, RAW_SECOND_ACK);
        assert_true(p.sound);
        assert_true(p.len + 12 < 1024);
        raw_cnp_expect_word(p.payload, "status", i < 2 ? "ok" : "error");
        free(p.payload);
        if (i >= 2)
            raw_expect_end(&r);
        else
            raw_close(&r);
    }
    raw_expect_counts(d, 0, 0, 0, 4);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(packets_of_the_second_dialect_are_understood),
        SYSTEM_TEST(the_second_dialect_nacks_what_is_damaged),
        SYSTEM_TEST(gaps_of_the_second_dialect_depend_on_its_protocol),
        SYSTEM_TEST(replies_of_the_second_dialect_are_sent_again_after_a_nack),
        SYSTEM_TEST(the_second_dialect_is_answered_under_1024_bytes),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
