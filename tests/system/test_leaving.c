/* What has begun comes to its end whoever leaves: the server, a worker, or somebody who has not
 * said a word yet; and nobody who has left is kept. */
#include "journal.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include "support/signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GONE   30 /* connections that are made and left */
#define FRAMES 1500

/* Protocols in which a peer says something before it can be told anything. */
static const struct {
    const char *url;
    const struct raw_kind *kind;
} openings[] = {
    {"tinyproto://127.0.0.1:0", &raw_tiny},
    {"cnp://127.0.0.1:0", &raw_cnp_burst},
    {"auto://127.0.0.1:0", &raw_tiny},
    {"auto://127.0.0.1:0", &raw_cnp_burst},
};

#define OPENINGS (MS_ARRAY_LEN(openings))

static const char *
with_options(const char *url, const char *options)
{
    static char text[2 * HARNESS_PATH_LEN];

    snprintf(text, sizeof(text), "%s?%s", url, options);
    return text;
}

static const char *
farewell_options(const char *idle_timeout)
{
    static char text[HARNESS_PATH_LEN + 64];

    snprintf(text, sizeof(text), "idle_timeout=%s&handler=module&path=%s", idle_timeout,
             harness_program("tests/modules/farewell.so"));
    return text;
}

static void
expect_moved(const struct daemon *d, const struct proc_list *old)
{
    struct proc_list now;

    for (size_t i = 0; i < old->count; i++)
        WAIT_FOR(!proc_alive(old->pid[i]), 20000);
    WAIT_FOR((daemon_workers(d, &now), now.count == old->count), 10000);
}

/* --- disconnected before the first word --- */

static void
who_is_to_leave_before_it_has_spoken_gets_what_was_sent_to_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPENINGS; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .workers = 1, .listen = {with_options(openings[i].url, farewell_options("1m"))}});
        struct peer_counts counts;
        struct raw r;

        raw_begin(&r, openings[i].kind, &d->listeners[0]);
        WAIT_FOR(stats_conn(d, r.peer.name, &counts, NULL), 5000);
        assert_int_equal(openings[i].kind->open(&r), 0);
        raw_expect(&r, "bye", 3);
        if (openings[i].kind == &raw_cnp_burst)
            raw_cnp_expect_error(&r, "shutdown", 0);
        raw_expect_end(&r);
        daemon_stop(d);
    }
}

static void
who_was_to_leave_and_never_speaks_is_not_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPENINGS; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .workers = 1, .listen = {with_options(openings[i].url, farewell_options("2s"))}});
        struct proc_list workers;
        struct raw r;
        int before;

        daemon_workers(d, &workers);
        before = proc_descriptors(workers.pid[0]);
        for (unsigned k = 0; k < GONE; k++) {
            raw_begin(&r, openings[i].kind, &d->listeners[0]);
            raw_close(&r);
        }
        WAIT_FOR(stats_total(d, "accepted") == GONE, 5000);
        WAIT_FOR(proc_descriptors(workers.pid[0]) <= before, 5000);
        raw_begin(&r, openings[i].kind, &d->listeners[0]);
        assert_true(peer_closed(&r.peer, 15000)); /* by idle_timeout */
        raw_close(&r);
        WAIT_FOR(proc_descriptors(workers.pid[0]) <= before, 5000);
        daemon_stop(d);
    }
}

/* --- moved before the first word --- */

