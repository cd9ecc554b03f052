/* Packets of cnp, the handshake, and a sender with a window. */
#include "harness.h"

#include "raw_cnp.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MOST (64u << 20)
#define WINDOW       8

static bool
is_second(const struct raw *r)
{
    return r->kind == &raw_cnp_second;
}

static size_t
header_len(const struct raw *r)
{
    return is_second(r) ? 12 : 11;
}

static void
checksum(const void *data, size_t n, uint8_t out[4])
{
    unsigned char md[EVP_MAX_MD_SIZE];

    assert_int_equal(EVP_Digest(data, n, md, NULL, EVP_md5(), NULL), 1);
    memcpy(out, md, 4);
}

/* --- one packet --- */

static size_t
encode(const struct raw *r, uint8_t *out, uint8_t type, uint16_t sequence, bool last,
       const void *payload, size_t n)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(n >> (24 - 8 * i));
    out[4] = type;
    out[5] = (uint8_t)(sequence >> 8);
    out[6] = (uint8_t)sequence;
    checksum(payload, n, out + 7);
    out[11] = last;
    memcpy(out + header_len(r), payload, n);
    return header_len(r) + n;
}

size_t
raw_cnp_encode(const struct raw *r, uint8_t *out, uint8_t type, uint16_t sequence,
               const void *payload, size_t n)
{
    return encode(r, out, type, sequence, true, payload, n);
}

size_t
raw_cnp_encode_more(const struct raw *r, uint8_t *out, uint8_t type, uint16_t sequence,
                    const void *payload, size_t n)
{
    return encode(r, out, type, sequence, false, payload, n);
}

static int
put(struct raw *r, uint8_t type, uint16_t sequence, bool last, uint8_t spoil, const void *payload,
    size_t n)
{
    uint8_t *packet = malloc(RAW_CNP_HEADER_MAX + n);
    size_t len;
    int rc;

    assert_non_null(packet);
    len = encode(r, packet, type, sequence, last, payload, n);
    packet[7] ^= spoil;
    rc = raw_write(r, packet, len);
    free(packet);
    return rc;
}

int
raw_cnp_put(struct raw *r, uint8_t type, uint16_t sequence, const void *payload, size_t n)
{
    return put(r, type, sequence, true, 0, payload, n);
}

void
raw_cnp_say(struct raw *r, uint8_t type, uint16_t sequence, const char *text)
{
    if (raw_cnp_put(r, type, sequence, text, strlen(text)) < 0)
        fail_msg("%s: a packet was not taken", r->kind->name);
}

int
raw_cnp_put_damaged(struct raw *r, uint8_t type, uint16_t sequence, const void *payload, size_t n)
{
    return put(r, type, sequence, true, 0x40, payload, n);
}

static void
count(struct raw *r, const struct raw_packet *p)
{
    bool nack = p->type == (is_second(r) ? RAW_SECOND_NACK : RAW_CNP_ERROR);
    char code[64] = "";

    if (p->type == RAW_CNP_ACK && strcmp(p->payload, "ACK") == 0)
        r->peer.counts.acks++;
    if (!nack)
        return;
    raw_cnp_word(p->payload, "error", code);
    r->peer.counts.nack1 += strcmp(code, "checksum") == 0;
    r->peer.counts.rej += strcmp(code, "refused") == 0;
    r->peer.counts.err += strcmp(code, "checksum") != 0 && strcmp(code, "refused") != 0;
}

int
raw_cnp_get(struct raw *r, struct raw_packet *packet_out)
{
    struct raw_packet p = {0};
    uint8_t head[RAW_CNP_HEADER_MAX] = {0}, sum[4];

    if (peer_read(&r->peer, head, header_len(r)) < 0)
        return -1;
    for (int i = 0; i < 4; i++)
        p.len = p.len << 8 | head[i];
    p.type = head[4];
    p.sequence = (uint16_t)(head[5] << 8 | head[6]);
    p.last = head[11] != 0;
    if (p.len > PAYLOAD_MOST)
        return -1;
    p.payload = calloc(1, (size_t)p.len + 1);
    assert_non_null(p.payload);
    if (peer_read(&r->peer, p.payload, p.len) < 0) {
        free(p.payload);
        return -1;
    }
    checksum(p.payload, p.len, sum);
    p.sound = memcmp(sum, head + 7, sizeof(sum)) == 0;
    count(r, &p);
    *packet_out = p;
    return 0;
}

long long
raw_cnp_number(const char *json, const char *name)
{
    json_t *object = json_loads(json, 0, NULL);
    json_t *member = json_object_get(object, name);
    long long n = json_is_integer(member) ? json_integer_value(member) : -1;

    json_decref(object);
    return n;
}

