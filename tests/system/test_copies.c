/* A message that is sent again while its first copy is still being made safe: it waits for that
 * outcome, and is committed once (docs/protocol.md 1.9). And a sender has patience with a slow
 * disk, whatever its limit for other answers is. */
#include "faults.h"
#include "journal.h"
#include "stats.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOW "sync delay-2500 /journal/ 1\n"

/* Posts it, and returns when its sync has begun; syncs after that one are as usual. */
static void
post_slow(const struct daemon *d, struct peer *p, const struct outgoing *m, const char *rule)
{
    uint64_t struck = faults_struck(d);

    peer_connect(p, &d->listeners[0]);
    faults_set(d, rule);
    peer_post(p, m);
    WAIT_FOR(faults_struck(d) > struck, 20000);
    faults_set(d, "");
}

/* The body is acknowledged, and then comes this. */
static void
expect(struct peer *p, enum answer_kind kind, const char *code)
{
    struct answer a;

    p->answer_ms = 30000 * WAIT_SCALE;
    if (peer_answer(p, &a) != ANSWER_ACK)
        fail_msg("%s, the body: \"%s\" (%d)", p->name, a.text, (int)a.kind);
    if (peer_answer(p, &a) != kind || strcmp(a.code, code) != 0)
        fail_msg("%s: \"%s\" (%d)", p->name, a.text, (int)a.kind);
}

static struct daemon *
slow_daemon(unsigned workers)
{
    faults_need();
    return daemon_start(&(struct daemon_options){
        .workers = workers, .handler = "journal", .faults = true, .errors_expected = true});
}

static const struct outgoing message = {
    .kind = 'A', .value = "once", .value_len = 4, .body = "a message", .len = 9};

/* --- the first copy is committed --- */

static void
a_copy_to_the_same_worker_waits(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct peer first, copy;

    (void)state;
    post_slow(d, &first, &message, SLOW);
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &message);
    expect(&first, ANSWER_ACK, "");
    expect(&copy, ANSWER_ACK, "");
    assert_int_equal(stats_total(d, "duplicates"), 1);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

