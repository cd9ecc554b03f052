/* A start with handler=nats: it is refused where a server says no, and who we are opens the door.
 */
#include "nats_case.h"
#include "nats_jwt.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTIONS_SIZE 1024

/* --- refusals at the start --- */

static void
expect_no_start(const char *url, const char *sentence)
{
    struct run_result result = run_program(harness_program("msockd"), "-t", "-l", url, NULL);
    struct daemon *d = daemon_create(
        &(struct daemon_options){.workers = 1, .listen = {url}, .errors_expected = true});

    if (result.status != 78 || strstr(result.err, sentence) == NULL)
        fail_msg("-t: %d, %s", result.status, result.err);
    run_result_free(&result);
    result = daemon_fail(d);
    if (result.status == 0 || strstr(result.err, sentence) == NULL)
        fail_msg("%d, %s", result.status, result.err);
    if (strstr(result.err, "geheim") != NULL)
        fail_msg("a password is shown: %s", result.err);
    run_result_free(&result);
}

static void
a_start_is_refused_where_a_server_says_no(void **state)
{
    static const char login[] = "authorization { user: u, password: geheim }";
    struct nats n = {0}, plain = {.is_plain = true},
                locked = {.login = "\"user\":\"u\",\"pass\":\"geheim\""};

    (void)state;
    nats_start(&n, NULL);
    expect_no_start(nats_url(&n, ""), "there is no stream S; stream_create=yes makes it");
    nats_request_made(&n, "$JS.API.STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"in.x.*\"]}");
    expect_no_start(nats_url(&n, ""), "stream S does not take all of in.*.*");
    expect_no_start(nats_url(&n, "subject=a..b"), "a part between two dots");
    expect_no_start(nats_url(&n, "nats_user=u"), "one needs the other");
    nats_start(&plain, NULL);
    expect_no_start(nats_url(&plain, NATS_KEEP), "JetStream is not enabled on the servers");
    nats_start(&locked, login);
    expect_no_start(nats_url(&locked, NATS_KEEP), "does not take the credentials");
    expect_no_start(nats_url(&locked, NATS_KEEP "&servers=nats://u:geheim%25@x"), "twice");
}

/* Nobody listens at port 1. */
static void
what_cannot_be_right_is_refused_without_a_server_too(void **state)
{
    static const struct {
        const char *options, *sentence;
    } rows[] = {
        {"servers=nats://", "servers: there is one without a host"},
        {"servers=nats://:1", "servers: there is one without a host"},
        {"servers=nats://u:geheim@", "servers: there is one without a host"},
        {"servers=nats://u:geheim@:1", "servers: there is one without a host"},
        {"servers=127.0.0.1:1,,127.0.0.1:1", "servers: there is an empty one in the list"},
        {"servers=127.0.0.1:1,", "servers: there is an empty one in the list"},
        {"servers=127.0.0.1:", "expected a port from 0 to 65535"},
        {"servers=127.0.0.1:1,127.0.0.1:65536", "expected a port from 0 to 65535"},
        {"servers=u:geheim", "expected a port from 0 to 65535"},
        {"servers=127.0.0.1:0", "port 0 cannot be connected to"},
        {"servers=[::1:1", "the bracket of the IPv6 address is not closed"},
        {"servers=::1:1", "an IPv6 address stands in brackets"},
        {"servers=a%20b:1", "blanks and control characters are not allowed"},
        {"servers=127.0.0.1:1/x", "an address is not followed by a path"},
        {"servers=nats:///x", "expected nats://HOST:PORT"},
        {"servers=nats://:geheim@127.0.0.1:1", "there is no user before an @"},
        {"servers=http://127.0.0.1:1", "expected nats:// or tls:// in front of each"},
        {"servers=", "servers: there is no value"},
        {"servers=127.0.0.1:1&nats_creds=", "nats_creds: there is no value"},
        {"servers=127.0.0.1:1&nats_creds=/none", "/none: No such file"},
        {"servers=127.0.0.1:1&nats_creds=/etc/passwd", "there is no seed of a user's nkey"},
        {"servers=127.0.0.1:1&nats_nkey=/none", "/none: No such file"},
        {"servers=127.0.0.1:1&nats_ca=/none", "/none: No such file"},
        {"servers=127.0.0.1:1&nats_ca=/etc/passwd", "/etc/passwd"},
        {"servers=127.0.0.1:1&nats_cert=/none&nats_key=/etc/passwd", "/none: No such file"},
        {"servers=127.0.0.1:1&nats_cert=/etc/passwd&nats_key=/none", "/none: No such file"},
        {"servers=127.0.0.1:1&nats_user=u&nats_password_file=/none", "/none: No such file"},
        {"servers=127.0.0.1:1&max_age=50ms", "max_age: expected 0, or 100ms and more"},
    };
    char url[NATS_URL_SIZE], text[NATS_URL_SIZE];
    struct run_result result;
    struct daemon *d;

    (void)state;
    nats_need();
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        snprintf(url, sizeof(url), "msp://127.0.0.1:0?handler=nats&stream=S&%s", rows[i].options);
        expect_no_start(url, rows[i].sentence);
    }
    d = daemon_create(&(struct daemon_options){
        .config = "workers = 1\nlisten = {\"msp://127.0.0.1:0?handler=echo\"}\n",
        .errors_expected = true});
    daemon_launch(d);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        snprintf(text, sizeof(text),
                 "workers = 1\nlisten = {\"msp://127.0.0.1:0?handler=nats&stream=S&%s\"}\n",
                 rows[i].options);
        daemon_configure(d, text);
        result = daemon_control(d, "reload", NULL);
        if (result.status == 0 || strstr(result.err, rows[i].sentence) == NULL)
            fail_msg("%s: %d, %s", rows[i].options, result.status, result.err);
        run_result_free(&result);
    }
    daemon_stop(d);
}

