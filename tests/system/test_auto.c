/* One port for all protocols (docs/protocol.md 5): each is found out and spoken, however its bytes
 * come, and what is none of them gets nothing. */
#include "journal.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ALL RAW_FOUND

static struct daemon *
start(const char *url, const char *handler, const char *timeout)
{
    return daemon_start(&(struct daemon_options){
        .workers = 2, .handler = handler, .listen = {url}, .set = {timeout, "min_rate=0"}});
}

/* What msockctl conns calls the connection; "" where there is none. */
static void
conn_proto(const struct daemon *d, const char *peer, char out[32])
{
    json_t *conns = stats_read(d, "conns"), *row;
    size_t i;

    out[0] = '\0';
    json_array_foreach(conns, i, row)
    {
        const char *proto = json_string_value(json_object_get(row, "proto"));

        if (strcmp(json_string_value(json_object_get(row, "peer")), peer) == 0 && proto != NULL)
            snprintf(out, 32, "%s", proto);
    }
    json_decref(conns);
}

static void
expect_proto(const struct daemon *d, const char *peer, const char *want)
{
    struct waiting w = waiting_begin(20000);
    char proto[32];

    do {
        conn_proto(d, peer, proto);
        if (strcmp(proto, want) == 0)
            return;
    } while (waiting_more(&w));
    fail_msg("the connection is shown as \"%s\", not \"%s\"", proto, want);
}

/* --- all of them --- */

static void
all_protocols_come_over_one_port(void **state)
{
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=30s");
    struct raw r[3 * ALL];
    struct answer answer;
    struct peer msp;

    (void)state;
    for (size_t i = 0; i < 3 * ALL; i++)
        raw_connect(&r[i], raw_kinds[i % ALL], &d->listeners[0], (enum raw_manner)(i / ALL));
    peer_connect(&msp, &d->listeners[0]);
    expect_proto(d, msp.name, "auto");
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < 3 * ALL; i++)
            raw_echo(&r[i], 1 + round * 3000 + i, (unsigned)i);
        assert_int_equal(peer_send_plain(&msp, NULL, "msp", 3, &answer), ANSWER_ACK);
        expect_proto(d, msp.name, "msp");
        for (size_t i = 0; i < 3 * ALL; i++)
            expect_proto(d, r[i].peer.name, raw_kinds[i % ALL]->proto);
    }
    raw_expect_counts(d, 3 * (3 * ALL + 1), 0, 0, 0);
    daemon_stop(d);
}

static void
all_protocols_come_over_ipv6_and_unix_sockets(void **state)
{
    struct daemon *d =
        daemon_create(&(struct daemon_options){.handler = "echo", .listen = {"auto://[::1]:0"}});
    char url[HARNESS_PATH_LEN + 32];

    (void)state;
    snprintf(url, sizeof(url), "auto://%s/sock", d->dir);
    d->options.listen[1] = url;
    daemon_launch(d);
    for (size_t i = 0; i < 2 * ALL; i++) {
        struct raw r;

        raw_connect(&r, raw_kinds[i % ALL], &d->listeners[i / ALL], RAW_PIECES);
        raw_echo(&r, 5000, 0);
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
large_messages_may_be_the_first(void **state)
{
    static const size_t sizes[] = {65530, 65535, 65536, 1 << 20, 5 << 20};
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=30s");

    (void)state;
    for (size_t i = 0; i < ALL; i++)
        for (size_t k = 0; k < MS_ARRAY_LEN(sizes); k++) {
            struct raw r;

            raw_connect(&r, raw_kinds[i], &d->listeners[0], RAW_WHOLE);
            raw_echo(&r, sizes[k], 0);
            raw_close(&r);
        }
    daemon_stop(d);
}

/* The first bytes come one by one, each in a read of its own. */
static void
first_bytes_may_come_alone(void **state)
{
    static const char json[] = "{\"operation_mode\": \"burst\"}";
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=10m");
    uint8_t bytes[64];
    struct raw r;
    size_t n;

    (void)state;
    raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
    for (size_t i = 0; i < 24; i++) {
        raw_say(&r, &"\0\0\0\x14\1aaaaaaaaaaaa{}aaaaa"[i], 1);
        WAIT_FOR(raw_was_read(d, &r), 20000);
    }
    raw_expect(&r, "\1aaaaaaaaaaaa{}aaaaa", 20);
    for (unsigned second = 0; second < 2; second++) {
        struct raw_packet p;

        raw_begin(&r, second ? &raw_cnp_second : &raw_cnp_step, &d->listeners[0]);
        n = raw_cnp_encode_more(&r, bytes, RAW_CNP_DATA, 0, json, strlen(json));
        for (size_t i = 0; i < n; i++) {
            raw_say(&r, &bytes[i], 1);
            WAIT_FOR(raw_was_read(d, &r), 20000);
        }
        assert_int_equal(raw_cnp_get(&r, &p), 0);
        assert_int_equal(p.type, RAW_CNP_ACK);
        assert_non_null(strstr(p.payload, second ? "max_fragment_size" : "max_packet_size"));
        free(p.payload);
        expect_proto(d, r.peer.name, "cnp");
        raw_close(&r);
    }
    daemon_stop(d);
}

static void
the_journal_names_what_was_found(void **state)
{
    struct daemon *d = start("auto://127.0.0.1:0", "journal", "timeout=30s");
    struct journal j;

    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct raw r;

        raw_connect(&r, raw_kinds[i], &d->listeners[0], RAW_WHOLE);
        assert_int_equal(raw_kinds[i]->send(&r, raw_kinds[i]->proto, strlen(raw_kinds[i]->proto)),
                         0);
        WAIT_FOR(stats_total(d, "messages") == i + 1, 5000);
        raw_close(&r);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, ALL);
    for (size_t i = 0; i < j.count; i++)
        assert_string_equal(j.entries[i].body, j.entries[i].proto);
    journal_free(&j);
}

/* --- frames, which have nothing to be known by --- */

/* Their sender waits for the answer, so nothing more will come; the time-out is longer than the
 * test waits. */
static void
short_frames_are_answered_without_waiting(void **state)
{
    static const char *const bodies[] = {
        "x",
        "\r\n",
        "{",
        "{}",
        "a\r\n",
        "hello",
        "\xff",
        "\xff\xff\xff\xff",
        "   1   \r\n",
        "abcd\r\nabcdefghijklmnopqrstuvwxyzabcdef\r\nabcd",
        "abcd\r\nabcdefghijklmnopqrstuvwxyzabcdef\r\nabcd\r",
    };
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=60s");
    char *body;
    struct raw r;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bodies); i++) {
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        assert_int_equal(r.kind->send(&r, bodies[i], strlen(bodies[i])), 0);
        raw_expect(&r, bodies[i], strlen(bodies[i]));
        expect_proto(d, r.peer.name, "frame");
        raw_close(&r);
    }
    for (size_t n = 1; n <= 80; n++) {
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        raw_echo(&r, n, (unsigned)n);
        raw_close(&r);
        body = calloc(1, n);
        assert_non_null(body);
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        assert_int_equal(r.kind->send(&r, body, n), 0);
        raw_expect(&r, body, n);
        raw_close(&r);
        free(body);
    }
    daemon_stop(d);
}

