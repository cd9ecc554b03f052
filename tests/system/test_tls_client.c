/* Senders over TLS, against openssl s_server, which turns each line around, and against msockd:
 * what is checked, what is said where a check fails, and what becomes of a message then. */
#include "daemon.h"
#include "harness.h"
#include "proxy.h"
#include "run.h"
#include "stats.h"
#include "support/certificates.h"
#include "target.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct server {
    char dir[HARNESS_PATH_LEN];
    struct running running;
    unsigned port;
};

/* The certificates of all tests: "ca" signs, "other" is an authority that nobody knows. */
static void
make_certificates(const char *dir)
{
    certificate_make(dir, "ca", NULL, &(struct certificate){.common_name = "ca"});
    certificate_make(dir, "other", NULL, &(struct certificate){.common_name = "other"});
    certificate_make(dir, "good", "ca",
                     &(struct certificate){.alternative = "DNS:localhost,IP:127.0.0.1"});
    certificate_make(dir, "named", "ca", &(struct certificate){.alternative = "DNS:b.example"});
    certificate_make(
        dir, "expired", "ca",
        &(struct certificate){.alternative = "DNS:localhost", .from_days = -9, .days = 5});
    certificate_make(dir, "early", "ca",
                     &(struct certificate){.alternative = "DNS:localhost", .from_days = 5});
    certificate_make(dir, "foreign", "other",
                     &(struct certificate){.alternative = "DNS:localhost"});
    certificate_make(dir, "pump", "ca", &(struct certificate){.common_name = "pump-1"});
}

static bool
server_is_up(struct server *s)
{
    char text[4096];
    ssize_t n = pread(s->running.out, text, sizeof(text) - 1, 0);
    char *line;

    text[n > 0 ? n : 0] = '\0';
    line = strstr(text, "ACCEPT 127.0.0.1:");
    if (line == NULL || strchr(line, '\n') == NULL)
        return false;
    s->port = (unsigned)atoi(line + strlen("ACCEPT 127.0.0.1:"));
    return true;
}

/* Answers with each line turned around; option may be NULL. */
static void
server_start_in(struct server *s, const char *cert, const char *option)
{
    char pem[64], key[64];
    const char *argv[] = {"/usr/bin/openssl",
                          "s_server",
                          "-accept",
                          "127.0.0.1:0",
                          "-cert",
                          pem,
                          "-key",
                          key,
                          "-rev",
                          option,
                          "-CAfile",
                          "ca.pem",
                          NULL};

    if (option == NULL)
        argv[9] = NULL;
    snprintf(pem, sizeof(pem), "%s.pem", cert);
    snprintf(key, sizeof(key), "%s.key", cert);
    run_start(&s->running, argv, &(struct run_options){.cwd = s->dir});
    WAIT_FOR(server_is_up(s), 10000);
}

static void
server_start(struct server *s, const char *cert, const char *option)
{
    harness_directory(s->dir);
    make_certificates(s->dir);
    server_start_in(s, cert, option);
}

/* Runs commands in the server's directory: $M is msock, $U the server by name, $A by address.
 * Expects the status, and the text in what was printed. */
static void
expect(const struct server *s, const char *commands, int status, const char *text)
{
    char line[4 * HARNESS_PATH_LEN];
    struct run_result result;

    snprintf(line, sizeof(line),
             "cd %s; M=%s P=%u; U=\"frame+tls://localhost:$P?framing=delimiter\""
             " A=\"frame+tls://127.0.0.1:$P?framing=delimiter\"; exec 2>&1; %s",
             s->dir, harness_program("msock"), s->port, commands);
    result = run_program("/bin/sh", "-c", line, NULL);
    if (result.status != status || strstr(result.out, text) == NULL)
        fail_msg("%s: status %d: %s", commands, result.status, result.out);
    run_result_free(&result);
}