/* A server of the test's own: what it says first, and to who says PING (NULL: nothing more). */
struct speaker {
    const char *hello, *pong;
    int fd;
    pthread_t thread;
};

static void *
speak(void *arg)
{
    const struct speaker *s = arg;
    char heard[4096];
    int one;

    while ((one = accept(s->fd, NULL, NULL)) >= 0) {
        ssize_t n = write(one, s->hello, strlen(s->hello));

        while (n > 0 && s->pong != NULL && (n = read(one, heard, sizeof(heard))) > 0)
            if (memmem(heard, (size_t)n, "PING", 4) != NULL)
                n = write(one, s->pong, strlen(s->pong));
        close(one);
    }
    return NULL;
}

static void
speaker_start(struct speaker *s, struct nats *n)
{
    s->fd = nats_listen(&n->port);
    assert_int_equal(pthread_create(&s->thread, NULL, speak, s), 0);
}

static void
speaker_stop(struct speaker *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static void
expect_from(struct speaker s, const char *sentence)
{
    struct nats n = {0};

    speaker_start(&s, &n);
    expect_no_start(nats_url(&n, ""), sentence);
    speaker_stop(&s);
}

static void
a_server_of_another_kind_or_version_is_named(void **state)
{
    static const char kind[] = "the server is none of NATS, or of a kind that is not known";

    (void)state;
    nats_need();
    expect_from((struct speaker){.hello = "220 mail.example.org ESMTP\r\n"}, kind);
    expect_from((struct speaker){.hello = "INFO {\"server_id\":\"x\",\"version\":\"1.4.1\","
                                          "\"max_payload\":1048576}\r\n",
                                 .pong = "PONG\r\n"},
                kind);
}

/* It lets us in, and says nothing about any stream. */
static void
a_server_that_accepts_and_never_answers_is_waited_for(void **state)
{
    struct speaker s = {.hello =
                            "INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"headers\":true,"
                            "\"jetstream\":true,\"max_payload\":1048576}\r\n",
                        .pong = "PONG\r\n"};
    struct nats n = {0};
    struct daemon *d;

    (void)state;
    nats_need();
    speaker_start(&s, &n);
    d = nats_daemon(&n, "nats_timeout=300ms", 1);
    assert_true(daemon_logged(d, "senders wait until it is there"));
    nats_expect_line(d, "", "ERR busy");
    daemon_stop(d);
    speaker_stop(&s);
}

static void
without_the_plugin_the_package_is_named(void **state)
{
    char dir[HARNESS_PATH_LEN], copy[HARNESS_PATH_LEN], plugin[HARNESS_PATH_LEN];
    struct run_result result;
    size_t n;
    char *program = harness_read_file(harness_program("msockd"), &n);

    (void)state;
    harness_directory(dir);
    harness_join(copy, dir, "msockd");
    harness_write_file(copy, program, n);
    free(program);
    assert_int_equal(chmod(copy, 0755), 0);
    result =
        run_program(copy, "-t", "-l", "msp://127.0.0.1:1?handler=nats&servers=a&stream=S", NULL);
    assert_int_equal(result.status, 78);
    assert_non_null(strstr(result.err, "install the package msockd-nats"));
    run_result_free(&result);
    harness_join(plugin, dir, "msockd_nats.so");
    harness_write_file(plugin, "nonsense", 8);
    result =
        run_program(copy, "-t", "-l", "msp://127.0.0.1:1?handler=nats&servers=a&stream=S", NULL);
    assert_int_equal(result.status, 78);
    assert_non_null(strstr(result.err, "msockd-nats"));
    run_result_free(&result);
    result = run_program(copy, "-t", "-l", "msp://127.0.0.1:1?handler=echo", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
}

/* --- who we are --- */

static void
expect_start(const char *url)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {url}});
    struct answer a;

    free(nats_send_text(d, "", "hello", &a));
    if (a.kind != ANSWER_ACK)
        fail_msg("%s: %s", url, a.text);
    assert_false(daemon_logged(d, "geheim"));
    daemon_stop(d);
}

