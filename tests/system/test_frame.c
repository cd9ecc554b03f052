/* Plain frames (docs/protocol.md 4): where each framing finds its ends, and what becomes of those
 * that have none. */
#include "journal.h"
#include "raw_frame.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LIMIT 1000

/* --- ends that are found --- */

static void
frames_that_come_together_are_answered_in_order(void **state)
{
    static const struct raw_kind *const kinds[] = {&raw_frame_length32, &raw_frame_fixed,
                                                   &raw_frame_delimiter};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .handler = "echo",
        .listen = {"frame://127.0.0.1:0", "frame://127.0.0.1:0?framing=fixed:100",
                   "frame://127.0.0.1:0?framing=delimiter"}});

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct raw r;

        raw_connect(&r, kinds[i], &d->listeners[i], RAW_PIECES);
        for (unsigned k = 0; k < 300; k++) {
            char *body = raw_body(100, k);

            assert_int_equal(kinds[i]->send(&r, body, 100), 0);
            free(body);
        }
        for (unsigned k = 0; k < 300; k++) {
            char *body = raw_body(100, k);

            raw_expect(&r, body, 100);
            free(body);
        }
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
one_cr_before_a_newline_belongs_to_it(void **state)
{
    static const char sent[] = "a\r\n\r\n\nb\r\r\nc\rd\n\re\n";
    static const char *const got[] = {"a", "", "", "b\r", "c\rd", "\re"};
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=delimiter", "echo");

    (void)state;
    for (size_t cut = 0; cut < strlen(sent); cut++) {
        struct raw r;

        raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], cut == 0 ? RAW_BYTES : RAW_WHOLE);
        raw_say(&r, sent, cut);
        WAIT_FOR(raw_was_read(d, &r), 5000);
        raw_say(&r, sent + cut, strlen(sent) - cut);
        for (size_t i = 0; i < MS_ARRAY_LEN(got); i++)
            raw_expect(&r, got[i], strlen(got[i]));
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
another_delimiter_leaves_a_cr_alone(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=delimiter&delimiter=;", "journal");
    struct journal j;
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "a\r\n\r;", 5);
    raw_expect_counts(d, 1, 0, 0, 0);
    raw_close(&r);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(j.count, 1);
    assert_string_equal(j.entries[0].body, "a\r\n\r");
    journal_free(&j);
}

/* Its beginnings stand in the bodies, too, and it arrives in two parts, cut at every byte. */
static void
a_delimiter_of_several_bytes_is_found_across_packets(void **state)
{
    static const char sent[] = "one--en--end---end-----end-";
    static const char *const got[] = {"one--en", "", "--"};
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=delimiter&delimiter=--end-", "echo");
    char back[64];

    (void)state;
    for (size_t cut = 0; cut < strlen(sent); cut++) {
        struct raw r;

        raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], cut == 0 ? RAW_BYTES : RAW_WHOLE);
        raw_say(&r, sent, cut);
        WAIT_FOR(raw_was_read(d, &r), 5000);
        raw_say(&r, sent + cut, strlen(sent) - cut);
        for (size_t i = 0; i < MS_ARRAY_LEN(got); i++) {
            size_t n = strlen(got[i]);

            assert_int_equal(peer_read(&r.peer, back, n + 6), 0);
            assert_memory_equal(back, got[i], n);
            assert_memory_equal(back + n, "--end-", 6);
        }
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
any_bytes_can_be_a_delimiter_and_a_body(void **state)
{
    static const char sent[] = "a\0b\xff\n\r\n\0.\0c\r\n.\r\n\0.\0";
    struct daemon *d =
        raw_daemon("frame://127.0.0.1:0?framing=delimiter&delimiter=\\r\\n\\0\\x2e\\0", "echo");
    char back[sizeof(sent)];
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_BYTES);
    raw_say(&r, sent, sizeof(sent) - 1);
    assert_int_equal(peer_read(&r.peer, back, sizeof(sent) - 1), 0);
    assert_memory_equal(back, sent, sizeof(sent) - 1);
    raw_expect_counts(d, 2, 0, 0, 0);
    raw_close(&r);
    daemon_stop(d);
}