static void
a_good_server_is_taken(void **state)
{
    struct server s;

    (void)state;
    server_start(&s, "good", NULL);
    expect(&s, "$M -u $U send --ca ca.pem --reply abc", EX_OK, "cba");
    expect(&s, "$M -u $A send --ca ca.pem --reply abc", EX_OK, "cba");
    expect(&s, "$M -u \"$A&tls_ca=ca.pem\" send --reply abc", EX_OK, "cba");
    expect(&s, "MSOCK_CA=ca.pem $M -u $U send --reply abc", EX_OK, "cba");
    expect(&s, "MSOCK_CA=none $M -u \"$A&tls_ca=ca.pem\" send --reply abc", EX_OK, "cba");
    expect(&s, "MSOCK_SERVER_NAME=b $M -u \"$A&tls_name=localhost\" send --ca ca.pem x", EX_OK, "");
    expect(&s, "$M -u $A send --ca ca.pem --server-name localhost --reply abc", EX_OK, "cba");
    expect(&s, "echo abc | $M -u $U chat --ca ca.pem --wait 3", EX_OK, "cba");
    expect(&s, "seq 100 200 | MSOCK_CA=ca.pem $M -u $U send --lines", EX_OK, "");
    expect(&s, "MSOCK_CA=ca.pem MSOCK_SERVER_NAME=b.example $M -u $U send x", EX_NOPERM,
           "hostname mismatch");
}

static void
each_check_that_fails_is_named(void **state)
{
    static const struct {
        const char *cert, *options, *text;
    } rows[] = {
        {"good", "", "unable to get local issuer certificate"},
        {"good", "--ca other.pem", "unable to get local issuer certificate"},
        {"good", "--ca ca.pem --server-name 127.0.0.2", "IP address mismatch"},
        {"named", "--ca ca.pem", "hostname mismatch"},
        {"expired", "--ca ca.pem", "certificate has expired"},
        {"early", "--ca ca.pem", "certificate is not yet valid"},
        {"foreign", "--ca ca.pem", "unable to get local issuer certificate"},
        {"other", "--ca ca.pem", "self-signed certificate"},
    };
    struct server s;
    char line[256];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        server_start(&s, rows[i].cert, NULL);
        snprintf(line, sizeof(line), "$M -u $U send %s --reply abc", rows[i].options);
        expect(&s, line, EX_NOPERM, rows[i].text);
        expect(&s, line, EX_NOPERM, "its certificate is not taken: ");
    }
    expect(&s, "$M -u $U send --insecure --reply abc", EX_OK, "WARNING: --insecure");
    expect(&s, "$M -u $U send --insecure --reply abc 2>/dev/null", EX_OK, "cba");
    expect(&s, "$M -u $U chat </dev/null", EX_NOPERM, "is not taken");
    expect(&s, "$M -u $U send -j x", EX_NOPERM, "\"code\":\"untrusted\"");
}

static void
a_server_refuses_certificates(void **state)
{
    struct server s;

    (void)state;
    server_start(&s, "good", "-Verify=1");
    expect(&s, "$M -u $U send --ca ca.pem --cert pump.pem --key-file pump.key --reply abc", EX_OK,
           "cba");
    expect(&s,
           "MSOCK_CERT=pump.pem MSOCK_KEY_FILE=pump.key MSOCK_CA=ca.pem $M -u $U send --reply x",
           EX_OK, "x");
    expect(&s, "$M -u $U send --ca ca.pem --reply abc", EX_NOPERM,
           "it does not take our certificate: tlsv13 alert certificate required");
}

