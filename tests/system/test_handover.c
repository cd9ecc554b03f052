/* How a connection moves to another worker on a reload, seen from its two ends and by msockctl. */
#include "journal.h"
#include "msock.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "schemes.h"
#include "stats.h"
#include "target.h"
#include "ways.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A connection of each way that stays. */
struct stayers {
    struct daemon *d;
    struct raw raw[WAYS_MAX];
    const struct way *way[WAYS_MAX];
    size_t count;
    uint64_t sent;
};

static void
connect_all(struct stayers *s)
{
    struct daemon_options options = {.set = {"timeout=20s", "drain_timeout=100s"}};

    ways_listen(&options);
    *s = (struct stayers){.d = daemon_start(&options)};
    for (size_t i = 0; i < way_count; i++) {
        if (!ways[i].stays || ways[i].kind == NULL)
            continue; /* msp: test_reload.c */
        raw_connect(&s->raw[s->count], ways[i].kind, &s->d->listeners[i], RAW_WHOLE);
        s->way[s->count++] = &ways[i];
    }
}

static void
expect_receipt(struct raw *r, const struct way *way)
{
    size_t n = 0;
    char *receipt = way->receipts ? r->kind->receive(r, &n) : NULL;

    if (way->receipts && (receipt == NULL || receipt[0] != '{'))
        fail_msg("%s: no receipt", way->name);
    free(receipt);
}

static void
send_one(struct stayers *s, size_t i)
{
    char body[RAW_FRAME_FIXED + 1];

    memset(body, 'b', sizeof(body));
    if (s->way[i]->kind->send(&s->raw[i], body, s->way[i]->fixed != 0 ? s->way[i]->fixed : 20) < 0)
        fail_msg("%s: a message was not taken", s->way[i]->name);
    expect_receipt(&s->raw[i], s->way[i]);
    s->sent++;
}

static void
send_all(struct stayers *s)
{
    for (size_t i = 0; i < s->count; i++)
        send_one(s, i);
}

static bool
all_are_new(const struct daemon *d, const struct proc_list *before)
{
    struct proc_list now;

    daemon_workers(d, &now);
    return now.count == 2 && !proc_list_has(before, now.pid[0]) &&
           !proc_list_has(before, now.pid[1]);
}

/* Reloads, and waits until the old workers have left. What they gave away may still be on its way
 * to the new ones. */
static void
reload_through(struct daemon *d)
{
    struct proc_list before;

    daemon_workers(d, &before);
    daemon_reload(d);
    WAIT_FOR(all_are_new(d, &before), 10000);
}

/* Everything that was sent is in the journal once, and nobody had to connect again. */
static void
finish(struct stayers *s)
{
    WAIT_FOR(stats_total(s->d, "messages") == s->sent, 5000);
    assert_int_equal(stats_total(s->d, "accepted"), s->count);
    for (size_t i = 0; i < s->count; i++)
        raw_close(&s->raw[i]);
    daemon_stop(s->d);
    assert_int_equal(journal_count(s->d->data_dir), s->sent);
}

static void
check_shown(const struct stayers *s)
{
    WAIT_FOR(stats_total(s->d, "open") == s->count, 5000);
    for (size_t i = 0; i < s->count; i++) {
        struct peer_counts counts;
        char state[32];

        if (!stats_conn(s->d, s->raw[i].peer.name, &counts, state))
            fail_msg("%s: msockctl conns does not show %s", s->way[i]->name, s->raw[i].peer.name);
        assert_string_equal(state, "idle");
    }
}

static void
a_connection_between_messages_moves_and_is_shown_as_before(void **state)
{
    struct stayers s;

    (void)state;
    connect_all(&s);
    send_all(&s);
    for (unsigned i = 1; i <= 3; i++) {
        reload_through(s.d);
        WAIT_FOR(stats_total(s.d, "adopted") == i * s.count, 5000);
        check_shown(&s);
        send_all(&s);
    }
    finish(&s);
}