/* --- the limit --- */

/* As large as the limit is fine; one byte more ends the connection, but not what came before. */
static void
a_message_over_the_limit_ends_the_connection_behind_earlier_replies(void **state)
{
    static const struct {
        const struct raw_kind *kind;
        const char *url;
    } rows[] = {
        {&raw_frame_length32, "frame://127.0.0.1:0?max_message_size=1000"},
        {&raw_frame_delimiter, "frame://127.0.0.1:0?max_message_size=1000&framing=delimiter"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = raw_daemon(rows[i].url, "echo");
        char *body = raw_body(LIMIT + 1, 0);
        struct raw r;

        raw_connect(&r, rows[i].kind, &d->listeners[0], RAW_WHOLE);
        raw_echo(&r, LIMIT, 1);
        assert_int_equal(rows[i].kind->send(&r, "before", 6), 0);
        rows[i].kind->send(&r, body, LIMIT + 1);
        raw_expect(&r, "before", 6);
        raw_expect_end(&r);
        raw_expect_counts(d, 2, 0, 0, 1);
        free(body);
        daemon_stop(d);
    }
}

/* Receipts take longer than the length that is too large: they leave all the same. */
static void
what_ends_a_connection_leaves_receipts_on_their_way(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?max_message_size=1000", "journal");
    struct raw r;
    size_t n;

    (void)state;
    raw_connect(&r, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "\0\0\0\3one\0\0\0\3two\0\1\0\0", 18);
    for (unsigned i = 0; i < 2; i++) {
        char *receipt = r.kind->receive(&r, &n);

        assert_non_null(receipt);
        assert_non_null(strstr(receipt, "\"sha256\""));
        free(receipt);
    }
    raw_expect_end(&r);
    raw_expect_counts(d, 2, 0, 0, 1);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

static void
a_delimiter_that_never_comes_ends_the_connection(void **state)
{
    struct daemon *d =
        raw_daemon("frame://127.0.0.1:0?max_message_size=1000&framing=delimiter", "journal");
    char *body = raw_body(LIMIT + 2, 0);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_BYTES);
    (void)raw_write(&r, body, LIMIT + 2);
    raw_expect_end(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
more_than_the_limit_up_to_the_end_is_not_handed_on(void **state)
{
    struct daemon *d =
        raw_daemon("frame://127.0.0.1:0?max_message_size=1000&framing=eof", "journal");
    char *body = raw_body(LIMIT + 1, 0);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_eof, &d->listeners[0], RAW_WHOLE);
    (void)raw_frame_eof.send(&r, body, LIMIT + 1);
    raw_expect_end(&r);
    raw_expect_counts(d, 0, 0, 0, 1);
    raw_connect(&r, &raw_frame_eof, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(raw_frame_eof.send(&r, body, LIMIT), 0);
    raw_expect_counts(d, 1, 0, 0, 1);
    raw_close(&r);
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

/* --- cut short --- */

/* Every beginning of a message, ended in order or with a reset. */
static void
a_frame_cut_short_is_never_handed_on(void **state)
{
    static const struct {
        const struct raw_kind *kind;
        const char *url, *bytes;
        size_t n;
    } rows[] = {
        {&raw_frame_length32, "frame://127.0.0.1:0", "\0\0\0\x05hello", 9},
        {&raw_frame_fixed, "frame://127.0.0.1:0?framing=fixed:9", "hello you", 9},
        {&raw_frame_delimiter, "frame://127.0.0.1:0?framing=delimiter", "hello\r\n", 7},
        {&raw_frame_delimiter, "frame://127.0.0.1:0?framing=delimiter&delimiter=END", "helloEND",
         8},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = raw_daemon(rows[i].url, "journal");
        unsigned connections = 0;
        struct raw r;

        for (size_t cut = 0; cut < rows[i].n; cut++)
            for (unsigned reset = 0; reset < 2; reset++) {
                raw_connect(&r, rows[i].kind, &d->listeners[0], RAW_WHOLE);
                raw_say(&r, rows[i].bytes, cut);
                if (reset)
                    peer_reset_on_close(&r.peer);
                raw_close(&r);
                connections++;
            }
        WAIT_FOR(stats_total(d, "accepted") == connections && stats_total(d, "open") == 0, 5000);
        raw_expect_counts(d, 0, 0, 0, 0);
        /* of those with a reset, some were over before their bytes were read */
        assert_in_range(stats_total(d, "cut"), rows[i].n - 1, connections - 2);
        WAIT_FOR(daemon_logged(d, "is dropped: its end did not come"), 5000);
        raw_connect(&r, rows[i].kind, &d->listeners[0], RAW_WHOLE);
        raw_say(&r, rows[i].bytes, rows[i].n);
        raw_expect_counts(d, 1, 0, 0, 0);
        raw_close(&r);
        daemon_stop(d);
        assert_int_equal(journal_count(d->data_dir), 1);
    }
}

/* A peer can make as many of these as it likes, and the log stays short. */
static void
messages_cut_short_do_not_flood_the_log(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=delimiter", "journal");
    const char *at;
    unsigned lines = 0;
    char *log;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct raw r;

        raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_WHOLE);
        raw_say(&r, "a last line without an end", 26);
        raw_close(&r);
    }
    WAIT_FOR(stats_total(d, "cut") == 100 && stats_total(d, "open") == 0, 5000);
    raw_expect_counts(d, 0, 0, 0, 0);
    log = daemon_log(d);
    for (at = log; (at = strstr(at, "is dropped: its end did not come")) != NULL; at++)
        lines++;
    assert_in_range(lines, 1, 20);
    free(log);
    daemon_stop(d);
}

static void
what_ends_with_a_reset_is_never_handed_on(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=eof", "journal");
    static const size_t sizes[] = {0, 1, 5000, 400000};
    char *body = raw_body(400000, 0);
    struct raw r;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        raw_connect(&r, &raw_frame_eof, &d->listeners[0], RAW_WHOLE);
        raw_say(&r, body, sizes[i]);
        if (i % 2 == 1)
            WAIT_FOR(raw_was_read(d, &r), 5000);
        peer_reset_on_close(&r.peer);
        raw_close(&r);
    }
    WAIT_FOR(stats_total(d, "accepted") == 4 && stats_total(d, "open") == 0, 5000);
    raw_expect_counts(d, 0, 0, 0, 0);
    assert_in_range(stats_total(d, "cut"), 2, 3);
    raw_connect(&r, &raw_frame_eof, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(raw_frame_eof.send(&r, body, 400000), 0);
    raw_expect_counts(d, 1, 0, 0, 0);
    raw_close(&r);
    free(body);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
what_has_no_delimiter_at_a_clean_end_can_be_kept(void **state)
{
    struct daemon *d = raw_daemon(
        "frame://127.0.0.1:0?framing=delimiter&delimiter=%00&unterminated=keep", "journal");
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "a\0b\0last", 8);
    raw_close(&r);
    raw_expect_counts(d, 3, 0, 0, 0);
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "c\0last", 6);
    raw_expect_counts(d, 4, 0, 0, 0);
    WAIT_FOR(raw_was_read(d, &r), 5000);
    peer_reset_on_close(&r.peer);
    raw_close(&r);
    WAIT_FOR(stats_total(d, "cut") == 1 && stats_total(d, "open") == 0, 5000);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 4);
}

