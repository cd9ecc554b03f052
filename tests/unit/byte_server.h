/* A server of bytes for the client's tests: it accepts on loopback, one connection at a time, in a
 * thread, and a function of the test's says and expects on each. It knows no protocol and none of
 * the project's code. What it saw may be read after byte_server_stop. */
#ifndef TESTS_BYTE_SERVER_H
#define TESTS_BYTE_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

struct byte_server {
    void (*serve)(struct byte_server *s); /* one connection; it is closed afterwards */
    void *arg;                            /* the test's */

    int connections; /* before the one that is being served */
    unsigned wrong;  /* expectations that were not met; why is the first of them */
    const char *why;
    unsigned resets; /* connections that the client did not end in order */

    int fd;
    int listener, stop[2];
    char at[40]; /* "127.0.0.1:43117" */
    pthread_t thread;
};

static inline void
byte_wrong(struct byte_server *s, const char *why)
{
    if (s->wrong++ == 0)
        s->why = why;
}

static inline bool
byte_read(struct byte_server *s, void *buf, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = recv(s->fd, (char *)buf + done, n - done, 0);

        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* Reads n bytes, which must be these. */
static inline bool
byte_expect(struct byte_server *s, const void *bytes, size_t n)
{
    char *got = malloc(n + 1);
    bool same = byte_read(s, got, n) && memcmp(got, bytes, n) == 0;

    if (!same)
        byte_wrong(s, "the bytes of a message");
    free(got);
    return same;
}

#define EXPECT(s, literal) byte_expect(s, literal, sizeof(literal) - 1)

static inline void
byte_say(struct byte_server *s, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(s->fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        done += (size_t)sent;
    }
}

#define SAY(s, literal) byte_say(s, literal, sizeof(literal) - 1)

/* Reads until the client ends, and returns how many bytes that were. */
static inline size_t
byte_until_end(struct byte_server *s)
{
    char junk[65536];
    size_t total = 0;
    ssize_t n;

    while ((n = recv(s->fd, junk, sizeof(junk), 0)) > 0)
        total += (size_t)n;
    s->resets += n < 0;
    return total;
}

/* Nothing more is to come but the end, and that in order. */
static inline void
byte_expect_end(struct byte_server *s)
{
    unsigned before = s->resets;

    if (byte_until_end(s) > 0)
        byte_wrong(s, "bytes behind the last message");
    if (s->resets > before)
        byte_wrong(s, "no orderly end");
}

/* Waits for an event on the connection, at most ms. */
static inline bool
byte_wait(struct byte_server *s, short events, int ms)
{
    struct pollfd p = {.fd = s->fd, .events = events};

    return poll(&p, 1, ms) > 0;
}

/* The connection is to end with a reset. */
static inline void
byte_reset(struct byte_server *s)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* The next connection, or -1: those that wait are served also after the call to stop. */
static inline int
byte_accept(struct byte_server *s)
{
    struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop[0]}};

    while (poll(p, 2, -1) < 0 && errno == EINTR)
        continue;
    return (p[0].revents & POLLIN) != 0 ? accept4(s->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

static inline void *
byte_server_main(void *arg)
{
    struct byte_server *s = arg;
    struct timeval limit = {.tv_sec = 10};

    while ((s->fd = byte_accept(s)) >= 0) {
        setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        s->serve(s);
        close(s->fd);
        s->connections++;
    }
    return NULL;
}

static inline void
byte_server_start(struct byte_server *s, void (*serve)(struct byte_server *), void *arg)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);

    *s = (struct byte_server){.serve = serve, .arg = arg};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&in, &len), 0);
    snprintf(s->at, sizeof(s->at), "127.0.0.1:%u", ntohs(in.sin_port));
    assert_int_equal(pipe(s->stop), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, byte_server_main, s), 0);
}

/* Waits until all connections are served; fails where one of them went wrong. */
static inline void
byte_server_stop(struct byte_server *s)
{
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    close(s->stop[0]);
    close(s->listener);
    if (s->wrong > 0)
        fail_msg("the server saw %u things that were wrong: %s", s->wrong, s->why);
}

#endif
