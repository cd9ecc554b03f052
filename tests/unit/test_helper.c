/* A helper thread: jobs run in order, end in the loop's thread, and none is lost. */
#include "common/thread.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define JOBS 1000

struct counted_job {
    struct helper_job job;
    unsigned number;
    pthread_t ran_in;
    sigset_t mask;
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
    pthread_sigmask(SIG_SETMASK, NULL, &c->mask);
}

static void
job_done(struct helper_job *job)
{
    struct counted_job *c = (struct counted_job *)job;

    assert_int_equal(c->number, done++);
    assert_false(pthread_equal(c->ran_in, pthread_self()));
    assert_int_equal(sigismember(&c->mask, SIGTERM), 1);
    assert_int_equal(sigismember(&c->mask, SIGHUP), 1);
    if (again != NULL)
        assert_int_equal(helper_give(again, &another.job), 0);
    again = NULL;
}

static void
jobs_run_and_end_in_order(void **state)
{
    static struct counted_job jobs[JOBS];
    struct helper *h = helper_create("helper");
    struct pollfd p = {.fd = helper_fd(h), .events = POLLIN};

    (void)state;
    ran = done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = i};
        assert_int_equal(helper_give(h, &jobs[i].job), 0);
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
    struct helper *h = helper_create("helper");

    (void)state;
    ran = done = 0;
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = i};
        assert_int_equal(helper_give(h, &jobs[i].job), 0);
    }
    helper_destroy(h);
    assert_int_equal(done, JOBS);
    helper_destroy(NULL);
}

static void
the_end_of_a_job_may_give_another(void **state)
{
    struct counted_job first = {.job = {.run = job_run, .done = job_done}};
    struct helper *h = helper_create("helper");

    (void)state;
    ran = done = 0;
    another = (struct counted_job){.job = {.run = job_run, .done = job_done}, .number = 1};
    again = h;
    assert_int_equal(helper_give(h, &first.job), 0);
    helper_finish(h);
    helper_finish(h);
    assert_int_equal(done, 2);
    helper_destroy(h);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: the job is under way */

static void
job_run_at_the_gate(struct helper_job *job)
{
    pthread_mutex_lock(&gate);
    job_run(job);
    pthread_mutex_unlock(&gate);
}

static void
a_job_under_way_is_not_done_and_can_be_waited_for(void **state)
{
    struct counted_job slow = {.job = {.run = job_run_at_the_gate, .done = job_done}};
    struct helper *h = helper_create("helper");
    struct pollfd p = {.fd = helper_fd(h), .events = POLLIN};

    (void)state;
    ran = done = 0;
    helper_finish(h); /* nothing was given */
    pthread_mutex_lock(&gate);
    assert_int_equal(helper_give(h, &slow.job), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    helper_collect(h);
    assert_int_equal(done, 0);
    pthread_mutex_unlock(&gate);
    helper_finish(h);
    assert_int_equal(done, 1);
    helper_destroy(h);
}

/* Many large jobs that were given before do not hold up the others. */
static void
large_jobs_and_others_take_turns(void **state)
{
    static const unsigned large[] = {1, 3, 5, 6}, others[] = {2, 4};
    struct counted_job first = {.job = {.run = job_run_at_the_gate, .done = job_done}}, jobs[6];
    struct helper *h = helper_create("helper");
    unsigned n = 0;

    (void)state;
    ran = done = 0;
    pthread_mutex_lock(&gate);
    assert_int_equal(helper_give(h, &first.job), 0);
    for (unsigned i = 0; i < 4; i++)
        jobs[n++] = (struct counted_job){
            .job = {.run = job_run, .done = job_done, .cost = HELPER_LARGE + 1},
            .number = large[i],
        };
    for (unsigned i = 0; i < 2; i++)
        jobs[n++] = (struct counted_job){
            .job = {.run = job_run, .done = job_done, .cost = HELPER_LARGE}, .number = others[i]};
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(helper_give(h, &jobs[i].job), 0);
    pthread_mutex_unlock(&gate);
    helper_finish(h);
    assert_int_equal(done, 1 + n);
    helper_destroy(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_and_end_in_order),
        cmocka_unit_test(what_is_under_way_ends_before_the_helper_does),
        cmocka_unit_test(the_end_of_a_job_may_give_another),
        cmocka_unit_test(large_jobs_and_others_take_turns),
        cmocka_unit_test(a_job_under_way_is_not_done_and_can_be_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
