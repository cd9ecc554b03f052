/* The socket under the client, and the lines that come back. */
#include "harness.h"

#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_MAX_PEERS 32768
#define NACKS_MAX      50

/* Sockets that teardown closes, by descriptor. Only the main thread's peers stand here. */
static bool open_peers[OPEN_MAX_PEERS];

static void
name_socket(struct peer *p)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char text[INET6_ADDRSTRLEN] = "";

    p->name[0] = '\0';
    if (getsockname(p->fd, (struct sockaddr *)&addr, &len) < 0)
        return;
    if (addr.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        snprintf(p->name, sizeof(p->name), "%s:%u", text, ntohs(in->sin_port));
    } else if (addr.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&addr;

        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
        snprintf(p->name, sizeof(p->name), "[%s]:%u", text, ntohs(in->sin6_port));
    }
}

static int
bind_source(int fd, const char *source)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int one = 1;

    if (source == NULL)
        return 0;
    if (inet_pton(AF_INET, source, &addr.sin_addr) != 1)
        return -1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
}

int
peer_try_connect(struct peer *p, const struct target *target, const char *source)
{
    int one = 1, saved;

    memset(p, 0, offsetof(struct peer, in));
    p->answer_ms = 30000 * WAIT_SCALE;
    p->fd = socket(target->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return -1;
    if (bind_source(p->fd, source) < 0 ||
        connect(p->fd, (const struct sockaddr *)&target->addr, target->len) < 0) {
        saved = errno;
        close(p->fd);
        p->fd = -1;
        errno = saved;
        return -1;
    }
    if (target->addr.ss_family != AF_UNIX)
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    name_socket(p);
    return 0;
}

void
peer_connect_from(struct peer *p, const struct target *target, const char *source)
{
    if (peer_try_connect(p, target, source) < 0)
        fail_msg("cannot connect to %s: %s", target->url, strerror(errno));
    if (p->fd < OPEN_MAX_PEERS)
        open_peers[p->fd] = true;
}

void
peer_connect(struct peer *p, const struct target *target)
{
    peer_connect_from(p, target, NULL);
}

void
peer_close(struct peer *p)
{
    if (p->fd < 0)
        return;
    if (p->fd < OPEN_MAX_PEERS)
        open_peers[p->fd] = false;
    close(p->fd);
    p->fd = -1;
}

void
peer_close_all(void)
{
    for (int fd = 0; fd < OPEN_MAX_PEERS; fd++) {
        if (open_peers[fd])
            close(fd);
        open_peers[fd] = false;
    }
}

int
peer_write(struct peer *p, const void *data, size_t n)
{
    const char *at = data;

    while (n > 0) {
        ssize_t done = send(p->fd, at, n, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        at += done;
        n -= (size_t)done;
        p->counts.bytes_in += (uint64_t)done;
    }
    return 0;
}

void
peer_post(struct peer *p, const struct outgoing *m)
{
    uint8_t data[WIRE_FIRST_MAX + WIRE_TRAILER_MAX];

    assert_int_equal(peer_write(p, data, wire_ahead(data, m)), 0);
}

static ssize_t
receive(struct peer *p, void *data, size_t n, unsigned timeout_ms)
{
    struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
    ssize_t got;
    int ready;

    do
        ready = poll(&pfd, 1, (int)timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    got = recv(p->fd, data, n, 0);
    if (got > 0)
        p->counts.bytes_out += (uint64_t)got;
    return got;
}

ssize_t
peer_read_some(struct peer *p, void *data, size_t n, unsigned timeout_ms)
{
    size_t take = p->have < n ? p->have : n;

    if (take == 0)
        return receive(p, data, n, timeout_ms);
    memcpy(data, p->in, take);
    memmove(p->in, p->in + take, p->have - take);
    p->have -= take;
    return (ssize_t)take;
}

int
peer_read(struct peer *p, void *data, size_t n)
{
    char *at = data;

    while (n > 0) {
        ssize_t got = peer_read_some(p, at, n, p->answer_ms);

        if (got <= 0)
            return -1;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

static enum answer_kind
classify(struct answer *a)
{
    char extra;

    a->grant = 0;
    a->code[0] = '\0';
    if (strcmp(a->text, "ACK") == 0)
        return ANSWER_ACK;
    if (strcmp(a->text, "NACK1") == 0)
        return ANSWER_NACK1;
    if (strcmp(a->text, "NACK2") == 0)
        return ANSWER_NACK2;
    if (sscanf(a->text, "ACK %u%c", &a->grant, &extra) == 1 && a->text[4] != '0' &&
        a->grant >= 64 && a->grant <= 16777216)
        return ANSWER_GRANT;
    if (sscanf(a->text, "REJ %31[a-z-]", a->code) == 1)
        return ANSWER_REJ;
    if (sscanf(a->text, "ERR %31[a-z-]", a->code) == 1)
        return ANSWER_ERR;
    return ANSWER_BROKEN;
}

static void
count_answer(struct peer *p, enum answer_kind kind)
{
    p->counts.acks += kind == ANSWER_ACK || kind == ANSWER_GRANT;
    p->counts.nack1 += kind == ANSWER_NACK1;
    p->counts.nack2 += kind == ANSWER_NACK2;
    p->counts.rej += kind == ANSWER_REJ;
    p->counts.err += kind == ANSWER_ERR;
}

/* Takes one line out of what has arrived; false where it is not complete. */
static bool
take_line(struct peer *p, struct answer *answer_out)
{
    char *end = memmem(p->in, p->have, "\r\n", 2);
    size_t n;

    if (end == NULL)
        return false;
    n = (size_t)(end - p->in);
    if (n >= sizeof(answer_out->text))
        n = sizeof(answer_out->text) - 1;
    memcpy(answer_out->text, p->in, n);
    answer_out->text[n] = '\0';
    end += 2;
    p->have -= (size_t)(end - p->in);
    memmove(p->in, end, p->have);
    return true;
}

enum answer_kind
peer_answer(struct peer *p, struct answer *answer_out)
{
    ssize_t got;

    answer_out->text[0] = answer_out->code[0] = '\0';
    while (!take_line(p, answer_out)) {
        if (p->have == sizeof(p->in))
            return answer_out->kind = ANSWER_BROKEN;
        got = receive(p, p->in + p->have, sizeof(p->in) - p->have, p->answer_ms);
        if (got == 0 || (got < 0 && errno != ETIMEDOUT))
            return answer_out->kind = ANSWER_CLOSED;
        if (got < 0)
            return answer_out->kind = ANSWER_SILENCE;
        p->have += (size_t)got;
    }
    answer_out->kind = classify(answer_out);
    count_answer(p, answer_out->kind);
    p->answers++;
    return answer_out->kind;
}

char *
peer_reply(struct peer *p, size_t *n_out)
{
    uint8_t head[WIRE_FIRST_HEADER], want[WIRE_FIRST_HEADER], digest[32];
    uint64_t size = 0;
    char *body;

    if (peer_read(p, head, sizeof(head)) < 0)
        return NULL;
    for (int i = 0; i < 8; i++)
        size = size << 8 | head[i];
    if (size > 16u << 20 || (body = calloc(1, size + 1)) == NULL)
        return NULL;
    if (peer_read(p, body, size) == 0) {
        wire_sha256(body, size, digest);
        wire_header(want, size, digest, wire_crc(body, size));
        if (memcmp(head, want, sizeof(head)) == 0) {
            *n_out = size;
            return body;
        }
    }
    free(body);
    return NULL;
}

/* Sends one packet until the server takes it: again after each NACK1. crc_at is where its CRC-32
 * stands. */
static enum answer_kind
send_packet(struct peer *p, uint8_t *packet, size_t n, size_t crc_at, struct answer *answer)
{
    enum answer_kind kind;
    unsigned tries = 0;

    do {
        uint8_t spoiled = p->spoil_crc > 0 ? 0x40 : 0;

        p->spoil_crc -= spoiled != 0;
        packet[crc_at] ^= spoiled;
        if (peer_write(p, packet, n) < 0 && errno != EPIPE && errno != ECONNRESET)
            return answer->kind = ANSWER_CLOSED;
        packet[crc_at] ^= spoiled;
        kind = peer_answer(p, answer);
        p->counts.packets += kind <= ANSWER_REJ && kind != ANSWER_NACK1;
    } while (kind == ANSWER_NACK1 && ++tries < NACKS_MAX);
    return kind;
}

static enum answer_kind
send_body(struct peer *p, const struct outgoing *m, uint8_t *packet, struct answer *answer)
{
    size_t sent = m->len < WIRE_FIRST_BODY ? m->len : WIRE_FIRST_BODY;
    size_t n = wire_first(packet, m);
    enum answer_kind kind;

    if (p->spoil_digest > 0) {
        p->spoil_digest--;
        packet[10] ^= 0x40;
    }
    kind = send_packet(p, packet, n, 44, answer);
    while (kind == ANSWER_GRANT && sent < m->len) {
        n = m->len - sent < answer->grant - WIRE_NEXT_HEADER ? m->len - sent
                                                             : answer->grant - WIRE_NEXT_HEADER;
        wire_next(packet, (const char *)m->body + sent, n);
        sent += n;
        kind = send_packet(p, packet, WIRE_NEXT_HEADER + n, 0, answer);
    }
    return kind;
}

enum answer_kind
peer_send(struct peer *p, const struct outgoing *m, struct answer *answer_out)
{
    size_t cap = m->len + WIRE_FIRST_MAX + WIRE_TRAILER_MAX;
    uint8_t *packet = malloc(cap);
    enum answer_kind kind = ANSWER_BROKEN;
    unsigned tries = 0;

    if (packet == NULL)
        return ANSWER_BROKEN;
    p->answers = 0;
    do {
        kind = send_body(p, m, packet, answer_out);
        if (kind == ANSWER_ACK)
            kind = send_packet(p, packet, wire_trailer(packet, m), 0, answer_out);
    } while (kind == ANSWER_NACK2 && ++tries < NACKS_MAX);
    if (kind == ANSWER_ACK)
        p->counts.messages++;
    free(packet);
    return kind;
}

enum answer_kind
peer_send_plain(struct peer *p, const char *id, const void *body, size_t n, struct answer *answer)
{
    struct outgoing m = {
        .kind = 'A', .value = id, .value_len = id != NULL ? strlen(id) : 0, .body = body, .len = n};

    return peer_send(p, &m, answer);
}

bool
peer_closed(struct peer *p, unsigned timeout_ms)
{
    uint64_t deadline = now_us() + (uint64_t)timeout_ms * 1000 * WAIT_PATIENCE * WAIT_SCALE;
    char waste[4096];

    p->have = 0;
    for (;;) {
        uint64_t now = now_us();
        ssize_t got = receive(p, waste, sizeof(waste),
                              now < deadline ? (unsigned)((deadline - now) / 1000 + 1) : 0);

        if (got == 0 || (got < 0 && errno != ETIMEDOUT))
            return true;
        if (got < 0)
            return false;
    }
}

void
peer_reset_on_close(struct peer *p)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}
