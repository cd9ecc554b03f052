/* Readers in other processes while workers count, die and are folded: totals never go backward, and
 * in the end nothing is lost and nothing counted twice. */
#include "guard.h"

#include "common/base.h"
#include "stats/stats_reader.h"
#include "stats/stats_writer.h"

#include "support/signals.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READERS  2
#define LIMIT_US 400000 /* of one kind of churn */

struct fixture {
    char dir[128];
    struct stats_master master;
    pid_t readers[READERS];
    int stop[2]; /* readers leave when the writing end is closed */
};

enum reader_exit { READER_FINE = 0, READER_CANNOT_OPEN, READER_BACKWARD, READER_IDLE };

static bool
stop_asked(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0) > 0;
}

static bool
totals_backward(const struct stats_totals *before, const struct stats_totals *now)
{
    const uint64_t *a = (const uint64_t *)&before->counts, *b = (const uint64_t *)&now->counts;

    for (size_t i = 0; i < sizeof(before->counts) / sizeof(uint64_t); i++)
        if (b[i] < a[i])
            return true;
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        if (now->latency[i] < before->latency[i])
            return true;
    return false;
}

static void
ignore_conn(void *arg, const struct stats_conn_view *conn)
{
    (void)conn;
    ++*(unsigned *)arg;
}

/* Each reading with a reader of its own now and then, so that nothing it remembers can help. */
static enum reader_exit
reader_run(const char *dir, int stop_fd)
{
    struct stats_totals *before = ms_calloc(1, sizeof(*before));
    struct stats_totals *now = ms_calloc(1, sizeof(*now));
    struct stats_reader sr;
    enum reader_exit result = READER_IDLE;
    unsigned conns = 0;
    char error[256];

    while (!stop_asked(stop_fd) && result != READER_BACKWARD) {
        if (stats_reader_open(&sr, dir, error) < 0) {
            result = READER_CANNOT_OPEN;
            break;
        }
        for (int i = 0; i < 20 && result != READER_BACKWARD; i++) {
            stats_reader_totals(&sr, now);
            result = totals_backward(before, now) ? READER_BACKWARD : READER_FINE;
            memcpy(before, now, sizeof(*before));
        }
        stats_reader_conns(&sr, ignore_conn, &conns);
        stats_reader_close(&sr);
    }
    free(before);
    free(now);
    return result;
}

static int
set_up(void **state)
{
    struct fixture *f = ms_calloc(1, sizeof(*f));
    char error[256];

    guard_directory(f->dir, sizeof(f->dir));
    assert_int_equal(stats_master_open(&f->master, -1, f->dir, (gid_t)-1, error), 0);
    stats_master_ready(&f->master);
    assert_int_equal(pipe(f->stop), 0);
    for (int i = 0; i < READERS; i++) {
        f->readers[i] = fork();
        assert_true(f->readers[i] >= 0);
        if (f->readers[i] == 0) {
            close(f->stop[1]);
            _exit((int)reader_run(f->dir, f->stop[0]));
        }
    }
    *state = f;
    return 0;
}

static void
readers_finish(struct fixture *f)
{
    int status = -1;

    close(f->stop[1]);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(waitpid(f->readers[i], &status, 0), f->readers[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), READER_FINE);
    }
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    char path[256];

    close(f->stop[0]);
    stats_master_close(&f->master);
    snprintf(path, sizeof(path), "%s/control", f->dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/stats", f->dir);
    unlink(path);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void
totals_of(const struct fixture *f, struct stats_totals *totals)
{
    struct stats_reader sr;
    char error[256];

    assert_int_equal(stats_reader_open(&sr, f->dir, error), 0);
    stats_reader_totals(&sr, totals);
    stats_reader_close(&sr);
}

static void
count_one(struct stats_writer *sw, struct stats_slot *slot)
{
    stats_add(&sw->block->counters.messages, 1);
    stats_add(&sw->block->counters.bytes_in, 100);
    stats_add(&slot->counters.messages, 1);
    stats_latency(sw->block, 250);
}

static void
workers_that_come_and_go_quickly_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct endpoint peer = {.addr.ss_family = AF_UNIX};
    const uint64_t end_us = clock_mono_us() + LIMIT_US;
    struct stats_totals *totals = ms_calloc(1, sizeof(*totals));
    struct stats_place places[3];
    struct stats_writer writers[3];
    uint64_t counted = 0;

    while (clock_mono_us() < end_us) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(stats_master_claim(&f->master, 0, 1, &places[i]), 0);
            assert_int_equal(stats_writer_open(&writers[i], &places[i]), 0);
        }
        for (int i = 0; i < 3; i++) {
            struct stats_slot *slot = stats_writer_claim(&writers[i], 0, &peer, 1);

            for (int k = 0; k < 10 * (i + 1); k++, counted++)
                count_one(&writers[i], slot);
            stats_writer_close(&writers[i]);
            stats_master_fold(&f->master, &places[i]);
        }
    }
    readers_finish(f);
    totals_of(f, totals);
    assert_int_equal(totals->counts.messages, counted);
    assert_int_equal(totals->counts.bytes_in, counted * 100);
    assert_int_equal(totals->latency[stats_histogram_index(250)], counted);
    assert_int_equal(totals->open, 0);
    free(totals);
}

/* Counts until it is killed; says on fd that it has begun. */
static _Noreturn void
victim_run(const struct stats_place *place, int fd)
{
    struct endpoint peer = {.addr.ss_family = AF_UNIX};
    struct stats_writer sw;
    struct stats_slot *slot;

    if (stats_writer_open(&sw, place) < 0)
        _exit(1);
    slot = stats_writer_claim(&sw, 0, &peer, 1);
    count_one(&sw, slot);
    if (write(fd, "R", 1) != 1)
        _exit(1);
    for (;;) {
        count_one(&sw, slot);
        stats_writer_release(&sw, slot);
        slot = stats_writer_claim(&sw, 0, &peer, 1);
    }
}

static void
victim_start_and_kill(const struct stats_place *place)
{
    int ready[2], status;
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        victim_run(place, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_int_equal(signal_send(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void
workers_that_are_killed_keep_their_numbers(void **state)
{
    struct fixture *f = *state;
    const uint64_t end_us = clock_mono_us() + LIMIT_US;
    struct stats_totals *dead = ms_calloc(1, sizeof(*dead));
    struct stats_totals *folded = ms_calloc(1, sizeof(*folded));
    struct stats_place place;
    uint64_t rounds = 0;

    while (clock_mono_us() < end_us) {
        assert_int_equal(stats_master_claim(&f->master, 0, 1, &place), 0);
        victim_start_and_kill(&place);
        totals_of(f, dead);
        stats_master_fold(&f->master, &place);
        totals_of(f, folded);
        assert_memory_equal(&dead->counts, &folded->counts, sizeof(dead->counts));
        assert_memory_equal(dead->latency, folded->latency, sizeof(dead->latency));
        rounds++;
    }
    readers_finish(f);
    assert_true(folded->counts.messages >= rounds);
    free(dead);
    free(folded);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(workers_that_come_and_go_quickly_lose_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(workers_that_are_killed_keep_their_numbers, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
