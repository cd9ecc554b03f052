#include "byte_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/time.h>

void
byte_wrong(struct byte_server *s, const char *why)
{
    if (s->wrong++ == 0)
        s->why = why;
}

bool
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

bool
byte_expect(struct byte_server *s, const void *bytes, size_t n)
{
    char *got = malloc(n + 1);
    bool same = byte_read(s, got, n) && memcmp(got, bytes, n) == 0;

    if (!same)
        byte_wrong(s, "the bytes of a message");
    free(got);
    return same;
}

void
byte_say(struct byte_server *s, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(s->fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        done += (size_t)sent;
    }
}

size_t
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

void
byte_expect_end(struct byte_server *s)
{
    unsigned before = s->resets;

    if (byte_until_end(s) > 0)
        byte_wrong(s, "bytes behind the last message");
    if (s->resets > before)
        byte_wrong(s, "no orderly end");
}

bool
byte_wait(struct byte_server *s, short events, int ms)
{
    struct pollfd p = {.fd = s->fd, .events = events};

    return poll(&p, 1, ms) > 0;
}

void
byte_reset(struct byte_server *s)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* The next connection, or -1: those that wait are served also after the call to stop. */
static int
byte_accept(struct byte_server *s)
{
    struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop[0]}};

    while (poll(p, 2, -1) < 0 && errno == EINTR)
        continue;
    return (p[0].revents & POLLIN) != 0 ? accept4(s->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

static void *
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

void
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

void
byte_server_stop(struct byte_server *s)
{
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    close(s->stop[0]);
    close(s->listener);
    if (s->wrong > 0)
        fail_msg("the server saw %u things that were wrong: %s", s->wrong, s->why);
}
