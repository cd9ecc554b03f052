/* Frames (docs/protocol.md 4). What the server makes of a message it says, if at all, by a reply:
 * with one wanted, it has to be the message itself. */
#include "bench_load.h"
#include "bench_protocol.h"
#include "numbers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LENGTH_LEN 4u
#define BURST_MAX  (1u << 20) /* bytes of messages that are kept ready to be sent at once */

struct frame_wire {
    uint8_t *burst;     /* framed messages, one behind the other */
    size_t burst_count; /* of them */
    size_t whole_len;   /* of one */
    size_t body_at;     /* in it */
};

/* --- the URL's framing --- */

/* The byte behind a backslash. Returns how many characters say it: the URL was found in order. */
static size_t
frame_escape(const char *at, uint8_t *byte_out)
{
    static const char letters[] = "abfnrtv\\0'\"", bytes[] = "\a\b\f\n\r\t\v\\\0'\"";
    const char *letter = strchr(letters, *at);

    if (*at == 'x') {
        char digits[3] = {at[1], at[2], '\0'};

        *byte_out = (uint8_t)strtoul(digits, NULL, 16);
        return 3;
    }
    *byte_out = letter != NULL ? (uint8_t)bytes[letter - letters] : 0;
    return 1;
}

static void
frame_delimiter(struct bench_options *options, const char *text)
{
    options->framing = FRAMING_DELIMITER;
    while (*text != '\0' && options->delimiter_len < BENCH_DELIMITER_MAX) {
        uint8_t byte = (uint8_t)*text++;

        if (byte == '\\')
            text += frame_escape(text, &byte);
        options->delimiter[options->delimiter_len++] = byte;
    }
}

static const char *
frame_fixed(struct bench_options *options, const char *text)
{
    uint64_t n = 0;

    options->framing = FRAMING_FIXED;
    if (!number_parse(text, BENCH_SIZE_MAX, &n))
        return "the URL's framing=fixed:N cannot be read";
    if (options->size_said && options->size != n)
        return "with framing=fixed:N all messages have N bytes: leave --size away";
    options->size = n;
    return NULL;
}

static const char *
frame_read_url(struct bench_options *options)
{
    char framing[64] = "", delimiter[64] = "\\n";

    bench_url_option(options->url, "framing", framing, sizeof(framing));
    bench_url_option(options->url, "delimiter", delimiter, sizeof(delimiter));
    if (strncmp(framing, "fixed:", 6) == 0)
        return frame_fixed(options, framing + 6);
    if (strcmp(framing, "eof") == 0)
        options->framing = FRAMING_EOF;
    else if (strncmp(framing, "delimiter:", 10) == 0)
        frame_delimiter(options, framing + 10);
    else if (strcmp(framing, "delimiter") == 0)
        frame_delimiter(options, delimiter);
    return NULL;
}

static const char *
frame_complete(struct bench_options *options)
{
    const char *wrong = frame_read_url(options);

    if (wrong != NULL)
        return wrong;
    if (options->framing == FRAMING_LENGTH32 && options->size > UINT32_MAX)
        return "a length of 4 bytes says up to 4294967295: --size is too large";
    if (options->framing != FRAMING_EOF)
        return NULL;
    if (options->ahead > 1)
        return "with framing=eof a connection has one message: no --ahead";
    if (options->hold)
        return "with framing=eof a connection ends with its message: no --hold, no --idle";
    return options->size == 0 ? "with framing=eof an empty message is none: --size" : NULL;
}

/* --- the messages --- */

/* A body without the delimiter's first byte has no delimiter in it, and none across its end. One of
 * so many letters is not in the delimiter. */
static void
frame_spare_delimiter(struct bench_message *m, const struct bench_options *options)
{
    const char *other = "_.xyzXYZ0";

    if (options->framing != FRAMING_DELIMITER)
        return;
    while (memchr(options->delimiter, *other, options->delimiter_len) != NULL)
        other++;
    for (uint64_t i = 0; i < m->size; i++)
        if (m->body[i] == options->delimiter[0])
            m->body[i] = (uint8_t)*other;
}

static void
frame_write(const struct bench_message *m, const struct bench_options *options, uint8_t *out)
{
    if (options->framing == FRAMING_LENGTH32) {
        put_be(out, m->size, LENGTH_LEN);
        out += LENGTH_LEN;
    }
    memcpy(out, m->body, (size_t)m->size);
    memcpy(out + m->size, options->delimiter, options->delimiter_len);
}

static int
frame_wire_create(struct bench_message *m, const struct bench_options *options)
{
    struct frame_wire *w = calloc(1, sizeof(*w));

    m->wire = w;
    if (w == NULL)
        return -1;
    frame_spare_delimiter(m, options);
    w->body_at = options->framing == FRAMING_LENGTH32 ? LENGTH_LEN : 0;
    w->whole_len = w->body_at + (size_t)m->size + options->delimiter_len;
    w->burst_count = w->whole_len < BURST_MAX ? BURST_MAX / w->whole_len : 1;
    if (w->burst_count > options->ahead)
        w->burst_count = options->ahead;
    w->burst = malloc(w->burst_count * w->whole_len);
    if (w->burst == NULL)
        return -1;
    for (size_t i = 0; i < w->burst_count; i++)
        frame_write(m, options, w->burst + i * w->whole_len);
    return 0;
}

static void
frame_wire_destroy(void *wire)
{
    struct frame_wire *w = wire;

    free(w->burst);
    free(w);
}