static void
what_waits_for_who_has_not_spoken_moves_with_its_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPENINGS; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1,
                                                                 .handler = "broadcast",
                                                                 .listen = {openings[i].url},
                                                                 .set = {"drain_timeout=60s"}});
        struct raw silent, from, to;
        struct peer_counts counts;
        struct proc_list old;

        daemon_workers(d, &old);
        raw_begin(&silent, openings[i].kind, &d->listeners[0]);
        WAIT_FOR(stats_conn(d, silent.peer.name, &counts, NULL), 5000);
        raw_connect(&from, openings[i].kind, &d->listeners[0], RAW_WHOLE);
        raw_connect(&to, openings[i].kind, &d->listeners[0], RAW_WHOLE);
        for (unsigned k = 0; k < 3; k++) {
            char text[16];

            snprintf(text, sizeof(text), "message %u", k);
            assert_int_equal(openings[i].kind->send(&from, text, strlen(text)), 0);
            raw_expect(&to, text, strlen(text));
        }
        daemon_reload(d);
        expect_moved(d, &old);
        assert_int_equal(openings[i].kind->open(&silent), 0);
        raw_expect(&silent, "message 0", 9);
        raw_expect(&silent, "message 1", 9);
        raw_expect(&silent, "message 2", 9);
        assert_int_equal(openings[i].kind->send(&silent, "thanks", 6), 0);
        raw_expect(&to, "thanks", 6);
        raw_close(&silent);
        raw_close(&from);
        raw_close(&to);
        daemon_stop(d);
    }
}

/* --- refused before a reload --- */

static void
a_refused_message_is_refused_by_the_next_worker_too(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .listen = {
            "cnp://"
            "127.0.0.1:0?handler=exec&exec=once&command=grep%20-q%20yes%20%7C%7C%20exit%2065"}});
    struct proc_list old;
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_burst, &d->listeners[0], RAW_WHOLE);
    raw_cnp_say(&r, RAW_CNP_DATA, 1, "yes");
    raw_cnp_expect_ack(&r, 1);
    raw_cnp_say(&r, RAW_CNP_DATA, 2, "no");
    raw_cnp_expect_error(&r, "refused", 2);
    for (unsigned i = 0; i < 3; i++) {
        daemon_workers(d, &old);
        daemon_reload(d);
        expect_moved(d, &old);
        raw_cnp_say(&r, RAW_CNP_DATA, 2, "no");
        raw_cnp_expect_error(&r, "refused", 2);
        raw_cnp_say(&r, RAW_CNP_DATA, 1, "yes");
        raw_cnp_expect_ack(&r, 1);
    }
    raw_cnp_say(&r, RAW_CNP_DATA, 3, "yes");
    raw_cnp_expect_ack(&r, 3);
    raw_close(&r);
    raw_expect_counts(d, 2, 1, 0, 0);
    daemon_stop(d);
}

/* --- receipts on their way --- */

/* A sender that hears little at a time, so that most of what is said to it waits at the other end.
 * Its buffer must be small before it connects, or more is promised than it holds. */
static void
connect_hard_of_hearing(struct peer *p, const struct daemon *d)
{
    const struct target *target = &d->listeners[0];
    int size = 4096;

    memset(p, 0, sizeof(*p));
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->fd >= 0);
    assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    assert_int_equal(connect(p->fd, (const struct sockaddr *)&target->addr, target->len), 0);
}

/* Sends frames of 20 bytes, as many as go without anything being read. */
static void
send_until_nothing_goes(struct peer *p)
{
    struct pollfd event = {.fd = p->fd, .events = POLLOUT};
    uint8_t frames[100][24];
    size_t at = 0;

    memset(frames, 'y', sizeof(frames));
    for (size_t i = 0; i < 100; i++)
        raw_frame_head(frames[i], 20);
    while (poll(&event, 1, 500 * WAIT_SCALE) > 0) {
        ssize_t n =
            send(p->fd, (uint8_t *)frames + at, sizeof(frames) - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            at = (at + (size_t)n) % sizeof(frames);
        else
            assert_int_equal(errno, EAGAIN);
    }
}

/* Reads to the end of the stream, which must not be a reset, and counts the frames. */
static size_t
count_frames(struct peer *p)
{
    char *bytes = malloc(64u << 20);
    size_t len = 0, count = 0, at = 0;
    ssize_t n;

    assert_non_null(bytes);
    while ((n = peer_read_some(p, bytes + len, 4096, 20000)) > 0)
        len += (size_t)n;
    for (uint32_t size; at + 4 <= len; at += 4 + size, count++) {
        const uint8_t *head = (uint8_t *)bytes + at;

        size = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
        if (size > len - at - 4)
            break;
    }
    free(bytes);
    if (n < 0)
        fail_msg("the connection broke off behind %zu receipts", count);
    assert_int_equal(at, len);
    return count;
}

static void
a_server_that_leaves_lets_its_last_receipts_arrive(void **state)
{
    static const char *const urls[] = {"frame://127.0.0.1:0", "auto://127.0.0.1:0"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .workers = 1, .listen = {urls[i]}, .set = {"sync=no", "drain_timeout=30s"}});
        struct peer p;
        size_t receipts;

        connect_hard_of_hearing(&p, d);
        send_until_nothing_goes(&p);
        assert_int_equal(signal_send(d->run.pid, SIGQUIT), 0);
        receipts = count_frames(&p);
        peer_close(&p);
        daemon_finish(d, 40000);
        assert_int_equal(receipts, journal_count(d->data_dir));
    }
}

