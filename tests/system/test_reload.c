/* A reload disturbs nobody, and a reload that fails changes nothing. */
#include "faults.h"
#include "load.h"
#include "stats.h"
#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define RELOADS      100
#define KEPT         200 /* connections of msp between messages */
#define KEPT_RELOADS 20

static const char two_workers[] = "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\n";
/* It need not be kept by workers that have to get ready: on a busy machine they do not. */
static const char impatient[] =
    "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nready_timeout = 400ms\n";

/* Nobody was refused, cut or answered wrongly, and whoever could stay has stayed. */
static void
expect_undisturbed(const struct load *l)
{
    const struct way *way = l->way;

    if (l->rejected + l->cut + l->errors + l->broken + l->refused_connects != 0)
        fail_msg("%s: %llu rejected, %llu cut, %llu errors, %llu broken, %llu refused: %s",
                 way->name, (unsigned long long)l->rejected, (unsigned long long)l->cut,
                 (unsigned long long)l->errors, (unsigned long long)l->broken,
                 (unsigned long long)l->refused_connects, l->complaint);
    if (way->kind != NULL && l->repeated != 0)
        fail_msg("%s: %llu messages were lost, the last one from %s", way->name,
                 (unsigned long long)l->repeated, l->lost);
    if (way->stays && l->connects != l->thread_count)
        fail_msg("%s: %u senders have made %llu connections", way->name, l->thread_count,
                 (unsigned long long)l->connects);
}

static void
a_hundred_reloads_under_load_lose_nothing(void **state)
{
    struct daemon_options options = {.workers = 2, .set = {LOAD_PATIENCE}};
    struct daemon *d;
    struct load *loads[WAYS_MAX];
    uint64_t adopted;
    struct journal j;

    (void)state;
    ways_listen(&options);
    d = daemon_start(&options);
    for (size_t i = 0; i < way_count; i++) {
        char tag[24];

        snprintf(tag, sizeof(tag), "r%zu", i);
        loads[i] = load_start_way(&ways[i], &d->listeners[i], tag, 2, 6000);
    }
    for (unsigned i = 0; i < RELOADS; i++) {
        load_advance(loads[i % way_count], 5, 20000);
        daemon_reload(d);
    }
    for (size_t i = 0; i < way_count; i++)
        load_advance(loads[i], 1, 20000);
    adopted = stats_total(d, "adopted");
    for (size_t i = 0; i < way_count; i++)
        load_stop(loads[i]);
    for (size_t i = 0; i < way_count; i++)
        expect_undisturbed(loads[i]);
    print_message("%llu times a connection has moved\n", (unsigned long long)adopted);
    assert_true(adopted >= RELOADS);
    WAIT_FOR(daemon_has_workers(d, 2), 10000);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    for (size_t i = 0; i < way_count; i++)
        if (load_check_journal(loads[i], &j) != 0 && ways[i].stays)
            fail_msg("%s: messages are there twice", ways[i].name);
    journal_free(&j);
}

