#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handler/journal/journal.h"

#include <string.h>

static unsigned char random_byte;
static unsigned random_calls;

static void
fixed_random(void *out, size_t n)
{
    memset(out, random_byte, n);
    random_calls++;
}

static void
make(struct ulid_source *source, uint64_t real_us, char out[ULID_LEN + 1])
{
    ulid_next(source, real_us, out);
    out[ULID_LEN] = '\0';
}

static void
the_time_and_the_random_bits_stand_where_the_format_wants_them(void **state)
{
    struct ulid_source source;
    char id[ULID_LEN + 1];

    (void)state;
    ulid_init(&source);
    source.random = fixed_random;
    random_byte = 0;
    make(&source, UINT64_C(1469918176385000), id); /* the example of the ULID specification */
    assert_string_equal(id, "01ARYZ6S410000000000000000");
    make(&source, UINT64_C(1469918176385999), id);
    assert_string_equal(id, "01ARYZ6S410000000000000001");
    random_byte = 0xff;
    source.pool_left = 0;
    make(&source, UINT64_C(1469918176386000), id);
    assert_string_equal(id, "01ARYZ6S42ZZZZZZZZZZZZZZZZ");
}

static void
the_largest_time_fits(void **state)
{
    struct ulid_source source;
    char id[ULID_LEN + 1];

    (void)state;
    ulid_init(&source);
    source.random = fixed_random;
    random_byte = 0xff;
    make(&source, ((UINT64_C(1) << 48) - 1) * 1000, id);
    assert_string_equal(id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

static void
ids_rise_within_a_millisecond_and_when_the_clock_is_set_back(void **state)
{
    struct ulid_source source;
    char last[ULID_LEN + 1], id[ULID_LEN + 1];
    uint64_t now = UINT64_C(1700000000000000);

    (void)state;
    ulid_init(&source);
    make(&source, now, last);
    for (unsigned i = 0; i < 100000; i++) {
        if (i == 50000)
            now -= 10000000;
        now += i % 7 == 0;
        make(&source, now, id);
        assert_true(strcmp(last, id) < 0);
        memcpy(last, id, sizeof(last));
    }
}

static void
a_carry_goes_through_all_random_bits(void **state)
{
    struct ulid_source source;
    char id[ULID_LEN + 1];

    (void)state;
    ulid_init(&source);
    source.random = fixed_random;
    random_byte = 0;
    make(&source, 5000, id);
    source.low = UINT64_MAX;
    make(&source, 5000, id);
    assert_string_equal(id, "0000000005000G000000000000"); /* bit 64 */
    source.high = 0xffff;
    source.low = UINT64_MAX;
    make(&source, 5000, id);
    assert_string_equal(id, "00000000060000000000000000"); /* the next millisecond, early */
    make(&source, 5000, id);
    assert_string_equal(id, "00000000060000000000000001");
}

static void
random_bytes_are_fetched_many_at_a_time(void **state)
{
    struct ulid_source source;
    char id[ULID_LEN + 1];

    (void)state;
    ulid_init(&source);
    source.random = fixed_random;
    random_calls = 0;
    for (uint64_t ms = 1; ms <= 300; ms++)
        make(&source, ms * 1000, id);
    assert_int_equal(random_calls, 3);
}

/* Another worker may begin after the same id, so they must not go on alike. */
static void
a_source_begins_after_an_id_that_was_there(void **state)
{
    static const char there[] = "01HF7YAT31ZZZZZZZZZZZZZZZZ";
    struct ulid_source one, other;
    char id[ULID_LEN + 1], second[ULID_LEN + 1];

    (void)state;
    ulid_init(&one);
    ulid_init(&other);
    ulid_begin_after(&one, there);
    ulid_begin_after(&other, there);
    make(&one, 5000, id);
    make(&other, 5000, second);
    assert_true(strcmp(there, id) < 0 && strcmp(there, second) < 0);
    assert_memory_equal(id, "01HF7YAT32", 10);
    assert_string_not_equal(id, second);
    ulid_begin_after(&one, "01ARYZ6S410000000000000000"); /* of long ago */
    make(&one, 5000, second);
    assert_true(strcmp(id, second) < 0);
    make(&one, UINT64_C(1800000000000000), id); /* the clock has caught up */
    assert_true(strcmp(second, id) < 0);
    assert_memory_equal(id, "01MCC5RM00", 10);
}

/* Whoever put it there, it was no clock. */
static void
a_time_that_never_comes_is_not_gone_on_from(void **state)
{
    struct ulid_source source;
    char id[ULID_LEN + 1];

    (void)state;
    ulid_init(&source);
    ulid_begin_after(&source, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    ulid_begin_after(&source, "ZZZZZZZZZZZZZZZZZZZZZZZZZZ");
    make(&source, UINT64_C(1800000000000000), id);
    assert_memory_equal(id, "01MCC5RM00", 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_and_the_random_bits_stand_where_the_format_wants_them),
        cmocka_unit_test(the_largest_time_fits),
        cmocka_unit_test(ids_rise_within_a_millisecond_and_when_the_clock_is_set_back),
        cmocka_unit_test(a_carry_goes_through_all_random_bits),
        cmocka_unit_test(random_bytes_are_fetched_many_at_a_time),
        cmocka_unit_test(a_source_begins_after_an_id_that_was_there),
        cmocka_unit_test(a_time_that_never_comes_is_not_gone_on_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
