/* TLS from outside: what is sent over it is taken, as over a plain connection; what is wrong with
 * it is refused, said and counted, and leaves nothing behind. */
#include "journal.h"
#include "proc.h"
#include "stats.h"
#include "support/certificates.h"
#include "support/signals.h"
#include "target.h"
#include "tls/tls.h"
#include "tls_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPENSSL "/usr/bin/openssl"
#define PYTHON  "/usr/bin/python3"
#define URL_LEN (3 * HARNESS_PATH_LEN)

/* Authorities, a server and clients, once for all tests: a directory of our own, since those of
 * the harness end with each test. */
static char dir[] = "/tmp/msockd-tls.XXXXXX";
static char long_name[64 << 10];

#define MAKE(name, signer, ...) \
    certificate_make(dir, (name), (signer), &(struct certificate){__VA_ARGS__})

static const struct tls_who anybody = {.dir = dir, .ca = "ca"};

/* --- listeners --- */

/* scheme://127.0.0.1:0 with the certificate of that name, and further options: "" or "&...". */
static const char *
listen_url(const char *scheme, const char *cert, const char *more)
{
    static char urls[4][URL_LEN];
    static unsigned next;
    char *url = urls[next++ % 4];

    snprintf(url, URL_LEN, "%s://127.0.0.1:0?tls=required&tls_cert=%s/%s.pem&tls_key=%s/%s.key%s",
             scheme, dir, cert, dir, cert, more);
    return url;
}

/* One of frame, with replies. */
static struct daemon *
start(unsigned workers, const char *more)
{
    char options[HARNESS_PATH_LEN];

    snprintf(options, sizeof(options), "&reply=yes%s", more);
    return daemon_start(&(struct daemon_options){
        .workers = workers, .listen = {listen_url("frame", "server", options)}});
}

/* Everything has left. That nothing of it is in memory is asserted by the ledger at the end. */
static void
expect_empty(const struct daemon *d)
{
    WAIT_FOR(stats_total(d, "open") == 0, 20000);
}

static void
expect_served(const struct daemon *d, const struct tls_who *who)
{
    struct tls_peer t;

    tls_peer_connect(&t, &d->listeners[0], who);
    assert_true(tls_peer_say(&t, "hello"));
    tls_peer_end(&t);
}

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
        .listen = {listen_url("frame", "server", "&reply=yes"), listen_url("msp", "server", ""),
                   listen_url("frame", "server", "&framing=delimiter"),
                   listen_url("auto", "server", "")}});
    char ca[HARNESS_PATH_LEN], at[64], port[16], line[64];
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    const struct outgoing m = {.kind = 'A', .body = "hello", .len = 5};
    int n = (int)wire_ahead(packet, &m);
    struct journal j;
    uint64_t want = 1;

    (void)state;
    expect_served(d, &anybody);
    for (unsigned i = 1; i < 4; i += 2) {
        struct tls_peer t;

        tls_peer_connect(&t, &d->listeners[i], &anybody);
        assert_int_equal(SSL_write(t.ssl, packet, n), n);
        assert_true(SSL_read(t.ssl, line, sizeof(line)) > 0);
        assert_memory_equal(line, "ACK", 3);
        WAIT_FOR(stats_total(d, "messages") == ++want || (want--, false), 20000);
        tls_peer_end(&t);
    }
    harness_join(ca, dir, "ca.pem");
    snprintf(at, sizeof(at), "127.0.0.1:%u", target_port(&d->listeners[2]));
    run_peer((const char *[]){OPENSSL, "s_client", "-quiet", "-no_ign_eof", "-CAfile", ca,
                              "-verify_return_error", "-verify_hostname", "localhost", "-connect",
                              at, NULL},
             "hello\n");
    WAIT_FOR(access(OPENSSL, X_OK) < 0 || stats_total(d, "messages") == want + 1, 20000);
    snprintf(port, sizeof(port), "%u", target_port(&d->listeners[0]));
    run_peer((const char *[]){PYTHON, "-c", python, port, ca, NULL}, "");
    expect_empty(d);
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
    struct daemon *d = start(1, "");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        uint8_t record[256];
        struct tls_peer t;
        size_t n, at;

        tls_peer_connect(&t, &d->listeners[0], &anybody);
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
    expect_served(d, &anybody);
    expect_empty(d);
    daemon_stop(d);
}

