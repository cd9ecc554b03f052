/* What is recognised, and that it is what jansson takes: nothing more, and but for what jansson
 * cannot represent nothing less. */
#include "guard.h"

#include "proto/json_plain.h"

#include "common/base.h"
#include "common/buffer.h"
#include "proto/json_mask.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_MAX 16384
#define FLAGS        (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)

static bool
plain_n(const char *text, size_t n, unsigned max_depth)
{
    struct json_stop stop;

    return json_is_plain(text, n, max_depth, &stop);
}

static bool
plain(const char *text)
{
    return plain_n(text, strlen(text), 512);
}

static void
json_is_recognised(void **state)
{
    static const char *const cases[] = {
        "{}",
        "[]",
        " \t\r\n{ \"a\" : [ 1 , -0 , 1.5 , 2e10 , -3.25E-7 ] , \"b\" : { \"a\" : null } } ",
        "true",
        "false",
        "\"\"",
        "0",
        "-1",
        "123456789012345678",
        "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "{\"\":1,\"a\":2,\"aa\":3}",
        "\"\x7f\"",
        "[[[[[[]]]]]]",
        "\"\\u0041\\u0000\\uFfFf\\ud83d\\ude00\"",
        "{\"a\\u0062\":1,\"a\":2,\"b\":3}",
        "{\"\\u0000\":1,\"\":2,\"\\u0001\":3}",
        "1234567890123456789012345678901234567890",
        "-99999999999999999999",
        "1e100",
        "1e308",
        "1.7976931348623157e308",
        "0.00000000000000000000000000000000000000000000000000000000000000000000001e370",
        "0e999999999999999999999",
        "1e-999999999999999999999",
        "99999999999999999999.5e280",
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        if (!plain(cases[i]))
            fail_msg("not plain: %s", cases[i]);
}

static void
what_is_no_json_is_not_plain(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        "{",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,\"a\":2}",
        "{\"aXb\":1,\"c\":2,\"aXb\":3}",
        "{\"a\\u0062\":1,\"ab\":2}",
        "{\"a\\u00e9\":1,\"a\xc3\xa9\":2}",
        "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}",
        "{\"\\u20ac\":1,\"\xe2\x82\xac\":2}",
        "{\"\\n\\/\":1,\"\\u000a/\":2}",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e400",
        "1.8e308",
        "-1e309",
        "1e99999999999999999999999",
        "00000000000000000001.5",
        "nul",
        "nulll",
        "True",
        "1 2",
        "\"open",
        "\"bad \\x escape\"",
        "\"\\u00g1\"",
        "\"\\u004",
        "\"\\ud83d\"",
        "\"\\ud83dx\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ude00\"",
        "\"tab\there\"",
        "\"\xc3\"",
        "\"\xc0\x80\"",
        "\"\xe0\x80\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xff\"",
        "'a'",
        "\"a\" x",
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        if (plain(cases[i]))
            fail_msg("plain: %s", cases[i]);
    assert_false(plain_n("1\0", 2, 512));
    assert_false(plain_n("[[[]]]", 6, 2));
    assert_true(plain_n("[[[]]]", 6, 3));
}

static void
nothing_is_read_beyond_the_end(void **state)
{
    static const char text[] =
        "{\"key\":[\"value \\n caf\xc3\xa9\",-12.5e3,true,false,null,{\"k\":\"0123456789\"}]}";

    struct guard guard = guard_create(sizeof(text));

    (void)state;
    for (size_t n = 0; n < sizeof(text); n++)
        assert_int_equal(plain_n(guard_copy(&guard, text, n), n, 512), n == sizeof(text) - 1);
    guard_destroy(&guard);
}

static enum json_error_code
judge(const char *text, size_t n)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, FLAGS, &error);

    if (value == NULL)
        return json_error_code(&error);
    json_decref(value);
    return json_error_unknown;
}

/* What jansson says, with integers and NUL in keys masked for it; and it reads on no further than
 * to a NUL byte between tokens. */
static bool
is_json(const char *text, size_t n)
{
    enum json_error_code code = judge(text, n);
    char copy[DOCUMENT_MAX];

    memcpy(copy, text, n);
    if (code == json_error_numeric_overflow) {
        json_mask_integers(copy, n);
        code = judge(copy, n);
    }
    if (code == json_error_null_byte_in_key) {
        json_mask_nul(copy, n);
        code = judge(copy, n);
    }
    if (code == json_error_numeric_overflow) {
        json_mask_integers(copy, n);
        code = judge(copy, n);
    }
    return code == json_error_unknown && memchr(text, '\0', n) == NULL;
}

/* Documents that are nearly JSON: pieces in random order, now and then a byte changed. */
static size_t
make_document(char *out)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "\"a\"",
                                         "\"key\":",
                                         "\"b\":1",
                                         "12",
                                         "-",
                                         "0",
                                         "1.5e3",
                                         "1e999",
                                         " ",
                                         "\n",
                                         "\\",
                                         "\\u0000",
                                         "\\\"",
                                         "\"\\u0061\":",
                                         "{\"a\":1,",
                                         "\\ud83d",
                                         "\\ude00",
                                         "e308",
                                         "{\"\\u0000\":",
                                         "true",
                                         "null",
                                         "\xc3\xa9",
                                         "\xc3",
                                         "\x01",
                                         "\"plain text of some length\"",
                                         "[1,2,3]",
                                         "{\"x\":{\"y\":[]}}",
                                         "99999999999999999999"};
    bool wrapped = rand() % 2 == 0;
    size_t n = 0;

    if (wrapped)
        out[n++] = '[';
    for (int k = rand() % 12; k >= 0; k--) {
        const char *piece = pieces[(size_t)rand() % MS_ARRAY_LEN(pieces)];

        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    if (wrapped)
        out[n++] = ']';
    if (rand() % 8 == 0)
        out[(size_t)rand() % n] = (char)(rand() % 256);
    return n;
}

