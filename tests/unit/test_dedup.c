/* What is remembered of messages with an id: which copy is handled and what the others are told,
 * between workers of one process and between processes, and whatever instruction one of them dies
 * at. */
#include "dedup/dedup.h"
#include "support/wait.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS 4
#define MAX     64
#define WINDOW  1000
#define NOW     UINT64_C(1700000000000)

struct table {
    struct dedup_table *memory;
    struct stats_control *control;
    struct dedup *worker[WORKERS];
};

static const uint8_t memo[DEDUP_MEMO_LEN] = "a record and a place";

static void
open_worker(struct table *t, unsigned region, uint64_t incarnation)
{
    dedup_close(t->worker[region]);
    atomic_store(&t->control->worker[region].incarnation, incarnation);
    t->worker[region] = dedup_open(t->memory, region, incarnation, t->control, WINDOW);
    assert_non_null(t->worker[region]);
}

/* It has died, and the master knows. */
static void
end_worker(struct table *t, unsigned region)
{
    atomic_store(&t->control->worker[region].incarnation, 0);
}

static void
open_table(struct table *t)
{
    t->memory = dedup_table_create(MAX);
    assert_non_null(t->memory);
    t->control =
        mmap(NULL, sizeof(*t->control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t->control != MAP_FAILED);
    for (unsigned i = 0; i < WORKERS; i++)
        open_worker(t, i, 100 + i);
    assert_true(dedup_fill_begin(t->worker[0]));
    dedup_fill_end(t->worker[0], true);
}

static void
close_table(struct table *t)
{
    for (unsigned i = 0; i < WORKERS; i++)
        dedup_close(t->worker[i]);
    munmap(t->control, sizeof(*t->control));
    dedup_table_destroy(t->memory);
}

static int
setup(void **state)
{
    struct table *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    open_table(t);
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    close_table(*state);
    free(*state);
    return 0;
}

/* A message of one letter. */
static struct dedup_claim
claim_of(const struct table *t, const char *id, bool is_file, char content)
{
    struct dedup_claim claim = {.is_file = is_file, .window_ms = WINDOW};

    memset(claim.sha256, content, sizeof(claim.sha256));
    claim.name = dedup_name(t->worker[0], dedup_scope(t->worker[0], "msp://a:1", 0), is_file, NULL,
                            id, strlen(id));
    return claim;
}

static struct dedup_claim
lasting_of(const struct table *t, const char *id)
{
    struct dedup_claim claim = claim_of(t, id, false, 'x');

    claim.lasts = true;
    return claim;
}

#define ASK(t, i, claim) dedup_ask((t)->worker[i], claim, NOW)

/* Handles a message of this id at that time, as worker i. */
static void
commit_at(struct table *t, unsigned i, const char *id, bool is_file, char content, uint64_t ms)
{
    struct dedup_claim claim = claim_of(t, id, is_file, content);

    assert_int_equal(dedup_ask(t->worker[i], &claim, ms), DEDUP_MINE);
    dedup_commit(t->worker[i], claim.entry, memo, ms);
}

static enum dedup_answer
answer_at(struct table *t, const char *id, bool is_file, char content, uint64_t ms)
{
    struct dedup_claim claim = claim_of(t, id, is_file, content);
    enum dedup_answer answer = dedup_ask(t->worker[3], &claim, ms);

    dedup_release(t->worker[3], claim.entry);
    return answer;
}

/* --- copies --- */

static void
a_copy_waits_for_the_first_one_in_any_worker(void **state)
{
    struct table *t = *state;
    struct dedup_claim first, copy;
    char id[] = "a0";

    for (unsigned other = 0; other < WORKERS; other++, id[1]++) {
        first = claim_of(t, id, false, 'x');
        copy = first;
        assert_int_equal(ASK(t, 1, &first), DEDUP_MINE);
        assert_int_equal(ASK(t, other, &copy), DEDUP_WAIT);
        assert_int_equal(ASK(t, other, &copy), DEDUP_WAIT);
        assert_false(copy.needs_recall);
        dedup_commit(t->worker[1], first.entry, memo, NOW);
        assert_int_equal(ASK(t, other, &copy), DEDUP_COMMITTED);
        assert_memory_equal(copy.memo, memo, sizeof(memo));
        assert_int_equal(copy.entry, 0);
    }
}

static void
after_a_failure_one_copy_is_handled(void **state)
{
    struct table *t = *state;
    struct dedup_claim first = claim_of(t, "b", false, 'x'), second = first, third = first;

    assert_int_equal(ASK(t, 0, &first), DEDUP_MINE);
    assert_int_equal(ASK(t, 1, &second), DEDUP_WAIT);
    assert_int_equal(ASK(t, 2, &third), DEDUP_WAIT);
    dedup_release(t->worker[0], first.entry);
    assert_int_equal(ASK(t, 1, &second), DEDUP_MINE);
    assert_int_equal(ASK(t, 2, &third), DEDUP_WAIT);
    dedup_commit(t->worker[1], second.entry, NULL, NOW);
    assert_int_equal(ASK(t, 2, &third), DEDUP_COMMITTED);
    assert_int_equal(third.memo[0], 0);
}

static void
an_id_with_other_content_is_another_message(void **state)
{
    struct table *t = *state;

    commit_at(t, 0, "c", false, 'x', NOW);
    assert_int_equal(answer_at(t, "c", false, 'y', NOW), DEDUP_OTHER);
    assert_int_equal(answer_at(t, "c", false, 'x', NOW), DEDUP_COMMITTED);
    assert_int_equal(answer_at(t, "c", true, 'x', NOW), DEDUP_MINE);
}

static void
of_a_file_the_last_content_counts(void **state)
{
    struct table *t = *state;

    commit_at(t, 0, "f", true, 'x', NOW);
    assert_int_equal(answer_at(t, "f", true, 'x', NOW), DEDUP_COMMITTED);
    commit_at(t, 1, "f", true, 'y', NOW);
    assert_int_equal(answer_at(t, "f", true, 'y', NOW), DEDUP_COMMITTED);
    commit_at(t, 0, "f", true, 'x', NOW);
    assert_int_equal(answer_at(t, "f", true, 'x', NOW), DEDUP_COMMITTED);
    assert_int_equal(answer_at(t, "f", true, 'y', NOW), DEDUP_MINE);
}

static void
a_file_waits_for_its_copy_on_another_connection_only(void **state)
{
    struct table *t = *state;
    struct dedup_claim one = claim_of(t, "g", true, 'x'), same = one, other;

    one.conn = same.conn = 7;
    other = same;
    other.conn = 8;
    assert_int_equal(ASK(t, 0, &one), DEDUP_MINE);
    assert_int_equal(ASK(t, 0, &other), DEDUP_WAIT);
    assert_int_equal(ASK(t, 1, &same), DEDUP_WAIT);
    assert_int_equal(ASK(t, 0, &same), DEDUP_MINE);
}

/* Of files that are sent ahead to one path the last one stays. */
static void
a_file_that_is_about_to_be_replaced_is_handled_again(void **state)
{
    struct table *t = *state;
    struct dedup_claim between = claim_of(t, "h", true, 'y'), last = claim_of(t, "h", true, 'x'),
                       other;

    between.conn = last.conn = 7;
    other = last;
    other.conn = 8;
    commit_at(t, 0, "h", true, 'x', NOW);
    assert_int_equal(ASK(t, 0, &between), DEDUP_MINE);
    assert_int_equal(ASK(t, 0, &other), DEDUP_COMMITTED);
    assert_int_equal(ASK(t, 0, &last), DEDUP_MINE);
}

static void
listeners_have_ids_of_their_own(void **state)
{
    struct table *t = *state;
    struct dedup_claim other = claim_of(t, "d", false, 'x');

    commit_at(t, 0, "d", false, 'x', NOW);
    other.name =
        dedup_name(t->worker[0], dedup_scope(t->worker[0], "msp://a:2", 0), false, NULL, "d", 1);
    assert_int_equal(ASK(t, 1, &other), DEDUP_MINE);
    other = claim_of(t, "d", false, 'x');
    other.name =
        dedup_name(t->worker[0], dedup_scope(t->worker[0], "msp://a:1", 1), false, NULL, "d", 1);
    assert_int_equal(ASK(t, 1, &other), DEDUP_MINE);
}

static void
an_id_is_remembered_for_the_window(void **state)
{
    struct table *t = *state;

    commit_at(t, 0, "e", false, 'x', NOW);
    assert_int_equal(answer_at(t, "e", false, 'x', NOW + WINDOW), DEDUP_COMMITTED);
    assert_int_equal(answer_at(t, "e", false, 'x', NOW - 1), DEDUP_COMMITTED);
    assert_int_equal(answer_at(t, "e", false, 'x', NOW + WINDOW + 1), DEDUP_MINE);
    commit_at(t, 1, "e", false, 'y', NOW + WINDOW + 1);
    assert_int_equal(answer_at(t, "e", false, 'y', NOW + WINDOW + 1), DEDUP_COMMITTED);
    assert_int_equal(dedup_take_evicted(t->worker[0]), 0);
    commit_at(t, 0, "late", false, 'x', (UINT64_C(1) << 42) - 1); /* the year 2109 */
    assert_int_equal(answer_at(t, "late", false, 'x', (UINT64_C(1) << 42) + 9), DEDUP_COMMITTED);
    assert_int_equal(answer_at(t, "late", false, 'x', (UINT64_C(1) << 42) + WINDOW), DEDUP_MINE);
}

/* --- room --- */

static void
name_number(char out[8], unsigned i)
{
    snprintf(out, 8, "n%u", i);
}

static void
where_there_is_no_room_the_oldest_go_first_and_are_counted(void **state)
{
    struct table *t = *state;
    unsigned evicted = 0;
    char id[8];

    for (unsigned i = 0; i < 3 * MAX; i++) {
        name_number(id, i);
        commit_at(t, i % 2, id, false, 'x', NOW + i);
    }
    name_number(id, 2 * MAX - 1);
    assert_int_equal(answer_at(t, id, false, 'x', NOW + 3 * MAX), DEDUP_MINE);
    for (unsigned i = 2 * MAX + 1; i < 3 * MAX; i++) {
        name_number(id, i);
        assert_int_equal(answer_at(t, id, false, 'x', NOW + 3 * MAX), DEDUP_COMMITTED);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        evicted += (unsigned)dedup_take_evicted(t->worker[i]);
    assert_int_equal(evicted, 2 * MAX + 1);
}

static void
what_is_under_way_keeps_its_room(void **state)
{
    struct table *t = *state;
    struct dedup_claim claims[MAX], more = claim_of(t, "more", false, 'x');
    char id[8];

    for (unsigned i = 0; i < MAX; i++) {
        name_number(id, i);
        claims[i] = claim_of(t, id, false, 'x');
        assert_int_equal(ASK(t, i % WORKERS, &claims[i]), DEDUP_MINE);
    }
    assert_int_equal(ASK(t, 0, &more), DEDUP_UNTRACKED);
    dedup_commit(t->worker[5 % WORKERS], claims[5].entry, memo, NOW);
    assert_int_equal(ASK(t, 0, &more), DEDUP_MINE);
    for (unsigned i = 6; i < MAX; i++) {
        claims[i].entry = 0;
        assert_int_equal(ASK(t, 0, &claims[i]), DEDUP_WAIT);
    }
}

/* --- workers that die --- */

static void
what_a_dead_worker_had_is_handled_again(void **state)
{
    struct table *t = *state;
    struct dedup_claim first = claim_of(t, "h", false, 'x'), copy = first;

    assert_int_equal(ASK(t, 0, &first), DEDUP_MINE);
    commit_at(t, 0, "i", false, 'x', NOW);
    end_worker(t, 0);
    assert_int_equal(ASK(t, 1, &copy), DEDUP_MINE);
    assert_int_equal(answer_at(t, "i", false, 'x', NOW), DEDUP_COMMITTED);
}

static struct dedup_record
record_of(const struct table *t, const char *id, uint64_t ms)
{
    struct dedup_claim claim = claim_of(t, id, false, 'x');
    struct dedup_record record = {.name = claim.name, .ms = ms};

    memcpy(record.sha256, claim.sha256, sizeof(record.sha256));
    memcpy(record.memo, memo, sizeof(record.memo));
    return record;
}

static void
what_the_journal_can_tell_waits_until_it_has(void **state)
{
    struct table *t = *state;
    struct dedup_claim kept = lasting_of(t, "j"), lost = lasting_of(t, "k"), copy;
    struct dedup_record record = record_of(t, "j", NOW + 1);
    struct dedup_orphans orphans;

    assert_int_equal(ASK(t, 0, &kept), DEDUP_MINE);
    assert_int_equal(dedup_ask(t->worker[0], &lost, NOW + 5), DEDUP_MINE);
    end_worker(t, 0);
    open_worker(t, 0, 200);
    copy = lasting_of(t, "j");
    assert_int_equal(ASK(t, 1, &copy), DEDUP_WAIT);
    assert_true(copy.needs_recall);
    assert_int_equal(dedup_orphans_find(t->worker[2], &orphans), 0);
    assert_int_equal(orphans.count, 2);
    assert_int_equal(orphans.since_ms, NOW);
    dedup_settle_orphan(t->worker[2], &record);
    dedup_note(t->worker[2], &record);
    assert_int_equal(ASK(t, 1, &copy), DEDUP_COMMITTED);
    assert_memory_equal(copy.memo, memo, sizeof(memo));
    lost = lasting_of(t, "k");
    assert_int_equal(ASK(t, 1, &lost), DEDUP_WAIT);
    dedup_orphans_release(t->worker[2], &orphans);
    assert_int_equal(ASK(t, 1, &lost), DEDUP_MINE);
    assert_int_equal(dedup_orphans_find(t->worker[2], &orphans), 0);
    assert_int_equal(orphans.count, 0);
}

/* A live worker's record may still be taken back. */
static void
what_nobody_has_lost_is_not_settled_by_its_record(void **state)
{
    struct table *t = *state;
    struct dedup_claim live = lasting_of(t, "live"), copy = lasting_of(t, "unknown");
    struct dedup_record records[] = {record_of(t, "live", NOW), record_of(t, "unknown", NOW)};

    assert_int_equal(ASK(t, 0, &live), DEDUP_MINE);
    dedup_settle_orphan(t->worker[1], &records[0]);
    dedup_settle_orphan(t->worker[1], &records[1]);
    dedup_release(t->worker[0], live.entry);
    live = lasting_of(t, "live");
    assert_int_equal(ASK(t, 1, &live), DEDUP_MINE);
    assert_int_equal(ASK(t, 1, &copy), DEDUP_MINE);
}

/* No other handler can tell, and asks nobody to. */
static void
a_listener_that_cannot_recall_waits_for_no_orphan(void **state)
{
    struct table *t = *state;
    struct dedup_claim first = lasting_of(t, "r"), copy = claim_of(t, "r", false, 'x');

    assert_int_equal(ASK(t, 0, &first), DEDUP_MINE);
    end_worker(t, 0);
    assert_int_equal(ASK(t, 1, &copy), DEDUP_MINE);
    assert_false(copy.needs_recall);
}

static void
after_a_start_what_was_committed_before_is_awaited(void **state)
{
    struct table *t = *state, fresh = *t;
    struct dedup_claim claim, other;
    struct dedup_record record;

    fresh.memory = dedup_table_create(MAX);
    memset(fresh.worker, 0, sizeof(fresh.worker));
    for (unsigned i = 0; i < WORKERS; i++)
        open_worker(&fresh, i, 300 + i);
    claim = lasting_of(&fresh, "l");
    other = claim_of(&fresh, "m", false, 'x');
    assert_int_equal(ASK(&fresh, 0, &claim), DEDUP_WAIT);
    assert_true(claim.needs_recall);
    assert_int_equal(ASK(&fresh, 0, &other), DEDUP_MINE);
    assert_true(dedup_fill_begin(fresh.worker[1]));
    assert_false(dedup_fill_begin(fresh.worker[2]));
    end_worker(&fresh, 1);
    assert_true(dedup_fill_begin(fresh.worker[2]));
    record = record_of(&fresh, "l", NOW - 10);
    dedup_note(fresh.worker[2], &record);
    assert_int_equal(ASK(&fresh, 0, &claim), DEDUP_WAIT);
    dedup_fill_end(fresh.worker[2], true);
    assert_int_equal(ASK(&fresh, 0, &claim), DEDUP_COMMITTED);
    for (unsigned i = 0; i < WORKERS; i++)
        dedup_close(fresh.worker[i]);
    dedup_table_destroy(fresh.memory);
}

static void
a_record_takes_no_room_from_a_newer_one(void **state)
{
    struct table *t = *state;
    struct dedup_record old;
    char id[8];

    for (unsigned i = 0; i < MAX; i++) {
        name_number(id, i);
        commit_at(t, 0, id, false, 'x', NOW);
    }
    old = record_of(t, "old", NOW - 1);
    dedup_note(t->worker[1], &old);
    for (unsigned i = 0; i < MAX; i++) {
        struct dedup_claim claim;

        name_number(id, i);
        claim = claim_of(t, id, false, 'x');
        assert_int_equal(ASK(t, 2, &claim), DEDUP_COMMITTED);
    }
}

/* --- a worker that dies at any instruction --- */

static void
dying_main(struct table *t)
{
    struct dedup_claim first = lasting_of(t, "p"), second = claim_of(t, "q", false, 'x');

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(77);
    raise(SIGSTOP);
    (void)ASK(t, 0, &first);
    (void)ASK(t, 0, &second);
    dedup_commit(t->worker[0], first.entry, memo, NOW);
    dedup_release(t->worker[0], second.entry);
    _exit(0);
}

/* All slots can be had, and what was committed is known. */
static void
check_rest(struct table *t)
{
    struct dedup_claim first = lasting_of(t, "p"), second = claim_of(t, "q", false, 'x');
    struct dedup_orphans orphans;
    enum dedup_answer answer;
    char id[8];

    end_worker(t, 0);
    assert_int_equal(answer_at(t, "kept", false, 'x', NOW), DEDUP_COMMITTED);
    answer = ASK(t, 1, &first);
    assert_true(answer == DEDUP_MINE || answer == DEDUP_COMMITTED ||
                (answer == DEDUP_WAIT && first.needs_recall));
    dedup_release(t->worker[1], first.entry);
    assert_int_equal(ASK(t, 1, &second), DEDUP_MINE);
    dedup_release(t->worker[1], second.entry);
    assert_int_equal(dedup_orphans_find(t->worker[1], &orphans), 0);
    dedup_orphans_release(t->worker[1], &orphans);
    for (unsigned i = 0; i < MAX; i++) {
        struct dedup_claim claim;

        name_number(id, i);
        claim = claim_of(t, id, false, 'x');
        assert_int_equal(ASK(t, 1, &claim), DEDUP_MINE);
    }
}

/* As if the first worker, which is stopped, had died now: the table is as before afterwards. */
static void
check_death(struct table *t, const void *now)
{
    size_t size;
    void *memory = dedup_table_memory(t->memory, &size);

    for (unsigned i = 1; i < WORKERS; i++)
        open_worker(t, i, 100 + i); /* with no chunk of the ring */
    check_rest(t);
    memcpy(memory, now, size);
    atomic_store(&t->control->worker[0].incarnation, 100);
}

static void
a_worker_may_die_at_any_instruction(void **state)
{
    struct table *t = *state;
    size_t size;
    const void *memory = dedup_table_memory(t->memory, &size);
    void *before;
    unsigned changes = 0;
    int status;
    pid_t pid;

#ifdef MS_VALGRIND /* whose instructions they would be */
    skip();
#endif
    before = malloc(size);
    assert_non_null(before);
    for (unsigned i = 0; i < MAX; i++) { /* so that a slot is used again */
        char id[8];

        name_number(id, i);
        commit_at(t, 2, id, false, 'x', NOW - WINDOW - 1);
    }
    commit_at(t, 2, "kept", false, 'x', NOW);
    pid = fork();
    if (pid == 0)
        dying_main(t);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) { /* no ptrace here */
        free(before);
        skip();
    }
    memcpy(before, memory, size);
    while (WIFSTOPPED(status)) {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (memcmp(before, memory, size) == 0)
            continue;
        memcpy(before, memory, size);
        changes++;
        check_death(t, before);
    }
    assert_int_equal(status, 0);
    assert_true(changes > 20);
    free(before);
}

/* What a worker that was taken over may write costs the others answers, and nothing else. */
static void
a_table_of_nonsense_harms_no_process(void **state)
{
    struct table *t = *state;
    size_t size;
    uint64_t *words = dedup_table_memory(t->memory, &size);
    struct dedup_orphans orphans;
    char id[8];

    srandom(1);
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < size / sizeof(*words); i++)
            words[i] = (uint64_t)random() << 33 ^ (uint64_t)random() << 8 ^ (uint64_t)random();
        for (unsigned i = 0; i < 1000; i++) {
            struct dedup_claim claim;
            struct dedup_record record;

            name_number(id, i);
            claim = claim_of(t, id, i % 3 == 0, 'x');
            claim.lasts = i % 2 == 0;
            record = record_of(t, id, NOW + i);
            if (ASK(t, i % WORKERS, &claim) == DEDUP_MINE && i % 5 != 0)
                dedup_commit(t->worker[i % WORKERS], claim.entry, memo, NOW);
            dedup_note(t->worker[i % WORKERS], &record);
            dedup_settle_orphan(t->worker[i % WORKERS], &record);
        }
        assert_int_equal(dedup_orphans_find(t->worker[1], &orphans), 0);
        dedup_orphans_release(t->worker[1], &orphans);
    }
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
race_round(struct race *race, struct dedup *d, unsigned round, struct dedup_claim claim)
{
    enum dedup_answer answer;

    while ((answer = dedup_ask(d, &claim, NOW)) == DEDUP_WAIT)
        sched_yield();
    if (answer == DEDUP_COMMITTED)
        return;
    race->wrong += answer != DEDUP_MINE || atomic_fetch_add(&race->inside, 1) != 0;
    atomic_fetch_add(&race->handled[round], 1);
    atomic_fetch_sub(&race->inside, 1);
    if (round % 2 == 0)
        dedup_commit(d, claim.entry, memo, NOW);
    else
        dedup_release(d, claim.entry);
}

