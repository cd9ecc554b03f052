/* Through a bad network: over msp and cnp every body is right in the end, and what was damaged is
 * counted on both sides; over all protocols nothing is handed on that is not whole. */
#include "journal.h"
#include "load.h"
#include "msock.h"
#include "proxy.h"
#include "stats.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 30000

static char body[BODY_MAX];

/* The server gives up before the client does, so that no answer is left unread. */
static const struct daemon_options patient = {
    .workers = 2, .set = {"timeout=1s", "packet_size_max=4K", "on_conflict=replace"}};

/* Where nothing is lost without the connection, nobody has to give up. */
static const struct daemon_options unhurried = {.workers = 2,
                                                .set = {LOAD_PATIENCE, "packet_size_max=4K"}};

/* The tag, the number and a blank, then bytes of any kind. */
static size_t
make_body(const char *tag, unsigned number)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15ull;
    size_t n = number % 4 == 0 ? x % 200 : x % BODY_MAX;
    size_t head = (size_t)snprintf(body, BODY_MAX, "%s-%u ", tag, number);

    for (size_t i = head; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        body[i] = (char)(x >> 5);
    }
    return n > head ? n : head;
}

static msock *
open_handle(const struct proxy *x, const char *scheme, const char *query)
{
    char url[128];
    msock *m;

    snprintf(url, sizeof(url), "%s://127.0.0.1:%u%s", scheme, target_port(&x->target), query);
    m = msock_open(url);
    assert_non_null(m);
    msock_set_timeouts(m, 5000 * WAIT_SCALE, 5000 * WAIT_SCALE);
    msock_set_retries(m, 200, 1, 20);
    msock_set_nack_limit(m, 10);
    return m;
}

static void
send_messages(msock *m, unsigned count, const char *tag)
{
    char id[32];

    for (unsigned i = 0; i < count; i++) {
        size_t n = make_body(tag, i);

        snprintf(id, sizeof(id), "%s-%u", tag, i);
        assert_int_equal(msock_set_id(m, id, strlen(id)), MSOCK_OK);
        if (msock_send(m, body, n) != MSOCK_OK)
            fail_msg("message %u: %s", i, msock_error(m));
    }
}

static bool
is_message(const struct entry *e, const char *tag, unsigned number)
{
    char head[32];
    int len = snprintf(head, sizeof(head), "%s-%u ", tag, number);

    return e->body_len >= (size_t)len && memcmp(e->body, head, (size_t)len) == 0;
}

/* Each message is there, and however often it is, always with its own body. */
static void
check_messages(const struct daemon *d, unsigned count, const char *tag)
{
    struct journal j;

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    for (unsigned i = 0; i < count; i++) {
        size_t n = make_body(tag, i), found = 0;

        for (size_t k = 0; k < j.count; k++) {
            if (!is_message(&j.entries[k], tag, i))
                continue;
            found++;
            if (j.entries[k].body_len != n || memcmp(j.entries[k].body, body, n) != 0)
                fail_msg("message %s-%u has another body", tag, i);
        }
        if (found == 0)
            fail_msg("message %s-%u is not there", tag, i);
    }
    journal_free(&j);
}

static void
flipped_bits_are_noticed_and_counted_on_both_sides(void **state)
{
    struct daemon *d = daemon_start(&patient);
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 1, .flip_every = 20000});
    struct msock_counts counts;
    msock *m = open_handle(x, "msp", "");

    (void)state;
    send_messages(m, 250, "flip");
    msock_get_counts(m, &counts);
    msock_close(m);
    proxy_stop(x);
    print_message("%llu bits flipped, %llu NACK1, %llu NACK2, %llu ERR, %llu connections\n",
                  (unsigned long long)x->flips, (unsigned long long)counts.nack1,
                  (unsigned long long)counts.nack2, (unsigned long long)counts.err,
                  (unsigned long long)x->connections);
    assert_true(x->flips > 50 && counts.nack1 > 20);
    assert_int_equal(counts.messages, 250);
    assert_int_equal(counts.nack1, x->nack1);
    assert_int_equal(counts.nack2, x->nack2);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    assert_int_equal(stats_total(d, "nack1"), counts.nack1);
    assert_int_equal(stats_total(d, "nack2"), counts.nack2);
    assert_int_equal(stats_total(d, "err"), counts.err);
    assert_int_equal(stats_total(d, "acks"), counts.acks);
    daemon_stop(d);
    check_messages(d, 250, "flip");
}

/* One after the other, each once. */
static void
check_order(const struct daemon *d, unsigned count, const char *tag)
{
    struct journal j;

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    assert_int_equal(j.count, count);
    for (unsigned i = 0; i < count; i++) {
        size_t n = make_body(tag, i);

        if (j.entries[i].body_len != n || memcmp(j.entries[i].body, body, n) != 0)
            fail_msg("entry %u is not message %s-%u", i, tag, i);
    }
    journal_free(&j);
}

