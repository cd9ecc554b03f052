/* Members of a broadcast: one connection publishes frames (docs/protocol.md 4, length32), the
 * others count what they get. The publisher keeps a number of messages in flight: it begins the
 * next when the slowest member has one less, so nobody is dropped and nothing is measured that was
 * not delivered. */
#include "bench/bench_load.h"
#include "common/base.h"
#include "common/fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define MEMBERS_EVENTS 512
#define MEMBERS_BUFFER (256u * 1024u)
#define MEMBERS_QUIET  200  /* milliseconds without a byte: nothing more comes */
#define MEMBERS_WAIT   1000 /* for the next one */
#define MEMBERS_TRIES  50   /* messages until every member has got one */

struct member {
    int fd;
    uint64_t bytes; /* received */
};

struct members {
    const struct bench_options *options;
    int epoll, publisher;
    struct member *list;
    uint8_t *block; /* as many frames as are in flight */
    size_t frame_len;
    uint64_t published, received; /* frames, and bytes of all members */
    uint8_t *in;
    const char *failed; /* the failure; NULL: all is well */
};

static void
members_fail(struct members *m, const char *what)
{
    if (m->failed == NULL)
        m->failed = what;
}

static void
members_open(struct members *m, const struct endpoint *ep)
{
    const struct bench_options *options = m->options;

    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    m->publisher = bench_connect(ep);
    m->frame_len = 4 + (size_t)options->size;
    m->list = ms_calloc(options->members, sizeof(*m->list));
    m->in = ms_malloc(MEMBERS_BUFFER);
    m->block = ms_malloc(m->frame_len * options->ahead);
    memset(m->block, 'x', m->frame_len * options->ahead);
    for (uint32_t i = 0; i < options->ahead; i++)
        be32_store(m->block + i * m->frame_len, (uint32_t)options->size);
    for (uint32_t i = 0; i < options->members; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &m->list[i]};

        m->list[i].fd = bench_connect(ep);
        if (m->list[i].fd < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->list[i].fd, &event) < 0)
            members_fail(m, "a member cannot connect");
    }
    if (m->epoll < 0 || m->publisher < 0)
        members_fail(m, "the publisher cannot connect");
}

static void
members_close(struct members *m)
{
    for (uint32_t i = 0; i < m->options->members; i++)
        fd_close(&m->list[i].fd);
    fd_close(&m->publisher);
    fd_close(&m->epoll);
    free(m->list);
    free(m->in);
    free(m->block);
}

static void
members_read(struct members *m, struct member *one)
{
    ssize_t n = recv(one->fd, m->in, MEMBERS_BUFFER, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        members_fail(m, "a member was closed");
        return;
    }
    one->bytes += (uint64_t)n;
    m->received += (uint64_t)n;
}

/* False where nothing came in that time, or something has failed. */
static bool
members_turn(struct members *m, int timeout_ms)
{
    struct epoll_event events[MEMBERS_EVENTS];
    int n = epoll_wait(m->epoll, events, MEMBERS_EVENTS, timeout_ms);

    for (int i = 0; i < n; i++)
        members_read(m, events[i].data.ptr);
    return n > 0 && m->failed == NULL;
}

/* Frames that the slowest member has. */
static uint64_t
members_slowest(const struct members *m)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < m->options->members; i++)
        if (m->list[i].bytes < least)
            least = m->list[i].bytes;
    return least / m->frame_len;
}

static void
members_publish(struct members *m, uint32_t n)
{
    if (fd_write_all(m->publisher, m->block, n * m->frame_len) < 0)
        members_fail(m, "nothing can be published");
}

static void
members_forget(struct members *m)
{
    for (uint32_t i = 0; i < m->options->members; i++)
        m->list[i].bytes = 0;
}

/* A connection is a member when a worker has taken it, which only a message can tell: publishes one
 * now and then until all have got one, and then waits until nothing more comes. */
static void
members_settle(struct members *m)
{
    for (unsigned tries = 0; m->failed == NULL && members_slowest(m) == 0; tries++) {
        members_forget(m);
        members_publish(m, 1);
        while (members_turn(m, MEMBERS_QUIET) && members_slowest(m) == 0)
            continue;
        if (tries >= MEMBERS_TRIES)
            members_fail(m, "not every member gets messages: is it a broadcast over frame?");
    }
    while (members_turn(m, MEMBERS_QUIET))
        continue;
    members_forget(m);
}

static void
members_until(struct members *m, uint64_t end_ns)
{
    uint32_t ahead = m->options->ahead;

    while (m->failed == NULL && bench_now_ns() < end_ns) {
        uint32_t in_flight = (uint32_t)(m->published - members_slowest(m));

        if (in_flight <= ahead / 2) {
            members_publish(m, ahead - in_flight);
            m->published += ahead - in_flight;
        }
        (void)members_turn(m, MEMBERS_WAIT);
    }
}

static void
members_report(const struct members *m, uint64_t received, double seconds)
{
    double rate = (double)received / (double)m->frame_len / seconds;
    double mb = (double)received / 1e6 / seconds;

    if (m->options->json)
        printf("{\"messages_per_second\":%.0f,\"mb_per_second\":%.1f,\"seconds\":%.3f,"
               "\"members\":%u}\n",
               rate, mb, seconds, m->options->members);
    else
        printf("%.0f deliveries/s to %u members, %.1f MB/s, in %.2f s\n", rate, m->options->members,
               mb, seconds);
}

int
bench_members(const struct bench_options *options, const struct endpoint *ep)
{
    struct members m = {.options = options, .epoll = -1, .publisher = -1};
    uint64_t before, began_ns;

    members_open(&m, ep);
    if (m.failed == NULL)
        members_settle(&m);
    members_until(&m, bench_now_ns() + (uint64_t)(options->warmup_s * 1e9));
    before = m.received;
    began_ns = bench_now_ns();
    members_until(&m, began_ns + (uint64_t)(options->seconds * 1e9));
    if (m.failed == NULL)
        members_report(&m, m.received - before, (double)(bench_now_ns() - began_ns) / 1e9);
    else
        fprintf(stderr, "msock: %s\n", m.failed);
    members_close(&m);
    return m.failed == NULL ? EX_OK : EX_TEMPFAIL;
}
