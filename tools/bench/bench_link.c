/* Connecting, sending, receiving and losing. */
#include "bench/bench_load.h"
#include "common/dial.h"
#include "common/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LINK_BACKOFF_NS  10000000u /* before the second attempt; then it doubles */
#define LINK_BACKOFF_MAX 7u        /* times */

static const struct bench_options *
link_options(const struct bench_link *link)
{
    return link->load->options;
}

static const struct speech_ops *
link_speech(const struct bench_link *link)
{
    return link->load->options->speech->ops;
}

static bool
link_is_there(const struct bench_link *link)
{
    return link->state == LINK_OPENING || link->state == LINK_UP;
}

static void
link_set_state(struct bench_link *link, enum link_state state)
{
    link->load->count[link->state]--;
    link->state = (uint8_t)state;
    link->load->count[state]++;
}

static void
link_watch(struct bench_link *link, int how, bool out)
{
    struct epoll_event event = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = link};

    epoll_ctl(link->load->epoll, how, link->fd, &event);
    link->want_out = out;
}

/* --- messages --- */

static uint64_t *
link_stamp(const struct bench_link *link, uint64_t seq)
{
    return &link->stamps[seq % link->load->slots];
}

uint32_t
bench_link_begin(struct bench_link *link, uint32_t wanted)
{
    struct bench_load *load = link->load;
    uint64_t waiting = link->begun_seq - link->next_seq;
    uint32_t again = waiting < wanted ? (uint32_t)waiting : wanted;
    uint32_t fresh = bench_load_take(load, link, wanted - again);

    if (again + fresh == 0)
        return 0;
    if (link->next_seq == link->done_seq)
        link->heard_ns = load->now_ns;
    for (uint32_t i = 0; i < fresh; i++)
        *link_stamp(link, link->begun_seq++) = bench_load_stamp(load);
    link->next_seq += again + fresh;
    return again + fresh;
}

void
bench_link_settle(struct bench_link *link, bool counts)
{
    struct bench_load *load = link->load;

    if (counts) {
        link->counts.messages++;
        bench_load_count(load, *link_stamp(link, link->done_seq));
    }
    link->done_seq++;
    load->open_messages--;
    link->failures = 0;
    link->trouble_ns = 0;
}

/* --- losing --- */

static void
link_keep_record(struct bench_link *link)
{
    struct bench_result *result = link->load->result;
    size_t n = result->connection_count;
    struct bench_connection *grown = result->connection;

    if ((n & (n - 1)) == 0)
        grown = realloc(grown, (n == 0 ? 1 : 2 * n) * sizeof(*grown));
    if (grown == NULL)
        return;
    grown[n] = (struct bench_connection){.port = link->port, .counts = link->counts};
    result->connection = grown;
    result->connection_count++;
}

static void
link_sum(struct bench_counts *total, const struct bench_counts *counts)
{
#define X(name) total->name += counts->name;
    BENCH_COUNTS(X)
#undef X
}

void
bench_link_fini(struct bench_link *link)
{
    link_speech(link)->close(link);
    link->speech = NULL;
    if (link_is_there(link)) {
        link_sum(&link->load->result->total, &link->counts);
        if (link_options(link)->per_connection)
            link_keep_record(link);
    }
    link->counts = (struct bench_counts){.acks = 0};
    bench_link_end_tls(link);
    fd_close(&link->fd);
    link->want_out = false;
}

static void
link_bury(struct bench_link *link)
{
    struct bench_load *load = link->load;

    load->result->unanswered += link->begun_seq - link->done_seq;
    load->open_messages -= link->begun_seq - link->done_seq;
    link->done_seq = link->next_seq = link->begun_seq;
    link_set_state(link, LINK_DEAD);
}

static uint64_t
link_backoff(struct bench_link *link)
{
    unsigned doublings = link->failures > LINK_BACKOFF_MAX ? LINK_BACKOFF_MAX : link->failures;
    uint64_t wait = (uint64_t)LINK_BACKOFF_NS << doublings;

    /* half of it is random, so that all connections do not come back at once */
    link->load->random = link->load->random * 1664525u + 1013904223u;
    return wait / 2 + (wait / 2) * (link->load->random >> 16) / 65536;
}

/* True where it makes no sense to try again. */
static bool
link_hopeless(const struct bench_link *link)
{
    const struct bench_load *load = link->load;

    return !load->options->retry || load->phase == LOAD_HOLD || load->result->untrusted ||
           (double)(load->now_ns - link->trouble_ns) > load->options->timeout_s * 1e9;
}

static void
link_retry(struct bench_link *link)
{
    link->load->result->retried += link->next_seq - link->done_seq;
    link->next_seq = link->done_seq;
    link->again_until = link->begun_seq;
    link->retry_ns = link->load->now_ns + (link->failures > 0 ? link_backoff(link) : 0);
    link->failures++;
    if (link->retry_ns < link->load->retry_ns)
        link->load->retry_ns = link->retry_ns;
    link_set_state(link, LINK_WAITING);
}