void
raw_cnp_word(const char *json, const char *name, char out[64])
{
    json_t *object = json_loads(json, 0, NULL);
    const char *text = json_string_value(json_object_get(object, name));

    snprintf(out, 64, "%s", text != NULL ? text : "");
    json_decref(object);
}

void
raw_cnp_expect_word(const char *json, const char *name, const char *want)
{
    char word[64];

    raw_cnp_word(json, name, word);
    if (strcmp(word, want) != 0)
        fail_msg("%s is \"%s\", not \"%s\", in %s", name, word, want, json);
}

void
raw_cnp_expect_number(const char *json, const char *name, long long want)
{
    if (raw_cnp_number(json, name) != want)
        fail_msg("%s is not %lld in %s", name, want, json);
}

void
raw_cnp_expect_ack(struct raw *r, uint16_t sequence)
{
    struct raw_packet p;

    if (raw_cnp_get(r, &p) < 0)
        fail_msg("%s: no ACK of %u", r->kind->name, sequence);
    if (p.type != RAW_CNP_ACK || p.sequence != sequence || !p.sound ||
        strcmp(p.payload, "ACK") != 0)
        fail_msg("%s: instead of an ACK of %u type %u, sequence %u: %.200s", r->kind->name,
                 sequence, p.type, p.sequence, p.payload);
    free(p.payload);
}

void
raw_cnp_expect_error(struct raw *r, const char *code, uint16_t sequence)
{
    uint8_t type = is_second(r) ? RAW_SECOND_NACK : RAW_CNP_ERROR;
    char said[64], text[64];
    struct raw_packet p;

    if (raw_cnp_get(r, &p) < 0)
        fail_msg("%s: no ERROR %s", r->kind->name, code);
    raw_cnp_word(p.payload, "error", said);
    raw_cnp_word(p.payload, "message", text);
    if (p.type != type || p.sequence != sequence || !p.sound || strcmp(said, code) != 0 ||
        text[0] == '\0')
        fail_msg("%s: instead of ERROR %s of %u type %u, sequence %u: %.200s", r->kind->name, code,
                 sequence, p.type, p.sequence, p.payload);
    free(p.payload);
}

/* --- the handshake --- */

int
raw_cnp_shake(struct raw *r, const char *syn)
{
    char step[128], status[64];
    struct raw_packet p;
    long long size;

    if (put(r, RAW_CNP_DATA, 0, false, 0, syn, strlen(syn)) < 0 || raw_cnp_get(r, &p) < 0)
        return -1;
    raw_cnp_word(p.payload, "status", status);
    raw_cnp_word(p.payload, "session_id", r->session);
    size = raw_cnp_number(p.payload, is_second(r) ? "max_fragment_size" : "max_packet_size");
    free(p.payload);
    if (p.type != RAW_CNP_ACK || !p.sound || strcmp(status, "ok") != 0 || size < 1)
        return -1;
    r->packet_size = (uint32_t)size;
    snprintf(step, sizeof(step), "{\"session_id\": \"%s\"}", r->session);
    return raw_cnp_put(r, is_second(r) ? RAW_SECOND_STEP : RAW_CNP_ACK, 0, step, strlen(step));
}

static int
step_open(struct raw *r)
{
    r->sequence = r->expected = 1;
    return raw_cnp_shake(r, "{\"operation_mode\": \"step-by-step\", \"max_packet_size\": 65536, "
                            "\"fragments\": true}");
}

static int
burst_open(struct raw *r)
{
    r->sequence = r->expected = 1;
    return raw_cnp_shake(r, "{\"operation_mode\": \"burst\", \"max_packet_size\": 65536, "
                            "\"window_size\": 8, \"fragments\": true, \"client_id\": \"raw\"}");
}

static int
old_open(struct raw *r)
{
    return raw_cnp_shake(r, "{\"operation_mode\": \"step-by-step\", \"max_size\": 16777216}");
}

static int
second_open(struct raw *r)
{
    return raw_cnp_shake(
        r, "{\"protocol\": \"sr\", \"max_fragment_size\": 65536, \"window_size\": 8}");
}

/* --- messages --- */

static uint16_t
after(const struct raw *r, uint16_t sequence)
{
    if (is_second(r))
        return (uint16_t)(sequence + 1);
    return sequence == 0 ? 0 : sequence == 65535 ? 1 : (uint16_t)(sequence + 1);
}

/* The server had no ACK of this packet in time, which happens on a busy machine. Nothing overtakes
 * on one connection, so it is one of those that were taken last. */
static bool
is_repeat(const struct raw *r, const struct raw_packet *p)
{
    uint16_t before = (uint16_t)(r->expected - p->sequence);

    if (is_second(r) && r->expected == 0)
        return p->sequence != 0; /* of the message before this one */
    return before > 0 && before <= WINDOW;
}

