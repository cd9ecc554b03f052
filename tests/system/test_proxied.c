/* Behind a proxy: its header says whose a connection is, to everything that asks; and whatever is
 * no header, or comes from somebody who may not send one, is closed. */
#include "journal.h"
#include "nats.h"
#include "proc.h"
#include "stats.h"
#include "support/signals.h"
#include "target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define V2        "\r\n\r\n\0\r\nQUIT\n"
#define V1_HEADER "PROXY TCP4 192.0.2.7 127.0.0.1 4711 8000\r\n"
#define V2_HEADER V2 "\x21\x11\0\x0c\xc0\0\2\7\x7f\0\0\1\x12\x67\x1f\x40"
#define PEER      "192.0.2.7:4711"
#define LISTEN    "msp://127.0.0.1:0?proxy=required&proxy_from=127.0.0.1,::1"

static struct daemon *
start(const char *listen)
{
    return daemon_start(&(struct daemon_options){.workers = 2, .listen = {listen}});
}

static void
expect_committed(struct peer *p)
{
    struct answer a;

    assert_int_equal(peer_send_plain(p, NULL, "hello", 5, &a), ANSWER_ACK);
}

/* The journal has so many messages, all of that peer. */
static void
expect_journal(const struct daemon *d, const char *peer, size_t count)
{
    const struct entry *first;
    struct journal j;

    journal_load(d->data_dir, true, &j);
    assert_int_equal(journal_find_peer(&j, peer, &first), count);
    assert_int_equal(j.count, count);
    journal_free(&j);
}

static void
the_address_in_the_header_is_the_peer(void **state)
{
    static const struct {
        const char *header;
        size_t n, piece;
    } rows[] = {
        {V1_HEADER, sizeof(V1_HEADER) - 1, SIZE_MAX},
        {V2_HEADER, sizeof(V2_HEADER) - 1, SIZE_MAX},
        {V1_HEADER, sizeof(V1_HEADER) - 1, 1},
        {V2_HEADER, sizeof(V2_HEADER) - 1, 5},
    };
    struct daemon *d = start(LISTEN);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct peer_counts counts;
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        for (size_t at = 0, n; at < rows[i].n; at += n) {
            n = rows[i].piece < rows[i].n - at ? rows[i].piece : rows[i].n - at;
            assert_int_equal(peer_write(&p, rows[i].header + at, n), 0);
        }
        expect_committed(&p);
        assert_true(stats_conn(d, PEER, &counts, NULL));
        expect_journal(d, PEER, i + 1);
        peer_close(&p);
        WAIT_FOR(stats_total(d, "open") == 0, 20000);
    }
    daemon_stop(d);
}

/* It comes alone, when the first one was taken; or where none is expected at all. */
static void
a_header_too_many_is_told(void **state)
{
    static const char first[] = V1_HEADER;
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {V1_HEADER, sizeof(V1_HEADER) - 1},
        {V2_HEADER, sizeof(V2_HEADER) - 1},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .listen = {"frame://127.0.0.1:0?proxy=required&proxy_from=127.0.0.1",
                       "frame://127.0.0.1:0"}});
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_write(&p, first, sizeof(first) - 1), 0);
        WAIT_FOR(stats_total(d, "accepted") == 1, 20000);
        assert_int_equal(peer_write(&p, rows[i].bytes, rows[i].n), 0);
        WAIT_FOR(daemon_logged(d, "from " PEER " over frame has a second PROXY header"), 20000);
        peer_close(&p);
        peer_connect(&p, &d->listeners[1]);
        assert_int_equal(peer_write(&p, rows[i].bytes, rows[i].n), 0);
        WAIT_FOR(daemon_logged(d, "has a PROXY header, and this listener expects none"), 20000);
        peer_close(&p);
        daemon_stop(d);
    }
}

/* Behind the first, bytes are the protocol's, and in none of them a header means anything. */
static void
a_header_that_comes_later_is_none(void **state)
{
    struct daemon *d = start(LISTEN);
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, V1_HEADER, sizeof(V1_HEADER) - 1), 0);
    expect_committed(&p);
    assert_int_equal(peer_write(&p, "PROXY TCP4 192.0.2.8 127.0.0.1 4712 8000\r\n", 42), 0);
    assert_int_equal(peer_write(&p, "\n", 1), 0);
    for (unsigned i = 0; i < 8; i++)
        (void)peer_write(&p, "rubbish\n", 8);
    assert_true(peer_closed(&p, 20000));
    peer_close(&p);
    expect_journal(d, PEER, 1);
    daemon_stop(d);
}

