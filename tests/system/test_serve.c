/* msockctl serve as programs see it: JSON, metrics, events and health, who is let in, and that it
 * costs the workers nothing. */
#include "http.h"
#include "serving.h"
#include "stats.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "user" and "secret", by openssl passwd -6; in base64 for a request. */
#define LINE                                                                                       \
    "# who may look\n"                                                                             \
    "user:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/" \
    "O6IND4WQhG.\n"
#define RIGHT "dXNlcjpzZWNyZXQ="
#define WRONG "dXNlcjp3cm9uZw=="

static const char *const anywhere[] = {"--listen", "127.0.0.1:0", NULL};

static struct http_reply
ask(const struct serving *s, const char *path, const char *headers)
{
    return http_request(s->port, "GET", path, headers);
}

static void
expect(const struct serving *s, const char *method, const char *path, const char *headers,
       int status, const char *has)
{
    struct http_reply r = http_request(s->port, method, path, headers);

    if (r.status != status || strstr(r.body, has) == NULL)
        fail_msg("%s %s: %d, not %d with \"%s\": %.300s", method, path, r.status, status, has,
                 r.body);
    if (strstr(r.head, "Content-Security-Policy: default-src 'none'; script-src 'self'") == NULL ||
        strstr(r.head, "X-Content-Type-Options: nosniff") == NULL)
        fail_msg("%s %s lacks a header: %s", method, path, r.head);
    free(r.head);
}

/* --- what is served --- */

/* What msockctl prints, and serves a moment later: figures of sources are told once a second. */
static bool
is_served(const struct serving *s, const struct daemon *d, const char *table)
{
    json_t *printed = stats_read(d, table), *served;
    struct http_reply r;
    char path[64];
    bool same;

    snprintf(path, sizeof(path), "/api/%s", table);
    r = ask(s, path, "");
    served = json_loads(r.body, 0, NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: application/json"));
    same = json_array_size(served) == json_array_size(printed) &&
           json_object_size(served) == json_object_size(printed);
    json_decref(served);
    json_decref(printed);
    free(r.head);
    return same;
}

static void
the_tables_are_those_of_the_commands(void **state)
{
    static const char *const tables[] = {"stats",   "conns",  "workers", "listeners",
                                         "sources", "events", "crashes"};
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct serving s;
    struct answer a;
    struct peer p;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "one", "x", 1, &a), ANSWER_ACK);
    for (size_t i = 0; i < MS_ARRAY_LEN(tables); i++)
        WAIT_FOR(is_served(&s, d, tables[i]), 5000);
    expect(&s, "GET", "/api/conns", "", 200, p.name);
    expect(&s, "GET", "/api/events", "", 200, "\"event\":\"committed\"");
    expect(&s, "GET", "/api/journal", "", 200, "\"key\":\"one\"");
    expect(&s, "GET", "/api/nothing", "", 404, "no such");
    expect(&s, "GET", "/api/reload", "", 404, "no such");
    expect(&s, "GET", "/nothing", "", 404, "nothing");
    expect(&s, "HEAD", "/api/conns", "", 200, "");
    expect(&s, "HEAD", "/events", "", 200, "");
    expect(&s, "GET", "/api/conns", "Content-Length: 2\r\n\r\nab", 200, "[");
    expect(&s, "POST", "/api/conns", "Content-Length: 0\r\n", 405, "only shows");
    expect(&s, "POST", "/api/conns", "Content-Length: 1000000\r\n", 405, "only shows");
    expect(&s, "GET", "/", "", 200, "<!DOCTYPE html>");
    expect(&s, "GET", "/chart.js", "", 200, "Chart.js");
    serving_stop(&s);
    daemon_stop(d);
}

/* Bodies are nobody's business who looks at a page. */
static void
records_are_shown_without_their_bodies(void **state)
{
    static const char lines[] =
        "\n{\"id\":\"0\",\"peer\":\"<b>\",\"text\":\"a\"}\n[]\n{\"id\":\"torn";
    static char segment[100000];
    char path[HARNESS_PATH_LEN];
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct serving s;
    struct answer a;
    struct http_reply r;
    struct peer p;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, "first", "nobody's business", 17, &a), ANSWER_ACK);
    assert_int_equal(peer_send_plain(&p, "second", "nobody's business", 17, &a), ANSWER_ACK);
    harness_join(path, d->data_dir, "journal/00000000000000000000000000-w0.ndjson");
    memset(segment, 'x', sizeof(segment)); /* a line that is longer than what is looked at */
    memcpy(segment + sizeof(segment) - sizeof(lines), lines, sizeof(lines));
    harness_write_file(path, segment, sizeof(segment) - 1);
    r = ask(&s, "/api/journal", "");
    assert_non_null(strstr(r.body, "{\"id\":\"0\",\"peer\":\"<b>\"}"));
    assert_null(strstr(r.body, "torn"));
    assert_null(strstr(r.body, "business"));
    assert_non_null(strstr(r.body, "\"first\""));
    assert_true(strstr(r.body, "\"second\"") < strstr(r.body, "\"first\""));
    free(r.head);
    serving_stop(&s);
    daemon_stop(d);
}