/* DATA or a FRAGMENT of the server: acknowledged, and kept when its message is whole. */
static int
take_data(struct raw *r, const struct raw_packet *p)
{
    bool ends = is_second(r) ? p->last : p->type == RAW_CNP_DATA;

    if (is_repeat(r, p))
        return put(r, RAW_CNP_ACK, p->sequence, true, 0, "ACK", 3);
    if (p->sequence != r->expected)
        return -1;
    r->expected = after(r, r->expected);
    r->part = realloc(r->part, r->part_len + p->len + 1);
    assert_non_null(r->part);
    memcpy(r->part + r->part_len, p->payload, p->len);
    r->part_len += p->len;
    if (ends) {
        r->part[r->part_len] = '\0';
        raw_keep(r, r->part, r->part_len);
        r->part = NULL;
        r->part_len = 0;
        r->expected = is_second(r) ? 0 : r->expected;
    }
    return put(r, RAW_CNP_ACK, p->sequence, true, 0, "ACK", 3);
}

static bool
is_data(const struct raw *r, const struct raw_packet *p)
{
    if (is_second(r))
        return p->type == RAW_SECOND_DATA;
    return p->type == RAW_CNP_DATA || p->type == RAW_CNP_FRAGMENT;
}

/* Reads one packet. Returns 1 for an ACK, 0 for what was dealt with, -1 for everything else. */
static int
pump(struct raw *r)
{
    struct raw_packet p;
    int rc = -1;

    if (raw_cnp_get(r, &p) < 0)
        return -1;
    if (p.sound && p.type == RAW_CNP_ACK)
        rc = 1;
    else if (p.sound && is_data(r, &p))
        rc = take_data(r, &p);
    else if (p.sound && !is_second(r) && p.type == RAW_CNP_KEEPALIVE)
        rc = raw_cnp_put(r, RAW_CNP_ACK, p.sequence, "ACK", 3);
    free(p.payload);
    return rc;
}

static int
put_part(struct raw *r, const char *data, size_t n, bool last)
{
    uint8_t type = is_second(r) ? RAW_SECOND_DATA : last ? RAW_CNP_DATA : RAW_CNP_FRAGMENT;
    int rc = put(r, type, r->sequence, last, 0, data, n);

    r->sequence = after(r, r->sequence);
    r->peer.counts.packets++;
    return rc;
}

static int
cnp_send(struct raw *r, const void *data, size_t n)
{
    bool many = r->kind == &raw_cnp_burst || is_second(r);
    unsigned flying = 0, most = many ? WINDOW : 1;
    size_t sent = 0;
    bool last = false;

    if (is_second(r))
        r->sequence = 0;
    while (!last || flying > 0) {
        int rc = 0;

        if (!last && flying < most) {
            size_t take = n - sent < r->packet_size ? n - sent : r->packet_size;

            last = sent + take == n;
            rc = put_part(r, (const char *)data + sent, take, last);
            sent += take;
            flying++;
        } else if ((rc = pump(r)) > 0) {
            flying--;
        }
        if (rc < 0)
            return -1;
    }
    r->peer.counts.messages++;
    return 0;
}

static char *
cnp_receive(struct raw *r, size_t *n_out)
{
    while (r->first == NULL)
        if (pump(r) < 0)
            return NULL;
    return raw_take(r, n_out);
}

static void
cnp_finish(struct raw *r)
{
    (void)put(r, is_second(r) ? RAW_SECOND_DISCONNECT : RAW_CNP_DISCONNECT, 0, true, 0,
              "Disconnect", 10);
}

const struct raw_kind raw_cnp_step = {
    .name = "cnp step-by-step",
    .proto = "cnp",
    .options = "",
    .open = step_open,
    .send = cnp_send,
    .receive = cnp_receive,
    .finish = cnp_finish,
};

const struct raw_kind raw_cnp_burst = {
    .name = "cnp burst",
    .proto = "cnp",
    .options = "",
    .open = burst_open,
    .send = cnp_send,
    .receive = cnp_receive,
    .finish = cnp_finish,
};

const struct raw_kind raw_cnp_old = {
    .name = "cnp of old clients",
    .proto = "cnp",
    .options = "packet_size_max=16M",
    .open = old_open,
    .send = cnp_send,
    .receive = cnp_receive,
    .finish = cnp_finish,
};

const struct raw_kind raw_cnp_second = {
    .name = "cnp, second dialect",
    .proto = "cnp",
    .options = "",
    .open = second_open,
    .send = cnp_send,
    .receive = cnp_receive,
    .finish = cnp_finish,
};
