/* A sender of cnp with a window (docs/protocol.md 3.3), written here on a bare socket: what it
 * sends arrives once each and in order, however many packets are damaged on either way. */
#include "journal.h"
#include "proxy.h"
#include "raw_cnp.h"
#include "stats.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKETS  10000
#define WINDOW   64
#define STALL_MS 50   /* nothing came for so long: the oldest packet is sent again */
#define REST_MS  2000 /* nothing came for so long: nothing is on its way */
#define STALLS   2000

/* Packets first to next - 1 are on their way; the others before are acknowledged, or not sent
 * yet. */
struct burst {
    struct raw raw;
    unsigned count, first, next;
    unsigned acked[WINDOW]; /* packet number + 1 that was acknowledged in this place */
    unsigned again, noticed, stalls;
};

static uint16_t
sequence_of(unsigned packet)
{
    return (uint16_t)(packet % 65535 + 1);
}

static bool
is_acked(const struct burst *b, unsigned packet)
{
    return b->acked[packet % WINDOW] == packet + 1;
}

static void
put(struct burst *b, unsigned packet)
{
    char body[400];
    int head = snprintf(body, sizeof(body), "%u ", packet);
    size_t n = (size_t)head + packet * 7919u % 300;

    memset(body + head, 'a' + (int)(packet % 26), n - (size_t)head);
    if (raw_cnp_put(&b->raw, RAW_CNP_DATA, sequence_of(packet), body, n) < 0)
        fail_msg("packet %u cannot be sent", packet);
}

/* The packet in the window with that number; false where it is none of them. */
static bool
find(const struct burst *b, uint16_t sequence, unsigned *packet_out)
{
    for (unsigned packet = b->first; packet < b->next; packet++) {
        if (sequence_of(packet) != sequence)
            continue;
        *packet_out = packet;
        return true;
    }
    return false;
}

static void
hear(struct burst *b, const struct raw_packet *p)
{
    char code[64];
    unsigned packet;

    if (!p->sound) { /* an ACK or ERROR, of which only the number is right: it is asked for again */
        static const char error[] = "{\"error\": \"checksum\", \"message\": \"damaged\"}";

        b->noticed++;
        assert_int_equal(raw_cnp_put(&b->raw, RAW_CNP_ERROR, p->sequence, error, sizeof(error) - 1),
                         0);
        return;
    }
    if (p->type == RAW_CNP_ACK) {
        if (find(b, p->sequence, &packet))
            b->acked[packet % WINDOW] = packet + 1;
        while (b->first < b->next && is_acked(b, b->first))
            b->first++;
        return;
    }
    raw_cnp_word(p->payload, "error", code);
    if (p->type != RAW_CNP_ERROR || strcmp(code, "checksum") != 0)
        fail_msg("type %u, sequence %u: %.200s", p->type, p->sequence, p->payload);
    if (find(b, p->sequence, &packet)) {
        put(b, packet);
        b->again++;
    }
}

static bool
has_answer(const struct burst *b, int ms)
{
    struct pollfd fd = {.fd = b->raw.peer.fd, .events = POLLIN};

    return b->raw.peer.have > 0 || poll(&fd, 1, ms) > 0;
}

static void
send_all(struct burst *b)
{
    struct raw_packet p;

    while (b->first < b->count) {
        while (b->next < b->count && b->next - b->first < WINDOW)
            put(b, b->next++);
        if (!has_answer(b, STALL_MS)) {
            if (++b->stalls > STALLS)
                fail_msg("packet %u is not acknowledged", b->first);
            put(b, b->first);
            continue;
        }
        if (raw_cnp_get(&b->raw, &p) < 0)
            fail_msg("the connection has ended at packet %u", b->first);
        hear(b, &p);
        free(p.payload);
    }
}

/* What is still on its way, as answers to doubles. A last word would be damaged itself now and
 * then. */
static void
hear_rest(struct burst *b)
{
    struct raw_packet p;

    while (has_answer(b, REST_MS) && raw_cnp_get(&b->raw, &p) == 0) {
        hear(b, &p);
        free(p.payload);
    }
}

static void
check_order(const struct daemon *d, unsigned count)
{
    struct journal j;

    journal_load(d->data_dir, false, &j);
    journal_check(&j);
    for (unsigned i = 0; i < j.count && i < count; i++)
        if (strtoul(j.entries[i].body, NULL, 10) != i)
            fail_msg("entry %u is %.20s", i, j.entries[i].body);
    assert_int_equal(j.count, count);
    journal_free(&j);
}

/* Sends that many, and returns when all are acknowledged, with what it has seen. */
static struct burst
run(const struct target *target, unsigned count)
{
    static const char syn[] = "{\"operation_mode\": \"burst\", \"max_packet_size\": 1024, "
                              "\"window_size\": 64, \"client_id\": \"burst\"}";
    struct burst b = {.count = count};

    raw_begin(&b.raw, &raw_cnp_burst, target);
    assert_int_equal(raw_cnp_shake(&b.raw, syn), 0);
    send_all(&b);
    hear_rest(&b);
    return b;
}

static void
ten_thousand_packets_arrive_once_each_and_in_order_though_one_in_a_hundred_is_damaged(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.listen = {"cnp://127.0.0.1:0"}});
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 8, .spoil_every = 100});
    struct burst b = run(&x->target, PACKETS);

    (void)state;
    raw_close(&b.raw);
    WAIT_FOR(stats_total(d, "open") == 0, 5000);
    print_message(
        "%llu packets damaged on the way up, %llu down; %u sent again, %u times silence\n",
        (unsigned long long)x->spoiled_up, (unsigned long long)x->spoiled_down, b.again, b.stalls);
    assert_in_range(x->spoiled_up, PACKETS / 200, PACKETS / 50);
    assert_in_range(x->spoiled_down, PACKETS / 200, PACKETS / 50);
    assert_int_equal(stats_total(d, "nack1"), x->spoiled_up);
    assert_int_equal(b.noticed, x->spoiled_down);
    assert_int_equal(stats_total(d, "messages"), PACKETS);
    daemon_stop(d);
    check_order(d, PACKETS);
}

/* The same while the workers change under it. */
static void
a_burst_goes_on_over_reloads(void **state)
{
    struct daemon *d = daemon_start(&(struct daemon_options){.listen = {"cnp://127.0.0.1:0"}});
    struct proxy *x =
        proxy_start(&d->listeners[0], &(struct proxy_options){.seed = 9, .spoil_every = 100});
    char script[HARNESS_PATH_LEN * 3];
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct running reloads;
    struct run_result result;
    struct burst b;

    (void)state;
    snprintf(script, sizeof(script),
             "for i in 1 2 3 4 5 6 7 8 9 10; do '%s' -r '%s' reload || exit 1; done",
             harness_program("msockctl"), d->runtime_dir);
    run_start(&reloads, argv, NULL);
    b = run(&x->target, PACKETS / 2);
    run_finish(&reloads, 30000, &result);
    assert_int_equal(result.status, 0);
    run_result_free(&result);
    assert_int_equal(x->connections, 1);
    WAIT_FOR(stats_total(d, "adopted") > 0, 5000);
    raw_close(&b.raw);
    daemon_stop(d);
    check_order(d, PACKETS / 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(
            ten_thousand_packets_arrive_once_each_and_in_order_though_one_in_a_hundred_is_damaged),
        SYSTEM_TEST(a_burst_goes_on_over_reloads),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
