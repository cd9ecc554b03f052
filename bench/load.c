/* The generator of every comparison: a closed loop in one thread. It keeps a number of requests in
 * flight on each connection and measures from the writing of a request to the end of its reply.
 * Invariant: all requests are the same bytes, so what a connection has to write is an offset into
 * one shared block, and no protocol costs the generator a copy or a parser that another does not
 * have. */
#include "common/base.h"
#include "common/fd.h"
#include "histogram.h"
#include "request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define LOAD_EVENTS 256
#define LOAD_BUFFER 65536u
/* sources of idle connections: 127.0.0.2 and on, for the sake of ports */
#define LOAD_ADDRESSES 8u

struct options {
    const char *protocol;
    uint16_t port;
    unsigned connections;
    unsigned idle; /* further connections that send one request and then nothing */
    unsigned ahead;
    size_t size;
    double seconds, warmup;
    const char *pids; /* comma-separated; their CPU time is reported */
    const char *disk; /* a path; the flushes of its device are reported */
    bool hold;        /* when all are connected, say so and wait for the end of standard input */
};

struct conn {
    int fd;
    uint32_t in_flight;
    uint32_t unsent; /* bytes, from offset at of the block */
    uint32_t at;     /* less than a request's length */
    bool want_out;
    uint32_t step; /* the trip that was begun last */
    struct reply_reader reader;
    uint32_t oldest; /* index in began */
    uint64_t *began; /* when each request in flight was written, nanoseconds; a ring of ahead */
};

/* What is read at the begin and at the end of the measured time. */
struct mark {
    uint64_t ns;
    double own_cpu, server_cpu; /* seconds */
    int64_t flushes;            /* -1: not known */
    uint64_t replies;
};

struct load {
    struct options options;
    struct request request;
    uint8_t *block; /* ahead + 1 requests, one behind the other */
    struct conn *conns;
    int *idle;
    int epoll;
    uint64_t replies; /* of all the run */
    struct histogram *latency;
    uint8_t *buffer;
};

static _Noreturn void
load_fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t
load_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- connections --- */

static int
load_connect(const struct load *load, unsigned source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(load->options.port)};
    struct timeval patience = {.tv_sec = 10};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        load_fail("socket");
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        load_fail("bind");
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        load_fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

/* What a connection begins with, before its first request. */
static void
load_greet(const struct load *load, int fd)
{
    const char *opening = load->request.opening;
    char answer[64];
    size_t n;

    if (opening == NULL)
        return;
    n = strlen(opening);
    if (fd_write_all(fd, opening, n) < 0 || fd_read(fd, answer, n) != (ssize_t)n)
        load_fail("a connection could not be opened");
}

/* One request and its whole reply, then silence. */
static void
load_connect_idle(struct load *load, unsigned i)
{
    struct reply_reader reader = {0};
    int replies = 0;

    load->idle[i] = load_connect(load, 1 + i % LOAD_ADDRESSES);
    if (fd_write_all(load->idle[i], load->request.data, load->request.len) < 0)
        load_fail("write");
    while (replies == 0) {
        ssize_t n = fd_read(load->idle[i], load->buffer, LOAD_BUFFER);

        if (n <= 0)
            load_fail("no reply on an idle connection");
        replies = reply_feed(&load->request, &reader, load->buffer, (size_t)n);
    }
    if (replies != 1)
        load_fail("a wrong reply on an idle connection");
}

static void
load_watch(const struct load *load, struct conn *conn, int how, bool out)
{
    struct epoll_event event = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = conn};

    if (epoll_ctl(load->epoll, how, conn->fd, &event) < 0)
        load_fail("epoll_ctl");
    conn->want_out = out;
}

