/* libmsock through a bad network: every body is right in the end, and every NACK is counted on both
 * sides. */
#include "journal.h"
#include "msock.h"
#include "proxy.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 30000

static char body[BODY_MAX];

/* The server gives up before the client does, so that no answer is left unread. */
static const struct daemon_options patient = {
    .workers = 2, .set = {"timeout=150ms", "packet_size_max=4K", "on_conflict=replace"}};

static size_t
make_body(unsigned number)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15ull;
    size_t n = number % 4 == 0 ? x % 200 : x % BODY_MAX;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        body[i] = (char)(x >> 5);
    }
    return n;
}

static msock *
open_handle(const struct proxy *x)
{
    msock *m = msock_open(x->target.url);

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
        size_t n = make_body(i);

        snprintf(id, sizeof(id), "%s-%u", tag, i);
        assert_int_equal(msock_set_id(m, id, strlen(id)), MSOCK_OK);
        if (msock_send(m, body, n) != MSOCK_OK)
            fail_msg("message %u: %s", i, msock_error(m));
    }
}

/* Each message is there, and however often it is, always with its own body. */
static void
check_messages(const struct daemon *d, unsigned count, const char *tag)
{
    struct journal j;
    char id[32];

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    for (unsigned i = 0; i < count; i++) {
        size_t n = make_body(i), found = 0;

        snprintf(id, sizeof(id), "%s-%u", tag, i);
        for (size_t k = 0; k < j.count; k++) {
            if (strcmp(j.entries[k].key, id) != 0)
                continue;
            found++;
            if (j.entries[k].body_len != n || memcmp(j.entries[k].body, body, n) != 0)
                fail_msg("message %s has another body", id);
        }
        if (found == 0)
            fail_msg("message %s is not there", id);
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
    msock *m = open_handle(x);

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

static void
cut_connections_are_made_again(void **state)
{
    struct daemon *d = daemon_start(&patient);
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 2, .cut_every = 40000});
    struct msock_counts counts;
    msock *m = open_handle(x);

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
    msock *m = open_handle(x);

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
    msock *m = open_handle(x);
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
        SYSTEM_TEST(cut_connections_are_made_again),
        SYSTEM_TEST(single_bytes_and_delays_change_nothing),
        SYSTEM_TEST(files_come_through_everything_at_once),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
