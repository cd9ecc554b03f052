/* JSON as docs/protocol.md 1.3 wants it. */
#include "proto/json_check.h"

#include "common/buffer.h"
#include "guard.h"

#include <jansson.h>
#include <sys/resource.h>

static struct guard guard;

static int
set_up(void **state)
{
    (void)state;
    json_seed();
    guard = guard_create(1 << 16);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    guard_destroy(&guard);
    return 0;
}

static bool
check(const char *text, size_t n, unsigned depth, char error[JSON_ERROR_LEN])
{
    return json_check(guard_copy(&guard, text, n), n, depth, error);
}

static void
what_rfc_8259_allows_is_taken(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "1.5e-7",
        "true",
        "null",
        "\"\"",
        "[]",
        "{}",
        " [ 1 , 2 ]\r\n\t",
        "{\"a\":{\"b\":[true,false,null]}}",
        "\"\\u0000\"",
        "{\"\":1}",
        "1e-400",
        "\"\\ud83d\\ude00\"",
        "\"\xf0\x9f\x98\x80\"",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890123456789012345678901234567890",
        "[1,-99999999999999999999,{\"n\":99999999999999999999}]",
        "99999999999999999999.5",
        "12345678901234567890e5",
        "[\"99999999999999999999\",99999999999999999999]",
        "[\"\\\"\",99999999999999999999,\"\\\\\"]",
        "{\"\\u0000\":1}",
        "{\"a\\u0000b\":1,\"a\\u0000c\":1}",
        "{\"\\u0000\":1,\"\\\\u0000\":2,\"u0000\":3}",
        "{\"\\u0000\":1,\"\\ue000\":2,\"\\uE001\":3,\"\xee\x80\x82\":4}",
        "{\"\\u0000\":99999999999999999999}",
        "[99999999999999999999,{\"\\u0000\":0}]",
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(good); i++)
        if (!check(good[i], strlen(good[i]), 512, error))
            fail_msg("refused: %s: %s", good[i], error);
}

static void
what_is_no_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "[",
        "]",
        "{",
        "[1",
        "[1,]",
        "{\"a\":}",
        "{a:1}",
        "'a'",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "[1] x",
        "[1][2]",
        "1 2",
        "\"a",
        "\"\\x\"",
        "\"\n\"",
        "\"\x01\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf[]",
        "{\"a\":1,\"a\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"b\":[{\"a\":1,\"a\":2}]}",
        "1e400",
        "-1e400",
        "[1.0e999999999999999999999]",
        "[1e400,99999999999999999999]",
        "[99999999999999999999,1e400]",
        "1.5e12345678901234567890",
        "012345678901234567890",
        "--12345678901234567890",
        "-012345678901234567890",
        "12345678901234567890 1",
        "12345678901234567890-1",
        "12345678901234567890x",
        "[12345678901234567890",
        "true12345678901234567890",
        "{12345678901234567890:1}",
        "{\"\\u0000\":1,\"\\u0000\":2}",
        "{\"\\u0000\":1,\"\\u0000\":99999999999999999999}",
        "{\"\\u0000\":1",
        "{\"\\u0000\":\\u0000}",
        "\"\\ud800\"",
        "\"\\u00",
        "\"\\",
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        error[0] = '\0';
        if (check(bad[i], strlen(bad[i]), 512, error))
            fail_msg("taken: %s", bad[i]);
        assert_memory_equal(error, "line ", 5);
        assert_non_null(strstr(error, " column "));
        assert_true(strlen(error) < JSON_ERROR_LEN);
    }
    assert_false(check("1\0", 2, 512, error));
    assert_string_equal(error, "line 1 column 2: a NUL byte");
    assert_false(check("[\n1]\0 garbage", 13, 512, error));
    assert_false(check("\"\0\"", 3, 512, error));
    assert_false(check("[\0]", 3, 512, error));
    assert_false(check("\0", 1, 512, error));
}

static void
every_beginning_of_a_document_is_refused(void **state)
{
    const char *text =
        "{\"a\\u0000\":[1.5e3,\"\\ud83d\\ude00\",99999999999999999999],\"b\":\"\xc3\xa4\"}";
    size_t n = strlen(text);
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t cut = 0; cut < n; cut++)
        assert_false(check(text, cut, 512, error));
    assert_true(check(text, n, 512, error));
}

static void
the_error_says_line_column_and_reason(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[1,\n 2,\n  x]", "line 3 column 3: invalid token near 'x'"},
        {"{\"a\":1,\"a\":2}", "line 1 column 10: duplicate object key near '\"a\"'"},
        {"[1e400]", "line 1 column 6: real number overflow near '1e400'"},
        {"[99999999999999999999, x]", "line 1 column 24: invalid token"},
        {"{\"\\u0000\":1,\"\\u0000\":2}", "line 1 column 20: duplicate object key"},
        {"{\"\\u0061\":1,\"a\":2}", "line 1 column 15: duplicate object key near '\"a\"'"},
        {"[\"\\x\"]", "line 1 column 4: invalid escape near '\"\\x'"},
        {"", "line 1 column 1: the document is empty"},
        {"[\"a\x1b[2J\"]", "line 1 column 3: control character 0x1b near '\"a'"},
        {"\x1b[2J", "line 1 column 1: invalid token near '\x1b'"},
    };
    char error[JSON_ERROR_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_false(check(cases[i].text, strlen(cases[i].text), 512, error));
        assert_string_equal(error, cases[i].error);
    }
}

/* opener depth times, a value, and the closers. */
static void
nested(struct buffer *b, unsigned depth)
{
    buffer_clear(b);
    for (unsigned i = 0; i < depth; i++)
        buffer_append_str(b, i % 2 == 0 ? "[" : "{\"k\":");
    buffer_append_str(b, "1");
    for (unsigned i = depth; i-- > 0;)
        buffer_append_str(b, i % 2 == 0 ? "]" : "}");
}

