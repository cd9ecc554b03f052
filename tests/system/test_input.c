/* Bad input, row by row: what a peer may do wrong, and what it gets for it. */
#include "journal.h"
#include "stats.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t
draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 9;
}

static void
expect_still_well(const struct daemon *d)
{
    struct peer p;
    struct answer a;

    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "well", 4, &a), ANSWER_ACK);
    peer_close(&p);
}

static void
random_bytes_get_bad_header_and_harm_nothing(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1, .handler = "discard", .set = {"timeout=300ms"}});
    struct proc_list before, after;
    uint64_t seed = 20261121;
    uint8_t junk[4096];
    struct answer a;
    int descriptors;

    (void)state;
    expect_still_well(d);
    daemon_workers(d, &before);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    descriptors = proc_descriptors(before.pid[0]);
    for (unsigned i = 0; i < 400; i++) {
        struct peer p;
        size_t n = 50 + draw(&seed) % (sizeof(junk) - 50);

        for (size_t k = 0; k < n; k++)
            junk[k] = (uint8_t)draw(&seed);
        peer_connect(&p, &d->listeners[0]);
        (void)!peer_write(&p, junk, n);
        assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
        assert_string_equal(a.code, "bad-header");
        assert_true(peer_closed(&p, 5000));
        peer_close(&p);
    }
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    assert_int_equal(proc_descriptors(before.pid[0]), descriptors);
    expect_still_well(d);
    daemon_stop(d);
}

/* Sound packets with a few bytes changed come further than noise does. */
static void
damaged_packets_harm_nothing(void **state)
{
    static char body[3000];
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"timeout=100ms"}});
    struct outgoing m = {.kind = 'J', .value = "id", .value_len = 2, .body = body, .len = 1500};
    struct proc_list before, after;
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    uint64_t seed = 4711;
    struct journal j;

    (void)state;
    memset(body, '1', sizeof(body));
    daemon_workers(d, &before);
    for (unsigned i = 0; i < 600; i++) {
        struct peer p;
        size_t n;

        m.len = i % 3 == 0 ? 20 : 1500;
        n = wire_ahead(packet, &m);
        for (unsigned k = 0; k < 1 + i % 4; k++)
            packet[draw(&seed) % n] ^= (uint8_t)(1u << draw(&seed) % 8);
        peer_connect(&p, &d->listeners[0]);
        (void)!peer_write(&p, packet, n);
        if (i % 2 == 0)
            shutdown(p.fd, SHUT_WR);
        if (i % 16 == 0)
            assert_true(peer_closed(&p, 5000));
        peer_close(&p);
    }
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    expect_still_well(d);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    journal_free(&j);
}

static void
a_huge_size_and_then_silence_takes_no_memory(void **state)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 1, 4294967295u, 1u << 30};
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"timeout=500ms"}});
    struct proc_list workers;
    struct peer peers[40];
    uint8_t digest[32] = {1}, head[WIRE_FIRST_HEADER + 100] = {0};
    struct answer a;
    uint64_t before;

    (void)state;
    expect_still_well(d);
    daemon_workers(d, &workers);
    before = proc_status(workers.pid[0], "VmRSS:", 10);
    for (unsigned i = 0; i < 40; i++) {
        wire_header(head, sizes[i % 4], digest, 0x12345678);
        peer_connect(&peers[i], &d->listeners[0]);
        assert_int_equal(peer_write(&peers[i], head, sizeof(head)), 0);
    }
    WAIT_FOR(stats_total(d, "accepted") == 41, 5000);
    assert_true(proc_status(workers.pid[0], "VmRSS:", 10) < before + 8192 * WAIT_SCALE);
    for (unsigned i = 0; i < 40; i++) {
        enum answer_kind kind = peer_answer(&peers[i], &a);

        while (kind == ANSWER_NACK1) /* of an undetermined size: another chance */
            kind = peer_answer(&peers[i], &a);
        assert_int_equal(kind, ANSWER_ERR);
        assert_string_equal(a.code, "timeout");
        assert_true(peer_closed(&peers[i], 5000));
    }
    daemon_stop(d);
}