/* A web page can make a browser say this to any port. */
static void
a_web_page_cannot_speak_to_a_listener(void **state)
{
    static const char request[] = "POST /;a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nevil;\nevil\n";
    static const char *const urls[] = {
        "frame://127.0.0.1:0",
        "frame://127.0.0.1:0?framing=delimiter",
        "frame://127.0.0.1:0?framing=delimiter&delimiter=;",
        "frame://127.0.0.1:0?framing=fixed:4",
        "frame://127.0.0.1:0?framing=eof",
        "auto://127.0.0.1:0",
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(urls); i++) {
        struct daemon *d = raw_daemon(urls[i], "journal");

        for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_BYTES; manner++) {
            struct raw r;

            raw_connect(&r, &raw_frame_eof, &d->listeners[0], manner);
            raw_say(&r, request, sizeof(request) - 1);
            raw_expect_end(&r);
        }
        raw_expect_counts(d, 0, 0, 0, 2);
        WAIT_FOR(daemon_logged(d, "is closed: it began with an HTTP request"), 5000);
        daemon_stop(d);
        assert_int_equal(journal_count(d->data_dir), 0);
    }
}

static void
the_reply_comes_after_the_end(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?framing=eof", "echo");
    char early[8];
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_eof, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "first ", 6);
    WAIT_FOR(raw_was_read(d, &r), 5000);
    assert_int_equal(recv(r.peer.fd, early, sizeof(early), MSG_DONTWAIT), -1);
    raw_say(&r, "second", 6);
    r.kind->finish(&r);
    raw_expect(&r, "first second", 12);
    raw_expect_end(&r);
    daemon_stop(d);
}

