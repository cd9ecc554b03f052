/* Connecting, receiving and losing. */
#include "bench_conn.h"

#include "bench_load.h"
#include "bench_msp.h"
#include "bench_protocol.h"
#include "numbers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONN_BACKOFF_NS  10000000u /* before the second attempt; then it doubles */
#define CONN_BACKOFF_MAX 7u        /* times */

static void
conn_set_state(struct conn *conn, enum conn_state state)
{
    conn->load->count[conn->state]--;
    conn->state = (uint8_t)state;
    conn->load->count[state]++;
}

/* --- losing --- */

static void
conn_keep_record(struct conn *conn)
{
    struct bench_result *result = conn->load->result;
    size_t n = result->connection_count;
    struct bench_connection *grown = result->connection;

    if ((n & (n - 1)) == 0)
        grown = realloc(grown, (n == 0 ? 1 : 2 * n) * sizeof(*grown));
    if (grown == NULL)
        return;
    grown[n] = (struct bench_connection){.port = conn->port, .counts = conn->counts};
    result->connection = grown;
    result->connection_count++;
}

static void
conn_sum(struct bench_counts *total, const struct bench_counts *counts)
{
    total->acks += counts->acks;
    total->nack1 += counts->nack1;
    total->nack2 += counts->nack2;
    total->rej += counts->rej;
    total->err += counts->err;
    total->messages += counts->messages;
    total->bytes_in += counts->bytes_in;
    total->bytes_out += counts->bytes_out;
}

/* Ends the TCP connection and what belongs to it alone. */
static void
conn_detach(struct conn *conn)
{
    const struct bench_options *options = conn->load->options;

    if (conn->state == CONN_UP || conn->state == CONN_OPENING) {
        conn_sum(&conn->load->result->total, &conn->counts);
        if (options->per_connection)
            conn_keep_record(conn);
    }
    conn->counts = (struct bench_counts){.acks = 0};
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->kept_len = 0;
    conn->want_out = conn->no_memory = false;
    conn_out_drop(conn);
    memset(&conn->protocol, 0, sizeof(conn->protocol));
    memset(conn->marks, 0, options->ahead);
}

static void
conn_bury(struct conn *conn)
{
    struct load *load = conn->load;

    load->result->unanswered += conn->begun_seq - conn->done_seq;
    load->open_messages -= conn->begun_seq - conn->done_seq;
    conn->done_seq = conn->next_seq = conn->begun_seq;
    conn_set_state(conn, CONN_DEAD);
}

static uint64_t
conn_backoff(struct conn *conn)
{
    unsigned doublings = conn->failures > CONN_BACKOFF_MAX ? CONN_BACKOFF_MAX : conn->failures;
    uint64_t wait = (uint64_t)CONN_BACKOFF_NS << doublings;

    /* half of it is random, so that all connections do not come back at once */
    conn->load->random = conn->load->random * 1664525u + 1013904223u;
    return wait / 2 + (wait / 2) * (conn->load->random >> 16) / 65536;
}

/* True where it makes no sense to try again. */
static bool
conn_hopeless(const struct conn *conn)
{
    const struct load *load = conn->load;

    return !load->options->retry || load->phase == LOAD_HOLD ||
           (double)(load->now_ns - conn->trouble_ns) > load->options->timeout_s * 1e9;
}

static void
conn_retry(struct conn *conn)
{
    conn->load->result->retried += conn->next_seq - conn->done_seq;
    conn->next_seq = conn->done_seq;
    conn->again_until = conn->begun_seq;
    conn->retry_ns = conn->load->now_ns + (conn->failures > 0 ? conn_backoff(conn) : 0);
    conn->failures++;
    if (conn->retry_ns < conn->load->retry_ns)
        conn->load->retry_ns = conn->retry_ns;
    conn_set_state(conn, CONN_WAITING);
}

