/* One connection of cnp that sends DATA packets as fast as its window allows and counts their ACKs
 * (docs/protocol.md 3.3): step-by-step with a window of 1, burst with more. Payload and checksum
 * are computed once, so that the server's work is what is measured; only the SEQUENCE changes.
 * usage: burst -P PORT [-s BYTES] [-w WINDOW] [-d SECONDS] [-u WARM-UP] */
#include "common/base.h"
#include "common/be.h"
#include "common/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define HEADER   11u
#define ACK_LEN  14u
#define TYPE_AT  4u
#define SEQ_AT   5u
#define BUFFER   65536u
#define SEQ_LAST 65535u

struct burst {
    uint16_t port;
    size_t size;
    unsigned window;
    double seconds, warmup;
    int fd;
    uint8_t *ring; /* window packets, one behind the other */
    size_t packet_len;
    uint64_t sent, acked; /* packets begun, and acknowledged */
    size_t unsent;        /* bytes of packets begun */
    size_t at;            /* of the ring: what is sent next */
    size_t partial;       /* bytes of an ACK */
    uint8_t in[BUFFER];
};

static _Noreturn void
burst_fail(const char *what)
{
    fprintf(stderr, "burst: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double
burst_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
packet_write(uint8_t *out, uint8_t type, const void *payload, size_t n)
{
    uint8_t sum[EVP_MAX_MD_SIZE];

    be32_store(out, (uint32_t)n);
    out[TYPE_AT] = type;
    be16_store(out + SEQ_AT, 0);
    if (EVP_Digest(payload, n, sum, NULL, EVP_md5(), NULL) != 1)
        burst_fail("MD5");
    memcpy(out + 7, sum, 4);
    memcpy(out + HEADER, payload, n);
}

/* --- the handshake --- */

static void
burst_send_text(const struct burst *b, uint8_t type, const char *text)
{
    uint8_t packet[512];

    packet_write(packet, type, text, strlen(text));
    if (fd_write_all(b->fd, packet, HEADER + strlen(text)) < 0)
        burst_fail("send");
}

static void
burst_read_exactly(const struct burst *b, void *out, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t got = fd_read(b->fd, (char *)out + have, n - have);

        if (got <= 0)
            burst_fail("the handshake was cut short");
        have += (size_t)got;
    }
}

static void
burst_handshake(struct burst *b)
{
    static const char member[] = "\"session_id\":";
    char text[1024], *id, *open, *end;
    uint8_t head[HEADER];
    uint32_t n;

    snprintf(text, sizeof(text),
             "{\"operation_mode\":\"%s\",\"max_packet_size\":%zu,\"window_size\":%u}",
             b->window > 1 ? "burst" : "step-by-step", b->size, b->window);
    burst_send_text(b, 1, text);
    burst_read_exactly(b, head, sizeof(head));
    n = be32_load(head);
    if (n >= sizeof(text))
        burst_fail("the handshake's answer is too long");
    burst_read_exactly(b, text, n);
    text[n] = '\0';
    id = strstr(text, "\"session_id\"");
    open = id == NULL ? NULL : strchr(id + strlen(member) - 1, '"');
    end = open == NULL ? NULL : strchr(open + 1, '"');
    if (end == NULL) {
        fprintf(stderr, "burst: the server answers %s\n", text);
        exit(3);
    }
    end[1] = '\0';
    memmove(text, open, strlen(open) + 1);
    memmove(text + strlen(member) + 1, text, strlen(text) + 1);
    text[0] = '{';
    memcpy(text + 1, member, strlen(member));
    strcat(text, "}");
    burst_send_text(b, 2, text);
}

static void
burst_open(struct burst *b)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(b->port)};
    uint8_t *payload = ms_malloc(b->size);
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (b->fd < 0 || connect(b->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        burst_fail("connect");
    setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    burst_handshake(b);
    b->packet_len = HEADER + b->size;
    b->ring = ms_malloc(b->packet_len * b->window);
    memset(payload, 'x', b->size);
    for (unsigned i = 0; i < b->window; i++)
        packet_write(b->ring + i * b->packet_len, 1, payload, b->size);
    free(payload);
    if (fd_set_nonblock(b->fd, 1) < 0)
        burst_fail("fcntl");
}

/* --- sending and counting --- */

/* A place of the ring is used again only when its packet was acknowledged, so nothing in it is on
 * its way while its number changes. */
static void
burst_fill(struct burst *b)
{
    while (b->sent - b->acked < b->window) {
        uint8_t *packet = b->ring + (b->sent % b->window) * b->packet_len;

        be16_store(packet + SEQ_AT, (uint16_t)(b->sent % SEQ_LAST + 1));
        b->sent++;
        b->unsent += b->packet_len;
    }
}

static void
burst_send(struct burst *b)
{
    size_t ring_len = b->packet_len * b->window;

    while (b->unsent > 0) {
        size_t run = ring_len - b->at < b->unsent ? ring_len - b->at : b->unsent;
        ssize_t n = send(b->fd, b->ring + b->at, run, MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            burst_fail("send");
        b->unsent -= (size_t)n;
        b->at = (b->at + (size_t)n) % ring_len;
    }
}

/* ACKs are all of one length; anything else begins with another length or type. */
static void
burst_receive(struct burst *b)
{
    ssize_t n = recv(b->fd, b->in + b->partial, BUFFER - b->partial, 0);
    size_t have, at = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        burst_fail("the connection was lost");
    have = b->partial + (size_t)n;
    for (; have - at >= ACK_LEN; at += ACK_LEN) {
        uint16_t expected = (uint16_t)(b->acked % SEQ_LAST + 1);

        if (be32_load(b->in + at) != 3 || b->in[at + TYPE_AT] != 2 ||
            be16_load(b->in + at + SEQ_AT) != expected) {
            fprintf(stderr, "burst: no ACK of packet %u\n", expected);
            exit(3);
        }
        b->acked++;
    }
    memmove(b->in, b->in + at, have - at);
    b->partial = have - at;
}

static void
burst_until(struct burst *b, double end)
{
    while (burst_now() < end) {
        struct pollfd p = {.fd = b->fd, .events = POLLIN};

        burst_fill(b);
        burst_send(b);
        if (b->unsent > 0)
            p.events |= POLLOUT;
        if (poll(&p, 1, 1000) > 0 && (p.revents & ~POLLOUT) != 0)
            burst_receive(b);
    }
}

static void
burst_options(struct burst *b, int argc, char **argv)
{
    int c;

    *b = (struct burst){.size = 1024, .window = 1, .seconds = 1, .warmup = 0.2, .fd = -1};
    while ((c = getopt(argc, argv, "P:s:w:d:u:")) != -1) {
        if (c == 'P')
            b->port = (uint16_t)atoi(optarg);
        else if (c == 's')
            b->size = (size_t)atol(optarg);
        else if (c == 'w')
            b->window = (unsigned)atoi(optarg);
        else if (c == 'd')
            b->seconds = atof(optarg);
        else if (c == 'u')
            b->warmup = atof(optarg);
        else
            b->port = 0;
    }
    if (b->port == 0 || b->size == 0 || b->window == 0 || optind < argc) {
        fprintf(stderr, "usage: burst -P PORT [-s BYTES] [-w WINDOW] [-d SECONDS] [-u WARM-UP]\n");
        exit(2);
    }
}

int
main(int argc, char **argv)
{
    static struct burst b;
    uint64_t before;
    double begin, seconds;

    burst_options(&b, argc, argv);
    burst_open(&b);
    burst_until(&b, burst_now() + b.warmup);
    before = b.acked;
    begin = burst_now();
    burst_until(&b, begin + b.seconds);
    seconds = burst_now() - begin;
    printf("rate=%.0f mb_per_s=%.1f packets=%.0f seconds=%.3f\n",
           (double)(b.acked - before) / seconds,
           (double)(b.acked - before) * (double)b.size / seconds / 1e6, (double)(b.acked - before),
           seconds);
    fd_close(&b.fd);
    free(b.ring);
    return 0;
}