static void
a_connection_that_has_said_no_word_of_a_message_moves_too(void **state)
{
    struct stayers s;

    (void)state;
    connect_all(&s);
    WAIT_FOR(stats_total(s.d, "accepted") == s.count, 5000);
    reload_through(s.d);
    check_shown(&s);
    send_all(&s);
    finish(&s);
}

/* The old workers are held while the messages arrive and the new ones start. */
static void
what_lies_unread_in_the_socket_is_taken_once(void **state)
{
    struct stayers s;
    struct proc_list old;
    uint8_t head[4], packet[RAW_CNP_HEADER_MAX + 5];

    (void)state;
    connect_all(&s);
    send_all(&s);
    daemon_workers(s.d, &old);
    proc_stop_all(&old);
    for (size_t i = 0; i < s.count; i++) {
        struct raw *r = &s.raw[i];

        raw_frame_head(head, 5);
        if (r->kind == &raw_frame_delimiter)
            raw_write(r, "early\n", 6);
        else if (r->kind == &raw_frame_length32 || r->kind == &raw_tiny)
            raw_write(r, head, 4);
        else if (r->kind == &raw_cnp_burst || r->kind == &raw_cnp_step)
            raw_write(r, packet,
                      raw_cnp_encode(r, packet, RAW_CNP_DATA, r->sequence++, "early", 5));
    }
    daemon_reload(s.d);
    proc_go_on_all(&old);
    for (size_t i = 0; i < s.count; i++) {
        struct raw *r = &s.raw[i];

        if (r->kind == &raw_tiny)
            assert_int_equal(raw_tiny_await_ok(r), 0);
        if (r->kind == &raw_frame_length32 || r->kind == &raw_tiny)
            raw_write(r, "early", 5);
        if (r->kind == &raw_cnp_burst || r->kind == &raw_cnp_step)
            raw_cnp_expect_ack(r, (uint16_t)(r->sequence - 1));
        if (r->kind == &raw_frame_fixed || r->kind == &raw_cnp_old || r->kind == &raw_cnp_second)
            continue;
        expect_receipt(r, s.way[i]);
        s.sent++;
    }
    WAIT_FOR(all_are_new(s.d, &old), 10000);
    send_all(&s);
    finish(&s);
}

/* --- inside a message --- */

/* The first bytes of a message of 5 bytes, and the rest of it. */
struct halves {
    uint8_t first[32], rest[32];
    size_t first_len, rest_len;
};

static void
halve(struct halves *h, const void *bytes, size_t n, size_t at)
{
    memcpy(h->first, bytes, at);
    memcpy(h->rest, (const uint8_t *)bytes + at, n - at);
    h->first_len = at;
    h->rest_len = n - at;
}

/* False for a way that is like another one here. */
static bool
make_halves(struct raw *r, const struct way *way, struct halves *h)
{
    uint8_t packet[RAW_CNP_HEADER_MAX + 5], frame[9] = {0, 0, 0, 5, 'h', 'a', 'l', 'v', 'e'};

    if (r->kind == &raw_frame_delimiter) {
        halve(h, "halve\n", 6, 3);
    } else if (r->kind == &raw_frame_length32) {
        halve(h, frame, 9, strncmp(way->name, "auto", 4) == 0 ? 2 : 6);
    } else if (r->kind == &raw_tiny) {
        halve(h, "halve", 5, 3);
    } else if (r->kind == &raw_cnp_burst || r->kind == &raw_cnp_step) {
        size_t n = raw_cnp_encode(r, packet, RAW_CNP_DATA, r->sequence++, "halve", 5);

        halve(h, packet, n, r->kind == &raw_cnp_burst ? 13 : 5);
    } else {
        return false;
    }
    return true;
}