/* Nothing is left that it could be needed for. */
static bool
conn_useless(const struct conn *conn)
{
    const struct load *load = conn->load;

    return conn->begun_seq == conn->done_seq && load->phase != LOAD_HOLD &&
           (load->phase == LOAD_DRAIN || load->phase == LOAD_LEAVE || load->left == 0);
}

void
conn_lose(struct conn *conn, bool counted)
{
    struct load *load = conn->load;
    /* what only was sent may have been lost with it */
    bool doubtful = bench_only_sends(load->options) && conn->counts.messages > 0;

    /* no message of it tells of one that never was ready */
    counted = counted && conn->state == CONN_UP;
    conn_detach(conn);
    if (conn->trouble_ns == 0)
        conn->trouble_ns = load->now_ns;
    load->result->lost += doubtful;
    if (conn_useless(conn)) {
        conn_bury(conn);
        return;
    }
    if (!conn_hopeless(conn)) {
        conn_retry(conn);
        return;
    }
    if (!counted && !doubtful)
        load->result->lost++;
    conn_bury(conn);
}

/* It has ended as it should: a new one, where there is anything left to do. */
static void
conn_renew(struct conn *conn)
{
    conn_detach(conn);
    if (conn_useless(conn)) {
        conn_bury(conn);
        return;
    }
    conn->renewed = true;
    conn->retry_ns = conn->load->now_ns;
    conn->load->retry_ns = conn->load->now_ns;
    conn_set_state(conn, CONN_WAITING);
}

void
conn_leave(struct conn *conn)
{
    conn->heard_ns = conn->load->now_ns;
    shutdown(conn->fd, SHUT_WR);
}

void
conn_fini(struct conn *conn)
{
    conn_detach(conn);
    msp_reply_destroy(conn->reply);
    free(conn->kept);
    conn->reply = NULL;
    conn->kept = NULL;
}

/* --- connecting --- */

static void
conn_refused(struct conn *conn, int error)
{
    struct load *load = conn->load;

    load->result->connect_failures++;
    load->result->connect_error = error;
    conn_detach(conn);
    if (conn->trouble_ns == 0)
        conn->trouble_ns = load->now_ns;
    conn->failures += conn->failures == 0;
    if (!conn_hopeless(conn)) {
        conn_retry(conn);
        return;
    }
    load->result->lost += conn->was_up;
    conn_bury(conn);
}

bool
conn_awaits(const struct conn *conn)
{
    return conn->state == CONN_CONNECTING || conn->state == CONN_OPENING ||
           (conn->state == CONN_UP &&
            (conn->done_seq < conn->next_seq || conn->load->phase == LOAD_LEAVE));
}

void
conn_expire(struct conn *conn)
{
    if (conn->state == CONN_CONNECTING)
        conn_refused(conn, ETIMEDOUT);
    else
        conn_lose(conn, false);
}

