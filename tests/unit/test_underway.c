/* The table of messages under way: which copy of a message is handled, and what the others are
 * told, between workers of one process and between processes. */
#include "support/wait.h"
#include "worker/child.h"
#include "worker/underway.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS 4
#define RECORD  "01ARZ3NDEKTSV4RRFFQ69G5FAV"

struct table {
    struct regions memory;
    struct stats_control *control;
    struct underway *worker[WORKERS];
};

static const uint8_t secret[16] = "not to be known";

static struct underway *
open_worker(struct table *t, unsigned region, uint64_t incarnation)
{
    struct underway *u;

    atomic_store(&t->control->worker[region].incarnation, incarnation);
    u = underway_open(&t->memory, secret, region, incarnation, t->control);
    assert_non_null(u);
    return u;
}

static int
setup(void **state)
{
    struct table *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    assert_int_equal(regions_create("test", WORKERS, CHILD_UNDERWAY_SIZE, &t->memory), 0);
    t->control =
        mmap(NULL, sizeof(*t->control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t->control != MAP_FAILED);
    atomic_store(&t->control->regions_used, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        t->worker[i] = open_worker(t, i, 100 + i);
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    struct table *t = *state;

    for (unsigned i = 0; i < WORKERS; i++)
        underway_close(t->worker[i]);
    munmap(t->control, sizeof(*t->control));
    regions_close(&t->memory);
    free(t);
    return 0;
}

/* A message of one letter; its sender began at 0. */
static struct underway_claim
claim_of(const struct table *t, const char *id, bool is_file, char content)
{
    struct underway_claim claim = {.is_file = is_file};

    memset(claim.sha256, content, sizeof(claim.sha256));
    underway_name(t->worker[0], 7, id, strlen(id), &claim);
    return claim;
}

#define ASK(t, i, claim) underway_ask((t)->worker[i], claim)

static void
a_copy_waits_for_the_first_one_in_any_worker(void **state)
{
    struct table *t = *state;
    struct underway_claim first, copy;
    char id[] = "a0";

    for (unsigned other = 0; other < WORKERS; other++, id[1]++) {
        first = claim_of(t, id, false, 'x');
        copy = first;
        assert_int_equal(ASK(t, 1, &first), UNDERWAY_MINE);
        assert_int_equal(ASK(t, other, &copy), UNDERWAY_WAIT);
        assert_int_equal(ASK(t, other, &copy), UNDERWAY_WAIT);
        underway_end(t->worker[1], first.entry, true, RECORD, 1000);
        assert_int_equal(ASK(t, other, &copy), UNDERWAY_COMMITTED);
        assert_string_equal(copy.record, RECORD);
        assert_int_equal(copy.entry, 0);
    }
}

static void
after_a_failure_one_copy_is_handled(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "b", false, 'x'), second = first, third = first;

    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &second), UNDERWAY_WAIT);
    assert_int_equal(ASK(t, 2, &third), UNDERWAY_WAIT);
    underway_end(t->worker[0], first.entry, false, NULL, 1000);
    assert_int_equal(ASK(t, 1, &second), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 2, &third), UNDERWAY_WAIT);
    underway_end(t->worker[1], second.entry, true, NULL, 1000);
    assert_int_equal(ASK(t, 2, &third), UNDERWAY_COMMITTED);
    assert_string_equal(third.record, "");
}

static void
other_content_under_the_same_id_waits_and_is_refused(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "c", false, 'x'),
                          other = claim_of(t, "c", false, 'y');

    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &other), UNDERWAY_WAIT);
    underway_end(t->worker[0], first.entry, true, RECORD, 1000);
    assert_int_equal(ASK(t, 1, &other), UNDERWAY_OTHER);
}

