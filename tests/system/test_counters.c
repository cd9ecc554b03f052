/* The figures are exact: what a client counted is what msockctl shows, for each connection while it
 * is open and in total for ever. */
#include "load.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEERS 6

static char body[20000];

static void
fill_body(void)
{
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)('a' + i % 23);
}

/* Some of everything that can be counted on a connection that stays open. */
static void
talk_about_everything(struct peer *p, unsigned variant)
{
    struct outgoing json = {.kind = 'J', .body = "{\"a\":", .len = 5};
    struct outgoing path = {.kind = 'F', .value = "../x", .value_len = 4, .body = "x", .len = 1};
    static unsigned calls;
    char id[2][16];
    struct answer a;

    fill_body();
    snprintf(id[0], sizeof(id[0]), "one-%u", calls);
    snprintf(id[1], sizeof(id[1]), "two-%u", calls++);
    assert_int_equal(peer_send_plain(p, id[0], body, 12 + variant, &a), ANSWER_ACK);
    p->spoil_crc = 1 + variant % 3;
    assert_int_equal(peer_send_plain(p, id[1], body, 5000 + variant * 1000, &a), ANSWER_ACK);
    p->spoil_digest = variant % 2;
    assert_int_equal(peer_send_plain(p, NULL, body, 3000, &a), ANSWER_ACK);
    assert_int_equal(peer_send(p, &json, &a), ANSWER_REJ);
    assert_string_equal(a.code, "bad-json");
    if (variant % 2 == 0)
        assert_int_equal(peer_send(p, &path, &a), ANSWER_REJ);
    assert_int_equal(peer_send_plain(p, NULL, "", 0, &a), ANSWER_ACK);
}

static bool
conn_shows(const struct daemon *d, const struct peer *p)
{
    struct peer_counts seen;

    return stats_conn(d, p->name, &seen, NULL) && counts_equal(&seen, &p->counts);
}

/* Waits, since the last counter may be stored just after the answer has left. */
static void
expect_conn(const struct daemon *d, const struct peer *p)
{
    struct peer_counts seen = {0};
    struct waiting w = waiting_begin(20000);

    while (!conn_shows(d, p))
        if (!waiting_more(&w)) {
            stats_conn(d, p->name, &seen, NULL);
            fail_msg("connection %s\n  shows   %s\n  we have %s", p->name, counts_text(&seen),
                     counts_text(&p->counts));
        }
}

static bool
totals_are(const struct daemon *d, const struct peer_counts *want)
{
    struct peer_counts seen;

    stats_totals(d, &seen);
    return counts_equal(&seen, want);
}

static void
expect_totals(const struct daemon *d, const struct peer_counts *want)
{
    struct peer_counts seen;
    struct waiting w = waiting_begin(20000);

    while (!totals_are(d, want))
        if (!waiting_more(&w)) {
            stats_totals(d, &seen);
            fail_msg("totals\n  show    %s\n  we have %s", counts_text(&seen), counts_text(want));
        }
}

static void
open_and_talk(const struct daemon *d, struct peer peers[PEERS], struct peer_counts *sum)
{
    for (unsigned i = 0; i < PEERS; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        talk_about_everything(&peers[i], i);
        counts_add(sum, &peers[i].counts);
    }
}

static void
each_open_connection_shows_exactly_what_its_client_counted(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 3});
    struct peer peers[PEERS];
    struct peer_counts sum = {0}, seen;
    char shown[32];

    (void)state;
    open_and_talk(d, peers, &sum);
    for (unsigned i = 0; i < PEERS; i++)
        expect_conn(d, &peers[i]);
    WAIT_FOR(stats_conn(d, peers[0].name, &seen, shown) && strcmp(shown, "idle") == 0, 5000);
    expect_totals(d, &sum);
    assert_int_equal(stats_total(d, "accepted"), PEERS);
    assert_int_equal(stats_total(d, "open"), PEERS);
    assert_int_equal(stats_workers_sum(d, "open"), PEERS);
    daemon_stop(d);
}

static void
an_error_is_counted_once_and_in_total(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct peer p;
    struct answer a;
    char junk[80];

    (void)state;
    memset(junk, 'x', sizeof(junk));
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, junk, 50), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "bad-header");
    assert_true(peer_closed(&p, 5000));
    expect_totals(d, &p.counts);
    daemon_stop(d);
}

static void
a_message_without_its_end_is_counted_as_cut(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, "half a header", 13), 0);
    peer_close(&p);
    p.counts.cut++;
    expect_totals(d, &p.counts);
    daemon_stop(d);
}

static void
totals_stay_when_connections_close(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};

    (void)state;
    open_and_talk(d, peers, &sum);
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    expect_totals(d, &sum);
    assert_int_equal(stats_total(d, "accepted"), PEERS);
    daemon_stop(d);
}

