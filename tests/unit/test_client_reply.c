/* The reply block behind a final ACK: whole, damaged, cut, too large, late. */
#include "msock.h"
#include "scripted_server.h"

struct fixture {
    struct server *server;
    msock *m;
};

static void
fixture_start(struct fixture *f, const char *reply)
{
    f->server = server_create();
    f->server->reply = reply;
    server_start(f->server, AF_INET);
    f->m = msock_open(f->server->url);
    assert_non_null(f->m);
    msock_set_timeouts(f->m, 5000, 5000);
    msock_set_retries(f->m, 3, 1, 1);
    msock_set_want_reply(f->m, 1);
}

static struct server *
fixture_stop(struct fixture *f)
{
    msock_close(f->m);
    server_stop(f->server);
    return f->server;
}

static void
a_reply_is_there_until_the_next_message(void **state)
{
    struct fixture f;
    struct server *s;
    size_t n = 99;

    (void)state;
    fixture_start(&f, "{\"id\":1}");
    assert_null(msock_reply(f.m, &n));
    assert_int_equal(n, 0);
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_reply(f.m, &n), "{\"id\":1}");
    assert_int_equal(n, 8);
    msock_set_want_reply(f.m, 0);
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_OK);
    assert_null(msock_reply(f.m, NULL));
    s = fixture_stop(&f);
    assert_int_equal(s->messages[0].flags, 1);
    assert_int_equal(s->messages[1].flags, 0);
    assert_int_equal(s->connections, 1);
    server_destroy(s);
}

static void
an_empty_reply_is_a_reply(void **state)
{
    struct fixture f;
    size_t n = 99;

    (void)state;
    fixture_start(&f, "");
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_reply(f.m, &n), "");
    assert_int_equal(n, 0);
    server_destroy(fixture_stop(&f));
}

static void
a_large_message_gets_its_reply_too(void **state)
{
    uint8_t *data = test_bytes(10000);
    struct fixture f;
    struct server *s;

    (void)state;
    fixture_start(&f, "yes");
    f.server->slow = true;
    assert_int_equal(msock_send(f.m, data, 10000), MSOCK_OK);
    assert_string_equal(msock_reply(f.m, NULL), "yes");
    s = fixture_stop(&f);
    assert_int_equal(s->messages[0].flags, 3);
    free(data);
    server_destroy(s);
}

static void
a_message_with_its_final_ack_is_not_sent_again_for_its_reply(void **state)
{
    struct fixture f;
    struct msock_counts counts;
    struct server *s;

    (void)state;
    fixture_start(&f, "precious");
    f.server->bad_replies = 2; /* the CRC-32, then the SHA-256 */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(msock_send(f.m, "x", 1), MSOCK_TIMEOUT);
        assert_non_null(strstr(msock_error(f.m), "the reply is damaged (the message was taken, but "
                                                 "its reply is lost)"));
        assert_null(msock_reply(f.m, NULL));
    }
    assert_int_equal(msock_send(f.m, "x", 1), MSOCK_OK);
    assert_string_equal(msock_reply(f.m, NULL), "precious");
    msock_get_counts(f.m, &counts);
    assert_int_equal(counts.retries, 0);
    assert_int_equal(counts.messages, 3);
    assert_int_equal(counts.connects, 3);
    s = fixture_stop(&f);
    assert_int_equal(s->message_count, 3);
    assert_int_equal(server_distinct(s), 3);
    server_destroy(s);
}

/* A listener that says what it is told after the first bytes it gets, and then nothing. */
struct raw {
    int listener;
    const void *says;
    size_t n;
};

static void *
raw_main(void *arg)
{
    struct raw *r = arg;
    char junk[4096];
    int fd = accept(r->listener, NULL, NULL);

    if (fd >= 0 && recv(fd, junk, sizeof(junk), 0) > 0 &&
        send(fd, r->says, r->n, MSG_NOSIGNAL) == (ssize_t)r->n)
        while (recv(fd, junk, sizeof(junk), 0) > 0)
            continue;
    close(fd);
    return NULL;
}

static void
check_raw(const void *says, size_t n, const char *error)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    struct raw r = {.says = says, .n = n};
    pthread_t thread;
    char url[64];
    msock *m;

    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r.listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(r.listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(r.listener, 8), 0);
    assert_int_equal(pthread_create(&thread, NULL, raw_main, &r), 0);
    snprintf(url, sizeof(url), "msp://127.0.0.1:%d", ntohs(sa.sin_port));
    m = msock_open(url);
    msock_set_timeouts(m, 1000, 5000);
    msock_set_retries(m, 0, 1, 1);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "x", 1), MSOCK_TIMEOUT);
    assert_non_null(strstr(msock_error(m), error));
    msock_close(m);
    pthread_join(thread, NULL);
    close(r.listener);
}

static void
a_header_is_checked_before_memory_is_taken(void **state)
{
    char says[10 + 50] = "ACK\r\nACK\r\n";
    char *header = says + 10;

    (void)state;
    memset(header, 0, 50);
    check_raw(says, sizeof(says), "the reply's header is damaged"); /* no CRLF */
    memcpy(header + 8, "\r\n", 2);
    memcpy(header + 42, "\r\n", 2);
    memcpy(header + 48, "\r\n", 2);
    memset(header, 0xff, 8);
    check_raw(says, sizeof(says), "the reply's header is damaged");
    memcpy(header, "\0\0\0\0\1\0\0\1", 8); /* 16 MiB and a byte */
    check_raw(says, sizeof(says), "the reply's header is damaged");
    memcpy(header, "\0\0\0\0\1\0\0\0", 8); /* 16 MiB are allowed, but never come */
    check_raw(says, sizeof(says), "the reply did not come within 1000 ms");
    check_raw(says, 30, "the reply did not come within 1000 ms");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_is_there_until_the_next_message),
        cmocka_unit_test(an_empty_reply_is_a_reply),
        cmocka_unit_test(a_large_message_gets_its_reply_too),
        cmocka_unit_test(a_message_with_its_final_ack_is_not_sent_again_for_its_reply),
        cmocka_unit_test(a_header_is_checked_before_memory_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
