/* ?framing= and ?delimiter=: every form there is, and everything that is none. */
#include "proto/limits.h"

#include "guard.h"

#define MOST 65536 /* max_message_size */

/* NULL: the option is not there. */
static int
parse(const char *framing, const char *delimiter, uint64_t most, struct framing *f,
      char reason[FRAMING_REASON_LEN])
{
    struct url url = {0};
    const char *const given[][2] = {{"framing", framing}, {"delimiter", delimiter}};

    for (size_t i = 0; i < MS_ARRAY_LEN(given); i++)
        if (given[i][1] != NULL)
            url.options[url.option_count++] =
                (struct url_option){.name = (char *)(uintptr_t)given[i][0],
                                    .value = (char *)(uintptr_t)given[i][1],
                                    .len = strlen(given[i][1])};
    return framing_parse(&url, most, f, reason);
}

static void
the_forms_without_a_number_or_delimiter(void **state)
{
    static const struct {
        const char *text;
        enum framing_kind kind;
    } cases[] = {
        {NULL, FRAMING_LENGTH32},
        {"length32", FRAMING_LENGTH32},
        {"delimiter", FRAMING_DELIMITER},
        {"eof", FRAMING_EOF},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char reason[FRAMING_REASON_LEN];
        struct framing f;

        memset(&f, 0xa5, sizeof(f));
        assert_int_equal(parse(cases[i].text, NULL, MOST, &f, reason), 0);
        assert_int_equal(f.kind, cases[i].kind);
        assert_int_equal(f.fixed_len, 0);
        assert_int_equal(f.drop_cr, cases[i].kind == FRAMING_DELIMITER);
    }
}

static void
a_fixed_length_is_within_the_largest_message(void **state)
{
    static const struct {
        const char *text;
        uint64_t most;
        uint32_t len; /* 0: refused */
    } cases[] = {
        {"fixed:1", MOST, 1},
        {"fixed:512", MOST, 512},
        {"fixed:65536", MOST, 65536},
        {"fixed:64K", MOST, 65536},
        {"fixed:65537", MOST, 0},
        {"fixed:0", MOST, 0},
        {"fixed:", MOST, 0},
        {"fixed:-1", MOST, 0},
        {"fixed:1x", MOST, 0},
        {"fixed: 1", MOST, 0},
        {"fixed:4294967295", UINT64_MAX, UINT32_MAX},
        {"fixed:4294967296", UINT64_MAX, 0},
        {"fixed:18446744073709551617", UINT64_MAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct framing f = {.fixed_len = 77};
        char reason[FRAMING_REASON_LEN] = "";
        int rc = parse(cases[i].text, NULL, cases[i].most, &f, reason);

        assert_int_equal(rc, cases[i].len != 0 ? 0 : -1);
        if (rc == 0) {
            assert_int_equal(f.kind, FRAMING_FIXED);
            assert_int_equal(f.fixed_len, cases[i].len);
        } else {
            assert_string_equal(reason, "fixed:N has an N from 1 to max_message_size");
            assert_int_equal(f.fixed_len, 77);
        }
    }
}

static const struct {
    const char *text; /* read both behind "delimiter:" and as a delimiter of its own */
    const char *bytes;
    size_t n;
} delimiters[] = {
    {"\n", "\n", 1},
    {"\\n", "\n", 1},
    {"\\r\\n", "\r\n", 2},
    {"\\0", "\0", 1},
    {"\\0\\0", "\0\0", 2},
    {"\\012", "\n", 1},
    {"\\36\\377", "\x1e\xff", 2},
    {"\\0000\\09", "\0000\0009", 4},
    {"\\x00\\xff", "\0\xff", 2},
    {"\\x0A", "\n", 1},
    {"\\x0a", "\n", 1},
    {"\\x0ab", "\nb", 2}, /* two digits, no more */
    {"\\a\\b\\f\\t\\v", "\a\b\f\t\v", 5},
    {"\\\\", "\\", 1},
    {"\\\\n", "\\n", 2},
    {"\\'\\\"", "'\"", 2},
    {";", ";", 1},
    {":", ":", 1},
    {"END", "END", 3},
    {"12345678123456781234567812345678", "12345678123456781234567812345678", 32},
    {"\\x31\\x32\\x33\\x34\\x35\\x36\\x37\\x38", "12345678", 8},
    {"\xc3\xa4", "\xc3\xa4", 2},
};

static void
expect_delimiter(const struct framing *f, size_t i)
{
    assert_int_equal(f->kind, FRAMING_DELIMITER);
    assert_int_equal(f->delimiter_len, delimiters[i].n);
    assert_memory_equal(f->delimiter, delimiters[i].bytes, delimiters[i].n);
}

static void
a_delimiter_is_written_with_the_escapes_of_c(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(delimiters); i++) {
        char form[80], reason[FRAMING_REASON_LEN];
        struct framing f;

        snprintf(form, sizeof(form), "delimiter:%s", delimiters[i].text);
        assert_int_equal(parse(form, NULL, MOST, &f, reason), 0);
        expect_delimiter(&f, i);
        assert_int_equal(parse("delimiter", delimiters[i].text, MOST, &f, reason), 0);
        expect_delimiter(&f, i);
    }
}

