/* TLS from outside: what is sent over it is taken, as over a plain connection; what is wrong with
 * it is refused, said and counted, and leaves nothing behind. */
#include "journal.h"
#include "proc.h"
#include "stats.h"
#include "target.h"
#include "tls/tls.h"
#include "tls_case.h"

#include "support/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPENSSL "/usr/bin/openssl"
#define PYTHON  "/usr/bin/python3"

/* --- messages --- */

static void
run_peer(const char *const argv[], const char *input)
{
    const struct run_options how = {.input = input, .input_len = strlen(input)};
    struct run_result r;
    struct running run;

    if (access(argv[0], X_OK) < 0)
        return;
    run_start(&run, argv, &how);
    run_finish(&run, 30000 * WAIT_SCALE, &r);
    if (r.status != 0)
        fail_msg("%s ended with %d: %s%s", argv[0], r.status, r.out, r.err);
    run_result_free(&r);
}

static const char python[] =
    "import socket, ssl, sys\n"
    "context = ssl.create_default_context(cafile=sys.argv[2])\n"
    "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain:\n"
    "    with context.wrap_socket(plain, server_hostname='localhost') as s:\n"
    "        s.sendall(b'\\0\\0\\0\\5hello')\n"
    "        reply = s.recv(1000)\n"
    "        while len(reply) < 4 or len(reply) < 4 + int.from_bytes(reply[:4], 'big'):\n"
    "            more = s.recv(1000)\n"
    "            assert more\n"
    "            reply += more\n"
    "        s.unwrap()\n";

static void
messages_come_over_tls_from_everybody(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {tls_case_url("frame", "server", "&reply=yes"), tls_case_url("msp", "server", ""),
                   tls_case_url("frame", "server", "&framing=delimiter"),
                   tls_case_url("auto", "server", "")}});
    char ca[HARNESS_PATH_LEN], at[64], port[16], line[64];
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    const struct outgoing m = {.kind = 'A', .body = "hello", .len = 5};
    int n = (int)wire_ahead(packet, &m);
    struct journal j;
    uint64_t want = 1;

    (void)state;
    tls_case_expect_served(d, &tls_anybody);
    for (unsigned i = 1; i < 4; i += 2) {
        struct tls_peer t;

        tls_peer_connect(&t, &d->listeners[i], &tls_anybody);
        assert_int_equal(SSL_write(t.ssl, packet, n), n);
        assert_true(SSL_read(t.ssl, line, sizeof(line)) > 0);
        assert_memory_equal(line, "ACK", 3);
        WAIT_FOR(stats_total(d, "messages") == ++want || (want--, false), 20000);
        tls_peer_end(&t);
    }
    harness_join(ca, tls_dir, "ca.pem");
    snprintf(at, sizeof(at), "127.0.0.1:%u", target_port(&d->listeners[2]));
    run_peer((const char *[]){OPENSSL, "s_client", "-quiet", "-no_ign_eof", "-CAfile", ca,
                              "-verify_return_error", "-verify_hostname", "localhost", "-connect",
                              at, NULL},
             "hello\n");
    WAIT_FOR(access(OPENSSL, X_OK) < 0 || stats_total(d, "messages") == want + 1, 20000);
    snprintf(port, sizeof(port), "%u", target_port(&d->listeners[0]));
    run_peer((const char *[]){PYTHON, "-c", python, port, ca, NULL}, "");
    tls_case_expect_empty(d);
    want = stats_total(d, "messages");
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, want);
    for (size_t i = 0; i < j.count; i++)
        assert_string_equal(j.entries[i].body, "hello");
    journal_free(&j);
}

/* --- records --- */

/* A message in one record, changed or cut. */
static void
a_record_that_is_not_whole_leaves_nothing(void **state)
{
    static const struct {
        unsigned at, bit; /* flipped; at counts from the end where it is over 100 */
        size_t cut;       /* so many bytes are not sent */
    } rows[] = {
        {0, 0, 0},   {1, 2, 0},   {3, 0, 0}, {4, 0, 0}, {5, 7, 0},  {10, 0, 0},
        {101, 0, 0}, {117, 3, 0}, {0, 8, 1}, {0, 8, 5}, {0, 8, 20},
    };
    struct daemon *d = tls_case_daemon(1, "");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        uint8_t record[256];
        struct tls_peer t;
        size_t n, at;

        tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
        n = tls_peer_seal(&t, "\0\0\0\5hello", 9, record, sizeof(record));
        at = rows[i].at > 100 ? n - (rows[i].at - 100) : rows[i].at;
        if (rows[i].bit < 8)
            record[at] = (uint8_t)(record[at] ^ 1u << rows[i].bit);
        assert_int_equal(peer_write(&t.peer, record, n - rows[i].cut), 0);
        shutdown(t.peer.fd, SHUT_WR);
        if (!peer_closed(&t.peer, 20000))
            fail_msg("row %zu is not closed", i);
        tls_peer_cut(&t);
    }
    assert_int_equal(stats_total(d, "messages"), 0);
    tls_case_expect_served(d, &tls_anybody);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* Who cuts the line can end no message: the end that TLS has is sealed. */