static void
a_message_under_way_is_finished_where_it_began_and_then_the_connection_moves(void **state)
{
    struct stayers s;
    struct halves halves[WAYS_MAX];
    bool is_halved[WAYS_MAX] = {false};
    struct proc_list old, now;
    uint64_t bytes = 0, before;

    (void)state;
    connect_all(&s);
    for (size_t i = 0; i < s.count; i++) /* the cnp handshakes; auto is left undecided */
        if (s.way[i]->kind->proto[0] == 'c')
            send_one(&s, i);
    WAIT_FOR(stats_total(s.d, "messages") == s.sent, 5000);
    before = stats_total(s.d, "bytes_in");
    for (size_t i = 0; i < s.count; i++) {
        struct raw *r = &s.raw[i];

        is_halved[i] = make_halves(r, s.way[i], &halves[i]);
        if (!is_halved[i])
            continue;
        if (r->kind == &raw_tiny) {
            assert_int_equal(raw_tiny_ask(r, 5), 0);
            assert_int_equal(raw_tiny_await_ok(r), 0);
            bytes += 4;
        }
        raw_write(r, halves[i].first, halves[i].first_len);
        bytes += halves[i].first_len;
    }
    WAIT_FOR(stats_total(s.d, "bytes_in") >= before + bytes, 5000);
    daemon_workers(s.d, &old);
    daemon_reload(s.d);
    daemon_workers(s.d, &now);
    assert_true(proc_list_has(&now, old.pid[0]) || proc_list_has(&now, old.pid[1]));
    for (size_t i = 0; i < s.count; i++) {
        struct raw *r = &s.raw[i];

        if (!is_halved[i])
            continue;
        raw_write(r, halves[i].rest, halves[i].rest_len);
        if (s.way[i]->kind->proto[0] == 'c')
            raw_cnp_expect_ack(r, (uint16_t)(r->sequence - 1));
        expect_receipt(r, s.way[i]);
        s.sent++;
    }
    WAIT_FOR(all_are_new(s.d, &old), 10000);
    WAIT_FOR(stats_total(s.d, "adopted") == s.count, 5000);
    send_all(&s);
    finish(&s);
}

/* --- those that cannot move --- */

static void
connections_of_a_removed_listener_are_closed_and_the_others_stay(void **state)
{
    char text[600];
    struct daemon *d = daemon_start(&(struct daemon_options){
        .config = "workers = 2\nlisten = {\"auto://127.0.0.1:0\", \"auto://localhost:0\"}\n"});
    struct raw gone[RAW_FOUND], stays[RAW_FOUND];

    (void)state;
    for (unsigned i = 0; i < RAW_FOUND; i++) {
        raw_connect(&gone[i], raw_kinds[i], &d->listeners[0], RAW_WHOLE);
        raw_connect(&stays[i], raw_kinds[i], &d->listeners[1], RAW_WHOLE);
        assert_int_equal(raw_kinds[i]->send(&gone[i], "first", 5), 0);
    }
    WAIT_FOR(stats_total(d, "messages") == RAW_FOUND, 5000);
    snprintf(text, sizeof(text), "workers = 2\nlisten = {\"auto://localhost:0\"}\n");
    daemon_configure(d, text);
    reload_through(d);
    /* By the worker that had it, which says so: nobody is given a connection that he has no place
     * for. */
    for (unsigned i = 0; i < RAW_FOUND; i++) {
        if (strcmp(raw_kinds[i]->proto, "cnp") == 0)
            raw_cnp_expect_error(&gone[i], "shutdown", 0);
        assert_true(peer_closed(&gone[i].peer, 5000));
        assert_int_equal(raw_kinds[i]->send(&stays[i], "second", 6), 0);
        raw_close(&gone[i]);
    }
    WAIT_FOR(stats_total(d, "messages") == 2 * RAW_FOUND, 5000);
    for (unsigned i = 0; i < RAW_FOUND; i++)
        raw_close(&stays[i]);
    daemon_stop(d);
}