static void
metrics_come_in_both_formats(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct run_result printed = daemon_control(d, "stats", "--prometheus", NULL);
    struct serving s;
    struct http_reply r;
    char *rest = printed.out, *line;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    r = ask(&s, "/metrics", "");
    assert_non_null(strstr(r.head, "text/plain; version=0.0.4"));
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] == '#' && strstr(r.body, line) == NULL)
            fail_msg("stats --prometheus has it, /metrics has not: %s", line);
    assert_non_null(strstr(r.body, "\nmsockd_disk_free_bytes "));
    assert_non_null(strstr(r.body, "# TYPE msockd_acks_total counter\n"));
    free(r.head);
    r = ask(&s, "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert_non_null(strstr(r.head, "application/openmetrics-text; version=1.0.0"));
    assert_non_null(strstr(r.body, "# TYPE msockd_acks counter\n"));
    assert_non_null(strstr(r.body, "\nmsockd_acks_total "));
    assert_string_equal(r.body + strlen(r.body) - 6, "# EOF\n");
    free(r.head);
    run_result_free(&printed);
    serving_stop(&s);
    daemon_stop(d);
}

static void
health_follows_the_msockd(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    const uint32_t strange = 99;
    char path[HARNESS_PATH_LEN];
    struct serving s;
    int fd;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    expect(&s, "GET", "/healthz", "", 200, "ok");
    expect(&s, "GET", "/readyz", "", 200, "ok");
    daemon_stop(d);
    expect(&s, "GET", "/healthz", "", 503, "no msockd");
    expect(&s, "GET", "/readyz", "", 503, "no msockd");
    expect(&s, "GET", "/metrics", "", 200, "\nmsockd_up 0\n");
    harness_remove_tree(d->runtime_dir);
    expect(&s, "GET", "/healthz", "", 503, "no msockd");
    expect(&s, "GET", "/api/stats", "", 503, "\"error\"");
    expect(&s, "GET", "/metrics", "", 200, "\nmsockd_up 0\n");
    assert_int_equal(mkdir(d->runtime_dir, 0755), 0);
    daemon_launch(d);
    expect(&s, "GET", "/readyz", "", 200, "ok");
    harness_join(path, d->runtime_dir, STATS_CONTROL_FILE);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &strange, sizeof(strange), offsetof(struct stats_control, version)),
                     sizeof(strange));
    close(fd);
    expect(&s, "GET", "/healthz", "", 503, "layout version 99");
    serving_stop(&s);
    daemon_stop(d);
}

/* Reads until so many events of a kind have come. */
static void
events_await(BIO *bio, const char *kind, unsigned count)
{
    size_t cap = 1 << 22, n = 0;
    char *text = calloc(1, cap);
    int got = 1;

    assert_non_null(text);
    while (count > 0 && got > 0 && n < cap - 1) {
        unsigned seen = 0;

        got = BIO_read(bio, text + n, (int)(cap - 1 - n));
        n += got > 0 ? (size_t)got : 0;
        for (const char *at = text; (at = strstr(at, kind)) != NULL; at++)
            seen++;
        count = seen >= count ? 0 : count;
    }
    if (count > 0)
        fail_msg("no %s in: %.1000s", kind, text);
    free(text);
}

static void
events_come_and_ask_nothing_of_the_workers(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 2});
    struct proc_list workers;
    struct serving s;
    BIO *slow, *bio;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    daemon_workers(d, &workers);
    proc_stop(d->run.pid);
    proc_stop_all(&workers);
    slow = http_connect(BIO_new(BIO_s_connect()), s.port);
    bio = http_connect(BIO_new(BIO_s_connect()), s.port);
    http_ask(slow, "GET", "/events", ""); /* and never reads */
    http_ask(bio, "GET", "/events", "");
    events_await(bio, "event: journal\n", 3);
    expect(&s, "GET", "/readyz", "", 200, "ok");
    proc_go_on_all(&workers);
    proc_go_on(d->run.pid);
    daemon_stop(d);
    harness_remove_tree(d->runtime_dir);
    events_await(bio, "event: away\n", 1);
    BIO_free_all(bio);
    serving_stop(&s); /* while somebody listens */
    BIO_free_all(slow);
}