static void
a_frame_that_ends_the_connection_destroys_no_receipt_of_those_before_it(void **state)
{
    static char junk[100000];
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .listen = {"frame://127.0.0.1:0?max_message_size=1M"}, .set = {"sync=no"}});
    static uint8_t frames[FRAMES][24];
    uint8_t head[4];
    struct peer p;

    (void)state;
    memset(frames, 'y', sizeof(frames));
    for (size_t i = 0; i < FRAMES; i++)
        raw_frame_head(frames[i], 20);
    raw_frame_head(head, 1u << 30);
    connect_hard_of_hearing(&p, d);
    assert_int_equal(peer_write(&p, frames, sizeof(frames)), 0);
    assert_int_equal(peer_write(&p, head, sizeof(head)), 0);
    assert_int_equal(peer_write(&p, junk, sizeof(junk)), 0);
    WAIT_FOR(stats_total(d, "err") == 1, 10000);
    assert_int_equal(count_frames(&p), FRAMES);
    peer_close(&p);
    daemon_stop(d);
    assert_int_equal(journal_count(d->data_dir), FRAMES);
}

/* --- a worker that is killed --- */

static void
the_children_of_a_killed_worker_do_not_outlive_it(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1,
        .listen = {"frame://127.0.0.1:0?handler=exec&exec=once&command=exec%20sleep%201000",
                   "frame://127.0.0.1:0?handler=exec&exec=pool&command=exec%20sleep%201000"},
        .errors_expected = true});
    struct proc_list old, now, children;
    struct raw r[2];

    (void)state;
    daemon_workers(d, &old);
    for (unsigned i = 0; i < 2; i++) {
        raw_connect(&r[i], &raw_frame_length32, &d->listeners[i], RAW_WHOLE);
        assert_int_equal(raw_frame_length32.send(&r[i], "x", 1), 0);
    }
    /* A helper of each listener and its child. */
    WAIT_FOR((proc_children(old.pid[0], &children), children.count == 4), 5000);
    assert_int_equal(signal_send(old.pid[0], SIGKILL), 0);
    WAIT_FOR((daemon_workers(d, &now), now.count == 1 && now.pid[0] != old.pid[0]), 10000);
    for (size_t i = 0; i < children.count; i++)
        WAIT_FOR(!proc_alive(children.pid[i]), 5000);
    for (unsigned i = 0; i < 2; i++)
        raw_close(&r[i]);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(who_is_to_leave_before_it_has_spoken_gets_what_was_sent_to_it),
        SYSTEM_TEST(who_was_to_leave_and_never_speaks_is_not_kept),
        SYSTEM_TEST(what_waits_for_who_has_not_spoken_moves_with_its_connection),
        SYSTEM_TEST(a_refused_message_is_refused_by_the_next_worker_too),
        SYSTEM_TEST(a_server_that_leaves_lets_its_last_receipts_arrive),
        SYSTEM_TEST(a_frame_that_ends_the_connection_destroys_no_receipt_of_those_before_it),
        SYSTEM_TEST(the_children_of_a_killed_worker_do_not_outlive_it),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