static void
at_a_graceful_stop_all_connections_are_closed(void **state)
{
    struct stayers s;
    struct run_result result;
    struct journal j;

    (void)state;
    connect_all(&s);
    send_all(&s);
    reload_through(s.d); /* also those that have moved */
    WAIT_FOR(stats_total(s.d, "messages") == s.sent, 5000);
    result = daemon_control(s.d, "quit", NULL);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    for (size_t i = 0; i < s.count; i++) {
        assert_true(peer_closed(&s.raw[i].peer, 5000));
        raw_close(&s.raw[i]);
    }
    daemon_finish(s.d, 10000);
    journal_load(s.d->data_dir, false, &j);
    assert_int_equal(j.count, s.sent);
    journal_free(&j);
}

/* --- other sockets, other listeners --- */

static void
connections_of_unix_sockets_move(void **state)
{
    struct daemon *d;
    struct raw r[RAW_FOUND];
    char dir[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 32];

    (void)state;
    harness_directory(dir);
    snprintf(url, sizeof(url), "auto://%s/s", dir);
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    for (unsigned i = 0; i < RAW_FOUND; i++) {
        raw_connect(&r[i], raw_kinds[i], &d->listeners[0], RAW_WHOLE);
        assert_int_equal(raw_kinds[i]->send(&r[i], "before", 6), 0);
    }
    WAIT_FOR(stats_total(d, "messages") == RAW_FOUND, 5000);
    reload_through(d);
    WAIT_FOR(stats_total(d, "adopted") == RAW_FOUND, 5000);
    for (unsigned i = 0; i < RAW_FOUND; i++)
        assert_int_equal(raw_kinds[i]->send(&r[i], "after", 5), 0);
    WAIT_FOR(stats_total(d, "messages") == 2 * RAW_FOUND, 5000);
    for (unsigned i = 0; i < RAW_FOUND; i++)
        raw_close(&r[i]);
    daemon_stop(d);
}

static void
connections_whose_messages_are_sealed_move(void **state)
{
    const char *scheme;
    char key[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 64];
    struct msock_counts counts;
    struct daemon *d;
    struct journal j;
    size_t count = 0;
    msock *m[WAYS_MAX];

    (void)state;
    harness_key(key);
    snprintf(url, sizeof(url), "auto://127.0.0.1:0?reply=yes&key_file=%s", key);
    d = daemon_start(&(struct daemon_options){.listen = {url}});
    for (; (scheme = scheme_at(count, true)) != NULL; count++) {
        snprintf(url, sizeof(url), "%s://127.0.0.1:%u?key_file=%s", scheme,
                 target_port(&d->listeners[0]), key);
        m[count] = msock_open(url);
        assert_non_null(m[count]);
        msock_set_want_reply(m[count], 1);
    }
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++)
            if (msock_send(m[i], "sealed", 6) != MSOCK_OK)
                fail_msg("%s: %s", scheme_at(i, true), msock_error(m[i]));
        reload_through(d);
    }
    for (size_t i = 0; i < count; i++) {
        msock_get_counts(m[i], &counts);
        assert_int_equal(counts.connects, 1);
        msock_close(m[i]);
    }
    daemon_stop(d);
    journal_load(d->data_dir, false, &j);
    assert_int_equal(j.count, 3 * count);
    for (size_t i = 0; i < j.count; i++)
        assert_string_equal(j.entries[i].body, "sealed");
    journal_free(&j);
}

/* The new configuration would read the same bytes as something else. */
static void
a_connection_does_not_move_to_another_framing(void **state)
{
    static const char *const framings[] = {"delimiter", "fixed:30", "length32&reply=yes",
                                           "length32&handler=echo"};
    char text[256];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(framings); i++) {
        struct daemon *d = daemon_start(&(struct daemon_options){
            .config = "workers = 2\nlisten = {\"frame://127.0.0.1:0?framing=length32\"}\n"});
        struct journal j;
        struct peer p;
        char byte;

        peer_connect(&p, &d->listeners[0]);
        assert_int_equal(peer_write(&p, "\0\0\0\3one", 7), 0);
        WAIT_FOR(stats_total(d, "messages") == 1, 5000);
        snprintf(text, sizeof(text), "workers = 2\nlisten = {\"frame://127.0.0.1:0?framing=%s\"}\n",
                 framings[i]);
        daemon_configure(d, text);
        reload_through(d);
        while (peer_read_some(&p, &byte, 1, 10000) > 0)
            ; /* receipts, and then the end */
        assert_true(peer_closed(&p, 10000));
        assert_int_equal(stats_total(d, "adopted"), 0);
        peer_close(&p);
        daemon_stop(d);
        journal_load(d->data_dir, false, &j);
        assert_int_equal(j.count, 1);
        journal_free(&j);
    }
}