/* Who cuts the line can end no message: the end that TLS has is sealed. */
static void
a_connection_that_is_cut_leaves_no_message(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .listen = {listen_url("frame", "server", "&framing=eof")}});
    struct tls_peer t;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        tls_peer_connect(&t, &d->listeners[0], &anybody);
        assert_int_equal(SSL_write(t.ssl, "hello", 5), 5);
        if (i % 2 == 0)
            peer_reset_on_close(&t.peer);
        WAIT_FOR(stats_total(d, "bytes_in") == 5 * (i + 1), 20000);
        tls_peer_cut(&t);
        WAIT_FOR(stats_total(d, "open") == 0, 20000);
    }
    assert_int_equal(stats_total(d, "messages"), 0);
    tls_peer_connect(&t, &d->listeners[0], &anybody);
    assert_int_equal(SSL_write(t.ssl, "hello", 5), 5);
    tls_peer_end(&t);
    WAIT_FOR(stats_total(d, "messages") == 1, 20000);
    expect_empty(d);
    daemon_stop(d);
}

/* --- versions --- */

static void
nobody_begins_anew_in_the_middle(void **state)
{
    const struct tls_who old = {.dir = dir, .ca = "ca", .version = TLS1_2_VERSION};
    struct daemon *d = start(1, "&tls_min=1.2");
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &old);
    assert_true(tls_peer_say(&t, "hello"));
    assert_int_equal(SSL_renegotiate(t.ssl), 1);
    assert_int_not_equal(SSL_do_handshake(t.ssl), 1);
    tls_peer_cut(&t);
    assert_int_equal(stats_total(d, "handshakes"), 1);
    expect_served(d, &anybody); /* 1.3 */
    expect_empty(d);
    daemon_stop(d);
    d = start(1, "");
    tls_peer_open(&t, &d->listeners[0], &old);
    assert_false(tls_peer_shake(&t));
    tls_peer_cut(&t);
    WAIT_FOR(daemon_logged(d, "unsupported protocol"), 20000);
    daemon_stop(d);
}

/* Whoever sees early data can send it again. */
static void
early_data_is_not_taken(void **state)
{
    struct daemon *d = start(1, "");
    struct tls_who again = anybody;
    struct tls_peer t;
    size_t n;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &anybody);
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
    expect_empty(d);
    daemon_stop(d);
}

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
    struct daemon *d = start(1, "");
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
            expect_served(d, &anybody);
    }
    expect_served(d, &anybody);
    for (unsigned i = 0; i < HALVES; i++)
        peer_close(&peers[i]);
    WAIT_FOR(stats_total(d, "handshakes_failed") == count, 20000);
    expect_empty(d);
    daemon_stop(d);
}