static void
rules_ask_for_the_address_in_the_header(void **state)
{
    struct daemon *d = start(LISTEN "&deny=192.0.2.0/24");
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, V1_HEADER, sizeof(V1_HEADER) - 1), 0);
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "denied");
    peer_close(&p);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, "PROXY TCP6 2001:db8::1 ::1 7 8\r\n", 32), 0);
    expect_committed(&p);
    expect_journal(d, "[2001:db8::1]:7", 1);
    peer_close(&p);
    daemon_stop(d);
}

#define ROW(bytes, says)                          \
    {                                             \
        (bytes), sizeof(bytes) - 1, (says), false \
    }
#define CUT(bytes)                                       \
    {                                                    \
        (bytes), sizeof(bytes) - 1, "is cut short", true \
    }

static const struct {
    const char *bytes;
    size_t n;
    const char *says;
    bool ends; /* nothing follows */
} bads[] = {
    ROW("GET / HTTP/1.1\r\n\r\n", "does not begin with a PROXY header"),
    ROW("\x16\x03\x01\x02\0\x01", "does not begin with a PROXY header"),
    ROW("\0\0\0\5hello", "does not begin with a PROXY header"),
    ROW(V1_HEADER V1_HEADER, "two PROXY headers"),
    ROW(V2_HEADER V2_HEADER, "two PROXY headers"),
    ROW(V1_HEADER V2_HEADER, "two PROXY headers"),
    ROW("PROXY UNKNOWN\r\n", "no IPv4 or IPv6 address"),
    ROW(V2 "\x21\0\0\0", "no IPv4 or IPv6 address"),     /* UNSPEC */
    ROW(V2 "\x21\x31\0\xd8", "no IPv4 or IPv6 address"), /* UNIX */
    ROW(V2 "\x20\0\0\0", "the proxy's own"),             /* LOCAL */
    ROW(V2 "\x21\x11\xff\xff", "is too long"),
    ROW("PROXY TCP4 256.0.0.1 127.0.0.1 1 1\r\n", "makes no sense"),
    ROW(V2 "\x21\x11\0\x0d\xc0\0\2\7\x7f\0\0\1\x12\x67\x1f\x40\4", "makes no sense"),
    CUT("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80"),
    CUT(V2 "\x21\x11\0\x0c\xc0\0\2\7\x7f\0\0\1\x12\x67\x1f"),
};

static void
what_is_no_header_is_closed(void **state)
{
    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bads); i++) {
        struct daemon *d = start(LISTEN);
        char byte;
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_write(&p, bads[i].bytes, bads[i].n), 0);
        if (bads[i].ends)
            assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
        assert_true(peer_read_some(&p, &byte, 1, 20000) <= 0); /* not a word */
        if (!daemon_logged(d, bads[i].says))
            fail_msg("row %zu is not said to be: %s", i, bads[i].says);
        assert_int_equal(stats_total(d, "denied"), 1);
        assert_int_equal(stats_total(d, "accepted"), 0);
        peer_close(&p);
        daemon_stop(d);
    }
}

static void
nobody_but_the_proxies_may_send_one(void **state)
{
    struct daemon *d = start(LISTEN);
    struct peer p;
    char byte;

    (void)state;
    peer_connect_from(&p, &d->listeners[0], "127.0.0.2");
    assert_true(peer_read_some(&p, &byte, 1, 20000) <= 0);
    WAIT_FOR(daemon_logged(d, "it is no proxy of proxy_from"), 20000);
    assert_true(daemon_logged(d, "from 127.0.0.2:"));
    assert_int_equal(stats_total(d, "denied"), 1);
    peer_close(&p);
    daemon_stop(d);
}

/* A byte now and then does not help it; others are served meanwhile. */
static void
a_header_that_drips_has_a_deadline(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .listen = {LISTEN}});
    struct waiting w = waiting_begin(60000);
    const char *header = V1_HEADER;
    struct peer p, other;
    bool closed = false;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    peer_connect(&other, &d->listeners[0]);
    assert_int_equal(peer_write(&other, V2_HEADER, sizeof(V2_HEADER) - 1), 0);
    for (size_t i = 0; !closed && i < sizeof(V1_HEADER) - 2 && waiting_more(&w); i++) {
        (void)peer_write(&p, header + i, 1);
        expect_committed(&other);
        closed = peer_closed(&p, 1000);
    }
    assert_true(closed);
    assert_true(daemon_logged(d, "does not come"));
    peer_close(&p);
    peer_close(&other);
    daemon_stop(d);
}

