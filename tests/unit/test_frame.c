/* Plain frames: every framing cut in every way, what must not be a first line, and both sides
 * (docs/protocol.md 4). */
#include "frame_peer.h"

#define MAX_MESSAGES 16

/* A stream and what it holds. */
struct sample {
    const char *name;
    struct framing framing;
    const char *wire;
    size_t wire_len;
    size_t count;
    const char *messages[MAX_MESSAGES]; /* without NUL inside */
};

#define WIRE(text)         .wire = (text), .wire_len = sizeof(text) - 1
#define HOLDS(number, ...) .count = (number), .messages = {__VA_ARGS__}

static const struct sample samples[] = {
    {"frames with a length", LENGTH32, WIRE("\0\0\0\5hello\0\0\0\0\0\0\0\1x\0\0\0\2\0"),
     HOLDS(3, "hello", "", "x")},
    {"frames of one size", FIXED(3), WIRE("abcdefgh"), HOLDS(2, "abc", "def")},
    {"frames of one byte", FIXED(1), WIRE("abc"), HOLDS(3, "a", "b", "c")},
    {"lines", LINES, WIRE("a\nb\r\n\r\n\n\r\r\nc\rd\nrest\r"),
     HOLDS(6, "a", "b", "", "", "\r", "c\rd")},
    {"a delimiter that is no line's end keeps the CR", DELIMITER(";"), WIRE("a\r;;b"),
     HOLDS(2, "a\r", "")},
    {"CR LF said outright takes one CR", DELIMITER("\r\n"), WIRE("a\r\r\nb\nc\r\n\r\n"),
     HOLDS(3, "a\r", "b\nc", "")},
    {"a delimiter that overlaps itself", DELIMITER("aab"), WIRE("aaabaabaaaab-aa-aab"),
     HOLDS(4, "a", "", "aa", "-aa-")},
    {"a delimiter of one letter repeated", DELIMITER("aaa"), WIRE("aaaaaabaaa"),
     HOLDS(3, "", "", "b")},
    {"a delimiter with a long border", DELIMITER("abab"), WIRE("abaababxabab"),
     HOLDS(2, "aba", "x")},
    {"a delimiter of 32 bytes", DELIMITER("0123456789abcdef0123456789ABCDEF"),
     WIRE("x0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEFy"),
     HOLDS(2, "x0123456789abcdef", "")},
    {"a NUL", DELIMITER("\0"), WIRE("gelf\0\n\0rest"), HOLDS(2, "gelf", "\n")},
    {"the longest that fits a word", DELIMITER("--END--\n"), WIRE("x--END----END--\n--END--\n-"),
     HOLDS(2, "x--END--", "")},
};

/* Of any framing: what comes first, and whether it is an HTTP request. */
static const struct {
    const char *line;
    bool http;
} first_lines[] = {
    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
    {"GET /;a;b;END;?x=HTTP/1 HTTP/1.0\r\n\r\n", true},
    {"POST /\xc3\xa4 HTTP/1.1\r\n\r\nlet me in;END;\n", true},
    {"HEAD / HTTP/1.1\r\n", true},
    {"PUT / HTTP/1.1\r\n", true},
    {"DELETE / HTTP/1.1\r\n", true},
    {"CONNECT h:80 HTTP/1.1\r\n", true},
    {"OPTIONS * HTTP/1.1\r\n", true},
    {"TRACE / HTTP/1.1\r\n", true},
    {"PATCH / HTTP/1.9\n", true},
    {"GET well soon;END;\n", false},
    {"GET /key\n", false},
    {"GET / HTTP/2.0\n", false},
    {"GET / HTTP/1\n", false},
    {"GET / http/1.1\n", false},
    {"GET  / HTTP/1.1\n", false},
    {"GETS / HTTP/1.1\n", false},
    {"get / HTTP/1.1\n", false},
    {"POS / HTTP/1.1\n", false},
    {" GET / HTTP/1.1\n", false},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false}, /* no browser says it without TLS */
    {"x\nGET / HTTP/1.1\n", false},
};

static void
prepare_sample(struct proto_peer *p, const void *arg)
{
    p->limits.framing = ((const struct sample *)arg)->framing;
}

