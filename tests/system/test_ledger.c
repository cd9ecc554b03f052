/* What messages can make one worker hold: within worker_memory_max and 32 MiB, whatever they are,
 * and good senders are served all the same. LEDGER_FULL=1, as `make soak` has it, takes the sizes
 * that were seen to cost a worker a GiB and more where these take long. */
#include "faults.h"
#include "ledger_case.h"
#include "nats_case.h"
#include "raw_frame.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY         2000       /* bytes of one of many messages: it is copied for each member */
#define REPLY        (16 * MIB) /* the largest */
#define FULL_SECONDS 1700       /* for all tests */

static unsigned
full_or(unsigned full, unsigned usual)
{
    return getenv("LEDGER_FULL") != NULL ? full : usual;
}

static void
expect_frame(struct peer *p, const char *wants, size_t n)
{
    char *got = malloc(n);

    assert_int_equal(peer_read(p, got, n), 0);
    assert_memory_equal(got, wants, n);
    free(got);
}

static void
a_broadcast_is_kept_once_for_all_members(void **state)
{
    struct daemon *d =
        ledger_begin(&(struct daemon_options){0}, "frame", "handler=broadcast&send_queue_max=4M");
    const unsigned members = 1500;
    char *large = ledger_frame(MIB);

    (void)state;
    ledger_connect(d, members + 1);
    WAIT_FOR(stats_total(d, "open") == members + 1, 20000);
    ledger_write_all(d, &ledger_peers[members], large, MIB + 4);
    WAIT_FOR(stats_total(d, "messages") == 1 && ledger_look(d), 20000);
    ledger_look(d);
    ledger_expect_good(d);
    for (unsigned i = 0; i < members; i++)
        expect_frame(&ledger_peers[i], large, MIB + 4);
    ledger_look(d);
    ledger_close(members + 1);
    free(large);
    daemon_stop(d);
}

/* Thousands of messages are there at once, for members that read nothing. */
static void
expect_many_to_be_broadcast(size_t n)
{
    struct daemon *d = ledger_begin(&(struct daemon_options){0}, "frame", "handler=broadcast");
    const unsigned members = 1000, sent = 4000;
    size_t left = sent * (n + 4);
    char *message = ledger_frame(n);
    uint64_t turns, before;

    ledger_connect(d, members + 1);
    WAIT_FOR(stats_total(d, "open") == members + 1, 20000);
    before = ledger_memory(d, proc_memory_peak);
    turns = stats_total(d, "turns");
    WAIT_FOR((left = ledger_write_some(&ledger_peers[members], message, n + 4, left)) == 0,
             LEDGER_PATIENT);
    WAIT_FOR(stats_total(d, "messages") == sent, LEDGER_PATIENT);
    assert_true(stats_total(d, "turns") - turns > sent / 100);
    assert_true(ledger_memory(d, proc_memory_peak) - before < LEDGER_MAX + LEDGER_SLACK);
    ledger_expect_good(d);
    ledger_close(members + 1);
    free(message);
    daemon_stop(d);
}

static void
a_broadcast_of_many_messages_takes_many_turns_and_little_memory(void **state)
{
    (void)state;
    expect_many_to_be_broadcast(1);
    expect_many_to_be_broadcast(2000); /* it is copied for each member */
}