/* Each has sent a message, so that its worker has something to remember. */
static void
kept_open(const struct daemon *d, struct peer kept[KEPT])
{
    struct answer a;

    for (unsigned i = 0; i < KEPT; i++) {
        peer_connect(&kept[i], &d->listeners[i % 2]);
        assert_int_equal(peer_send_plain(&kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
    }
}

static void
kept_expect_silence(struct peer kept[KEPT])
{
    char byte;

    for (unsigned i = 0; i < KEPT; i++) {
        assert_int_equal(recv(kept[i].fd, &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
    }
}

static void
kept_connections_of_msp_hear_nothing_of_twenty_reloads(void **state)
{
    static struct peer kept[KEPT];
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {"msp://127.0.0.1:0", "auto://127.0.0.1:0"}, .set = {LOAD_PATIENCE}});
    struct load *load = load_start(&d->listeners[0], "kept", 4, 6000);
    struct proc_list before;
    struct answer a;

    (void)state;
    kept_open(d, kept);
    for (unsigned i = 0; i < KEPT_RELOADS; i++) {
        load_advance(load, 20, 20000);
        daemon_workers(d, &before);
        daemon_reload(d);
        daemon_expect_new_workers(d, &before);
        WAIT_FOR(stats_total(d, "adopted") >= KEPT * (i + 1), 10000);
        kept_expect_silence(kept);
    }
    for (unsigned i = 0; i < KEPT; i++)
        assert_int_equal(peer_send_plain(&kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
    load_stop(load);
    expect_undisturbed(load);
    assert_int_equal(stats_total(d, "accepted"), KEPT + load->thread_count);
    assert_int_equal(stats_total(d, "err"), 0);
    daemon_stop(d);
    for (unsigned i = 0; i < KEPT; i++) /* a stop is told, as ever */
        assert_int_equal(peer_answer(&kept[i], &a), ANSWER_ERR);
}

static void
a_reload_of_as_many_workers_as_there_can_be_tells_nobody(void **state)
{
    static struct peer kept[KEPT];
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 64,
                                              .listen = {"msp://127.0.0.1:0", "auto://127.0.0.1:0"},
                                              .set = {"ready_timeout=50s"}});
    struct answer a;

    (void)state;
    kept_open(d, kept);
    daemon_reload(d);
    for (unsigned i = 0; i < KEPT; i++)
        assert_int_equal(peer_send_plain(&kept[i], NULL, "kept", 4, &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "err"), 0);
    for (unsigned i = 0; i < KEPT; i++)
        peer_close(&kept[i]);
    daemon_stop(d);
}

static void
bench_notices_no_reload(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    const char *bench[] = {harness_program("msock"),
                           "-u",
                           d->listeners[0].url,
                           "bench",
                           "--json",
                           "--messages",
                           "4000",
                           "--connections",
                           "4",
                           "--size",
                           "300",
                           NULL};
    struct running bench_run;
    struct run_result result;

    (void)state;
    run_start(&bench_run, bench, NULL);
    do
        daemon_reload(d);
    while (!run_ended(&bench_run, 0));
    run_finish(&bench_run, 60000, &result);
    if (result.status != 0)
        fail_msg("bench: status %d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
    daemon_stop(d);
}

static void
what_waits_in_the_backlog_is_served_after_a_reload(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct proc_list old;
    struct peer p;
    struct answer a;
    struct outgoing m = {.kind = 'A', .body = "waiting", .len = 7};

    (void)state;
    daemon_workers(d, &old);
    proc_stop_all(&old);
    peer_connect(&p, &d->listeners[0]);
    peer_post(&p, &m);
    daemon_reload(d);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    proc_go_on_all(&old);
    daemon_expect_new_workers(d, &old);
    daemon_stop(d);
}

static void
a_message_under_way_is_finished_by_the_old_worker(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2, .set = {"timeout=20s"}});
    struct outgoing m = {
        .kind = 'A', .value = "half", .value_len = 4, .body = "0123456789", .len = 10};
    struct proc_list old;
    struct journal j;
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    struct peer p;
    struct answer a;
    size_t n = wire_first(packet, &m);

    (void)state;
    daemon_workers(d, &old);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, packet, n - 3), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == n - 3, 5000);
    daemon_reload(d);
    assert_int_equal(peer_write(&p, packet + n - 3, 3), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    assert_int_equal(peer_write(&p, packet, wire_trailer(packet, &m)), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
    daemon_expect_new_workers(d, &old); /* and the connection has moved to one of them */
    assert_int_equal(peer_send_plain(&p, NULL, "next", 4, &a), ANSWER_ACK);
    assert_int_equal(stats_total(d, "accepted"), 1);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(journal_find_key(&j, "half", NULL), 1);
    journal_free(&j);
}

static void
a_message_that_never_ends_holds_its_worker_only_for_drain_timeout(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 2, .set = {"timeout=60s", "min_rate=0", "drain_timeout=300ms"}});
    struct proc_list old;
    struct peer p;

    (void)state;
    daemon_workers(d, &old);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, "\0\0\0", 3), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == 3, 5000);
    daemon_reload(d);
    daemon_expect_new_workers(d, &old);
    assert_true(peer_closed(&p, 5000));
    daemon_stop(d);
}

