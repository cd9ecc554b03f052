/* Messages that come again, after their first copy was committed: each has one record, whatever
 * breaks (docs/protocol.md 1.9). */
#include "faults.h"
#include "load.h"
#include "proxy.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A daemon whose port stays the same when it is started again. */
static struct daemon *
start_to_stay(const struct daemon_options *options)
{
    struct daemon *d = daemon_start(options);

    daemon_keep_ports(d);
    daemon_stop(d);
    daemon_launch(d);
    return d;
}

static enum answer_kind
send_once(const struct daemon *d, const struct outgoing *m, struct answer *a)
{
    struct peer p;
    enum answer_kind kind;

    peer_connect(&p, &d->listeners[0]);
    p.answer_ms = 30000 * WAIT_SCALE;
    kind = peer_send(&p, m, a);
    peer_close(&p);
    return kind;
}

/* Sends it and returns its receipt, which the caller frees. */
static char *
receipt_of(const struct daemon *d, const struct outgoing *m)
{
    struct outgoing asks = *m;
    struct answer a;
    struct peer p;
    char *receipt;
    size_t n;

    asks.flags |= WIRE_REPLY;
    peer_connect(&p, &d->listeners[0]);
    p.answer_ms = 30000 * WAIT_SCALE;
    if (peer_send(&p, &asks, &a) != ANSWER_ACK)
        fail_msg("%s: \"%s\"", (const char *)m->value, a.text);
    receipt = peer_reply(&p, &n);
    assert_non_null(receipt);
    peer_close(&p);
    return receipt;
}

/* Of a message, a blob, a file and a file with a number. */
static char blob_body[5000];

static const struct outgoing kinds[] = {
    {.kind = 'A', .value = "a message", .value_len = 9, .body = "text", .len = 4},
    {.kind = 'J', .value = "\"quoted\" \xc3\xa4", .value_len = 11, .body = "[1]", .len = 3},
    {.kind = 'A', .value = "bytes \xff\x01", .value_len = 8, .body = "text", .len = 4},
    {.kind = 'A', .value = "a blob", .value_len = 6, .body = blob_body, .len = sizeof(blob_body)},
    {.kind = 'F', .value = "dir/a", .value_len = 5, .body = "one", .len = 3},
    {.kind = 'F', .value = "dir/b", .value_len = 5, .body = "two", .len = 3},
};
#define KINDS (MS_ARRAY_LEN(kinds))

static void
expect_again(const struct daemon *d, char *const receipts[KINDS])
{
    for (size_t i = 0; i < KINDS; i++) {
        char expected[512], *again = receipt_of(d, &kinds[i]);

        snprintf(expected, sizeof(expected), "%.*s,\"duplicate\":true}",
                 (int)strlen(receipts[i]) - 1, receipts[i]);
        assert_string_equal(again, expected);
        free(again);
    }
}

static void
the_receipt_comes_again_over_workers_reloads_kills_and_restarts(void **state)
{
    static const struct outgoing before = {
        .kind = 'F', .value = "dir/b", .value_len = 5, .body = "other", .len = 5};
    struct daemon *d = start_to_stay(&(struct daemon_options){
        .workers = 2, .set = {"on_conflict=number", "inline_max=1K"}, .errors_expected = true});
    char *receipts[KINDS];
    struct proc_list workers;
    struct answer a;

    (void)state;
    memset(blob_body, 'b', sizeof(blob_body));
    assert_int_equal(send_once(d, &before, &a), ANSWER_ACK);
    for (size_t i = 0; i < KINDS; i++)
        receipts[i] = receipt_of(d, &kinds[i]);
    assert_non_null(strstr(receipts[KINDS - 1], "\"files/dir/b.1\""));
    expect_again(d, receipts);
    daemon_reload(d);
    expect_again(d, receipts);
    daemon_workers(d, &workers);
    for (unsigned i = 0; i < workers.count; i++)
        signal_send(workers.pid[i], SIGKILL);
    expect_again(d, receipts);
    daemon_stop(d);
    daemon_launch(d);
    expect_again(d, receipts);
    assert_int_equal(stats_total(d, "duplicates"), KINDS);
    daemon_kill(d);
    daemon_launch(d);
    expect_again(d, receipts);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), KINDS + 1);
    for (size_t i = 0; i < KINDS; i++)
        free(receipts[i]);
}

/* The ids of the daemon are behind the clock then, until its next start. */
static void
a_clock_that_was_set_forward_does_not_hide_them_from_the_next_start(void **state)
{
    struct daemon *d = start_to_stay(
        &(struct daemon_options){.workers = 2, .clock = true, .errors_expected = true});
    struct answer a;

    (void)state;
    daemon_shift_clock(d, 3600);
    assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    daemon_kill(d);
    daemon_launch(d);
    assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "duplicates"), 1);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
