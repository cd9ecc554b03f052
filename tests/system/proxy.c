/* One thread and poll(2). Reads do not block; writes may, up to a limit, since answers are short
 * and the senders of the tests always read them. */
#include "harness.h"

#include "proxy.h"
#include "target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_MAX 64
#define PIECE_MAX 16384
#define CNP_HEAD  11

/* Where one direction of cnp stands. */
struct packets {
    uint8_t head[CNP_HEAD];
    size_t have;
    uint64_t left;     /* bytes of the payload */
    uint64_t spoil_in; /* the bit is flipped in so many bytes; 0: not in this packet */
    uint64_t begun;
};

struct pair {
    int client, server;      /* -1: free */
    bool up_done, down_done; /* that side sends no more, and the other one knows */
    struct packets up, down;
    size_t line_len; /* of the answer line under way */
    char line[8];    /* its beginning */
};

struct proxy_state {
    struct proxy_options options;
    struct target server;
    int listener, wake;
    pthread_t thread;
    bool joined;
    uint64_t random, next_flip, next_cut; /* bytes until then */
    struct pair pairs[PAIRS_MAX];
};

static struct proxy *proxies;

static uint64_t
draw(struct proxy_state *s, uint64_t below)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return below > 0 ? (s->random >> 11) % below : 0;
}

/* A distance whose mean is every. */
static uint64_t
draw_distance(struct proxy_state *s, uint64_t every)
{
    return every > 0 ? 1 + draw(s, 2 * every) : UINT64_MAX;
}

static void
pair_close(struct pair *pair)
{
    if (pair->client >= 0)
        close(pair->client);
    if (pair->server >= 0)
        close(pair->server);
    pair->client = pair->server = -1;
}

static void
set_up(int fd)
{
    struct timeval limit = {.tv_sec = 10};
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static void
pair_open(struct proxy *x, int client)
{
    struct proxy_state *s = x->state;

    set_up(client);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        struct pair *pair = &s->pairs[i];

        if (pair->client >= 0)
            continue;
        *pair = (struct pair){.client = client};
        pair->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        x->connections++;
        if (pair->server < 0 ||
            connect(pair->server, (const struct sockaddr *)&s->server.addr, s->server.len) < 0) {
            pair_close(pair);
            return;
        }
        set_up(pair->server);
        return;
    }
    close(client);
}

static void
flip_bit(struct proxy_state *s, char *byte)
{
    *byte = (char)(*byte ^ 1 << draw(s, 8));
}

static void
flip_bits(struct proxy *x, char *data, size_t n)
{
    struct proxy_state *s = x->state;
    size_t at = 0;

    while (s->next_flip <= n - at) {
        at += (size_t)s->next_flip;
        flip_bit(s, &data[at - 1]);
        s->next_flip = draw_distance(s, s->options.flip_every);
        x->flips++;
    }
    if (s->options.flip_every > 0)
        s->next_flip -= n - at;
}

/* A header is whole, and last is its last byte, which belongs to the checksum. */
static bool
begin_packet(struct proxy_state *s, struct packets *p, char *last, unsigned handshake)
{
    p->have = 0;
    p->left = 0;
    for (size_t i = 0; i < 4; i++)
        p->left = p->left << 8 | p->head[i];
    if (++p->begun <= handshake || draw(s, s->options.spoil_every) != 0)
        return false;
    p->spoil_in = draw(s, p->left + 1);
    if (p->spoil_in == 0)
        flip_bit(s, last);
    return true;
}

/* Returns how many packets have been spoiled. */
static uint64_t
spoil_packets(struct proxy_state *s, struct packets *p, unsigned handshake, char *data, size_t n)
{
    uint64_t spoiled = 0;

    for (size_t i = 0; i < n && s->options.spoil_every > 0; i++) {
        if (p->left > 0) {
            p->left--;
            if (p->spoil_in > 0 && --p->spoil_in == 0)
                flip_bit(s, &data[i]);
        } else {
            p->head[p->have++] = (uint8_t)data[i];
            if (p->have == CNP_HEAD)
                spoiled += begin_packet(s, p, &data[i], handshake);
        }
    }
    return spoiled;
}

static void
count_lines(struct proxy *x, struct pair *pair, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] != '\n') {
            if (pair->line_len < sizeof(pair->line))
                pair->line[pair->line_len] = data[i];
            pair->line_len++;
            continue;
        }
        x->nack1 += pair->line_len == 6 && memcmp(pair->line, "NACK1\r", 6) == 0;
        x->nack2 += pair->line_len == 6 && memcmp(pair->line, "NACK2\r", 6) == 0;
        x->err += pair->line_len > 4 && memcmp(pair->line, "ERR ", 4) == 0;
        pair->line_len = 0;
    }
}

static void
hold_back(struct proxy_state *s)
{
    struct timespec ts = {.tv_nsec = (long)draw(s, s->options.delay_us) * 1000};

    if (s->options.delay_us > 0)
        nanosleep(&ts, NULL);
}

