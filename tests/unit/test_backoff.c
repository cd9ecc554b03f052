/* The waits between attempts, as numbers. */
#include "common/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
waits_double_up_to_their_limit(void **state)
{
    static const uint64_t ms[] = {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000};

    (void)state;
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(backoff_us(50, 5000, i, 0), ms[i] * 1000);
    assert_int_equal(backoff_us(50, 5000, 4000000000u, 0), 5000000);
}

static void
at_most_half_of_a_wait_is_left_out(void **state)
{
    uint64_t before = UINT64_MAX;

    (void)state;
    for (uint64_t random = 0; random <= UINT32_MAX; random += 65537) {
        uint64_t us = backoff_us(50, 5000, 3, (uint32_t)random);

        assert_in_range(us, 200000, 400000);
        assert_true(us <= before);
        before = us;
    }
    assert_in_range(before, 200000, 200010);
}

static void
extreme_numbers_do_not_overflow(void **state)
{
    uint64_t most = (uint64_t)UINT32_MAX * 1000;

    (void)state;
    assert_int_equal(backoff_us(UINT32_MAX, UINT32_MAX, 40, 0), most);
    assert_in_range(backoff_us(UINT32_MAX, UINT32_MAX, 40, UINT32_MAX), most / 2, most * 51 / 100);
    assert_int_equal(backoff_us(0, 5000, 9, 77), 0);
    assert_int_equal(backoff_us(50, 0, 9, 77), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_their_limit),
        cmocka_unit_test(at_most_half_of_a_wait_is_left_out),
        cmocka_unit_test(extreme_numbers_do_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