/* A daemon whose first listener has a key and the options more; url is for senders. */
static struct daemon *
begin_sealed(const char *proto, const char *more, char url[3 * HARNESS_PATH_LEN])
{
    char dir[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN], options[2 * HARNESS_PATH_LEN];
    struct daemon *d;

    harness_directory(dir);
    harness_join(key, dir, "key");
    harness_write_file(key, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(chmod(key, 0600), 0);
    snprintf(options, sizeof(options), "%s&key_file=%s", more, key);
    d = ledger_begin(&(struct daemon_options){0}, proto, options);
    snprintf(url, 3 * HARNESS_PATH_LEN, "%s://%s/s?key_file=%s", proto, d->dir, key);
    return d;
}

static void
a_sealed_broadcast_is_sealed_once_for_all_members(void **state)
{
    char url[3 * HARNESS_PATH_LEN], *text = raw_body(120000, 1);
    struct daemon *d = begin_sealed("frame", "handler=broadcast&send_queue_max=4M", url);
    const unsigned members = 200, sent = 8;

    (void)state;
    ledger_connect(d, members);
    WAIT_FOR(stats_total(d, "open") == members, 20000);
    for (unsigned i = 0; i < sent; i++) {
        struct run_result r = run_program(harness_program("msock"), "-u", url, "send", text, NULL);

        assert_int_equal(r.status, 0);
        run_result_free(&r);
        WAIT_FOR(stats_total(d, "messages") == i + 1 && ledger_look(d), 20000);
    }
    ledger_expect_good(d);
    for (unsigned i = 0; i < members; i++) {
        char *got = malloc(sent * (4 + 120000 + 32)); /* sealed, so it is longer */

        assert_int_equal(peer_read(&ledger_peers[i], got, sent * (4 + 120000 + 32)), 0);
        free(got);
    }
    ledger_close(members);
    free(text);
    daemon_stop(d);
}

/* Each is as large as all memory. */
static void
large_sealed_messages_take_little_memory_to_be_opened(void **state)
{
    char url[3 * HARNESS_PATH_LEN], path[HARNESS_PATH_LEN];
    struct daemon *d = begin_sealed("msp", "handler=discard", url);
    const char *argv[] = {harness_program("msock"), "-u", url, "send-file", path, NULL};
    struct running senders[6];
    const unsigned count = MS_ARRAY_LEN(senders);
    char *large = raw_body(LEDGER_MAX, 1);

    (void)state;
    harness_join(path, d->dir, "large");
    harness_write_file(path, large, LEDGER_MAX);
    free(large);
    for (unsigned i = 0; i < count; i++)
        run_start(&senders[i], argv, NULL);
    WAIT_FOR(stats_total(d, "messages") == count && ledger_look(d), 60000);
    for (unsigned i = 0; i < count; i++) {
        struct run_result r;

        run_finish(&senders[i], 60000, &r);
        assert_int_equal(r.status, 0);
        run_result_free(&r);
    }
    ledger_expect_good(d);
    daemon_stop(d);
}

/* The sender has no key. Over msp it is refused with its first packet (refusals); a frame has to be
 * read to its end, or to that of the connection. */
static void
rubbish_for_a_sealed_listener_takes_little_memory(void **state)
{
    char url[3 * HARNESS_PATH_LEN], *rubbish = ledger_frame(250 * MIB);
    struct daemon *d = begin_sealed("frame", "handler=journal", url);

    (void)state;
    ledger_connect(d, 2);
    for (unsigned i = 0; i < 2; i++)
        ledger_write_all(d, &ledger_peers[i], rubbish, 250 * MIB + 4);
    WAIT_FOR(stats_total(d, "rej") + stats_total(d, "err") == 2 && ledger_look(d), LEDGER_PATIENT);
    assert_int_equal(stats_total(d, "messages"), 0);
    ledger_expect_good(d);
    ledger_close(2);
    free(rubbish);
    daemon_stop(d);
}

/* A document of so many empty objects. */
static void
write_objects(char path[HARNESS_PATH_LEN], const char *dir, const char *name, unsigned count)
{
    char *text = malloc(3 * (size_t)count + 4), *at = text;

    *at++ = '[';
    for (unsigned i = 0; i < count; i++, at += 3)
        memcpy(at, "{},", 3);
    memcpy(at, "0]", 2);
    harness_join(path, dir, name);
    harness_write_file(path, text, 3 * (size_t)count + 3);
    free(text);
}

static void
send_documents(const struct daemon *d, const char *path, unsigned count, int status,
               const char *says)
{
    char file[HARNESS_PATH_LEN + 1], url[HARNESS_PATH_LEN + 32];
    const char *argv[] = {harness_program("msock"), "-u", url, "send-json", file, NULL};
    struct running senders[6];

    snprintf(file, sizeof(file), "@%s", path);
    snprintf(url, sizeof(url), "msp://%s/s", d->dir);
    for (unsigned i = 0; i < count; i++)
        run_start(&senders[i], argv, NULL);
    for (unsigned i = 0; i < count; i++) {
        struct run_result r;

        WAIT_FOR(run_ended(&senders[i], 1) && ledger_look(d), LEDGER_PATIENT);
        run_finish(&senders[i], LEDGER_PATIENT, &r);
        if (r.status != status || strstr(r.err, says) == NULL)
            fail_msg("status %d: %s", r.status, r.err);
        run_result_free(&r);
    }
}

/* The tree of one takes 32 MiB: so one after the other. That of the next alone takes too much. */
static void
documents_are_parsed_as_there_is_memory(void **state)
{
    struct daemon *d = ledger_begin(&(struct daemon_options){0}, "msp", "handler=discard");
    char path[HARNESS_PATH_LEN];

    (void)state;
    write_objects(path, d->dir, "good", 150000);
    send_documents(d, path, 6, 0, "");
    write_objects(path, d->dir, "large", 490000);
    send_documents(d, path, 3, 65, "bytes of memory to parse");
    ledger_expect_good(d);
    daemon_stop(d);
}

static void
large_echoes_are_read_from_files_piece_by_piece(void **state)
{
    struct daemon *d = ledger_begin(&(struct daemon_options){0}, "frame", "handler=echo");
    const unsigned count = full_or(60, 24);
    char *large = ledger_frame(REPLY);

    (void)state;
    ledger_connect(d, count);
    for (unsigned i = 0; i < count; i++)
        ledger_write_all(d, &ledger_peers[i], large, REPLY + 4);
    WAIT_FOR(stats_total(d, "messages") == count && ledger_look(d), LEDGER_PATIENT);
    ledger_expect_good(d);
    for (unsigned i = 0; i < count; i++) {
        expect_frame(&ledger_peers[i], large, REPLY + 4);
        ledger_look(d);
    }
    ledger_close(count);
    free(large);
    daemon_stop(d);
}

/* Many senders that send far ahead, `each` messages of n bytes: what the worker has taken waits,
 * the rest is not read. Once go_on lets them, all are committed. */
static void
flood(struct daemon *d, unsigned senders, const char *message, size_t n, size_t each,
      void (*go_on)(struct daemon *d))
{
    size_t left[LEDGER_PEERS], all = 0;
    struct waiting w = waiting_begin(full_or(4, 1) * LEDGER_PATIENT);

    for (unsigned i = 0; i < senders; i++)
        left[i] = each * n;
    ledger_send_until_calm(d, senders, message, n, left, &w);
    go_on(d);
    do {
        all = 0;
        for (unsigned i = 0; i < senders; i++)
            all += left[i] = ledger_write_some(&ledger_peers[i], message, n, left[i]);
        ledger_look(d);
    } while (all > 0 && waiting_more(&w));
    assert_int_equal(all, 0);
    WAIT_FOR(stats_total(d, "messages") >= (uint64_t)senders * each && ledger_look(d),
             LEDGER_PATIENT);
}

static void
the_disk_is_fast_again(struct daemon *d)
{
    faults_set(d, "");
}

static void
a_slow_disk_makes_the_senders_wait(void **state)
{
    struct daemon *d;
    char *message;

    (void)state;
    faults_need();
    message = ledger_frame(5000);
    d = ledger_begin(&(struct daemon_options){.faults = true}, "frame", "reply=no");
    faults_set(d, "sync delay-3000 /journal/ 1\n");
    ledger_connect(d, 200);
    flood(d, 200, message, 5004, full_or(1100, 200), the_disk_is_fast_again);
    ledger_expect_good(d);
    ledger_close(200);
    free(message);
    daemon_stop(d);
}

static void
messages_that_wait_for_a_child_make_their_senders_wait(void **state)
{
    struct daemon *d = ledger_begin_behind_gate(&(struct daemon_options){0}, "&reply=no", 0);
    char *message = ledger_frame(4500);

    (void)state;
    ledger_connect(d, 60);
    flood(d, 60, message, 4504, full_or(1100, 500), ledger_open_gate);
    ledger_expect_good(d);
    ledger_close(60);
    free(message);
    daemon_stop(d);
}

static void
replies_out_of_their_order_wait_in_files(void **state)
{
    /* The first message waits for the gate. */
    static const char form[] =
        "handler=exec&exec=once&exec_children=4&exec_timeout=20m&command="
        "read%%20x;case%%20$x%%20in%%20s*)%%20until%%20test%%20-e%%20%s;do%%20sleep%%20.1;done;;"
        "*)%%20head%%20-c%%2016777216%%20/dev/zero;;esac";
    char options[sizeof(form) + HARNESS_PATH_LEN], dir[HARNESS_PATH_LEN];
    struct daemon *d;
    char *zeros = calloc(1, REPLY + 4);
    const unsigned count = full_or(1023, 16);
    char *wire = ledger_frame(2);

    (void)state;
    harness_directory(dir);
    harness_join(ledger_gate, dir, "gate");
    snprintf(options, sizeof(options), form, ledger_gate);
    d = ledger_begin(&(struct daemon_options){0}, "frame", options);
    ledger_connect(d, 1);
    for (unsigned i = 0; i <= count; i++) {
        memcpy(wire + 4, i == 0 ? "s\n" : "l\n", 2);
        ledger_write_all(d, &ledger_peers[0], wire, 6);
    }
    WAIT_FOR(stats_total(d, "messages") == count && ledger_look(d),
             full_or(10, 1) * LEDGER_PATIENT);
    ledger_expect_good(d);
    ledger_open_gate(d);
    raw_frame_head((uint8_t *)zeros, REPLY);
    for (unsigned i = 0; i < count; i++)
        expect_frame(&ledger_peers[0], zeros, REPLY + 4);
    ledger_look(d);
    ledger_close(1);
    free(zeros);
    free(wire);
    daemon_stop(d);
}

/* The server is stopped, so nothing that was published is answered. */
static void
messages_under_way_to_nats_are_in_the_ledger(void **state)
{
    const size_t len = 240000;
    const unsigned senders = 450;
    size_t left[450], all;
    char *message = ledger_frame(len), url[3][256];
    struct daemon_options o = {.workers = 1, .errors_expected = true};
    struct nats n = {0};
    struct waiting w;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(url[i], sizeof(url[i]),
                 "frame://127.0.0.1:0?handler=nats&stream=S&servers=nats://127.0.0.1:%u&"
                 "stream_create=yes&nats_timeout=60s&reply=no",
                 n.port);
        o.listen[i] = url[i];
    }
    d = daemon_start(&o);
    proc_stop(n.run.pid);
    for (unsigned i = 0; i < senders; i++) {
        peer_connect(&ledger_peers[i], &d->listeners[i % 3]);
        left[i] = len + 4;
    }
    w = waiting_begin(3000);
    do {
        for (unsigned i = 0; i < senders; i++)
            left[i] = ledger_write_some(&ledger_peers[i], message, len + 4, left[i]);
        ledger_look(d);
    } while (waiting_more(&w));
    proc_go_on(n.run.pid);
    w = waiting_begin(LEDGER_PATIENT);
    do {
        all = 0;
        for (unsigned i = 0; i < senders; i++)
            all += left[i] = ledger_write_some(&ledger_peers[i], message, len + 4, left[i]);
        ledger_look(d);
    } while (all > 0 && waiting_more(&w));
    WAIT_FOR(stats_total(d, "messages") == senders && ledger_look(d), LEDGER_PATIENT);
    ledger_close(senders);
    free(message);
    daemon_stop(d);
}

static int
set_up(void **state)
{
    int rc = harness_begin(state);

    if (full_or(1, 0))
        alarm(FULL_SECONDS * WAIT_SCALE);
    return rc;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_broadcast_is_kept_once_for_all_members),
        SYSTEM_TEST(a_broadcast_of_many_messages_takes_many_turns_and_little_memory),
        SYSTEM_TEST(a_sealed_broadcast_is_sealed_once_for_all_members),
        SYSTEM_TEST(large_sealed_messages_take_little_memory_to_be_opened),
        SYSTEM_TEST(rubbish_for_a_sealed_listener_takes_little_memory),
        SYSTEM_TEST(documents_are_parsed_as_there_is_memory),
        SYSTEM_TEST(large_echoes_are_read_from_files_piece_by_piece),
        SYSTEM_TEST(a_slow_disk_makes_the_senders_wait),
        SYSTEM_TEST(messages_that_wait_for_a_child_make_their_senders_wait),
        SYSTEM_TEST(replies_out_of_their_order_wait_in_files),
        SYSTEM_TEST(messages_under_way_to_nats_are_in_the_ledger),
    };

    return cmocka_run_group_tests(tests, set_up, harness_end);
}
