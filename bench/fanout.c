/* Members of a broadcast: one of them publishes frames (docs/protocol.md 4, length32), all others
 * count what they get. The publisher keeps a number of messages in flight: it begins the next when
 * the slowest member has one less, so nobody is dropped and nothing is measured that was not
 * delivered. usage: fanout -P PORT [-c MEMBERS] [-s BYTES] [-a IN-FLIGHT] [-d SECONDS] [-u
 * WARM-UP] */
#include "common/base.h"
#include "common/be.h"
#include "common/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define EVENTS 512
#define BUFFER (256u * 1024u)

struct member {
    int fd;
    uint64_t bytes; /* received */
};

struct fanout {
    uint16_t port;
    unsigned members; /* that receive */
    size_t size;
    unsigned ahead;
    double seconds, warmup;
    int epoll;
    struct member *member;
    int publisher;
    uint8_t *block; /* ahead frames */
    size_t frame_len;
    uint64_t published, received; /* frames, and bytes of all members */
    uint8_t *in;
};

static _Noreturn void
fanout_fail(const char *what)
{
    fprintf(stderr, "fanout: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double
fanout_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
fanout_connect(const struct fanout *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        fanout_fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void
fanout_join(struct fanout *f)
{
    f->publisher = fanout_connect(f);
    for (unsigned i = 0; i < f->members; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &f->member[i]};

        f->member[i].fd = fanout_connect(f);
        if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, f->member[i].fd, &event) < 0)
            fanout_fail("epoll_ctl");
    }
}

static void
fanout_open(struct fanout *f)
{
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    f->member = ms_calloc(f->members, sizeof(*f->member));
    f->in = ms_malloc(BUFFER);
    f->frame_len = 4 + f->size;
    f->block = ms_malloc(f->frame_len * f->ahead);
    for (unsigned i = 0; i < f->ahead; i++) {
        be32_store(f->block + i * f->frame_len, (uint32_t)f->size);
        memset(f->block + i * f->frame_len + 4, 'x', f->size);
    }
    if (f->epoll < 0)
        fanout_fail("epoll_create1");
    fanout_join(f);
}

static void
fanout_read(struct fanout *f, struct member *m)
{
    ssize_t n = recv(m->fd, f->in, BUFFER, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fanout_fail("a member was closed");
    m->bytes += (uint64_t)n;
    f->received += (uint64_t)n;
}

/* Returns false where nothing came in that time. */
static bool
fanout_turn(struct fanout *f, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(f->epoll, events, EVENTS, timeout_ms);

    for (int i = 0; i < n; i++)
        fanout_read(f, events[i].data.ptr);
    return n > 0;
}

/* What the slowest member has. */
static uint64_t
fanout_slowest(const struct fanout *f)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < f->members; i++)
        if (f->member[i].bytes < least)
            least = f->member[i].bytes;
    return least / f->frame_len;
}

/* A connection is a member when a worker has taken it, which only a message can tell: publishes one
 * now and then until all have got one, and then waits until nothing more comes. */
static void
fanout_settle(struct fanout *f)
{
    while (fanout_slowest(f) == 0) {
        for (unsigned i = 0; i < f->members; i++)
            f->member[i].bytes = 0;
        if (fd_write_all(f->publisher, f->block, f->frame_len) < 0)
            fanout_fail("publish");
        while (fanout_turn(f, 200) && fanout_slowest(f) == 0)
            continue;
    }
    while (fanout_turn(f, 200))
        continue;
    for (unsigned i = 0; i < f->members; i++)
        f->member[i].bytes = 0;
}

static void
fanout_until(struct fanout *f, double end)
{
    while (fanout_now() < end) {
        uint64_t in_flight = f->published - fanout_slowest(f);

        if (in_flight <= f->ahead / 2) {
            unsigned n = f->ahead - (unsigned)in_flight;

            if (fd_write_all(f->publisher, f->block, n * f->frame_len) < 0)
                fanout_fail("publish");
            f->published += n;
        }
        fanout_turn(f, 1000);
    }
}

static void
fanout_options(struct fanout *f, int argc, char **argv)
{
    int c;

    *f = (struct fanout){
        .members = 1000, .size = 256, .ahead = 64, .seconds = 1, .warmup = 0.2, .epoll = -1};
    while ((c = getopt(argc, argv, "P:c:s:a:d:u:")) != -1) {
        if (c == 'P')
            f->port = (uint16_t)atoi(optarg);
        else if (c == 'c')
            f->members = (unsigned)atoi(optarg);
        else if (c == 's')
            f->size = (size_t)atol(optarg);
        else if (c == 'a')
            f->ahead = (unsigned)atoi(optarg);
        else if (c == 'd')
            f->seconds = atof(optarg);
        else if (c == 'u')
            f->warmup = atof(optarg);
        else
            f->port = 0;
    }
    if (f->port == 0 || f->members < 2 || f->ahead == 0 || optind < argc) {
        fprintf(stderr, "usage: fanout -P PORT [-c MEMBERS] [-s BYTES] [-a IN-FLIGHT] [-d SECONDS]"
                        " [-u WARM-UP]\n");
        exit(2);
    }
}

int
main(int argc, char **argv)
{
    static struct fanout f;
    uint64_t before;
    double begin, seconds;

    fanout_options(&f, argc, argv);
    fd_raise_limit();
    fanout_open(&f);
    fanout_settle(&f);
    fanout_until(&f, fanout_now() + f.warmup);
    before = f.received;
    begin = fanout_now();
    fanout_until(&f, begin + f.seconds);
    seconds = fanout_now() - begin;
    printf("rate=%.0f mb_per_s=%.1f seconds=%.3f\n",
           (double)(f.received - before) / (double)f.frame_len / seconds,
           (double)(f.received - before) / 1e6 / seconds, seconds);
    return 0;
}
