/* Size, consent, payload, in both directions. */
#include "harness.h"

#include "raw_tiny.h"

#include <stdlib.h>
#include <sys/socket.h>

#define SIZE_FIRST_MAX 0xf0
#define SIZE_MOST      (64u << 20) /* more than any test expects */

static int
say(struct raw *r, uint8_t signal)
{
    return raw_write(r, &signal, 1);
}

int
raw_tiny_byte(struct raw *r)
{
    uint8_t byte;

    return peer_read(&r->peer, &byte, 1) < 0 ? -1 : byte;
}

static int
tiny_open(struct raw *r)
{
    if (say(r, RAW_TINY_OK) < 0)
        return -1;
    return raw_tiny_byte(r) == RAW_TINY_OK ? 0 : -1;
}

int
raw_tiny_ask(struct raw *r, uint32_t size)
{
    uint8_t bytes[4];

    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(size >> (24 - 8 * i));
    return raw_write(r, bytes, sizeof(bytes));
}

int
raw_tiny_size(struct raw *r, int first, uint32_t *size_out)
{
    uint8_t rest[3];

    if (first < 0 || first > SIZE_FIRST_MAX || peer_read(&r->peer, rest, sizeof(rest)) < 0)
        return -1;
    *size_out = (uint32_t)first << 24 | (uint32_t)rest[0] << 16 | (uint32_t)rest[1] << 8 | rest[2];
    return 0;
}

char *
raw_tiny_payload(struct raw *r, uint32_t size)
{
    char *body;

    if (size > SIZE_MOST || say(r, RAW_TINY_OK) < 0)
        return NULL;
    body = malloc((size_t)size + 1);
    assert_non_null(body);
    if (peer_read(&r->peer, body, size) < 0) {
        free(body);
        return NULL;
    }
    body[size] = '\0';
    return body;
}

/* Where both sides began, ours goes first: the server's SIZE is answered behind our payload. */
int
raw_tiny_await_ok(struct raw *r)
{
    int byte = raw_tiny_byte(r);

    if (byte != RAW_TINY_OK && !r->held) {
        if (raw_tiny_size(r, byte, &r->held_size) < 0)
            return -1;
        r->held = true;
        byte = raw_tiny_byte(r);
    }
    r->peer.counts.acks += byte == RAW_TINY_OK;
    return byte == RAW_TINY_OK ? 0 : -1;
}

static char *
take_transmission(struct raw *r, size_t *n_out)
{
    if (!r->held && raw_tiny_size(r, raw_tiny_byte(r), &r->held_size) < 0)
        return NULL;
    r->held = false;
    *n_out = r->held_size;
    return raw_tiny_payload(r, r->held_size);
}

static int
tiny_send(struct raw *r, const void *data, size_t n)
{
    char *crossed;
    size_t len;

    if (raw_tiny_ask(r, (uint32_t)n) < 0 || raw_tiny_await_ok(r) < 0 || raw_write(r, data, n) < 0)
        return -1;
    r->peer.counts.packets++;
    r->peer.counts.messages++;
    if (!r->held)
        return 0;
    if ((crossed = take_transmission(r, &len)) == NULL)
        return -1;
    raw_keep(r, crossed, len);
    return 0;
}

static char *
tiny_receive(struct raw *r, size_t *n_out)
{
    char *data = raw_take(r, n_out);

    return data != NULL ? data : take_transmission(r, n_out);
}

static void
tiny_finish(struct raw *r)
{
    shutdown(r->peer.fd, SHUT_WR);
}

const struct raw_kind raw_tiny = {
    .name = "tinyproto",
    .proto = "tinyproto",
    .options = "",
    .open = tiny_open,
    .send = tiny_send,
    .receive = tiny_receive,
    .finish = tiny_finish,
};