/* As of other connections, or they would take those that bodies and children need. */
static void
those_who_wait_for_a_header_have_a_share_of_the_descriptors(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .files = 140, .listen = {LISTEN}});
    struct peer p[200];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(p); i++)
        peer_connect(&p[i], &d->listeners[0]);
    WAIT_FOR(daemon_logged(d, "too many wait for their PROXY header"), 10000);
    assert_false(daemon_logged(d, "out of descriptors"));
    for (size_t i = 0; i < MS_ARRAY_LEN(p); i++)
        peer_close(&p[i]);
    daemon_stop(d);
}

/* A proxy only tries whether we are there. */
static void
a_connection_without_a_word_is_not_talked_about(void **state)
{
    struct daemon *d = start(LISTEN);
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    peer_close(&p);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, V1_HEADER, sizeof(V1_HEADER) - 1), 0);
    expect_committed(&p);
    assert_int_equal(stats_total(d, "denied"), 0);
    peer_close(&p);
    daemon_stop(d);
}

static bool
all_are_new(const struct daemon *d, const struct proc_list *before)
{
    struct proc_list now;

    daemon_workers(d, &now);
    for (size_t i = 0; i < now.count; i++)
        for (size_t k = 0; k < before->count; k++)
            if (now.pid[i] == before->pid[k])
                return false;
    return now.count == before->count;
}

static void
a_connection_that_moves_keeps_its_peer(void **state)
{
    struct daemon *d = start("frame://127.0.0.1:0?reply=yes&proxy=required&proxy_from=127.0.0.1");
    struct proc_list before;
    struct peer_counts counts;
    char reply[4];
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, V2_HEADER "\0\0\0\1x", sizeof(V2_HEADER) + 4), 0);
    assert_int_equal(peer_read(&p, reply, 4), 0);
    daemon_workers(d, &before);
    daemon_reload(d);
    WAIT_FOR(all_are_new(d, &before) && stats_total(d, "adopted") == 1, 20000);
    assert_true(stats_conn(d, PEER, &counts, NULL));
    peer_close(&p);
    daemon_stop(d);
}

static void
proxies_must_be_named(void **state)
{
    struct run_result r = run_program(harness_program("msockd"), "-t", "-l",
                                      "msp://127.0.0.1:0?proxy=required", NULL);

    (void)state;
    assert_int_equal(r.status, 78);
    assert_non_null(strstr(r.err, "proxy=required needs proxy_from=NETWORK"));
    run_result_free(&r);
    r = run_program(harness_program("msockd"), "-t", "-o", "proxy_from=10.0.0.0/8", "-o",
                    "proxy=required", "-l", "msp://127.0.0.1:0", NULL);
    assert_int_equal(r.status, 0);
    run_result_free(&r);
}

/* --- HAProxy --- */

#define HAPROXY "/usr/sbin/haproxy"

struct haproxy {
    struct running run;
    struct target target;
};

static bool
haproxy_listens(const struct haproxy *h)
{
    struct peer p;

    if (peer_try_connect(&p, &h->target, NULL) < 0)
        return false;
    close(p.fd);
    return true;
}

/* In front of d; bind and server: more words of these lines. */
static void
haproxy_start(struct haproxy *h, const struct daemon *d, const char *bind, const char *server)
{
    char config[HARNESS_PATH_LEN], text[2 * HARNESS_PATH_LEN];
    const char *argv[] = {HAPROXY, "-db", "-f", config, NULL};
    unsigned port = nats_free_port();

    snprintf(text, sizeof(text),
             "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
             "listen all\n bind 127.0.0.1:%u %s\n server msockd 127.0.0.1:%u %s\n",
             port, bind, target_port(&d->listeners[0]), server);
    harness_join(config, d->dir, "haproxy.cfg");
    harness_write_file(config, text, strlen(text));
    run_start(&h->run, argv, NULL);
    target_local(port, &h->target);
    WAIT_FOR(haproxy_listens(h), 20000);
}

static void
haproxy_stop(struct haproxy *h)
{
    struct run_result r;

    signal_send(h->run.pid, SIGTERM);
    run_finish(&h->run, 20000, &r);
    run_result_free(&r);
}

static void
haproxy_need(void)
{
    if (access(HAPROXY, X_OK) == 0)
        return;
    print_message("skipped: haproxy is missing\n");
    skip();
}

