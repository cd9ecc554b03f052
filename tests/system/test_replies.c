/* What is the same for tinyproto, cnp and frame: messages come back as they were sent, are in the
 * journal as they were sent, are counted as the client counted them, and are answered where that
 * was asked for. */
#include "journal.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY     200
#define GROUPS   4 /* connections of each kind in a group commit */
#define ALL      RAW_KINDS
#define URL_SIZE (HARNESS_PATH_LEN + 128)

static char urls[DAEMON_LISTEN_MAX][URL_SIZE];

/* A daemon with one listener for each kind, at that place (without the scheme) and with these
 * options. */
static struct daemon *
start(struct daemon_options options, const char *place, const char *more)
{
    struct daemon *d;

    for (size_t i = 0; i < ALL; i++) {
        const char *own = raw_kinds[i]->options;

        snprintf(urls[i], URL_SIZE, "%s://%s?%s%s%s", raw_kinds[i]->proto, place, own,
                 own[0] != '\0' && more[0] != '\0' ? "&" : "", more);
        if (own[0] == '\0' && more[0] == '\0')
            snprintf(urls[i], URL_SIZE, "%s://%s", raw_kinds[i]->proto, place);
        options.listen[i] = urls[i];
    }
    d = daemon_start(&options);
    assert_int_equal(d->listener_count, ALL);
    return d;
}

static size_t
size_for(const struct raw_kind *kind, size_t n)
{
    return kind == &raw_frame_fixed ? RAW_FRAME_FIXED : n;
}

static void
echo_sizes(const struct daemon *d, const size_t *sizes, size_t count, enum raw_manner manner)
{
    for (size_t i = 0; i < ALL; i++) {
        struct raw r = {.peer.fd = -1};

        for (size_t k = 0; k < count; k++) {
            if (k == 0 || raw_kinds[i]->once)
                raw_connect(&r, raw_kinds[i], &d->listeners[i], manner);
            raw_echo(&r, size_for(raw_kinds[i], sizes[k]), (unsigned)k);
            if (k + 1 == count || raw_kinds[i]->once)
                raw_close(&r);
        }
    }
}

static void
messages_of_all_sizes_come_back_as_they_were(void **state)
{
    static const size_t sizes[] = {0, 1, 65536, 0, 1 << 20, 5 << 20, 2, 262144, 262145};
    struct daemon *d = start((struct daemon_options){.handler = "echo"}, "127.0.0.1:0", "");

    (void)state;
    echo_sizes(d, sizes, MS_ARRAY_LEN(sizes), RAW_WHOLE);
    daemon_stop(d);
}

static void
messages_come_back_however_they_are_cut(void **state)
{
    static const size_t few[] = {0, 1, 65536 / WAIT_SCALE, 5}, more[] = {0, 1, 65536, 1 << 20};
    struct daemon *d = start((struct daemon_options){.handler = "echo"}, "127.0.0.1:0", "");

    (void)state;
    echo_sizes(d, few, MS_ARRAY_LEN(few), RAW_BYTES);
    echo_sizes(d, more, MS_ARRAY_LEN(more), RAW_PIECES);
    daemon_stop(d);
}

static void
many_messages_go_over_one_connection(void **state)
{
    struct daemon *d = start((struct daemon_options){.handler = "echo"}, "127.0.0.1:0", "");
    uint64_t expected = 0;

    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct raw r;

        if (raw_kinds[i]->once)
            continue;
        raw_connect(&r, raw_kinds[i], &d->listeners[i], RAW_WHOLE);
        for (unsigned k = 0; k < MANY; k++)
            raw_echo(&r, size_for(raw_kinds[i], k * 37 % 5000), k);
        raw_close(&r);
        expected += MANY;
    }
    WAIT_FOR(stats_total(d, "messages") == expected, 5000);
    daemon_stop(d);
}

static void
old_clients_get_answers_without_numbers(void **state)
{
    static const size_t sizes[] = {0, 1, 65536, 1 << 20, 5 << 20};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .handler = "echo", .listen = {"cnp://127.0.0.1:0?packet_size_max=16M"}});
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_old, &d->listeners[0], RAW_WHOLE);
    for (size_t k = 0; k < MS_ARRAY_LEN(sizes); k++)
        raw_echo(&r, sizes[k], (unsigned)k);
    raw_close(&r);
    daemon_stop(d);
}