static void
listeners_leave_room_for_other_questions(void **state)
{
    enum { MANY = 60, MOST = 48 };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct serving s;
    BIO *bios[MANY];

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    for (unsigned i = 0; i < MANY; i++) {
        bios[i] = http_connect(BIO_new(BIO_s_connect()), s.port);
        http_ask(bios[i], "GET", "/events", "");
        if (i < MOST)
            events_await(bios[i], "event: ", 1);
    }
    expect(&s, "GET", "/events", "", 503, "too many listen");
    expect(&s, "GET", "/healthz", "", 200, "ok");
    for (unsigned i = 0; i < MANY; i++)
        BIO_free_all(bios[i]);
    for (struct waiting w = waiting_begin(10000);;) {
        BIO *bio = http_connect(BIO_new(BIO_s_connect()), s.port);
        char first[16] = "";

        http_ask(bio, "GET", "/events", "");
        (void)BIO_read(bio, first, sizeof(first) - 1);
        BIO_free_all(bio);
        if (strstr(first, " 200") != NULL)
            break;
        assert_true(waiting_more(&w));
    }
    serving_stop(&s);
    daemon_stop(d);
}

/* --- who is let in --- */

/* A site that gives its own name our address could read what its page asks for. */
static void
names_that_are_not_ours_get_nothing(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct serving s;
    struct http_reply r;
    BIO *bio;

    (void)state;
    serving_need();
    serving_start(&s, d->runtime_dir, anywhere);
    bio = http_connect(BIO_new(BIO_s_connect()), s.port);
    BIO_printf(bio, "GET /api/conns HTTP/1.0\r\nHost: evil.example:%u\r\n\r\n", s.port);
    r = http_reply(bio);
    assert_int_equal(r.status, 403);
    free(r.head);
    serving_stop(&s);
    daemon_stop(d);
}

static void
passwords_write(const char *dir, const char *text, char path_out[HARNESS_PATH_LEN])
{
    harness_join(path_out, dir, "passwords");
    harness_write_file(path_out, text, strlen(text));
    assert_int_equal(chmod(path_out, 0600), 0);
}

static void
a_password_is_asked_for(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char path[HARNESS_PATH_LEN];
    const char *words[] = {"--listen", "127.0.0.1:0", "--password-file", path, NULL};
    struct serving s;
    struct http_reply r;

    (void)state;
    serving_need();
    passwords_write(d->dir, LINE, path);
    serving_start(&s, d->runtime_dir, words);
    r = ask(&s, "/", "");
    assert_int_equal(r.status, 401);
    assert_non_null(strstr(r.head, "WWW-Authenticate: Basic"));
    free(r.head);
    expect(&s, "GET", "/api/conns", "Authorization: Basic " RIGHT "\r\n", 200, "[");
    for (unsigned tries = 0;; tries++) { /* soon it does not even look */
        r = ask(&s, "/api/conns", "Authorization: Basic " WRONG "\r\n");
        assert_true(r.status == 401 || r.status == 429);
        assert_true(tries < 1000);
        if (r.status == 429)
            break;
        free(r.head);
    }
    free(r.head);
    expect(&s, "GET", "/api/conns", "Authorization: Basic " RIGHT "\r\n", 200, "[");
    expect(&s, "GET", "/healthz", "", 200, "ok");
    serving_stop(&s);
    daemon_stop(d);
}

/* Starts it with these words; it must end with that status and say that. */
static void
expect_refused(const struct daemon *d, const char *const words[], int status, const char *said)
{
    const char *argv[16] = {harness_program("msockctl"), "-r", d->runtime_dir, "serve"};
    struct run_result result;
    struct running r;

    for (size_t i = 0; words[i] != NULL; i++)
        argv[4 + i] = words[i];
    run_start(&r, argv, NULL);
    run_finish(&r, 10000, &result);
    if (result.status != status || strstr(result.err, said) == NULL)
        fail_msg("status %d, not %d with \"%s\": %s", result.status, status, said, result.err);
    run_result_free(&result);
}

