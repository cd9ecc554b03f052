/* Four framings: a length before, a size agreed, a newline behind, the end of the stream. */
#include "harness.h"

#include "raw_frame.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LENGTH_MAX (64u << 20) /* more than any test expects */

static int
frame_open(struct raw *r)
{
    (void)r;
    return 0;
}

static void
frame_finish(struct raw *r)
{
    shutdown(r->peer.fd, SHUT_WR);
}

void
raw_frame_head(uint8_t out[4], uint32_t len)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(len >> (24 - 8 * i));
}

/* A head, a body and a tail in one piece, so that the manner decides where they are cut. */
static int
frame_write(struct raw *r, const void *head, size_t head_len, const void *data, size_t n,
            const char *tail)
{
    size_t len = head_len + n + strlen(tail);
    char *bytes = malloc(len + 1);
    int rc;

    assert_non_null(bytes);
    if (head_len > 0)
        memcpy(bytes, head, head_len);
    memcpy(bytes + head_len, data, n);
    memcpy(bytes + head_len + n, tail, strlen(tail));
    rc = raw_write(r, bytes, len);
    free(bytes);
    r->peer.counts.packets += rc == 0;
    r->peer.counts.messages += rc == 0;
    return rc;
}

static char *
read_exactly(struct raw *r, size_t n)
{
    char *body = malloc(n + 1);

    assert_non_null(body);
    if (peer_read(&r->peer, body, n) < 0) {
        free(body);
        return NULL;
    }
    body[n] = '\0';
    return body;
}

/* --- length32 --- */

static int
length32_send(struct raw *r, const void *data, size_t n)
{
    uint8_t head[4];

    raw_frame_head(head, (uint32_t)n);
    return frame_write(r, head, sizeof(head), data, n, "");
}

static char *
length32_receive(struct raw *r, size_t *n_out)
{
    uint8_t head[4];
    uint32_t len = 0;

    if (peer_read(&r->peer, head, sizeof(head)) < 0)
        return NULL;
    for (int i = 0; i < 4; i++)
        len = len << 8 | head[i];
    if (len > LENGTH_MAX)
        return NULL;
    *n_out = len;
    return read_exactly(r, len);
}

/* --- fixed --- */

static int
fixed_send(struct raw *r, const void *data, size_t n)
{
    assert_int_equal(n, RAW_FRAME_FIXED);
    return frame_write(r, NULL, 0, data, n, "");
}

static char *
fixed_receive(struct raw *r, size_t *n_out)
{
    *n_out = RAW_FRAME_FIXED;
    return read_exactly(r, RAW_FRAME_FIXED);
}

/* --- delimiter --- */

static int
delimiter_send(struct raw *r, const void *data, size_t n)
{
    return frame_write(r, NULL, 0, data, n, "\n");
}

/* Everything up to a newline, or to the end of the stream where to_end is set. What was read behind
 * the newline goes back. */
static char *
read_until(struct raw *r, bool to_end, size_t *n_out)
{
    struct peer *p = &r->peer;
    size_t have = 0, cap = 2 * sizeof(p->in);
    char *body = malloc(cap);

    assert_non_null(body);
    for (;;) {
        ssize_t got = peer_read_some(p, body + have, sizeof(p->in), p->answer_ms);
        char *end = got > 0 && !to_end ? memchr(body + have, '\n', (size_t)got) : NULL;

        if (got == 0 && to_end)
            end = body + have;
        if (got <= 0 && end == NULL)
            break;
        have += (size_t)got;
        if (end != NULL) {
            *n_out = (size_t)(end - body);
            p->have = got > 0 ? have - *n_out - 1 : 0;
            memcpy(p->in, end + 1, p->have);
            *end = '\0';
            return body;
        }
        if (cap - have <= sizeof(p->in))
            body = realloc(body, cap *= 2);
        assert_non_null(body);
    }
    free(body);
    return NULL;
}

static char *
delimiter_receive(struct raw *r, size_t *n_out)
{
    return read_until(r, false, n_out);
}

/* --- eof --- */

static int
eof_send(struct raw *r, const void *data, size_t n)
{
    int rc = frame_write(r, NULL, 0, data, n, "");

    frame_finish(r);
    return rc;
}

static char *
eof_receive(struct raw *r, size_t *n_out)
{
    return read_until(r, true, n_out);
}

const struct raw_kind raw_frame_length32 = {
    .name = "frame length32",
    .proto = "frame",
    .options = "",
    .receipts = true,
    .open = frame_open,
    .send = length32_send,
    .receive = length32_receive,
    .finish = frame_finish,
};

const struct raw_kind raw_frame_fixed = {
    .name = "frame fixed",
    .proto = "frame",
    .options = "framing=fixed:100",
    .open = frame_open,
    .send = fixed_send,
    .receive = fixed_receive,
    .finish = frame_finish,
};

const struct raw_kind raw_frame_delimiter = {
    .name = "frame delimiter",
    .proto = "frame",
    .options = "framing=delimiter",
    .open = frame_open,
    .send = delimiter_send,
    .receive = delimiter_receive,
    .finish = frame_finish,
};

const struct raw_kind raw_frame_eof = {
    .name = "frame eof",
    .proto = "frame",
    .options = "framing=eof",
    .once = true,
    .receipts = true,
    .open = frame_open,
    .send = eof_send,
    .receive = eof_receive,
    .finish = frame_finish,
};
