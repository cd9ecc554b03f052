/* Escaping, UTF-8, JSON strings, base64, sizes and durations. */
#include "common/text.h"

#include "guard.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void
control_bytes_and_backslashes_are_escaped(void **state)
{
    char out[64];

    (void)state;
    assert_int_equal(text_escape("a\n\\\x7f\xc3\x1b[0m", 9, out, sizeof(out)), 24);
    assert_string_equal(out, "a\\x0A\\x5C\\x7F\\xC3\\x1B[0m");
    assert_int_equal(text_escape("\0", 1, out, sizeof(out)), 4);
    assert_string_equal(out, "\\x00");
    assert_int_equal(text_escape("", 0, out, sizeof(out)), 0);
    assert_string_equal(out, "");
}

static void
an_escape_is_never_cut(void **state)
{
    char out[32];

    (void)state;
    for (size_t size = 1; size < sizeof(out); size++) {
        size_t n = text_escape("ab\n\n\nc", 6, out, size);

        assert_int_equal(strlen(out), n);
        assert_true(n < size);
        assert_memory_equal(out, "ab\\x0A\\x0A\\x0Ac", n);
        assert_true(n <= 2 || n == 15 || (n - 2) % 4 == 0);
    }
}

static void
utf8_is_what_rfc_3629_says(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain ascii, longer than eight bytes", true},
        {"\xc3\xa4", true},
        {"12345678\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\x80", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xed\xbf\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xc3", false},
        {"\xc3(", false},
        {"\xe2\x82", false},
        {"\xe2\x82(", false},
        {"\xf0\x9f\x98", false},
        {"1234567\xf0\x9f\x98", false},
        {"12345678\xfe", false},
    };
    struct guard g = guard_create(64);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i].text);

        assert_int_equal(text_is_utf8(guard_copy(&g, cases[i].text, n), n), cases[i].valid);
    }
    assert_true(text_is_utf8("a\0b", 3));
    guard_destroy(&g);
}

static void
json_strings_are_escaped_where_they_must(void **state)
{
    struct buffer b;

    (void)state;
    buffer_init(&b);
    text_json_string(&b, "", 0);
    text_json_string(&b, "a\"b\\c/\b\f\n\r\t\x01\x1f\x7f\xc3\xa4", 16);
    text_json_string(&b, "\0", 1);
    assert_string_equal(
        buffer_cstr(&b),
        "\"\"\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001F\\u007F\xc3\xa4\"\"\\u0000\"");
    buffer_fini(&b);
}

/* Characters at which somebody ends a line, and control characters; and their neighbours. */
static const char *const line_ends[][2] = {
    {"a\xc2\x85z", "a\\u0085z"},
    {"\xe2\x80\xa8", "\\u2028"},
    {"\xe2\x80\xa9\xe2\x80\xa8!", "\\u2029\\u2028!"},
    {"\xc2\x80\xc2\x9f", "\\u0080\\u009F"},
    {"\x0b\x0c\x1c\x1d\x1e", "\\u000B\\f\\u001C\\u001D\\u001E"},
    {"\x7f", "\\u007F"},
    {"\xc2\xa0\xc2\xbf", "\xc2\xa0\xc2\xbf"},
    {"\xe2\x80\xa7\xe2\x80\xaa", "\xe2\x80\xa7\xe2\x80\xaa"},
    {"\xe2\x81\xa8\xe2\x82\xac", "\xe2\x81\xa8\xe2\x82\xac"},
    {"\xc3\x85\xe3\x80\xa8\xf0\x9f\x80\xa8", "\xc3\x85\xe3\x80\xa8\xf0\x9f\x80\xa8"},
};

static void
nothing_in_a_json_string_looks_like_the_end_of_a_line(void **state)
{
    struct guard g = guard_create(64);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(line_ends); i++) {
        size_t n = strlen(line_ends[i][0]);
        struct buffer b;

        buffer_init(&b);
        text_json_string(&b, guard_copy(&g, line_ends[i][0], n), n);
        buffer_consume(&b, 1);
        buffer_unappend(&b, 1);
        assert_string_equal(buffer_cstr(&b), line_ends[i][1]);
        buffer_fini(&b);
    }
    guard_destroy(&g);
}

static void
a_json_document_that_is_printed_has_none_either(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(line_ends); i++) {
        json_t *text = json_string(line_ends[i][0]), *read;
        char *printed = NULL;
        size_t n = 0;
        FILE *file = open_memstream(&printed, &n);

        assert_non_null(text);
        assert_int_equal(json_dump_callback(text, text_json_write, file, JSON_ENCODE_ANY), 0);
        fclose(file);
        assert_int_equal(n, strlen(line_ends[i][1]) + 2);
        assert_memory_equal(printed + 1, line_ends[i][1], n - 2);
        read = json_loadb(printed, n, JSON_DECODE_ANY, NULL);
        assert_true(json_equal(text, read));
        json_decref(read);
        json_decref(text);
        free(printed);
    }
}

static void
base64_is_that_of_rfc_4648(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xfe\xfd", "//79"},
    };
    struct guard g = guard_create(8);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i][0]);
        struct buffer b;

        buffer_init(&b);
        text_base64(&b, guard_copy(&g, cases[i][0], n), n);
        assert_string_equal(buffer_cstr(&b), cases[i][1]);
        buffer_fini(&b);
    }
    guard_destroy(&g);
}

