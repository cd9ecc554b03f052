/* What the reduced document keeps and drops, and that it never passes where the whole one would not. */
#include "proto/json_reduce.h"

#include "common/base.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)

static void
values_are_emptied_and_all_else_stays(void **state)
{
    static const struct {
        const char *text, *reduced;
    } cases[] = {
        {"\"hello\"", "\"\""},
        {"{\"key\" : \"value\",\"n\":-12345678901234567890}", "{\"key\" : \"\",\"n\":0}"},
        {"[1, 2,\n  3]", "[0, 0, 0]"},
        {"[1.5,1e400,-0,01,-,1x]", "[1.5,1e400,0,01,-,1x]"},
        {"\"a\\nb\"", "\"a\\nb\""},
        {"\"caf\xc3\xa9\"", "\"caf\xc3\xa9\""},
        {"\"tab\there\"", "\"tab\there\""},
        {"\"open", "\"open"},
        {"\"open\\", "\"open\\"},
        {"[true,false,null,nul]", "[true,false,null,nul]"},
        {"{\"a\":1}}", "{\"a\":0}}"},
        {"\"\\\"\\\\\"1", "\"\\\"\\\\\"1"},
        {"", ""},
    };
    char out[256];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        size_t n = json_reduce(cases[i].text, strlen(cases[i].text), out);

        out[n] = '\0';
        assert_string_equal(out, cases[i].reduced);
    }
}

static bool
is_json(const char *text, size_t n, bool *beyond_jansson_out)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, FLAGS, &error);

    *beyond_jansson_out = value == NULL && json_error_code(&error) == json_error_numeric_overflow;
    json_decref(value);
    return value != NULL;
}

/* Documents that are nearly JSON: pieces in random order, then a few bytes changed. */
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
    size_t n = 0;

    for (int k = rand() % 12; k >= 0; k--) {
        const char *piece = pieces[(size_t)rand() % MS_ARRAY_LEN(pieces)];

        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return n;
}

static void
no_fault_is_lost_and_none_is_made(void **state)
{
    unsigned good = 0;

    (void)state;
    srand(20);
    for (int i = 0; i < 400000; i++) {
        char text[512], reduced[512];
        size_t n = make_document(text);
        bool beyond, ignored, whole, less;

        if (i % 3 == 0) {
            memmove(text + 1, text, n);
            text[0] = '[';
            text[n + 1] = ']';
            n += 2;
        }
        whole = is_json(text, n, &beyond);
        less = is_json(reduced, json_reduce(text, n, reduced), &ignored);
        good += whole;
        if (whole != less && !(less && beyond))
            fail_msg("\"%.*s\" is %sJSON and its reduced form is not the same", (int)n, text,
                     whole ? "" : "no ");
    }
    assert_true(good > 10000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_emptied_and_all_else_stays),
        cmocka_unit_test(no_fault_is_lost_and_none_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