/* On its way to workers that never take it, while the next reload takes its listener away. */
static void
a_connection_whose_listener_goes_meanwhile_is_told_and_counted(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){
        .config = "workers = 1\nlisten = {\"cnp://127.0.0.1:0\", \"cnp://localhost:0\"}\n"});
    struct proc_list old, both, next = {0};
    struct raw r;

    (void)state;
    raw_connect(&r, &raw_cnp_burst, &d->listeners[0], RAW_WHOLE);
    WAIT_FOR(stats_total(d, "accepted") == 1, 5000);
    daemon_workers(d, &old);
    proc_stop_all(&old);
    daemon_reload(d);
    daemon_workers(d, &both);
    for (size_t i = 0; i < both.count; i++)
        if (!proc_list_has(&old, both.pid[i]))
            next.pid[next.count++] = both.pid[i];
    proc_stop_all(&next);
    proc_go_on_all(&old);
    WAIT_FOR(!proc_alive(old.pid[0]), 10000);
    daemon_configure(d, "workers = 1\nlisten = {\"cnp://localhost:0\"}\n");
    daemon_reload(d);
    raw_cnp_expect_error(&r, "shutdown", 0);
    proc_go_on_all(&next);
    WAIT_FOR(stats_total(d, "refused") == 1, 5000);
    assert_true(daemon_logged(d, "that was to move here has ended: its listener is gone"));
    assert_int_equal(stats_total(d, "adopted"), 0);
    raw_close(&r);
    daemon_stop(d);
}

static unsigned
count_closed(struct peer *peers, unsigned n)
{
    unsigned closed = 0;

    for (unsigned i = 0; i < n; i++)
        closed += peer_closed(&peers[i], 0);
    return closed;
}

/* 240 idle connections of four workers come to one that has room for fewer. */
static void
connections_without_room_are_told_and_counted(void **state)
{
    enum { PEERS = 240 };
    static struct peer peers[PEERS];
    struct daemon *d;
    unsigned ended;

    (void)state;
    d = daemon_start(&(struct daemon_options){
        .config = "workers = 4\nlisten = {\"frame://127.0.0.1:0\"}\n", .files = 140});
    for (unsigned i = 0; i < PEERS; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    daemon_configure(d, "workers = 1\nlisten = {\"frame://127.0.0.1:0\"}\n");
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 20000); /* the old ones have given all away */
    WAIT_FOR(stats_total(d, "open") + stats_total(d, "refused") >= PEERS, 30000);
    WAIT_FOR((ended = count_closed(peers, PEERS)) == stats_total(d, "refused"), 5000);
    assert_in_range(ended, 51, PEERS - 51);
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
    assert_true(daemon_logged(d, "that was to move here has ended: there is no room"));
    d->options.errors_expected = true;
    daemon_stop(d);
}

