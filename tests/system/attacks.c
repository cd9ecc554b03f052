#include "attacks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CROWD    40 /* connections of one round, where many make the harm */
#define ROUND_MS 20 /* between two rounds */
#define HOLD_MS  400

struct attacker {
    const struct attack *attack;
    const struct target *msp, *automatic;
    char source[16];
    pthread_t thread;
    uint64_t seed;
    _Atomic uint64_t rounds;
    struct peer peers[CROWD];
    uint8_t bytes[1u << 20];
};

static _Atomic bool stopping;

static void
nap_ms(unsigned ms)
{
    const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

static void
fill(struct attacker *a, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        a->seed = a->seed * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(a->bytes + i, &a->seed, 8);
    }
}

/* Connects so many, and gives each the first n bytes, as far as it takes them at once. Returns how
 * many are connected. */
static unsigned
crowd(struct attacker *a, const struct target *target, unsigned count, const void *data, size_t n)
{
    unsigned i;

    for (i = 0; i < count && peer_try_connect(&a->peers[i], target, a->source) == 0; i++)
        (void)send(a->peers[i].fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return i;
}

static void
crowd_leave(struct attacker *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        peer_close(&a->peers[i]);
}

/* --- the kinds --- */

static void
be_idle(struct attacker *a)
{
    unsigned count = crowd(a, a->msp, CROWD, "", 0);

    nap_ms(HOLD_MS);
    crowd_leave(a, count);
}

/* A message of some KiB that comes a byte at a time, and never ends. */
static void
drip(struct attacker *a)
{
    unsigned count;

    wire_header(a->bytes, 60000, NULL, 1);
    count = crowd(a, a->msp, CROWD, a->bytes, WIRE_FIRST_HEADER + 1000);
    for (unsigned i = 0; i < 20 && !stopping; i++) {
        nap_ms(HOLD_MS / 20);
        for (unsigned k = 0; k < count; k++)
            (void)send(a->peers[k].fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    crowd_leave(a, count);
}

/* Wants replies to many messages and reads none. */
static void
read_nothing(struct attacker *a)
{
    static const char body[1000];
    const struct outgoing m = {.kind = 'A', .flags = WIRE_REPLY, .body = body, .len = sizeof(body)};
    size_t n = 0;
    unsigned count;

    for (unsigned i = 0; i < 200; i++)
        n += wire_ahead(a->bytes + n, &m);
    count = crowd(a, a->msp, 4, a->bytes, n);
    nap_ms(HOLD_MS);
    crowd_leave(a, count);
}

/* The longest first packet of cnp, but for its end: nothing is known until it is whole. */
static void
be_unknown(struct attacker *a)
{
    unsigned count;

    fill(a, 60000);
    memcpy(a->bytes, "\0\0\xff\xff\1\0\1", 7);
    a->bytes[11] = '{';
    count = crowd(a, a->automatic, CROWD, a->bytes, 60000);
    nap_ms(HOLD_MS);
    crowd_leave(a, count);
}

static void
speak_http(struct attacker *a)
{
    static const char request[] =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"a\":1}\r\n";

    crowd_leave(a, crowd(a, a->automatic, 4, request, sizeof(request) - 1));
}

static void
speak_rubbish(struct attacker *a)
{
    fill(a, 100000);
    crowd_leave(a, crowd(a, a->msp, 4, a->bytes, 100000));
    fill(a, 100000);
    crowd_leave(a, crowd(a, a->automatic, 4, a->bytes, 100000));
}

static void
converse(struct attacker *a, const struct outgoing *m, unsigned spoil_crc, unsigned spoil_digest)
{
    struct peer *p = &a->peers[0];
    struct answer answer;

    if (peer_try_connect(p, a->msp, a->source) < 0)
        return;
    p->answer_ms = 2000;
    p->spoil_crc = spoil_crc;
    p->spoil_digest = spoil_digest;
    (void)peer_send(p, m, &answer);
    peer_close(p);
}

static void
send_bad_json(struct attacker *a)
{
    memset(a->bytes, '[', 500);
    memset(a->bytes + 500, ' ', sizeof(a->bytes) - 500);
    converse(a, &(struct outgoing){.kind = 'J', .body = a->bytes, .len = sizeof(a->bytes)}, 0, 0);
}

static void
send_damage(struct attacker *a)
{
    converse(a, &(struct outgoing){.kind = 'A', .body = a->bytes, .len = 5000}, 40, 0);
    converse(a, &(struct outgoing){.kind = 'A', .body = a->bytes, .len = 5000}, 0, 40);
}

/* As deep as a path may be, and new each time: each component is a directory to be made safe. */
static void
send_deep_paths(struct attacker *a)
{
    char path[300] = ATTACK_DIR "/";
    size_t n = strlen(path);

    a->seed++;
    for (unsigned i = 0; i < 30; i++)
        n += (size_t)snprintf(path + n, sizeof(path) - n, "%llx/",
                              (unsigned long long)(a->seed >> (i % 8)) & 0xffff);
    n += (size_t)snprintf(path + n, sizeof(path) - n, "f");
    converse(a, &(struct outgoing){'F', 0, path, n, "x", 1}, 0, 0);
}

/* The next packet of a message that has been granted, where it was. */
static bool
send_next(struct attacker *a, struct peer *p)
{
    static uint8_t zeros[1u << 19];
    struct answer answer;
    size_t n;

    p->answer_ms = 500;
    if (peer_answer(p, &answer) != ANSWER_GRANT || answer.grant > sizeof(zeros))
        return false;
    n = wire_next(a->bytes, zeros, answer.grant);
    return peer_write(p, a->bytes, n) == 0;
}

/* Large messages that stay unfinished on the disk. */
static void
finish_nothing(struct attacker *a)
{
    unsigned count;

    wire_header(a->bytes, UINT64_C(1) << 30, NULL,
                wire_crc(a->bytes + WIRE_FIRST_HEADER, WIRE_FIRST_BODY));
    count = crowd(a, a->msp, 8, a->bytes, WIRE_FIRST_MAX);
    for (unsigned packets = 0; packets < 16 && !stopping; packets++)
        for (unsigned i = 0; i < count; i++)
            if (a->peers[i].fd >= 0 && !send_next(a, &a->peers[i]))
                peer_close(&a->peers[i]);
    crowd_leave(a, count);
}

static void
reset(struct attacker *a)
{
    unsigned count;

    wire_header(a->bytes, 60000, NULL, 1);
    count = crowd(a, a->msp, CROWD / 2, a->bytes, 500);
    for (unsigned i = 0; i < count; i++)
        peer_reset_on_close(&a->peers[i]);
    crowd_leave(a, count);
}

static const struct attack {
    const char *name;
    void (*round)(struct attacker *a);
} attacks[] = {
    {"idle connections", be_idle},
    {"messages that drip", drip},
    {"answers that nobody reads", read_nothing},
    {"an unknown protocol", be_unknown},
    {"HTTP", speak_http},
    {"rubbish", speak_rubbish},
    {"documents that are wrong at the end", send_bad_json},
    {"damaged packets", send_damage},
    {"deep paths", send_deep_paths},
    {"large messages without an end", finish_nothing},
    {"resets", reset},
};
#define ATTACKS (MS_ARRAY_LEN(attacks))

/* --- all of them --- */

static struct attacker *attackers;

static void *
attacker_main(void *arg)
{
    struct attacker *a = arg;

    while (!stopping) {
        a->attack->round(a);
        a->rounds++;
        nap_ms(ROUND_MS);
    }
    return NULL;
}

void
attacks_start(const struct target *msp, const struct target *automatic)
{
    if (attackers == NULL)
        attackers = calloc(ATTACKS, sizeof(*attackers));
    assert_non_null(attackers);
    stopping = false;
    for (size_t i = 0; i < ATTACKS; i++) {
        struct attacker *a = &attackers[i];

        a->attack = &attacks[i];
        a->msp = msp;
        a->automatic = automatic;
        snprintf(a->source, sizeof(a->source), "127.0.0.%zu", i + 2);
        assert_int_equal(pthread_create(&a->thread, NULL, attacker_main, a), 0);
    }
}

void
attacks_stop(void)
{
    if (attackers == NULL || stopping)
        return;
    stopping = true;
    for (size_t i = 0; i < ATTACKS; i++)
        pthread_join(attackers[i].thread, NULL);
}

uint64_t
attacks_rounds(const char **name_out)
{
    size_t fewest = 0;

    for (size_t i = 1; i < ATTACKS; i++)
        if (attackers[i].rounds < attackers[fewest].rounds)
            fewest = i;
    *name_out = attacks[fewest].name;
    return attackers[fewest].rounds;
}
