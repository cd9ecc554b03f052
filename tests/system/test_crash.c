/* Workers that die: nothing acknowledged is lost, the neighbours do not notice, and one that keeps
 * dying is not forked again without end. */
#include "faults.h"
#include "load.h"
#include "msock.h"
#include "stats.h"
#include "target.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KILLS   50
#define WORKERS 10 /* so many that none dies often enough to be held back for long */

static uint64_t
restarts(const struct daemon *d)
{
    return stats_workers_sum(d, "restarts");
}

/* Senders over all protocols that say which messages they have taken. Returns how many loads. */
static size_t
start_loads(const struct daemon *d, struct load *loads_out[WAYS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < way_count; i++) {
        char tag[24];

        if (!ways[i].acknowledges)
            continue;
        snprintf(tag, sizeof(tag), "k%zu", i);
        loads_out[count++] = load_start_way(&ways[i], &d->listeners[i], tag, 2, 5000);
    }
    return count;
}

static void
fifty_killed_workers_lose_no_acknowledged_message(void **state)
{
    struct daemon_options options = {
        .workers = WORKERS, .set = {LOAD_PATIENCE}, .errors_expected = true};
    struct daemon *d;
    struct load *loads[WAYS_MAX];
    struct proc_list workers;
    struct journal j;
    size_t count;

    (void)state;
    ways_listen(&options);
    d = daemon_start(&options);
    count = start_loads(d, loads);
    for (unsigned i = 0; i < KILLS; i++) {
        load_advance(loads[i % count], 10, 20000);
        WAIT_FOR((daemon_workers(d, &workers), workers.count == WORKERS), 15000);
        signal_send(workers.pid[0], SIGKILL); /* the oldest, so each has its turn */
        WAIT_FOR(!proc_alive(workers.pid[0]), 5000);
    }
    for (size_t i = 0; i < count; i++)
        load_advance(loads[i], 10, 20000);
    for (size_t i = 0; i < count; i++)
        load_stop(loads[i]);
    WAIT_FOR(restarts(d) == KILLS, 15000);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    for (size_t i = 0; i < count; i++) {
        const struct load *l = loads[i];

        if (l->rejected + l->broken != 0)
            fail_msg("%s: %s", l->way->name, l->complaint);
        assert_in_range(load_check_journal(l, &j), 0, l->repeated);
    }
    journal_free(&j);
}

static void
a_killed_worker_is_replaced_and_its_neighbour_goes_on(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .errors_expected = true});
    struct proc_list before, after;
    struct peer peers[16];
    struct answer a;
    unsigned survivors = 0;
    uint64_t killed;

    (void)state;
    daemon_workers(d, &before);
    for (unsigned i = 0; i < 16; i++) { /* eight for each */
        if (i % 8 == 0)
            proc_stop(before.pid[1 - i / 8]);
        peer_connect(&peers[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&peers[i], NULL, "a", 1, &a), ANSWER_ACK);
        if (i % 8 == 7)
            proc_go_on(before.pid[1 - i / 8]);
    }
    killed = now_us();
    signal_send(before.pid[0], SIGKILL);
    WAIT_FOR((daemon_workers(d, &after), after.count == 2 && !proc_list_has(&after, before.pid[0])),
             5000);
    print_message("replaced within %llu ms\n", (unsigned long long)(now_us() - killed) / 1000);
    assert_true(proc_list_has(&after, before.pid[1]));
    for (unsigned i = 0; i < 16; i++)
        survivors += peer_send_plain(&peers[i], NULL, "b", 1, &a) == ANSWER_ACK;
    assert_int_equal(survivors, 8);
    WAIT_FOR(restarts(d) == 1, 5000);
    daemon_stop(d);
}