/* The worker goes on receiving during the commit, since something else is on its way. */
static void
a_copy_waits_in_a_worker_that_goes_on_meanwhile(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct peer first, copy, other;
    struct proc_list workers;
    uint64_t struck = faults_struck(d);
    char text[32];

    (void)state;
    peer_connect(&other, &d->listeners[0]);
    peer_connect(&first, &d->listeners[0]);
    peer_connect(&copy, &d->listeners[0]);
    daemon_workers(d, &workers);
    proc_stop(workers.pid[0]);
    faults_set(d, SLOW);
    assert_int_equal(peer_write(&other, "half a header", 13), 0);
    peer_post(&first, &message);
    proc_go_on(workers.pid[0]);
    WAIT_FOR(faults_struck(d) > struck, 20000);
    faults_set(d, "");
    peer_post(&copy, &message);
    WAIT_FOR(stats_conn(d, copy.name, &(struct peer_counts){0}, text), 20000);
    expect(&copy, ANSWER_ACK, "");
    expect(&first, ANSWER_ACK, "");
    assert_int_equal(stats_total(d, "duplicates"), 1);
    peer_close(&other);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
a_copy_to_another_worker_waits_also_when_the_first_sender_has_gone(void **state)
{
    struct daemon *d = slow_daemon(2);
    struct peer first, copies[3];

    (void)state;
    post_slow(d, &first, &message, SLOW);
    peer_close(&first);
    for (unsigned i = 0; i < 3; i++) {
        peer_connect(&copies[i], &d->listeners[0]);
        peer_post(&copies[i], &message);
    }
    for (unsigned i = 0; i < 3; i++)
        expect(&copies[i], ANSWER_ACK, "");
    assert_int_equal(stats_total(d, "duplicates"), 3);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
a_copy_that_comes_after_a_reload_waits(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct peer first, copy;

    (void)state;
    post_slow(d, &first, &message, SLOW);
    daemon_reload(d);
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &message);
    expect(&copy, ANSWER_ACK, "");
    expect(&first, ANSWER_ACK, "");
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
a_file_is_known_by_its_path_and_its_copy_gets_a_receipt(void **state)
{
    static const struct outgoing file = {.kind = 'F',
                                         .flags = WIRE_REPLY,
                                         .value = "dir/once",
                                         .value_len = 8,
                                         .body = "content",
                                         .len = 7};
    struct daemon *d = slow_daemon(2);
    struct peer first, copy;
    char *receipt, *second;
    size_t n;

    (void)state;
    post_slow(d, &first, &file, SLOW);
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &file);
    expect(&first, ANSWER_ACK, "");
    expect(&copy, ANSWER_ACK, "");
    receipt = peer_reply(&first, &n);
    second = peer_reply(&copy, &n);
    assert_non_null(receipt);
    assert_non_null(second);
    assert_non_null(strstr(second, "\"duplicate\":true"));
    assert_int_equal(strncmp(receipt, second, strlen("{\"id\":\"01234567890123456789012345\"")), 0);
    free(receipt);
    free(second);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

/* Sends a (0) and b (1) to one path, each over its own connection or all over one, and expects the
 * content of the last. */
static void
expect_last(const char *order, bool one_connection, bool at_once)
{
    static const struct outgoing files[] = {
        {.kind = 'F', .value = "p", .value_len = 1, .body = "content of a", .len = 12},
        {.kind = 'F', .value = "p", .value_len = 1, .body = "content of b", .len = 12},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "journal", .more = {"-o", "on_conflict=replace"}});
    char path[HARNESS_PATH_LEN + 16], *content;
    struct peer p[2];
    size_t n = strlen(order);

    for (size_t i = 0; i < 2; i++)
        peer_connect(&p[i], &d->listeners[0]);
    for (size_t i = 0; i < n; i++) {
        struct peer *to = &p[one_connection ? 0 : order[i] - 'a'];

        peer_post(to, &files[order[i] - 'a']);
        if (!at_once)
            expect(to, ANSWER_ACK, "");
    }
    for (size_t i = 0; i < n && at_once; i++)
        expect(&p[0], ANSWER_ACK, "");
    snprintf(path, sizeof(path), "%s/files/p", d->data_dir);
    content = harness_read_file(path, NULL);
    assert_non_null(content);
    assert_string_equal(content, files[order[n - 1] - 'a'].body);
    free(content);
    daemon_stop(d);
}

static void
a_file_that_was_replaced_is_stored_again(void **state)
{
    (void)state;
    expect_last("aba", false, false);
    expect_last("aba", true, false);
    expect_last("aba", true, true);
    expect_last("abab", true, true);
}

/* Its worker has left by then. */
static void
a_copy_that_comes_after_the_commit_and_a_reload_is_one(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct proc_list old;
    struct peer p;

    (void)state;
    daemon_workers(d, &old);
    peer_connect(&p, &d->listeners[0]);
    peer_post(&p, &message);
    expect(&p, ANSWER_ACK, "");
    peer_close(&p);
    daemon_reload(d);
    WAIT_FOR(!proc_alive(old.pid[0]), 20000);
    peer_connect(&p, &d->listeners[0]);
    peer_post(&p, &message);
    expect(&p, ANSWER_ACK, "");
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
other_content_under_the_same_id_is_refused_after_the_commit(void **state)
{
    struct outgoing other = message;
    struct daemon *d = slow_daemon(2);
    struct peer first, copy;

    (void)state;
    other.body = "something";
    post_slow(d, &first, &message, SLOW);
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &other);
    expect(&copy, ANSWER_REJ, "id-reused");
    expect(&first, ANSWER_ACK, "");
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
messages_without_an_id_have_no_copies(void **state)
{
    struct outgoing nameless = message;
    struct daemon *d = slow_daemon(2);
    struct peer first, second;

    (void)state;
    nameless.value_len = 0;
    post_slow(d, &first, &nameless, SLOW);
    peer_connect(&second, &d->listeners[0]);
    peer_post(&second, &nameless);
    expect(&first, ANSWER_ACK, "");
    expect(&second, ANSWER_ACK, "");
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 2);
}

/* --- the first copy is not --- */

static void
after_a_failed_sync_the_copy_is_handled(void **state)
{
    struct daemon *d = slow_daemon(2);
    struct peer first, copy;

    (void)state;
    post_slow(d, &first, &message, "sync delay-2500-EIO /journal/ 1\n");
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &message);
    expect(&first, ANSWER_ERR, "internal");
    expect(&copy, ANSWER_ACK, "");
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

static void
after_the_death_of_its_worker_the_copy_is_handled(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct peer_counts counts;
    struct proc_list workers;
    struct peer first, copy;
    struct journal j;
    char doing[32];

    (void)state;
    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
    post_slow(d, &first, &message, "sync hang /journal/ 1\n");
    daemon_reload(d);
    peer_connect(&copy, &d->listeners[0]);
    peer_post(&copy, &message);
    WAIT_FOR(stats_conn(d, copy.name, &counts, doing) && strcmp(doing, "committing") == 0, 20000);
    assert_int_equal(counts.messages, 0);
    assert_int_equal(signal_send(workers.pid[0], SIGKILL), 0);
    expect(&copy, ANSWER_ACK, "");
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_true(journal_find_key(&j, "once", NULL) >= 1); /* the dead one's line may be whole */
    journal_free(&j);
}

/* --- senders --- */

#define WORDS_MAX 16

/* msock -u URL WORD..., while the first sync is slow. */
static struct run_result
send_slowly(const struct daemon *d, const char *url, const char *rule, const char *const *words)
{
    const char *argv[WORDS_MAX + 4] = {harness_program("msock"), "-u", url};
    uint64_t struck = faults_struck(d);
    struct run_result result;
    struct running r;

    for (size_t i = 0; words[i] != NULL; i++)
        argv[3 + i] = words[i];
    faults_set(d, rule);
    run_start(&r, argv, NULL);
    WAIT_FOR(faults_struck(d) > struck, 20000);
    faults_set(d, "");
    run_finish(&r, 120000, &result);
    return result;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
a_sender_that_is_impatient_and_tries_again_gets_its_answer(void **state)
{
    static const char *const kinds[][3] = {{"send", "hello"}, {"send-file", "big"}};
    char path[HARNESS_PATH_LEN + 16];
    struct run_result result;
    FILE *big;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = slow_daemon(2);

        snprintf(path, sizeof(path), "%s/big", d->dir);
        big = fopen(path, "w");
        assert_non_null(big);
        for (unsigned k = 0; k < 300000; k++)
            fprintf(big, "%u\n", k);
        assert_int_equal(fclose(big), 0);
        result = send_slowly(d, d->listeners[0].url, SLOW,
                             WORDS(kinds[i][0], "--timeout", "20", "--final-timeout", "0.5",
                                   "--retries", "100", i == 0 ? kinds[i][1] : path));
        if (result.status != 0)
            fail_msg("%s: status %d, %s", kinds[i][0], result.status, result.err);
        run_result_free(&result);
        daemon_stop(d);
        if (i == 0) /* a file that is committed already is found again, and has another record */
            assert_int_equal(journal_count(d->data_dir), 1);
    }
}

/* Over each protocol that has a final answer, or a reply. */
static void
a_short_timeout_does_not_cut_the_wait_for_the_final_answer(void **state)
{
    static const struct {
        const char *listen, *url, *reply;
    } rows[] = {
        {"msp://127.0.0.1:0", "", "--quiet"},
        {"cnp://127.0.0.1:0", "", "--quiet"},
        {"cnp://127.0.0.1:0", "?mode=burst", "--quiet"},
        {"frame://127.0.0.1:0?framing=length32&reply=yes", "", "--reply"},
        {"tinyproto://127.0.0.1:0?reply=yes", "", "--reply"},
    };
    struct run_result result;
    char url[256];

    (void)state;
    faults_need();
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .workers = 1, .handler = "journal", .listen = {rows[i].listen}, .faults = true});

        snprintf(url, sizeof(url), "%s%s", d->listeners[0].url, rows[i].url);
        result = send_slowly(
            d, url, SLOW,
            WORDS("send", "--timeout", "1.5", "--retries", "0", rows[i].reply, "hello"));
        if (result.status != 0)
            fail_msg("%s%s: status %d, %s", rows[i].listen, rows[i].url, result.status, result.err);
        run_result_free(&result);
        daemon_stop(d);
        if (i == 0) /* a file that is committed already is found again, and has another record */
            assert_int_equal(journal_count(d->data_dir), 1);
    }
}

