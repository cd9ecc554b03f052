/* handler=nats in front of real servers, which are killed, full, missing or none at all. */
#include "load.h"
#include "nats.h"
#include "stats.h"

#include "support/signals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URL_SIZE     2048
#define OPTIONS_SIZE 1024
#define KEEP         "stream_create=yes&nats_timeout=1s"

/* A listener whose messages go to the stream S of a server. Static, four at a time. */
static const char *
nats_url(const struct nats *n, const char *options)
{
    static char urls[4][URL_SIZE];
    static unsigned turn;
    char *url = urls[turn++ % 4];

    snprintf(url, URL_SIZE,
             "msp://127.0.0.1:0?handler=nats&stream=S&servers=nats://127.0.0.1:%u%s%s", n->port,
             options[0] != '\0' ? "&" : "", options);
    return url;
}

static struct daemon *
start(const struct nats *n, const char *options, unsigned workers)
{
    return daemon_start(&(struct daemon_options){
        .workers = workers, .listen = {nats_url(n, options)}, .set = {LOAD_PATIENCE}});
}

/* Sends one, and returns the receipt (the caller's), or NULL with the answer. */
static char *
send_one(const struct daemon *d, const struct outgoing *m, struct answer *a)
{
    struct peer p;
    char *reply = NULL;
    size_t n;

    peer_connect(&p, &d->listeners[0]);
    p.answer_ms = 30000 * WAIT_SCALE;
    if (peer_send(&p, m, a) == ANSWER_ACK)
        reply = peer_reply(&p, &n);
    peer_close(&p);
    return reply;
}

static char *
send_text(const struct daemon *d, const char *id, const char *text, struct answer *a)
{
    const struct outgoing m = {.kind = 'A',
                               .flags = WIRE_REPLY,
                               .value = id,
                               .value_len = strlen(id),
                               .body = text,
                               .len = strlen(text)};

    return send_one(d, &m, a);
}

static void
expect_receipt(char *receipt, const struct answer *a, unsigned seq, const char *rest)
{
    char wanted[128];

    snprintf(wanted, sizeof(wanted), "{\"stream\":\"S\",\"seq\":%u,%s}", seq, rest);
    if (receipt == NULL)
        fail_msg("%s", a->text);
    assert_string_equal(receipt, wanted);
    free(receipt);
}

#define STORED "\"duplicate\":false,\"stored\":\"file\""
#define DOUBLE "\"duplicate\":true,\"stored\":\"file\""

static void
expect_line(const struct daemon *d, const char *id, const char *line)
{
    struct answer a;
    char *receipt = send_text(d, id, "hello", &a);

    free(receipt);
    if (strncmp(a.text, line, strlen(line)) != 0)
        fail_msg("\"%s\" and not \"%s\"", a.text, line);
}

static void
request_made(const struct nats *n, const char *subject, const char *body)
{
    struct nats_client c;
    char *answer;

    assert_true(nats_open(&c, n));
    answer = nats_request(&c, subject, body);
    if (answer == NULL || strstr(answer, "\"error\"") != NULL)
        fail_msg("%s: %s", subject, answer != NULL ? answer : "no answer");
    free(answer);
    nats_close(&c);
}

/* --- what arrives --- */

static void
check_message(const struct nats *n, unsigned seq, const char *subject, const char *const headers[])
{
    struct nats_client c;
    struct nats_message m;

    assert_true(nats_open(&c, n));
    assert_true(nats_get(&c, "S", seq, &m));
    assert_string_equal(m.subject, subject);
    for (size_t i = 0; headers[i] != NULL; i += 2)
        if (strcmp(nats_header(&m, headers[i]), headers[i + 1]) != 0)
            fail_msg("%u: %s is \"%s\"", seq, headers[i], nats_header(&m, headers[i]));
    assert_int_equal(strlen(nats_header(&m, "Msock-Id")), 26);
    assert_int_equal(strlen(nats_header(&m, "Msock-Time")), 27);
    nats_message_free(&m);
    nats_close(&c);
}