static void
users_passwords_and_nkeys_open_the_door(void **state)
{
    static const char users[] = "authorization { users: [ {user: u, password: geheim}, {nkey: "
                                "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4} ] }";
    static const char seed[] = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";
    struct nats n = {.login = "\"user\":\"u\",\"pass\":\"geheim\""};
    char file[HARNESS_PATH_LEN], options[OPTIONS_SIZE], url[NATS_URL_SIZE];

    (void)state;
    nats_start(&n, users);
    harness_join(file, n.dir, "secret");
    harness_write_file(file, "geheim\n", 7);
    snprintf(options, sizeof(options), NATS_KEEP "&nats_user=u&nats_password_file=%s", file);
    expect_start(nats_url(&n, options));
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&servers=nats://u:geheim@127.0.0.1:%u",
             n.port);
    expect_start(url);
    harness_write_file(file, "falsch\n", 7);
    expect_no_start(nats_url(&n, options), "does not take the credentials");
    harness_write_file(file, seed, strlen(seed));
    snprintf(options, sizeof(options), "nats_nkey=%s", file);
    expect_start(nats_url(&n, options));
}

static void
a_jwt_of_an_account_that_is_known_opens_the_door(void **state)
{
    char more[NATS_JWT_CONFIG], file[HARNESS_PATH_LEN], options[OPTIONS_SIZE];
    struct nats n = {.is_locked = true};

    (void)state;
    nats_need();
    nats_jwt_config(more);
    nats_start(&n, more);
    harness_join(file, n.dir, "creds");
    snprintf(options, sizeof(options), NATS_KEEP "&nats_creds=%s", file);
    nats_jwt_creds(file, true);
    expect_start(nats_url(&n, options));
    nats_jwt_creds(file, false);
    expect_no_start(nats_url(&n, options), "does not take the credentials");
    harness_write_file(file, "geheim\n", 7);
    expect_no_start(nats_url(&n, options), "creds");
    expect_no_start(nats_url(&n, NATS_KEEP), "does not take the credentials");
}

/* A certificate for localhost, signed by itself, and its key. */
static void
make_certificate(const char *dir, char cert[HARNESS_PATH_LEN], char key[HARNESS_PATH_LEN])
{
    struct run_result result;

    harness_join(cert, dir, "cert");
    harness_join(key, dir, "key");
    result =
        run_program("/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-out", cert, "-keyout", key, NULL);
    if (result.status != 0)
        fail_msg("openssl: %s", result.err);
    run_result_free(&result);
}

static void
tls_goes_to_the_right_server_only(void **state)
{
    char dir[HARNESS_PATH_LEN], cert[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN], more[2048];
    char url[NATS_URL_SIZE];
    struct nats n = {0}, plain = {0};

    (void)state;
    if (access("/usr/bin/openssl", X_OK) < 0)
        skip();
    nats_start(&plain, NULL);
    harness_directory(dir);
    make_certificate(dir, cert, key);
    snprintf(more, sizeof(more),
             "tls { cert_file: \"%s\", key_file: \"%s\", ca_file: \"%s\", verify: true }", cert,
             key, cert);
    n.is_locked = true;
    nats_start(&n, more);
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&stream_create=yes&servers=nats://localhost:%u"
             "&nats_ca=%s&nats_cert=%s&nats_key=%s",
             n.port, cert, cert, key);
    expect_start(url);
    snprintf(strstr(url, "&nats_cert"), 16, "&nats_tls=yes");
    expect_no_start(url, "does not take the credentials");
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&servers=nats://localhost:%u", n.port);
    expect_no_start(url, "there is no TLS connection to the NATS server");
    expect_no_start(nats_url(&plain, "nats_tls=yes"), "there is no TLS connection");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_start_is_refused_where_a_server_says_no),
        SYSTEM_TEST(what_cannot_be_right_is_refused_without_a_server_too),
        SYSTEM_TEST(a_server_of_another_kind_or_version_is_named),
        SYSTEM_TEST(a_server_that_accepts_and_never_answers_is_waited_for),
        SYSTEM_TEST(without_the_plugin_the_package_is_named),
        SYSTEM_TEST(users_passwords_and_nkeys_open_the_door),
        SYSTEM_TEST(a_jwt_of_an_account_that_is_known_opens_the_door),
        SYSTEM_TEST(tls_goes_to_the_right_server_only),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