/* --- sending --- */

/* With eof a connection that closes without a message on it would be one of no bytes, so such a
 * one is reset; which does nothing to those that have ended both ways. */
static void
frame_open(struct conn *conn)
{
    struct linger reset = {.l_onoff = 1};

    if (conn->load->options->framing == FRAMING_EOF)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    conn_ready(conn);
}

static uint32_t
frame_room(const struct conn *conn)
{
    const struct frame_wire *w = conn->load->message->wire;
    uint32_t room = conn->load->options->ahead - (uint32_t)(conn->next_seq - conn->done_seq);

    return room < w->burst_count ? room : (uint32_t)w->burst_count;
}

static void
frame_send(struct conn *conn)
{
    const struct frame_wire *w = conn->load->message->wire;
    bool only_sends = bench_only_sends(conn->load->options);
    uint32_t count;

    do {
        count = conn_begin(conn, frame_room(conn));
        if (count == 0) {
            conn_want_out(conn, false);
            return;
        }
        conn_put_data(conn, w->burst, count * w->whole_len, false);
        conn_push(conn);
    } while (!only_sends && conn->state == CONN_UP && conn_quiet(conn));
}

/* Who only sends goes on when there is room, so that all connections have their turn. */
static bool
frame_sent(struct conn *conn)
{
    const struct bench_options *options = conn->load->options;
    bool some = conn->done_seq < conn->next_seq;

    if (some && options->framing == FRAMING_EOF) {
        shutdown(conn->fd, SHUT_WR);
        return false;
    }
    if (!some || !bench_only_sends(options))
        return false;
    conn->load->now_ns = number_now_ns();
    while (conn->done_seq < conn->next_seq)
        conn_commit(conn);
    return true;
}

/* --- replies --- */

static void
frame_take(struct conn *conn, const uint8_t *data, size_t n)
{
    struct frame_conn *f = &conn->protocol.frame;

    f->wrong = f->wrong || !message_has(conn->load->message, f->at, data, n);
    f->at += n;
}

static void
frame_reply_end(struct conn *conn)
{
    struct frame_conn *f = &conn->protocol.frame;
    bool right = !f->wrong && f->at == conn->load->message->size;

    *f = (struct frame_conn){.at = 0};
    conn_replied(conn, right);
}

static size_t
frame_feed_known(struct conn *conn, const uint8_t *data, size_t n)
{
    struct frame_conn *f = &conn->protocol.frame;

    if (!f->in_body && conn->load->options->framing == FRAMING_LENGTH32) {
        if (n < LENGTH_LEN)
            return 0;
        f->left = get_be(data, LENGTH_LEN);
        f->in_body = true;
        if (f->left == 0)
            frame_reply_end(conn);
        return LENGTH_LEN;
    }
    if (!f->in_body) {
        f->left = conn->load->message->size;
        f->in_body = true;
    }
    n = n < f->left ? n : (size_t)f->left;
    frame_take(conn, data, n);
    f->left -= n;
    if (f->left == 0)
        frame_reply_end(conn);
    return n;
}

static size_t
frame_feed_delimited(struct conn *conn, const uint8_t *data, size_t n)
{
    const struct bench_options *options = conn->load->options;
    const uint8_t *end = memmem(data, n, options->delimiter, options->delimiter_len);
    size_t sure = n < options->delimiter_len ? 0 : n - options->delimiter_len + 1u;

    if (end == NULL) {
        frame_take(conn, data, sure);
        return sure;
    }
    n = (size_t)(end - data);
    frame_take(conn, data, n);
    frame_reply_end(conn);
    return n + options->delimiter_len;
}

static size_t
frame_feed_step(struct conn *conn, const uint8_t *data, size_t n)
{
    switch (conn->load->options->framing) {
    case FRAMING_LENGTH32:
    case FRAMING_FIXED:
        return frame_feed_known(conn, data, n);
    case FRAMING_DELIMITER:
        return frame_feed_delimited(conn, data, n);
    case FRAMING_EOF:
        break;
    }
    frame_take(conn, data, n);
    return n;
}

/* Nobody asked for what comes while messages are only sent. */
static size_t
frame_feed(struct conn *conn, const uint8_t *data, size_t n)
{
    size_t used = 0;

    if (bench_only_sends(conn->load->options))
        return n;
    while (used < n && conn->state == CONN_UP) {
        size_t step;

        if (conn->next_seq == conn->done_seq) {
            conn_bad_answer(conn); /* a reply to nothing */
            return n;
        }
        step = frame_feed_step(conn, data + used, n - used);
        if (step == 0)
            break;
        used += step;
    }
    return used;
}

/* With eof this is the end of the reply. A server that has none to give where one is wanted does
 * not say whether it has taken the message. */
static bool
frame_ended(struct conn *conn)
{
    const struct bench_options *options = conn->load->options;

    if (options->framing != FRAMING_EOF || conn->next_seq == conn->done_seq || !conn_quiet(conn))
        return false;
    if (!options->want_reply)
        conn_commit(conn);
    else if (conn->protocol.frame.at > 0)
        frame_reply_end(conn);
    else
        return false;
    return true;
}

const struct bench_protocol bench_frame = {
    .name = "frame",
    .complete = frame_complete,
    .wire_create = frame_wire_create,
    .wire_destroy = frame_wire_destroy,
    .open = frame_open,
    .send = frame_send,
    .sent = frame_sent,
    .feed = frame_feed,
    .ended = frame_ended,
};