/* Idle ones alone would fill all of it, and nobody would be read any more. */
static void
connections_move_to_half_of_the_memory_at_most(void **state)
{
    enum { PEERS = 2000 };
    static struct peer peers[PEERS];
    static const char config[] =
        "workers = 1\nlisten = {\"frame://127.0.0.1:0?handler=echo\"}\nmax_connections = 4000\n";
    char less[sizeof(config) + 32], got[5];
    struct daemon *d = daemon_start(&(struct daemon_options){.config = config});
    unsigned open = 0;

    (void)state;
    for (unsigned i = 0; i < PEERS; i++)
        peer_connect(&peers[i], &d->listeners[0]);
    WAIT_FOR(stats_total(d, "open") == PEERS, 20000);
    snprintf(less, sizeof(less), "%sworker_memory_max = 1M\n", config);
    daemon_configure(d, less);
    daemon_reload(d);
    WAIT_FOR(daemon_has_workers(d, 1), 60000); /* the old one has given all away */
    WAIT_FOR(stats_total(d, "open") + stats_total(d, "refused") == PEERS, 60000);
    for (unsigned i = 0; i < PEERS; i++) {
        if (!peer_closed(&peers[i], 0)) {
            open++;
            assert_int_equal(peer_write(&peers[i], "\0\0\0\1x", 5), 0);
            assert_int_equal(peer_read(&peers[i], got, 5), 0);
        }
        peer_close(&peers[i]);
    }
    assert_in_range(open, 1, PEERS - 1);
    d->options.errors_expected = true;
    daemon_stop(d);
}

/* The worker's end, or the other one, of the socket through which connections move. */
static void
shut_down_handover(pid_t worker)
{
    int pid_fd = (int)syscall(SYS_pidfd_open, worker, 0), type;
    socklen_t len = sizeof(type);
    unsigned found = 0;

    assert_true(pid_fd >= 0);
    for (int i = 0; i < 64; i++) {
        int fd = (int)syscall(SYS_pidfd_getfd, pid_fd, i, 0);

        if (fd < 0 && errno != EBADF)
            skip(); /* this kernel, or this container, does not let us */
        if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
            type == SOCK_SEQPACKET && found++ == 0)
            assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
        if (fd >= 0)
            close(fd);
    }
    close(pid_fd);
    assert_true(found > 0);
}

/* One worker can end that socket for all. */
static void
a_socket_that_a_worker_shuts_down_ends_no_worker_and_a_reload_mends_it(void **state)
{
    static const char line[] = "the socket through which connections move was shut down";
    struct daemon *d = daemon_start(&(struct daemon_options){
        .workers = 2, .listen = {"frame://127.0.0.1:0"}, .errors_expected = true});
    struct proc_list workers;
    struct peer p;
    unsigned said = 0;
    char *log;

    (void)state;
    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") == 1, 5000);
    daemon_workers(d, &workers);
    shut_down_handover(workers.pid[0]);
    WAIT_FOR(daemon_logged(d, line), 5000);
    reload_through(d);
    assert_true(peer_closed(&p, 10000));
    peer_close(&p);
    assert_int_equal(stats_total(d, "adopted"), 0);
    log = daemon_log(d);
    for (const char *at = log; (at = strstr(at, line)) != NULL; at++)
        said++;
    free(log);
    assert_true(said <= 2); /* once in each worker */

    peer_connect(&p, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") == 2, 5000);
    reload_through(d);
    WAIT_FOR(stats_total(d, "adopted") == 1, 5000);
    peer_close(&p);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_connection_between_messages_moves_and_is_shown_as_before),
        SYSTEM_TEST(a_connection_that_has_said_no_word_of_a_message_moves_too),
        SYSTEM_TEST(what_lies_unread_in_the_socket_is_taken_once),
        SYSTEM_TEST(a_message_under_way_is_finished_where_it_began_and_then_the_connection_moves),
        SYSTEM_TEST(connections_of_a_removed_listener_are_closed_and_the_others_stay),
        SYSTEM_TEST(at_a_graceful_stop_all_connections_are_closed),
        SYSTEM_TEST(connections_of_unix_sockets_move),
        SYSTEM_TEST(connections_whose_messages_are_sealed_move),
        SYSTEM_TEST(a_connection_does_not_move_to_another_framing),
        SYSTEM_TEST(a_connection_whose_listener_goes_meanwhile_is_told_and_counted),
        SYSTEM_TEST(connections_without_room_are_told_and_counted),
        SYSTEM_TEST(connections_move_to_half_of_the_memory_at_most),
        SYSTEM_TEST(a_socket_that_a_worker_shuts_down_ends_no_worker_and_a_reload_mends_it),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
