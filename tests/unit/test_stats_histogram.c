/* Buckets and percentiles of durations. */
#include "stats/stats_layout.h"

#include "common/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
buckets_are_exact_below_sixteen(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 16; us++) {
        assert_int_equal(stats_histogram_index(us), us);
        assert_int_equal(stats_histogram_value((unsigned)us), us);
    }
}

static void
buckets_rise_without_a_gap(void **state)
{
    (void)state;
    assert_int_equal(stats_histogram_low(0), 0);
    for (unsigned i = 1; i < STATS_HISTOGRAM; i++) {
        uint64_t low = stats_histogram_low(i);

        assert_true(low > stats_histogram_low(i - 1));
        assert_int_equal(stats_histogram_index(low), i);
        assert_int_equal(stats_histogram_index(low - 1), i - 1);
    }
}

static void
every_value_lies_in_a_bucket_no_wider_than_a_sixteenth_of_it(void **state)
{
    (void)state;
    for (uint64_t us = 16; us < (uint64_t)1 << 31; us += 1 + us / 97) {
        unsigned i = stats_histogram_index(us);
        uint64_t value = stats_histogram_value(i);
        uint64_t off = value > us ? value - us : us - value;

        assert_in_range(i, 16, STATS_HISTOGRAM - 1);
        assert_true(off * 10000 <= us * 625);
        assert_true(stats_histogram_low(i) <= us);
    }
}

static void
enormous_values_share_the_last_bucket(void **state)
{
    (void)state;
    assert_int_equal(stats_histogram_index(((uint64_t)1 << 31) - 1), STATS_HISTOGRAM - 1);
    assert_int_equal(stats_histogram_index((uint64_t)1 << 31), STATS_HISTOGRAM - 1);
    assert_int_equal(stats_histogram_index((uint64_t)1 << 40), STATS_HISTOGRAM - 1);
    assert_int_equal(stats_histogram_index(UINT64_MAX), STATS_HISTOGRAM - 1);
}

static void
percentiles_of_nothing_are_zero(void **state)
{
    uint64_t latency[STATS_HISTOGRAM] = {0};

    (void)state;
    assert_int_equal(stats_percentile(latency, 0.5), 0);
    assert_int_equal(stats_latency_max(latency), 0);
}

static void
percentiles_of_a_known_row_are_right(void **state)
{
    static const struct {
        double p;
        uint64_t us;
    } cases[] = {{0.0, 1}, {0.5, 500}, {0.9, 900}, {0.99, 990}, {0.999, 999}, {1.0, 1000}};
    uint64_t latency[STATS_HISTOGRAM] = {0};

    (void)state;
    for (uint64_t us = 1; us <= 1000; us++)
        latency[stats_histogram_index(us)]++;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        uint64_t got = stats_percentile(latency, cases[i].p);

        assert_int_equal(stats_histogram_index(got), stats_histogram_index(cases[i].us));
    }
    assert_int_equal(stats_histogram_index(stats_latency_max(latency)),
                     stats_histogram_index(1000));
}

static void
one_slow_message_is_the_maximum_and_nothing_else(void **state)
{
    uint64_t latency[STATS_HISTOGRAM] = {0};

    (void)state;
    latency[stats_histogram_index(100)] = 9999;
    latency[stats_histogram_index(5000000)] = 1;
    assert_int_equal(stats_percentile(latency, 0.999),
                     stats_histogram_value(stats_histogram_index(100)));
    assert_int_equal(stats_latency_max(latency),
                     stats_histogram_value(stats_histogram_index(5000000)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_exact_below_sixteen),
        cmocka_unit_test(buckets_rise_without_a_gap),
        cmocka_unit_test(every_value_lies_in_a_bucket_no_wider_than_a_sixteenth_of_it),
        cmocka_unit_test(enormous_values_share_the_last_bucket),
        cmocka_unit_test(percentiles_of_nothing_are_zero),
        cmocka_unit_test(percentiles_of_a_known_row_are_right),
        cmocka_unit_test(one_slow_message_is_the_maximum_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