/* A reload that must fail: nothing may be different afterwards. */
static void
expect_failed_reload(struct daemon *d, struct peer *witness, const char *said)
{
    struct proc_list before, after;
    struct run_result result;
    struct answer a;

    daemon_workers(d, &before);
    result = daemon_control(d, "reload", NULL);
    if (result.status == 0)
        fail_msg("msockctl reload said it went well: %s", result.out);
    if (strstr(result.out, said) == NULL && strstr(result.err, said) == NULL)
        fail_msg("no \"%s\" in what msockctl reload said: %s%s", said, result.out, result.err);
    run_result_free(&result);
    WAIT_FOR((daemon_workers(d, &after), proc_list_equal(&before, &after)), 5000);
    assert_int_equal(peer_send_plain(witness, NULL, "still here", 10, &a), ANSWER_ACK);
}

static void
a_wrong_configuration_changes_nothing(void **state)
{
    static const struct {
        const char *text, *said;
    } rows[] = {
        {"workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nno_such_option = 1\n", "msockd.conf:3"},
        {"workers = 0\nlisten = {\"msp://127.0.0.1:0\"}\n", "workers"},
        {"workers = 2\nlisten = {\"msp://127.0.0.1:0\"\n", "msockd.conf"},
        {"workers = 2\nlisten = {\"gopher://127.0.0.1:0\"}\n", "gopher"},
        {"workers = 2\nlisten = {\"msp://127.0.0.1:0?handler=nobody\"}\n", "nobody"},
        {"workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\ntimeout = \"soon\"\n", "timeout"},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){.config = two_workers});
    struct proc_list before;
    struct peer witness;

    (void)state;
    peer_connect(&witness, &d->listeners[0]);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        daemon_configure(d, rows[i].text);
        expect_failed_reload(d, &witness, rows[i].said);
    }
    unlink(d->config_path);
    expect_failed_reload(d, &witness, "msockd.conf");
    daemon_configure(d, two_workers);
    daemon_workers(d, &before);
    daemon_reload(d);
    daemon_expect_new_workers(d, &before);
    d->options.errors_expected = true;
    daemon_stop(d);
}

static void
a_port_that_another_program_has_changes_nothing(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.config = two_workers});
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct peer witness;
    char text[256], port[16];

    (void)state;
    assert_int_equal(bind(other, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(getsockname(other, (struct sockaddr *)&addr, &len), 0);
    snprintf(port, sizeof(port), "%u", ntohs(addr.sin_port));
    snprintf(text, sizeof(text),
             "workers = 2\nlisten = {\"msp://127.0.0.1:0\", \"msp://127.0.0.1:%s\"}\n", port);
    peer_connect(&witness, &d->listeners[0]);
    daemon_configure(d, text);
    expect_failed_reload(d, &witness, port);
    close(other);
    daemon_reload(d);
    d->options.errors_expected = true;
    daemon_stop(d);
}

static void
workers_that_die_before_they_are_ready_change_nothing(void **state)
{
    struct daemon *d;
    struct peer witness;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.config = two_workers, .faults = true});
    peer_connect(&witness, &d->listeners[0]);
    faults_set(d, "fork abort - 1\n");
    expect_failed_reload(d, &witness,
                         "the process that was to read the configuration was ended by signal 6");
    faults_set(d, "fork abort - 2\n");
    expect_failed_reload(d, &witness, "died");
    assert_true(faults_struck(d) > 0);
    faults_set(d, "");
    daemon_reload(d);
    d->options.errors_expected = true;
    daemon_stop(d);
}

/* All give up, and some of them when the end of others has been seen. */
static void
a_new_worker_that_cannot_start_is_no_old_one_that_died(void **state)
{
    static const char eight[] = "workers = 8\nlisten = {\"msp://127.0.0.1:0\"}\n";
    static const char unable[] =
        "workers = 8\nlisten = {\"msp://127.0.0.1:0\"}\nlog_file = \"/\"\n";
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = eight, .errors_expected = true});
    struct peer witness;

    (void)state;
    peer_connect(&witness, &d->listeners[0]);
    daemon_configure(d, unable);
    for (int i = 0; i < 20; i++)
        expect_failed_reload(d, &witness, "cannot open log file");
    assert_false(daemon_logged(d, "[old_worker_died]"));
    daemon_stop(d);
}

