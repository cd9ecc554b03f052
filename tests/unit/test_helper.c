/* The worker's helper thread: jobs run in order, end in the loop's thread, and none is lost. */
#include "worker/helper.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define JOBS 1000

struct counted_job {
    struct helper_job job;
    unsigned number;
    pthread_t ran_in;
};

static unsigned ran, done;
static struct helper *again; /* where done gives another job */
static struct counted_job another;

static void
job_run(struct helper_job *job)
{
    struct counted_job *c = (struct counted_job *)job;

    assert_int_equal(c->number, ran++);
    c->ran_in = pthread_self();
}

static void
job_done(struct helper_job *job)
{
    struct counted_job *c = (struct counted_job *)job;

    assert_int_equal(c->number, done++);
    assert_false(pthread_equal(c->ran_in, pthread_self()));
    if (again != NULL)
        helper_give(again, &another.job);
    again = NULL;
}

static void
jobs_run_and_end_in_order(void **state)
{
    static struct counted_job jobs[JOBS];
    struct helper *h = helper_create();
    struct pollfd p = {.fd = helper_fd(h), .events = POLLIN};

    (void)state;
    ran = done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = i};
        helper_give(h, &jobs[i].job);
    }
    while (done < JOBS) {
        assert_int_equal(poll(&p, 1, 10000), 1);
        helper_collect(h);
    }
    assert_int_equal(ran, JOBS);
    helper_collect(h); /* a wake-up for what was collected already may be left */
    assert_int_equal(poll(&p, 1, 0), 0);
    helper_destroy(h);
}

static void
what_is_under_way_ends_before_the_helper_does(void **state)
{
    static struct counted_job jobs[JOBS];
    struct helper *h = helper_create();

    (void)state;
    ran = done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = i};
        helper_give(h, &jobs[i].job);
    }
    helper_destroy(h);
    assert_int_equal(done, JOBS);
    helper_destroy(NULL);
}

static void
the_end_of_a_job_may_give_another(void **state)
{
    struct counted_job first = {.job = {.run = job_run, .done = job_done}};
    struct helper *h = helper_create();

    (void)state;
    ran = done = 0;
    another = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = 1};
    again = h;
    helper_give(h, &first.job);
    helper_finish(h);
    helper_finish(h);
    assert_int_equal(done, 2);
    helper_destroy(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_and_end_in_order),
        cmocka_unit_test(what_is_under_way_ends_before_the_helper_does),
        cmocka_unit_test(the_end_of_a_job_may_give_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