static void
a_file_is_known_by_its_path_and_content(void **state)
{
    struct table *t = *state;
    struct underway_claim one = claim_of(t, "d", true, 'x'), same = one, again = one,
                          other = claim_of(t, "d", true, 'y');

    assert_int_equal(ASK(t, 0, &one), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &other), UNDERWAY_MINE); /* another one, at the same time */
    assert_int_equal(ASK(t, 2, &same), UNDERWAY_WAIT);
    underway_end(t->worker[0], one.entry, true, RECORD, 1000);
    assert_int_equal(ASK(t, 2, &same), UNDERWAY_COMMITTED);
    underway_end(t->worker[1], other.entry, true, RECORD, 2000);
    /* The path may hold something else now. */
    assert_int_equal(ASK(t, 2, &again), UNDERWAY_MINE);
}

static void
an_id_is_its_listeners_and_no_path(void **state)
{
    struct table *t = *state;
    struct underway_claim one = claim_of(t, "e", false, 'x'), path = claim_of(t, "e", true, 'x'),
                          elsewhere = one;

    underway_name(t->worker[1], 8, "e", 1, &elsewhere);
    assert_int_equal(ASK(t, 0, &one), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &path), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &elsewhere), UNDERWAY_MINE);
}

static void
a_worker_that_has_died_holds_nobody_up(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "f", false, 'x'), waits = first, later = first;

    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &waits), UNDERWAY_WAIT);
    atomic_store(&t->control->worker[0].incarnation, 0);
    assert_int_equal(ASK(t, 1, &waits), UNDERWAY_MINE);
    underway_end(t->worker[1], waits.entry, false, NULL, 0);
    /* Nor once another one has its region. */
    underway_close(t->worker[0]);
    t->worker[0] = open_worker(t, 0, 500);
    assert_int_equal(ASK(t, 2, &later), UNDERWAY_MINE);
}

static void
a_worker_that_left_after_its_commit_is_believed(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "g", false, 'x'), waits = first;

    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &waits), UNDERWAY_WAIT);
    underway_end(t->worker[0], first.entry, true, RECORD, 1000);
    underway_close(t->worker[0]);
    t->worker[0] = open_worker(t, 0, 500);
    assert_int_equal(ASK(t, 1, &waits), UNDERWAY_COMMITTED);
}

static void
what_begins_long_after_the_commit_is_another_message(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "h", false, 'x'), in_time = first, late = first,
                          other = claim_of(t, "h", false, 'y');

    in_time.begun_us = 1000 + UNDERWAY_LATE_US;
    late.begun_us = in_time.begun_us + 1;
    other.begun_us = 1001;
    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    underway_end(t->worker[0], first.entry, true, RECORD, 1000);
    assert_int_equal(ASK(t, 1, &in_time), UNDERWAY_COMMITTED);
    assert_int_equal(ASK(t, 1, &late), UNDERWAY_MINE);
    underway_end(t->worker[1], late.entry, false, NULL, 0);
    assert_int_equal(ASK(t, 2, &other), UNDERWAY_MINE);
}

static void
a_copy_that_comes_after_the_commit_is_late(void **state)
{
    struct table *t = *state;
    struct underway_claim first = claim_of(t, "i", false, 'x'), meanwhile = first, after = first;
    struct underway_claim file = claim_of(t, "f", true, 'x'), again = file;

    meanwhile.begun_us = 1000;
    after.begun_us = 1001;
    assert_int_equal(ASK(t, 0, &first), UNDERWAY_MINE);
    underway_end(t->worker[0], first.entry, true, RECORD, 1000);
    assert_int_equal(ASK(t, 1, &meanwhile), UNDERWAY_COMMITTED);
    assert_false(meanwhile.is_late);
    assert_int_equal(ASK(t, 1, &after), UNDERWAY_COMMITTED);
    assert_true(after.is_late);
    after.begun_us = UINT64_MAX;
    assert_int_equal(ASK(t, 1, &after), UNDERWAY_MINE);
    /* A file may have been replaced since. */
    assert_int_equal(ASK(t, 0, &file), UNDERWAY_MINE);
    underway_end(t->worker[0], file.entry, true, RECORD, 1000);
    again.begun_us = 999;
    assert_int_equal(ASK(t, 1, &again), UNDERWAY_MINE);
}

/* Names of one bucket. */
static struct underway_claim
crowded(unsigned i)
{
    return (struct underway_claim){.name = UINT64_C(5) + ((uint64_t)(i + 1) << 32)};
}