static void
a_connection_that_is_cut_leaves_no_message(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .listen = {tls_case_url("frame", "server", "&framing=eof")}});
    struct tls_peer t;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
        assert_int_equal(SSL_write(t.ssl, "hello", 5), 5);
        if (i % 2 == 0)
            peer_reset_on_close(&t.peer);
        WAIT_FOR(stats_total(d, "bytes_in") == 5 * (i + 1), 20000);
        tls_peer_cut(&t);
        WAIT_FOR(stats_total(d, "open") == 0, 20000);
    }
    assert_int_equal(stats_total(d, "messages"), 0);
    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    assert_int_equal(SSL_write(t.ssl, "hello", 5), 5);
    tls_peer_end(&t);
    WAIT_FOR(stats_total(d, "messages") == 1, 20000);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* --- versions --- */

static void
nobody_begins_anew_in_the_middle(void **state)
{
    const struct tls_who old = {.dir = tls_dir, .ca = "ca", .version = TLS1_2_VERSION};
    struct daemon *d = tls_case_daemon(1, "&tls_min=1.2");
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &old);
    assert_true(tls_peer_say(&t, "hello"));
    assert_int_equal(SSL_renegotiate(t.ssl), 1);
    assert_int_not_equal(SSL_do_handshake(t.ssl), 1);
    tls_peer_cut(&t);
    assert_int_equal(stats_total(d, "handshakes"), 1);
    tls_case_expect_served(d, &tls_anybody); /* 1.3 */
    tls_case_expect_empty(d);
    daemon_stop(d);
    d = tls_case_daemon(1, "");
    tls_peer_open(&t, &d->listeners[0], &old);
    assert_false(tls_peer_shake(&t));
    tls_peer_cut(&t);
    WAIT_FOR(daemon_logged(d, "unsupported protocol"), 20000);
    daemon_stop(d);
}

static void
a_key_that_is_none_for_tls_13_serves_12(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .listen = {tls_case_url("frame", "brainpool", "&reply=yes&tls_min=1.2")}});
    struct tls_peer t;

    (void)state;
    tls_peer_open(&t, &d->listeners[0], &tls_anybody);
    assert_int_equal(SSL_set1_groups_list(t.ssl, "P-256:brainpoolP256r1"), 1);
    assert_true(tls_peer_shake(&t));
    assert_int_equal(SSL_version(t.ssl), TLS1_2_VERSION);
    assert_true(tls_peer_say(&t, "hello"));
    tls_peer_end(&t);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* Whoever sees early data can send it again. */
static void
early_data_is_not_taken(void **state)
{
    struct daemon *d = tls_case_daemon(1, "");
    struct tls_who again = tls_anybody;
    struct tls_peer t;
    size_t n;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    assert_true(tls_peer_say(&t, "hello"));
    again.session = tls_peer_session(&t);
    tls_peer_end(&t);
    assert_int_equal(SSL_SESSION_get_max_early_data(again.session), 0);
    assert_int_equal(SSL_SESSION_set_max_early_data(again.session, 1000), 1);
    tls_peer_open(&t, &d->listeners[0], &again);
    assert_int_equal(SSL_write_early_data(t.ssl, "\0\0\0\5early", 9, &n), 1);
    assert_true(tls_peer_shake(&t));
    assert_int_equal(SSL_get_early_data_status(t.ssl), SSL_EARLY_DATA_REJECTED);
    assert_true(tls_peer_say(&t, "later"));
    tls_peer_end(&t);
    SSL_SESSION_free(again.session);
    assert_int_equal(stats_total(d, "messages"), 2);
    tls_case_expect_empty(d);
    daemon_stop(d);
}

/* --- reloads --- */

static void
copy(const char *from, const char *to)
{
    char path[HARNESS_PATH_LEN];
    size_t n;
    char *text;

    harness_join(path, tls_dir, from);
    text = harness_read_file(path, &n);
    assert_non_null(text);
    harness_join(path, tls_dir, to);
    harness_write_file(path, text, n);
    free(text);
}

