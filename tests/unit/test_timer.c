/* The timing wheel against a plain list of deadlines. */
#include "worker/worker_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TIMERS 300

static struct timer_wheel wheel;

static void
a_timer_fires_within_a_tick_of_its_deadline(void **state)
{
    static const uint64_t delays[] = {0, 1, 9999, 10000, 10001, 2000000, 40000000};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(delays); i++) {
        struct timer timer = {0};
        uint64_t start = 5000123, now = start;

        timer_wheel_init(&wheel, start);
        timer_set(&wheel, &timer, start + delays[i]);
        while (timer_due(&wheel, now) == NULL)
            now += 1000;
        assert_in_range(now, start + delays[i], start + delays[i] + TIMER_TICK_US + 1000);
        assert_null(timer_due(&wheel, now + 100000000));
    }
}

static void
a_far_deadline_fires_early_and_can_be_set_again(void **state)
{
    struct timer timer = {0};
    uint64_t now = 0, deadline = 3600ull * 1000000;
    unsigned early = 0;

    (void)state;
    timer_wheel_init(&wheel, now);
    timer_set(&wheel, &timer, deadline);
    for (;;) {
        now += 1000ull * (uint64_t)timer_wait_ms(&wheel, now, 60000);
        if (timer_due(&wheel, now) == NULL)
            continue;
        if (now >= deadline)
            break;
        early++;
        timer_set(&wheel, &timer, deadline);
    }
    assert_in_range(early, 80, 100);
    assert_in_range(now, deadline, deadline + 2 * TIMER_TICK_US);
}

static void
setting_a_later_deadline_moves_nothing_and_an_earlier_one_does(void **state)
{
    struct timer timer = {0};
    uint64_t tick;

    (void)state;
    timer_wheel_init(&wheel, 0);
    timer_set(&wheel, &timer, 1000000);
    tick = timer.tick;
    timer_set(&wheel, &timer, 30000000);
    assert_int_equal(timer.tick, tick);
    timer_set(&wheel, &timer, 500000);
    assert_true(timer.tick < tick);
}

static void
many_timers_fire_once_each_and_none_before_its_time(void **state)
{
    static struct timer timers[TIMERS];
    static uint64_t deadlines[TIMERS];
    uint64_t now = 123456;
    unsigned fired = 0, cancelled = 0;

    (void)state;
    srand(7);
    timer_wheel_init(&wheel, now);
    for (unsigned i = 0; i < TIMERS; i++) {
        deadlines[i] = now + (uint64_t)(rand() % 30000000);
        timers[i] = (struct timer){0};
        timer_set(&wheel, &timers[i], deadlines[i]);
    }
    for (unsigned i = 0; i < TIMERS; i += 7, cancelled++)
        timer_cancel(&wheel, &timers[i]);
    while (fired < TIMERS - cancelled) {
        struct timer *timer;

        now += 1000ull * (uint64_t)timer_wait_ms(&wheel, now, 60000) + 1;
        while ((timer = timer_due(&wheel, now)) != NULL) {
            size_t i = (size_t)(timer - timers);

            assert_true(now >= deadlines[i]);
            assert_true(i % 7 != 0);
            fired++;
        }
    }
    assert_null(timer_due(&wheel, now + 100000000));
    assert_int_equal(timer_wait_ms(&wheel, now, 60000), 60000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_within_a_tick_of_its_deadline),
        cmocka_unit_test(a_far_deadline_fires_early_and_can_be_set_again),
        cmocka_unit_test(setting_a_later_deadline_moves_nothing_and_an_earlier_one_does),
        cmocka_unit_test(many_timers_fire_once_each_and_none_before_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
