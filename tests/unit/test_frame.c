/* Plain frames: every framing cut in every way, every limit, and what becomes of each verdict
 * (docs/protocol.md 4). */
#include "proto_peer.h"

#include "common/be.h"

#include <errno.h>

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

#define WIRE(text) .wire = (text), .wire_len = sizeof(text) - 1
#define LENGTH32                 \
    {                            \
        .kind = FRAMING_LENGTH32 \
    }
#define FIXED(n)                                \
    {                                           \
        .kind = FRAMING_FIXED, .fixed_len = (n) \
    }
#define DELIMITER(text)                                            \
    {                                                              \
        FRAMING_DELIMITER, 0, sizeof(text) - 1, text, false, false \
    }
#define LINES                                      \
    {                                              \
        FRAMING_DELIMITER, 0, 1, "\n", true, false \
    }
#define UNTIL_EOF           \
    {                       \
        .kind = FRAMING_EOF \
    }
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

static const char *
sample_stream(size_t n)
{
    static char stream[1 << 16];

    MS_ASSERT(n <= sizeof(stream));
    for (size_t i = 0; i < n; i++)
        stream[i] = (char)('a' + (i * 7 + i / 26) % 26);
    return stream;
}

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

static void
begin(struct proto_peer *p, struct framing framing)
{
    proto_peer_init(p, &frame_protocol);
    p->limits.framing = framing;
    proto_peer_begin(p, PROTO_SERVER);
}

static void
hear(struct proto_peer *p, const char *data, size_t n)
{
    proto_peer_hear(p, data, n, PEER_WHOLE, true);
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

    begin(&p, framing);
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
                begin(&p, framing);
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
    begin(&p, (struct framing)DELIMITER(";"));
    hear(&p, "GET key;", 8);
    assert_int_equal(p.delivered_count, 0);
    assert_false(frame_protocol.idle(&p.state));
    proto_peer_wait(&p, p.limits.timeout_us);
    proto_peer_expect_delivered(&p, 0, "GET key", 7);
    assert_false(p.closed);
    hear(&p, "GET / HTTP/1.1;", 15);
    proto_peer_expect_delivered(&p, 1, "GET / HTTP/1.1", 14);
    proto_peer_fini(&p);
}

static void
a_first_line_is_not_held_for_ever(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, (struct framing)DELIMITER(";"));
    hear(&p, "GET ;", 5);
    for (size_t sent = 0; sent < FRAME_HOLD_MAX && !p.closed; sent += 1000)
        hear(&p, sample_stream(1000), 1000);
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
    begin(&p, (struct framing)UNTIL_EOF);
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
    begin(&p, (struct framing)UNTIL_EOF);
    hear(&p, "half", 4);
    assert_false(frame_protocol.idle(&p.state));
    proto_peer_wait(&p, p.limits.timeout_us);
    assert_true(p.closed);
    proto_peer_eof(&p);
    assert_int_equal(p.delivered_count, 0);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* --- limits --- */

