/* The child leaves when its pipe ends, and by signal when the parent dies: it never outlives the
 * load. */
#include "bench/bench.h"
#include "common/fd.h"
#include "common/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PONG_ANSWER      "ACK\r\nACK\r\n"
#define PONG_BATCH       262144u /* bytes of answers sent at once; one answer at least */
#define PONG_EVENTS      256
#define PONG_BUFFER      65536u
#define PONG_PATIENCE_MS 10000

struct pong {
    int epoll;
    int listener;
    int life;
    size_t request_len, reply_len, batch; /* batch: answers that are there */
    size_t *got;                          /* by descriptor: bytes of the request under way */
    size_t got_count;
    char *answers;
    uint8_t buffer[PONG_BUFFER];
};

static int
pong_watch(struct pong *pong, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(pong->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void
pong_accept(struct pong *pong)
{
    int one = 1, fd;

    while ((fd = accept4(pong->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if ((size_t)fd >= pong->got_count || pong_watch(pong, fd) < 0) {
            close(fd);
            continue;
        }
        pong->got[fd] = 0;
    }
}

/* Waits where the socket is full: the one client reads, and nothing else is to be done for it. */
static bool
pong_send(int fd, const char *data, size_t n)
{
    while (n > 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent < 0 && poll(&p, 1, PONG_PATIENCE_MS) <= 0)
            return false;
        data += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

static void
pong_serve(struct pong *pong, int fd)
{
    ssize_t n = recv(fd, pong->buffer, sizeof(pong->buffer), 0);
    size_t whole;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(fd);
        return;
    }
    pong->got[fd] += (size_t)n;
    whole = pong->got[fd] / pong->request_len;
    pong->got[fd] -= whole * pong->request_len;
    while (whole > 0) {
        size_t now = whole < pong->batch ? whole : pong->batch;

        if (!pong_send(fd, pong->answers, now * pong->reply_len)) {
            close(fd);
            return;
        }
        whole -= now;
    }
}

static void
pong_loop(struct pong *pong)
{
    struct epoll_event events[PONG_EVENTS];

    for (;;) {
        int n = epoll_wait(pong->epoll, events, PONG_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == pong->life)
                return;
            if (fd == pong->listener)
                pong_accept(pong);
            else
                pong_serve(pong, fd);
        }
    }
}

static int
pong_prepare(struct pong *pong)
{
    const size_t most = 1u << 21, limit = fd_raise_limit();

    pong->got_count = limit < most ? limit : most;
    pong->got = ms_calloc(pong->got_count, sizeof(*pong->got));
    pong->batch = pong->reply_len < PONG_BATCH ? PONG_BATCH / pong->reply_len : 1;
    pong->answers = malloc(pong->batch * pong->reply_len);
    if (pong->answers == NULL)
        return -1;
    for (size_t i = 0; i < pong->batch * pong->reply_len; i++)
        pong->answers[i] = PONG_ANSWER[i % (sizeof(PONG_ANSWER) - 1)];
    pong->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pong->epoll < 0 || pong_watch(pong, pong->listener) < 0)
        return -1;
    return pong->life < 0 ? 0 : pong_watch(pong, pong->life);
}

/* Returns a listening socket, or -1 with errno. port: 0 becomes the one that the kernel chose. */
static int
pong_listen(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    struct endpoint ep = {.len = sizeof(at)};
    const struct listen_how how = {.backlog = 4096, .gid = (gid_t)-1};
    struct listen_socket listener = {.fd = -1};
    size_t failed;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&ep.addr, &at, sizeof(at));
    if (listen_open(&ep, 1, &how, &listener, &failed) < 0)
        return -1;
    memcpy(&at, &listener.bound.addr, sizeof(at));
    *port = ntohs(at.sin_port);
    return listener.fd;
}

/* Until life (-1: never) has ended. Returns -1 with errno where it cannot begin. */
static int
pong_run(int listener, int life, size_t request_len, size_t reply_len)
{
    static struct pong pong;

    pong = (struct pong){
        .listener = listener, .life = life, .request_len = request_len, .reply_len = reply_len};
    if (pong_prepare(&pong) < 0)
        return -1;
    pong_loop(&pong);
    return 0;
}

int
pingpong_serve(uint16_t port, size_t request_len, size_t reply_len)
{
    int listener = pong_listen(&port);

    return listener < 0 ? -1 : pong_run(listener, -1, request_len, reply_len);
}

int
pingpong_start(uint16_t port, size_t request_len, size_t reply_len, struct pingpong *server_out)
{
    struct pingpong server = {.port = port};
    int listener = pong_listen(&server.port), ends[2] = {-1, -1}, rc = -1;

    if (listener < 0 || pipe2(ends, O_CLOEXEC) < 0)
        goto out;
    server.pid = fork();
    if (server.pid < 0)
        goto out;
    if (server.pid == 0) {
        close(ends[1]);
        signal(SIGINT, SIG_IGN); /* ^C is for the parent, which ends this process then */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)pong_run(listener, ends[0], request_len, reply_len);
        _exit(0);
    }
    server.life = fd_steal(&ends[1]);
    *server_out = server;
    rc = 0;
out:
    fd_close(&ends[0]);
    fd_close(&ends[1]);
    fd_close(&listener);
    return rc;
}

void
pingpong_stop(struct pingpong *server)
{
    close(server->life);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