/* Four zero bytes are also how most messages of msp begin. */
static void
an_empty_frame_is_one_when_nothing_else_follows(void **state)
{
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=200ms");
    struct raw r;

    (void)state;
    raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
    raw_say(&r, "\0\0\0\0", 4);
    raw_expect(&r, "", 0);
    raw_echo(&r, 5, 0);
    raw_close(&r);
    raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
    raw_say(&r, "\0\0\0\0\0\0\0\5hello", 13);
    raw_expect(&r, "", 0);
    raw_expect(&r, "hello", 5);
    raw_close(&r);
    raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
    raw_say(&r, "\0\0\0\0\0\0\0\0", 8);
    r.kind->finish(&r);
    raw_expect(&r, "", 0);
    raw_expect(&r, "", 0);
    raw_expect_end(&r);
    raw_expect_counts(d, 6, 0, 0, 0);
    daemon_stop(d);
}

/* They begin as a SYN does, and only its checksum, or what never comes, tells them apart. */
static void
frames_that_look_like_a_syn_are_frames(void **state)
{
    static const size_t sizes[] = {2, 6, 7, 8, 9, 20, 300, 5000, 65535, 65536};
    struct daemon *d = start("auto://127.0.0.1:0", "echo", "timeout=100ms");

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        char *body = raw_body(sizes[i], 0);
        struct raw r;

        body[0] = 1;
        if (sizes[i] > 8)
            body[7] = body[8] = '{';
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        assert_int_equal(r.kind->send(&r, body, sizes[i]), 0);
        raw_expect(&r, body, sizes[i]);
        raw_echo(&r, 3, 0);
        raw_close(&r);
        free(body);
    }
    raw_expect_counts(d, 20, 0, 0, 0);
    daemon_stop(d);
}

/* --- none of them --- */

static void
garbage_is_closed(void **state)
{
    struct daemon *d = start("auto://127.0.0.1:0?max_message_size=1M", "journal", "timeout=30s");
    uint64_t seed = 4711;
    struct raw r;

    (void)state;
    raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
    raw_say(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 28);
    raw_expect_end(&r);
    for (unsigned i = 1; i < 100; i++) {
        uint8_t junk[300];
        size_t n = 9 + i * 3 % 290;

        for (size_t k = 0; k < n; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            junk[k] = (uint8_t)(seed >> 40);
        }
        junk[0] = (uint8_t)(1 + junk[0] % 254);
        junk[8] = 'x';
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        r.manner = i % 2 == 0 ? RAW_WHOLE : RAW_BYTES;
        (void)raw_write(&r, junk, n);
        raw_expect_end(&r);
    }
    raw_expect_counts(d, 0, 0, 0, 100);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

static void
silence_before_it_is_known_what_it_is_ends_the_connection(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        unsigned err;
    } rows[] = {
        {"", 0, 0},
        {"\0", 1, 1},
        {"\0\0\0", 3, 1},
        {"\0\0\0\0\0", 5, 1},
        {"\0\0\0\x05\1abc", 8, 1},
        {"\0\0\0\0\0\0\0\x05\r\n", 10, 1},
        {"\0\0\0\x46\1\0\0abcd{", 12, 1},
    };
    struct daemon *d = start("auto://127.0.0.1:0?idle_timeout=300ms", "journal", "timeout=200ms");
    unsigned errors = 0;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct raw r;

        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        raw_say(&r, rows[i].bytes, rows[i].n);
        raw_expect_end(&r);
        errors += rows[i].err;
        raw_expect_counts(d, 0, 0, 0, errors);
    }
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), 0);
}