static void
unix_sockets_and_ipv6_carry_all_of_them(void **state)
{
    struct daemon *d = start((struct daemon_options){.handler = "echo"}, "[::1]:0", "");
    static const size_t sizes[] = {3000};

    (void)state;
    echo_sizes(d, sizes, 1, RAW_WHOLE);
    daemon_stop(d);
    d = daemon_create(&(struct daemon_options){.handler = "echo"});
    for (size_t i = 0; i < ALL; i++) {
        snprintf(urls[i], URL_SIZE, "%s://%s/%zu%s%s", raw_kinds[i]->proto, d->dir, i,
                 raw_kinds[i]->options[0] != '\0' ? "?" : "", raw_kinds[i]->options);
        d->options.listen[i] = urls[i];
    }
    daemon_launch(d);
    echo_sizes(d, sizes, 1, RAW_WHOLE);
    daemon_stop(d);
}

/* --- the journal --- */

/* Two connections may have had the same port, one after the other: an entry is known by its
 * body. */
static void
check_entry(const struct journal *j, const struct raw_kind *kind, const char *body)
{
    for (size_t i = 0; i < j->count; i++) {
        const struct entry *e = &j->entries[i];

        if (strcmp(e->body, body) != 0)
            continue;
        if (strcmp(e->proto, kind->proto) != 0 || strcmp(e->kind, "plain") != 0 ||
            e->key[0] != '\0')
            fail_msg("%s: entry %s of %s is %s", kind->name, e->id, e->proto, e->kind);
        return;
    }
    fail_msg("%s: no entry", kind->name);
}

static void
messages_stand_in_the_journal_as_they_were_sent(void **state)
{
    struct daemon *d = start((struct daemon_options){.workers = 2}, "127.0.0.1:0", "");
    char *bodies[ALL];
    struct journal j;

    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct raw r;

        bodies[i] = raw_body(RAW_FRAME_FIXED, (unsigned)i);
        raw_connect(&r, raw_kinds[i], &d->listeners[i], RAW_PIECES);
        assert_int_equal(raw_kinds[i]->send(&r, bodies[i], RAW_FRAME_FIXED), 0);
        WAIT_FOR(stats_total(d, "messages") == i + 1, 5000);
        raw_close(&r);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, ALL);
    for (size_t i = 0; i < ALL; i++) {
        check_entry(&j, raw_kinds[i], bodies[i]);
        free(bodies[i]);
    }
    journal_free(&j);
}

/* One worker is stopped while messages of all protocols arrive: it meets them all in one turn. */
static void
one_commit_serves_connections_of_different_protocols(void **state)
{
    static const struct raw_kind *const grouped[] = {&raw_tiny, &raw_frame_length32, &raw_cnp_step};
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 1,
                                 .listen = {"tinyproto://127.0.0.1:0",
                                            "frame://127.0.0.1:0?reply=yes", "cnp://127.0.0.1:0"}});
    struct raw r[3 * GROUPS];
    struct proc_list workers;
    uint64_t before;
    uint8_t packet[64];

    (void)state;
    daemon_workers(d, &workers);
    for (size_t i = 0; i < 3 * GROUPS; i++) {
        raw_connect(&r[i], grouped[i % 3], &d->listeners[i % 3], RAW_WHOLE);
        if (grouped[i % 3] == &raw_tiny) {
            assert_int_equal(raw_tiny_ask(&r[i], 5), 0);
            assert_int_equal(raw_tiny_await_ok(&r[i]), 0);
        }
    }
    WAIT_FOR(stats_total(d, "open") == 3 * GROUPS, 5000);
    before = stats_workers_sum(d, "commits");
    proc_stop(workers.pid[0]);
    for (size_t i = 0; i < 3 * GROUPS; i++) {
        if (grouped[i % 3] == &raw_cnp_step)
            raw_write(&r[i], packet, raw_cnp_encode(&r[i], packet, RAW_CNP_DATA, 1, "hello", 5));
        else if (grouped[i % 3] == &raw_tiny)
            raw_write(&r[i], "hello", 5);
        else
            raw_write(&r[i], "\0\0\0\5hello", 9);
    }
    proc_go_on(workers.pid[0]);
    for (size_t i = 0; i < 3 * GROUPS; i++)
        if (grouped[i % 3] == &raw_cnp_step)
            raw_cnp_expect_ack(&r[i], 1);
    WAIT_FOR(stats_total(d, "messages") == 3 * GROUPS, 5000);
    assert_in_range(stats_workers_sum(d, "commits") - before, 1, 3);
    daemon_stop(d);
}

/* --- counters --- */

