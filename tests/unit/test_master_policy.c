/* What the master decides without a system call: delays, and which signal comes first. */
#include "common/base.h"
#include "master/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
a_worker_that_died_once_is_replaced_at_once(void **state)
{
    struct backoff b = {0};

    (void)state;
    assert_int_equal(backoff_died(&b, 1000, 2000), 0);
}

static void
one_that_keeps_dying_waits_twice_as_long_each_time(void **state)
{
    static const uint64_t delays_ms[] = {0,   10,   20,   40,   80,    160,   320,
                                         640, 1280, 2560, 5120, 10000, 10000, 10000};
    struct backoff b = {0};
    uint64_t now = 5000000;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(delays_ms); i++) {
        uint64_t delay = backoff_died(&b, now, now + 1000);

        assert_int_equal(delay, delays_ms[i] * 1000);
        now += delay + 1000;
    }
}

static void
a_long_life_wipes_the_record(void **state)
{
    struct backoff b = {0};

    (void)state;
    for (int i = 0; i < 8; i++)
        backoff_died(&b, 100, 200);
    assert_int_equal(backoff_died(&b, 1000, 1000 + BACKOFF_STABLE_US), 0);
    assert_int_equal(backoff_died(&b, 1000, 1001), BACKOFF_FIRST_US);
    assert_int_equal(backoff_died(&b, 1000, 999 + BACKOFF_STABLE_US), 2 * BACKOFF_FIRST_US);
}

static void
signals_come_in_the_order_of_their_rank(void **state)
{
    static const int arrived[] = {SIGTTOU, SIGTTIN, SIGUSR2, SIGUSR1,
                                  SIGHUP,  SIGCHLD, SIGQUIT, SIGINT};
    unsigned pending = 0;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(arrived); i++)
        signals_note(&pending, arrived[i]);
    for (unsigned rank = SIGNALS_STOP; rank < SIGNALS_WORKERS; rank++)
        assert_int_equal(signals_next(&pending), rank);
    assert_int_equal(signals_next(&pending), SIGNALS_NONE);
}

static void
doubles_become_one_and_unknown_signals_nothing(void **state)
{
    unsigned pending = 0;

    (void)state;
    signals_note(&pending, SIGTERM);
    signals_note(&pending, SIGINT);
    signals_note(&pending, SIGWINCH);
    assert_int_equal(signals_next(&pending), SIGNALS_STOP);
    assert_int_equal(signals_next(&pending), SIGNALS_NONE);
}

static void
a_blocked_signal_is_found_through_the_descriptor(void **state)
{
    struct signals s;
    sigset_t mask;

    (void)state;
    assert_int_equal(signals_open(&s), 0);
    raise(SIGHUP);
    raise(SIGUSR1);
    signals_collect(&s);
    assert_int_equal(signals_next(&s.pending), SIGNALS_RELOAD);
    assert_int_equal(signals_next(&s.pending), SIGNALS_REOPEN);
    signals_close(&s);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGHUP));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_died_once_is_replaced_at_once),
        cmocka_unit_test(one_that_keeps_dying_waits_twice_as_long_each_time),
        cmocka_unit_test(a_long_life_wipes_the_record),
        cmocka_unit_test(signals_come_in_the_order_of_their_rank),
        cmocka_unit_test(doubles_become_one_and_unknown_signals_nothing),
        cmocka_unit_test(a_blocked_signal_is_found_through_the_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
