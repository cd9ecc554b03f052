/* What peers can make one worker hold that do not behave: they read nothing, say too little, or
 * send too fast. Others are served all the same. */
#include "ledger_case.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TINY_PEERS   400
#define UNREAD_PEERS 300

/* A message of n bytes that can be sent again and again. */
static char *
unread_message(const struct raw *r, size_t n, size_t *len_out)
{
    char *body, *out;

    *len_out = n + 4;
    if (r->kind != &raw_cnp_old)
        return ledger_frame(n); /* a SIZE of tinyproto looks alike */
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
    struct daemon *d =
        ledger_begin(&(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"}},
                     kind->proto, "handler=echo");
    struct waiting w = waiting_begin(LEDGER_PATIENT);
    size_t left[UNREAD_PEERS], len;
    char *message;

    for (unsigned i = 0; i < UNREAD_PEERS; i++) {
        raw_connect(&unread[i], kind, &d->listeners[0], RAW_WHOLE);
        ledger_peers[i] = unread[i].peer;
    }
    message = unread_message(&unread[0], size, &len);
    for (unsigned i = 0; i < UNREAD_PEERS; i++)
        left[i] = 10 * LEDGER_MAX / len * len;
    ledger_send_until_calm(d, UNREAD_PEERS, message, len, left, &w);
    WAIT_FOR(stats_total(d, "memory") > LEDGER_MAX / 2 || stats_total(d, "err") > 0,
             LEDGER_PATIENT);
    ledger_expect_good(d);
    if (daemon_logged(d, "worker_memory_max is reached"))
        fail_msg("over %s messages of %zu bytes fill the memory", kind->name, size);
    for (unsigned i = 0; i < UNREAD_PEERS; i++)
        raw_close(&unread[i]);
    free(message);
    WAIT_FOR(ledger_memory(d, proc_memory) < LEDGER_MAX / 4, LEDGER_PATIENT);
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

/* What they let wait fills the memory, although nobody reads more of them. */
static void
who_takes_no_replies_makes_room_and_has_that_against_it(void **state)
{
    struct daemon *d = ledger_begin_behind_gate(
        &(struct daemon_options){.set = {"worker_memory_max=8M", "exempt=127.0.0.1"}}, "", 4000);
    char messages[80 * 5] = {0};
    const unsigned count = 100;

    (void)state;
    for (unsigned i = 3; i < sizeof(messages); i += 5)
        messages[i] = 1;
    ledger_connect(d, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(peer_write(&ledger_peers[i], messages, sizeof(messages)), 0);
    WAIT_FOR(stats_total(d, "bytes_in") == count * sizeof(messages), LEDGER_PATIENT);
    ledger_open_gate(d);
    WAIT_FOR(daemon_logged(d, "worker_memory_max is reached"), LEDGER_PATIENT);
    ledger_expect_good(d);
    WAIT_FOR(daemon_logged(d, "is turned away for a while: too slow to send, or to read"),
             LEDGER_PATIENT);
    ledger_close(count);
    daemon_stop(d);
}

/* A connection takes more once it speaks cnp, and all of them came before that. */
static void
connections_that_become_cnp_leave_room_for_messages(void **state)
{
    static struct raw raws[600];
    struct daemon *d =
        ledger_begin(&(struct daemon_options){.set = {"worker_memory_max=1M", "timeout=1h"},
                                              .listen = {NULL, "msp://127.0.0.1:0"}},
                     "auto", "");
    unsigned opened = 0;
    struct answer a;
    struct peer good;

    (void)state;
    peer_connect(&good, &d->listeners[1]);
    for (unsigned i = 0; i < MS_ARRAY_LEN(raws); i++)
        raw_begin(&raws[i], &raw_cnp_step, &d->listeners[0]);
    WAIT_FOR(stats_total(d, "accepted") == 1 + MS_ARRAY_LEN(raws), LEDGER_PATIENT);
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
    struct daemon *d = ledger_begin(
        &(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"}}, "auto", "");
    static char syn[64 * 1024];

    (void)state;
    /* The beginning of a cnp packet, as far as one can see. */
    memcpy(syn, "\0\0\xff\xff\1\0\0\1\2\3\4{{", 13);
    ledger_connect(d, LEDGER_PEERS);
    for (unsigned i = 0; i < LEDGER_PEERS; i++) {
        (void)send(ledger_peers[i].fd, syn, sizeof(syn), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (i % 50 == 0)
            ledger_look(d);
    }
    WAIT_FOR(stats_total(d, "refused") > 0 && ledger_look(d), LEDGER_PATIENT);
    ledger_expect_good(d);
    ledger_close(LEDGER_PEERS);
    daemon_stop(d);
}

/* Each has a read's worth that waits for the next seconds. */
static void
those_who_send_too_fast_do_not_keep_the_memory(void **state)
{
    struct daemon *d = ledger_begin(
        &(struct daemon_options){
            .set = {"source_rate=10", "exempt=127.0.0.1", "worker_memory_max=1M"},
            .listen = {NULL, "msp://127.0.0.1:0", "frame://127.0.0.1:0"}},
        "frame", "");
    static const uint8_t frames[20000]; /* empty ones */
    const unsigned count = 400;

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        peer_connect_from(&ledger_peers[i], &d->listeners[2], "127.0.0.2");
        (void)peer_write(&ledger_peers[i], frames, sizeof(frames)); /* some are closed by now */
    }
    WAIT_FOR(stats_total(d, "err") > 0, LEDGER_PATIENT);
    ledger_expect_good(d);
    ledger_close(count);
    daemon_stop(d);
}

/* Or the next bytes of such a one would take it all again, before others are read. */
static void
with_those_who_do_not_say_goes_more_than_is_too_much(void **state)
{
    struct daemon *d = ledger_begin(
        &(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s", "worker_memory_max=1M"}},
        "auto", "");
    static char syn[20000];
    unsigned count = 0;

    (void)state;
    memcpy(syn, "\0\0\xff\xff\1\0\0\1\2\3\4{{", 13);
    while (stats_total(d, "refused") == 0) {
        struct peer *p = &ledger_peers[count++];

        peer_connect(p, &d->listeners[0]);
        assert_int_equal(peer_write(p, syn, sizeof(syn)), 0);
        WAIT_FOR(stats_total(d, "bytes_in") == count * sizeof(syn), LEDGER_PATIENT);
    }
    WAIT_FOR(stats_total(d, "refused") > 1, LEDGER_PATIENT);
    ledger_expect_good(d);
    ledger_close(count);
    daemon_stop(d);
}

/* Each read could hold hundreds of thousands of them. */
static void
tiny_messages_take_little_memory_and_the_turns_of_nobody(void **state)
{
    static char lines[256 * 1024];
    struct daemon *d =
        ledger_begin(&(struct daemon_options){0}, "frame", "framing=delimiter&handler=echo");

    (void)state;
    memset(lines, '\n', sizeof(lines));
    ledger_connect(d, TINY_PEERS);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < TINY_PEERS; i++)
            (void)send(ledger_peers[i].fd, lines, sizeof(lines), MSG_DONTWAIT | MSG_NOSIGNAL);
        ledger_look(d);
        ledger_expect_good(d);
    }
    ledger_close(TINY_PEERS);
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
    struct daemon *d = ledger_begin(
        &(struct daemon_options){.set = {"timeout=60s", "rate_grace=60s"},
                                 .listen = {NULL, "msp://127.0.0.1:0?handler=discard"}},
        "frame", "handler=journal");
    const unsigned drippers = 300;
    char *half = ledger_frame(250000), *body = calloc(1, 32 * MIB);
    uint64_t alone = packets_of_a_transfer(d, body, 32 * MIB), among;

    (void)state;
    ledger_connect(d, drippers);
    for (unsigned i = 0; i < drippers; i++)
        ledger_write_all(d, &ledger_peers[i], half, 200000);
    among = packets_of_a_transfer(d, body, 32 * MIB);
    ledger_look(d);
    if (among > alone + 200)
        fail_msg("%llu packets instead of %llu", (unsigned long long)among,
                 (unsigned long long)alone);
    ledger_close(drippers);
    free(half);
    free(body);
    daemon_stop(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(answers_that_are_not_read_leave_room_for_others),
        SYSTEM_TEST(answers_that_wait_for_consent_leave_room_for_others),
        SYSTEM_TEST(who_takes_no_replies_makes_room_and_has_that_against_it),
        SYSTEM_TEST(connections_that_become_cnp_leave_room_for_messages),
        SYSTEM_TEST(those_who_do_not_say_what_they_speak_are_turned_away),
        SYSTEM_TEST(with_those_who_do_not_say_goes_more_than_is_too_much),
        SYSTEM_TEST(those_who_send_too_fast_do_not_keep_the_memory),
        SYSTEM_TEST(tiny_messages_take_little_memory_and_the_turns_of_nobody),
        SYSTEM_TEST(half_messages_do_not_make_the_packets_of_others_small),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