static size_t
mutate_event(char *out)
{
    static const char event[] =
        "{\"id\":18446,\"time\":\"2026-03-01T09:30:12Z\",\"ok\":true,\"v\":[1,"
        "2.5,-3e2,null],\"who\":{\"name\":\"J\xc3\xb6rg\",\"note\":\"a\\nb\\u00e9\\ud83d\\ude00\"},"
        "\"when\":0.25,\"tags\":[\"x\",\"yy\"],\"id2\":{},\"\\u0069d3\":1e306}";
    size_t n = sizeof(event) - 1;

    memcpy(out, event, n);
    for (int k = rand() % 3; k > 0; k--)
        out[(size_t)rand() % n] = event[(size_t)rand() % n];
    return n;
}

static void
what_is_plain_is_what_jansson_takes(void **state)
{
    unsigned found = 0;

    (void)state;
    srand(20);
    for (int i = 0; i < 400000; i++) {
        char text[512];
        size_t n = i % 2 == 0 ? make_document(text) : mutate_event(text);
        bool taken = plain_n(text, n, 512);

        if (taken != is_json(text, n))
            fail_msg("%s: %.*s", taken ? "taken for JSON" : "not taken", (int)n, text);
        found += taken;
    }
    assert_true(found > 50000);
}

/* Hundreds of keys, half of them with an escape; the one at again once more, where that is less. */
static void
make_large_object(struct buffer *b, unsigned keys, unsigned at, unsigned again)
{
    buffer_clear(b);
    for (unsigned i = 0; i < keys; i++) {
        unsigned name = i == at && again < keys ? again : i;

        buffer_append_str(b, i == 0 ? "{" : ",");
        buffer_printf(b, rand() % 2 == 0 ? "\"k%u\":" : "\"\\u006b%u\":", name);
        buffer_append_str(b, i % 7 == 0 ? "{\"k1\":[{\"k1\":2}],\"k2\":{}}" : "1");
    }
    buffer_append_str(b, "}");
}

static void
a_key_is_found_again_in_an_object_of_any_size(void **state)
{
    static const unsigned sizes[] = {2, 3, 15, 16, 17, 18, 63, 64, 65, 66, 128, 129, 500};
    struct buffer b;

    (void)state;
    buffer_init(&b);
    for (size_t k = 0; k < 20 * MS_ARRAY_LEN(sizes); k++) {
        unsigned n = sizes[k % MS_ARRAY_LEN(sizes)], at = (unsigned)rand() % n;
        unsigned again = (at + 1 + (unsigned)rand() % (n - 1)) % n;

        make_large_object(&b, n, at, n);
        assert_true(plain_n(buffer_bytes(&b), b.len, 512));
        assert_true(is_json(buffer_bytes(&b), b.len));
        make_large_object(&b, n, at, again);
        assert_false(plain_n(buffer_bytes(&b), b.len, 512));
        assert_false(is_json(buffer_bytes(&b), b.len));
    }
    buffer_fini(&b);
}

static void
deep_nesting_is_followed_to_the_limit(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    for (unsigned i = 0; i < 2000; i++)
        buffer_append_str(&b, i % 2 == 0 ? "[" : "{\"\\u006b\":");
    for (unsigned i = 2000; i-- > 0;)
        buffer_append_str(&b, i == 1999 ? "1}" : i % 2 == 0 ? "]" : "}");
    assert_true(plain_n(buffer_bytes(&b), b.len, 2000));
    assert_true(is_json(buffer_bytes(&b), b.len));
    assert_false(plain_n(buffer_bytes(&b), b.len, 1999));
    buffer_fini(&b);
}

static void
where_it_stops_the_wrong_token_begins(void **state)
{
    static const struct {
        const char *text;
        size_t offset;
        const char *why;
    } cases[] = {
        {"[1, 2, nul]", 7, "no JSON from here on"},
        {"[1, 2", 5, "no JSON from here on"},
        {"[1] 2", 4, "no JSON from here on"},
        {"{\"a\" 1}", 5, "no JSON from here on"},
        {"{\"a\":1, b:2}", 8, "no JSON from here on"},
        {"[1, 1e999]", 4, "real number overflow"},
        {"[{\"a\":1,\"a\":2 }]", 14, "the object that ends here has a key twice"},
    };
    struct json_stop stop;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_false(json_is_plain(cases[i].text, strlen(cases[i].text), 9, &stop));
        assert_int_equal(stop.offset, cases[i].offset);
        assert_string_equal(stop.why, cases[i].why);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_recognised),
        cmocka_unit_test(what_is_no_json_is_not_plain),
        cmocka_unit_test(nothing_is_read_beyond_the_end),
        cmocka_unit_test(what_is_plain_is_what_jansson_takes),
        cmocka_unit_test(a_key_is_found_again_in_an_object_of_any_size),
        cmocka_unit_test(deep_nesting_is_followed_to_the_limit),
        cmocka_unit_test(where_it_stops_the_wrong_token_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
