/* The ceiling: a server that computes nothing. It answers every REQUEST bytes with REPLY bytes in a
 * bare epoll loop, so no server of the same bytes can be faster with this generator on this
 * machine. Runs until a signal ends it. usage: ping PORT REQUEST REPLY [WORKERS] */
#include "common/base.h"
#include "common/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PING_EVENTS 256
#define PING_BUFFER 65536u

struct ping {
    int listener, epoll;
    size_t request_len, reply_len;
    size_t *partial; /* by descriptor: bytes of the request under way */
    size_t descriptors;
    uint8_t *in, *out;
};

static void
ping_watch(const struct ping *ping, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(ping->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        close(fd);
}

static void
ping_accept(const struct ping *ping)
{
    int one = 1, fd;

    while ((fd = accept4(ping->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if ((size_t)fd >= ping->descriptors) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        ping->partial[fd] = 0;
        ping_watch(ping, fd, EPOLLIN);
    }
}

/* Replies are few bytes, so a socket that does not take them is one that nobody reads. */
static void
ping_serve(const struct ping *ping, int fd)
{
    ssize_t n = recv(fd, ping->in, PING_BUFFER, 0);
    size_t bytes, out_len;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(fd);
        return;
    }
    bytes = ping->partial[fd] + (size_t)n;
    out_len = bytes / ping->request_len * ping->reply_len;
    ping->partial[fd] = bytes % ping->request_len;
    if (out_len > 0 && send(fd, ping->out, out_len, MSG_NOSIGNAL) != (ssize_t)out_len)
        close(fd);
}

static _Noreturn void
ping_run(struct ping *ping)
{
    struct epoll_event events[PING_EVENTS];

    ping->epoll = epoll_create1(EPOLL_CLOEXEC);
    ping_watch(ping, ping->listener, EPOLLIN | EPOLLEXCLUSIVE);
    for (;;) {
        int n = epoll_wait(ping->epoll, events, PING_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == ping->listener)
                ping_accept(ping);
            else
                ping_serve(ping, events[i].data.fd);
        }
    }
}

static int
ping_listen(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4096) < 0) {
        fprintf(stderr, "ping: port %u: %s\n", port, strerror(errno));
        exit(1);
    }
    return fd;
}

int
main(int argc, char **argv)
{
    struct ping ping = {.listener = -1};
    int workers = argc > 4 ? atoi(argv[4]) : 1;

    if (argc < 4 || atoi(argv[2]) < 1 || atoi(argv[3]) < 1) {
        fprintf(stderr, "usage: ping PORT REQUEST REPLY [WORKERS]\n");
        return 2;
    }
    ping.request_len = (size_t)atoi(argv[2]);
    ping.reply_len = (size_t)atoi(argv[3]);
    ping.descriptors = fd_raise_limit();
    ping.partial = ms_calloc(ping.descriptors, sizeof(*ping.partial));
    ping.in = ms_malloc(PING_BUFFER);
    /* as many replies as one read and a request under way can ask for */
    ping.out = ms_calloc(PING_BUFFER / ping.request_len + 2, ping.reply_len);
    ping.listener = ping_listen((uint16_t)atoi(argv[1]));
    for (int i = 1; i < workers; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            break;
        }
    }
    ping_run(&ping);
}