a_connection_shows_its_duplicates(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct peer_counts counts = {0};
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(peer_send_plain(&p, "again", "x", 1, &a), ANSWER_ACK);
    assert_int_equal(peer_send_plain(&p, "again", "y", 1, &a), ANSWER_REJ);
    assert_string_equal(a.code, "id-reused");
    WAIT_FOR(stats_conn(d, p.name, &counts, NULL) && counts.duplicates == 2, 5000);
    assert_int_equal(counts.messages, 3);
    assert_int_equal(stats_total(d, "duplicates"), 2);
    peer_close(&p);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
without_a_window_each_one_is_a_message(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 2, .set = {"dedup_window=0"}});
    struct answer a;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "duplicates"), 0);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 3);
}

static void
an_id_is_new_again_after_its_window(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 2, .listen = {"msp://127.0.0.1:0?dedup_window=100ms"}});
    struct answer a;

    (void)state;
    assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    usleep(300000);
    assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

static void
a_file_that_was_taken_away_is_the_same_for_the_window(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 2, .listen = {"msp://127.0.0.1:0?dedup_window=5m"}});
    char path[HARNESS_PATH_LEN + 16];
    struct answer a;

    (void)state;
    snprintf(path, sizeof(path), "%s/files/dir/a", d->data_dir);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(send_once(d, &kinds[4], &a), ANSWER_ACK);
        assert_int_equal(unlink(path), i == 0 ? 0 : -1);
    }
    assert_int_equal(stats_total(d, "duplicates"), 1);
    daemon_stop(d);
}

static void
where_there_is_no_room_the_oldest_are_forgotten_and_counted(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 2, .handler = "discard", .set = {"dedup_max=10"}});
    struct answer a;
    struct peer p;
    char id[8];

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (unsigned i = 0; i < 31; i++) {
        snprintf(id, sizeof(id), "%u", i % 30); /* the last one is the first again */
        assert_int_equal(peer_send_plain(&p, id, "x", 1, &a), ANSWER_ACK);
    }
    WAIT_FOR(stats_total(d, "evicted") == 21, 5000);
    assert_int_equal(stats_total(d, "duplicates"), 0);
    assert_int_equal(peer_send_plain(&p, "29", "x", 1, &a), ANSWER_ACK);
    WAIT_FOR(stats_total(d, "duplicates") == 1, 5000);
    daemon_stop(d);
}

static void
a_reload_does_not_change_how_many_ids_there_are(void **state)
{
    struct daemon *d = daemon_create(
        &(struct daemon_options){.config = "listen = { \"msp://127.0.0.1:0\" }\ndedup_max = 100\n",
                                 .errors_expected = true});
    struct run_result result;

    (void)state;
    daemon_launch(d);
    daemon_configure(d, "listen = { \"msp://127.0.0.1:0\" }\ndedup_max = 200\n");
    result = daemon_control(d, "reload", NULL);
    assert_int_not_equal(result.status, 0);
    assert_non_null(strstr(result.err, "dedup_max cannot change while running"));
    run_result_free(&result);
    daemon_stop(d);
}

/* --- a worker dies in the middle of a commit --- */

/* The worker is killed in that call, and has told nobody. */
static void
expect_one_record_after(const char *call, unsigned duplicates)
{
    struct daemon *d;
    struct proc_list workers;
    uint64_t struck;
    struct answer a;
    struct peer p;

    faults_need();
    d = daemon_start(
        &(struct daemon_options){.workers = 1, .faults = true, .errors_expected = true});
    struck = faults_struck(d);
    peer_connect(&p, &d->listeners[0]);
    faults_set(d, call);
    peer_post(&p, &kinds[0]);
    WAIT_FOR(faults_struck(d) > struck, 20000);
    faults_set(d, "");
    daemon_workers(d, &workers);
    signal_send(workers.pid[0], SIGKILL);
    assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "duplicates"), duplicates);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
what_a_dead_worker_has_written_has_no_second_record(void **state)
{
    (void)state;
    expect_one_record_after("sync hang /journal/ 1\n", 1);
}

static void
what_a_dead_worker_has_not_written_is_handled(void **state)
{
    (void)state;
    expect_one_record_after("write hang /journal/ 1\n", 0);
}

static bool
nobody_listens(const struct daemon *d)
{
    struct peer p;

    if (peer_try_connect(&p, &d->listeners[0], NULL) < 0)
        return true;
    peer_close(&p);
    return false;
}

/* The worker goes on when its master is killed, and a new daemon is there before it has finished.
 */