static void
wrong_options_are_told(void **state)
{
    static const struct {
        const char *command;
        int status;
        const char *text;
    } rows[] = {
        {"$M -u $U send --cert pump.pem x", EX_USAGE, "the key is missing"},
        {"$M -u $U send --key-file pump.key x", EX_USAGE, "the certificate is missing"},
        {"$M -u $U send --cert pump.pem --key-file good.key x", EX_USAGE,
         "not that of the certificate"},
        {"chmod 644 pump.key; $M -u $U send --cert pump.pem --key-file pump.key x", EX_USAGE,
         "chmod 600 pump.key"},
        {"$M -u $U send --ca none.pem x", EX_USAGE, "none.pem cannot be read"},
        {"$M -u $U send --ca good.key x", EX_USAGE, "there is none in the file"},
        {"$M -u msp://localhost send --ca ca.pem x", EX_USAGE, "--ca and its like are for a URL"},
        {"$M -u msp+tls://localhost?tls_verify=no send x", EX_USAGE, "tls_verify"},
        {"$M -u msp+tls://localhost?tls_name= send x", EX_USAGE, "a server has 1 to 255 bytes"},
        {"$M -u $U send --server-name $(printf %0256d 0) x", EX_USAGE, "a server has 1 to 255"},
        {"$M -u msp://localhost?tls_ca=ca.pem send x", EX_USAGE, "tls_ca"},
        {"$M -u msp+ssl://localhost send x", EX_USAGE, "expected PROTOCOL://"},
        {"$M -u msp+tls:///run/none/x.sock send -r 0 x", EX_UNAVAILABLE, "no such socket"},
    };
    struct server s;

    (void)state;
    server_start(&s, "good", NULL);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++)
        expect(&s, rows[i].command, rows[i].status, rows[i].text);
}

/* A server of a list whose certificate is wrong does not keep a message from the next one. */
static void
another_server_gets_its_turn(void **state)
{
    struct server good, wrong;
    char line[256];

    (void)state;
    server_start(&wrong, "expired", NULL);
    good = wrong;
    server_start_in(&good, "good", NULL);
    snprintf(line, sizeof(line),
             "$M -u 'frame+tls://localhost:%u,localhost:%u?framing=delimiter' send --ca ca.pem "
             "--reply abc",
             wrong.port, good.port);
    expect(&good, line, EX_OK, "cba");
    snprintf(
        line, sizeof(line),
        "$M -u 'frame+tls://localhost:%u,localhost:%u?framing=delimiter' send --ca other.pem x",
        wrong.port, good.port);
    expect(&good, line, EX_NOPERM, "issuer certificate");
}

/* The network of a proxy: its URL stands in $U and $A. */
static void
behind(struct server *s, const struct proxy_options *options)
{
    struct target target;

    target_local(s->port, &target);
    s->port = target_port(&proxy_start(&target, options)->target);
}

/* A record of TLS that goes on for ever, a byte now and then. */
static void *
trickle(void *listener)
{
    int fd = accept(*(int *)listener, NULL, NULL);
    struct waiting waiting = waiting_begin(30000);
    ssize_t n = write(fd, "\x16\x03\x03\x40\x00", 5);

    while (n > 0 && waiting_more(&waiting))
        n = send(fd, "x", 1, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void
a_slow_handshake_meets_the_deadline(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;
    struct server s;

    (void)state;
    harness_directory(s.dir);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    s.port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&thread, NULL, trickle, &listener), 0);
    expect(&s, "$M -u $A send --insecure -t 0.5 -r 0 x", EX_UNAVAILABLE, "no TLS within 500 ms");
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(listener);
}

static void
flipped_bits_are_no_message(void **state)
{
    struct server s;

    (void)state;
    server_start(&s, "good", NULL);
    behind(&s, &(struct proxy_options){.seed = 1, .flip_every = 3000});
    expect(&s, "head -c 100000 /dev/zero | tr '\\0' a | $M -u $U send --ca ca.pem --reply -r 0",
           EX_TEMPFAIL, "given up after 1 attempt");
}