static bool
hand_on(struct proxy_state *s, int fd, const char *data, size_t n)
{
    size_t step = s->options.split ? 1 : n;

    for (size_t at = 0; at < n;) {
        ssize_t done = send(fd, data + at, step < n - at ? step : n - at, MSG_NOSIGNAL);

        if (done <= 0)
            return false;
        at += (size_t)done;
    }
    return true;
}

static void
reset_on_close(const struct proxy_state *s, const struct pair *pair)
{
    struct linger linger = {.l_onoff = s->options.reset};

    setsockopt(pair->client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    setsockopt(pair->server, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* The end of one direction. */
static bool
hand_on_end(struct pair *pair, bool up)
{
    *(up ? &pair->up_done : &pair->down_done) = true;
    shutdown(up ? pair->server : pair->client, SHUT_WR);
    return !(pair->up_done && pair->down_done);
}

/* Moves one piece. False when the pair is at its end. */
static bool
move_piece(struct proxy *x, struct pair *pair, bool up)
{
    struct proxy_state *s = x->state;
    char data[PIECE_MAX];
    ssize_t got = recv(up ? pair->client : pair->server, data, sizeof(data), MSG_DONTWAIT);
    size_t n = (size_t)got;

    if (got == 0)
        return hand_on_end(pair, up);
    if (got < 0)
        return false;
    hold_back(s);
    if (up) {
        x->bytes_up += n;
        flip_bits(x, data, n);
        x->spoiled_up += spoil_packets(s, &pair->up, 2, data, n);
    } else {
        x->bytes_down += n;
        count_lines(x, pair, data, n);
        x->spoiled_down += spoil_packets(s, &pair->down, 1, data, n);
    }
    if (s->options.cut_every > 0 && s->next_cut <= n) {
        s->next_cut = draw_distance(s, s->options.cut_every);
        x->cuts++;
        reset_on_close(s, pair);
        return false;
    }
    if (s->options.cut_every > 0)
        s->next_cut -= n;
    return hand_on(s, up ? pair->server : pair->client, data, n);
}

static void
serve_pair(struct proxy *x, struct pair *pair, const struct pollfd *client,
           const struct pollfd *server)
{
    bool good = true;

    if (pair->client != client->fd || pair->server != server->fd)
        return; /* opened in this round */
    if (server->revents != 0)
        good = !pair->down_done && move_piece(x, pair, false);
    if (good && client->revents != 0)
        good = !pair->up_done && move_piece(x, pair, true);
    if (!good)
        pair_close(pair);
}

static void *
proxy_run(void *arg)
{
    struct proxy *x = arg;
    struct proxy_state *s = x->state;

    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = s->wake, .events = POLLIN},
                                                {.fd = s->listener, .events = POLLIN}};

        for (size_t i = 0; i < PAIRS_MAX; i++) {
            const struct pair *pair = &s->pairs[i];

            fds[2 + 2 * i] =
                (struct pollfd){.fd = pair->client, .events = pair->up_done ? 0 : POLLIN};
            fds[3 + 2 * i] =
                (struct pollfd){.fd = pair->server, .events = pair->down_done ? 0 : POLLIN};
        }
        if (poll(fds, 2 + 2 * PAIRS_MAX, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            return NULL;
        for (size_t i = 0; i < PAIRS_MAX; i++)
            if (s->pairs[i].client >= 0)
                serve_pair(x, &s->pairs[i], &fds[2 + 2 * i], &fds[3 + 2 * i]);
        if (fds[1].revents != 0) {
            int client = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

            if (client >= 0)
                pair_open(x, client);
        }
    }
}

static void
listen_anywhere(struct proxy *x)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    target_local(ntohs(addr.sin_port), &x->target);
    x->state->listener = fd;
}

struct proxy *
proxy_start(const struct target *server, const struct proxy_options *options)
{
    struct proxy *x = calloc(1, sizeof(*x));
    struct proxy_state *s = calloc(1, sizeof(*s));

    assert_non_null(x);
    assert_non_null(s);
    x->state = s;
    s->options = *options;
    s->server = *server;
    s->random = options->seed * 0x9e3779b97f4a7c15ull | 1;
    s->next_flip = draw_distance(s, options->flip_every);
    s->next_cut = draw_distance(s, options->cut_every);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        s->pairs[i].client = s->pairs[i].server = -1;
    s->wake = eventfd(0, EFD_CLOEXEC);
    assert_true(s->wake >= 0);
    listen_anywhere(x);
    assert_int_equal(pthread_create(&s->thread, NULL, proxy_run, x), 0);
    x->next = proxies;
    proxies = x;
    return x;
}

void
proxy_stop(struct proxy *x)
{
    struct proxy_state *s = x->state;

    if (s->joined)
        return;
    eventfd_write(s->wake, 1);
    pthread_join(s->thread, NULL);
    s->joined = true;
    for (size_t i = 0; i < PAIRS_MAX; i++)
        pair_close(&s->pairs[i]);
    close(s->listener);
    close(s->wake);
}

void
proxy_end_all(void)
{
    while (proxies != NULL) {
        struct proxy *next = proxies->next;

        proxy_stop(proxies);
        free(proxies->state);
        free(proxies);
        proxies = next;
    }
}
