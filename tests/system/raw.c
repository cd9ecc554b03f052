/* Connections of raw peers, and the bodies they send. */
#include "harness.h"

#include "raw_cnp.h"
#include "raw_frame.h"
#include "raw_tiny.h"
#include "stats.h"

#include "support/hex.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MAX 1500

const struct raw_kind *const raw_kinds[RAW_KINDS] = {
    &raw_tiny,       &raw_frame_length32, &raw_cnp_step,        &raw_cnp_burst,
    &raw_cnp_second, &raw_frame_fixed,    &raw_frame_delimiter, &raw_frame_eof,
};

struct daemon *
raw_daemon(const char *url, const char *handler)
{
    return daemon_start(&(struct daemon_options){
        .workers = 1, .handler = handler, .listen = {url}, .set = {"timeout=30s", "min_rate=0"}});
}

void
raw_begin(struct raw *r, const struct raw_kind *kind, const struct target *target)
{
    memset(r, 0, sizeof(*r));
    peer_connect(&r->peer, target);
    r->kind = kind;
    r->seed = 20261121;
}

void
raw_connect(struct raw *r, const struct raw_kind *kind, const struct target *target,
            enum raw_manner manner)
{
    raw_begin(r, kind, target);
    r->manner = manner;
    if (kind->open(r) < 0)
        fail_msg("%s at %s: it was not opened", kind->name, target->url);
}

void
raw_close(struct raw *r)
{
    size_t n;
    char *data;

    peer_close(&r->peer);
    while ((data = raw_take(r, &n)) != NULL)
        free(data);
    free(r->part);
    r->part = NULL;
}

static size_t
piece(struct raw *r)
{
    switch (r->manner) {
    case RAW_WHOLE:
        return SIZE_MAX;
    case RAW_BYTES:
        return 1;
    case RAW_PIECES:
        r->seed = r->seed * 6364136223846793005u + 1442695040888963407u;
        return 1 + (r->seed >> 33) % PIECE_MAX;
    }
    return SIZE_MAX;
}

int
raw_write(struct raw *r, const void *data, size_t n)
{
    const char *at = data;

    while (n > 0) {
        size_t take = piece(r);

        if (take > n)
            take = n;
        if (peer_write(&r->peer, at, take) < 0)
            return -1;
        at += take;
        n -= take;
    }
    return 0;
}

void
raw_say(struct raw *r, const void *data, size_t n)
{
    if (raw_write(r, data, n) < 0)
        fail_msg("%s: %zu bytes were not taken: %s", r->kind->name, n, strerror(errno));
}

bool
raw_was_read(const struct daemon *d, const struct raw *r)
{
    struct peer_counts c;

    return stats_conn(d, r->peer.name, &c, NULL) && c.bytes_in == r->peer.counts.bytes_in;
}

void
raw_keep(struct raw *r, char *data, size_t n)
{
    struct raw_message *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->data = data;
    m->len = n;
    if (r->last != NULL)
        r->last->next = m;
    else
        r->first = m;
    r->last = m;
}

char *
raw_take(struct raw *r, size_t *n_out)
{
    struct raw_message *m = r->first;
    char *data;

    if (m == NULL)
        return NULL;
    data = m->data;
    *n_out = m->len;
    r->first = m->next;
    if (r->first == NULL)
        r->last = NULL;
    free(m);
    return data;
}

char *
raw_body(size_t n, unsigned number)
{
    char *body = malloc(n + 1), head[16];
    int len = snprintf(head, sizeof(head), "%u.", number);

    assert_non_null(body);
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i < (size_t)len ? head[i] : ' ' + (int)((i * 7 + i / 251 + number) % 95));
    body[n] = '\0';
    return body;
}

void
raw_echo(struct raw *r, size_t n, unsigned number)
{
    char *body = raw_body(n, number), *back = NULL;
    size_t len = 0;

    if (r->kind->send(r, body, n) < 0)
        fail_msg("%s: message %u of %zu bytes was not taken", r->kind->name, number, n);
    back = r->kind->receive(r, &len);
    if (back == NULL || len != n || memcmp(back, body, n) != 0)
        fail_msg("%s: message %u of %zu bytes came back as %zu others", r->kind->name, number, n,
                 back == NULL ? 0 : len);
    free(back);
    free(body);
}

void
raw_expect(struct raw *r, const char *text, size_t n)
{
    size_t len = 0;
    char *got = r->kind->receive(r, &len);

    if (got == NULL || len != n || memcmp(got, text, n) != 0)
        fail_msg("%s: \"%s\" instead of \"%s\"", r->kind->name, got == NULL ? "(nothing)" : got,
                 text);
    free(got);
}

void
raw_expect_end(struct raw *r)
{
    char extra[16];
    ssize_t got;

    errno = 0;
    got = peer_read_some(&r->peer, extra, sizeof(extra), WAIT_PATIENCE * 5000 * WAIT_SCALE);
    if (got > 0)
        fail_msg("%s: %zd bytes instead of the end, the first %02x", r->kind->name, got,
                 (unsigned char)extra[0]);
    if (errno == ETIMEDOUT)
        fail_msg("%s: the server does not close", r->kind->name);
    raw_close(r);
}

void
raw_expect_counts(const struct daemon *d, uint64_t messages, uint64_t rej, uint64_t nack1,
                  uint64_t err)
{
    struct waiting w = waiting_begin(20000);
    struct peer_counts c;

    do {
        stats_totals(d, &c);
        if (c.messages == messages && c.rej == rej && c.nack1 == nack1 && c.err == err)
            return;
    } while (waiting_more(&w));
    fail_msg("not messages %llu rej %llu nack1 %llu err %llu: %s", (unsigned long long)messages,
             (unsigned long long)rej, (unsigned long long)nack1, (unsigned long long)err,
             counts_text(&c));
}

uint8_t *
raw_vector(const char *protocol, const char *name, size_t *n_out)
{
    json_t *all = json_load_file(harness_source("tests/vectors/packets.json"), 0, NULL);
    const char *hex = json_string_value(json_object_get(json_object_get(all, protocol), name));
    uint8_t *out;

    if (hex == NULL)
        fail_msg("no packet %s of %s", name, protocol);
    out = calloc(1, strlen(hex) / 2 + 1);
    assert_non_null(out);
    *n_out = hex_read(hex, out);
    json_decref(all);
    return out;
}

void
raw_say_vector(struct raw *r, const char *protocol, const char *name)
{
    size_t n;
    uint8_t *bytes = raw_vector(protocol, name, &n);

    raw_say(r, bytes, n);
    free(bytes);
}