static int
race_main(struct table *t, struct race *race, unsigned process)
{
    alarm(200); /* that none of them goes on is a failure too */
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct dedup_claim claim = {.name = (uint64_t)(round + 1) << 32 | round % 4096,
                                    .window_ms = WINDOW};

        atomic_fetch_add(&race->arrived[round], 1);
        while (atomic_load(&race->arrived[round]) < PROCESSES)
            sched_yield();
        race_round(race, t->worker[process], round, claim);
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
        TEST(an_id_with_other_content_is_another_message),
        TEST(of_a_file_the_last_content_counts),
        TEST(a_file_waits_for_its_copy_on_another_connection_only),
        TEST(a_file_that_is_about_to_be_replaced_is_handled_again),
        TEST(listeners_have_ids_of_their_own),
        TEST(an_id_is_remembered_for_the_window),
        TEST(where_there_is_no_room_the_oldest_go_first_and_are_counted),
        TEST(what_is_under_way_keeps_its_room),
        TEST(what_a_dead_worker_had_is_handled_again),
        TEST(what_the_journal_can_tell_waits_until_it_has),
        TEST(what_nobody_has_lost_is_not_settled_by_its_record),
        TEST(a_listener_that_cannot_recall_waits_for_no_orphan),
        TEST(after_a_start_what_was_committed_before_is_awaited),
        TEST(a_record_takes_no_room_from_a_newer_one),
        TEST(a_worker_may_die_at_any_instruction),
        TEST(a_table_of_nonsense_harms_no_process),
        TEST(of_processes_that_ask_at_the_same_moment_one_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