static int
conn_bind(const struct conn *conn, int fd)
{
    uint32_t sources = conn->load->options->bind_from;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;

    if (sources == 0)
        return 0;
    /* The kernel picks the port when it knows the whole pair, so ports are not used up. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    from.sin_addr.s_addr = htonl(0x7f000002u + conn->index % sources);
    return bind(fd, (struct sockaddr *)&from, sizeof(from));
}

void
conn_send(struct conn *conn)
{
    if (conn->state == CONN_UP && conn_quiet(conn) && conn->load->phase != LOAD_CONNECT)
        conn->load->options->protocol->send(conn);
}

void
conn_ready(struct conn *conn)
{
    conn_set_state(conn, CONN_UP);
    if (conn->load->phase == LOAD_LEAVE)
        conn_leave(conn);
    else
        conn_send(conn);
}

static void
conn_connected(struct conn *conn)
{
    const struct bench_protocol *protocol = conn->load->options->protocol;
    struct bench_result *result = conn->load->result;

    conn->port = endpoint_local_port(conn->fd);
    conn->heard_ns = conn->load->now_ns;
    result->connected++;
    result->reconnects += conn->was_up && !conn->renewed;
    conn->was_up = true;
    conn->renewed = false;
    if (protocol->open == NULL) {
        conn_ready(conn);
        return;
    }
    conn_set_state(conn, CONN_OPENING);
    protocol->open(conn);
    if (!conn_quiet(conn))
        conn_push(conn);
}

void
conn_open(struct conn *conn)
{
    const struct endpoint *ep = conn->load->endpoint;
    int family = ep->addr.ss_family, one = 1;

    conn->heard_ns = conn->load->now_ns;
    conn_set_state(conn, CONN_CONNECTING);
    conn->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || conn_bind(conn, conn->fd) < 0) {
        conn_refused(conn, errno);
        return;
    }
    if (family != AF_UNIX)
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(conn->fd, (const struct sockaddr *)&ep->addr, ep->len) == 0) {
        conn_watch(conn, EPOLL_CTL_ADD, false);
        conn_connected(conn);
    } else if (errno == EINPROGRESS) {
        conn_watch(conn, EPOLL_CTL_ADD, true);
    } else {
        conn_refused(conn, errno);
    }
}

static void
conn_finish_connect(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error != 0) {
        conn_refused(conn, error);
        return;
    }
    conn_watch(conn, EPOLL_CTL_MOD, false);
    conn_connected(conn);
}

/* --- receiving --- */

static void
conn_keep_rest(struct conn *conn, const uint8_t *rest, size_t n)
{
    conn->kept_len = 0;
    if (n == 0)
        return;
    if (conn->kept == NULL)
        conn->kept = malloc(CONN_KEPT_MAX);
    if (conn->kept == NULL || n > CONN_KEPT_MAX) {
        conn->load->result->bad_answers++;
        conn_lose(conn, true);
        return;
    }
    memcpy(conn->kept, rest, n);
    conn->kept_len = (uint16_t)n;
}

static bool
conn_is_there(const struct conn *conn)
{
    return conn->state == CONN_OPENING || conn->state == CONN_UP;
}

/* The server has closed, in good order or (reset) not. */
static void
conn_closed(struct conn *conn, bool reset)
{
    const struct bench_protocol *protocol = conn->load->options->protocol;

    if (reset) {
        conn_lose(conn, false);
    } else if (conn->load->phase == LOAD_LEAVE) {
        conn_detach(conn);
        conn_bury(conn);
    } else if (protocol->ended != NULL && protocol->ended(conn)) {
        conn_renew(conn);
    } else if (conn_is_there(conn)) {
        conn_lose(conn, false);
    }
}

static void
conn_feed(struct conn *conn, size_t n)
{
    struct load *load = conn->load;
    size_t have = conn->kept_len, used;

    if (have > 0)
        memcpy(load->input, conn->kept, have);
    have += n;
    used = load->options->protocol->feed(conn, load->input, have);
    if (!conn_is_there(conn))
        return;
    conn_keep_rest(conn, load->input + used, have - used);
    if (!conn_quiet(conn))
        conn_push(conn);
    conn_send(conn);
}

/* While it leaves, what comes is of no interest any more. */
static void
conn_receive(struct conn *conn)
{
    struct load *load = conn->load;
    ssize_t n = recv(conn->fd, load->input + conn->kept_len, LOAD_INPUT, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    load->now_ns = number_now_ns();
    if (n <= 0) {
        conn_closed(conn, n < 0);
        return;
    }
    conn->counts.bytes_in += (uint64_t)n;
    conn->heard_ns = load->now_ns;
    if (load->phase != LOAD_LEAVE)
        conn_feed(conn, (size_t)n);
}

void
conn_event(struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_CONNECTING) {
        conn_finish_connect(conn);
        return;
    }
    if (conn_is_there(conn) && (events & ~(uint32_t)EPOLLOUT) != 0)
        conn_receive(conn);
    if (conn_is_there(conn) && (events & EPOLLOUT) != 0) {
        if (!conn_quiet(conn))
            conn_push(conn);
        conn_send(conn);
    }
}