static void
silence_inside_a_message_is_a_timeout_at_every_place(void **state)
{
    static char body[5000];
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"timeout=200ms"}});
    struct outgoing m = {.kind = 'A', .value = "id", .value_len = 2, .body = body, .len = 20};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_ahead(packet, &m);
    struct peer peers[128];
    struct answer a;

    (void)state;
    assert_true(n <= 128);
    for (size_t cut = 1; cut < n; cut++) {
        peer_connect(&peers[cut], &d->listeners[0]);
        assert_int_equal(peer_write(&peers[cut], packet, cut), 0);
    }
    for (size_t cut = 1; cut < n; cut++) {
        enum answer_kind kind = peer_answer(&peers[cut], &a);

        if (cut >= 70) {
            assert_int_equal(kind, ANSWER_ACK);
            kind = peer_answer(&peers[cut], &a);
        }
        if (kind != ANSWER_ERR || strcmp(a.code, "timeout") != 0)
            fail_msg("silence after %zu bytes: \"%s\"", cut, a.text);
        assert_true(peer_closed(&peers[cut], 5000));
        peer_close(&peers[cut]);
    }
    daemon_stop(d);
}

/* A byte now and then keeps `timeout` from striking, so min_rate must. */
static void
a_message_that_creeps_is_a_timeout_though_bytes_come(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .set = {"timeout=2s", "min_rate=1K", "rate_grace=600ms"}});
    static const char body[1000];
    struct outgoing m = {.kind = 'A', .body = body, .len = sizeof(body)};
    uint8_t packet[WIRE_FIRST_MAX];
    size_t n = wire_first(packet, &m), sent = 0;
    uint64_t began = now_us();
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (;;) {
        struct pollfd pfd = {.fd = p.fd, .events = POLLIN};

        assert_true(sent < n - 1);
        assert_int_equal(peer_write(&p, packet + sent++, 1), 0);
        if (poll(&pfd, 1, 50) > 0) /* the pace: fifty milliseconds a byte */
            break;
    }
    assert_int_equal(peer_answer(&p, &a), ANSWER_ERR);
    assert_string_equal(a.code, "timeout");
    assert_true(now_us() - began > 500000);
    assert_true(peer_closed(&p, 5000));
    daemon_stop(d);
}

static void
a_connection_without_a_message_is_closed_in_silence(void **state)
{
    struct daemon *d =
        daemon_start(&(struct daemon_options){.workers = 1, .set = {"idle_timeout=1s"}});
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_answer(&p, &a), ANSWER_CLOSED);
    assert_int_equal(p.have, 0);
    peer_close(&p);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send_plain(&p, NULL, "x", 1, &a), ANSWER_ACK);
    assert_int_equal(peer_answer(&p, &a), ANSWER_CLOSED);
    assert_int_equal(stats_total(d, "err"), 0);
    daemon_stop(d);
}

static char *
repeat(char c, size_t n)
{
    char *text = calloc(1, n + 1);

    assert_non_null(text);
    memset(text, c, n);
    return text;
}

static char *
nested(size_t levels)
{
    char *text = repeat('[', 2 * levels);

    memset(text + levels, ']', levels);
    return text;
}