/* A msockd with the certificate "good", whose certificates are in s->dir. */
static struct daemon *
daemon_with_tls(struct server *s, const char *const listen[], size_t count)
{
    struct daemon_options options = {.workers = 2};
    char urls[DAEMON_LISTEN_MAX][3 * HARNESS_PATH_LEN];

    harness_directory(s->dir);
    make_certificates(s->dir);
    for (size_t i = 0; i < count; i++) {
        snprintf(urls[i], sizeof(urls[i]),
                 "%s&tls=required&tls_cert=%s/good.pem&tls_key=%s/good.key", listen[i], s->dir,
                 s->dir);
        options.listen[i] = urls[i];
    }
    return daemon_start(&options);
}

static void
every_protocol_runs_inside(void **state)
{
    static const struct {
        const char *listen, *send;
    } rows[] = {
        {"msp://127.0.0.1:0?handler=echo", "msp+tls://localhost:$P"},
        {"auto://127.0.0.1:0?handler=echo", "auto+tls://localhost:$P"},
        {"tinyproto://127.0.0.1:0?handler=echo", "tinyproto+tls://localhost:$P"},
        {"cnp://127.0.0.1:0?handler=echo", "cnp+tls://localhost:$P?mode=burst"},
        {"frame://127.0.0.1:0?handler=echo", "frame+tls://localhost:$P"},
        {"frame://127.0.0.1:0?handler=echo&framing=eof", "frame+tls://localhost:$P?framing=eof"},
    };
    const char *listen[MS_ARRAY_LEN(rows)];
    struct daemon *d;
    struct server s;
    char line[512];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++)
        listen[i] = rows[i].listen;
    d = daemon_with_tls(&s, listen, MS_ARRAY_LEN(rows));
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        s.port = target_port(&d->listeners[i]);
        snprintf(
            line, sizeof(line),
            "seq 40000 >f; $M -u \"%s\" send --ca ca.pem --reply - <f >g; cmp f g && echo same",
            rows[i].send);
        expect(&s, line, EX_OK, "same");
    }
}

/* What was counted as answered is what the daemon has, also with records cut at every place. */
static void
a_load_runs_inside(void **state)
{
    static const struct {
        const char *listen, *url, *options, *says;
    } rows[] = {
        {"msp://127.0.0.1:0?handler=discard", "msp", "--blocks", "200 committed"},
        {"msp://127.0.0.1:0?handler=echo", "msp", "-s 300K --reply on", "200 committed"},
        {"tinyproto://127.0.0.1:0?handler=echo", "tinyproto", "--reply on", "200 answered"},
        {"cnp://127.0.0.1:0?handler=discard", "cnp", "", "200 committed"},
        {"frame://127.0.0.1:0?handler=echo", "frame", "-s 70000 --ahead 4 --reply on",
         "200 answered"},
        {"frame://127.0.0.1:0?handler=discard&framing=eof", "frame", "", "200 sent"},
    };
    const char *listen[MS_ARRAY_LEN(rows)];
    struct daemon *d;
    struct server s;
    char line[512];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++)
        listen[i] = rows[i].listen;
    d = daemon_with_tls(&s, listen, MS_ARRAY_LEN(rows));
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        s.port = target_port(&d->listeners[i]);
        snprintf(line, sizeof(line),
                 "$M bench -u %s+tls://localhost:$P%s --ca ca.pem -c 5 -n 200 %s", rows[i].url,
                 strstr(rows[i].listen, "eof") != NULL ? "?framing=eof" : "", rows[i].options);
        expect(&s, line, EX_OK, rows[i].says);
        WAIT_FOR(stats_total(d, "messages") == 200 * (i + 1), 5000);
    }
}

static void
a_load_says_which_check_has_failed(void **state)
{
    struct server s;

    (void)state;
    server_start(&s, "good", "-Verify=1");
    expect(&s, "$M bench -u msp+tls://localhost:$P -n 9", EX_NOPERM,
           "self-signed certificate in certificate chain");
    expect(&s, "$M bench -u \"msp+tls://127.0.0.1:$P?tls_ca=ca.pem\" -n 9 --server-name b.example",
           EX_NOPERM, "hostname mismatch");
    expect(&s, "MSOCK_CA=ca.pem $M bench -u msp+tls://localhost:$P -n 9", EX_NOPERM,
           "it does not take our certificate");
}

