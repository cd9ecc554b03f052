/* What peers can make one worker hold: within worker_memory_max and 32 MiB, whatever they do, and
 * good senders are served all the same. LEDGER_FULL=1, as `make soak` has it, takes the sizes that
 * were seen to cost a worker a GiB and more where these take long. */
#include "faults.h"
#include "nats_case.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB          ((size_t)1 << 20)
#define MAX          (64 * MIB) /* worker_memory_max */
#define SLACK        (32 * MIB)
#define PEERS        2000
#define PATIENT      60000
#define TINY_PEERS   400
#define UNREAD_PEERS 300
#define MANY         2000       /* bytes of one of many messages: it is copied for each member */
#define FULL_SECONDS 1700       /* for all tests */
#define REPLY        (16 * MIB) /* the largest */

static struct peer peers[PEERS];

static unsigned
full_or(unsigned full, unsigned usual)
{
    return getenv("LEDGER_FULL") != NULL ? full : usual;
}

/* A daemon with one worker. The first listener is a Unix socket, whose queues are short; the second
 * one, for expect_good, is msp's unless the options say so. */
static struct daemon *
begin(struct daemon_options *options, const char *proto, const char *more)
{
    static char url[4 * HARNESS_PATH_LEN];
    struct daemon *d;

    options->workers = 1;
    options->listen[0] = url;
    if (options->listen[1] == NULL)
        options->listen[1] = "msp://127.0.0.1:0";
    d = daemon_create(options);
    snprintf(url, sizeof(url), "%s://%s/s?%s", proto, d->dir, more);
    daemon_launch(d);
    return d;
}

/* By proc_memory or proc_memory_peak; 0 under the sanitizers, which keep what was freed. */
static uint64_t
memory_of_worker(const struct daemon *d, uint64_t (*by)(pid_t))
{
    struct proc_list workers;

    daemon_workers(d, &workers);
    assert_int_equal(workers.count, 1);
#ifdef MS_SANITIZE
    by = NULL;
#endif
    return by != NULL ? by(workers.pid[0]) : 0;
}

/* Ends the test where the worker has more memory than it may. Always true. */
static bool
look(const struct daemon *d)
{
    uint64_t now = memory_of_worker(d, proc_memory);

    if (now > MAX + SLACK)
        fail_msg("the worker has %llu MiB", (unsigned long long)(now / MIB));
    return true;
}

static void
connect_all(const struct daemon *d, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_connect(&peers[i], &d->listeners[0]);
}

static void
close_all(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_close(&peers[i]);
}