static void
conn_write(const struct load *load, struct conn *conn)
{
    ssize_t n = send(conn->fd, load->block + conn->at, conn->unsent, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        load_fail("send");
    if (n > 0) {
        conn->unsent -= (uint32_t)n;
        conn->at = (uint32_t)((conn->at + (size_t)n) % load->request.len);
    }
    if ((conn->unsent > 0) != conn->want_out)
        load_watch(load, conn, EPOLL_CTL_MOD, conn->unsent > 0);
}

/* Fills up to the number in flight, in one write. */
static void
conn_fill(const struct load *load, struct conn *conn, uint64_t now)
{
    uint32_t ahead = load->options.ahead;

    while (conn->in_flight < ahead) {
        conn->began[(conn->oldest + conn->in_flight) % ahead] = now;
        conn->in_flight++;
        conn->unsent +=
            load->request.steps > 0 ? load->request.step[0].len : (uint32_t)load->request.len;
    }
    conn_write(load, conn);
}

/* A request of several trips goes on. After the last one conn_fill begins the next request. */
static void
conn_next_step(const struct load *load, struct conn *conn)
{
    if (conn->step == 0)
        return;
    conn->unsent += load->request.step[conn->step].len;
    conn_write(load, conn);
}

static void
conn_take(struct load *load, struct conn *conn, uint64_t now)
{
    histogram_add(load->latency, now - conn->began[conn->oldest]);
    conn->oldest = conn->oldest + 1 == load->options.ahead ? 0 : conn->oldest + 1;
    conn->in_flight--;
    load->replies++;
}

static void
conn_read(struct load *load, struct conn *conn)
{
    ssize_t n = recv(conn->fd, load->buffer, LOAD_BUFFER, 0);
    uint64_t now = load_now();
    int replies;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        load_fail("a connection was lost");
    replies = reply_feed(&load->request, &conn->reader, load->buffer, (size_t)n);
    if (replies < 0 || (uint32_t)replies > conn->in_flight) {
        fprintf(stderr, "load: a wrong reply: %.*s\n", (int)(n > 200 ? 200 : n),
                (const char *)load->buffer);
        exit(3);
    }
    while (replies-- > 0)
        conn_take(load, conn, now);
    if (conn->reader.step != conn->step) {
        conn->step = conn->reader.step;
        conn_next_step(load, conn);
    }
    if (conn->in_flight <= load->options.ahead / 2 && conn->unsent == 0)
        conn_fill(load, conn, now);
}

/* --- measuring --- */

/* User and system time of all threads, also of those that have ended, in seconds. */
static double
mark_process_cpu(const char *pid)
{
    unsigned long user = 0, system = 0;
    char path[64], line[1024];
    const char *after;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        load_fail(path);
    if (fgets(line, sizeof(line), f) == NULL || (after = strrchr(line, ')')) == NULL ||
        sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) !=
            2)
        load_fail(path);
    fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double
mark_server_cpu(const char *pids)
{
    double sum = 0;
    char *copy, *rest, *pid;

    if (pids == NULL)
        return 0;
    copy = rest = ms_strdup(pids);
    while ((pid = strsep(&rest, ",")) != NULL)
        if (*pid != '\0')
            sum += mark_process_cpu(pid);
    free(copy);
    return sum;
}

static double
mark_own_cpu(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Requests to flush that the device under a path has completed. */
static int64_t
mark_flushes(const char *path)
{
    struct stat st;
    unsigned device_major, device_minor;
    long long flushes, found = -1;
    char line[512];
    FILE *f;

    if (path == NULL || stat(path, &st) < 0 || (f = fopen("/proc/diskstats", "re")) == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line,
                   "%u %u %*s %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lld",
                   &device_major, &device_minor, &flushes) == 3 &&
            device_major == major(st.st_dev) && device_minor == minor(st.st_dev))
            found = flushes;
    fclose(f);
    return found;
}

static struct mark
mark_take(const struct load *load)
{
    return (struct mark){
        .own_cpu = mark_own_cpu(),
        .server_cpu = mark_server_cpu(load->options.pids),
        .flushes = mark_flushes(load->options.disk),
        .replies = load->replies,
        .ns = load_now(),
    };
}

static void
load_report(const struct load *load, const struct mark *begin, const struct mark *end)
{
    double seconds = (double)(end->ns - begin->ns) / 1e9;
    double replies = (double)(end->replies - begin->replies);
    const struct histogram *h = load->latency;

    printf("rate=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f messages=%.0f seconds=%.3f",
           replies / seconds, (double)histogram_quantile(h, 0.5) / 1e3,
           (double)histogram_quantile(h, 0.99) / 1e3, (double)h->max / 1e3, replies, seconds);
    printf(" mb_per_s=%.1f", replies * (double)load->options.size / seconds / 1e6);
    printf(" generator_cpu=%.2f", (end->own_cpu - begin->own_cpu) / seconds);
    if (load->options.pids != NULL)
        printf(" server_cpu=%.2f cpu_us=%.3f", (end->server_cpu - begin->server_cpu) / seconds,
               (end->server_cpu - begin->server_cpu) * 1e6 / replies);
    if (begin->flushes >= 0)
        printf(" flushes=%.5f", (double)(end->flushes - begin->flushes) / replies);
    printf("\n");
}

/* --- the run --- */

static void
load_turn(struct load *load)
{
    struct epoll_event events[LOAD_EVENTS];
    int n = epoll_wait(load->epoll, events, LOAD_EVENTS, 100);

    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;

        if (events[i].events & EPOLLOUT)
            conn_write(load, conn);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            conn_read(load, conn);
    }
}

static void
load_until(struct load *load, uint64_t deadline)
{
    while (load_now() < deadline)
        load_turn(load);
}

