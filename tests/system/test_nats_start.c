/* A start with handler=nats: it is refused where a server says no, and who we are opens the door.
 */
#include "nats_case.h"

#include <arpa/inet.h>
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
    nats_need();
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

/* Accepts, says a few words that no NATS server says, and closes. */
static void *
speak_nonsense(void *arg)
{
    int fd = *(int *)arg, one;

    while ((one = accept(fd, NULL, NULL)) >= 0) {
        (void)!write(one, "220 mail.example.org ESMTP\r\n", 28);
        close(one);
    }
    return NULL;
}

static void
a_server_of_another_kind_is_named(void **state)
{
    struct nats n = {0};
    pthread_t thread;
    int fd = nats_listen(&n.port);

    (void)state;
    nats_need();
    assert_int_equal(pthread_create(&thread, NULL, speak_nonsense, &fd), 0);
    expect_no_start(nats_url(&n, ""), "the server is none of NATS");
    shutdown(fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fd);
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
    nats_need();
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
    nats_need();
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
        SYSTEM_TEST(a_server_of_another_kind_is_named),
        SYSTEM_TEST(without_the_plugin_the_package_is_named),
        SYSTEM_TEST(users_passwords_and_nkeys_open_the_door),
        SYSTEM_TEST(tls_goes_to_the_right_server_only),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
