/* handler=nats in front of servers that are killed in the middle: what was acknowledged is in the
 * stream, once, and in its order. */
#include "bench.h"
#include "nats_case.h"
#include "stats.h"

#include "support/certificates.h"
#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- order --- */

#define ORDER_PEERS 8
#define ORDER_EACH  300

static void
post_numbered(struct peer *p, unsigned peer)
{
    for (unsigned i = 0; i < ORDER_EACH; i++) {
        char body[32];
        struct outgoing m = {.kind = 'A', .body = body};

        m.len = (size_t)snprintf(body, sizeof(body), "%u %u", peer, i);
        peer_post(p, &m);
    }
}

static void
expect_acks(struct peer *p)
{
    struct answer a;

    p->answer_ms = 60000 * WAIT_SCALE;
    for (unsigned i = 0; i < 2 * ORDER_EACH; i++)
        if (peer_answer(p, &a) != ANSWER_ACK)
            fail_msg("message %u: %s", i / 2, a.text);
}

static void
check_order(const struct nats *n)
{
    unsigned next[ORDER_PEERS] = {0}, peer, number;
    struct journal j;

    nats_read_stream(n, "S", &j, NULL);
    assert_int_equal(j.count, ORDER_PEERS * ORDER_EACH);
    for (size_t i = 0; i < j.count; i++) {
        assert_int_equal(sscanf(j.entries[i].body, "%u %u", &peer, &number), 2);
        assert_true(peer < ORDER_PEERS);
        assert_int_equal(number, next[peer]++);
    }
    journal_free(&j);
}

/* Senders that send far ahead, and a server that dies meanwhile. */
static void
the_order_of_each_connection_is_kept_over_a_dead_server(void **state)
{
    struct peer p[ORDER_PEERS];
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=5s", 2);
    for (unsigned i = 0; i < ORDER_PEERS; i++) {
        peer_connect(&p[i], &d->listeners[0]);
        post_numbered(&p[i], i);
    }
    WAIT_FOR(stats_total(d, "messages") > 50, 10000);
    nats_kill(&n);
    nats_launch(&n);
    for (unsigned i = 0; i < ORDER_PEERS; i++)
        expect_acks(&p[i]);
    check_order(&n);
    daemon_stop(d);
}

