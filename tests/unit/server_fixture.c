#include "server_fixture.h"

#include <netinet/in.h>
#include <sys/time.h>

msock_server *
fixture_server(const char *url)
{
    msock_server *s = msock_server_create();

    assert_non_null(s);
    if (msock_server_add_listener(s, url) != MSOCK_OK)
        fail_msg("%s: %s", url, msock_server_error(s));
    return s;
}

unsigned short
fixture_port(const msock_server *s, unsigned listener)
{
    const char *colon = strrchr(msock_server_address(s, listener), ':');

    assert_non_null(colon);
    return (unsigned short)atoi(colon + 1);
}

msock_message *
fixture_recv(msock_server *s)
{
    msock_message *m = NULL;

    assert_int_equal(msock_server_recv(s, PATIENCE_MS, &m), MSOCK_OK);
    assert_non_null(m);
    return m;
}

void
fixture_expect(msock_message *m, const char *text)
{
    size_t n = 0;
    const char *data = msock_message_data(m, &n);

    assert_non_null(data);
    assert_int_equal(n, strlen(text));
    assert_string_equal(data, text);
}

static void *
client_main(void *arg)
{
    struct client *c = arg;
    msock *m = msock_open(c->url);
    const void *reply;

    c->status = MSOCK_LOCAL;
    if (m == NULL)
        return NULL;
    msock_set_timeouts(m, PATIENCE_MS, PATIENCE_MS);
    msock_set_retries(m, c->retries, 1, 2);
    msock_set_want_reply(m, c->want_reply);
    if (c->key != NULL && msock_set_key(m, c->key) != MSOCK_OK)
        abort();
    if (c->id != NULL)
        (void)msock_set_id(m, c->id, strlen(c->id));
    c->status = c->kind == 'J' ? msock_send_json_text(m, c->body, c->size)
                               : msock_send(m, c->body, c->size);
    snprintf(c->error, sizeof(c->error), "%s", msock_error(m));
    snprintf(c->code, sizeof(c->code), "%s", msock_error_code(m));
    reply = msock_reply(m, &c->reply_len);
    if (reply != NULL && c->reply_len < sizeof(c->reply))
        memcpy(c->reply, reply, c->reply_len);
    msock_close(m);
    return NULL;
}

void
client_start(struct client *c, const msock_server *s, const char *body)
{
    snprintf(c->url, sizeof(c->url), "msp://127.0.0.1:%u", fixture_port(s, 0));
    c->body = body;
    if (c->size == 0)
        c->size = strlen(body);
    assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
}

void
client_join(struct client *c)
{
    assert_int_equal(pthread_join(c->thread, NULL), 0);
}

int
raw_connect(const msock_server *s, unsigned listener)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(fixture_port(s, listener))};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    return fd;
}

void
raw_send(int fd, const void *data, size_t n)
{
    assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

void
frame_send(int fd, const char *text)
{
    uint32_t wire = htonl((uint32_t)strlen(text));

    raw_send(fd, &wire, sizeof(wire));
    raw_send(fd, text, strlen(text));
}

bool
raw_read(int fd, void *out, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = recv(fd, (char *)out + done, n - done, 0);

        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

void
frame_expect(int fd, const char *text)
{
    char got[256];
    uint32_t wire;

    assert_true(raw_read(fd, &wire, sizeof(wire)));
    assert_int_equal(ntohl(wire), strlen(text));
    assert_true(raw_read(fd, got, strlen(text)));
    assert_memory_equal(got, text, strlen(text));
}

void
raw_expect_end(msock_server *s, int fd)
{
    char byte;
    int rounds = PATIENCE_MS;
    ssize_t n;

    do {
        msock_message *m;

        assert_int_not_equal(msock_server_recv(s, 1, &m), MSOCK_OK);
        n = recv(fd, &byte, 1, MSG_DONTWAIT);
    } while (n < 0 && errno == EAGAIN && --rounds > 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}