static void
send_through_damage(const char *query, bool wants_reply, const char *tag)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .listen = {wants_reply ? "cnp://127.0.0.1:0?packet_size=512&packet_size_max=1K&reply=yes"
                               : "cnp://127.0.0.1:0?packet_size=512&packet_size_max=1K"}});
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 11, .spoil_every = 30});
    msock *m = open_handle(x, "cnp", query);
    struct msock_counts counts;

    msock_set_timeouts(m, 1000 * WAIT_SCALE, 0); /* an ERROR that is damaged itself costs this */
    msock_set_want_reply(m, wants_reply);
    send_messages(m, 150, tag);
    msock_get_counts(m, &counts);
    msock_close(m);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    proxy_stop(x);
    print_message("%s: %llu and %llu packets spoiled, %llu noticed\n", tag,
                  (unsigned long long)x->spoiled_up, (unsigned long long)x->spoiled_down,
                  (unsigned long long)stats_total(d, "nack1"));
    assert_true(x->spoiled_up > 20 && x->spoiled_down > 20);
    assert_int_equal(x->connections, 1);
    assert_int_equal(counts.messages, 150);
    assert_int_equal(stats_total(d, "nack1"), x->spoiled_up);
    assert_true(counts.nack1 > 0 && counts.nack1 <= x->spoiled_up);
    daemon_stop(d);
    check_order(d, 150, tag);
}

static void
spoiled_packets_of_cnp_are_noticed_and_arrive_once_and_in_order(void **state)
{
    (void)state;
    send_through_damage("?mode=step-by-step", false, "step");
    send_through_damage("?mode=burst&window_size=64", false, "burst");
    send_through_damage("?mode=burst&window_size=8", true, "replies");
}

static void
cut_connections_are_made_again(void **state)
{
    struct daemon *d = daemon_start(&patient);
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 2, .cut_every = 40000});
    struct msock_counts counts;
    msock *m = open_handle(x, "msp", "");

    (void)state;
    send_messages(m, 200, "cut");
    msock_get_counts(m, &counts);
    msock_close(m);
    proxy_stop(x);
    assert_true(x->cuts > 20);
    assert_int_equal(counts.messages, 200);
    assert_true(counts.connects > x->cuts / 2);
    daemon_stop(d);
    check_messages(d, 200, "cut");
}

static void
single_bytes_and_delays_change_nothing(void **state)
{
    struct daemon *d = daemon_start(
        &(struct daemon_options){.workers = 2, .set = {"timeout=20s", "packet_size_max=4K"}});
    struct proxy *x = proxy_start(
        &d->listeners[0], &(struct proxy_options){.seed = 3, .split = true, .delay_us = 300});
    struct msock_counts counts;
    msock *m = open_handle(x, "msp", "");

    (void)state;
    send_messages(m, 60 / WAIT_SCALE, "split");
    msock_get_counts(m, &counts);
    msock_close(m);
    proxy_stop(x);
    assert_int_equal(counts.connects, 1);
    assert_int_equal(counts.nack1 + counts.nack2 + counts.err, 0);
    daemon_stop(d);
    check_messages(d, 60 / WAIT_SCALE, "split");
}

/* --- every protocol --- */

/* Proxies before the listeners of all ways that match, and senders behind them. */
struct crowd {
    struct daemon *d;
    struct proxy *proxies[WAYS_MAX];
    struct load *loads[WAYS_MAX];
    size_t count;
};

static void
crowd_start(struct crowd *c, bool (*takes)(const struct way *way),
            const struct proxy_options *network, const struct daemon_options *how)
{
    struct daemon_options options = *how;

    ways_listen(&options);
    *c = (struct crowd){.d = daemon_start(&options)};
    for (size_t i = 0; i < way_count; i++) {
        char tag[16];

        if (!takes(&ways[i]))
            continue;
        snprintf(tag, sizeof(tag), "w%u", (unsigned)i);
        c->proxies[c->count] = proxy_start(&c->d->listeners[i], network);
        c->loads[c->count] = load_start_way(&ways[i], &c->proxies[c->count]->target, tag, 2, 3000);
        c->count++;
    }
}

/* Ends when each sender has got that much through. */
static void
crowd_stop(struct crowd *c, uint64_t messages)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->loads[i]->acked < messages)
            load_advance(c->loads[i], messages - c->loads[i]->acked, 30000);
    for (size_t i = 0; i < c->count; i++)
        load_stop(c->loads[i]);
    for (size_t i = 0; i < c->count; i++)
        proxy_stop(c->proxies[i]);
    WAIT_FOR(stats_total(c->d, "open") == 0, 5000);
    daemon_stop(c->d);
}

static bool
takes_all(const struct way *way)
{
    return way->name != NULL;
}

static bool
takes_what_acknowledges(const struct way *way)
{
    return way->acknowledges;
}

/* Nothing in these protocols shows that bits are others on arrival; a receipt's digest does. */
static bool
takes_what_has_no_checksum(const struct way *way)
{
    return way->receipts && strcmp(way->kind->proto, "cnp") != 0;
}