static void
nesting_is_allowed_to_the_limit_and_no_further(void **state)
{
    static const unsigned limits[] = {1, 2, 63, 64, 65, 512, JSON_DEPTH_MAX_LIMIT};
    struct buffer b;
    char error[JSON_ERROR_LEN], reason[64];

    (void)state;
    buffer_init(&b);
    for (size_t i = 0; i < MS_ARRAY_LEN(limits); i++) {
        nested(&b, limits[i]);
        assert_true(check(buffer_bytes(&b), b.len, limits[i], error));
        nested(&b, limits[i] + 1);
        assert_false(check(buffer_bytes(&b), b.len, limits[i], error));
        snprintf(reason, sizeof(reason), "nested deeper than %u levels", limits[i]);
        assert_non_null(strstr(error, reason));
    }
    nested(&b, JSON_DEPTH_MAX_LIMIT + 1);
    assert_false(check(buffer_bytes(&b), b.len, 1000000, error));
    buffer_fini(&b);
}

static void
brackets_in_strings_and_side_by_side_do_not_nest(void **state)
{
    char error[JSON_ERROR_LEN];

    (void)state;
    assert_true(check("[\"[[[[\\\"[[\",\"{{{{\\\\\"]", 21, 1, error));
    assert_true(check("[[],[],[],[],{},{}]", 19, 2, error));
    assert_true(check("7", 1, 0, error));
    assert_false(check("[]", 2, 0, error));
    assert_false(check("[\n\"\xc3\xa4\",[[]]]", 12, 2, error));
    assert_string_equal(error, "line 2 column 6: nested deeper than 2 levels");
}

static void
a_megabyte_of_brackets_is_refused_by_its_depth(void **state)
{
    size_t n = 1 << 20;
    char *text = malloc(n), error[JSON_ERROR_LEN];

    (void)state;
    memset(text, '[', n);
    assert_false(json_check(text, n, 512, error));
    assert_string_equal(error, "line 1 column 513: nested deeper than 512 levels");
    free(text);
}

/* More than the block for small documents holds, with what jansson does not take. */
static void
a_large_document_is_checked_as_well(void **state)
{
    struct buffer b;
    char error[JSON_ERROR_LEN];

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "[");
    for (int i = 0; i < 5000; i++)
        buffer_printf(&b, "{\"key%d\":[%d,\"a longer text, to need memory\"]},\n", i, i);
    buffer_append_str(&b, "{\"\\u0000\":99999999999999999999}]");
    for (int round = 0; round < 3; round++)
        assert_true(json_check(buffer_bytes(&b), b.len, 512, error));
    buffer_append_str(&b, "]");
    assert_false(json_check(buffer_bytes(&b), b.len, 512, error));
    assert_memory_equal(error, "line 5001 ", 10);
    buffer_fini(&b);
}

static void
a_stand_in_for_nul_is_found_beside_all_of_private_use(void **state)
{
    struct buffer b;
    char error[JSON_ERROR_LEN];

    (void)state;
    buffer_init(&b);
    buffer_append_str(&b, "{\"\\u0000\":0");
    for (unsigned c = 0xe000; c <= 0xf8ff; c++)
        buffer_printf(&b, c % 2 == 0 ? ",\"\\u%04x\":1" : ",\"\\u%04X\":1", c);
    buffer_append_str(&b, "}");
    assert_true(json_check(buffer_bytes(&b), b.len, 512, error));
    buffer_unappend(&b, 1);
    buffer_append_str(&b, ",\n\"\\ue777\":2}");
    assert_false(json_check(buffer_bytes(&b), b.len, 512, error));
    assert_string_equal(error, "line 2 column 8: duplicate object key");
    buffer_fini(&b);
}

/* So many that jansson would need hundreds of megabytes for them. */
static void
a_document_of_millions_of_values_is_judged_in_little_memory(void **state)
{
    struct rusage before, after;
    struct buffer b;
    char error[JSON_ERROR_LEN];

    (void)state;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    buffer_init(&b);
    buffer_append_str(&b, "[\n");
    for (int i = 0; i < 2000000; i++)
        buffer_append(&b, "{},", 3);
    buffer_append_str(&b, "\"\\u0041\"]");
    assert_true(json_check(buffer_bytes(&b), b.len, 512, error));
    buffer_append_str(&b, "]");
    assert_false(json_check(buffer_bytes(&b), b.len, 512, error));
    assert_string_equal(error, "line 2 column 6000010: no JSON from here on");
    buffer_unappend(&b, 2);
    buffer_append_str(&b, ",{\"a\":1,\"\\u0061\":2}]");
    assert_false(json_check(buffer_bytes(&b), b.len, 512, error));
    assert_string_equal(error, "line 2 column 6000027: the object that ends here has a key twice");
    buffer_fini(&b);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < 100 << 10); /* KiB */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_is_taken),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(every_beginning_of_a_document_is_refused),
        cmocka_unit_test(the_error_says_line_column_and_reason),
        cmocka_unit_test(nesting_is_allowed_to_the_limit_and_no_further),
        cmocka_unit_test(brackets_in_strings_and_side_by_side_do_not_nest),
        cmocka_unit_test(a_megabyte_of_brackets_is_refused_by_its_depth),
        cmocka_unit_test(a_large_document_is_checked_as_well),
        cmocka_unit_test(a_stand_in_for_nul_is_found_beside_all_of_private_use),
        cmocka_unit_test(a_document_of_millions_of_values_is_judged_in_little_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