static void
what_a_worker_commits_after_its_master_has_no_second_record(void **state)
{
    struct daemon *d = start_to_stay(
        &(struct daemon_options){.workers = 1, .set = {LOAD_PATIENCE}, .errors_expected = true});
    uint8_t data[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_ahead(data, &kinds[0]);
    struct peer early, late;
    struct answer a;

    (void)state;
    peer_connect(&early, &d->listeners[0]);
    assert_int_equal(peer_write(&early, data, n - 1), 0);
    assert_int_equal(peer_answer(&early, &a), ANSWER_ACK); /* of the body */
    daemon_kill_master(d);
    WAIT_FOR(nobody_listens(d), 5000);
    daemon_launch(d);
    peer_connect(&late, &d->listeners[0]);
    peer_post(&late, &kinds[0]);
    assert_int_equal(peer_answer(&late, &a), ANSWER_ACK); /* of the body */
    late.answer_ms = 300;
    assert_int_equal(peer_answer(&late, &a), ANSWER_SILENCE);
    assert_int_equal(peer_write(&early, data + n - 1, 1), 0);
    assert_int_equal(peer_answer(&early, &a), ANSWER_ACK);
    peer_close(&early);
    late.answer_ms = 30000 * WAIT_SCALE;
    assert_int_equal(peer_answer(&late, &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "duplicates"), 1);
    peer_close(&late);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

/* The next handler knows nothing of the journal. */
static void
an_orphan_of_the_journal_is_handled_by_another_handler(void **state)
{
    struct proc_list workers;
    struct daemon *d;
    uint64_t struck;
    struct answer a;
    struct peer p;

    (void)state;
    faults_need();
    d = daemon_create(
        &(struct daemon_options){.config = "workers = 1\nlisten = { \"msp://127.0.0.1:0\" }\n",
                                 .faults = true,
                                 .errors_expected = true});
    daemon_launch(d);
    struck = faults_struck(d);
    peer_connect(&p, &d->listeners[0]);
    daemon_workers(d, &workers);
    faults_set(d, "write hang /journal/ 1\n");
    peer_post(&p, &kinds[0]);
    WAIT_FOR(faults_struck(d) > struck, 20000);
    faults_set(d, "");
    daemon_configure(d, "workers = 1\nlisten = { \"msp://127.0.0.1:0?handler=discard\" }\n");
    daemon_reload(d);
    signal_send(workers.pid[0], SIGKILL);
    WAIT_FOR(!proc_alive(workers.pid[0]), 5000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_once(d, &kinds[0], &a), ANSWER_ACK);
    assert_int_equal(stats_workers_sum(d, "restarts"), 0);
    daemon_stop(d);
}

/* --- everything at once --- */

#define PROXIES  4
#define SENDERS  (100 / PROXIES)
#define MESSAGES (100000 / WAIT_SCALE)

static void
break_something(struct daemon *d, unsigned turn)
{
    struct proc_list workers;

    if (turn % 16 == 7) {
        daemon_stop(d);
        daemon_launch(d);
    } else if (turn % 16 == 15) {
        daemon_kill(d);
        daemon_launch(d);
    } else if (turn % 4 == 1) {
        daemon_reload(d);
    } else {
        daemon_workers(d, &workers);
        if (workers.count > 0)
            signal_send(workers.pid[turn % workers.count], SIGKILL);
    }
}

static uint64_t
acked(struct load *const loads[PROXIES])
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PROXIES; i++)
        sum += loads[i]->acked;
    return sum;
}

static void
each_of_a_hundred_thousand_messages_has_one_record(void **state)
{
    struct daemon *d = start_to_stay(&(struct daemon_options){
        .workers = 4, .set = {LOAD_PATIENCE, "segment_size=1M"}, .errors_expected = true});
    struct waiting w = waiting_begin(200000);
    struct load *loads[PROXIES];
    unsigned turn = 0;
    struct journal j;

    (void)state;
    for (unsigned i = 0; i < PROXIES; i++) {
        struct proxy_options bad = {.seed = i + 1, .cut_every = 1000 + 1000 * i, .reset = i % 2};
        char tag[8];

        snprintf(tag, sizeof(tag), "d%u", i);
        loads[i] = load_start(&proxy_start(&d->listeners[0], &bad)->target, tag, SENDERS, 200);
    }
    while (acked(loads) < MESSAGES && waiting_more(&w)) {
        usleep(300000);
        break_something(d, turn++);
    }
    for (unsigned i = 0; i < PROXIES; i++)
        load_stop(loads[i]);
    assert_true(acked(loads) >= MESSAGES);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    for (unsigned i = 0; i < PROXIES; i++) {
        if (loads[i]->rejected + loads[i]->broken != 0)
            fail_msg("%s", loads[i]->complaint);
        assert_int_equal(load_check_journal(loads[i], &j), 0);
        assert_true(loads[i]->repeated > 0);
    }
    journal_free(&j);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_receipt_comes_again_over_workers_reloads_kills_and_restarts),
        SYSTEM_TEST(a_clock_that_was_set_forward_does_not_hide_them_from_the_next_start),
        SYSTEM_TEST(a_connection_shows_its_duplicates),
        SYSTEM_TEST(without_a_window_each_one_is_a_message),
        SYSTEM_TEST(an_id_is_new_again_after_its_window),
        SYSTEM_TEST(a_file_that_was_taken_away_is_the_same_for_the_window),
        SYSTEM_TEST(where_there_is_no_room_the_oldest_are_forgotten_and_counted),
        SYSTEM_TEST(a_reload_does_not_change_how_many_ids_there_are),
        SYSTEM_TEST(what_a_dead_worker_has_written_has_no_second_record),
        SYSTEM_TEST(what_a_dead_worker_has_not_written_is_handled),
        SYSTEM_TEST(what_a_worker_commits_after_its_master_has_no_second_record),
        SYSTEM_TEST(an_orphan_of_the_journal_is_handled_by_another_handler),
        SYSTEM_TEST(each_of_a_hundred_thousand_messages_has_one_record),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