static void
bytes_have_the_unit_that_fits(void **state)
{
    static const struct {
        double bytes;
        const char *text;
    } cases[] = {{0, "0 B"},        {1023, "1023 B"},     {1024, "1.0 KiB"},
                 {1536, "1.5 KiB"}, {1048576, "1.0 MiB"}, {(double)UINT64_MAX, "16.0 EiB"}};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char text[TEXT_BYTES_LEN];

        assert_string_equal(text_bytes(cases[i].bytes, text), cases[i].text);
    }
}

struct number_case {
    const char *text;
    int error;
    uint64_t value;
};

static void
check_numbers(const struct number_case *cases, size_t count, int (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 4711;
        int rc = parse(cases[i].text, &value);

        if (cases[i].error == 0 ? rc != 0 || value != cases[i].value
                                : rc != -1 || errno != cases[i].error || value != 4711)
            fail_msg("\"%s\": %d, %llu", cases[i].text, rc, (unsigned long long)value);
    }
}

static void
sizes_have_units_of_1024(void **state)
{
    static const struct number_case cases[] = {
        {"0", 0, 0},
        {"64", 0, 64},
        {"64B", 0, 64},
        {"64K", 0, 65536},
        {"64k", 0, 65536},
        {"64KB", 0, 65536},
        {"64KiB", 0, 65536},
        {"1M", 0, 1 << 20},
        {"4G", 0, UINT64_C(4) << 30},
        {"16777215T", 0, UINT64_C(16777215) << 40},
        {"16777216T", ERANGE, 0},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", ERANGE, 0},
        {"99999999999999999999999", ERANGE, 0},
        {"", EINVAL, 0},
        {"K", EINVAL, 0},
        {"-1", EINVAL, 0},
        {"+1", EINVAL, 0},
        {" 1", EINVAL, 0},
        {"1 ", EINVAL, 0},
        {"1Ki", EINVAL, 0},
        {"1KBB", EINVAL, 0},
        {"1iB", EINVAL, 0},
        {"1.5K", EINVAL, 0},
        {"1X", EINVAL, 0},
    };

    (void)state;
    check_numbers(cases, MS_ARRAY_LEN(cases), text_parse_size);
}

static void
durations_have_units_and_fractions(void **state)
{
    static const struct number_case cases[] = {
        {"2", 0, 2000000},
        {"2s", 0, 2000000},
        {"500ms", 0, 500000},
        {"250us", 0, 250},
        {"5m", 0, 300000000},
        {"1h", 0, 3600000000},
        {"1d", 0, 86400000000},
        {"1.5s", 0, 1500000},
        {"0.25", 0, 250000},
        {"1.000001s", 0, 1000001},
        {"0.99999999999999999999d", 0, 86399999136},
        {"0", 0, 0},
        {"213503982d", 0, UINT64_C(213503982) * 86400000000},
        {"213503983d", ERANGE, 0},
        {"213503982.99999999d", ERANGE, 0},
        {"99999999999999999999", ERANGE, 0},
        {"", EINVAL, 0},
        {"s", EINVAL, 0},
        {".5s", EINVAL, 0},
        {"1.s", EINVAL, 0},
        {"1..5s", EINVAL, 0},
        {"-1s", EINVAL, 0},
        {"1 s", EINVAL, 0},
        {"1S", EINVAL, 0},
        {"1ss", EINVAL, 0},
    };

    (void)state;
    check_numbers(cases, MS_ARRAY_LEN(cases), text_parse_duration);
}

static int
parse_between_5_and_100(const char *s, uint64_t *out)
{
    return text_parse_number(s, 5, 100, out);
}

static void
numbers_are_whole_and_within_their_bounds(void **state)
{
    static const struct number_case cases[] = {
        {"5", 0, 5},
        {"100", 0, 100},
        {"007", 0, 7},
        {"4", ERANGE, 0},
        {"101", ERANGE, 0},
        {"5x", EINVAL, 0},
        {"0x10", EINVAL, 0},
        {"", EINVAL, 0},
        {"-5", EINVAL, 0},
        {"5.0", EINVAL, 0},
        {"18446744073709551621", ERANGE, 0},
    };
    uint64_t value;

    (void)state;
    check_numbers(cases, MS_ARRAY_LEN(cases), parse_between_5_and_100);
    assert_int_equal(text_parse_number("18446744073709551615", 0, UINT64_MAX, &value), 0);
    assert_true(value == UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_bytes_and_backslashes_are_escaped),
        cmocka_unit_test(an_escape_is_never_cut),
        cmocka_unit_test(utf8_is_what_rfc_3629_says),
        cmocka_unit_test(json_strings_are_escaped_where_they_must),
        cmocka_unit_test(nothing_in_a_json_string_looks_like_the_end_of_a_line),
        cmocka_unit_test(a_json_document_that_is_printed_has_none_either),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(bytes_have_the_unit_that_fits),
        cmocka_unit_test(sizes_have_units_of_1024),
        cmocka_unit_test(durations_have_units_and_fractions),
        cmocka_unit_test(numbers_are_whole_and_within_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
