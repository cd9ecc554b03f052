#include "scripted_server.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <sys/time.h>
#include <zlib.h>

enum server_next { SERVER_ACCEPT, SERVER_AGAIN, SERVER_RESTART, SERVER_REFUSED, SERVER_END };

struct server_body {
    uint8_t head[50];
    uint64_t size;
    bool late;
    uint8_t *bytes;
    uint32_t grant;
};

static void
server_wrong(struct server *s, const char *why)
{
    s->wrong++;
    s->why = why;
}

/* Reads exactly n bytes; false at the end, or where the script cuts. */
static bool
server_take(struct server *s, void *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        size_t want = n - done;
        ssize_t got;

        if (s->connections == 0 && s->cut_read > 0) {
            if (s->read_total >= s->cut_read)
                return false;
            if (want > s->cut_read - s->read_total)
                want = s->cut_read - s->read_total;
        }
        got = recv(s->fd, (char *)buf + done, want, 0);
        if (got <= 0)
            return false;
        done += (size_t)got;
        s->read_total += (size_t)got;
    }
    return s->connections > 0 || s->cut_read == 0 || s->read_total < s->cut_read;
}

static bool
server_write(struct server *s, const void *data, size_t n)
{
    const char *p = data;
    struct timespec pause = {.tv_nsec = 1000000};

    for (size_t i = 0, step; i < n; i += step) {
        step = s->slow ? 1 : n - i;
        if (s->connections == 0 && s->cut_write > 0) {
            if (s->written_total >= s->cut_write)
                return false;
            if (step > s->cut_write - s->written_total)
                step = s->cut_write - s->written_total;
        }
        if (send(s->fd, p + i, step, MSG_NOSIGNAL) != (ssize_t)step)
            return false;
        s->written_total += step;
        if (s->slow)
            nanosleep(&pause, NULL); /* so that the bytes travel one by one */
    }
    return true;
}

static bool
server_say(struct server *s, const char *line)
{
    char text[600];
    int n = snprintf(text, sizeof(text), "%s\r\n", line);

    return server_write(s, text, (size_t)n);
}

static bool
server_drain(struct server *s)
{
    char junk[65536];

    while (recv(s->fd, junk, sizeof(junk), 0) > 0)
        continue;
    return false;
}