static void
check_sample(struct proto_peer *p, const void *arg)
{
    const struct sample *s = arg;

    if (p->delivered_count != s->count)
        fail_msg("%s: %zu messages", s->name, p->delivered_count);
    for (size_t i = 0; i < s->count; i++)
        proto_peer_expect_delivered(p, i, s->messages[i], strlen(s->messages[i]));
    assert_false(p->closed);
    assert_int_equal(p->tally.packets, s->count);
    assert_int_equal(p->tally.messages, s->count);
    assert_int_equal(p->tally.acks, 0);
    proto_peer_eof(p); /* and what is left is cut short */
    assert_true(p->closed);
    assert_int_equal(p->delivered_count, s->count);
    assert_int_equal(p->tally.err, 0);
    proto_peer_expect_said(p, NULL, 0);
}

static void
every_framing_is_read_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(samples); i++) {
        struct peer_case c = {.proto = &frame_protocol,
                              .prepare = prepare_sample,
                              .data = samples[i].wire,
                              .n = samples[i].wire_len,
                              .check = check_sample,
                              .arg = &samples[i]};

        peer_case_run(&c);
    }
}

/* --- the delimiter, against a reader that has all at once --- */

static size_t
naive_messages(const char *data, size_t n, const struct framing *f, const char **ends, size_t *lens)
{
    size_t count = 0, start = 0, d = f->delimiter_len;

    for (size_t i = 0; i + d <= n;) {
        if (memcmp(data + i, f->delimiter, d) != 0) {
            i++;
            continue;
        }
        ends[count] = data + start;
        lens[count] = i - start;
        if (f->drop_cr && i > start && data[i - 1] == '\r')
            lens[count]--;
        count++;
        start = i += d;
    }
    return count;
}

static void
compare_with_naive(const char *data, size_t n, struct framing framing, size_t piece)
{
    static const char *starts[4096];
    static size_t lens[4096];
    size_t count = naive_messages(data, n, &framing, starts, lens);
    struct proto_peer p;

    frame_begin(&p, framing);
    proto_peer_hear(&p, data, n, piece, true);
    assert_int_equal(p.delivered_count, count);
    for (size_t i = 0; i < count; i++)
        proto_peer_expect_delivered(&p, i, starts[i], lens[i]);
    proto_peer_fini(&p);
}

static void
random_text_of_few_letters_is_cut_where_a_simple_reader_cuts_it(void **state)
{
    static const struct framing framings[] = {DELIMITER("aab"),      DELIMITER("aba"),
                                              DELIMITER("aa"),       DELIMITER("abaab"),
                                              DELIMITER("aaaaaaab"), LINES};
    static char text[4096];
    uint32_t x = 1;

    (void)state;
    for (size_t f = 0; f < MS_ARRAY_LEN(framings); f++) {
        const char *letters = framings[f].drop_cr ? "\r\nx\r" : "aaba";

        for (size_t i = 0; i < sizeof(text); i++) {
            x = x * 1664525 + 1013904223;
            text[i] = letters[x >> 30];
        }
        for (size_t piece = 1; piece < 20; piece++)
            compare_with_naive(text, sizeof(text), framings[f], piece);
        compare_with_naive(text, sizeof(text), framings[f], PEER_WHOLE);
    }
}