static void
bad_json_is_refused_with_its_place_and_good_json_is_kept_as_sent(void **state)
{
    char *brackets = repeat('[', 1 << 20), *most = nested(512), *deep = nested(513);
    const struct {
        const char *text;
        size_t n; /* 0: strlen */
        bool good;
    } rows[] = {
        {brackets, 0, false},
        {deep, 0, false},
        {"{\"a\":1,\"a\":2}", 0, false},
        {"\"\xff\xfe\"", 0, false},
        {"\"\xc0\xaf\"", 0, false},
        {"\"\xed\xa0\x80\"", 0, false},
        {"1e400", 0, false},
        {"-1e400", 0, false},
        {"", 0, false},
        {"   ", 0, false},
        {"{\"a\":1} x", 0, false},
        {"[1,]", 0, false},
        {"{'a':1}", 0, false},
        {"nul", 0, false},
        {"[1]\0", 4, false},
        {"01", 0, false},
        {"\"\t\"", 0, false},
        {"\"\\ud800\"", 0, false},
        {"{\"a\\u0000b\":1}", 0, false},
        {"\xef\xbb\xbf{}", 0, false},
        {"1234567890123456789012345678901234567890", 0, true},
        {"{\"n\":-99999999999999999999999999}", 0, true},
        {"\"a\\u0000b\"", 0, true},
        {"null", 0, true},
        {most, 0, true},
        {" [ 1 , 2 ] ", 0, true},
        {"1.0E+2", 0, true},
        {"\"\\ud83d\\ude00\"", 0, true},
    };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    size_t good = 0;
    struct journal j;
    struct peer p;
    char id[32];

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        struct outgoing m = {.kind = 'J', .value = id, .body = rows[i].text};
        struct answer a;

        snprintf(id, sizeof(id), "json-%zu", i);
        m.value_len = strlen(id);
        m.len = rows[i].n > 0 ? rows[i].n : strlen(rows[i].text);
        peer_send(&p, &m, &a);
        if (a.kind != (rows[i].good ? ANSWER_ACK : ANSWER_REJ))
            fail_msg("%.60s: \"%s\"", rows[i].text, a.text);
        good += rows[i].good;
        if (!rows[i].good && (strstr(a.text, "REJ bad-json") != a.text ||
                              strstr(a.text, "line ") == NULL || strstr(a.text, "column ") == NULL))
            fail_msg("%.60s: no line and column in \"%s\"", rows[i].text, a.text);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, good);
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        const struct entry *e = NULL;

        snprintf(id, sizeof(id), "json-%zu", i);
        assert_int_equal(journal_find_key(&j, id, &e), rows[i].good ? 1 : 0);
        if (e != NULL)
            assert_string_equal(e->body, rows[i].text);
    }
    journal_free(&j);
    free(brackets);
    free(deep);
    free(most);
}

static void
newlines_of_json_become_spaces_in_the_journal(void **state)
{
    static const char text[] = "{\n\t\"a\": [1,\r\n 2]\n}\n", kept[] = "{ \t\"a\": [1,   2] } ";
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct outgoing m = {
        .kind = 'J', .value = "nl", .value_len = 2, .body = text, .len = strlen(text)};
    const struct entry *e;
    struct journal j;
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_send(&p, &m, &a), ANSWER_ACK);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(j.bad_lines, 0);
    assert_int_equal(journal_find_key(&j, "nl", &e), 1);
    assert_string_equal(e->body, kept);
    journal_free(&j);
}

static void
eleven_nacks_within_a_message_end_the_connection(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct answer a;
    struct peer p;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    p.spoil_crc = 10;
    assert_int_equal(peer_send_plain(&p, NULL, "ten", 3, &a), ANSWER_ACK);
    p.spoil_crc = 5;
    p.spoil_digest = 5;
    assert_int_equal(peer_send_plain(&p, NULL, "ten of both", 11, &a), ANSWER_ACK);
    p.spoil_crc = 11;
    assert_int_equal(peer_send_plain(&p, NULL, "eleven", 6, &a), ANSWER_ERR);
    assert_string_equal(a.code, "retries");
    assert_int_equal(p.counts.nack1, 10 + 5 + 10);
    assert_true(peer_closed(&p, 5000));
    daemon_stop(d);
}

static void
an_undetermined_message_without_an_end_is_too_long(void **state)
{
    static char body[100 * 2048];
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .set = {"packet_size=2048", "packet_size_max=2048"}});
    uint8_t packet[WIRE_FIRST_MAX], digest[32] = {7};
    struct answer a;
    struct peer p;
    unsigned further = 0;

    (void)state;
    wire_header(packet, 0, digest, wire_crc(body, WIRE_FIRST_BODY));
    memcpy(packet + WIRE_FIRST_HEADER, body, WIRE_FIRST_BODY);
    peer_connect(&p, &d->listeners[0]);
    assert_int_equal(peer_write(&p, packet, sizeof(packet)), 0);
    while (peer_answer(&p, &a) == ANSWER_GRANT && further++ < 50)
        assert_int_equal(peer_write(&p, packet, wire_next(packet, body, 2042)), 0);
    assert_int_equal(a.kind, ANSWER_ERR);
    assert_string_equal(a.code, "too-long");
    assert_in_range(further, 10, 11);
    daemon_stop(d);
}