static void
haproxy_says_whose_a_connection_is(void **state)
{
    static const char *const servers[] = {
        "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
        "send-proxy-v2 check inter 50ms", "send-proxy check inter 50ms"};
    struct daemon *d = start(LISTEN);

    (void)state;
    haproxy_need();
    for (size_t i = 0; i < MS_ARRAY_LEN(servers); i++) {
        const struct entry *first;
        char name[64];
        struct haproxy h;
        struct journal j;
        struct peer p;

        haproxy_start(&h, d, "", servers[i]);
        peer_connect_from(&p, &h.target, "127.0.0.3");
        snprintf(name, sizeof(name), "%s", p.name);
        expect_committed(&p);
        journal_load(d->data_dir, true, &j);
        assert_int_equal(journal_find_peer(&j, name, &first), 1);
        journal_free(&j);
        peer_close(&p);
        haproxy_stop(&h);
    }
    daemon_stop(d);
}

/* A certificate for localhost; its key is beside it, where HAProxy looks for it. */
static void
make_certificate(const char *dir, char pem[HARNESS_PATH_LEN], char key[HARNESS_PATH_LEN])
{
    struct run_result r;

    harness_join(pem, dir, "tls.pem");
    harness_join(key, dir, "tls.pem.key");
    r = run_program("/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost", "-keyout",
                    key, "-out", pem, NULL);
    assert_int_equal(r.status, 0);
    run_result_free(&r);
}

/* A frame over TLS through HAProxy is in the journal, from who sent it. */
static void
expect_tls(const struct daemon *d, const char *bind)
{
    char to[64];
    const char *argv[] = {"/usr/bin/openssl", "s_client", "-quiet", "-connect", to, NULL};
    struct haproxy h;
    struct run_result r;
    struct running client;
    struct journal j;

    haproxy_start(&h, d, bind, "send-proxy-v2");
    snprintf(to, sizeof(to), "127.0.0.1:%u", target_port(&h.target));
    run_start(&client, argv, &(struct run_options){.input = "\0\0\0\5hello", .input_len = 9});
    WAIT_FOR(stats_total(d, "messages") == 1, 20000);
    journal_load(d->data_dir, true, &j);
    assert_int_equal(j.count, 1);
    assert_string_equal(j.entries[0].body, "hello");
    assert_memory_equal(j.entries[0].peer, "127.0.0.1:", 10);
    assert_int_not_equal(strtoul(j.entries[0].peer + 10, NULL, 10), target_port(&h.target));
    journal_free(&j);
    haproxy_stop(&h);
    run_finish(&client, 20000, &r);
    run_result_free(&r);
}

#define FRAMES "frame://127.0.0.1:0?reply=yes&proxy=required&proxy_from=127.0.0.1"

static void
haproxy_may_end_tls(void **state)
{
    char dir[HARNESS_PATH_LEN], pem[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN];
    char bind[2 * HARNESS_PATH_LEN];
    struct daemon *d = start(FRAMES);

    (void)state;
    haproxy_need();
    harness_directory(dir);
    make_certificate(dir, pem, key);
    snprintf(bind, sizeof(bind), "ssl crt %s", pem);
    expect_tls(d, bind);
    daemon_stop(d);
}

static void
haproxy_may_pass_tls_through(void **state)
{
    char dir[HARNESS_PATH_LEN], pem[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN];
    char url[3 * HARNESS_PATH_LEN];
    struct daemon *d;

    (void)state;
    haproxy_need();
    harness_directory(dir);
    make_certificate(dir, pem, key);
    snprintf(url, sizeof(url), FRAMES "&tls=required&tls_cert=%s&tls_key=%s", pem, key);
    d = start(url);
    expect_tls(d, "");
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(the_address_in_the_header_is_the_peer),
        SYSTEM_TEST(a_header_too_many_is_told),
        SYSTEM_TEST(a_header_that_comes_later_is_none),
        SYSTEM_TEST(rules_ask_for_the_address_in_the_header),
        SYSTEM_TEST(what_is_no_header_is_closed),
        SYSTEM_TEST(nobody_but_the_proxies_may_send_one),
        SYSTEM_TEST(a_header_that_drips_has_a_deadline),
        SYSTEM_TEST(those_who_wait_for_a_header_have_a_share_of_the_descriptors),
        SYSTEM_TEST(a_connection_without_a_word_is_not_talked_about),
        SYSTEM_TEST(a_connection_that_moves_keeps_its_peer),
        SYSTEM_TEST(proxies_must_be_named),
        SYSTEM_TEST(haproxy_says_whose_a_connection_is),
        SYSTEM_TEST(haproxy_may_end_tls),
        SYSTEM_TEST(haproxy_may_pass_tls_through),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