/* The connection ends with the first flipped bit, since nothing behind it can be trusted; each
 * message comes again until it is there, and once. */
static void
flipped_bits_cost_connections_and_no_message(void **state)
{
    static const char *const listen[] = {"msp://127.0.0.1:0?handler=journal"};
    struct daemon *d;
    struct server s;
    char line[2 * HARNESS_PATH_LEN];

    (void)state;
    d = daemon_with_tls(&s, listen, 1);
    s.port = target_port(&d->listeners[0]);
    behind(&s, &(struct proxy_options){.seed = 7, .flip_every = 60000});
    expect(&s,
           "head -c 20000 /dev/zero | tr '\\0' a >f; for i in $(seq 30); do"
           " $M -u msp+tls://localhost:$P send --ca ca.pem -r 30 -j - <f || exit 1; done >told;"
           "grep -q '\"retries\":[1-9]' told && echo again",
           EX_OK, "again");
    snprintf(line, sizeof(line), "cat %s/journal/*.ndjson | grep -o '\"size\":20000' | wc -l",
             d->data_dir);
    expect(&s, line, EX_OK, "30\n");
}

/* Its connection ends between two lines. */
static void
a_sender_goes_on_with_its_session(void **state)
{
    static const char *const listen[] = {"msp://127.0.0.1:0?handler=discard&idle_timeout=1"};
    struct daemon *d;
    struct server s;

    (void)state;
    d = daemon_with_tls(&s, listen, 1);
    s.port = target_port(&d->listeners[0]);
    expect(&s,
           "(echo a; sleep 3; echo b; sleep 3; echo c) |"
           " $M -u msp+tls://localhost:$P send --ca ca.pem --lines && echo all",
           EX_OK, "all");
    assert_int_equal(stats_total(d, "messages"), 3);
    assert_int_equal(stats_total(d, "handshakes"), stats_total(d, "resumed") + 1);
    assert_true(stats_total(d, "resumed") > 0);
}

static void
listen_speaks_tls_too(void **state)
{
    struct server s;

    (void)state;
    harness_directory(s.dir);
    make_certificates(s.dir);
    s.port = 0;
    expect(&s,
           "mkfifo q; $M listen --count 1 -l 'msp://127.0.0.1:0?tls=required&tls_cert=good.pem"
           "&tls_key=good.key&tls_client=required&tls_client_ca=ca.pem' 2>q & exec 3<q;"
           "read -r said <&3; $M -u msp+tls://localhost:${said##*:} send --ca ca.pem"
           " --cert pump.pem --key-file pump.key hello; wait",
           EX_OK, "hello");
}

static void
what_speaks_no_tls_is_told(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct server s;

    (void)state;
    harness_directory(s.dir);
    s.port = target_port(&d->listeners[0]);
    expect(&s, "$M -u msp+tls://127.0.0.1:$P send --insecure -r 0 x", EX_UNAVAILABLE,
           "TLS failed: wrong version number");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_good_server_is_taken),
        SYSTEM_TEST(each_check_that_fails_is_named),
        SYSTEM_TEST(a_server_refuses_certificates),
        SYSTEM_TEST(wrong_options_are_told),
        SYSTEM_TEST(another_server_gets_its_turn),
        SYSTEM_TEST(a_slow_handshake_meets_the_deadline),
        SYSTEM_TEST(flipped_bits_are_no_message),
        SYSTEM_TEST(every_protocol_runs_inside),
        SYSTEM_TEST(a_load_runs_inside),
        SYSTEM_TEST(a_load_says_which_check_has_failed),
        SYSTEM_TEST(flipped_bits_cost_connections_and_no_message),
        SYSTEM_TEST(a_sender_goes_on_with_its_session),
        SYSTEM_TEST(listen_speaks_tls_too),
        SYSTEM_TEST(what_speaks_no_tls_is_told),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
