/* A worker that stands still for seconds, because the disk does or because it got no time: nobody
 * pays for that but with the wait, and no deadline counts it against a sender who was in time. */
#include "faults.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SENDERS  600
#define STALL_MS 2500

static const struct outgoing small = {.kind = 'A', .body = "a small message", .len = 15};

/* A message in two parts, the first of which is no whole packet. */
struct halves {
    uint8_t data[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t first, n;
};

static void
halves_make(struct halves *h)
{
    h->n = wire_ahead(h->data, &small);
    h->first = WIRE_FIRST_HEADER + 3;
}

static void
send_first(struct peer *p, const struct halves *h)
{
    assert_int_equal(peer_write(p, h->data, h->first), 0);
}

static void
send_rest(struct peer *p, const struct halves *h)
{
    assert_int_equal(peer_write(p, h->data + h->first, h->n - h->first), 0);
}

static void
expect_acks(struct peer *p, unsigned index)
{
    struct answer a;

    for (unsigned i = 0; i < 2; i++)
        if (peer_answer(p, &a) != ANSWER_ACK)
            fail_msg("sender %u, answer %u: \"%s\" (%d)", index, i, a.text, (int)a.kind);
}

static void
await_deadline(uint64_t at_us)
{
    WAIT_FOR(now_us() >= at_us, 20000);
}

/* Until it goes on, what is sent waits, so that the worker finds all of it in one turn. */
static pid_t
worker_stop(const struct daemon *d)
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
    proc_stop(workers.pid[0]);
    return workers.pid[0];
}

/* Returns when a sync that a rule delays has begun. */
static void
await_slow_sync(const struct daemon *d, uint64_t struck_before)
{
    WAIT_FOR(faults_struck(d) > struck_before, 10000);
}

static void
senders_of_another_listener_are_answered_after_a_slow_sync(void **state)
{
    struct daemon *d;
    struct peer peers[20], writer;
    struct halves h;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .faults = true,
        .listen = {"msp://127.0.0.1:0?handler=discard", "msp://127.0.0.1:0?handler=journal"}});
    halves_make(&h);
    peer_connect(&writer, &d->listeners[1]);
    for (unsigned i = 0; i < 20; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        send_first(&peers[i], &h);
    }
    WAIT_FOR(stats_total(d, "bytes_in") == 20 * h.first, 5000);
    await_deadline(now_us() + 100000); /* nobody is expected soon: it is done inline */
    faults_set(d, "sync delay-2500 /journal/ 1\n");
    assert_int_equal(peer_write(&writer, h.data, h.n), 0);
    await_slow_sync(d, 0);
    faults_set(d, "");
    for (unsigned i = 0; i < 20; i++)
        send_rest(&peers[i], &h);
    for (unsigned i = 0; i < 20; i++)
        expect_acks(&peers[i], i);
    expect_acks(&writer, 20);
    daemon_stop(d);
}

static void
who_sent_in_time_is_not_timed_out_by_a_worker_that_stood_still(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "discard"});
    struct peer *peers = calloc(SENDERS, sizeof(*peers));
    struct halves h;
    pid_t worker;

    (void)state;
    assert_non_null(peers);
    halves_make(&h);
    worker = worker_stop(d);
    for (unsigned i = 0; i < SENDERS; i++) {
        peer_connect(&peers[i], &d->listeners[0]);
        send_first(&peers[i], &h);
    }
    proc_go_on(worker);
    WAIT_FOR(stats_total(d, "bytes_in") == SENDERS * h.first, 10000);
    worker = worker_stop(d); /* before the first of them is late */
    for (unsigned i = 0; i < SENDERS; i++)
        send_rest(&peers[i], &h);
    await_deadline(now_us() + STALL_MS * 1000);
    proc_go_on(worker);
    for (unsigned i = 0; i < SENDERS; i++)
        expect_acks(&peers[i], i);
    daemon_stop(d);
    free(peers);
}

