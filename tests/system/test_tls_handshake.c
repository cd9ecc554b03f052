/* The handshakes of TLS from outside: those that do not end, who is not let in, and tickets. */
#include "proc.h"
#include "stats.h"
#include "target.h"
#include "tls_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- handshakes that do not end --- */

/* The first words of a client. */
static size_t
client_hello(uint8_t *out, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *bio = BIO_new(BIO_s_mem());
    int n;

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), bio);
    assert_int_not_equal(SSL_connect(ssl), 1);
    n = BIO_read(bio, out, (int)size);
    assert_true(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)n;
}

#define HALVES 600 /* at one time: more than a worker keeps */

static void
handshakes_that_stop_half_way_hold_nobody_up(void **state)
{
    static struct peer peers[HALVES];
    const char *text = getenv("TLS_HALVES");
    unsigned count = text != NULL ? (unsigned)atoi(text) : HALVES + 100;
    struct daemon *d = tls_case_daemon(1, "");
    uint8_t hello[1024];
    size_t n = client_hello(hello, sizeof(hello));

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        struct peer *p = &peers[i % HALVES];

        if (i >= HALVES)
            peer_close(p);
        peer_connect(p, &d->listeners[0]);
        (void)peer_write(p, hello, i % 2 == 0 ? n / 2 : n); /* some are closed by now */
        if (i % 100 == 0)
            tls_case_expect_served(d, &tls_anybody);
    }
    tls_case_expect_served(d, &tls_anybody);
    for (unsigned i = 0; i < HALVES; i++)
        peer_close(&peers[i]);
    WAIT_FOR(stats_total(d, "handshakes_failed") == count, 20000);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* A byte now and then does not help it; others are served meanwhile. */
static void
a_handshake_that_drips_has_a_deadline(void **state)
{
    struct daemon *d = tls_case_daemon(1, "");
    struct waiting w = waiting_begin(60000);
    uint8_t hello[1024];
    size_t n = client_hello(hello, sizeof(hello));
    bool closed = false;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (size_t i = 0; !closed && i + 1 < n && waiting_more(&w); i++) {
        (void)peer_write(&p, &hello[i], 1);
        tls_case_expect_served(d, &tls_anybody);
        closed = peer_closed(&p, 1000);
    }
    assert_true(closed);
    assert_true(daemon_logged(d, "it takes too long"));
    peer_close(&p);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* --- who is not let in --- */

static void
clients_that_are_wrong_are_refused_and_the_log_says_why(void **state)
{
    static const struct {
        const char *cert, *says;
    } rows[] = {
        {NULL, "peer did not return a certificate"},
        {"strange", "its certificate is not taken: unable to get local issuer certificate"},
        {"expired", "its certificate is not taken: certificate has expired"},
        {"early", "its certificate is not taken: certificate is not yet valid"},
        {"long", "its certificate is too large"},
        {"longish", "the name in its certificate is empty or too long"},
        {"nul", "the name in its certificate is no text"},
        {"nameless", "its certificate has no name"},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        char ca[HARNESS_PATH_LEN];
        struct tls_who who = {.dir = tls_dir, .ca = "ca", .cert = rows[i].cert};
        struct tls_peer t;
        struct daemon *d;

        snprintf(ca, sizeof(ca), "&tls_client_ca=%s/ca.pem", tls_dir);
        d = tls_case_daemon(1, ca);
        tls_peer_open(&t, &d->listeners[0], &who);
        if (tls_peer_shake(&t) && tls_peer_say(&t, "hello"))
            fail_msg("%s is let in", rows[i].cert);
        assert_true(tls_peer_is_told());
        tls_peer_cut(&t);
        WAIT_FOR(stats_total(d, "handshakes_failed") == 1, 20000);
        WAIT_FOR(daemon_logged(d, rows[i].says), 5000);
        d->options.errors_expected = true; /* a reason of OpenSSL may hold the word */
        who.cert = "client";
        tls_case_expect_served(d, &who);
        assert_int_equal(stats_total(d, "messages"), 1);
        tls_case_expect_empty(d);
        daemon_stop(d);
    }
}

static void
control_bytes_of_a_name_come_out_nowhere(void **state)
{
    const struct tls_who who = {.dir = tls_dir, .ca = "ca", .cert = "control"};
    char ca[HARNESS_PATH_LEN];
    struct run_result r;
    struct tls_peer t;
    struct daemon *d;
    char *log;

    (void)state;
    snprintf(ca, sizeof(ca), "&tls_client_ca=%s/ca.pem", tls_dir);
    d = tls_case_daemon(1, ca);
    tls_peer_connect(&t, &d->listeners[0], &who);
    (void)tls_peer_say(&t, "hello");
    r = daemon_control(d, "conns", NULL);
    assert_null(strchr(r.out, '\x1b'));
    run_result_free(&r);
    tls_peer_end(&t);
    tls_case_expect_empty(d);
    daemon_stop(d);
    log = daemon_log(d);
    assert_null(strchr(log, '\x1b'));
    free(log);
}

static void
plain_bytes_and_tls_are_told_apart(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {tls_case_url("msp", "server", ""), "frame://127.0.0.1:0"}});
    uint8_t hello[1024];
    size_t n = client_hello(hello, sizeof(hello));
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, "GET / HTTP/1.1\r\n\r\n", 18), 0);
    assert_true(peer_closed(&p, 20000));
    peer_close(&p);
    assert_true(daemon_logged(d, "it does not speak TLS, which this listener does"));
    assert_int_equal(stats_total(d, "handshakes_failed"), 1);
    peer_connect(&p, &d->listeners[1]);
    assert_int_equal(peer_write(&p, hello, n), 0);
    WAIT_FOR(daemon_logged(d, "seems to speak TLS, and this listener does not"), 20000);
    peer_close(&p);
    assert_int_equal(stats_total(d, "messages"), 0);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* Before a handshake, so there is no word for it. */