static void
totals_stay_when_workers_are_killed(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.errors_expected = true, .workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};
    struct proc_list before, now;

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        open_and_talk(d, peers, &sum);
        expect_totals(d, &sum);
        daemon_workers(d, &before);
        for (size_t i = 0; i < before.count; i++)
            signal_send(before.pid[i], SIGKILL);
        for (unsigned i = 0; i < PEERS; i++) {
            assert_true(peer_closed(&peers[i], 5000));
            peer_close(&peers[i]);
        }
        expect_totals(d, &sum);
        WAIT_FOR((daemon_workers(d, &now), now.count == 2 && !proc_list_has(&now, before.pid[0]) &&
                                               !proc_list_has(&now, before.pid[1])),
                 10000);
        expect_totals(d, &sum);
    }
    assert_int_equal(stats_total(d, "open"), 0);
    daemon_stop(d);
}

static void
totals_stay_over_reloads(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        open_and_talk(d, peers, &sum);
        for (unsigned i = 0; i < PEERS; i++)
            peer_close(&peers[i]);
        WAIT_FOR(stats_total(d, "open") == 0, 5000);
        expect_totals(d, &sum);
        daemon_reload(d);
        expect_totals(d, &sum);
        WAIT_FOR(daemon_has_workers(d, 2), 5000);
        expect_totals(d, &sum);
    }
    daemon_stop(d);
}

static void
figures_can_be_read_after_the_master_was_killed(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};
    struct run_result result;

    (void)state;
    open_and_talk(d, peers, &sum);
    expect_totals(d, &sum);
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
    daemon_kill(d);
    expect_totals(d, &sum);
    result = daemon_control(d, "stats", NULL);
    assert_int_equal(result.status, 0);
    assert_non_null(strstr(result.out, "nack1"));
    run_result_free(&result);
    result = daemon_control(d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
}

static void
figures_can_be_read_while_everything_hangs(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};
    struct proc_list workers;

    (void)state;
    open_and_talk(d, peers, &sum);
    expect_totals(d, &sum);
    daemon_workers(d, &workers);
    proc_stop(d->run.pid);
    proc_stop_all(&workers);
    expect_totals(d, &sum);
    for (unsigned i = 0; i < PEERS; i++)
        expect_conn(d, &peers[i]);
    proc_go_on_all(&workers);
    proc_go_on(d->run.pid);
    daemon_stop(d);
}

static bool
none_less(const struct peer_counts *before, const struct peer_counts *after)
{
#define X(name, help)               \
    if (after->name < before->name) \
        return false;
    STATS_CONN_COUNTERS(X)
#undef X
    return true;
}

static void
totals_never_go_backwards_under_load_kills_and_reloads(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.errors_expected = true, .workers = 2, .handler = "discard"});
    struct load *l = load_start(&d->listeners[0], "t", 3, 600);
    struct peer_counts before = {0}, after;
    struct proc_list workers;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        load_advance(l, 50, 20000);
        if (round % 3 == 0) {
            daemon_workers(d, &workers);
            if (workers.count > 0)
                signal_send(workers.pid[round % workers.count], SIGKILL);
        }
        if (round % 5 == 4)
            signal_send(d->run.pid, SIGHUP);
        stats_totals(d, &after);
        if (!none_less(&before, &after))
            fail_msg("totals went backwards\n  from %s\n  to   %s", counts_text(&before),
                     counts_text(&after));
        before = after;
    }
    load_stop(l);
    assert_int_equal(l->broken, 0);
    daemon_stop(d);
}

static void
prometheus_and_json_tell_the_same(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer peers[PEERS];
    struct peer_counts sum = {0};
    struct run_result result;
    char line[64];

    (void)state;
    open_and_talk(d, peers, &sum);
    expect_totals(d, &sum);
    result = daemon_control(d, "stats", "--prometheus", NULL);
    assert_int_equal(result.status, 0);
    snprintf(line, sizeof(line), "nack1_total %llu\n", (unsigned long long)sum.nack1);
    if (strstr(result.out, line) == NULL)
        fail_msg("no \"%s\" in:\n%s", line, result.out);
    assert_non_null(strstr(result.out, "# TYPE "));
    run_result_free(&result);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(each_open_connection_shows_exactly_what_its_client_counted),
        SYSTEM_TEST(an_error_is_counted_once_and_in_total),
        SYSTEM_TEST(a_message_without_its_end_is_counted_as_cut),
        SYSTEM_TEST(totals_stay_when_connections_close),
        SYSTEM_TEST(totals_stay_when_workers_are_killed),
        SYSTEM_TEST(totals_stay_over_reloads),
        SYSTEM_TEST(figures_can_be_read_after_the_master_was_killed),
        SYSTEM_TEST(figures_can_be_read_while_everything_hangs),
        SYSTEM_TEST(totals_never_go_backwards_under_load_kills_and_reloads),
        SYSTEM_TEST(prometheus_and_json_tell_the_same),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
