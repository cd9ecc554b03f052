/* What is plain, what is left to jansson, and that nothing is taken for JSON that jansson refuses. */
#include "guard.h"

#include "proto/json_plain.h"

#include "common/base.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)

static bool
plain(const char *text)
{
    return json_is_plain(text, strlen(text), 512);
}

static void
ordinary_documents_are_plain(void **state)
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
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        if (!plain(cases[i]))
            fail_msg("not plain: %s", cases[i]);
}

static void
what_needs_a_judge_is_not_plain(void **state)
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
        "{\"a\\u0062\":1}",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e400",
        "1e100",
        "1234567890123456789",
        "nul",
        "nulll",
        "True",
        "1 2",
        "\"open",
        "\"bad \\x escape\"",
        "\"\\u0041\"",
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
    assert_false(json_is_plain("1\0", 2, 512));
    assert_false(json_is_plain("[[[]]]", 6, 2));
    assert_true(json_is_plain("[[[]]]", 6, 3));
}

static void
nothing_is_read_beyond_the_end(void **state)
{
    static const char text[] =
        "{\"key\":[\"value \\n caf\xc3\xa9\",-12.5e3,true,false,null,{\"k\":\"0123456789\"}]}";

    struct guard guard = guard_create(sizeof(text));

    (void)state;
    for (size_t n = 0; n < sizeof(text); n++)
        assert_int_equal(json_is_plain(guard_copy(&guard, text, n), n, 512), n == sizeof(text) - 1);
    guard_destroy(&guard);
}

static bool
is_json(const char *text, size_t n)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, FLAGS, &error);
    bool ok = value != NULL;

    json_decref(value);
    return ok;
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
        "2.5,-3e2,null],\"who\":{\"name\":\"J\xc3\xb6rg\",\"note\":\"a\\nb\"},"
        "\"when\":0.25,\"tags\":[\"x\",\"yy\"],\"id2\":{}}";
    size_t n = sizeof(event) - 1;

    memcpy(out, event, n);
    for (int k = rand() % 3; k > 0; k--)
        out[(size_t)rand() % n] = event[(size_t)rand() % n];
    return n;
}

static void
nothing_is_plain_that_jansson_refuses(void **state)
{
    unsigned found = 0;

    (void)state;
    srand(20);
    for (int i = 0; i < 400000; i++) {
        char text[512];
        size_t n = i % 2 == 0 ? make_document(text) : mutate_event(text);

        if (!json_is_plain(text, n, 512))
            continue;
        found++;
        if (!is_json(text, n))
            fail_msg("taken for JSON: %.*s", (int)n, text);
    }
    assert_true(found > 50000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_documents_are_plain),
        cmocka_unit_test(what_needs_a_judge_is_not_plain),
        cmocka_unit_test(nothing_is_read_beyond_the_end),
        cmocka_unit_test(nothing_is_plain_that_jansson_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