static void
garbage_behind_a_message_is_answered_after_its_slow_commit(void **state)
{
    struct daemon *d;
    struct peer p, other;
    struct halves h;
    struct answer a;
    char garbage[200];
    pid_t worker;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "journal", .faults = true});
    halves_make(&h);
    memset(garbage, 'x', sizeof(garbage));
    peer_connect(&p, &d->listeners[0]);
    peer_connect(&other, &d->listeners[0]);
    faults_set(d, "sync delay-3500 /journal/ 1\n");
    worker = worker_stop(d);
    send_first(&other, &h); /* its message is expected, so the worker goes on during the commit */
    assert_int_equal(peer_write(&p, h.data, h.n), 0);
    assert_int_equal(peer_write(&p, garbage, sizeof(garbage)), 0);
    proc_go_on(worker);
    await_slow_sync(d, 0);
    faults_set(d, "");
    expect_acks(&p, 0);
    if (peer_answer(&p, &a) != ANSWER_ERR)
        fail_msg("after the message: \"%s\" (%d)", a.text, (int)a.kind);
    assert_string_equal(a.code, "bad-header");
    daemon_stop(d);
}

/* The time for the ACK of a receipt begins when the receipt leaves, not before its commit. */
static void
a_receipt_is_not_repeated_because_its_commit_was_slow(void **state)
{
    struct daemon *d;
    struct raw r;
    struct raw_packet receipt;
    char extra[64];

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.workers = 1,
                                              .handler = "journal",
                                              .listen = {"cnp://127.0.0.1:0?reply=yes"},
                                              .faults = true});
    raw_connect(&r, &raw_cnp_burst, &d->listeners[0], RAW_WHOLE);
    faults_set(d, "sync delay-2500 /journal/ 1\n");
    assert_int_equal(r.kind->send(&r, "slow", 4), 0);
    if (raw_cnp_get(&r, &receipt) < 0)
        fail_msg("no receipt");
    assert_int_equal(receipt.type, RAW_CNP_DATA);
    free(receipt.payload);
    if (peer_read_some(&r.peer, extra, sizeof(extra), 300) > 0)
        fail_msg("a packet of type %d behind the receipt", extra[4]);
    faults_set(d, "");
    raw_close(&r);
    daemon_stop(d);
}

/* During a commit that is held: what p sends is received, and the worker rests. */
static void
expect_receiving(const struct daemon *d, struct peer *p, const struct halves *h)
{
    uint64_t bytes = stats_total(d, "bytes_in"), turns;

    assert_int_equal(peer_write(p, h->data, h->n), 0);
    WAIT_FOR(stats_total(d, "bytes_in") >= bytes + h->n, 5000);
    turns = stats_workers_sum(d, "turns");
    await_deadline(now_us() + 1000000);
    turns = stats_workers_sum(d, "turns") - turns;
    if (turns > 1000)
        fail_msg("the worker's loop turned %llu times during a commit", (unsigned long long)turns);
}

static bool
send_byte(struct peer *p, const uint8_t data[WIRE_FIRST_MAX], size_t *sent)
{
    return *sent + 1 < WIRE_FIRST_MAX && peer_write(p, data + (*sent)++, 1) == 0;
}

static void
slow_commits_in_a_row_keep_nobody_from_sending(void **state)
{
    struct daemon *d;
    struct peer peers[3], other;
    uint8_t slow[WIRE_FIRST_MAX];
    char body[WIRE_FIRST_BODY] = "";
    struct outgoing large = {.kind = 'A', .body = body, .len = sizeof(body)};
    struct halves h;
    size_t sent = 0;
    uint64_t struck = 0;
    pid_t worker;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "journal", .faults = true});
    halves_make(&h);
    wire_first(slow, &large);
    peer_connect(&other, &d->listeners[0]);
    for (unsigned i = 0; i < 3; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    faults_set(d, "sync hold /journal/ 1\n");
    worker = worker_stop(d);
    assert_true(send_byte(&other, slow, &sent));
    assert_int_equal(peer_write(&peers[0], h.data, h.n), 0);
    proc_go_on(worker);
    for (unsigned i = 1; i < 3; i++) {
        /* A sender that is heard all the time: a commit that begins now is the thread's. */
        WAIT_FOR(send_byte(&other, slow, &sent) && faults_struck(d) > struck, 10000);
        struck = faults_struck(d);
        expect_receiving(d, &peers[i], &h);
        faults_set(d, i == 1 ? "sync hold /journal/ 1\n\n" : ""); /* holds the next one, or none */
    }
    for (unsigned i = 0; i < 3; i++)
        expect_acks(&peers[i], i);
    daemon_stop(d);
}