/* The sender will send them all again, so the second one must not be there before the first. */
static void
nothing_is_published_behind_a_message_that_failed(void **state)
{
    static const char subjects[] = "{\"name\":\"S\",\"subjects\":[\"in.json\"]}";
    const struct outgoing plain = {.kind = 'A', .body = "one", .len = 3};
    const struct outgoing json = {.kind = 'J', .body = "2", .len = 1};
    uint8_t packets[2 * (WIRE_FIRST_MAX + WIRE_TRAILER_MAX)];
    struct nats n = {0};
    struct journal j;
    struct daemon *d;
    struct answer a;
    struct peer p;
    size_t len;

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=300ms&subject=in.{kind}", 1);
    nats_request_made(&n, "$JS.API.STREAM.UPDATE.S", subjects);
    peer_connect(&p, &d->listeners[0]);
    len = wire_ahead(packets, &plain);
    len += wire_ahead(packets + len, &json);
    assert_int_equal(peer_write(&p, packets, len), 0);
    while (peer_answer(&p, &a) == ANSWER_ACK)
        ; /* of the bodies that came before */
    assert_string_equal(a.code, "busy");
    free(nats_send_one(
        d, &(struct outgoing){.kind = 'J', .flags = WIRE_REPLY, .body = "3", .len = 1}, &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    nats_read_stream(&n, "S", &j, NULL);
    assert_int_equal(j.count, 1);
    assert_string_equal(j.entries[0].body, "3");
    journal_free(&j);
    daemon_stop(d);
}

/* --- servers that die --- */

/* All that was acknowledged is there, once, with its body. A sender may have been told that NATS is
 * away; it was told nothing else. */
static void
check_load(const struct nats *n, const struct load *l)
{
    struct journal j;

    nats_read_stream(n, "S", &j, NULL);
    if (l->complaint[0] != '\0' && strncmp(l->complaint, "ERR busy ", 9) != 0)
        fail_msg("%s", l->complaint);
    assert_int_equal(l->rejected + l->broken + l->spoiled, 0);
    assert_int_equal(load_check_journal(l, &j), 0);
    journal_free(&j);
}

static void
what_was_acknowledged_is_there_once_after_kills(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct load *l;

    (void)state;
    nats_start(&n, "max_payload: 4096");
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=20s", 2);
    l = load_start(&d->listeners[0], "k", 8, 8000);
    for (unsigned i = 0; i < 5; i++) {
        load_advance(l, 200, 60000);
        nats_kill(&n);
        nats_launch(&n);
    }
    load_advance(l, 200, 60000);
    load_stop(l);
    check_load(&n, l);
    daemon_stop(d);
}

/* Workers that are killed, and reloads. */
static void
what_was_acknowledged_is_there_once_after_reloads(void **state)
{
    struct proc_list workers;
    struct nats n = {0};
    struct daemon *d;
    struct load *l;

    (void)state;
    nats_start(&n, "max_payload: 4096");
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=20s", 2);
    d->options.errors_expected = true; /* the master says that a worker died */
    l = load_start(&d->listeners[0], "r", 8, 8000);
    for (unsigned i = 0; i < 6; i++) {
        load_advance(l, 100, 60000);
        if (i % 2 == 0) {
            daemon_reload(d);
            continue;
        }
        WAIT_FOR(daemon_has_workers(d, 2), 30000); /* the old ones have left */
        daemon_workers(d, &workers);
        signal_send(workers.pid[0], SIGKILL);
    }
    load_advance(l, 100, 60000);
    load_stop(l);
    check_load(&n, l);
    daemon_stop(d);
}

/* --- servers that leave, or stop --- */

static void
a_server_that_is_about_to_leave_is_left(void **state)
{
    struct nats n[NATS_CLUSTER] = {{.port = 0}};
    char url[NATS_URL_SIZE], text[64];
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_cluster_start(n, NULL);
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&" NATS_KEEP
             "&replicas=3&servers=nats://127.0.0.1:%u",
             n[0].port);
    d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {url}});
    free(nats_send_text(d, "", "one", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    signal_send(n[0].run.pid, SIGUSR2); /* lame duck */
    WAIT_FOR(daemon_logged(d, "the server is leaving"), 20000);
    /* The others are known from the first one alone. */
    snprintf(text, sizeof(text), "connected again, to 127.0.0.1:%u", n[0].port);
    WAIT_FOR(daemon_logged(d, "connected again"), 20000);
    assert_false(daemon_logged(d, text));
    nats_kill(&n[0]);
    do
        free(nats_send_text(d, "x", "two", &a));
    while (a.kind == ANSWER_ERR);
    assert_int_equal(a.kind, ANSWER_ACK);
    daemon_stop(d);
}

/* The server is stopped, not dead: its connections stay. */
static void
a_server_that_stops_answering_is_left_and_found_again(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_start(&n, NULL);
    d = nats_daemon(&n, "stream_create=yes&nats_timeout=1s", 1);
    nats_expect_receipt(nats_send_text(d, "", "1", &a), &a, 1, NATS_STORED);
    proc_stop(n.run.pid);
    nats_expect_line(d, "again", "ERR busy");
    WAIT_FOR(daemon_logged(d, "it does not answer"), 10000);
    proc_go_on(n.run.pid);
    WAIT_FOR(daemon_logged(d, "connected again"), 10000);
    free(nats_send_text(d, "again", "hello", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    free(nats_send_text(d, "", "hello", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    daemon_stop(d);
}

#define LARGE_PAYLOAD "max_payload: 8000000\n"
#define LARGE_COUNT   4
#define LARGE_SIZE    7000000 /* each is more than sockets take */

/* Messages for a server that has stopped are in the way of no other message of the worker, and
 * arrive when the server goes on. */
static void
expect_no_way_blocked(struct nats *n, const char *options)
{
    static const struct bench_kind kind = {.options = "", .acknowledged = true};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .listen = {nats_url(n, options), "msp://127.0.0.1:0?handler=discard"},
        .set = {LOAD_PATIENCE, "idle_timeout=600s"}});
    struct running load;
    struct answer a;
    struct peer p;
    json_t *figures;

    free(nats_send_text(d, "", "the first answer", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    proc_stop(n->run.pid);
    bench_start(&load, d->listeners[0].url, &kind,
                BENCH_WORDS("-c", "4", "-n", "4", "-s", "7000000", "--timeout", "600"));
    WAIT_FOR(stats_total(d, "bytes_in") > LARGE_COUNT * LARGE_SIZE, 30000);
    peer_connect(&p, &d->listeners[1]);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    peer_close(&p);
    signal_send(n->run.pid, SIGCONT);
    figures = bench_finish(&load, &kind, 0);
    assert_int_equal(bench_number(figures, NULL, "messages"), LARGE_COUNT);
    json_decref(figures);
    daemon_stop(d);
}

static void
a_stopped_server_is_in_the_way_of_nobody(void **state)
{
    struct nats n = {0};

    (void)state;
    nats_start(&n, LARGE_PAYLOAD);
    expect_no_way_blocked(&n, "stream_create=yes&nats_timeout=600s");
}

static void
a_stopped_server_with_tls_is_in_the_way_of_nobody(void **state)
{
    static const struct certificate localhost = {.common_name = "localhost",
                                                 .alternative = "DNS:localhost,IP:127.0.0.1"};
    char dir[HARNESS_PATH_LEN], text[NATS_URL_SIZE];
    struct nats n = {.is_locked = true};

    (void)state;
    nats_need();
    harness_directory(dir);
    certificate_make(dir, "ca", NULL, &(struct certificate){.common_name = "ca"});
    certificate_make(dir, "server", "ca", &localhost);
    snprintf(text, sizeof(text),
             LARGE_PAYLOAD "tls { cert_file: \"%s/server.pem\", key_file: \"%s/server.key\" }", dir,
             dir);
    nats_start(&n, text);
    snprintf(text, sizeof(text), "stream_create=yes&nats_timeout=600s&nats_ca=%s/ca.pem", dir);
    expect_no_way_blocked(&n, text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_order_of_each_connection_is_kept_over_a_dead_server),
        SYSTEM_TEST(nothing_is_published_behind_a_message_that_failed),
        SYSTEM_TEST(what_was_acknowledged_is_there_once_after_kills),
        SYSTEM_TEST(what_was_acknowledged_is_there_once_after_reloads),
        SYSTEM_TEST(a_server_that_is_about_to_leave_is_left),
        SYSTEM_TEST(a_server_that_stops_answering_is_left_and_found_again),
        SYSTEM_TEST(a_stopped_server_is_in_the_way_of_nobody),
        SYSTEM_TEST(a_stopped_server_with_tls_is_in_the_way_of_nobody),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