static void
load_run(struct load *load)
{
    struct mark begin, end;

    for (unsigned i = 0; i < load->options.connections; i++)
        conn_fill(load, &load->conns[i], load_now());
    load_until(load, load_now() + (uint64_t)(load->options.warmup * 1e9));
    memset(load->latency, 0, sizeof(*load->latency));
    begin = mark_take(load);
    load_until(load, begin.ns + (uint64_t)(load->options.seconds * 1e9));
    end = mark_take(load);
    if (end.replies == begin.replies) {
        fprintf(stderr, "load: no reply in all the time\n");
        exit(1);
    }
    load_report(load, &begin, &end);
}

static void
load_open(struct load *load)
{
    const struct options *options = &load->options;

    for (unsigned i = 0; i < options->idle; i++)
        load_connect_idle(load, i);
    for (unsigned i = 0; i < options->connections; i++) {
        struct conn *conn = &load->conns[i];

        conn->began = ms_calloc(options->ahead, sizeof(*conn->began));
        conn->fd = load_connect(load, 0);
        load_greet(load, conn->fd);
        if (fd_set_nonblock(conn->fd, 1) < 0)
            load_fail("fcntl");
        load_watch(load, conn, EPOLL_CTL_ADD, false);
    }
}

static void
load_init(struct load *load)
{
    const struct options *options = &load->options;

    if (!request_init(&load->request, options->protocol, options->size)) {
        fprintf(stderr, "load: no such protocol, or a document that does not fit it\n");
        exit(2);
    }
    load->block = ms_malloc((options->ahead + 1) * load->request.len);
    for (unsigned i = 0; i <= options->ahead; i++)
        memcpy(load->block + i * load->request.len, load->request.data, load->request.len);
    load->conns = ms_calloc(options->connections + 1, sizeof(*load->conns));
    load->idle = ms_calloc(options->idle + 1, sizeof(*load->idle));
    load->latency = ms_calloc(1, sizeof(*load->latency));
    load->buffer = ms_malloc(LOAD_BUFFER);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0)
        load_fail("epoll_create1");
}

static void
load_fini(struct load *load)
{
    for (unsigned i = 0; i < load->options.connections; i++) {
        close(load->conns[i].fd);
        free(load->conns[i].began);
    }
    for (unsigned i = 0; i < load->options.idle; i++)
        close(load->idle[i]);
    close(load->epoll);
    free(load->conns);
    free(load->idle);
    free(load->latency);
    free(load->buffer);
    free(load->block);
    request_fini(&load->request);
}

static _Noreturn void
load_usage(void)
{
    fprintf(stderr,
            "usage: load -p PROTOCOL -P PORT [-c CONNECTIONS]\n"
            "    [-i IDLE-CONNECTIONS] [-s BYTES] [-a AHEAD] [-d SECONDS] [-u WARM-UP]\n"
            "    [-C PID,...] [-D PATH] [-H]\n"
            "PROTOCOL: msp, raw, redis, beanstalkd, http, frame, tinyproto\n"
            "-C also the CPU time of these processes; -D also the flushes of the disk under\n"
            "PATH; -H connect, print \"ready\" and hold until standard input ends\n");
    exit(2);
}

static void
load_options(struct options *options, int argc, char **argv)
{
    int c;

    *options =
        (struct options){.connections = 50, .ahead = 1, .size = 256, .seconds = 1, .warmup = 0.2};
    while ((c = getopt(argc, argv, "p:P:c:i:s:a:d:u:C:D:H")) != -1) {
        if (c == 'p')
            options->protocol = optarg;
        else if (c == 'P')
            options->port = (uint16_t)atoi(optarg);
        else if (c == 'c')
            options->connections = (unsigned)atoi(optarg);
        else if (c == 'i')
            options->idle = (unsigned)atoi(optarg);
        else if (c == 's')
            options->size = (size_t)atoi(optarg);
        else if (c == 'a')
            options->ahead = (unsigned)atoi(optarg);
        else if (c == 'd')
            options->seconds = atof(optarg);
        else if (c == 'u')
            options->warmup = atof(optarg);
        else if (c == 'C')
            options->pids = optarg;
        else if (c == 'D')
            options->disk = optarg;
        else if (c == 'H')
            options->hold = true;
        else
            load_usage();
    }
    if (options->protocol != NULL && strcmp(options->protocol, "tinyproto") == 0 &&
        options->ahead > 1)
        load_usage(); /* one transmission at a time, by its protocol */
    if (options->protocol == NULL || options->port == 0 || options->ahead == 0 || optind < argc)
        load_usage();
}

int
main(int argc, char **argv)
{
    struct load load = {.epoll = -1};

    load_options(&load.options, argc, argv);
    fd_raise_limit();
    load_init(&load);
    load_open(&load);
    if (load.options.hold) {
        printf("ready\n");
        fflush(stdout);
        while (fd_read(STDIN_FILENO, load.buffer, LOAD_BUFFER) > 0)
            continue;
    } else {
        load_run(&load);
    }
    load_fini(&load);
    return 0;
}