/* --- too many --- */

static void
each_protocol_has_its_own_word_for_too_many(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 2,
        .handler = "echo",
        .listen = {"auto://127.0.0.1:0", "tinyproto://127.0.0.1:0?idle_timeout=60s"},
        .set = {"max_connections=1", "idle_timeout=2s", "timeout=2s"}});
    struct answer answer;
    struct peer msp;
    struct raw held, r;

    (void)state;
    for (enum raw_manner manner = RAW_WHOLE; manner <= RAW_BYTES; manner++) {
        raw_connect(&held, &raw_tiny, &d->listeners[1], RAW_WHOLE);
        raw_begin(&r, &raw_tiny, &d->listeners[0]);
        raw_say(&r, "\xff", 1);
        assert_int_equal(raw_tiny_byte(&r), RAW_TINY_CONLIMIT);
        raw_expect_end(&r);
        for (unsigned second = 0; second < 2; second++) {
            raw_begin(&r, second ? &raw_cnp_second : &raw_cnp_step, &d->listeners[0]);
            r.manner = manner;
            (void)raw_cnp_put(&r, RAW_CNP_DATA, 0, "{}", 2);
            r.kind = &raw_cnp_step; /* the first dialect is what it is told in */
            raw_cnp_expect_error(&r, "busy", 0);
            raw_expect_end(&r);
        }
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        r.manner = manner;
        (void)r.kind->send(&r, "a frame", 7);
        raw_expect_end(&r);
        peer_connect(&msp, &d->listeners[0]);
        assert_int_equal(peer_send_plain(&msp, NULL, "x", 1, &answer), ANSWER_ERR);
        assert_string_equal(answer.code, "busy");
        peer_close(&msp);
        raw_begin(&r, &raw_frame_length32, &d->listeners[0]);
        raw_expect_end(&r); /* it has said nothing, so it is told nothing */
        raw_close(&held);
        WAIT_FOR(stats_total(d, "open") == 0, 5000);
    }
    assert_int_equal(stats_total(d, "refused"), 12);
    assert_int_equal(stats_total(d, "messages"), 0);
    daemon_stop(d);
}

/* --- what the server sends by itself --- */

/* All protocols in one room; one that has not said anything gets what was said when it does. */
static void
a_broadcast_reaches_all_protocols(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "broadcast", .listen = {"auto://127.0.0.1:0"}});
    struct raw r[ALL], late;

    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        raw_connect(&r[i], raw_kinds[i], &d->listeners[0], RAW_WHOLE);
        assert_int_equal(raw_kinds[i]->send(&r[i], "hello", 5),
                         0); /* a frame is known by its first */
        for (size_t k = 0; k < i; k++)
            raw_expect(&r[k], "hello", 5);
    }
    raw_begin(&late, &raw_tiny, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "open") == ALL + 1, 5000);
    for (size_t i = 0; i < ALL; i++) {
        assert_int_equal(raw_kinds[i]->send(&r[i], raw_kinds[i]->name, strlen(raw_kinds[i]->name)),
                         0);
        for (size_t k = 0; k < ALL; k++)
            if (k != i)
                raw_expect(&r[k], raw_kinds[i]->name, strlen(raw_kinds[i]->name));
    }
    raw_say(&late, "\xff", 1);
    assert_int_equal(raw_tiny_byte(&late), RAW_TINY_OK);
    for (size_t i = 0; i < ALL; i++)
        raw_expect(&late, raw_kinds[i]->name, strlen(raw_kinds[i]->name));
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(all_protocols_come_over_one_port),
        SYSTEM_TEST(all_protocols_come_over_ipv6_and_unix_sockets),
        SYSTEM_TEST(large_messages_may_be_the_first),
        SYSTEM_TEST(first_bytes_may_come_alone),
        SYSTEM_TEST(the_journal_names_what_was_found),
        SYSTEM_TEST(short_frames_are_answered_without_waiting),
        SYSTEM_TEST(an_empty_frame_is_one_when_nothing_else_follows),
        SYSTEM_TEST(frames_that_look_like_a_syn_are_frames),
        SYSTEM_TEST(garbage_is_closed),
        SYSTEM_TEST(silence_before_it_is_known_what_it_is_ends_the_connection),
        SYSTEM_TEST(each_protocol_has_its_own_word_for_too_many),
        SYSTEM_TEST(a_broadcast_reaches_all_protocols),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