static void
workers_that_hang_before_they_are_ready_change_nothing(void **state)
{
    struct daemon *d;
    struct peer witness;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){.config = two_workers, .faults = true});
    peer_connect(&witness, &d->listeners[0]);
    faults_set(d, "fork hang - 1\n");
    expect_failed_reload(d, &witness, "could not be read within ready_timeout");
    daemon_configure(d, impatient);
    faults_set(d, "fork hang - 2\n");
    expect_failed_reload(d, &witness, "was not ready within 0.4 s");
    daemon_configure(d, two_workers);
    faults_set(d, "");
    WAIT_FOR(daemon_has_workers(d, 2), 5000); /* those that hung are gone */
    daemon_reload(d);
    d->options.errors_expected = true;
    daemon_stop(d);
}

/* One worker of the new generation never gets ready. Until that is known, the others must not take
 * a message: their handler would throw it away. */
static void
nobody_is_answered_by_a_configuration_that_is_refused_in_the_end(void **state)
{
    struct daemon *d = NULL;
    struct running reload;
    struct run_result result;
    struct journal j;
    unsigned sent = 0;

    (void)state;
    faults_need();
    d = daemon_start(&(struct daemon_options){
        .config = "workers = 3\nlisten = {\"msp://127.0.0.1:0\"}\n", .faults = true});
    faults_set(d, "fork hang - 3\n");
    daemon_configure(d, "workers = 3\nlisten = {\"msp://127.0.0.1:0?handler=discard\"}\n"
                        "ready_timeout = 1500ms\n");
    run_start(&reload,
              (const char *[]){harness_program("msockctl"), "-r", d->runtime_dir, "reload", NULL},
              NULL);
    do {
        struct answer a;
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_send_plain(&p, NULL, "meanwhile", 9, &a), ANSWER_ACK);
        peer_close(&p);
        sent++;
    } while (!run_ended(&reload, 0));
    run_finish(&reload, 10000, &result);
    assert_int_not_equal(result.status, 0);
    run_result_free(&result);
    faults_set(d, "");
    d->options.errors_expected = true;
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(j.count, sent);
    journal_free(&j);
}

static void
workers_that_cannot_use_the_new_data_directory_change_nothing(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = "workers = 2\n"
                                                        "listen = {\"msp://127.0.0.1:0\",\n"
                                                        "\"msp://127.0.0.1:0?handler=discard\"}\n",
                                              .errors_expected = true});
    char journal[HARNESS_PATH_LEN], aside[HARNESS_PATH_LEN];
    struct peer witness;

    (void)state;
    harness_join(journal, d->data_dir, "journal");
    harness_join(aside, d->data_dir, "aside");
    peer_connect(&witness, &d->listeners[1]); /* it needs no journal */
    assert_int_equal(rename(journal, aside), 0);
    harness_write_file(journal, "not a directory", 15);
    expect_failed_reload(d, &witness, "journal");
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(rename(aside, journal), 0);
    daemon_reload(d);
    daemon_stop(d);
}

static void
expect_start_refused(struct daemon *d, const char *said)
{
    struct run_result result =
        run_program(harness_program("msockd"), "-t", "-d", d->data_dir, NULL);

    assert_int_equal(result.status, EX_CANTCREAT);
    assert_non_null(strstr(result.err, said));
    run_result_free(&result);
    result = daemon_fail(d);
    assert_int_equal(result.status, EX_CANTCREAT);
    assert_non_null(strstr(result.err, said));
    run_result_free(&result);
}

static void
a_data_directory_that_others_may_write_is_refused(void **state)
{
    static const char *const parts[] = {"journal", "files", "blobs"};
    struct daemon *d =
        daemon_start(&(struct daemon_options){.config = two_workers, .errors_expected = true});
    char path[HARNESS_PATH_LEN], said[HARNESS_PATH_LEN + 64];
    struct peer witness;

    (void)state;
    peer_connect(&witness, &d->listeners[0]);
    for (size_t i = 0; i < MS_ARRAY_LEN(parts); i++) {
        harness_join(path, d->data_dir, parts[i]);
        snprintf(said, sizeof(said), "%s may be written by others", path);
        assert_int_equal(chmod(path, 0777), 0);
        expect_failed_reload(d, &witness, said);
        assert_int_equal(chmod(path, 0750), 0);
    }
    daemon_reload(d);
    daemon_stop(d);
    assert_int_equal(chmod(path, 0777), 0);
    expect_start_refused(d, said);
}