/* Every new worker dies at once. Delays of 0, 10, 20, 40 ... ms must lie between them. */
static void
a_worker_that_dies_at_its_start_is_forked_ever_more_rarely(void **state)
{
    struct daemon *d;
    struct proc_list workers;
    struct peer p;
    struct answer a;
    uint64_t began, strikes;

    (void)state;
    faults_need();
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .faults = true, .errors_expected = true});
    daemon_workers(d, &workers);
    faults_set(d, "fork abort - 1\n");
    began = now_us();
    signal_send(workers.pid[0], SIGKILL);
    WAIT_FOR(faults_struck(d) >= 7, 20000);
    strikes = faults_struck(d);
    if (now_us() - began < 300000)
        fail_msg("%llu forks within %llu us", (unsigned long long)strikes,
                 (unsigned long long)(now_us() - began));
    WAIT_FOR(daemon_logged(d, "keeps dying"), 5000);
    faults_set(d, "");
    WAIT_FOR(peer_try_connect(&p, &d->listeners[0], NULL) == 0, 5000);
    p.answer_ms = 20000;
    assert_int_equal(peer_send_plain(&p, NULL, "well again", 10, &a), ANSWER_ACK);
    peer_close(&p);
    assert_in_range(faults_struck(d), strikes, strikes + 4);
    daemon_stop(d);
}

static void
a_message_that_kills_every_worker_makes_no_storm(void **state)
{
    struct daemon *d;
    struct load *l;
    uint64_t began, struck;

    (void)state;
    faults_need();
    d = daemon_start(
        &(struct daemon_options){.workers = 2, .faults = true, .errors_expected = true});
    l = load_start(&d->listeners[0], "c", 4, 100);
    load_advance(l, 50, 10000);
    began = now_us();
    faults_set(d, "write abort /journal/ 1\n");
    WAIT_FOR(faults_struck(d) >= 12, 20000);
    struck = now_us() - began;
    if (struck < 140000) /* each of the two waits 0, 10, 20, 40 and 80 ms */
        fail_msg("12 deaths within %llu us", (unsigned long long)struck);
    faults_set(d, "");
    load_advance(l, 50, 30000);
    load_stop(l);
    assert_int_equal(l->broken, 0);
    daemon_stop(d);
    load_check_stored(l, d->data_dir);
}

/* What a crash left at the end of a segment is cut off; what stood before it stays. */
static void
a_line_cut_by_a_crash_is_mended_at_the_next_start(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char path[HARNESS_PATH_LEN], dir[HARNESS_PATH_LEN];
    struct peer p;
    struct answer a;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "whole", "w", 1, &a), ANSWER_ACK);
    daemon_kill(d);
    harness_join(dir, d->data_dir, "journal");
    harness_join(path, dir, "01K00000000000000000000000-w9.ndjson");
    harness_write_file(path, "{\"id\":\"01\",\"time", 16);
    daemon_launch(d);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "after", "a", 1, &a), ANSWER_ACK);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

/* A worker that is made later is as its neighbours are, whatever has become of the file of the key.
 */
static void
a_replaced_worker_has_the_key_of_the_others(void **state)
{
    char key[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 64];
    struct proc_list before;
    struct daemon *d;

    (void)state;
    harness_key(key);
    snprintf(url, sizeof(url), "msp://127.0.0.1:0?key_file=%s", key);
    d = daemon_start(
        &(struct daemon_options){.workers = 2, .listen = {url}, .errors_expected = true});
    snprintf(url, sizeof(url), "%s.old", key);
    assert_int_equal(link(key, url), 0);
    assert_int_equal(unlink(key), 0);
    harness_write_file(key, "another key of thirty-two bytes..", 32);
    assert_int_equal(chmod(key, 0600), 0);
    daemon_workers(d, &before);
    assert_int_equal(signal_send(before.pid[0], SIGKILL), 0);
    WAIT_FOR(daemon_logged(d, "died: signal 9") && daemon_has_workers(d, 2), 20000);
    snprintf(url, sizeof(url), "msp://127.0.0.1:%u?key_file=%s.old", target_port(&d->listeners[0]),
             key);
    for (int i = 0; i < 24; i++) {
        msock *m = msock_open(url);

        assert_non_null(m);
        if (msock_send(m, "sealed", 6) != MSOCK_OK)
            fail_msg("%s", msock_error(m));
        msock_close(m);
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_replaced_worker_has_the_key_of_the_others),
        SYSTEM_TEST(fifty_killed_workers_lose_no_acknowledged_message),
        SYSTEM_TEST(a_killed_worker_is_replaced_and_its_neighbour_goes_on),
        SYSTEM_TEST(a_worker_that_dies_at_its_start_is_forked_ever_more_rarely),
        SYSTEM_TEST(a_message_that_kills_every_worker_makes_no_storm),
        SYSTEM_TEST(a_line_cut_by_a_crash_is_mended_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