/* As they come out of a URL. */
static void
a_delimiter_can_be_written_in_percent(void **state)
{
    static const struct {
        const char *url, *bytes;
        size_t n; /* 0: refused */
    } cases[] = {
        {"frame://h:1?framing=delimiter&delimiter=%00", "\0", 1},
        {"frame://h:1?framing=delimiter:%00", "\0", 1},
        {"frame://h:1?framing=delimiter&delimiter=%00%0d%0Ax%00", "\0\r\nx\0", 5},
        {"frame://h:1?framing=delimiter&delimiter=%5c0", "\0", 1},
        {"frame://h:1?framing=delimiter&delimiter=%5c%00", "", 0},
        {"frame://h:1?framing=delimiter%00", "", 0},
        {"frame://h:1?framing=length32%00", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        char error[URL_ERROR_LEN], reason[FRAMING_REASON_LEN];
        struct framing f;
        struct url url;

        assert_int_equal(url_parse(cases[i].url, &url, error), 0);
        assert_int_equal(framing_parse(&url, MOST, &f, reason), cases[i].n > 0 ? 0 : -1);
        if (cases[i].n > 0) {
            assert_int_equal(f.delimiter_len, cases[i].n);
            assert_memory_equal(f.delimiter, cases[i].bytes, cases[i].n);
        }
        url_fini(&url);
    }
}

static void
only_a_newline_alone_takes_a_cr_with_it(void **state)
{
    static const struct {
        const char *text;
        bool drop_cr;
    } cases[] = {
        {"\\n", true},     {"\n", true},   {"\\x0a", true}, {"\\r\\n", false},
        {"\\n\\n", false}, {"\\r", false}, {"n", false},    {"\\0", false},
    };
    struct framing f;
    char reason[FRAMING_REASON_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(parse("delimiter", cases[i].text, MOST, &f, reason), 0);
        assert_int_equal(f.drop_cr, cases[i].drop_cr);
    }
}

static void
what_is_no_delimiter_is_refused_with_the_reason(void **state)
{
    static const char length[] = "a delimiter has 1 to 32 bytes";
    static const char escapes[] = "a delimiter has escapes as in C: ";
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", length},
        {"123456781234567812345678123456789", length},
        {"1234567812345678123456781234567\\x38\\x39", length},
        {"\\", escapes},
        {"a\\", escapes},
        {"\\q", escapes},
        {"\\x", escapes},
        {"\\x1", escapes},
        {"\\xg1", escapes},
        {"\\x1g", escapes},
        {"\\X41", escapes},
        {"\\400", escapes},
        {"12345678123456781234567812345678\\", escapes},
        {"\\N", escapes},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct framing f = {.delimiter_len = 99};
        char form[80], reason[FRAMING_REASON_LEN] = "";

        snprintf(form, sizeof(form), "delimiter:%s", cases[i].text);
        assert_int_equal(parse(form, NULL, MOST, &f, reason), -1);
        assert_memory_equal(reason, cases[i].reason, strlen(cases[i].reason));
        assert_int_equal(f.delimiter_len, 99);
    }
}

static void
the_end_of_an_escape_is_not_read_past(void **state)
{
    static const char *const texts[] = {"delimiter:\\", "delimiter:\\x", "delimiter:\\x1"};
    struct guard g = guard_create(64);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(texts); i++) {
        char reason[FRAMING_REASON_LEN];
        struct framing f;
        const char *at = guard_copy(&g, texts[i], strlen(texts[i]) + 1);

        assert_int_equal(parse(at, NULL, MOST, &f, reason), -1);
    }
    guard_destroy(&g);
}

static void
anything_else_is_refused(void **state)
{
    static const char *const texts[] = {"",           "length",     "length32 ",
                                        "LENGTH32",   "length32:4", "fixed",
                                        "delimiters", "eof:",       "lines"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(texts); i++) {
        char reason[FRAMING_REASON_LEN] = "";
        struct framing f;

        assert_int_equal(parse(texts[i], NULL, MOST, &f, reason), -1);
        assert_string_equal(reason, "expected length32, fixed:N, delimiter, delimiter:X or eof");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forms_without_a_number_or_delimiter),
        cmocka_unit_test(a_fixed_length_is_within_the_largest_message),
        cmocka_unit_test(a_delimiter_is_written_with_the_escapes_of_c),
        cmocka_unit_test(a_delimiter_can_be_written_in_percent),
        cmocka_unit_test(only_a_newline_alone_takes_a_cr_with_it),
        cmocka_unit_test(what_is_no_delimiter_is_refused_with_the_reason),
        cmocka_unit_test(the_end_of_an_escape_is_not_read_past),
        cmocka_unit_test(anything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