/* --- time --- */

static void
silence_inside_a_frame_ends_the_connection(void **state)
{
    static const struct {
        const struct raw_kind *kind;
        const char *url, *bytes;
        size_t n;
    } rows[] = {
        {&raw_frame_length32, "frame://127.0.0.1:0?timeout=300ms", "\0\0", 2},
        {&raw_frame_length32, "frame://127.0.0.1:0?timeout=300ms", "\0\0\0\x05hell", 8},
        {&raw_frame_length32, "frame://127.0.0.1:0?timeout=300ms", "\xff\xff\xff\xfe", 4},
        {&raw_frame_fixed, "frame://127.0.0.1:0?framing=fixed:9&timeout=300ms", "hell", 4},
        {&raw_frame_delimiter, "frame://127.0.0.1:0?framing=delimiter&timeout=300ms", "hello\r", 6},
        {&raw_frame_eof, "frame://127.0.0.1:0?framing=eof&timeout=300ms", "hello", 5},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = raw_daemon(rows[i].url, "journal");
        struct raw r;

        raw_connect(&r, rows[i].kind, &d->listeners[0], RAW_WHOLE);
        raw_say(&r, rows[i].bytes, rows[i].n);
        raw_expect_end(&r);
        raw_expect_counts(d, 0, 0, 0, 1);
        WAIT_FOR(daemon_logged(d, "is dropped: it came too slowly"), 5000);
        daemon_stop(d);
        assert_int_equal(journal_count(d->data_dir), 0);
    }
}

static void
an_idle_connection_is_closed_without_an_error(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?idle_timeout=2s", "echo");
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    raw_expect_end(&r);
    raw_connect(&r, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    raw_echo(&r, 10, 0);
    raw_expect_end(&r);
    raw_expect_counts(d, 1, 0, 0, 0);
    daemon_stop(d);
}

/* --- the handler says no --- */

#define REFUSES_NO "handler=exec&exec=once&command=grep%20-v%20no%20%7C%7C%20exit%2065"

/* Replies are told apart by their order alone, so there is none behind one that is missing. */
static void
a_refused_message_ends_the_connection_where_a_reply_is_due(void **state)
{
    struct daemon *d = raw_daemon("frame://127.0.0.1:0?" REFUSES_NO, NULL);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "\0\0\0\3yes\0\0\0\2no\0\0\0\3yes", 20);
    raw_expect(&r, "yes\n", 4);
    raw_expect_end(&r);
    WAIT_FOR(stats_total(d, "rej") == 1, 5000);
    assert_int_equal(stats_total(d, "err"), 0);
    daemon_stop(d);
}

static void
a_refused_message_is_counted_where_nothing_is_answered(void **state)
{
    struct daemon *d =
        raw_daemon("frame://127.0.0.1:0?framing=delimiter&reply=no&" REFUSES_NO, NULL);
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_frame_delimiter, &d->listeners[0], RAW_WHOLE);
    raw_say(&r, "yes\nno\nyes\n", 11);
    raw_expect_counts(d, 2, 1, 0, 0);
    r.kind->finish(&r);
    raw_expect_end(&r);
    daemon_stop(d);
}