/* Each directory of its path is made safe, which takes as long as the disk likes. */
static void
the_commit_of_a_file_keeps_nobody_waiting(void **state)
{
    const struct outgoing file = {'F', 0, "a/b/c", 5, "x", 1};
    struct daemon *d;
    struct peer peers[2];
    struct answer a;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "journal", .faults = true});
    for (unsigned i = 0; i < 2; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    await_deadline(now_us() + 100000); /* nobody else is expected soon */
    faults_set(d, "syncdir hold /files 1\n");
    peer_post(&peers[0], &file);
    WAIT_FOR(faults_struck(d) > 0, 10000);
    assert_int_equal(peer_send(&peers[1], &small, &a), ANSWER_ACK);
    faults_set(d, "");
    expect_acks(&peers[0], 0);
    daemon_stop(d);
}

/* Its blocks are freed by the close of its last descriptor. */
static void
the_file_of_a_message_that_is_dropped_keeps_nobody_waiting(void **state)
{
    static uint8_t part[400000]; /* more than a message may have in memory */
    struct daemon *d;
    struct peer unfinished, other;
    struct answer a;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .faults = true,
        .listen = {"frame://127.0.0.1:0?handler=journal", "msp://127.0.0.1:0?handler=discard"}});
    raw_frame_head(part, 2 * sizeof(part));
    peer_connect(&unfinished, &d->listeners[0]);
    peer_connect(&other, &d->listeners[1]);
    assert_int_equal(peer_write(&unfinished, part, sizeof(part)), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == sizeof(part), 10000);
    faults_set(d, "close hold (deleted) 1\n");
    peer_close(&unfinished);
    WAIT_FOR(faults_struck(d) > 0, 10000);
    assert_int_equal(peer_send(&other, &small, &a), ANSWER_ACK);
    faults_set(d, "");
    daemon_stop(d);
}

/* Gives it all that its socket takes while nobody reads. Returns how many bytes that is. */
static uint64_t
fill_socket(struct peer *p)
{
    static uint8_t data[1u << 20];
    uint64_t sent = 0;
    ssize_t n;

    raw_frame_head(data, 64u << 20);
    while ((n = send(p->fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
        memset(data, 0, 4);
        sent += (uint64_t)n;
    }
    return sent;
}

/* What comes behind them in the same turn waits for no more than that. */
static void
a_turn_reads_little_of_many_who_send_much(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .listen = {"frame://127.0.0.1:0?handler=discard&max_message_size=64M"}});
    struct peer peers[32];
    uint64_t sent = 0, turns;
    pid_t worker;

    (void)state;
    for (unsigned i = 0; i < MS_ARRAY_LEN(peers); i++)
        peer_connect(&peers[i], &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") == MS_ARRAY_LEN(peers), 10000);
    turns = stats_total(d, "turns");
    worker = worker_stop(d);
    for (unsigned i = 0; i < MS_ARRAY_LEN(peers); i++)
        sent += fill_socket(&peers[i]);
    assert_int_equal(signal_send(worker, SIGCONT), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == sent, 60000);
    assert_true(stats_total(d, "turns") - turns + 1 >= sent >> 21);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(senders_of_another_listener_are_answered_after_a_slow_sync),
        SYSTEM_TEST(who_sent_in_time_is_not_timed_out_by_a_worker_that_stood_still),
        SYSTEM_TEST(garbage_behind_a_message_is_answered_after_its_slow_commit),
        SYSTEM_TEST(a_receipt_is_not_repeated_because_its_commit_was_slow),
        SYSTEM_TEST(slow_commits_in_a_row_keep_nobody_from_sending),
        SYSTEM_TEST(the_commit_of_a_file_keeps_nobody_waiting),
        SYSTEM_TEST(the_file_of_a_message_that_is_dropped_keeps_nobody_waiting),
        SYSTEM_TEST(a_turn_reads_little_of_many_who_send_much),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