static void
lines_sent_ahead_have_the_same_patience(void **state)
{
    struct daemon *d = slow_daemon(1);
    const char *argv[] = {harness_program("msock"),
                          "-u",
                          d->listeners[0].url,
                          "send",
                          "--lines",
                          "--timeout",
                          "1.5",
                          "--retries",
                          "0",
                          NULL};
    const struct run_options input = {.input = "one\ntwo\nthree\n", .input_len = 14};
    struct run_result result;
    struct running r;

    (void)state;
    faults_set(d, SLOW);
    run_start(&r, argv, &input);
    WAIT_FOR(faults_struck(d) > 0, 20000);
    faults_set(d, "");
    run_finish(&r, 120000, &result);
    if (result.status != 0)
        fail_msg("status %d, %s", result.status, result.err);
    run_result_free(&result);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 3);
}

static void
attempts_end_and_the_message_is_in_doubt(void **state)
{
    struct daemon *d = slow_daemon(1);
    struct run_result result;

    (void)state;
    faults_set(d, "sync hold /journal/ 1\n");
    result = run_program(harness_program("msock"), "-u", d->listeners[0].url, "send",
                         "--final-timeout", "0.3", "--retries", "2", "hello", NULL);
    faults_set(d, "");
    assert_int_equal(result.status, 75);
    if (strstr(result.err, "given up after 3 attempts; the message may have been committed") ==
        NULL)
        fail_msg("%s", result.err);
    run_result_free(&result);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_copy_to_the_same_worker_waits),
        SYSTEM_TEST(a_copy_waits_in_a_worker_that_goes_on_meanwhile),
        SYSTEM_TEST(a_copy_to_another_worker_waits_also_when_the_first_sender_has_gone),
        SYSTEM_TEST(a_copy_that_comes_after_a_reload_waits),
        SYSTEM_TEST(a_file_is_known_by_its_path_and_its_copy_gets_a_receipt),
        SYSTEM_TEST(a_file_that_was_replaced_is_stored_again),
        SYSTEM_TEST(a_copy_that_comes_after_the_commit_and_a_reload_is_one),
        SYSTEM_TEST(other_content_under_the_same_id_is_refused_after_the_commit),
        SYSTEM_TEST(messages_without_an_id_have_no_copies),
        SYSTEM_TEST(after_a_failed_sync_the_copy_is_handled),
        SYSTEM_TEST(after_the_death_of_its_worker_the_copy_is_handled),
        SYSTEM_TEST(a_sender_that_is_impatient_and_tries_again_gets_its_answer),
        SYSTEM_TEST(a_short_timeout_does_not_cut_the_wait_for_the_final_answer),
        SYSTEM_TEST(lines_sent_ahead_have_the_same_patience),
        SYSTEM_TEST(attempts_end_and_the_message_is_in_doubt),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