static void
what_has_no_delimiter_at_the_end_can_be_kept(void **state)
{
    static const struct {
        struct framing framing;
        const char *wire, *last; /* NULL: there is none */
    } cases[] = {
        {LINES, "a\nrest", "rest"},
        {LINES, "a\nrest\r", "rest\r"},
        {LINES, "a\n", NULL},
        {LINES, "a\n\r", "\r"},
        {DELIMITER("END"), "aENDxE", "xE"},
        {DELIMITER("END"), "aENDEN", "EN"},
        {DELIMITER("END"), "aENDGET x", "GET x"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 10; piece++)
            for (int keep = 0; keep < 2; keep++) {
                struct framing framing = cases[i].framing;
                bool more = keep != 0 && cases[i].last != NULL;
                struct proto_peer p;

                framing.keep_unterminated = keep != 0;
                frame_begin(&p, framing);
                proto_peer_hear(&p, cases[i].wire, strlen(cases[i].wire), piece, true);
                assert_int_equal(p.delivered_count, 1);
                proto_peer_eof(&p);
                assert_true(p.closed);
                assert_int_equal(p.tally.err, 0);
                assert_int_equal(p.delivered_count, more ? 2 : 1);
                if (more)
                    proto_peer_expect_delivered(&p, 1, cases[i].last, strlen(cases[i].last));
                proto_peer_fini(&p);
            }
}

/* --- the first line --- */

static const struct framing first_framings[] = {
    LINES,    DELIMITER(";"), DELIMITER(" "), DELIMITER("END;"), DELIMITER("/"), DELIMITER("E"),
    FIXED(1), FIXED(3),       FIXED(5),       LENGTH32,          UNTIL_EOF,
};

struct first_case {
    size_t line;
    const struct framing *framing;
};

static void
prepare_first(struct proto_peer *p, const void *arg)
{
    p->limits.framing = *((const struct first_case *)arg)->framing;
}

/* Of a request nothing is handed on; of anything else all that a reader finds who has it whole. */
static void
check_first(struct proto_peer *p, const void *arg)
{
    const struct first_case *c = arg;
    const char *line = first_lines[c->line].line;
    const struct framing *f = c->framing;
    const char *ends[64];
    size_t lens[64], n = strlen(line);

    if (p->closed != first_lines[c->line].http)
        fail_msg("%s: closed %d", line, p->closed);
    proto_peer_eof(p);
    if (first_lines[c->line].http) {
        assert_int_equal(p->delivered_count, 0);
        assert_int_equal(p->tally.err, 1);
        assert_int_equal(p->tally.http, 1);
        return;
    }
    assert_int_equal(p->tally.err, 0);
    assert_int_equal(p->tally.http, 0);
    if (f->kind == FRAMING_FIXED) {
        assert_int_equal(p->delivered_count, n / f->fixed_len);
    } else if (f->kind == FRAMING_DELIMITER) {
        size_t count = naive_messages(line, n, f, ends, lens);

        assert_int_equal(p->delivered_count, count);
        for (size_t i = 0; i < count; i++)
            proto_peer_expect_delivered(p, i, ends[i], lens[i]);
    } else if (f->kind == FRAMING_EOF) {
        proto_peer_expect_delivered(p, 0, line, n);
    }
}

static void
a_first_line_that_is_a_http_request_ends_the_connection(void **state)
{
    (void)state;
    for (size_t l = 0; l < MS_ARRAY_LEN(first_lines); l++)
        for (size_t f = 0; f < MS_ARRAY_LEN(first_framings); f++) {
            struct first_case at = {l, &first_framings[f]};
            struct peer_case c = {.proto = &frame_protocol,
                                  .prepare = prepare_first,
                                  .data = first_lines[l].line,
                                  .n = strlen(first_lines[l].line),
                                  .check = check_first,
                                  .arg = &at};

            peer_case_run(&c);
        }
}

/* Whoever waits for the answer to the beginning of one gets it after a while. */
static void
silence_lets_through_what_may_have_become_a_request(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)DELIMITER(";"));
    frame_hear(&p, "GET key;", 8);
    assert_int_equal(p.delivered_count, 0);
    assert_false(frame_protocol.idle(&p.state));
    proto_peer_wait(&p, p.limits.timeout_us);
    proto_peer_expect_delivered(&p, 0, "GET key", 7);
    assert_false(p.closed);
    frame_hear(&p, "GET / HTTP/1.1;", 15);
    proto_peer_expect_delivered(&p, 1, "GET / HTTP/1.1", 14);
    proto_peer_fini(&p);
}

static void
a_first_line_is_not_held_for_ever(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)DELIMITER(";"));
    frame_hear(&p, "GET ;", 5);
    for (size_t sent = 0; sent < FRAME_HOLD_MAX && !p.closed; sent += 1000)
        frame_hear(&p, sample_stream(1000), 1000);
    assert_true(p.closed);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* --- eof --- */