static void
a_reload_opens_new_listeners_and_closes_removed_ones(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.config = two_workers});
    struct target first = d->listeners[0], second;
    json_t *listeners;
    char text[1024], path[HARNESS_PATH_LEN + 16];
    struct peer kept, fresh;
    struct answer a;

    (void)state;
    peer_connect(&kept, &first);
    snprintf(path, sizeof(path), "msp://%s/sock", d->dir);
    snprintf(text, sizeof(text), "workers = 3\nlisten = {\"%s\", \"msp://127.0.0.1:0\"}\n", path);
    daemon_configure(d, text);
    daemon_reload(d);
    target_from_url(path, &second);
    peer_connect(&fresh, &second);
    assert_int_equal(peer_send_plain(&fresh, NULL, "new", 3, &a), ANSWER_ACK);
    peer_close(&fresh);
    peer_connect(&fresh, &first); /* unchanged, so the same port */
    assert_int_equal(peer_send_plain(&fresh, NULL, "same", 4, &a), ANSWER_ACK);
    peer_close(&fresh);
    WAIT_FOR(daemon_has_workers(d, 3), 5000);
    listeners = stats_read(d, "listeners");
    assert_int_equal(json_array_size(listeners), 2);
    json_decref(listeners);

    snprintf(text, sizeof(text), "workers = 1\nlisten = {\"%s\"}\n", path);
    daemon_configure(d, text);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 5000);
    assert_int_equal(peer_try_connect(&fresh, &first, NULL), -1);
    assert_int_equal(errno, ECONNREFUSED);
    peer_connect(&fresh, &second);
    assert_int_equal(peer_send_plain(&fresh, NULL, "kept", 4, &a), ANSWER_ACK);
    daemon_stop(d);
}

static void
a_reload_brings_new_options_into_force(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.config = two_workers});
    struct outgoing deep = {.kind = 'J', .body = "[[[1]]]", .len = 7};
    struct peer p;
    struct answer a;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send(&p, &deep, &a), ANSWER_ACK);
    peer_close(&p);
    daemon_configure(d, "workers = 2\nlisten = {\"msp://127.0.0.1:0\"}\nmax_json_depth = 2\n");
    daemon_reload(d);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send(&p, &deep, &a), ANSWER_REJ);
    assert_string_equal(a.code, "bad-json");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_hundred_reloads_under_load_lose_nothing),
        SYSTEM_TEST(kept_connections_of_msp_hear_nothing_of_twenty_reloads),
        SYSTEM_TEST(a_reload_of_as_many_workers_as_there_can_be_tells_nobody),
        SYSTEM_TEST(bench_notices_no_reload),
        SYSTEM_TEST(what_waits_in_the_backlog_is_served_after_a_reload),
        SYSTEM_TEST(a_message_under_way_is_finished_by_the_old_worker),
        SYSTEM_TEST(a_message_that_never_ends_holds_its_worker_only_for_drain_timeout),
        SYSTEM_TEST(a_wrong_configuration_changes_nothing),
        SYSTEM_TEST(a_port_that_another_program_has_changes_nothing),
        SYSTEM_TEST(workers_that_die_before_they_are_ready_change_nothing),
        SYSTEM_TEST(a_new_worker_that_cannot_start_is_no_old_one_that_died),
        SYSTEM_TEST(workers_that_hang_before_they_are_ready_change_nothing),
        SYSTEM_TEST(nobody_is_answered_by_a_configuration_that_is_refused_in_the_end),
        SYSTEM_TEST(workers_that_cannot_use_the_new_data_directory_change_nothing),
        SYSTEM_TEST(a_data_directory_that_others_may_write_is_refused),
        SYSTEM_TEST(a_reload_opens_new_listeners_and_closes_removed_ones),
        SYSTEM_TEST(a_reload_brings_new_options_into_force),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
