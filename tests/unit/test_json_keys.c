/* Keys of open objects: what escapes mean, and whether keys differ. */
#include "guard.h"

#include "proto/json_keys.h"

#include "common/base.h"

#include <string.h>

#define DOCUMENT_SIZE 256

static void
add(struct json_keys *keys, const char *text)
{
    json_keys_add(keys, text, strlen(text), strchr(text, '\\') != NULL, DOCUMENT_SIZE);
}

static void
escapes_become_what_they_mean(void **state)
{
    static const struct {
        const char *text, *meant;
        size_t n;
    } cases[] = {
        {"plain", "plain", 5},
        {"", "", 0},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8},
        {"a\\u0000b", "a\0b", 3},
        {"\\u007F\\u0080", "\x7f\xc2\x80", 3},
        {"\\u07ff\\u0800\\uFFFF", "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 8},
        {"\\ud800\\udc00\\uDBFF\\uDFFF", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},
    };
    struct json_keys keys;

    (void)state;
    json_keys_init(&keys);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++)
        add(&keys, cases[i].text);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(keys.at[i].len, cases[i].n);
        assert_memory_equal(keys.at[i].at, cases[i].meant, cases[i].n);
    }
    json_keys_fini(&keys);
}

static void
only_the_keys_of_the_innermost_object_are_compared(void **state)
{
    struct json_keys keys;

    (void)state;
    json_keys_init(&keys);
    add(&keys, "a");
    add(&keys, "b");
    add(&keys, "a");
    assert_true(json_keys_differ(&keys, 1));
    assert_true(json_keys_differ(&keys, 2));
    assert_true(json_keys_differ(&keys, 3));
    assert_false(json_keys_differ(&keys, 0));
    json_keys_fini(&keys);
}

static void
two_of_thousands_that_are_the_same_are_found(void **state)
{
    static char names[5000][8];
    struct json_keys keys;

    (void)state;
    json_keys_init(&keys);
    for (size_t i = 0; i < MS_ARRAY_LEN(names); i++) {
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
        add(&keys, names[i]);
    }
    assert_true(json_keys_differ(&keys, 0));
    add(&keys, "\\u006b7");
    assert_false(json_keys_differ(&keys, 0));
    json_keys_fini(&keys);
}

static void
four_hexadecimal_digits_are_a_number(void **state)
{
    (void)state;
    assert_int_equal(json_hex4("0000"), 0);
    assert_int_equal(json_hex4("09aF"), 0x9af);
    assert_int_equal(json_hex4("FfFf"), 0xffff);
    assert_int_equal(json_hex4("00g0"), -1);
    assert_int_equal(json_hex4("000\""), -1);
    assert_int_equal(json_hex4("\x10\x11\x12\x13"), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_become_what_they_mean),
        cmocka_unit_test(only_the_keys_of_the_innermost_object_are_compared),
        cmocka_unit_test(two_of_thousands_that_are_the_same_are_found),
        cmocka_unit_test(four_hexadecimal_digits_are_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