static void
an_address_that_will_not_do_is_refused(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char path[HARNESS_PATH_LEN];
    const char *bare[] = {"--listen", "0.0.0.0:0", NULL};
    const char *only[] = {"--listen", "0.0.0.0:0", "--password-file", path, NULL};
    const char *half[] = {"--listen", "[::]:0", "--tls-cert", path, "--tls-key", path, NULL};
    const char *torn[] = {"--tls-cert", path, NULL};
    const char *file[] = {"--listen", "127.0.0.1:0", "--password-file", path, NULL};
    const char *name[] = {"--listen", "nothing", NULL};
    const char *taken[] = {"--listen", strstr(d->listeners[0].url, "127."), NULL};

    (void)state;
    serving_need();
    passwords_write(d->dir, LINE, path);
    expect_refused(d, bare, 64, "--password-file, --tls-cert and --tls-key");
    expect_refused(d, only, 64, "--password-file, --tls-cert and --tls-key");
    expect_refused(d, half, 64, "--password-file, --tls-cert and --tls-key");
    expect_refused(d, torn, 64, "belong together");
    expect_refused(d, name, 64, "ADDRESS:PORT");
    expect_refused(d, taken, 69, "in use");
    assert_int_equal(chmod(path, 0644), 0);
    expect_refused(d, file, 66, "chmod 640");
    passwords_write(d->dir, "user:plain\n", path);
    expect_refused(d, file, 66, "line 1");
    passwords_write(d->dir, "# nobody\n", path);
    expect_refused(d, file, 66, "names nobody");
    daemon_stop(d);
}

/* A certificate of 127.0.0.1 and its key, in one file each. */
static void
certificate_write(const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    FILE *file = fopen(cert_path, "we");

    assert_true(key != NULL && cert != NULL && file != NULL);
    X509_set_version(cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(file, cert), 1);
    fclose(file);
    file = fopen(key_path, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static struct http_reply
ask_secretly(const struct serving *s, SSL_CTX *tls, const char *headers)
{
    BIO *bio = http_connect(BIO_new_ssl_connect(tls), s->port);

    http_ask(bio, "GET", "/api/conns", headers);
    return http_reply(bio);
}

static void
expect_no_old_tls(const struct serving *s)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    char address[32];
    BIO *bio;

    SSL_CTX_set_security_level(tls, 0); /* or the client would not even try */
    SSL_CTX_set_min_proto_version(tls, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(tls, TLS1_1_VERSION);
    bio = BIO_new_ssl_connect(tls);
    snprintf(address, sizeof(address), "127.0.0.1:%u", s->port);
    BIO_set_conn_hostname(bio, address);
    assert_true(BIO_do_connect(bio) <= 0);
    BIO_free_all(bio);
    SSL_CTX_free(tls);
}

static void
a_public_address_is_served_with_both(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    char path[HARNESS_PATH_LEN], cert[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN];
    const char *words[] = {"--listen",  "0.0.0.0:0",  "--password-file",
                           path,        "--tls-cert", cert,
                           "--tls-key", key,          NULL};
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    struct serving s;
    struct http_reply r;

    (void)state;
    serving_need();
    harness_join(cert, d->dir, "cert.pem");
    harness_join(key, d->dir, "key.pem");
    passwords_write(d->dir, LINE, path);
    harness_write_file(cert, "no certificate\n", 15);
    harness_write_file(key, "no key\n", 7);
    expect_refused(d, words, 65, "certificate");
    certificate_write(cert, key);
    serving_start(&s, d->runtime_dir, words);
    assert_int_equal(strncmp(s.url, "https://", 8), 0);
    r = ask_secretly(&s, tls, "");
    assert_int_equal(r.status, 401);
    free(r.head);
    r = ask_secretly(&s, tls, "Authorization: Basic " RIGHT "\r\n");
    assert_int_equal(r.status, 200);
    free(r.head);
    SSL_CTX_free(tls);
    expect_no_old_tls(&s);
    serving_stop(&s);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_tables_are_those_of_the_commands),
        SYSTEM_TEST(records_are_shown_without_their_bodies),
        SYSTEM_TEST(metrics_come_in_both_formats),
        SYSTEM_TEST(health_follows_the_msockd),
        SYSTEM_TEST(events_come_and_ask_nothing_of_the_workers),
        SYSTEM_TEST(listeners_leave_room_for_other_questions),
        SYSTEM_TEST(names_that_are_not_ours_get_nothing),
        SYSTEM_TEST(a_password_is_asked_for),
        SYSTEM_TEST(an_address_that_will_not_do_is_refused),
        SYSTEM_TEST(a_public_address_is_served_with_both),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