static void
a_length_over_the_limit_ends_the_connection_before_it_costs_anything(void **state)
{
    uint8_t head[FRAME_HEADER];
    struct proto_peer p;

    (void)state;
    for (uint64_t max = 1000; max < UINT32_MAX; max *= 1000) {
        for (int over = 0; over < 2; over++) {
            begin(&p, (struct framing)LENGTH32);
            p.limits.max_message_size = max;
            be32_store(head, (uint32_t)max + (uint32_t)over);
            proto_peer_hear(&p, head, sizeof(head), 1, false);
            assert_int_equal(p.closed, over);
            assert_int_equal(p.tally.err, over);
            assert_int_equal(p.message != NULL, !over);
            assert_int_equal(p.store.memory_used, 0);
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

            begin(&p, cases[i].framing);
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
    begin(&p, (struct framing)LENGTH32);
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

        begin(&p, framings[i]);
        p.store.memory_max = 1000;
        p.store.spill_open = no_room;
        if (framings[i].kind == FRAMING_LENGTH32)
            hear(&p, "\0\0\x20\0", 4);
        hear(&p, sample_stream(5000), 5000);
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
    begin(&p, (struct framing)LENGTH32);
    p.keep_max = 3;
    hear(&p, "\0\0\0\5hello", 9);
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

            begin(&p, framings[i]);
            p.want_digest = want != 0;
            p.hold = true;
            hear(&p, i == 0 ? "\0\0\0\5hello" : "hello\n\n\n\n", 9);
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

        begin(&p, cases[i].framing);
        proto_peer_wait(&p, p.limits.timeout_us * 2);
        hear(&p, cases[i].wire, cases[i].n);
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
    begin(&p, (struct framing)LENGTH32);
    hear(&p, "\0\0\0\1x", 5);
    assert_true(frame_protocol.idle(&p.state));
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
who_is_sent_messages_need_not_speak(void **state)
{
    static const struct verdict reply = {
        .outcome = PROTO_COMMITTED, .reply = "reply", .reply_len = 5};
    struct proto_peer p;

    (void)state;
    begin(&p, (struct framing)LENGTH32);
    p.limits.reply = REPLY_YES;
    p.hold = true;
    hear(&p, "\0\0\0\1x", 5);
    for (unsigned i = 0; i < 3; i++) {
        proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
        assert_int_equal(proto_peer_push(&p, "push", 4), 0);
        assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    }
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    proto_peer_settle(&p, 0, &reply);
    assert_int_equal(proto_peer_patience(&p), p.limits.idle_timeout_us);
    assert_int_equal(proto_peer_push(&p, "", (size_t)1 << 31), -1); /* not sent: no sign of life */
    proto_peer_wait(&p, p.limits.idle_timeout_us - 1);
    assert_false(p.closed);
    proto_peer_wait(&p, 1);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 0);
    proto_peer_fini(&p);
}

static void
what_is_sent_gives_no_time_for_a_message_under_way(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, (struct framing)LENGTH32);
    hear(&p, "\0\0\0\2x", 5);
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
    begin(&p, (struct framing)LENGTH32);
    hear(&p, "\0\0\x80\0", 4); /* what one before has earned does not count */
    hear(&p, sample_stream(0x8000), 0x8000);
    proto_peer_wait(&p, 30000000);
    assert_false(p.closed);
    hear(&p, "\0\0\1\0", 4);
    while (!p.closed && sent < 100) {
        hear(&p, "x", 1);
        sent++;
        proto_peer_wait(&p, 1000000);
    }
    assert_true(p.closed);
    assert_in_range(sent, 10, 11);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

/* --- replies --- */

static void
an_echo_comes_back_in_the_framing_it_came_in(void **state)
{
    static const struct sample echoes[] = {
        {"lengths", LENGTH32, WIRE("\0\0\0\5hello\0\0\0\0\0\0\0\1x"), .count = 3},
        {"one size", FIXED(4), WIRE("abcdefgh"), .count = 2},
        {"lines", LINES, WIRE("hello\n\nx\n"), .count = 3},
        {"a delimiter", DELIMITER("--"), WIRE("hello----x-y--"), .count = 3},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(echoes); i++)
        for (size_t piece = 1; piece < 20; piece++) {
            struct proto_peer p;

            begin(&p, echoes[i].framing);
            p.limits.reply = REPLY_YES;
            p.echo = true;
            proto_peer_hear(&p, echoes[i].wire, echoes[i].wire_len, piece, false);
            proto_peer_expect_said(&p, echoes[i].wire, echoes[i].wire_len);
            assert_int_equal(p.tally.messages, echoes[i].count);
            assert_int_equal(p.tally.packets, echoes[i].count);
            assert_int_equal(p.tally.acks, 0);
            assert_false(p.closed);
            proto_peer_fini(&p);
        }
}

static void
a_long_echo_comes_back_at_once_or_at_its_place(void **state)
{
    static uint8_t wire[100004];
    struct proto_peer p;

    (void)state;
    be32_store(wire, sizeof(wire) - 4);
    memcpy(wire + 4, sample_stream(1 << 16), 1 << 16);
    for (int later = 0; later < 2; later++) {
        struct verdict yes = {
            .outcome = PROTO_COMMITTED, .reply = wire + 4, .reply_len = sizeof(wire) - 4};

        begin(&p, (struct framing)LENGTH32);
        p.limits.reply = REPLY_YES;
        p.hold = later != 0;
        p.echo = !p.hold;
        hear(&p, (const char *)wire, sizeof(wire));
        if (p.hold)
            proto_peer_settle(&p, 0, &yes);
        proto_peer_expect_said(&p, wire, sizeof(wire));
        proto_peer_fini(&p);
    }
}

static void
which_replies_go_back_is_the_listeners_choice(void **state)
{
    static const struct {
        struct framing framing;
        enum reply_policy reply;
        bool answers, wanted;
    } cases[] = {
        {LENGTH32, REPLY_AUTO, false, true}, {UNTIL_EOF, REPLY_AUTO, false, true},
        {LINES, REPLY_AUTO, false, false},   {FIXED(1), REPLY_AUTO, false, false},
        {LINES, REPLY_AUTO, true, true},     {FIXED(1), REPLY_AUTO, true, true},
        {LENGTH32, REPLY_NO, true, false},   {LINES, REPLY_YES, false, true},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        for (int client = 0; client < 2; client++) {
            struct proto_peer p;

            proto_peer_init(&p, &frame_protocol);
            p.limits.framing = cases[i].framing;
            p.limits.reply = cases[i].reply;
            p.limits.answers = cases[i].answers;
            proto_peer_begin(&p, client ? PROTO_CLIENT : PROTO_SERVER);
            hear(&p, "\0\0\0\0\n", 4 + (cases[i].framing.kind == FRAMING_DELIMITER));
            proto_peer_eof(&p);
            assert_int_equal(p.delivered[0].wants_reply, cases[i].wanted && !client);
            proto_peer_expect_said(&p, NULL, 0); /* no reply is not an empty one */
            proto_peer_fini(&p);
        }
}

static void
begin_held(struct proto_peer *p, enum reply_policy reply)
{
    begin(p, (struct framing)LINES);
    p->limits.reply = reply;
    p->hold = true;
    hear(p, "a\nb\nc\n", 6);
    assert_int_equal(p->held_count, 3);
}

static void
settle(struct proto_peer *p, size_t i, enum proto_outcome outcome, const char *reply)
{
    struct verdict verdict = {.outcome = outcome,
                              .code = "refused",
                              .text = "no",
                              .reply = reply,
                              .reply_len = reply != NULL ? strlen(reply) : 0};

    proto_peer_settle(p, i, &verdict);
}

static void
replies_leave_in_the_order_of_the_messages(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    settle(&p, 1, PROTO_COMMITTED, NULL);
    proto_peer_expect_said(&p, "C\n", 2);
    assert_int_equal(p.tally.messages, 3);
    assert_true(answers_idle(&p.answers));
    proto_peer_fini(&p);
}

static void
a_refusal_ends_the_connection_where_its_reply_would_have_stood(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 1, PROTO_REFUSED, NULL);
    assert_false(p.closed);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    assert_true(p.closed);
    assert_int_equal(p.tally.rej, 1);
    assert_int_equal(p.tally.err, 0);
    assert_int_equal(p.tally.messages, 2);
    proto_peer_fini(&p);
}

static void
a_refusal_is_only_counted_where_nobody_waits_for_a_reply(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_NO);
    settle(&p, 0, PROTO_REFUSED, NULL);
    settle(&p, 2, PROTO_COMMITTED, "C");
    settle(&p, 1, PROTO_COMMITTED, NULL);
    assert_false(p.closed);
    assert_int_equal(p.tally.rej, 1);
    assert_int_equal(p.tally.messages, 2);
    proto_peer_expect_said(&p, NULL, 0);
    hear(&p, "d\n", 2);
    assert_int_equal(p.delivered_count, 4);
    proto_peer_fini(&p);
}

static void
a_failure_ends_the_connection_at_its_place(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 1, PROTO_FAILED, NULL);
    settle(&p, 2, PROTO_COMMITTED, "C");
    assert_false(p.closed);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_expect_said(&p, "A\n", 2);
    assert_true(p.closed);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);

    begin_held(&p, REPLY_NO);
    settle(&p, 1, PROTO_FAILED, NULL);
    assert_true(p.closed);
    proto_peer_expect_said(&p, NULL, 0);
    assert_int_equal(p.tally.err, 1);
    settle(&p, 0, PROTO_COMMITTED, NULL);
    assert_int_equal(p.tally.messages, 1);
    proto_peer_fini(&p);
}