static void
a_reset_in_the_middle_of_a_message_delivers_nothing(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1});
    struct outgoing m = {.kind = 'A', .body = "0123456789", .len = 10};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_ahead(packet, &m);
    struct journal j;

    (void)state;
    for (size_t cut = 1; cut < n; cut++) {
        struct peer p;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_write(&p, packet, cut), 0);
        if (cut % 2 == 0)
            peer_reset_on_close(&p);
        peer_close(&p);
    }
    WAIT_FOR(stats_total(d, "accepted") == n - 1 && stats_total(d, "open") == 0, 5000);
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(j.count, 0);
    journal_free(&j);
}

/* It asks for replies and never reads them; the worker must not wait for it. */
static void
a_peer_that_never_reads_holds_nobody_up(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "echo"});
    static char body[1900];
    struct outgoing m = {.kind = 'A', .flags = WIRE_REPLY, .body = body, .len = sizeof(body)};
    uint8_t packet[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];
    size_t n = wire_ahead(packet, &m);
    struct proc_list workers;
    struct peer deaf, other;
    struct answer a;
    uint64_t pushed = 0;
    ssize_t done;
    uint64_t before;

    (void)state;
    daemon_workers(d, &workers);
    before = proc_status(workers.pid[0], "VmRSS:", 10);
    peer_connect(&deaf, &d->listeners[0]);
    peer_connect(&other, &d->listeners[0]);
    for (unsigned i = 0; i < 2000; i++) {
        while ((done = send(deaf.fd, packet + pushed % n, n - pushed % n,
                            MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 &&
               pushed < 256u << 20)
            pushed += (uint64_t)done;
        assert_int_equal(peer_send_plain(&other, NULL, "x", 1, &a), ANSWER_ACK);
    }
    if (proc_status(workers.pid[0], "VmRSS:", 10) > before + 65536 * WAIT_SCALE)
        fail_msg("from %" PRIu64 " to %" PRIu64 " KiB for a peer that does not read", before,
                 proc_status(workers.pid[0], "VmRSS:", 10));
    daemon_stop(d);
}

static void
messages_sent_ahead_are_answered_in_order(void **state)
{
    enum { MANY = 3000 };
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1, .handler = "echo"});
    struct answer a;
    struct peer p;
    char body[32];
    size_t n = 0;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    for (unsigned i = 0; i < MANY; i++) {
        struct outgoing m = {.kind = i % 5 == 4 ? 'X' : 'A', .flags = WIRE_REPLY, .body = body};

        m.len = (size_t)snprintf(body, sizeof(body), "message %u", i);
        peer_post(&p, &m);
        if (i % 100 != 99)
            continue;
        for (unsigned k = i - 99; k <= i; k++) {
            char *reply;

            assert_int_equal(peer_answer(&p, &a), ANSWER_ACK);
            assert_int_equal(peer_answer(&p, &a), k % 5 == 4 ? ANSWER_REJ : ANSWER_ACK);
            if (k % 5 == 4)
                continue;
            reply = peer_reply(&p, &n);
            assert_non_null(reply);
            snprintf(body, sizeof(body), "message %u", k);
            assert_string_equal(reply, body);
            free(reply);
        }
    }
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(random_bytes_get_bad_header_and_harm_nothing),
        SYSTEM_TEST(damaged_packets_harm_nothing),
        SYSTEM_TEST(a_huge_size_and_then_silence_takes_no_memory),
        SYSTEM_TEST(silence_inside_a_message_is_a_timeout_at_every_place),
        SYSTEM_TEST(a_message_that_creeps_is_a_timeout_though_bytes_come),
        SYSTEM_TEST(a_connection_without_a_message_is_closed_in_silence),
        SYSTEM_TEST(bad_json_is_refused_with_its_place_and_good_json_is_kept_as_sent),
        SYSTEM_TEST(newlines_of_json_become_spaces_in_the_journal),
        SYSTEM_TEST(eleven_nacks_within_a_message_end_the_connection),
        SYSTEM_TEST(an_undetermined_message_without_an_end_is_too_long),
        SYSTEM_TEST(a_reset_in_the_middle_of_a_message_delivers_nothing),
        SYSTEM_TEST(a_peer_that_never_reads_holds_nobody_up),
        SYSTEM_TEST(messages_sent_ahead_are_answered_in_order),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