static void
messages_of_all_kinds_arrive_with_their_headers(void **state)
{
    static const char sha[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const struct outgoing json = {'J', WIRE_REPLY, "k\r\nX: y", 7, "{\"a\":1}", 7};
    const struct outgoing file = {'F', WIRE_REPLY, "a/b c.txt", 9, "hello", 5};
    struct journal j;
    struct daemon *d;
    struct answer a;
    struct nats n = {0};

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    d = start(&n, KEEP "&subject=in.{kind}.{proto}.{id}.{identity}&id_scope=x", 0);
    expect_receipt(send_text(d, "", "hello", &a), &a, 1, STORED);
    expect_receipt(send_text(d, "a.b", "hello", &a), &a, 2, STORED);
    expect_receipt(send_one(d, &json, &a), &a, 3, STORED);
    expect_receipt(send_one(d, &file, &a), &a, 4, STORED);
    expect_receipt(send_text(d, "-", "", &a), &a, 5, STORED);
    check_message(&n, 1, "in.plain.msp.-.-",
                  (const char *[]){"Msock-Kind", "plain", "Msock-Size", "5", "Msock-SHA256", sha,
                                   "Msock-Key", "", "Msock-Proto", "msp", "Nats-Expected-Stream",
                                   "S", NULL});
    check_message(&n, 2, "in.plain.msp.a%2Eb.-",
                  (const char *[]){"Nats-Msg-Id", "x id a.b", "Msock-Key", "a.b", NULL});
    check_message(
        &n, 3, "in.json.msp.k%0D%0AX:%20y.-",
        (const char *[]){"Msock-Kind", "json", "Msock-Key", "k%0D%0AX: y", "X", "", NULL});
    check_message(&n, 4, "in.file.msp.a/b%20c%2Etxt.-",
                  (const char *[]){"Msock-Kind", "file", "Msock-Path", "a/b c.txt", NULL});
    check_message(&n, 5, "in.plain.msp.%2D.-", (const char *[]){"Msock-Size", "0", NULL});
    nats_read_stream(&n, "S", &j, NULL);
    assert_int_equal(j.count, 5);
    journal_check(&j);
    journal_free(&j);
    daemon_stop(d);
}

static void
an_id_that_comes_again_is_a_duplicate_over_two_daemons(void **state)
{
    static const char options[] = KEEP "&id_scope=both";
    struct daemon *one, *two;
    struct nats n = {0};
    struct answer a;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    one = start(&n, options, 1);
    two = start(&n, options, 1);
    expect_receipt(send_text(one, "m1", "hello", &a), &a, 1, STORED);
    expect_receipt(send_text(two, "m1", "hello", &a), &a, 1, DOUBLE);
    expect_receipt(send_text(two, "m2", "hello", &a), &a, 2, STORED);
    expect_receipt(send_text(one, "m2", "hello", &a), &a, 2, DOUBLE);
    /* The stream would drop another message under this id without a word. */
    free(send_text(two, "m1", "another", &a));
    if (strncmp(a.text, "REJ id-reused another message has this id", 41) != 0)
        fail_msg("%s", a.text);
    request_made(&n, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":1}");
    expect_receipt(send_text(two, "m1", "another", &a), &a, 1, DOUBLE);
    daemon_stop(one);
    daemon_stop(two);
}

/* --- order --- */

#define ORDER_PEERS 8
#define ORDER_EACH  300

static void
post_numbered(struct peer *p, unsigned peer)
{
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];

    for (unsigned i = 0; i < ORDER_EACH; i++) {
        char body[32];
        struct outgoing m = {.kind = 'A', .body = body};

        m.len = (size_t)snprintf(body, sizeof(body), "%u %u", peer, i);
        assert_int_equal(peer_write(p, packet, wire_ahead(packet, &m)), 0);
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
    nats_need();
    nats_start(&n, NULL);
    d = start(&n, "stream_create=yes&nats_timeout=5s", 2);
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

/* --- servers that die --- */

/* All that was acknowledged is there, once, with its body. A sender may have been told that NATS is
 * away; it was told nothing else. */
static void
check_loads(const struct nats *n, struct load *const loads[], size_t count)
{
    struct journal j;
    size_t orphans;

    nats_read_stream(n, "S", &j, &orphans);
    for (size_t i = 0; i < count; i++) {
        if (loads[i]->complaint[0] != '\0' && strncmp(loads[i]->complaint, "ERR busy ", 9) != 0)
            fail_msg("%s", loads[i]->complaint);
        assert_int_equal(loads[i]->rejected + loads[i]->broken + loads[i]->spoiled, 0);
        assert_int_equal(load_check_journal(loads[i], &j), 0);
    }
    journal_free(&j);
}

static void
what_was_acknowledged_is_there_once_after_kills(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct load *l;

    (void)state;
    nats_need();
    nats_start(&n, "max_payload: 4096");
    d = start(&n, "stream_create=yes&nats_timeout=20s", 2);
    l = load_start(&d->listeners[0], "k", 8, 8000);
    for (unsigned i = 0; i < 5; i++) {
        load_advance(l, 200, 60000);
        nats_kill(&n);
        nats_launch(&n);
    }
    load_advance(l, 200, 60000);
    load_stop(l);
    check_loads(&n, (struct load *[]){l}, 1);
    daemon_stop(d);
}

/* --- a cluster whose leader dies again and again --- */

#define CLUSTER_MESSAGES 20000
#define CLUSTER_DAEMONS  3
#define CLUSTER_KILL_US  3000000

/* The index of the stream's leader, or -1. */
static int
cluster_leader(const struct nats n[NATS_CLUSTER])
{
    for (unsigned i = 0; i < NATS_CLUSTER; i++) {
        struct nats_client c;
        char *answer, *at;
        int leader = -1;

        if (!nats_open(&c, &n[i]))
            continue;
        answer = nats_request(&c, "$JS.API.STREAM.INFO.S", "");
        nats_close(&c);
        at = answer != NULL ? strstr(answer, "\"leader\":\"s") : NULL;
        for (int k = 0; at != NULL && k < NATS_CLUSTER; k++)
            if (strtoul(at + strlen("\"leader\":\"s"), NULL, 10) == n[k].port)
                leader = k;
        free(answer);
        if (leader >= 0)
            return leader;
    }
    return -1;
}

static uint64_t
acked(struct load *const loads[CLUSTER_DAEMONS])
{
    uint64_t sum = 0;

    for (size_t i = 0; i < CLUSTER_DAEMONS; i++)
        sum += loads[i]->acked;
    return sum;
}

static void
kill_leader(struct nats n[NATS_CLUSTER])
{
    int leader = cluster_leader(n);

    if (leader < 0)
        return;
    nats_kill(&n[leader]);
    nats_launch(&n[leader]);
}

static void
run_cluster(struct nats n[NATS_CLUSTER], struct load *const loads[CLUSTER_DAEMONS])
{
    uint64_t kill_us = now_us() + CLUSTER_KILL_US;
    struct waiting w = waiting_begin(150000);
    unsigned kills = 0;

    while (acked(loads) < CLUSTER_MESSAGES) {
        if (!waiting_more(&w))
            fail_msg("%llu messages after %u kills", (unsigned long long)acked(loads), kills);
        if (now_us() < kill_us)
            continue;
        kill_leader(n);
        kills++;
        kill_us = now_us() + CLUSTER_KILL_US;
    }
    print_message("%u kills of the leader\n", kills);
}

static void
a_cluster_whose_leaders_die_has_each_message_once(void **state)
{
    static const char *const tags[CLUSTER_DAEMONS] = {"one", "two", "three"};
    char url[URL_SIZE];
    struct nats n[NATS_CLUSTER] = {{.port = 0}};
    struct daemon *d[CLUSTER_DAEMONS];
    struct load *loads[CLUSTER_DAEMONS];

    (void)state;
    nats_need();
    nats_cluster_start(n);
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&servers=nats://127.0.0.1:%u,"
             "nats://127.0.0.1:%u,nats://127.0.0.1:%u&stream_create=yes&replicas=3&nats_timeout=3s",
             n[0].port, n[1].port, n[2].port);
    for (size_t i = 0; i < CLUSTER_DAEMONS; i++) {
        d[i] = daemon_start(
            &(struct daemon_options){.workers = 1, .listen = {url}, .set = {LOAD_PATIENCE}});
        loads[i] = load_start(&d[i]->listeners[0], tags[i], LOAD_THREADS_MAX, 600);
    }
    run_cluster(n, loads);
    for (size_t i = 0; i < CLUSTER_DAEMONS; i++)
        load_stop(loads[i]);
    WAIT_FOR(cluster_leader(n) >= 0, 30000);
    check_loads(&n[cluster_leader(n)], loads, CLUSTER_DAEMONS);
    for (size_t i = 0; i < CLUSTER_DAEMONS; i++)
        daemon_stop(d[i]);
}

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
    struct nats n = {0}, locked = {.login = "\"user\":\"u\",\"pass\":\"geheim\""};

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    expect_no_start(nats_url(&n, ""), "there is no stream S; stream_create=yes makes it");
    request_made(&n, "$JS.API.STREAM.CREATE.S", "{\"name\":\"S\",\"subjects\":[\"in.x.*\"]}");
    expect_no_start(nats_url(&n, ""), "stream S does not take all of in.*.*");
    expect_no_start(nats_url(&n, "subject=a..b"), "a part between two dots");
    expect_no_start(nats_url(&n, "nats_user=u"), "one needs the other");
    nats_start(&locked, login);
    expect_no_start(nats_url(&locked, KEEP), "does not take the credentials");
    expect_no_start(nats_url(&locked, KEEP "&servers=nats://u:geheim%25@x"), "twice");
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

static int
listen_somewhere(unsigned *port_out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    *port_out = ntohs(addr.sin_port);
    return fd;
}

static void
a_server_of_another_kind_is_named(void **state)
{
    struct nats n = {0};
    pthread_t thread;
    int fd = listen_somewhere(&n.port);

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

    free(send_text(d, "", "hello", &a));
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
    char file[HARNESS_PATH_LEN], options[OPTIONS_SIZE], url[URL_SIZE];

    (void)state;
    nats_need();
    nats_start(&n, users);
    harness_join(file, n.dir, "secret");
    harness_write_file(file, "geheim\n", 7);
    snprintf(options, sizeof(options), KEEP "&nats_user=u&nats_password_file=%s", file);
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
    char url[URL_SIZE];
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
    n.is_tls = true;
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

static void
a_server_that_is_about_to_leave_is_left(void **state)
{
    struct nats n[NATS_CLUSTER] = {{.port = 0}};
    char url[URL_SIZE], text[64];
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_need();
    nats_cluster_start(n);
    snprintf(url, sizeof(url),
             "msp://127.0.0.1:0?handler=nats&stream=S&" KEEP
             "&replicas=3&servers=nats://127.0.0.1:%u",
             n[0].port);
    d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {url}});
    free(send_text(d, "", "one", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    signal_send(n[0].run.pid, SIGUSR2); /* lame duck */
    WAIT_FOR(daemon_logged(d, "the server is leaving"), 20000);
    /* The others are known from the first one alone. */
    snprintf(text, sizeof(text), "connected again, to 127.0.0.1:%u", n[0].port);
    WAIT_FOR(daemon_logged(d, "connected again"), 20000);
    assert_false(daemon_logged(d, text));
    nats_kill(&n[0]);
    do
        free(send_text(d, "x", "two", &a));
    while (a.kind == ANSWER_ERR);
    assert_int_equal(a.kind, ANSWER_ACK);
    daemon_stop(d);
}

/* --- answers to senders --- */

static void
a_full_stream_refuses_and_takes_again(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    request_made(&n, "$JS.API.STREAM.CREATE.S",
                 "{\"name\":\"S\",\"subjects\":[\"in.>\"],\"max_msgs\":2,\"discard\":\"new\"}");
    d = start(&n, "nats_timeout=1s", 1);
    expect_receipt(send_text(d, "", "1", &a), &a, 1, STORED);
    expect_receipt(send_text(d, "", "2", &a), &a, 2, STORED);
    expect_line(d, "x", "REJ no-space maximum messages exceeded");
    request_made(&n, "$JS.API.STREAM.PURGE.S", "");
    expect_receipt(send_text(d, "x", "hello", &a), &a, 3, STORED);
    daemon_stop(d);
}

static void
a_subject_that_lost_its_stream_is_busy(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    d = start(&n, KEEP, 1);
    expect_receipt(send_text(d, "", "1", &a), &a, 1, STORED);
    request_made(&n, "$JS.API.STREAM.UPDATE.S", "{\"name\":\"S\",\"subjects\":[\"other\"]}");
    expect_line(d, "", "ERR busy no stream takes in.*.*, or it has no leader now");
    request_made(&n, "$JS.API.STREAM.CREATE.T", "{\"name\":\"T\",\"subjects\":[\"in.>\"]}");
    expect_line(d, "", "ERR internal expected stream does not match");
    daemon_stop(d);
}

static void
without_a_server_senders_wait_and_then_are_told(void **state)
{
    struct nats n = {0};
    struct daemon *d;
    struct answer a;
    unsigned port;

    (void)state;
    nats_need();
    nats_start(&n, NULL);
    nats_kill(&n);
    d = start(&n, "stream_create=yes&nats_timeout=500ms", 1);
    assert_true(daemon_logged(d, "senders wait until it is there"));
    expect_line(d, "", "ERR busy no NATS server can be reached");
    nats_launch(&n);
    WAIT_FOR(daemon_logged(d, "connected to"), 10000);
    expect_receipt(send_text(d, "", "1", &a), &a, 1, STORED);
    daemon_stop(d);
    n.port = 0;
    /* Nobody ever accepts there. */
    assert_true(listen_somewhere(&port) >= 0);
    n.port = port;
    d = start(&n, "nats_timeout=300ms", 1);
    expect_line(d, "", "ERR busy no NATS server can be reached");
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
    nats_need();
    nats_start(&n, NULL);
    d = start(&n, "stream_create=yes&nats_timeout=500ms", 1);
    expect_receipt(send_text(d, "", "1", &a), &a, 1, STORED);
    signal_send(n.run.pid, SIGSTOP);
    expect_line(d, "again", "ERR busy");
    assert_true(daemon_logged(d, "it does not answer"));
    signal_send(n.run.pid, SIGCONT);
    WAIT_FOR(daemon_logged(d, "connected again"), 10000);
    free(send_text(d, "again", "hello", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    free(send_text(d, "", "hello", &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    daemon_stop(d);
}

static void
a_body_too_large_for_chunks_is_refused(void **state)
{
    static char body[2000000];
    struct outgoing m = {.kind = 'A', .flags = WIRE_REPLY, .body = body, .len = 100000};
    struct nats n = {0};
    struct journal j;
    struct daemon *d;
    struct answer a;

    (void)state;
    nats_need();
    memset(body, 'x', sizeof(body));
    nats_start(&n, "max_payload: 4096");
    d = start(&n, KEEP, 1);
    free(send_one(d, &m, &a));
    assert_int_equal(a.kind, ANSWER_ACK);
    m.len = sizeof(body);
    free(send_one(d, &m, &a));
    assert_string_equal(a.code, "too-large");
    nats_read_stream(&n, "S", &j, NULL);
    assert_int_equal(j.count, 1);
    journal_check(&j);
    assert_int_equal(j.entries[0].body_len, 100000);
    journal_free(&j);
    daemon_stop(d);
}

/* --- the example --- */

static void
run_reader(const struct nats *n, const char *dir, int status, const char *out, const char *err)
{
    char url[64];
    struct run_result result;

    snprintf(url, sizeof(url), "nats://127.0.0.1:%u", n->port);
    result = run_program(harness_program("examples/nats_reader"), url, "S", dir, NULL);
    if (result.status != status || strcmp(result.out, out) != 0 || strcmp(result.err, err) != 0)
        fail_msg("%d, %s%s", result.status, result.out, result.err);
    run_result_free(&result);
}

static void
the_example_reads_what_came_in_chunks_and_notices_a_missing_one(void **state)
{
    static char body[10000];
    char dir[HARNESS_PATH_LEN], path[HARNESS_PATH_LEN], *back;
    const struct outgoing m = {'F', WIRE_REPLY, "a/big", 5, body, sizeof(body)};
    struct nats n = {0};
    struct daemon *d;
    struct answer a;
    size_t len;

    (void)state;
    nats_need();
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)(i * 7 + i / 256);
    nats_start(&n, "max_payload: 4096");
    harness_directory(dir);
    d = start(&n, KEEP, 1);
    expect_receipt(send_text(d, "k", "hello", &a), &a, 1, STORED);
    expect_receipt(send_one(d, &m, &a), &a, 5, STORED);
    run_reader(&n, dir, 0, "1 plain 5 k\n5 file 10000 a/big\n", "");
    harness_join(path, dir, "5");
    back = harness_read_file(path, &len);
    assert_non_null(back);
    assert_int_equal(len, sizeof(body));
    assert_memory_equal(back, body, len);
    free(back);
    request_made(&n, "$JS.API.STREAM.MSG.DELETE.S", "{\"seq\":3}");
    run_reader(&n, dir, 1, "1 plain 5 k\n", "5: a chunk is missing\n");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_of_all_kinds_arrive_with_their_headers),
        SYSTEM_TEST(an_id_that_comes_again_is_a_duplicate_over_two_daemons),
        SYSTEM_TEST(the_order_of_each_connection_is_kept_over_a_dead_server),
        SYSTEM_TEST(what_was_acknowledged_is_there_once_after_kills),
        SYSTEM_TEST(a_cluster_whose_leaders_die_has_each_message_once),
        SYSTEM_TEST(a_start_is_refused_where_a_server_says_no),
        SYSTEM_TEST(a_server_of_another_kind_is_named),
        SYSTEM_TEST(users_passwords_and_nkeys_open_the_door),
        SYSTEM_TEST(tls_goes_to_the_right_server_only),
        SYSTEM_TEST(a_server_that_is_about_to_leave_is_left),
        SYSTEM_TEST(without_the_plugin_the_package_is_named),
        SYSTEM_TEST(a_full_stream_refuses_and_takes_again),
        SYSTEM_TEST(a_subject_that_lost_its_stream_is_busy),
        SYSTEM_TEST(without_a_server_senders_wait_and_then_are_told),
        SYSTEM_TEST(a_server_that_stops_answering_is_left_and_found_again),
        SYSTEM_TEST(a_body_too_large_for_chunks_is_refused),
        SYSTEM_TEST(the_example_reads_what_came_in_chunks_and_notices_a_missing_one),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
