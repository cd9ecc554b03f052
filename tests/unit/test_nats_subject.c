/* Subjects from templates, what a stream has to take, and values of headers. */
#include "common/text.h"
#include "nats/publisher.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct subject_values values = {.listener = "msp://127.0.0.1:8000",
                                             .kind = "plain",
                                             .proto = "msp",
                                             .identity = "",
                                             .id = "a b.c",
                                             .id_len = 5};

static void
a_template_becomes_one_subject(void **state)
{
    static const struct {
        const char *template, *subject, *wildcard;
    } cases[] = {
        {"in", "in", "in"},
        {"in.{kind}", "in.plain", "in.*"},
        {"in.{listener}.{kind}", "in.msp://127%2E0%2E0%2E1:8000.plain", "in.*.*"},
        {"{proto}-{kind}.x", "msp-plain.x", "*.x"},
        {"a.{id}.{identity}", "a.a%20b%2Ec.-", "a.*.*"},
    };
    char out[SUBJECT_MAX];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_null(subject_check(cases[i].template));
        assert_int_equal(subject_format(cases[i].template, &values, out), 0);
        assert_string_equal(out, cases[i].subject);
        subject_wildcard(cases[i].template, out);
        assert_string_equal(out, cases[i].wildcard);
        assert_true(subject_covers(out, cases[i].subject));
    }
}

static void
templates_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {"",         ".",         "a..b",     "a.",      ".a",   "a b",
                                      "a.*",      "a.>",       "a.{foo}",  "a.{kind", "a}",   "a\n",
                                      "\xC3\xA4", "$JS.API.x", "_INBOX.x", "{kind}.", "a.{}b"};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++)
        if (subject_check(bad[i]) == NULL)
            fail_msg("\"%s\" was taken", bad[i]);
}

/* Whatever the bytes are, the value is one token, and no two values are the same. */
static void
any_bytes_of_an_id_are_one_token(void **state)
{
    char seen[257][SUBJECT_MAX], byte;
    size_t n = 0;

    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        struct subject_values v = values;

        byte = (char)i;
        v.id = &byte;
        v.id_len = 1;
        assert_int_equal(subject_format("{id}", &v, seen[n]), 0);
        assert_null(strpbrk(seen[n], ".*> \r\n\t"));
        assert_true(strlen(seen[n]) > 0);
        for (size_t k = 0; k < n; k++)
            assert_string_not_equal(seen[k], seen[n]);
        n++;
    }
}

static void
an_empty_value_is_not_the_same_as_a_hyphen(void **state)
{
    struct subject_values v = values;
    char out[SUBJECT_MAX];

    (void)state;
    v.id_len = 0;
    assert_int_equal(subject_format("x.{id}", &v, out), 0);
    assert_string_equal(out, "x.-");
    v.id = "-";
    v.id_len = 1;
    assert_int_equal(subject_format("x.{id}", &v, out), 0);
    assert_string_equal(out, "x.%2D");
}

static void
a_subject_that_is_too_long_is_refused(void **state)
{
    static char id[SUBJECT_MAX];
    struct subject_values v = values;
    char out[SUBJECT_MAX];

    (void)state;
    memset(id, '.', sizeof(id));
    v.id = id;
    v.id_len = (SUBJECT_MAX - 1 - 2) / 3;
    assert_int_equal(subject_format("x.{id}", &v, out), 0);
    v.id_len++;
    assert_int_equal(subject_format("x.{id}", &v, out), -1);
    v.id_len = sizeof(id);
    assert_int_equal(subject_format("x.{id}", &v, out), -1);
}

static void
a_pattern_covers_what_the_servers_say_it_does(void **state)
{
    static const struct {
        const char *pattern, *subject;
        bool covers;
    } cases[] = {
        {"a", "a", true},           {"a", "b", false},
        {"a.b", "a", false},        {"a", "a.b", false},
        {"*", "a", true},           {"*", "*", true},
        {"a", "*", false},          {">", "a.b.c", true},
        {">", "*.*", true},         {"a.>", "a", false},
        {"a.>", "a.*", true},       {"a.>", "a.b.c", true},
        {"a.*", "a.>", false},      {"*.*", "a.b", true},
        {"*.*", "a.b.c", false},    {"in.*.x", "in.*.*", false},
        {"in.*.*", "in.*.x", true}, {"ab", "a", false},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        if (subject_covers(cases[i].pattern, cases[i].subject) != cases[i].covers)
            fail_msg("%s and %s", cases[i].pattern, cases[i].subject);
}

static void
a_header_holds_no_byte_that_could_end_it(void **state)
{
    struct buffer out;
    char all[256];

    (void)state;
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    buffer_init(&out);
    header_escape(&out, all, sizeof(all));
    for (size_t i = 0; i < out.len; i++)
        assert_in_range(buffer_bytes(&out)[i], ' ', '~');
    buffer_clear(&out);
    header_escape(&out, " a b%\r\nX: y ", 12);
    assert_string_equal(buffer_cstr(&out), "%20a b%25%0D%0AX: y%20");
    buffer_fini(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_becomes_one_subject),
        cmocka_unit_test(templates_that_are_none_are_refused),
        cmocka_unit_test(any_bytes_of_an_id_are_one_token),
        cmocka_unit_test(an_empty_value_is_not_the_same_as_a_hyphen),
        cmocka_unit_test(a_subject_that_is_too_long_is_refused),
        cmocka_unit_test(a_pattern_covers_what_the_servers_say_it_does),
        cmocka_unit_test(a_header_holds_no_byte_that_could_end_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