/* A byte now and then does not help it; others are served meanwhile. */
static void
a_handshake_that_drips_has_a_deadline(void **state)
{
    struct daemon *d = start(1, "");
    struct waiting w = waiting_begin(60000);
    uint8_t hello[1024];
    size_t n = client_hello(hello, sizeof(hello));
    bool closed = false;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (size_t i = 0; !closed && i + 1 < n && waiting_more(&w); i++) {
        (void)peer_write(&p, &hello[i], 1);
        expect_served(d, &anybody);
        closed = peer_closed(&p, 1000);
    }
    assert_true(closed);
    assert_true(daemon_logged(d, "it takes too long"));
    peer_close(&p);
    expect_empty(d);
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
        struct tls_who who = {.dir = dir, .ca = "ca", .cert = rows[i].cert};
        struct tls_peer t;
        struct daemon *d;

        snprintf(ca, sizeof(ca), "&tls_client_ca=%s/ca.pem", dir);
        d = start(1, ca);
        tls_peer_open(&t, &d->listeners[0], &who);
        if (tls_peer_shake(&t) && tls_peer_say(&t, "hello"))
            fail_msg("%s is let in", rows[i].cert);
        tls_peer_cut(&t);
        WAIT_FOR(stats_total(d, "handshakes_failed") == 1, 20000);
        WAIT_FOR(daemon_logged(d, rows[i].says), 5000);
        d->options.errors_expected = true; /* a reason of OpenSSL may hold the word */
        who.cert = "client";
        expect_served(d, &who);
        assert_int_equal(stats_total(d, "messages"), 1);
        expect_empty(d);
        daemon_stop(d);
    }
}

static void
control_bytes_of_a_name_come_out_nowhere(void **state)
{
    const struct tls_who who = {.dir = dir, .ca = "ca", .cert = "control"};
    char ca[HARNESS_PATH_LEN];
    struct run_result r;
    struct tls_peer t;
    struct daemon *d;
    char *log;

    (void)state;
    snprintf(ca, sizeof(ca), "&tls_client_ca=%s/ca.pem", dir);
    d = start(1, ca);
    tls_peer_connect(&t, &d->listeners[0], &who);
    (void)tls_peer_say(&t, "hello");
    r = daemon_control(d, "conns", NULL);
    assert_null(strchr(r.out, '\x1b'));
    run_result_free(&r);
    tls_peer_end(&t);
    expect_empty(d);
    daemon_stop(d);
    log = daemon_log(d);
    assert_null(strchr(log, '\x1b'));
    free(log);
}

static void
plain_bytes_and_tls_are_told_apart(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {listen_url("msp", "server", ""), "frame://127.0.0.1:0"}});
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
    expect_empty(d);
    daemon_stop(d);
}

/* Before a handshake, so there is no word for it. */
static void
a_denied_address_is_closed_before_a_handshake(void **state)
{
    struct daemon *d = start(1, "&deny=127.0.0.2");
    struct tls_who from = {.dir = dir, .ca = "ca", .source = "127.0.0.2"};
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
    expect_served(d, &from);
    expect_empty(d);
    daemon_stop(d);
}

static void
handshakes_that_fail_count_against_their_source(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .listen = {listen_url("frame", "server", "&reply=yes")},
                                 .set = {"exempt=none"}});
    struct tls_who from = {.dir = dir, .ca = "ca", .source = "127.0.0.2"};
    struct tls_peer t;
    unsigned n = 0;

    (void)state;
    expect_served(d, &from);
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
    expect_served(d, &from);
    expect_empty(d);
    daemon_stop(d);
}

/* --- reloads --- */

static void
copy(const char *from, const char *to)
{
    char path[HARNESS_PATH_LEN];
    size_t n;
    char *text;

    harness_join(path, dir, from);
    text = harness_read_file(path, &n);
    assert_non_null(text);
    harness_join(path, dir, to);
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
    harness_join(key_path, dir, "now.key");
    assert_int_equal(chmod(key_path, 0600), 0);
}