/* The certificate and the key that the listener reads. */
static void
install(const char *cert, const char *key)
{
    char from[64], key_path[HARNESS_PATH_LEN];

    snprintf(from, sizeof(from), "%s.pem", cert);
    copy(from, "now.pem");
    snprintf(from, sizeof(from), "%s.key", key);
    copy(from, "now.key");
    harness_join(key_path, tls_dir, "now.key");
    assert_int_equal(chmod(key_path, 0600), 0);
}

static void
expect_server(const struct daemon *d, const char *name)
{
    struct tls_peer t;
    char said[64];

    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    tls_peer_server(&t, said);
    assert_true(tls_peer_say(&t, "hello"));
    tls_peer_end(&t);
    assert_string_equal(said, name);
}

static void
expect_refused(const struct daemon *d, const char *says)
{
    struct run_result r = daemon_control(d, "reload", NULL);

    assert_int_not_equal(r.status, 0);
    if (strstr(r.err, says) == NULL || strstr(r.err, "now.") == NULL)
        fail_msg("a reload does not say %s, but %s%s", says, r.out, r.err);
    run_result_free(&r);
    r = run_program(harness_program("msockd"), "-t", "-l", d->options.listen[0], NULL);
    assert_int_equal(r.status, 78);
    assert_non_null(strstr(r.err, says));
    run_result_free(&r);
}

static void
a_reload_takes_the_new_certificate_and_no_bad_one(void **state)
{
    static const struct {
        const char *cert, *key, *says;
    } rows[] = {
        {"expired", "expired", "has expired"},
        {"early", "early", "is not valid yet"},
        {"other", "server", "the key is not that of the certificate"},
        {"junk", "server", "cannot be used"},
        {"server", "junk", "cannot be used"},
    };
    char url[TLS_CASE_URL_LEN], key[HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    harness_join(key, tls_dir, "now.key");
    install("server", "server");
    snprintf(url, sizeof(url), "%s", tls_case_url("frame", "now", "&reply=yes"));
    d = daemon_start(&(struct daemon_options){.listen = {url}, .errors_expected = true});
    expect_server(d, "server");
    install("other", "other");
    expect_server(d, "server"); /* not before it is told */
    daemon_reload(d);
    expect_server(d, "other");
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        install(rows[i].cert, rows[i].key);
        expect_refused(d, rows[i].says);
        expect_server(d, "other");
    }
    install("server", "server");
    assert_int_equal(chmod(key, 0644), 0);
    expect_refused(d, "is open to others than its owner");
    assert_int_equal(unlink(key), 0);
    expect_refused(d, "No such file");
    expect_server(d, "other");
    daemon_stop(d);
}

static void
authorities_that_are_none_are_refused_by_the_name_of_their_file(void **state)
{
    char url[TLS_CASE_URL_LEN], options[HARNESS_PATH_LEN + 64], junk[HARNESS_PATH_LEN];
    struct run_result r;

    (void)state;
    harness_join(junk, tls_dir, "junk.pem");
    snprintf(options, sizeof(options), "&tls_client_ca=%s", junk);
    snprintf(url, sizeof(url), "%s", tls_case_url("frame", "server", options));
    r = run_program(harness_program("msockd"), "-t", "-l", url, NULL);
    assert_int_equal(r.status, 78);
    assert_non_null(strstr(r.err, options + 1));
    assert_non_null(strstr(r.err, "the certificate authorities cannot be used"));
    run_result_free(&r);
}

/* 14 days before. */
static void
a_certificate_that_ends_soon_is_shown_and_said(void **state)
{
    char url[TLS_CASE_URL_LEN];
    struct run_result r;
    struct daemon *d;
    json_t *rows;

    (void)state;
    install("soon", "soon");
    snprintf(url, sizeof(url), "%s", tls_case_url("frame", "now", "&reply=yes"));
    d = daemon_start(&(struct daemon_options){.listen = {url, "msp://127.0.0.1:0"}});
    assert_true(daemon_logged(d, "its certificate ends in "));
    rows = stats_read(d, "listeners");
    assert_int_equal(json_array_size(rows), 2);
    assert_true(json_is_string(json_object_get(json_array_get(rows, 0), "certificate_until")));
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "certificate_until")));
    json_decref(rows);
    r = daemon_control(d, "stats", "--prometheus", NULL);
    assert_non_null(strstr(r.out, "\nmsockd_certificate_end_seconds "));
    run_result_free(&r);
    r = daemon_control(d, "doctor", "certificates", NULL);
    assert_non_null(strstr(r.out, "now.pem ends in "));
    run_result_free(&r);
    install("server", "server");
    daemon_reload(d);
    r = daemon_control(d, "doctor", "certificates", NULL);
    assert_null(strstr(r.out, "ends in"));
    run_result_free(&r);
    daemon_stop(d);
}