/* --- what the server sends by itself --- */

static void
a_broadcast_reaches_the_others_in_their_framing(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .handler = "broadcast",
        .listen = {"frame://127.0.0.1:0", "frame://127.0.0.1:0?framing=delimiter"}});
    struct raw a, b, c;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct raw_kind *kind = i == 0 ? &raw_frame_length32 : &raw_frame_delimiter;

        raw_connect(&a, kind, &d->listeners[i], RAW_WHOLE);
        raw_connect(&b, kind, &d->listeners[i], RAW_WHOLE);
        raw_connect(&c, kind, &d->listeners[i], RAW_WHOLE);
        WAIT_FOR(stats_total(d, "open") == 3, 5000);
        assert_int_equal(kind->send(&a, "from a", 6), 0);
        raw_expect(&b, "from a", 6);
        raw_expect(&c, "from a", 6);
        assert_int_equal(kind->send(&b, "from b", 6), 0);
        raw_expect(&a, "from b", 6);
        raw_expect(&c, "from b", 6);
        raw_close(&a);
        raw_close(&b);
        raw_close(&c);
        WAIT_FOR(stats_total(d, "open") == 0, 5000);
    }
    daemon_stop(d);
}

static void
a_refused_message_ends_no_connection_where_nobody_replies(void **state)
{
    static char large[4 + (1 << 20) + 1]; /* more than broadcast takes */
    struct daemon *d = daemon_start(
        &(struct daemon_options){.handler = "broadcast", .listen = {"frame://127.0.0.1:0"}});
    struct raw a, b;

    (void)state;
    raw_frame_head((uint8_t *)large, sizeof(large) - 4);
    raw_connect(&a, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    raw_connect(&b, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    WAIT_FOR(stats_total(d, "open") == 2, 5000);
    raw_say(&a, large, sizeof(large));
    WAIT_FOR(stats_total(d, "rej") == 1, 5000);
    assert_int_equal(a.kind->send(&a, "from a", 6), 0);
    raw_expect(&b, "from a", 6);
    raw_close(&a);
    raw_close(&b);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(frames_that_come_together_are_answered_in_order),
        SYSTEM_TEST(one_cr_before_a_newline_belongs_to_it),
        SYSTEM_TEST(another_delimiter_leaves_a_cr_alone),
        SYSTEM_TEST(a_delimiter_of_several_bytes_is_found_across_packets),
        SYSTEM_TEST(any_bytes_can_be_a_delimiter_and_a_body),
        SYSTEM_TEST(a_message_over_the_limit_ends_the_connection_behind_earlier_replies),
        SYSTEM_TEST(what_ends_a_connection_leaves_receipts_on_their_way),
        SYSTEM_TEST(a_delimiter_that_never_comes_ends_the_connection),
        SYSTEM_TEST(more_than_the_limit_up_to_the_end_is_not_handed_on),
        SYSTEM_TEST(a_frame_cut_short_is_never_handed_on),
        SYSTEM_TEST(messages_cut_short_do_not_flood_the_log),
        SYSTEM_TEST(what_ends_with_a_reset_is_never_handed_on),
        SYSTEM_TEST(what_has_no_delimiter_at_a_clean_end_can_be_kept),
        SYSTEM_TEST(a_web_page_cannot_speak_to_a_listener),
        SYSTEM_TEST(the_reply_comes_after_the_end),
        SYSTEM_TEST(silence_inside_a_frame_ends_the_connection),
        SYSTEM_TEST(an_idle_connection_is_closed_without_an_error),
        SYSTEM_TEST(a_refused_message_ends_the_connection_where_a_reply_is_due),
        SYSTEM_TEST(a_refused_message_is_counted_where_nothing_is_answered),
        SYSTEM_TEST(a_broadcast_reaches_the_others_in_their_framing),
        SYSTEM_TEST(a_refused_message_ends_no_connection_where_nobody_replies),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