static void
expect_server(const struct daemon *d, const char *name)
{
    struct tls_peer t;
    char said[64];

    tls_peer_connect(&t, &d->listeners[0], &anybody);
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
    char url[URL_LEN], key[HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    harness_join(key, dir, "now.key");
    install("server", "server");
    snprintf(url, sizeof(url), "%s", listen_url("frame", "now", "&reply=yes"));
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

/* 14 days before. */
static void
a_certificate_that_ends_soon_is_shown_and_said(void **state)
{
    char url[URL_LEN];
    struct run_result r;
    struct daemon *d;
    json_t *rows;

    (void)state;
    install("soon", "soon");
    snprintf(url, sizeof(url), "%s", listen_url("frame", "now", "&reply=yes"));
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

/* What is under way ends in the worker that has its keys. */
static void
connections_stay_with_the_worker_that_shook_hands(void **state)
{
    struct daemon *d = start(2, "");
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &anybody);
    assert_true(tls_peer_say(&t, "hello"));
    assert_int_equal(SSL_write(t.ssl, "\0\0\0\5hel", 7), 7);
    WAIT_FOR(stats_total(d, "bytes_in") == 16, 20000);
    daemon_reload(d);
    expect_served(d, &anybody);
    assert_int_equal(SSL_write(t.ssl, "lo", 2), 2);
    WAIT_FOR(stats_total(d, "messages") == 3, 20000);
    assert_int_equal(stats_total(d, "adopted"), 0);
    tls_peer_end(&t);
    WAIT_FOR(daemon_has_workers(d, 2), 20000);
    daemon_stop(d);
}

/* --- tickets --- */

static void
expect_resumed(const struct daemon *d, SSL_SESSION *session, unsigned times)
{
    struct tls_who again = anybody;
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

/* A worker that rests takes no connection: the one that does not takes all. */
static void
rest(const struct proc_list *workers, size_t but, bool rests)
{
    for (size_t i = 0; i < workers->count; i++) {
        if (i == but)
            continue;
        assert_int_equal(signal_send(workers->pid[i], rests ? SIGSTOP : SIGCONT), 0);
        WAIT_FOR(proc_stopped(workers->pid[i]) == rests, 20000);
    }
}

static void
expect_resumed_by_each(const struct daemon *d, SSL_SESSION *session)
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    for (size_t i = 0; i < workers.count; i++) {
        rest(&workers, i, true);
        expect_resumed(d, session, 2);
        rest(&workers, i, false);
    }
}

static void
tickets_are_good_in_all_workers_and_after_a_reload(void **state)
{
    struct daemon *d = start(4, "");
    SSL_SESSION *session;
    struct tls_peer t;

    (void)state;
    tls_peer_connect(&t, &d->listeners[0], &anybody);
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
    expect_empty(d);
    daemon_stop(d);
}

static void
a_ticket_lets_nobody_in_who_may_not_be_there_now(void **state)
{
    char config[2 * URL_LEN];
    struct tls_who again = {.dir = dir, .ca = "ca"};
    struct tls_peer t;
    struct daemon *d;

    (void)state;
    snprintf(config, sizeof(config), "listen = {\"%s\"}\n",
             listen_url("frame", "server", "&reply=yes"));
    d = daemon_start(&(struct daemon_options){.config = config});
    tls_peer_connect(&t, &d->listeners[0], &anybody);
    assert_true(tls_peer_say(&t, "hello"));
    again.session = tls_peer_session(&t);
    tls_peer_end(&t);
    snprintf(config, sizeof(config), "listen = {\"%s&tls_client_ca=%s/ca.pem\"}\n",
             listen_url("frame", "server", "&reply=yes"), dir);
    daemon_configure(d, config);
    daemon_reload(d);
    tls_peer_open(&t, &d->listeners[0], &again);
    assert_false(tls_peer_shake(&t) && tls_peer_say(&t, "hello"));
    tls_peer_cut(&t);
    SSL_SESSION_free(again.session);
    assert_int_equal(stats_total(d, "messages"), 1);
    daemon_stop(d);
}

/* --- memory --- */

#define IDLE     300
#define IDLE_MAX (64u << 10) /* each, of a worker, OpenSSL and all */

static void
idle_connections_cost_what_they_are_said_to_cost(void **state)
{
    static struct tls_peer peers[IDLE];
    struct daemon *d = start(1, "");
    struct proc_list workers;
    uint64_t before, ledger;

    (void)state;
    expect_served(d, &anybody);
    expect_empty(d);
    ledger = stats_total(d, "memory");
    daemon_workers(d, &workers);
    before = proc_memory(workers.pid[0]);
    for (unsigned i = 0; i < IDLE; i++) {
        tls_peer_connect(&peers[i], &d->listeners[0], &anybody);
        assert_true(tls_peer_say(&peers[i], "hello"));
    }
    WAIT_FOR(stats_total(d, "memory") >= ledger + (uint64_t)IDLE * TLS_SESSION_COST, 20000);
    if (WAIT_SCALE == 1)
        assert_true(proc_memory(workers.pid[0]) < before + (uint64_t)IDLE * IDLE_MAX);
    for (unsigned i = 0; i < IDLE; i++)
        tls_peer_end(&peers[i]);
    expect_empty(d);
    WAIT_FOR(stats_total(d, "memory") < ledger + TLS_SESSION_COST, 20000);
    daemon_stop(d);
}

/* --- certificates --- */

static int
make_all(void **state)
{
    char path[HARNESS_PATH_LEN];

    if (harness_begin(state) < 0 || mkdtemp(dir) == NULL)
        return -1;
    memset(long_name, 'x', sizeof(long_name));
    MAKE("ca", NULL, .common_name = "tests");
    MAKE("otherca", NULL, .common_name = "others");
    MAKE("server", "ca", .common_name = "server", .alternative = "DNS:localhost,IP:127.0.0.1");
    MAKE("other", "ca", .common_name = "other", .alternative = "DNS:localhost,IP:127.0.0.1");
    MAKE("client", "ca", .common_name = "client");
    MAKE("strange", "otherca", .common_name = "strange");
    MAKE("expired", "ca", .common_name = "old", .from_days = -20, .days = 10);
    MAKE("early", "ca", .common_name = "new", .from_days = 20, .days = 10);
    MAKE("soon", "ca", .common_name = "soon", .days = 13);
    MAKE("long", "ca", .common_name = long_name, .common_name_len = sizeof(long_name));
    MAKE("longish", "ca", .common_name = long_name, .common_name_len = 2000);
    MAKE("nul", "ca", .common_name = "clie\0nt", .common_name_len = 7);
    MAKE("nameless", "ca", .common_name = NULL);
    MAKE("control", "ca", .common_name = "\x1b[2Jclient\r\n");
    harness_join(path, dir, "junk.pem");
    harness_write_file(path, "junk\n", 5);
    harness_join(path, dir, "junk.key");
    harness_write_file(path, "junk\n", 5);
    return chmod(path, 0600);
}

static int
remove_all(void **state)
{
    harness_remove_tree(dir);
    return harness_end(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_come_over_tls_from_everybody),
        SYSTEM_TEST(a_record_that_is_not_whole_leaves_nothing),
        SYSTEM_TEST(a_connection_that_is_cut_leaves_no_message),
        SYSTEM_TEST(nobody_begins_anew_in_the_middle),
        SYSTEM_TEST(early_data_is_not_taken),
        SYSTEM_TEST(handshakes_that_stop_half_way_hold_nobody_up),
        SYSTEM_TEST(a_handshake_that_drips_has_a_deadline),
        SYSTEM_TEST(clients_that_are_wrong_are_refused_and_the_log_says_why),
        SYSTEM_TEST(control_bytes_of_a_name_come_out_nowhere),
        SYSTEM_TEST(plain_bytes_and_tls_are_told_apart),
        SYSTEM_TEST(a_denied_address_is_closed_before_a_handshake),
        SYSTEM_TEST(handshakes_that_fail_count_against_their_source),
        SYSTEM_TEST(a_reload_takes_the_new_certificate_and_no_bad_one),
        SYSTEM_TEST(a_certificate_that_ends_soon_is_shown_and_said),
        SYSTEM_TEST(connections_stay_with_the_worker_that_shook_hands),
        SYSTEM_TEST(tickets_are_good_in_all_workers_and_after_a_reload),
        SYSTEM_TEST(a_ticket_lets_nobody_in_who_may_not_be_there_now),
        SYSTEM_TEST(idle_connections_cost_what_they_are_said_to_cost),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}