/* What a server does with a NACK (1.3): what was sent ahead is dropped. */
static void
server_drop_arrived(struct server *s)
{
    char junk[4096];

    while (recv(s->fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
        continue;
}

static const char *
server_next_answer(struct server *s)
{
    if (s->answers == NULL || *s->answers == NULL)
        return RIGHT;
    return *s->answers++;
}

static void
server_note(struct server *s, char what, size_t body)
{
    if (s->unit_count < SERVER_UNITS)
        s->units[s->unit_count++] = (struct server_unit){s->connections, what, body};
}

/* Says what the script wants, if it wants something, and tells what that means. */
static enum server_next
server_scripted(struct server *s)
{
    const char *answer = server_next_answer(s);

    if (strcmp(answer, RIGHT) == 0)
        return SERVER_ACCEPT;
    if (strcmp(answer, HANGUP) == 0)
        return SERVER_END;
    if (strcmp(answer, SILENT) == 0) {
        server_drain(s);
        return SERVER_END;
    }
    if (strncmp(answer, "NACK", 4) == 0)
        server_drop_arrived(s);
    if (!server_say(s, answer))
        return SERVER_END;
    if (strcmp(answer, "NACK1") == 0)
        return SERVER_AGAIN;
    if (strcmp(answer, "NACK2") == 0)
        return SERVER_RESTART;
    if (strncmp(answer, "REJ", 3) == 0)
        return SERVER_REFUSED;
    if (strncmp(answer, "ERR", 3) != 0)
        server_drain(s);
    return SERVER_END;
}

static uint32_t
server_grant(struct server *s)
{
    uint32_t grant = s->grants != NULL ? *s->grants : 2048;

    if (s->grants != NULL && s->grants[1] != 0)
        s->grants++;
    return grant;
}

uint64_t
server_number(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    while (n-- > 0)
        v = v << 8 | *p++;
    return v;
}

static bool
server_zero(const uint8_t *p, size_t n)
{
    while (n-- > 0)
        if (*p++ != 0)
            return false;
    return true;
}

/* Reads one packet at offset have; its body's length in *n. */
static bool
server_packet(struct server *s, struct server_body *b, size_t have, size_t *n)
{
    uint8_t head[6];
    uint32_t crc;

    if (have == 0) {
        if (!server_take(s, b->head, sizeof(b->head)))
            return false;
        if (memcmp(b->head + 8, "\r\n", 2) != 0 || memcmp(b->head + 42, "\r\n", 2) != 0 ||
            memcmp(b->head + 48, "\r\n", 2) != 0)
            server_wrong(s, "no CRLF in a first header");
        b->size = server_number(b->head, 8);
        b->late = server_zero(b->head + 10, 32);
        if (b->size > 64u << 20) {
            server_wrong(s, "larger than any test");
            return false;
        }
        b->bytes = realloc(b->bytes, b->size + 1);
        *n = b->size < 1998 ? b->size : 1998;
        crc = (uint32_t)server_number(b->head + 44, 4);
    } else {
        if (!server_take(s, head, sizeof(head)))
            return false;
        if (memcmp(head + 4, "\r\n", 2) != 0)
            server_wrong(s, "no CRLF in a packet");
        *n = b->size - have < b->grant - 6 ? b->size - have : b->grant - 6;
        crc = (uint32_t)server_number(head, 4);
    }
    if (*n > 0 && !server_take(s, b->bytes + have, *n))
        return false;
    if (crc32(0, b->bytes + have, (uInt)*n) != crc && *n > 0)
        server_wrong(s, "CRC-32 of a body");
    if (*n == 0 && crc != 0)
        server_wrong(s, "CRC-32 of no bytes");
    server_note(s, have == 0 ? 'H' : 'P', *n);
    return true;
}

/* Reads all packets of a message. SERVER_ACCEPT: they are there and acknowledged. */
static enum server_next
server_body_read(struct server *s, struct server_body *b)
{
    uint8_t sha[32];
    char line[40];
    size_t n = 0;

    for (size_t have = 0;;) {
        enum server_next next;

        if (!server_packet(s, b, have, &n))
            return SERVER_END;
        if (have == 0 && b->late && s->late_size_limit > 0 && b->size > s->late_size_limit)
            return server_say(s, "REJ bad-flags late digest and undetermined size") ? SERVER_REFUSED
                                                                                    : SERVER_END;
        next = server_scripted(s);
        if (next == SERVER_AGAIN)
            continue;
        if (next == SERVER_RESTART) {
            have = 0;
            continue;
        }
        if (next != SERVER_ACCEPT)
            return next;
        have += n;
        if (have == b->size)
            break;
        b->grant = server_grant(s);
        snprintf(line, sizeof(line), "ACK %u", b->grant);
        if (!server_say(s, line))
            return SERVER_END;
    }
    SHA256(b->bytes, b->size, sha);
    if (!b->late && memcmp(sha, b->head + 10, 32) != 0)
        server_wrong(s, "SHA-256 in a header");
    return server_say(s, "ACK") ? SERVER_ACCEPT : SERVER_END;
}

static bool
server_trailer_read(struct server *s, const struct server_body *b, struct server_message *m)
{
    uint8_t t[2048], sha[32];
    size_t len, skip = 0;

    if (!server_take(s, t, 10))
        return false;
    len = server_number(t + 8, 2);
    if (len > 2038 || memcmp(t + 4, "\r\n", 2) != 0) {
        server_wrong(s, "a trailer's form");
        return false;
    }
    if (len > 0 && !server_take(s, t + 10, len))
        return false;
    if (crc32(0, t + 6, (uInt)(4 + len)) != server_number(t, 4))
        server_wrong(s, "CRC-32 of a trailer");
    if ((t[7] & 2) != 0) {
        SHA256(b->bytes, b->size, sha);
        if (len < 32 || memcmp(sha, t + 10, 32) != 0)
            server_wrong(s, "SHA-256 in a trailer");
        skip = 32;
    }
    if (((t[7] & 2) != 0) != b->late)
        server_wrong(s, "DIGEST and the zero field do not go together");
    *m = (struct server_message){.kind = (char)t[6], .flags = t[7], .size = b->size};
    m->late = skip > 0;
    m->value_len = len - skip;
    memcpy(m->value, t + 10 + skip, m->value_len);
    server_note(s, 'T', m->value_len);
    return true;
}

static bool
server_reply(struct server *s)
{
    uint8_t block[4096] = {0};
    size_t n = strlen(s->reply);

    for (int i = 0; i < 8; i++)
        block[i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
    memcpy(block + 8, "\r\n", 2);
    SHA256((const uint8_t *)s->reply, n, block + 10);
    memcpy(block + 42, "\r\n", 2);
    for (int i = 0; i < 4; i++)
        block[44 + i] = (uint8_t)(crc32(0, (const uint8_t *)s->reply, (uInt)n) >> (24 - 8 * i));
    memcpy(block + 48, "\r\n", 2);
    memcpy(block + 50, s->reply, n);
    if (s->bad_replies > 0) {
        block[s->bad_replies % 2 ? 44 : 10] ^= 1;
        s->bad_replies--;
    }
    return server_write(s, block, 50 + n);
}

static bool
server_commit(struct server *s, struct server_body *b, struct server_message *m)
{
    if (s->message_count == SERVER_MESSAGES)
        return false;
    m->body = b->bytes;
    b->bytes = NULL;
    s->messages[s->message_count++] = *m;
    if (!server_say(s, "ACK"))
        return false;
    if ((m->flags & 1) != 0 && !server_reply(s))
        return false;
    if (s->farewell != NULL) {
        server_say(s, s->farewell);
        return false;
    }
    return !s->leave;
}

/* One message. True: the connection stays. */
static bool
server_message_read(struct server *s)
{
    struct server_body b = {0};
    struct server_message m;
    enum server_next next = SERVER_RESTART;
    bool stays = false;

    while (next == SERVER_RESTART) {
        next = server_body_read(s, &b);
        if (next != SERVER_ACCEPT)
            break;
        do {
            if (!server_trailer_read(s, &b, &m)) {
                next = SERVER_END;
                break;
            }
            next = server_scripted(s);
        } while (next == SERVER_AGAIN);
    }
    if (next == SERVER_ACCEPT)
        stays = server_commit(s, &b, &m);
    else
        stays = next == SERVER_REFUSED;
    free(b.bytes);
    return stays;
}

/* The next connection, or -1: those that wait are served also after the call to stop. */
static int
server_accept(struct server *s)
{
    struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop[0]}};

    while (poll(p, 2, -1) < 0 && errno == EINTR)
        continue;
    return (p[0].revents & POLLIN) != 0 ? accept4(s->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

static void *
server_main(void *arg)
{
    struct server *s = arg;
    struct timeval limit = {.tv_sec = 10};
    int on = 1;

    while ((s->fd = server_accept(s)) >= 0) {
        setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        s->read_total = s->written_total = 0;
        if (!(s->cut_at_zero && s->connections == 0))
            while (server_message_read(s))
                continue;
        close(s->fd);
        s->connections++;
    }
    return NULL;
}

static void
server_listen_unix(struct server *s)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    guard_directory(s->directory, sizeof(s->directory));
    snprintf(s->path, sizeof(s->path), "%s/s.sock", s->directory);
    memcpy(un.sun_path, s->path, sizeof(s->path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&un, sizeof(un)), 0);
    snprintf(s->url, sizeof(s->url), "msp://%s", s->path);
}

static void
server_listen_inet(struct server *s, int family)
{
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(s->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET,
                               .sin_port = htons(s->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *sa = family == AF_INET6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t len = family == AF_INET6 ? sizeof(six) : sizeof(four);
    in_port_t port;

    s->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, sa, len), 0);
    assert_int_equal(getsockname(s->listener, sa, &len), 0);
    port = family == AF_INET6 ? six.sin6_port : four.sin_port;
    s->port = ntohs(port);
    snprintf(s->url, sizeof(s->url), family == AF_INET6 ? "msp://[::1]:%d" : "msp://127.0.0.1:%d",
             s->port);
}

void
server_start(struct server *s, int family)
{
    if (family == AF_UNIX)
        server_listen_unix(s);
    else
        server_listen_inet(s, family);
    assert_int_equal(listen(s->listener, 64), 0);
    assert_int_equal(pipe2(s->stop, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

void
server_stop(struct server *s)
{
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    close(s->stop[0]);
    close(s->listener);
    if (s->path[0] != '\0') {
        unlink(s->path);
        rmdir(s->directory);
    }
    if (s->wrong > 0)
        fail_msg("the client was wrong %u times, the last: %s", s->wrong, s->why);
}

struct server *
server_create(void)
{
    return calloc(1, sizeof(struct server));
}

void
server_destroy(struct server *s)
{
    for (size_t i = 0; i < s->message_count; i++)
        free(s->messages[i].body);
    free(s);
}

size_t
server_distinct(const struct server *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->message_count; i++) {
        size_t k = 0;

        while (k < i && strcmp(s->messages[k].value, s->messages[i].value) != 0)
            k++;
        n += k == i;
    }
    return n;
}

uint8_t *
test_bytes(size_t n)
{
    uint8_t *p = malloc(n + 1);
    uint32_t x = 12345;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 24);
    }
    return p;
}

void
server_expect_message(const struct server *s, size_t i, char kind, const char *body)
{
    assert_true(i < s->message_count);
    assert_int_equal(s->messages[i].kind, kind);
    assert_int_equal(s->messages[i].size, strlen(body));
    assert_memory_equal(s->messages[i].body, body, strlen(body));
}
