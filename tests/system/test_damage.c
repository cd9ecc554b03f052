/* Conversations of tinyproto, cnp and frame with a few bits changed, cut and thrown together: they
 * come further than noise does, and harm nothing. */
#include "journal.h"
#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ALL      RAW_KINDS
#define ROUNDS   (160 / WAIT_SCALE)
#define TALK_MAX 4096
#define PACKETS  6

static uint64_t
draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 9;
}

static size_t
cnp_talk(const struct raw *r, uint8_t *out)
{
    static const uint8_t types[PACKETS] = {RAW_CNP_DATA, RAW_CNP_FRAGMENT,  RAW_CNP_FRAGMENT,
                                           RAW_CNP_DATA, RAW_CNP_KEEPALIVE, RAW_CNP_ACK};
    bool second = r->kind == &raw_cnp_second;
    size_t n = 0;

    for (uint16_t i = 0; i < PACKETS; i++) {
        uint8_t type = second ? RAW_SECOND_DATA : types[i];
        uint16_t sequence = (uint16_t)(second ? i : i + 1);

        if (second && i + 1 < PACKETS)
            n += raw_cnp_encode_more(r, out + n, type, sequence, "some bytes", 10);
        else
            n += raw_cnp_encode(r, out + n, type, sequence, "the last bytes", 14);
    }
    return n;
}

/* What a client says once the connection is open. */
static size_t
talk(const struct raw *r, uint8_t *out)
{
    size_t n = 0;

    if (strcmp(r->kind->proto, "cnp") == 0)
        return cnp_talk(r, out);
    for (unsigned i = 0; i < PACKETS; i++) {
        size_t len = r->kind == &raw_frame_fixed ? RAW_FRAME_FIXED : 20 + i;
        char *body = raw_body(len, i);

        if (r->kind == &raw_tiny || r->kind == &raw_frame_length32) {
            raw_frame_head(out + n, (uint32_t)len);
            n += 4;
        }
        memcpy(out + n, body, len);
        n += len;
        if (r->kind == &raw_frame_delimiter)
            out[n++] = '\n';
        if (r->kind == &raw_tiny)
            out[n++] = RAW_TINY_OK; /* to the reply */
        free(body);
    }
    return n;
}

/* Changes some bits; now and then leaves out a piece, or says it twice. */
static size_t
damage(uint8_t *bytes, size_t n, uint64_t *seed)
{
    size_t at = draw(seed) % n, len = 1 + draw(seed) % 30;

    for (unsigned k = 0; k < draw(seed) % 4; k++)
        bytes[draw(seed) % n] ^= (uint8_t)(1u << draw(seed) % 8);
    if (at + len > n)
        return n;
    switch (draw(seed) % 4) {
    case 0:
        memmove(bytes + at, bytes + at + len, n - at - len);
        return n - len;
    case 1:
        memmove(bytes + at + len, bytes + at, n - at);
        return n + len;
    case 2:
        return at + 1;
    }
    return n;
}

static void
converse(const struct target *target, const struct raw_kind *kind, bool opened, uint64_t *seed)
{
    uint8_t bytes[TALK_MAX];
    struct raw r;
    size_t n;

    if (opened)
        raw_connect(&r, kind, target, RAW_WHOLE);
    else
        raw_begin(&r, kind, target);
    n = damage(bytes, talk(&r, bytes), seed);
    r.manner = (enum raw_manner)(draw(seed) % 3);
    (void)raw_write(&r, bytes, n);
    if (draw(seed) % 2 == 0)
        shutdown(r.peer.fd, SHUT_WR);
    if (draw(seed) % 256 == 0 && !peer_closed(&r.peer, 20000))
        fail_msg("%s: it does not end", kind->name);
    if (draw(seed) % 4 == 0)
        peer_reset_on_close(&r.peer);
    raw_close(&r);
}

/* The last listener is for whatever comes. */
static struct daemon *
start(const char *handler)
{
    static char urls[DAEMON_LISTEN_MAX][128];
    struct daemon_options options = {
        .workers = 1,
        .handler = handler,
        .set = {"timeout=1s", "idle_timeout=1s", "max_message_size=1M"}};

    for (size_t i = 0; i < ALL; i++) {
        snprintf(urls[i], sizeof(urls[i]), "%s://127.0.0.1:0?reply=yes%s%s%s", raw_kinds[i]->proto,
                 raw_kinds[i]->options[0] != '\0' ? "&" : "", raw_kinds[i]->options,
                 raw_kinds[i]->proto[0] == 'c' ? "&keepalive=500ms" : "");
        options.listen[i] = urls[i];
    }
    options.listen[ALL] = "auto://127.0.0.1:0";
    return daemon_start(&options);
}

static void
expect_harmless(const char *handler)
{
    struct daemon *d = start(handler);
    struct proc_list before, after;
    uint64_t seed = 20261121;
    int descriptors;

    daemon_workers(d, &before);
    descriptors = proc_descriptors(before.pid[0]);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ALL; i++) {
            bool unknown = draw(&seed) % 4 == 0;

            converse(&d->listeners[unknown ? ALL : i], raw_kinds[i],
                     !(unknown && raw_kinds[i]->options[0] != '\0') && draw(&seed) % 8 != 0, &seed);
        }
    WAIT_FOR(stats_total(d, "open") == 0, 10000);
    daemon_workers(d, &after);
    assert_true(proc_list_equal(&before, &after));
    if (proc_may_look(before.pid[0]))
        assert_in_range(proc_descriptors(before.pid[0]), 1, descriptors + 2);
    for (size_t i = 0; i < ALL && strcmp(handler, "echo") == 0; i++) {
        struct raw r;

        raw_connect(&r, raw_kinds[i], &d->listeners[i], RAW_WHOLE);
        raw_echo(&r, RAW_FRAME_FIXED, 0);
        raw_close(&r);
    }
    daemon_stop(d);
    if (strcmp(handler, "journal") == 0)
        assert_true(journal_count(d->data_dir) > ROUNDS);
}

static void
damaged_conversations_harm_no_echo(void **state)
{
    (void)state;
    expect_harmless("echo");
}

static void
damaged_conversations_harm_no_journal(void **state)
{
    (void)state;
    expect_harmless("journal");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEM_TEST(damaged_conversations_harm_no_echo),
        SYSTEM_TEST(damaged_conversations_harm_no_journal),
    };

    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