static bool
conn_shows(const struct daemon *d, const struct raw *r, struct peer_counts *seen)
{
    return stats_conn(d, r->peer.name, seen, NULL) && counts_equal(seen, &r->peer.counts);
}

static void
connections_show_what_their_clients_counted(void **state)
{
    struct daemon *d = start((struct daemon_options){.handler = "echo"}, "127.0.0.1:0", "");
    struct peer_counts sum = {0}, seen = {0};

    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        struct waiting w = waiting_begin(20000);
        struct raw r;

        raw_connect(&r, raw_kinds[i], &d->listeners[i], RAW_PIECES);
        for (unsigned k = 0; k < (raw_kinds[i]->once ? 1 : 4); k++)
            raw_echo(&r, size_for(raw_kinds[i], k * 50000), k);
        while (!raw_kinds[i]->once && !conn_shows(d, &r, &seen))
            if (!waiting_more(&w))
                fail_msg("%s\n  shows   %s\n  we have %s", raw_kinds[i]->name, counts_text(&seen),
                         counts_text(&r.peer.counts));
        counts_add(&sum, &r.peer.counts);
        raw_close(&r);
    }
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    stats_totals(d, &seen);
    if (!counts_equal(&seen, &sum))
        fail_msg("totals\n  show    %s\n  we have %s", counts_text(&seen), counts_text(&sum));
    daemon_stop(d);
}

/* --- replies --- */

/* Sends a message, the one that makes it committed so many, and returns how many messages come back
 * for it: takes as many as are wanted, then says that nothing more comes, and takes the rest. */
static unsigned
replies_to_one(const struct daemon *d, struct raw *r, unsigned want, uint64_t committed)
{
    char *body = raw_body(RAW_FRAME_FIXED, 1), *reply;
    unsigned replies = 0;
    size_t n;

    assert_int_equal(r->kind->send(r, body, RAW_FRAME_FIXED), 0);
    free(body);
    WAIT_FOR(stats_total(d, "messages") == committed, 5000);
    if (want == 0)
        r->kind->finish(r);
    while ((reply = r->kind->receive(r, &n)) != NULL) {
        free(reply);
        replies += n > 0;
        if (r->kind->once)
            break;
        if (replies == want)
            r->kind->finish(r);
    }
    return replies;
}

static void
replies_go_back_as_the_listener_says(void **state)
{
    static const struct {
        const char *handler, *reply;
        int replies; /* -1: where receipts do no harm */
    } rows[] = {
        {"echo", "yes", 1},    {"echo", "auto", 1},    {"echo", "no", 0},
        {"discard", "yes", 0}, {"journal", "no", 0},   {"journal", "auto", -1},
        {"journal", "yes", 1}, {"discard", "auto", 0},
    };

    (void)state;
    for (size_t row = 0; row < MS_ARRAY_LEN(rows); row++) {
        char more[64];
        struct daemon *d;

        snprintf(more, sizeof(more), "reply=%s", rows[row].reply);
        d = start((struct daemon_options){.workers = 1, .handler = rows[row].handler},
                  "127.0.0.1:0", more);
        for (size_t i = 0; i < ALL; i++) {
            unsigned got, want = rows[row].replies >= 0 ? (unsigned)rows[row].replies
                                                        : (unsigned)raw_kinds[i]->receipts;
            struct raw r;

            if (raw_kinds[i] == &raw_frame_fixed && rows[row].handler[0] == 'j')
                want = 0; /* a receipt has another size */
            raw_connect(&r, raw_kinds[i], &d->listeners[i], RAW_WHOLE);
            got = replies_to_one(d, &r, want, i + 1);
            if (got != want)
                fail_msg("%s, handler %s, reply=%s: %u replies", raw_kinds[i]->name,
                         rows[row].handler, rows[row].reply, got);
            raw_close(&r);
        }
        daemon_stop(d);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(messages_of_all_sizes_come_back_as_they_were),
        SYSTEM_TEST(messages_come_back_however_they_are_cut),
        SYSTEM_TEST(many_messages_go_over_one_connection),
        SYSTEM_TEST(old_clients_get_answers_without_numbers),
        SYSTEM_TEST(unix_sockets_and_ipv6_carry_all_of_them),
        SYSTEM_TEST(messages_stand_in_the_journal_as_they_were_sent),
        SYSTEM_TEST(one_commit_serves_connections_of_different_protocols),
        SYSTEM_TEST(connections_show_what_their_clients_counted),
        SYSTEM_TEST(replies_go_back_as_the_listener_says),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