/* --- what a framing can carry --- */

static const struct {
    struct framing framing;
    const char *message;
    const char *wire; /* NULL: it cannot */
} carried[] = {
    {FIXED(3), "abc", "abc"},
    {FIXED(3), "ab", NULL},
    {FIXED(3), "abcd", NULL},
    {FIXED(3), "", NULL},
    {LINES, "abc", "abc\n"},
    {LINES, "", "\n"},
    {LINES, "a\nb", NULL},
    {LINES, "a\n", NULL},
    {DELIMITER("--"), "a-b", "a-b--"},
    {DELIMITER("--"), "a--b", NULL},
    {DELIMITER("--"), "a-", NULL}, /* the peer would see it end one byte too early */
    {DELIMITER("aab"), "xa", "xaaab"},
    {DELIMITER("abab"), "xab", NULL},
    {DELIMITER("abab"), "ab", NULL},
    {UNTIL_EOF, "abc", "abc"},
    {UNTIL_EOF, "", ""},
};

static void
a_push_is_framed_or_said_to_be_impossible(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(carried); i++) {
        const char *message = carried[i].message, *wire = carried[i].wire;
        struct proto_peer p;
        int rc;

        begin(&p, carried[i].framing);
        errno = 0;
        rc = proto_peer_push(&p, message, strlen(message));
        if (rc != (wire != NULL ? 0 : -1))
            fail_msg("case %zu", i);
        assert_int_equal(errno, wire != NULL ? 0 : EMSGSIZE);
        proto_peer_expect_said(&p, wire, wire != NULL ? strlen(wire) : 0);
        assert_false(p.closed);
        proto_peer_fini(&p);
    }
}