static void
everything_until_the_end_is_one_message_and_its_reply_ends_the_connection(void **state)
{
    static const size_t sizes[] = {0, 1, 5000};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++)
        for (int later = 0; later < 2; later++) {
            const char *body = sample_stream(sizes[i]);
            struct verdict yes = {.outcome = PROTO_COMMITTED, .reply = body, .reply_len = sizes[i]};
            struct proto_peer p;

            proto_peer_init(&p, &frame_protocol);
            p.limits.framing = (struct framing)UNTIL_EOF;
            p.limits.reply = REPLY_YES;
            p.hold = later != 0;
            p.verdict = yes;
            proto_peer_begin(&p, PROTO_SERVER);
            proto_peer_hear(&p, body, sizes[i], 777, false);
            assert_int_equal(p.delivered_count, 0);
            assert_false(p.closed);
            proto_peer_eof(&p);
            proto_peer_expect_delivered(&p, 0, body, sizes[i]);
            if (p.hold)
                proto_peer_settle(&p, 0, &yes);
            assert_int_equal(p.delivered_count, 1);
            assert_true(p.answers.ended);
            proto_peer_expect_said(&p, body, sizes[i]);
            assert_int_equal(p.tally.messages, 1);
            assert_int_equal(p.tally.err, 0);
            proto_peer_fini(&p);
        }
}

static void
an_empty_stream_is_a_message_that_began_with_its_end(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)UNTIL_EOF);
    p.hold = true;
    proto_peer_wait(&p, 5000000);
    proto_peer_eof(&p);
    assert_int_equal(p.held_count, 1);
    assert_int_equal(p.held[0].message->begun_us, p.now_us);
    proto_peer_fini(&p);
}

static void
a_stream_that_breaks_off_is_no_message(void **state)
{
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)UNTIL_EOF);
    frame_hear(&p, "half", 4);
    assert_false(frame_protocol.idle(&p.state));
    proto_peer_wait(&p, p.limits.timeout_us);
    assert_true(p.closed);
    proto_peer_eof(&p);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* --- both sides --- */

static void
a_client_and_a_server_understand_each_other_in_every_framing(void **state)
{
    static const struct framing framings[] = {LENGTH32, FIXED(5), LINES, DELIMITER("aab"),
                                              UNTIL_EOF};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(framings); i++)
        for (size_t piece = 1; piece < 12; piece++) {
            bool eof = framings[i].kind == FRAMING_EOF;
            struct proto_peer client, server;

            frame_begin(&server, framings[i]);
            server.limits.answers = true;
            server.limits.reply = REPLY_AUTO;
            server.echo = true;
            proto_peer_init(&client, &frame_protocol);
            client.limits.framing = framings[i];
            proto_peer_begin(&client, PROTO_CLIENT);
            assert_int_equal(proto_peer_push(&client, "hello", 5), 0);
            assert_int_equal(proto_peer_push(&client, "world", 5), eof ? -1 : 0);
            assert_int_equal(client.results.sent, eof ? 1 : 2);
            proto_peer_talk(&client, &server, piece);
            if (eof) {
                proto_peer_eof(&server);
                proto_peer_talk(&client, &server, piece);
                proto_peer_eof(&client);
            }
            assert_int_equal(client.delivered_count, eof ? 1 : 2);
            proto_peer_expect_delivered(&client, 0, "hello", 5);
            if (!eof)
                proto_peer_expect_delivered(&client, 1, "world", 5);
            proto_peer_fini(&client);
            proto_peer_fini(&server);
        }
}

static void
it_leaves_and_turns_away_without_a_word(void **state)
{
    char out[PROTO_REFUSAL_MAX];
    struct proto_peer p;

    (void)state;
    frame_begin(&p, (struct framing)LENGTH32);
    proto_peer_shutdown(&p);
    proto_peer_expect_said(&p, NULL, 0);
    assert_int_equal(frame_protocol.refusal("busy", "too many", out), 0);
    proto_peer_fini(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_framing_is_read_however_it_is_cut),
        cmocka_unit_test(random_text_of_few_letters_is_cut_where_a_simple_reader_cuts_it),
        cmocka_unit_test(what_has_no_delimiter_at_the_end_can_be_kept),
        cmocka_unit_test(a_first_line_that_is_a_http_request_ends_the_connection),
        cmocka_unit_test(silence_lets_through_what_may_have_become_a_request),
        cmocka_unit_test(a_first_line_is_not_held_for_ever),
        cmocka_unit_test(everything_until_the_end_is_one_message_and_its_reply_ends_the_connection),
        cmocka_unit_test(an_empty_stream_is_a_message_that_began_with_its_end),
        cmocka_unit_test(a_stream_that_breaks_off_is_no_message),
        cmocka_unit_test(a_client_and_a_server_understand_each_other_in_every_framing),
        cmocka_unit_test(it_leaves_and_turns_away_without_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
