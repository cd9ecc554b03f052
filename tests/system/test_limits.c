/* More connections than allowed, and no descriptors left: each is told so, nobody else notices, and
 * no worker burns its core over it. */
#include "load.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 200

static void
expect_busy(struct peer *p)
{
    struct answer a;

    assert_int_equal(peer_answer(p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "busy");
    assert_true(peer_closed(p, 5000));
    peer_close(p);
}

static void
one_connection_too_many_is_busy(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .set = {"max_connections=20"}});
    struct peer peers[20], extra;
    struct answer a;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&peers[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    for (unsigned i = 0; i < 10; i++) {
        peer_connect(&extra, &d->listeners[0]);
        expect_busy(&extra);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(peer_send_plain(&peers[i], NULL, "y", 1, &a), ANSWER_ACK);
    WAIT_FOR(stats_total(d, "refused") == 10, 2000);
    peer_close(&peers[7]);
    WAIT_FOR(stats_total(d, "open") == 19, 5000);
    peer_connect(&extra, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&extra, NULL, "z", 1, &a), ANSWER_ACK);
    daemon_stop(d);
}

static uint64_t
workers_ticks(const struct daemon *d)
{
    struct proc_list workers;
    uint64_t sum = 0;

    daemon_workers(d, &workers);
    for (size_t i = 0; i < workers.count; i++)
        sum += proc_cpu_ticks(workers.pid[i]);
    return sum;
}

/* The workers' share of one core while a quiet connection is timed out after some seconds. */
static void
expect_idle_workers(const struct daemon *d, struct peer *quiet)
{
    uint64_t ticks = workers_ticks(d), began = now_us(), took;
    long hertz = sysconf(_SC_CLK_TCK);

    assert_true(peer_closed(quiet, 20000));
    took = now_us() - began;
    ticks = workers_ticks(d) - ticks;
    assert_true(took > 200000);
    if (ticks * 1000000 / (uint64_t)hertz > took / 4)
        fail_msg("the workers used %llu ticks within %llu us of doing nothing",
                 (unsigned long long)ticks, (unsigned long long)took);
}

static void
without_descriptors_new_ones_are_busy_and_no_worker_spins(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 2, .files = 64, .handler = "discard", .set = {"idle_timeout=5s"}});
    struct peer peers[MANY], quiet;
    unsigned busy = 0, served = 0;
    struct answer a;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    for (unsigned i = 0; i < MANY; i++) {
        enum answer_kind kind = peer_send_plain(&peers[i], NULL, "x", 1, &a);

        served += kind == ANSWER_ACK;
        busy += kind == ANSWER_ERR && strcmp(a.code, "busy") == 0;
    }
    if (served < 30 || served > 128 || served + busy != MANY)
        fail_msg("%u served and %u busy of %u", served, busy, MANY);
    for (unsigned i = 0; i < MANY; i++)
        if (peer_send_plain(&peers[i], NULL, "x", 1, &a) == ANSWER_ACK) {
            quiet = peers[i];
            break;
        }
    expect_idle_workers(d, &quiet);
    WAIT_FOR(stats_total(d, "open") == 0, 10000);
    peer_connect(&quiet, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&quiet, NULL, "room", 4, &a), ANSWER_ACK);
    daemon_stop(d);
}

/* Idle connections take what they can, and files still arrive, more of them than there are
 * descriptors left. */
static void
idle_connections_leave_descriptors_for_bodies(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .files = 120, .set = {LOAD_PATIENCE, "idle_timeout=5m"}});
    struct load *l = load_start(&d->listeners[0], "f", 12, 2000000);
    struct peer peers[MANY];

    (void)state;
    load_advance(l, 12, 60000);
    for (unsigned i = 0; i < MANY; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") + stats_total(d, "refused") >= MANY, 10000);
    assert_true(stats_total(d, "open") > 12); /* more than the senders */
    load_advance(l, 60, 60000);
    load_stop(l);
    if (l->rejected + l->errors + l->broken + l->repeated != 0)
        fail_msg("%s", l->complaint);
    daemon_stop(d);
}

/* They are told, but do not stay. */
static void
connections_that_are_refused_count(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "discard", .set = {"max_connections=50"}});
    static struct peer peers[1500];
    struct proc_list workers;
    struct answer a;

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&peers[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    for (unsigned i = 50; i < 1500; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    WAIT_FOR(stats_total(d, "refused") == 1500 - 50, 10000);
    daemon_workers(d, &workers);
    if (proc_may_look(workers.pid[0]))
        assert_in_range(proc_descriptors(workers.pid[0]), 1, 400);
    assert_int_equal(peer_send_plain(&peers[0], NULL, "x", 1, &a), ANSWER_ACK);
    daemon_stop(d);
}

/* It may send as fast as it can: it is told once, and nobody waits for its end. */
static void
one_without_a_descriptor_is_not_listened_to(void **state)
{
    const uint64_t enough = 64u << 20; /* more than sockets hold */
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .files = 64, .handler = "discard", .set = {"idle_timeout=1m"}});
    static char bytes[1u << 20];
    struct peer peers[MANY], loud;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") + stats_total(d, "refused") == MANY, 10000);
    for (unsigned i = 0; i < 16; i++) {
        uint64_t sent = 0;

        peer_connect(&loud, &d->listeners[0]);
        while (sent < 4 * enough && peer_write(&loud, bytes, sizeof(bytes)) == 0)
            sent += sizeof(bytes);
        if (sent > enough)
            fail_msg("%llu bytes were read", (unsigned long long)sent);
        peer_close(&loud);
    }
    daemon_stop(d);
}

static void
a_flood_of_refused_connections_leaves_the_others_alone(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 2, .handler = "discard", .set = {LOAD_PATIENCE, "max_connections=8"}});
    struct load *l = load_start(&d->listeners[0], "x", 4, 500);
    struct peer held[4], extra;
    struct answer a;

    (void)state;
    load_advance(l, 100, 10000);
    for (unsigned i = 0; i < 4; i++) {
        peer_connect(&held[i], &d->listeners[0]);
        assert_int_equal(peer_send_plain(&held[i], NULL, "x", 1, &a), ANSWER_ACK);
    }
    for (unsigned i = 0; i < 500; i++) {
        peer_connect(&extra, &d->listeners[0]);
        expect_busy(&extra);
    }
    load_advance(l, 100, 10000);
    load_stop(l);
    assert_int_equal(l->repeated, 0);
    assert_int_equal(l->broken, 0);
    WAIT_FOR(stats_total(d, "refused") == 500, 2000);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(one_connection_too_many_is_busy),
        SYSTEM_TEST(without_descriptors_new_ones_are_busy_and_no_worker_spins),
        SYSTEM_TEST(idle_connections_leave_descriptors_for_bodies),
        SYSTEM_TEST(connections_that_are_refused_count),
        SYSTEM_TEST(one_without_a_descriptor_is_not_listened_to),
        SYSTEM_TEST(a_flood_of_refused_connections_leaves_the_others_alone),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