static void
a_message_cut_on_its_way_is_never_handed_on(void **state)
{
    struct crowd c;
    struct journal j;

    (void)state;
    crowd_start(&c, takes_what_acknowledges,
                &(struct proxy_options){.seed = 5, .cut_every = 15000, .reset = true}, &unhurried);
    crowd_stop(&c, 60);
    journal_load(c.d->data_dir, false, &j);
    for (size_t i = 0; i < c.count; i++) {
        const struct load *l = c.loads[i];

        if (c.proxies[i]->cuts < 3 || l->repeated == 0 || l->broken + l->errors + l->rejected != 0)
            fail_msg("%s: %u cuts, %u repeated: %s", l->way->name, (unsigned)c.proxies[i]->cuts,
                     (unsigned)l->repeated, l->complaint);
        assert_in_range(load_check_journal(l, &j), 0, l->repeated);
    }
    journal_free(&j);
}

static void
single_bytes_of_every_protocol_change_nothing(void **state)
{
    struct crowd c;
    struct journal j;

    (void)state;
    crowd_start(&c, takes_all, &(struct proxy_options){.seed = 6, .split = true, .delay_us = 50},
                &(struct daemon_options){.set = {"timeout=20s"}});
    crowd_stop(&c, 10 / WAIT_SCALE);
    journal_load(c.d->data_dir, false, &j);
    for (size_t i = 0; i < c.count; i++) {
        const struct load *l = c.loads[i];

        if (l->repeated + l->broken != 0 ||
            (!(l->way->kind != NULL && l->way->kind->once) && l->connects != 2))
            fail_msg("%s: %u repeated: %s", l->way->name, (unsigned)l->repeated, l->complaint);
        assert_int_equal(load_check_journal(l, &j), 0);
    }
    journal_free(&j);
}

static void
flipped_bits_without_a_checksum_harm_nobody_else(void **state)
{
    struct crowd c;
    struct proc_list before, after;
    struct journal j;
    uint64_t spoiled = 0;

    (void)state;
    crowd_start(&c, takes_what_has_no_checksum,
                &(struct proxy_options){.seed = 7, .flip_every = 8000}, &patient);
    daemon_workers(c.d, &before);
    for (size_t i = 0; i < c.count; i++)
        load_advance(c.loads[i], 60, 30000);
    daemon_workers(c.d, &after);
    assert_true(proc_list_equal(&before, &after));
    crowd_stop(&c, 0);
    journal_load(c.d->data_dir, false, &j);
    for (size_t i = 0; i < c.count; i++) {
        assert_true(c.proxies[i]->flips > 3);
        spoiled += c.loads[i]->spoiled;
        load_check_acked(c.loads[i], &j);
    }
    assert_true(spoiled > 10);
    journal_free(&j);
}

static void
files_come_through_everything_at_once(void **state)
{
    enum { SIZE = 3000000 };
    struct daemon *d = daemon_start(&patient);
    struct proxy *x =
        proxy_start(&d->listeners[0],
                    &(struct proxy_options){
                        .seed = 4, .flip_every = 400000, .cut_every = 2500000, .delay_us = 50});
    char path[HARNESS_PATH_LEN], stored[HARNESS_PATH_LEN + 64], name[32];
    char *data = malloc(SIZE), *got;
    msock *m = open_handle(x, "msp", "");
    size_t n = 0;

    (void)state;
    assert_non_null(data);
    harness_join(path, d->dir, "file");
    for (unsigned i = 0; i < 4; i++) {
        for (size_t k = 0; k < SIZE; k++)
            data[k] = (char)(k * (2654435761u + i) >> 11);
        harness_write_file(path, data, SIZE);
        snprintf(name, sizeof(name), "dir/file-%u", i);
        if (msock_send_file(m, path, name) != MSOCK_OK)
            fail_msg("%s: %s", name, msock_error(m));
        snprintf(stored, sizeof(stored), "%s/files/%s", d->data_dir, name);
        got = harness_read_file(stored, &n);
        assert_non_null(got);
        assert_int_equal(n, SIZE);
        assert_memory_equal(got, data, SIZE);
        free(got);
    }
    msock_close(m);
    proxy_stop(x);
    print_message("%llu bits flipped, %llu cuts\n", (unsigned long long)x->flips,
                  (unsigned long long)x->cuts);
    free(data);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(flipped_bits_are_noticed_and_counted_on_both_sides),
        SYSTEM_TEST(spoiled_packets_of_cnp_are_noticed_and_arrive_once_and_in_order),
        SYSTEM_TEST(cut_connections_are_made_again),
        SYSTEM_TEST(single_bytes_and_delays_change_nothing),
        SYSTEM_TEST(a_message_cut_on_its_way_is_never_handed_on),
        SYSTEM_TEST(single_bytes_of_every_protocol_change_nothing),
        SYSTEM_TEST(flipped_bits_without_a_checksum_harm_nobody_else),
        SYSTEM_TEST(files_come_through_everything_at_once),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
