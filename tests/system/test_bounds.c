/* What many peers together may take of a worker: connections one too many, and
 * replies that nobody reads. */
#include "raw_cnp.h"
#include "raw_frame.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SILENT 600        /* more than a worker keeps waiting to be told that they are too many */
#define UNREAD 8          /* peers that do not read */
#define SMALL  4096u      /* bytes of each message that they send */
#define LARGE  (1u << 20) /* bytes of all of them */
#define READ   (8 * LARGE)
/* Bytes of echoes that wait in the worker, when the kernel has its own. It stops reading with four
 * times as many, of which the kernel may take more by and by. */
#define READY (1u << 16)

static struct peer silent[SILENT];

static void
silent_connections_over_the_limit_take_nothing_from_those_that_are_served(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.workers = 1,
                                                             .handler = "echo",
                                                             .listen = {"auto://127.0.0.1:0"},
                                                             .set = {"max_connections=1"}});
    size_t n;
    struct raw served;
    char *reply;

    (void)state;
    raw_connect(&served, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(served.kind->send(&served, "before", 6), 0);
    free(served.kind->receive(&served, &n));
    for (unsigned i = 0; i < SILENT; i++)
        peer_connect(&silent[i], &d->listeners[0]);
    for (unsigned i = 0; i < SILENT; i++) /* idle_timeout is a minute */
        assert_true(peer_closed(&silent[i], 20000));
    for (unsigned i = 0; i < SILENT; i++)
        peer_close(&silent[i]);
    assert_int_equal(stats_total(d, "refused"), SILENT);
    assert_int_equal(served.kind->send(&served, "after", 5), 0);
    reply = served.kind->receive(&served, &n);
    assert_non_null(reply);
    assert_int_equal(n, 5);
    free(reply);
    raw_close(&served);
    daemon_stop(d);
}

static void
peers_that_read_nothing_are_closed_when_they_hold_too_much_together(void **state)
{
    char url[HARNESS_PATH_LEN + 40];
    struct daemon *d = daemon_create(&(struct daemon_options){
        .workers = 1, .handler = "echo", .listen = {url}, .set = {"worker_memory_max=1M"}});
    static uint8_t wire[LARGE]; /* small messages, whose echoes are not worth a file */
    struct raw unread[UNREAD], reader;
    char *reply;
    size_t n;

    (void)state;
    for (size_t at = 0; at < LARGE; at += SMALL)
        raw_frame_head(wire + at, SMALL - 4);
    /* The queues of Unix sockets are short. */
    snprintf(url, sizeof(url), "frame://%s/s", d->dir);
    daemon_launch(d);
    for (unsigned i = 0; i < UNREAD; i++) {
        raw_connect(&unread[i], &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
        (void)send(unread[i].peer.fd, wire, LARGE, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    for (unsigned i = 0; i < UNREAD; i++) /* as far as it is taken */
        WAIT_FOR(send(unread[i].peer.fd, wire, SMALL, MSG_DONTWAIT | MSG_NOSIGNAL) < 0, 20000);
    WAIT_FOR(stats_total(d, "err") >= 1, 20000); /* a minute is what one alone would have */
    raw_connect(&reader, &raw_frame_length32, &d->listeners[0], RAW_WHOLE);
    assert_int_equal(reader.kind->send(&reader, "small", 5), 0);
    reply = reader.kind->receive(&reader, &n);
    assert_non_null(reply);
    assert_int_equal(n, 5);
    free(reply);
    for (unsigned i = 0; i < UNREAD; i++)
        raw_close(&unread[i]);
    raw_close(&reader);
    daemon_stop(d);
}

/* As much of the small messages as is taken; at: where it stopped. Always true. */
static bool
send_some(const struct peer *p, const uint8_t wire[LARGE], size_t *at)
{
    ssize_t n = send(p->fd, wire + *at, LARGE - *at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        *at = (*at + (size_t)n) % LARGE;
    return true;
}

/* Bytes on their way to a peer that has taken so many. */
static int64_t
kernel_keeps(const struct daemon *d, const struct peer *p, size_t received)
{
    int64_t sent = (int64_t)stats_total(d, "bytes_out");
    int waiting = 0;

    assert_int_equal(ioctl(p->fd, FIONREAD, &waiting), 0);
    return sent - (int64_t)received - waiting;
}

/* By then the kernel has learned to keep MiBs for it. */
static void
a_peer_that_has_read_much_leaves_little_in_the_kernel(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "echo", .listen = {"frame://127.0.0.1:0"}});
    static uint8_t wire[LARGE], got[LARGE];
    size_t at = 0, received = 0;
    struct peer p;

    (void)state;
    for (size_t i = 0; i < LARGE; i += SMALL)
        raw_frame_head(wire + i, SMALL - 4);
    peer_connect(&p, &d->listeners[0]);
    while (received < READ) {
        ssize_t n = send_some(&p, wire, &at) ? peer_read_some(&p, got, sizeof(got), 20000) : 0;

        assert_true(n > 0);
        received += (size_t)n;
    }
    WAIT_FOR(send_some(&p, wire, &at) && stats_total(d, "memory") > READY, 20000);
    WAIT_FOR(kernel_keeps(d, &p, received) < LARGE, 20000);
    peer_close(&p);
    daemon_stop(d);
}

/* Of cnp, without a payload: eleven bytes and its answer. */
static void
keepalives_without_end_take_many_turns(void **state)
{
    static const uint8_t keepalive[] = {0, 0, 0, 0, 4, 0, 0, 0xd4, 0x1d, 0x8c, 0xd9};
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 1, .handler = "discard", .listen = {"cnp://127.0.0.1:0"}});
    const size_t size = sizeof(keepalive), count = 600000;
    static uint8_t wire[600000 * sizeof(keepalive)], got[LARGE];
    size_t sent = 0, received = 0;
    uint64_t turns;
    struct raw r;

    (void)state;
    for (size_t i = 0; i < count; i++)
        memcpy(wire + i * size, keepalive, size);
    raw_connect(&r, &raw_cnp_old, &d->listeners[0], RAW_WHOLE);
    turns = stats_total(d, "turns");
    while (received < count * (size + 3)) {
        ssize_t n = send(r.peer.fd, wire + sent, sizeof(wire) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        n = peer_read_some(&r.peer, got, sizeof(got), 20000);
        assert_true(n > 0);
        received += (size_t)n;
    }
    assert_true(stats_total(d, "turns") - turns > count / 11000);
    raw_close(&r);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(silent_connections_over_the_limit_take_nothing_from_those_that_are_served),
        SYSTEM_TEST(peers_that_read_nothing_are_closed_when_they_hold_too_much_together),
        SYSTEM_TEST(a_peer_that_has_read_much_leaves_little_in_the_kernel),
        SYSTEM_TEST(keepalives_without_end_take_many_turns),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