/* Nobody reloads for weeks. */
static void
a_certificate_that_comes_to_its_end_is_said_meanwhile(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .clock = true, .listen = {tls_case_url("frame", "server", "&reply=yes")}});
    const int64_t day = 86400;

    (void)state;
    assert_false(daemon_logged(d, "its certificate"));
    daemon_shift_clock(d, 20 * day);
    WAIT_FOR(daemon_logged(d, "its certificate ends in 9 days: renew "), 20000);
    daemon_shift_clock(d, 40 * day);
    WAIT_FOR(daemon_logged(d, "its certificate has ended: renew "), 20000);
    daemon_stop(d);
}

/* Other listeners and clients that do not mind need it. */
static void
a_worker_is_replaced_when_the_certificate_has_ended(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .clock = true,
                                 .errors_expected = true,
                                 .listen = {tls_case_url("frame", "server", "&reply=yes")}});
    struct proc_list workers;

    (void)state;
    daemon_shift_clock(d, 40 * (int64_t)86400);
    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
    signal_send(workers.pid[0], SIGKILL);
    WAIT_FOR(daemon_logged(d, "died: signal 9"), 20000);
    tls_case_expect_served(d, &tls_anybody);
    daemon_stop(d);
}

/* What is under way ends in the worker that has its keys. */
static void
connections_stay_with_the_worker_that_shook_hands(void **state)
{
    struct daemon *d = tls_case_daemon(2, "");
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &tls_anybody);
    assert_true(tls_peer_say(&t, "hello"));
    assert_int_equal(SSL_write(t.ssl, "\0\0\0\5hel", 7), 7);
    WAIT_FOR(stats_total(d, "bytes_in") == 16, 20000);
    daemon_reload(d);
    tls_case_expect_served(d, &tls_anybody);
    assert_int_equal(SSL_write(t.ssl, "lo", 2), 2);
    WAIT_FOR(stats_total(d, "messages") == 3, 20000);
    assert_int_equal(stats_total(d, "adopted"), 0);
    tls_peer_end(&t);
    WAIT_FOR(daemon_has_workers(d, 2), 20000);
    daemon_stop(d);
}

/* --- memory --- */

#define IDLE     300
#define IDLE_MAX (64u << 10) /* each, of a worker, OpenSSL and all */

static void
idle_connections_cost_what_they_are_said_to_cost(void **state)
{
    static struct tls_peer peers[IDLE];
    struct daemon *d = tls_case_daemon(1, "");
    struct proc_list workers;
    uint64_t before, ledger;

    (void)state;
    tls_case_expect_served(d, &tls_anybody);
    tls_case_expect_empty(d);
    ledger = stats_total(d, "memory");
    daemon_workers(d, &workers);
    before = proc_memory(workers.pid[0]);
    for (unsigned i = 0; i < IDLE; i++) {
        tls_peer_connect(&peers[i], &d->listeners[0], &tls_anybody);
        assert_true(tls_peer_say(&peers[i], "hello"));
    }
    WAIT_FOR(stats_total(d, "memory") >= ledger + (uint64_t)IDLE * TLS_SESSION_COST, 20000);
    if (WAIT_SCALE == 1)
        assert_true(proc_memory(workers.pid[0]) < before + (uint64_t)IDLE * IDLE_MAX);
    for (unsigned i = 0; i < IDLE; i++)
        tls_peer_end(&peers[i]);
    tls_case_expect_empty(d);
    WAIT_FOR(stats_total(d, "memory") < ledger + TLS_SESSION_COST, 20000);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_come_over_tls_from_everybody),
        SYSTEM_TEST(a_record_that_is_not_whole_leaves_nothing),
        SYSTEM_TEST(a_connection_that_is_cut_leaves_no_message),
        SYSTEM_TEST(nobody_begins_anew_in_the_middle),
        SYSTEM_TEST(a_key_that_is_none_for_tls_13_serves_12),
        SYSTEM_TEST(early_data_is_not_taken),
        SYSTEM_TEST(a_reload_takes_the_new_certificate_and_no_bad_one),
        SYSTEM_TEST(authorities_that_are_none_are_refused_by_the_name_of_their_file),
        SYSTEM_TEST(a_certificate_that_ends_soon_is_shown_and_said),
        SYSTEM_TEST(a_certificate_that_comes_to_its_end_is_said_meanwhile),
        SYSTEM_TEST(a_worker_is_replaced_when_the_certificate_has_ended),
        SYSTEM_TEST(connections_stay_with_the_worker_that_shook_hands),
        SYSTEM_TEST(idle_connections_cost_what_they_are_said_to_cost),
    };

    return cmocka_run_group_tests(tests, tls_case_begin, tls_case_end);
}
