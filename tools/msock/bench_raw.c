/* The child leaves when its pipe ends, and by signal when the parent dies: it never outlives the
 * load. */
#include "bench_raw.h"

#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RAW_ANSWER     "ACK\r\nACK\r\n"
#define RAW_ANSWER_LEN (sizeof(RAW_ANSWER) - 1)
#define RAW_ANSWERS    4096u /* sent at once, at most */
#define RAW_EVENTS     256
#define RAW_BUFFER     65536u

struct raw {
    int epoll;
    int listener;
    int life;
    size_t request_len;
    size_t *got; /* by descriptor: bytes of the request under way */
    size_t got_count;
    char *answers;
    uint8_t buffer[RAW_BUFFER];
};

static int
raw_watch(struct raw *raw, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(raw->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void
raw_accept(struct raw *raw)
{
    int one = 1, fd;

    while ((fd = accept4(raw->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if ((size_t)fd >= raw->got_count || raw_watch(raw, fd) < 0) {
            close(fd);
            continue;
        }
        raw->got[fd] = 0;
    }
}

/* Answers are so small that a full socket means a client that has stopped reading: not ours. */
static void
raw_serve(struct raw *raw, int fd)
{
    ssize_t n = recv(fd, raw->buffer, sizeof(raw->buffer), 0);
    size_t whole;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close(fd);
        return;
    }
    raw->got[fd] += (size_t)n;
    whole = raw->got[fd] / raw->request_len;
    raw->got[fd] -= whole * raw->request_len;
    while (whole > 0) {
        size_t now = whole < RAW_ANSWERS ? whole : RAW_ANSWERS;

        if (send(fd, raw->answers, now * RAW_ANSWER_LEN, MSG_NOSIGNAL) !=
            (ssize_t)(now * RAW_ANSWER_LEN)) {
            close(fd);
            return;
        }
        whole -= now;
    }
}

static void
raw_loop(struct raw *raw)
{
    struct epoll_event events[RAW_EVENTS];

    for (;;) {
        int n = epoll_wait(raw->epoll, events, RAW_EVENTS, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == raw->life)
                return;
            if (fd == raw->listener)
                raw_accept(raw);
            else
                raw_serve(raw, fd);
        }
    }
}

static int
raw_prepare(struct raw *raw)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    raw->got_count = limit.rlim_cur < 1u << 21 ? (size_t)limit.rlim_cur : 1u << 21;
    raw->got = calloc(raw->got_count, sizeof(*raw->got));
    raw->answers = malloc(RAW_ANSWERS * RAW_ANSWER_LEN);
    if (raw->got == NULL || raw->answers == NULL)
        return -1;
    for (size_t i = 0; i < RAW_ANSWERS; i++)
        memcpy(raw->answers + i * RAW_ANSWER_LEN, RAW_ANSWER, RAW_ANSWER_LEN);
    raw->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (raw->epoll < 0 || raw_watch(raw, raw->listener) < 0)
        return -1;
    return raw_watch(raw, raw->life);
}

static _Noreturn void
raw_child(int listener, int life, size_t request_len)
{
    static struct raw raw;

    /* ^C is for the parent, which ends this process when it has reported. */
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raw.listener = listener;
    raw.life = life;
    raw.request_len = request_len;
    if (raw_prepare(&raw) == 0)
        raw_loop(&raw);
    _exit(0);
}

static int
raw_listen(int *fd_out, uint16_t *port_out)
{
    struct endpoint ep = endpoint_loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&ep.addr, ep.len) < 0 || listen(fd, 4096) < 0) {
        close(fd);
        return -1;
    }
    *port_out = endpoint_local_port(fd);
    *fd_out = fd;
    return 0;
}

int
raw_start(size_t request_len, struct raw_server *server_out)
{
    int listener = -1, ends[2] = {-1, -1}, rc = -1;
    struct raw_server server;

    if (raw_listen(&listener, &server.port) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        goto out;
    server.pid = fork();
    if (server.pid < 0)
        goto out;
    if (server.pid == 0) {
        close(ends[1]);
        raw_child(listener, ends[0], request_len);
    }
    server.life = ends[1];
    ends[1] = -1;
    *server_out = server;
    rc = 0;
out:
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    if (listener >= 0)
        close(listener);
    return rc;
}

void
raw_stop(struct raw_server *server)
{
    close(server->life);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