static void
without_room_a_message_goes_on_untracked_and_the_committed_make_room(void **state)
{
    struct table *t = *state;
    struct underway_claim claims[8], more = crowded(8), copy = crowded(2), oldest = crowded(0);

    for (unsigned i = 0; i < 8; i++) {
        claims[i] = crowded(i);
        assert_int_equal(ASK(t, 0, &claims[i]), UNDERWAY_MINE);
    }
    assert_int_equal(ASK(t, 0, &more), UNDERWAY_UNTRACKED);
    assert_int_equal(ASK(t, 0, &copy), UNDERWAY_WAIT); /* which needs no room */
    for (unsigned i = 0; i < 3; i++)
        underway_end(t->worker[0], claims[i].entry, true, NULL, 1000);
    assert_int_equal(ASK(t, 0, &copy), UNDERWAY_COMMITTED);
    assert_int_equal(ASK(t, 0, &more), UNDERWAY_MINE);
    assert_int_equal(ASK(t, 1, &oldest), UNDERWAY_MINE); /* its room was taken */
    copy = crowded(2);
    assert_int_equal(ASK(t, 1, &copy), UNDERWAY_COMMITTED);
}

/* --- processes that ask at the same moment --- */

#define ROUNDS    10000
#define PROCESSES 3

struct race {
    _Atomic unsigned arrived[ROUNDS + 1];
    _Atomic unsigned handled[ROUNDS];
    _Atomic unsigned inside; /* handle it now */
    _Atomic unsigned wrong;
};

/* Every second round the first ones fail, so that each process has its turn. */
static void
race_round(struct race *race, struct underway *u, unsigned round, struct underway_claim claim)
{
    enum underway_answer answer;

    while ((answer = underway_ask(u, &claim)) == UNDERWAY_WAIT)
        sched_yield();
    if (answer == UNDERWAY_COMMITTED)
        return;
    race->wrong += answer != UNDERWAY_MINE || atomic_fetch_add(&race->inside, 1) != 0;
    atomic_fetch_add(&race->handled[round], 1);
    atomic_fetch_sub(&race->inside, 1);
    underway_end(u, claim.entry, round % 2 == 0, RECORD, 1000);
}

static int
race_main(struct table *t, struct race *race, unsigned process)
{
    struct underway *u = t->worker[process];

    alarm(200); /* that none of them goes on is a failure too */
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct underway_claim claim = {.name = (uint64_t)(round + 1) << 16 | round % 4096};

        atomic_fetch_add(&race->arrived[round], 1);
        while (atomic_load(&race->arrived[round]) < PROCESSES)
            sched_yield();
        race_round(race, u, round, claim);
    }
    return 0;
}

static void
of_processes_that_ask_at_the_same_moment_one_goes_on(void **state)
{
    struct table *t = *state;
    struct race *race =
        mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES];
    int status;

    assert_true(race != MAP_FAILED);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(race_main(t, race, i));
        assert_true(pids[i] > 0);
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(race->wrong, 0);
    for (unsigned round = 0; round < ROUNDS; round++)
        if (race->handled[round] != (round % 2 == 0 ? 1 : PROCESSES))
            fail_msg("round %u: %u copies were handled", round, race->handled[round]);
    munmap(race, sizeof(*race));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_waits_for_the_first_one_in_any_worker),
        TEST(after_a_failure_one_copy_is_handled),
        TEST(other_content_under_the_same_id_waits_and_is_refused),
        TEST(a_file_is_known_by_its_path_and_content),
        TEST(an_id_is_its_listeners_and_no_path),
        TEST(a_worker_that_has_died_holds_nobody_up),
        TEST(a_worker_that_left_after_its_commit_is_believed),
        TEST(what_begins_long_after_the_commit_is_another_message),
        TEST(a_copy_that_comes_after_the_commit_is_late),
        TEST(without_room_a_message_goes_on_untracked_and_the_committed_make_room),
        TEST(of_processes_that_ask_at_the_same_moment_one_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
