/* The clocks, and times as text. */
#include "common/base.h"

#include "guard.h"

#include <time.h>

static void
times_are_written_as_rfc_3339_with_microseconds(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {999999, "1970-01-01T00:00:00.999999Z"},
        {951782399999999, "2000-02-28T23:59:59.999999Z"},
        {951782400000000, "2000-02-29T00:00:00.000000Z"},
        {1795256672123456, "2026-11-21T10:24:32.123456Z"},
        {253402300799999999, "9999-12-31T23:59:59.999999Z"},
    };
    char text[CLOCK_RFC3339_LEN];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        assert_int_equal(clock_format(cases[i].us, text), 27);
        assert_string_equal(text, cases[i].text);
    }
}

static void
the_time_zone_does_not_matter(void **state)
{
    char text[CLOCK_RFC3339_LEN];

    (void)state;
    setenv("TZ", "Asia/Kathmandu", 1);
    tzset();
    clock_format(1500000, text);
    assert_string_equal(text, "1970-01-01T00:00:01.500000Z");
    unsetenv("TZ");
    tzset();
}

static void
the_monotonic_clock_never_goes_back(void **state)
{
    uint64_t before = clock_mono_us();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_mono_us();

        assert_true(now >= before);
        before = now;
    }
}

static void
the_real_clock_counts_microseconds_since_1970(void **state)
{
    uint64_t low = (uint64_t)time(NULL) * 1000000, us = clock_real_us();
    uint64_t high = ((uint64_t)time(NULL) + 2) * 1000000;

    (void)state;
    assert_in_range(us, low - 1000000, high); /* time(2) may be a tick behind */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written_as_rfc_3339_with_microseconds),
        cmocka_unit_test(the_time_zone_does_not_matter),
        cmocka_unit_test(the_monotonic_clock_never_goes_back),
        cmocka_unit_test(the_real_clock_counts_microseconds_since_1970),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
