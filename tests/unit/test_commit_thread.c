#include "handler_fixture.h"

#include "handler/journal/commit.h"

#include <signal.h>

struct context {
    struct commit_thread thread;
    pthread_t ran_in;
    sigset_t mask;
    unsigned runs;
    pthread_mutex_t gate; /* held by a test that wants the job to be under way */
};

static void
run(void *arg, void *job)
{
    struct context *c = arg;

    pthread_mutex_lock(&c->gate);
    c->ran_in = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &c->mask);
    c->runs += *(unsigned *)job;
    pthread_mutex_unlock(&c->gate);
}

static int
setup(void **state)
{
    struct context *c = ms_calloc(1, sizeof(*c));

    pthread_mutex_init(&c->gate, NULL);
    *state = c;
    return commit_thread_init(&c->thread, run, c);
}

static int
teardown(void **state)
{
    struct context *c = *state;

    commit_thread_fini(&c->thread);
    pthread_mutex_destroy(&c->gate);
    free(c);
    return 0;
}

static void
a_job_runs_in_a_thread_without_signals_and_says_when_it_is_done(void **state)
{
    struct context *c = *state;
    struct pollfd event = {.fd = c->thread.event_fd, .events = POLLIN};
    unsigned one = 1;

    assert_int_equal(poll(&event, 1, 0), 0);
    for (unsigned i = 1; i <= 100; i++) {
        assert_int_equal(commit_thread_give(&c->thread, &one), 0);
        assert_int_equal(poll(&event, 1, 20000), 1);
        assert_true(commit_thread_done(&c->thread));
        assert_int_equal(poll(&event, 1, 0), 0);
        assert_int_equal(c->runs, i);
    }
    assert_false(pthread_equal(c->ran_in, pthread_self()));
    assert_int_equal(sigismember(&c->mask, SIGTERM), 1);
    assert_int_equal(sigismember(&c->mask, SIGHUP), 1);
}

static void
a_job_under_way_is_not_done_and_can_be_waited_for(void **state)
{
    struct context *c = *state;
    unsigned two = 2;

    pthread_mutex_lock(&c->gate);
    assert_int_equal(commit_thread_give(&c->thread, &two), 0);
    assert_false(commit_thread_done(&c->thread));
    pthread_mutex_unlock(&c->gate);
    commit_thread_wait(&c->thread);
    assert_true(commit_thread_done(&c->thread));
    assert_int_equal(c->runs, 2);
    commit_thread_wait(&c->thread); /* nothing is under way */
}

static void
leaving_waits_for_the_job_under_way(void **state)
{
    struct context *c = *state;
    unsigned one = 1;

    assert_int_equal(commit_thread_give(&c->thread, &one), 0);
    commit_thread_fini(&c->thread);
    assert_int_equal(c->runs, 1);
    assert_int_equal(commit_thread_init(&c->thread, run, c), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_job_runs_in_a_thread_without_signals_and_says_when_it_is_done),
        TEST(a_job_under_way_is_not_done_and_can_be_waited_for),
        TEST(leaving_waits_for_the_job_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