/* The shortest one that each framing has, or of three bytes. */
static void
hear_one_message(struct proto_peer *p)
{
    const struct framing *framing = &p->limits.framing;

    if (framing->kind == FRAMING_FIXED)
        hear(p, "abc", 3);
    else if (framing->kind == FRAMING_DELIMITER)
        hear(p, (const char *)framing->delimiter, framing->delimiter_len);
    else
        proto_peer_eof(p);
    assert_int_equal(p->delivered_count, 1);
}

static void
a_reply_that_cannot_be_framed_ends_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(carried); i++)
        for (int later = 0; later < 2; later++) {
            const char *message = carried[i].message, *wire = carried[i].wire;
            struct verdict verdict = {
                .outcome = PROTO_COMMITTED, .reply = message, .reply_len = strlen(message)};
            struct proto_peer p;

            begin(&p, carried[i].framing);
            p.limits.reply = REPLY_YES;
            p.verdict = verdict;
            p.hold = later != 0;
            hear_one_message(&p);
            if (p.hold)
                proto_peer_settle(&p, 0, &verdict);
            proto_peer_expect_said(&p, wire, wire != NULL ? strlen(wire) : 0);
            assert_int_equal(p.tally.messages, 1);
            assert_int_equal(p.tally.err, wire == NULL);
            assert_int_equal(p.closed, wire == NULL || carried[i].framing.kind == FRAMING_EOF);
            proto_peer_fini(&p);
        }
}

static void
what_is_too_long_for_the_queue_is_not_pushed(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, (struct framing)LENGTH32);
    assert_int_equal(proto_peer_push(&p, "", FRAME_SEND_MAX + 1), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(proto_peer_push(&p, NULL, 0), 0);
    proto_peer_expect_said(&p, "\0\0\0\0", 4);
    proto_peer_fini(&p);
}

static void
a_stream_carries_one_message_in_each_direction(void **state)
{
    struct proto_peer p;

    (void)state;
    begin(&p, (struct framing)UNTIL_EOF);
    p.limits.reply = REPLY_YES;
    p.echo = true;
    assert_int_equal(proto_peer_push(&p, "one", 3), 0);
    assert_int_equal(proto_peer_push(&p, "two", 3), -1);
    assert_int_equal(errno, EMSGSIZE);
    hear(&p, "x", 1);
    proto_peer_eof(&p);
    proto_peer_expect_said(&p, "one", 3);
    assert_int_equal(p.tally.err, 1);
    proto_peer_fini(&p);
}

static void
pushes_and_replies_share_the_way(void **state)
{
    struct proto_peer p;

    (void)state;
    begin_held(&p, REPLY_YES);
    settle(&p, 0, PROTO_COMMITTED, "A");
    proto_peer_push(&p, "push", 4);
    settle(&p, 1, PROTO_COMMITTED, "B");
    settle(&p, 2, PROTO_COMMITTED, "C");
    proto_peer_expect_said(&p, "A\nB\nC\npush\n", 11);
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

            begin(&server, framings[i]);
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
    begin(&p, (struct framing)LENGTH32);
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
        cmocka_unit_test(an_echo_comes_back_in_the_framing_it_came_in),
        cmocka_unit_test(a_long_echo_comes_back_at_once_or_at_its_place),
        cmocka_unit_test(which_replies_go_back_is_the_listeners_choice),
        cmocka_unit_test(replies_leave_in_the_order_of_the_messages),
        cmocka_unit_test(a_refusal_ends_the_connection_where_its_reply_would_have_stood),
        cmocka_unit_test(a_refusal_is_only_counted_where_nobody_waits_for_a_reply),
        cmocka_unit_test(a_failure_ends_the_connection_at_its_place),
        cmocka_unit_test(a_push_is_framed_or_said_to_be_impossible),
        cmocka_unit_test(a_reply_that_cannot_be_framed_ends_the_connection),
        cmocka_unit_test(what_is_too_long_for_the_queue_is_not_pushed),
        cmocka_unit_test(a_stream_carries_one_message_in_each_direction),
        cmocka_unit_test(pushes_and_replies_share_the_way),
        cmocka_unit_test(a_client_and_a_server_understand_each_other_in_every_framing),
        cmocka_unit_test(it_leaves_and_turns_away_without_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