static void
a_denied_address_is_closed_before_a_handshake(void **state)
{
    struct daemon *d = tls_case_daemon(1, "&deny=127.0.0.2");
    struct tls_who from = {.dir = tls_dir, .ca = "ca", .source = "127.0.0.2"};
    struct tls_peer t;
    char byte;

    (void)state;
    tls_peer_open(&t, &d->listeners[0], &from);
    assert_false(tls_peer_shake(&t));
    assert_true(recv(t.peer.fd, &byte, 1, MSG_DONTWAIT) <= 0);
    tls_peer_cut(&t);
    WAIT_FOR(stats_total(d, "denied") == 1, 20000);
    assert_int_equal(stats_total(d, "handshakes") + stats_total(d, "handshakes_failed"), 0);
    from.source = "127.0.0.3";
    tls_case_expect_served(d, &from);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

static void
handshakes_that_fail_count_against_their_source(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .listen = {tls_case_url("frame", "server", "&reply=yes")},
                                 .set = {"exempt=none"}});
    struct tls_who from = {.dir = tls_dir, .ca = "ca", .source = "127.0.0.2"};
    struct tls_peer t;
    unsigned n = 0;

    (void)state;
    tls_case_expect_served(d, &from);
    for (; stats_total(d, "penalties") == 0 && n < 1000; n++) {
        struct peer p;

        peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
        assert_int_equal(peer_write(&p, "hello", 5), 0);
        assert_true(peer_closed(&p, 20000));
        peer_close(&p);
    }
    assert_in_range(n, 2, 999);
    tls_peer_open(&t, &d->listeners[0], &from);
    assert_false(tls_peer_shake(&t));
    tls_peer_cut(&t);
    from.source = "127.0.0.3";
    tls_case_expect_served(d, &from);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* --- those that are silent behind it --- */

#define SILENT 60 /* sessions: together more than worker_memory_max */

static void
connect_silent(const struct daemon *d, struct tls_peer peers[SILENT], const char *source)
{
    const struct tls_who from = {.dir = tls_dir, .ca = "ca", .source = source};

    for (unsigned i = 0; i < SILENT; i++) {
        tls_peer_open(&peers[i], &d->listeners[0], &from);
        (void)tls_peer_shake(&peers[i]); /* some are turned away */
    }
}

/* At first those of one source, then those of one that has no share. */
static void
silent_connections_leave_memory_to_messages(void **state)
{
    static struct tls_peer shared[SILENT], exempt[SILENT];
    const struct tls_who good = {.dir = tls_dir, .ca = "ca", .source = "127.0.0.3"};
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .listen = {tls_case_url("frame", "server", "&reply=yes")},
                                 .set = {"worker_memory_max=1M", "exempt=127.0.0.4"}});
    struct tls_peer before;

    (void)state;
    tls_peer_connect(&before, &d->listeners[0], &good);
    connect_silent(d, shared, "127.0.0.2");
    assert_true(stats_total(d, "crowded") > 0);
    tls_case_expect_served(d, &good);
    connect_silent(d, exempt, "127.0.0.4");
    assert_true(tls_peer_say(&before, "hello"));
    for (unsigned i = 0; i < SILENT; i++) {
        tls_peer_cut(&shared[i]);
        tls_peer_cut(&exempt[i]);
    }
    tls_peer_end(&before);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* --- tickets --- */