/* Nothing is left that it could be needed for. */
static bool
link_useless(const struct bench_link *link)
{
    const struct bench_load *load = link->load;

    return link->begun_seq == link->done_seq && load->phase != LOAD_HOLD &&
           (load->phase == LOAD_DRAIN || load->phase == LOAD_LEAVE || load->left == 0);
}

void
bench_link_lose(struct bench_link *link, bool counted)
{
    struct bench_load *load = link->load;
    /* what only was sent may have been lost with it */
    bool doubtful = load->only_sends && link->counts.messages > 0;

    /* no message of it tells of one that never was ready */
    counted = counted && link->state == LINK_UP;
    bench_link_fini(link);
    if (link->trouble_ns == 0)
        link->trouble_ns = load->now_ns;
    load->result->lost += doubtful;
    if (link_useless(link)) {
        link_bury(link);
        return;
    }
    if (!link_hopeless(link)) {
        link_retry(link);
        return;
    }
    if (!counted && !doubtful)
        load->result->lost++;
    link_bury(link);
}

/* It has ended as it should: a new one, where there is another message for it. That one is begun
 * now, since a server may take a connection without any for an empty message. */
static void
link_renew(struct bench_link *link)
{
    bench_link_fini(link);
    if (link->begun_seq == link->done_seq) {
        if (bench_load_take(link->load, link, 1) == 0) {
            link_bury(link);
            return;
        }
        *link_stamp(link, link->begun_seq++) = bench_load_stamp(link->load);
    }
    link->renewed = true;
    link->retry_ns = link->load->now_ns;
    link->load->retry_ns = link->load->now_ns;
    link_set_state(link, LINK_WAITING);
}

void
bench_link_leave(struct bench_link *link)
{
    link->heard_ns = link->load->now_ns;
    if (link->tls != NULL)
        tls_shutdown(link->tls);
    shutdown(link->fd, SHUT_WR);
}

/* --- connecting --- */

static void
link_refused(struct bench_link *link, int error)
{
    struct bench_load *load = link->load;

    load->result->connect_failures++;
    load->result->connect_error = error;
    bench_link_fini(link);
    if (link->trouble_ns == 0)
        link->trouble_ns = load->now_ns;
    link->failures += link->failures == 0;
    if (!link_hopeless(link)) {
        link_retry(link);
        return;
    }
    load->result->lost += link->was_up;
    link_bury(link);
}

bool
bench_link_awaits(const struct bench_link *link)
{
    return link->state == LINK_CONNECTING || link->state == LINK_SHAKING ||
           link->state == LINK_OPENING ||
           (link->state == LINK_UP &&
            (link->done_seq < link->next_seq || link->load->phase == LOAD_LEAVE));
}

void
bench_link_expire(struct bench_link *link)
{
    if (link->state == LINK_CONNECTING || link->state == LINK_SHAKING)
        link_refused(link, ETIMEDOUT);
    else
        bench_link_lose(link, false);
}

/* The kernel picks the port when it knows the whole pair, so ports are not used up. */
static int
link_bind(int fd, uint32_t source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;

    if (source == 0)
        return 0;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
    return bind(fd, (struct sockaddr *)&from, sizeof(from));
}

static int
link_socket(const struct endpoint *ep, uint32_t source, int flags)
{
    int one = 1, fd = socket(ep->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd < 0 || link_bind(fd, source) < 0) {
        fd_close(&fd);
        return -1;
    }
    if (ep->addr.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int
bench_connect(const struct endpoint *ep)
{
    int fd = link_socket(ep, 0, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&ep->addr, ep->len) < 0)
        fd_close(&fd);
    if (fd >= 0 && dial_is_self(fd)) {
        errno = ECONNREFUSED;
        fd_close(&fd);
    }
    return fd;
}

static uint32_t
link_source(const struct bench_link *link)
{
    const struct bench_options *options = link_options(link);
    uint32_t sources = options->bind_from;

    if (link->index >= options->connections && link->load->endpoint->addr.ss_family == AF_INET)
        sources = LOAD_BESIDE_SOURCES;
    return sources == 0 ? 0 : 1 + link->index % sources;
}

void
bench_link_send(struct bench_link *link)
{
    if (link->state != LINK_UP || link->load->phase == LOAD_LEAVE)
        return;
    link_speech(link)->send(link);
    bench_link_push(link);
}

void
bench_link_ready(struct bench_link *link)
{
    link_set_state(link, LINK_UP);
    if (link->load->phase == LOAD_LEAVE)
        bench_link_leave(link);
}

static uint16_t
link_local_port(int fd)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);

    if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
        return 0;
    if (own.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&own)->sin_port);
    return own.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&own)->sin6_port) : 0;
}

static void
link_connected(struct bench_link *link)
{
    struct bench_result *result = link->load->result;

    link->port = link_local_port(link->fd);
    link->heard_ns = link->load->now_ns;
    result->connected++;
    result->reconnects += link->was_up && !link->renewed;
    link->was_up = true;
    link->renewed = false;
    link_set_state(link, LINK_OPENING);
    if (link_speech(link)->open(link) < 0) {
        bench_link_lose(link, false);
        return;
    }
    bench_link_push(link);
    bench_link_send(link);
}