/* Writes all of it, looking at the worker with each MiB. */
static void
write_all(const struct daemon *d, struct peer *p, const void *data, size_t n)
{
    size_t at = 0;

    while (at < n) {
        size_t before = at;
        ssize_t k = send(p->fd, (const char *)data + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd room = {.fd = p->fd, .events = POLLOUT};

        if (k < 0)
            assert_int_equal(errno, EAGAIN);
        at += k > 0 ? (size_t)k : 0;
        if (k < 0)
            assert_int_equal(poll(&room, 1, PATIENT), 1);
        if (at / MIB != before / MIB || at == n)
            look(d);
    }
}

/* Writes as much of what is left of n bytes, which repeat, as the worker takes. Returns how much is
 * left. */
static size_t
write_some(struct peer *p, const char *data, size_t n, size_t left)
{
    ssize_t k = 1;

    while (left > 0 && k > 0) {
        size_t at = (n - left % n) % n;

        k = send(p->fd, data + at, n - at < left ? n - at : left, MSG_DONTWAIT | MSG_NOSIGNAL);
        left -= k > 0 ? (size_t)k : 0;
    }
    return left;
}

/* A frame of n bytes. */
static char *
frame(size_t n)
{
    char *out = calloc(1, n + 4);

    raw_frame_head((uint8_t *)out, (uint32_t)n);
    memset(out + 4, 'x', n);
    return out;
}

static void
expect_frame(struct peer *p, const char *wants, size_t n)
{
    char *got = malloc(n);

    assert_int_equal(peer_read(p, got, n), 0);
    assert_memory_equal(got, wants, n);
    free(got);
}

/* Somebody who behaves gets what he wants, on the second listener. */
static void
expect_good(const struct daemon *d)
{
    struct answer a;
    struct peer good;

    peer_connect(&good, &d->listeners[1]);
    assert_int_equal(peer_send_plain(&good, NULL, "good", 4, &a), ANSWER_ACK);
    peer_close(&good);
}

static void
a_broadcast_is_kept_once_for_all_members(void **state)
{
    struct daemon *d =
        begin(&(struct daemon_options){0}, "frame", "handler=broadcast&send_queue_max=4M");
    const unsigned members = 1500;
    char *large = frame(MIB);

    (void)state;
    connect_all(d, members + 1);
    WAIT_FOR(stats_total(d, "open") == members + 1, 20000);
    write_all(d, &peers[members], large, MIB + 4);
    WAIT_FOR(stats_total(d, "messages") == 1 && look(d), 20000);
    look(d);
    expect_good(d);
    for (unsigned i = 0; i < members; i++)
        expect_frame(&peers[i], large, MIB + 4);
    look(d);
    close_all(members + 1);
    free(large);
    daemon_stop(d);
}

/* Thousands of messages are there at once, for members that read nothing. */
static void
expect_many_to_be_broadcast(size_t n)
{
    struct daemon *d = begin(&(struct daemon_options){0}, "frame", "handler=broadcast");
    const unsigned members = 1000, sent = 4000;
    size_t left = sent * (n + 4);
    char *message = frame(n);
    uint64_t turns, before;

    connect_all(d, members + 1);
    WAIT_FOR(stats_total(d, "open") == members + 1, 20000);
    before = memory_of_worker(d, proc_memory_peak);
    turns = stats_total(d, "turns");
    WAIT_FOR((left = write_some(&peers[members], message, n + 4, left)) == 0, PATIENT);
    WAIT_FOR(stats_total(d, "messages") == sent, PATIENT);
    assert_true(stats_total(d, "turns") - turns > sent / 100);
    assert_true(memory_of_worker(d, proc_memory_peak) - before < MAX + SLACK);
    expect_good(d);
    close_all(members + 1);
    free(message);
    daemon_stop(d);
}

static void
a_broadcast_of_many_messages_takes_many_turns_and_little_memory(void **state)
{
    (void)state;
    expect_many_to_be_broadcast(1);
    expect_many_to_be_broadcast(2000); /* it is copied for each member */
}

/* A daemon whose first listener has a key and the options more; url is for senders. */
static struct daemon *
begin_sealed(const char *proto, const char *more, char url[3 * HARNESS_PATH_LEN])
{
    char dir[HARNESS_PATH_LEN], key[HARNESS_PATH_LEN], options[2 * HARNESS_PATH_LEN];
    struct daemon *d;

    harness_directory(dir);
    harness_join(key, dir, "key");
    harness_write_file(key, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(chmod(key, 0600), 0);
    snprintf(options, sizeof(options), "%s&key_file=%s", more, key);
    d = begin(&(struct daemon_options){0}, proto, options);
    snprintf(url, 3 * HARNESS_PATH_LEN, "%s://%s/s?key_file=%s", proto, d->dir, key);
    return d;
}

static void
a_sealed_broadcast_is_sealed_once_for_all_members(void **state)
{
    char url[3 * HARNESS_PATH_LEN], *text = raw_body(120000, 1);
    struct daemon *d = begin_sealed("frame", "handler=broadcast&send_queue_max=4M", url);
    const unsigned members = 200, sent = 8;

    (void)state;
    connect_all(d, members);
    WAIT_FOR(stats_total(d, "open") == members, 20000);
    for (unsigned i = 0; i < sent; i++) {
        struct run_result r = run_program(harness_program("msock"), "-u", url, "send", text, NULL);

        assert_int_equal(r.status, 0);
        run_result_free(&r);
        WAIT_FOR(stats_total(d, "messages") == i + 1 && look(d), 20000);
    }
    expect_good(d);
    for (unsigned i = 0; i < members; i++) {
        char *got = malloc(sent * (4 + 120000 + 32)); /* sealed, so it is longer */

        assert_int_equal(peer_read(&peers[i], got, sent * (4 + 120000 + 32)), 0);
        free(got);
    }
    close_all(members);
    free(text);
    daemon_stop(d);
}

/* Each is as large as all memory. */
static void
large_sealed_messages_take_little_memory_to_be_opened(void **state)
{
    char url[3 * HARNESS_PATH_LEN], path[HARNESS_PATH_LEN];
    struct daemon *d = begin_sealed("msp", "handler=discard", url);
    const char *argv[] = {harness_program("msock"), "-u", url, "send-file", path, NULL};
    struct running senders[6];
    const unsigned count = MS_ARRAY_LEN(senders);
    char *large = raw_body(MAX, 1);

    (void)state;
    harness_join(path, d->dir, "large");
    harness_write_file(path, large, MAX);
    free(large);
    for (unsigned i = 0; i < count; i++)
        run_start(&senders[i], argv, NULL);
    WAIT_FOR(stats_total(d, "messages") == count && look(d), 60000);
    for (unsigned i = 0; i < count; i++) {
        struct run_result r;

        run_finish(&senders[i], 60000, &r);
        assert_int_equal(r.status, 0);
        run_result_free(&r);
    }
    expect_good(d);
    daemon_stop(d);
}

/* The sender has no key. Over msp it is refused with its first packet (refusals); a frame has to be
 * read to its end, or to that of the connection. */
static void
rubbish_for_a_sealed_listener_takes_little_memory(void **state)
{
    char url[3 * HARNESS_PATH_LEN], *rubbish = frame(250 * MIB);
    struct daemon *d = begin_sealed("frame", "handler=journal", url);

    (void)state;
    connect_all(d, 2);
    for (unsigned i = 0; i < 2; i++)
        write_all(d, &peers[i], rubbish, 250 * MIB + 4);
    WAIT_FOR(stats_total(d, "rej") + stats_total(d, "err") == 2 && look(d), PATIENT);
    assert_int_equal(stats_total(d, "messages"), 0);
    expect_good(d);
    close_all(2);
    free(rubbish);
    daemon_stop(d);
}

/* A document of so many empty objects. */
static void
write_objects(char path[HARNESS_PATH_LEN], const char *dir, const char *name, unsigned count)
{
    char *text = malloc(3 * (size_t)count + 4), *at = text;

    *at++ = '[';
    for (unsigned i = 0; i < count; i++, at += 3)
        memcpy(at, "{},", 3);
    memcpy(at, "0]", 2);
    harness_join(path, dir, name);
    harness_write_file(path, text, 3 * (size_t)count + 3);
    free(text);
}

static void
send_documents(const struct daemon *d, const char *path, unsigned count, int status,
               const char *says)
{
    char file[HARNESS_PATH_LEN + 1], url[HARNESS_PATH_LEN + 32];
    const char *argv[] = {harness_program("msock"), "-u", url, "send-json", file, NULL};
    struct running senders[6];

    snprintf(file, sizeof(file), "@%s", path);
    snprintf(url, sizeof(url), "msp://%s/s", d->dir);
    for (unsigned i = 0; i < count; i++)
        run_start(&senders[i], argv, NULL);
    for (unsigned i = 0; i < count; i++) {
        struct run_result r;

        WAIT_FOR(run_ended(&senders[i], 1) && look(d), PATIENT);
        run_finish(&senders[i], PATIENT, &r);
        if (r.status != status || strstr(r.err, says) == NULL)
            fail_msg("status %d: %s", r.status, r.err);
        run_result_free(&r);
    }
}

/* The tree of one takes 32 MiB: so one after the other. That of the next alone takes too much. */
static void
documents_are_parsed_as_there_is_memory(void **state)
{
    struct daemon *d = begin(&(struct daemon_options){0}, "msp", "handler=discard");
    char path[HARNESS_PATH_LEN];

    (void)state;
    write_objects(path, d->dir, "good", 150000);
    send_documents(d, path, 6, 0, "");
    write_objects(path, d->dir, "large", 490000);
    send_documents(d, path, 3, 65, "bytes of memory to parse");
    expect_good(d);
    daemon_stop(d);
}

static void
large_echoes_are_read_from_files_piece_by_piece(void **state)
{
    struct daemon *d = begin(&(struct daemon_options){0}, "frame", "handler=echo");
    const unsigned count = full_or(60, 24);
    char *large = frame(REPLY);

    (void)state;
    connect_all(d, count);
    for (unsigned i = 0; i < count; i++)
        write_all(d, &peers[i], large, REPLY + 4);
    WAIT_FOR(stats_total(d, "messages") == count && look(d), PATIENT);
    expect_good(d);
    for (unsigned i = 0; i < count; i++) {
        expect_frame(&peers[i], large, REPLY + 4);
        look(d);
    }
    close_all(count);
    free(large);
    daemon_stop(d);
}

/* Sends until nothing more is taken for a while. */
static void
send_until_calm(const struct daemon *d, unsigned senders, const char *message, size_t n,
                size_t *left, struct waiting *w)
{
    uint64_t taken = 0;
    unsigned calm = 0;

    do {
        uint64_t now;

        for (unsigned i = 0; i < senders; i++)
            left[i] = write_some(&peers[i], message, n, left[i]);
        look(d);
        now = stats_total(d, "bytes_in");
        calm = now == taken ? calm + 1 : 0;
        taken = now;
    } while (calm < 20 && waiting_more(w));
}

/* Many senders that send far ahead, `each` messages of n bytes: what the worker has taken waits,
 * the rest is not read. Once go_on lets them, all are committed. */
static void
flood(struct daemon *d, unsigned senders, const char *message, size_t n, size_t each,
      void (*go_on)(struct daemon *d))
{
    size_t left[PEERS], all = 0;
    struct waiting w = waiting_begin(full_or(4, 1) * PATIENT);

    for (unsigned i = 0; i < senders; i++)
        left[i] = each * n;
    send_until_calm(d, senders, message, n, left, &w);
    go_on(d);
    do {
        all = 0;
        for (unsigned i = 0; i < senders; i++)
            all += left[i] = write_some(&peers[i], message, n, left[i]);
        look(d);
    } while (all > 0 && waiting_more(&w));
    assert_int_equal(all, 0);
    WAIT_FOR(stats_total(d, "messages") >= (uint64_t)senders * each && look(d), PATIENT);
}

static void
the_disk_is_fast_again(struct daemon *d)
{
    faults_set(d, "");
}

static void
a_slow_disk_makes_the_senders_wait(void **state)
{
    struct daemon *d;
    char *message;

    (void)state;
    faults_need();
    message = frame(5000);
    d = begin(&(struct daemon_options){.faults = true}, "frame", "reply=no");
    faults_set(d, "sync delay-3000 /journal/ 1\n");
    connect_all(d, 200);
    flood(d, 200, message, 5004, full_or(1100, 200), the_disk_is_fast_again);
    expect_good(d);
    close_all(200);
    free(message);
    daemon_stop(d);
}

/* A message of n bytes that can be sent again and again. */
static char *
unread_message(const struct raw *r, size_t n, size_t *len_out)
{
    char *body, *out;

    *len_out = n + 4;
    if (r->kind != &raw_cnp_old)
        return frame(n); /* a SIZE of tinyproto looks alike */
    body = raw_body(n, 1);
    out = malloc(n + RAW_CNP_HEADER_MAX);
    *len_out = raw_cnp_encode(r, (uint8_t *)out, RAW_CNP_DATA, 0, body, n);
    free(body);
    return out;
}

/* Peers that send on and take nothing. It is not memory that ends them, so others are served. */
static void
expect_room_beside_unread(const struct raw_kind *kind, size_t size)
{
    static struct raw unread[UNREAD_PEERS];
    struct daemon *d = begin(&(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"}},
                             kind->proto, "handler=echo");
    struct waiting w = waiting_begin(PATIENT);
    size_t left[UNREAD_PEERS], len;
    char *message;

    for (unsigned i = 0; i < UNREAD_PEERS; i++) {
        raw_connect(&unread[i], kind, &d->listeners[0], RAW_WHOLE);
        peers[i] = unread[i].peer;
    }
    message = unread_message(&unread[0], size, &len);
    for (unsigned i = 0; i < UNREAD_PEERS; i++)
        left[i] = 10 * MAX / len * len;
    send_until_calm(d, UNREAD_PEERS, message, len, left, &w);
    WAIT_FOR(stats_total(d, "memory") > MAX / 2 || stats_total(d, "err") > 0, PATIENT);
    expect_good(d);
    if (daemon_logged(d, "worker_memory_max is reached"))
        fail_msg("over %s messages of %zu bytes fill the memory", kind->name, size);
    for (unsigned i = 0; i < UNREAD_PEERS; i++)
        raw_close(&unread[i]);
    free(message);
    WAIT_FOR(memory_of_worker(d, proc_memory) < MAX / 4, PATIENT);
    daemon_stop(d);
}

static void
answers_that_are_not_read_leave_room_for_others(void **state)
{
    (void)state;
    expect_room_beside_unread(&raw_frame_length32, 1500);
    expect_room_beside_unread(&raw_frame_length32, 4000);
    expect_room_beside_unread(&raw_frame_length32, 20000);
    expect_room_beside_unread(&raw_frame_length32, 200000);
}

static void
answers_that_wait_for_consent_leave_room_for_others(void **state)
{
    (void)state;
    expect_room_beside_unread(&raw_tiny, 1000);
    expect_room_beside_unread(&raw_cnp_old, 4000);
}

static char gate[HARNESS_PATH_LEN];

static void
the_gate_opens(struct daemon *d)
{
    (void)d;
    harness_write_file(gate, "", 0);
}

/* As that of a listener whose child reads nothing until the gate is open, and answers each message
 * with so many bytes. */
static struct daemon *
begin_behind_gate(struct daemon_options *options, const char *more, unsigned reply)
{
    static const char command[] = "import os,sys,time\n"
                                  "while not os.path.exists('%s'): time.sleep(.02)\n"
                                  "i,o=sys.stdin.buffer,sys.stdout.buffer\n"
                                  "r=(%u).to_bytes(4,'big')+b'r'*%u\n"
                                  "while h:=i.read(4): i.read(int.from_bytes(h,'big')); "
                                  "o.write(r); o.flush()\n";
    char script[HARNESS_PATH_LEN], url[HARNESS_PATH_LEN + 200], dir[HARNESS_PATH_LEN];
    char text[HARNESS_PATH_LEN + 400];
    int n;

    harness_directory(dir);
    harness_join(script, dir, "child.py");
    harness_join(gate, dir, "gate");
    n = snprintf(text, sizeof(text), command, gate, reply, reply);
    harness_write_file(script, text, (size_t)n);
    snprintf(url, sizeof(url),
             "handler=exec&exec=pool&exec_children=1&exec_timeout=10m%s&command=python3%%20%s",
             more, script);
    options->listen[1] = "msp://127.0.0.1:0";
    return begin(options, "frame", url);
}

static void
messages_that_wait_for_a_child_make_their_senders_wait(void **state)
{
    struct daemon *d = begin_behind_gate(&(struct daemon_options){0}, "&reply=no", 0);
    char *message = frame(4500);

    (void)state;
    connect_all(d, 60);
    flood(d, 60, message, 4504, full_or(1100, 500), the_gate_opens);
    expect_good(d);
    close_all(60);
    free(message);
    daemon_stop(d);
}

/* What they let wait fills the memory, although nobody reads more of them. */
static void
who_takes_no_replies_makes_room_and_has_that_against_it(void **state)
{
    struct daemon *d = begin_behind_gate(
        &(struct daemon_options){.set = {"worker_memory_max=8M", "exempt=127.0.0.1"}}, "", 4000);
    char messages[80 * 5] = {0};
    const unsigned count = 100;

    (void)state;
    for (unsigned i = 3; i < sizeof(messages); i += 5)
        messages[i] = 1;
    connect_all(d, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(peer_write(&peers[i], messages, sizeof(messages)), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == count * sizeof(messages), PATIENT);
    the_gate_opens(d);
    WAIT_FOR(daemon_logged(d, "worker_memory_max is reached"), PATIENT);
    expect_good(d);
    WAIT_FOR(daemon_logged(d, "is turned away for a while: too slow to send, or to read"), PATIENT);
    close_all(count);
    daemon_stop(d);
}

/* A connection takes more once it speaks cnp, and all of them came before that. */
static void
connections_that_become_cnp_leave_room_for_messages(void **state)
{
    static struct raw raws[600];
    struct daemon *d = begin(&(struct daemon_options){.set = {"worker_memory_max=1M", "timeout=1h"},
                                                      .listen = {NULL, "msp://127.0.0.1:0"}},
                             "auto", "");
    unsigned opened = 0;
    struct answer a;
    struct peer good;

    (void)state;
    peer_connect(&good, &d->listeners[1]);
    for (unsigned i = 0; i < MS_ARRAY_LEN(raws); i++)
        raw_begin(&raws[i], &raw_cnp_step, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") == 1 + MS_ARRAY_LEN(raws), PATIENT);
    while (opened < MS_ARRAY_LEN(raws) &&
           (raws[opened].kind->open(&raws[opened]) == 0 || stats_total(d, "refused") > 0))
        opened++;
    assert_int_equal(peer_send_plain(&good, NULL, "good", 4, &a), ANSWER_ACK);
    assert_in_range(stats_total(d, "refused"), 1, MS_ARRAY_LEN(raws) - 1);
    for (unsigned i = 0; i < MS_ARRAY_LEN(raws); i++)
        raw_close(&raws[i]);
    daemon_stop(d);
}

static void
those_who_do_not_say_what_they_speak_are_turned_away(void **state)
{
    struct daemon *d =
        begin(&(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"}}, "auto", "");
    static char syn[64 * 1024];

    (void)state;
    /* The beginning of a cnp packet, as far as one can see. */
    memcpy(syn, "\0\0\xff\xff\1\0\0\1\2\3\4{{", 13);
    connect_all(d, PEERS);
    for (unsigned i = 0; i < PEERS; i++) {
        (void)send(peers[i].fd, syn, sizeof(syn), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (i % 50 == 0)
            look(d);
    }
    WAIT_FOR(stats_total(d, "refused") > 0 && look(d), PATIENT);
    expect_good(d);
    close_all(PEERS);
    daemon_stop(d);
}

/* Each has a read's worth that waits for the next seconds. */
static void
those_who_send_too_fast_do_not_keep_the_memory(void **state)
{
    struct daemon *d = begin(
        &(struct daemon_options){
            .set = {"source_rate=10", "exempt=127.0.0.1", "worker_memory_max=1M"},
            .listen = {NULL, "msp://127.0.0.1:0", "frame://127.0.0.1:0"}},
        "frame", "");
    static const uint8_t frames[20000]; /* empty ones */
    const unsigned count = 400;

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        peer_connect_from(&peers[i], &d->listeners[2], "127.0.0.2");
        (void)peer_write(&peers[i], frames, sizeof(frames)); /* some are closed by now */
    }
    WAIT_FOR(stats_total(d, "err") > 0, PATIENT);
    expect_good(d);
    close_all(count);
    daemon_stop(d);
}

/* Or the next bytes of such a one would take it all again, before others are read. */
static void
with_those_who_do_not_say_goes_more_than_is_too_much(void **state)
{
    struct daemon *d = begin(
        &(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s", "worker_memory_max=1M"}},
        "auto", "");
    static char syn[20000];
    unsigned count = 0;

    (void)state;
    memcpy(syn, "\0\0\xff\xff\1\0\0\1\2\3\4{{", 13);
    while (stats_total(d, "refused") == 0) {
        struct peer *p = &peers[count++];

        peer_connect(p, &d->listeners[0]);
        assert_int_equal(peer_write(p, syn, sizeof(syn)), 0);
        WAIT_FOR(stats_total(d, "bytes_in") == count * sizeof(syn), PATIENT);
    }
    WAIT_FOR(stats_total(d, "refused") > 1, PATIENT);
    expect_good(d);
    close_all(count);
    daemon_stop(d);
}

/* Each read could hold hundreds of thousands of them. */
static void
tiny_messages_take_little_memory_and_the_turns_of_nobody(void **state)
{
    static char lines[256 * 1024];
    struct daemon *d =
        begin(&(struct daemon_options){0}, "frame", "framing=delimiter&handler=echo");

    (void)state;
    memset(lines, '\n', sizeof(lines));
    connect_all(d, TINY_PEERS);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < TINY_PEERS; i++)
            (void)send(peers[i].fd, lines, sizeof(lines), MSG_DONTWAIT | MSG_NOSIGNAL);
        look(d);
        expect_good(d);
    }
    close_all(TINY_PEERS);
    daemon_stop(d);
}

static void
replies_out_of_their_order_wait_in_files(void **state)
{
    /* The first message waits for the gate. */
    static const char form[] =
        "handler=exec&exec=once&exec_children=4&exec_timeout=20m&command="
        "read%%20x;case%%20$x%%20in%%20s*)%%20until%%20test%%20-e%%20%s;do%%20sleep%%20.1;done;;"
        "*)%%20head%%20-c%%2016777216%%20/dev/zero;;esac";
    char options[sizeof(form) + HARNESS_PATH_LEN], dir[HARNESS_PATH_LEN];
    struct daemon *d;
    char *zeros = calloc(1, REPLY + 4);
    const unsigned count = full_or(1023, 16);
    char *wire = frame(2);

    (void)state;
    harness_directory(dir);
    harness_join(gate, dir, "gate");
    snprintf(options, sizeof(options), form, gate);
    d = begin(&(struct daemon_options){0}, "frame", options);
    connect_all(d, 1);
    for (unsigned i = 0; i <= count; i++) {
        memcpy(wire + 4, i == 0 ? "s\n" : "l\n", 2);
        write_all(d, &peers[0], wire, 6);
    }
    WAIT_FOR(stats_total(d, "messages") == count && look(d), full_or(10, 1) * PATIENT);
    expect_good(d);
    the_gate_opens(d);
    raw_frame_head((uint8_t *)zeros, REPLY);
    for (unsigned i = 0; i < count; i++)
        expect_frame(&peers[0], zeros, REPLY + 4);
    look(d);
    close_all(1);
    free(zeros);
    free(wire);
    daemon_stop(d);
}

/* The server is stopped, so nothing that was published is answered. */
static void
messages_under_way_to_nats_are_in_the_ledger(void **state)
{
    const size_t len = 240000;
    const unsigned senders = 450;
    size_t left[450], all;
    char *message = frame(len), url[3][256];
    struct daemon_options o = {.workers = 1, .errors_expected = true};
    struct nats n = {0};
    struct waiting w;
    struct daemon *d;

    (void)state;
    nats_start(&n, NULL);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(url[i], sizeof(url[i]),
                 "frame://127.0.0.1:0?handler=nats&stream=S&servers=nats://127.0.0.1:%u&"
                 "stream_create=yes&nats_timeout=60s&reply=no",
                 n.port);
        o.listen[i] = url[i];
    }
    d = daemon_start(&o);
    proc_stop(n.run.pid);
    for (unsigned i = 0; i < senders; i++) {
        peer_connect(&peers[i], &d->listeners[i % 3]);
        left[i] = len + 4;
    }
    w = waiting_begin(3000);
    do {
        for (unsigned i = 0; i < senders; i++)
            left[i] = write_some(&peers[i], message, len + 4, left[i]);
        look(d);
    } while (waiting_more(&w));
    proc_go_on(n.run.pid);
    w = waiting_begin(PATIENT);
    do {
        all = 0;
        for (unsigned i = 0; i < senders; i++)
            all += left[i] = write_some(&peers[i], message, len + 4, left[i]);
        look(d);
    } while (all > 0 && waiting_more(&w));
    WAIT_FOR(stats_total(d, "messages") == senders && look(d), PATIENT);
    close_all(senders);
    free(message);
    daemon_stop(d);
}

static uint64_t
packets_of_a_transfer(const struct daemon *d, const char *body, size_t n)
{
    uint64_t before = stats_total(d, "packets");
    struct answer a;
    struct peer good;

    peer_connect(&good, &d->listeners[1]);
    assert_int_equal(peer_send_plain(&good, NULL, body, n, &a), ANSWER_ACK);
    peer_close(&good);
    return stats_total(d, "packets") - before;
}

static void
half_messages_do_not_make_the_packets_of_others_small(void **state)
{
    struct daemon *d =
        begin(&(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"},
                                       .listen = {NULL, "msp://127.0.0.1:0?handler=discard"}},
              "frame", "handler=journal");
    const unsigned drippers = 300;
    char *half = frame(250000), *body = calloc(1, 32 * MIB);
    uint64_t alone = packets_of_a_transfer(d, body, 32 * MIB), among;

    (void)state;
    connect_all(d, drippers);
    for (unsigned i = 0; i < drippers; i++)
        write_all(d, &peers[i], half, 200000);
    among = packets_of_a_transfer(d, body, 32 * MIB);
    look(d);
    if (among > alone + 200)
        fail_msg("%llu packets instead of %llu", (unsigned long long)among,
                 (unsigned long long)alone);
    close_all(drippers);
    free(half);
    free(body);
    daemon_stop(d);
}

static int
set_up(void **state)
{
    int rc = harness_begin(state);

    if (full_or(1, 0))
        alarm(FULL_SECONDS * WAIT_SCALE);
    return rc;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(a_broadcast_is_kept_once_for_all_members),
        SYSTEM_TEST(a_broadcast_of_many_messages_takes_many_turns_and_little_memory),
        SYSTEM_TEST(a_sealed_broadcast_is_sealed_once_for_all_members),
        SYSTEM_TEST(large_sealed_messages_take_little_memory_to_be_opened),
        SYSTEM_TEST(rubbish_for_a_sealed_listener_takes_little_memory),
        SYSTEM_TEST(documents_are_parsed_as_there_is_memory),
        SYSTEM_TEST(large_echoes_are_read_from_files_piece_by_piece),
        SYSTEM_TEST(a_slow_disk_makes_the_senders_wait),
        SYSTEM_TEST(answers_that_are_not_read_leave_room_for_others),
        SYSTEM_TEST(answers_that_wait_for_consent_leave_room_for_others),
        SYSTEM_TEST(messages_that_wait_for_a_child_make_their_senders_wait),
        SYSTEM_TEST(who_takes_no_replies_makes_room_and_has_that_against_it),
        SYSTEM_TEST(connections_that_become_cnp_leave_room_for_messages),
        SYSTEM_TEST(those_who_do_not_say_what_they_speak_are_turned_away),
        SYSTEM_TEST(with_those_who_do_not_say_goes_more_than_is_too_much),
        SYSTEM_TEST(those_who_send_too_fast_do_not_keep_the_memory),
        SYSTEM_TEST(tiny_messages_take_little_memory_and_the_turns_of_nobody),
        SYSTEM_TEST(replies_out_of_their_order_wait_in_files),
        SYSTEM_TEST(messages_under_way_to_nats_are_in_the_ledger),
        SYSTEM_TEST(half_messages_do_not_make_the_packets_of_others_small),
    };

    return cmocka_run_group_tests(tests, set_up, harness_end);
}