static void
expect_resumed(const struct daemon *d, SSL_SESSION *session, unsigned times)
{
    struct tls_who again = tls_anybody;
    struct tls_peer t;

    again.session = session;
    for (unsigned i = 0; i < times; i++) {
        tls_peer_connect(&t, &d->listeners[0], &again);
        assert_true(tls_peer_say(&t, "hello"));
        assert_int_equal(SSL_session_reused(t.ssl), 1);
        tls_peer_end(&t);
    }
}

static unsigned
workers_with(const struct daemon *d, const char *counter)
{
    json_t *rows = stats_read(d, "workers"), *row;
    unsigned n = 0;
    size_t i;

    json_array_foreach(rows, i, row) n += json_integer_value(json_object_get(row, counter)) > 0;
    json_decref(rows);
    return n;
}

static void
expect_resumed_by_each(const struct daemon *d, SSL_SESSION *session)
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    for (size_t i = 0; i < workers.count; i++) {
        proc_stop_all(&workers);
        proc_go_on(workers.pid[i]);
        expect_resumed(d, session, 2);
        proc_go_on_all(&workers);
    }
}

static void
tickets_are_good_in_all_workers_and_after_a_reload(void **state)
{
    struct daemon *d = tls_case_daemon(4, "");
    SSL_SESSION *session;
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    assert_true(tls_peer_say(&t, "hello"));
    assert_int_equal(SSL_session_reused(t.ssl), 0);
    session = tls_peer_session(&t);
    tls_peer_end(&t);
    expect_resumed_by_each(d, session);
    assert_int_equal(stats_total(d, "resumed"), 8);
    assert_int_equal(workers_with(d, "messages"), 4);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 4), 20000);
    expect_resumed_by_each(d, session);
    assert_int_equal(stats_total(d, "resumed"), 16);
    SSL_SESSION_free(session);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

static void
a_ticket_lets_nobody_in_who_may_not_be_there_now(void **state)
{
    char config[2 * TLS_CASE_URL_LEN];
    struct tls_who again = {.dir = tls_dir, .ca = "ca"};
    struct tls_peer t;
    struct daemon *d;

    (void)state;
    snprintf(config, sizeof(config), "listen = {\"%s\"}\n",
             tls_case_url("frame", "server", "&reply=yes"));
    d = daemon_start(&(struct daemon_options){.config = config});
    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    assert_true(tls_peer_say(&t, "hello"));
    again.session = tls_peer_session(&t);
    tls_peer_end(&t);
    snprintf(config, sizeof(config), "listen = {\"%s&tls_client_ca=%s/ca.pem\"}\n",
             tls_case_url("frame", "server", "&reply=yes"), tls_dir);
    daemon_configure(d, config);
    daemon_reload(d);
    tls_peer_open(&t, &d->listeners[0], &again);
    assert_false(tls_peer_shake(&t) && tls_peer_say(&t, "hello"));
    tls_peer_cut(&t);
    SSL_SESSION_free(again.session);
    assert_int_equal(stats_total(d, "messages"), 1);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(handshakes_that_stop_half_way_hold_nobody_up),
        SYSTEM_TEST(a_handshake_that_drips_has_a_deadline),
        SYSTEM_TEST(clients_that_are_wrong_are_refused_and_the_log_says_why),
        SYSTEM_TEST(control_bytes_of_a_name_come_out_nowhere),
        SYSTEM_TEST(plain_bytes_and_tls_are_told_apart),
        SYSTEM_TEST(a_denied_address_is_closed_before_a_handshake),
        SYSTEM_TEST(handshakes_that_fail_count_against_their_source),
        SYSTEM_TEST(silent_connections_leave_memory_to_messages),
        SYSTEM_TEST(tickets_are_good_in_all_workers_and_after_a_reload),
        SYSTEM_TEST(a_ticket_lets_nobody_in_who_may_not_be_there_now),
    };

    return cmocka_run_group_tests(tests, tls_case_begin, tls_case_end);
}