static void
link_shake(struct bench_link *link)
{
    if (bench_link_shake(link) == 0) {
        if (link->want_out)
            link_watch(link, EPOLL_CTL_MOD, false);
        link_connected(link);
    } else if (errno != EAGAIN) {
        link_refused(link, errno);
    } else if (link->want_out != tls_wants_write(link->tls)) {
        link_watch(link, EPOLL_CTL_MOD, !link->want_out);
    }
}

static void
link_dialed(struct bench_link *link)
{
    if (link_options(link)->tls == NULL) {
        link_connected(link);
        return;
    }
    link_set_state(link, LINK_SHAKING);
    link_shake(link);
}

void
bench_link_open(struct bench_link *link)
{
    const struct endpoint *ep = link->load->endpoint;

    link->heard_ns = link->load->now_ns;
    link_set_state(link, LINK_CONNECTING);
    link->fd = link_socket(ep, link_source(link), SOCK_NONBLOCK);
    if (link->fd < 0) {
        link_refused(link, errno);
    } else if (connect(link->fd, (const struct sockaddr *)&ep->addr, ep->len) == 0) {
        link_watch(link, EPOLL_CTL_ADD, false);
        link_dialed(link);
    } else if (errno == EINPROGRESS) {
        link_watch(link, EPOLL_CTL_ADD, true);
    } else {
        link_refused(link, errno);
    }
}

static void
link_finish_connect(struct bench_link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0 && dial_is_self(link->fd))
        error = ECONNREFUSED;
    if (error != 0) {
        link_refused(link, error);
        return;
    }
    link_watch(link, EPOLL_CTL_MOD, false);
    link_dialed(link);
}

/* --- sending --- */

/* Returns 1 where all is sent, 0 where the socket takes no more, -1 where the connection is lost.
 */
static int
link_flush(struct bench_link *link)
{
    const struct speech_ops *speech = link_speech(link);
    struct iovec iov[2];
    int count;

    while ((count = speech->output(link, iov)) > 0) {
        ssize_t n = bench_link_write(link, iov, count);

        if (n >= 0) {
            if (link->load->only_sends)
                link->load->sent_ns = bench_now_ns();
            link->counts.bytes_out += (uint64_t)n;
            speech->sent(link, (size_t)n);
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 1;
}

/* No answer will say that the next message may go: room to send does. */
static bool
link_goes_on(const struct bench_link *link)
{
    const struct bench_load *load = link->load;

    return load->only_sends && link->state == LINK_UP && load->left > 0 && !load->options->idle &&
           load->options->rate <= 0 && bench_load_sends(load);
}

void
bench_link_push(struct bench_link *link)
{
    int flushed;
    bool out;

    if (link->speech == NULL)
        return;
    flushed = link_flush(link);
    if (flushed < 0) {
        bench_link_lose(link, false);
        return;
    }
    out = flushed == 0 || link_goes_on(link);
    if (link->want_out != out)
        link_watch(link, EPOLL_CTL_MOD, out);
}

/* --- receiving --- */

/* The server has closed, in good order or (reset) not. */
static void
link_closed(struct bench_link *link, bool reset)
{
    if (reset) {
        bench_link_lose(link, false);
    } else if (link->load->phase == LOAD_LEAVE) {
        bench_link_fini(link);
        link_bury(link);
    } else if (link_speech(link)->ended(link)) {
        link_renew(link);
    } else if (link_is_there(link)) {
        bench_link_lose(link, false);
    }
}

/* A protocol's signs of life, which answer nothing, are no longer. */
#define LINK_ALIVE_MAX 64

/* While it leaves, arriving bytes are ignored. Returns true where TLS may hold more, which no event
 * tells of. */
static bool
link_receive(struct bench_link *link)
{
    struct bench_load *load = link->load;
    uint64_t done = link->done_seq;
    ssize_t n = bench_link_read(link, load->input, LOAD_INPUT);
    bool more;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    load->now_ns = bench_now_ns();
    if (n <= 0) {
        link_closed(link, n < 0);
        return false;
    }
    link->counts.bytes_in += (uint64_t)n;
    if (load->phase == LOAD_LEAVE)
        return link->tls != NULL;
    more = link_speech(link)->feed(link, load->input, (size_t)n);
    if (link->done_seq != done || n > LINK_ALIVE_MAX)
        link->heard_ns = load->now_ns;
    if (!more)
        return false;
    bench_link_push(link);
    bench_link_send(link);
    return link->tls != NULL && n == LOAD_INPUT;
}

void
bench_link_event(struct bench_link *link, uint32_t events)
{
    if (link->state == LINK_CONNECTING) {
        link_finish_connect(link);
        return;
    }
    if (link->state == LINK_SHAKING) {
        link_shake(link);
        return;
    }
    while (link_is_there(link) && (events & ~(uint32_t)EPOLLOUT) != 0 && link_receive(link))
        continue;
    if (link_is_there(link) && (events & EPOLLOUT) != 0) {
        bench_link_push(link);
        bench_link_send(link);
    }
}
