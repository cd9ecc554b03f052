/* The client over plain frames: every framing, replies and messages that come by themselves, and
 * connections that end where they should not. */
#include "byte_server.h"
#include "client_fixture.h"

#include <errno.h>
#include <poll.h>

/* --- all framings --- */

#define BYTES(literal) literal, sizeof(literal) - 1

struct framing_case {
    const char *options;
    const char *message;
    const char *wire;
    size_t wire_len;
    const char *reply_wire;
    size_t reply_wire_len;
    const char *reply;
    bool ends; /* each message has a connection of its own */
};

static const struct framing_case framing_cases[] = {
    {"", "hello", BYTES("\0\0\0\5hello"), BYTES("\0\0\0\3you"), "you", false},
    {"?framing=length32", "", BYTES("\0\0\0\0"), BYTES("\0\0\0\0"), "", false},
    {"?framing=fixed:4", "abcd", BYTES("abcd"), BYTES("efgh"), "efgh", false},
    {"?framing=delimiter", "a line", BYTES("a line\n"), BYTES("another\r\n"), "another", false},
    {"?framing=delimiter&delimiter=%3B%3B", "x;y", BYTES("x;y;;"), BYTES("z;;"), "z", false},
    {"?framing=eof", "all of it", BYTES("all of it"), BYTES("and back"), "and back", true},
    {"?framing=eof", "", BYTES(""), BYTES(""), "", true},
};

static void
serve_framing(struct byte_server *s)
{
    const struct framing_case *c = s->arg;

    do {
        byte_expect(s, c->wire, c->wire_len);
        if (c->ends)
            byte_expect_end(s);
        byte_say(s, c->reply_wire, c->reply_wire_len);
    } while (!c->ends && s->connections++ == 0);
    if (!c->ends)
        byte_expect_end(s);
}

static void
every_framing_carries_messages_and_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(framing_cases) / sizeof(framing_cases[0]); i++) {
        const struct framing_case *c = &framing_cases[i];
        struct msock_counts counts;
        struct byte_server s;
        msock *m;

        print_message("%s %s\n", c->options, c->message);
        byte_server_start(&s, serve_framing, (void *)(uintptr_t)c);
        m = client_open("frame://%s%s", s.at, c->options);
        msock_set_want_reply(m, 1);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(msock_send(m, c->message, strlen(c->message)), MSOCK_OK);
            client_expect_reply(m, c->reply);
            assert_string_equal(msock_last_id(m), "");
        }
        msock_get_counts(m, &counts);
        assert_int_equal(counts.messages, 2);
        assert_int_equal(counts.connects, c->ends ? 2 : 1);
        assert_int_equal(counts.retries, 0);
        msock_close(m);
        byte_server_stop(&s);
    }
}

static void
serve_json_and_file(struct byte_server *s)
{
    EXPECT(s, "\0\0\0\7{\"a\":1}");
    EXPECT(s, "\0\0\0\4[1 ]");
    EXPECT(s, "\0\0\0\x0cof the file\n");
    byte_expect_end(s);
}

static void
of_a_document_and_of_a_file_the_bytes_are_sent(void **state)
{
    json_t *value = json_pack("{s:i}", "a", 1);
    char path[] = "/tmp/msockXXXXXX";
    int fd = mkstemp(path);
    struct byte_server s;
    msock *m;

    (void)state;
    assert_int_equal(write(fd, "of the file\n", 12), 12);
    close(fd);
    byte_server_start(&s, serve_json_and_file, NULL);
    m = client_open("frame://%s", s.at);
    assert_int_equal(msock_set_id(m, "unused", 6), MSOCK_OK);
    assert_int_equal(msock_send_json(m, value), MSOCK_OK);
    assert_int_equal(msock_send_json_text(m, "[1 ]", 4), MSOCK_OK);
    assert_int_equal(msock_send_file(m, path, NULL), MSOCK_OK);
    assert_int_equal(msock_send_file(m, "/nonexistent", NULL), MSOCK_LOCAL);
    msock_close(m);
    byte_server_stop(&s);
    unlink(path);
    json_decref(value);
}

static void
serve_one(struct byte_server *s)
{
    EXPECT(s, "1234");
    byte_expect_end(s);
}

static void
what_a_framing_cannot_carry_is_not_sent(void **state)
{
    static const struct {
        const char *options, *message;
        size_t n;
    } cases[] = {
        {"?framing=fixed:4", "12345", 5},
        {"?framing=fixed:4", "", 0},
        {"?framing=delimiter&delimiter=%0A", "a\nb", 3},
        {"", "", (256u << 20) + 1},
    };
    struct byte_server s;
    msock *m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        byte_server_start(&s, byte_expect_end, NULL);
        m = client_open("frame://%s%s", s.at, cases[i].options);
        assert_int_equal(msock_send(m, cases[i].message, cases[i].n), MSOCK_USAGE);
        assert_true(strlen(msock_error(m)) > 10);
        msock_close(m);
        byte_server_stop(&s);
    }
    byte_server_start(&s, serve_one, NULL);
    m = client_open("frame://%s?framing=fixed:4", s.at);
    assert_int_equal(msock_send(m, "123", 3), MSOCK_USAGE);
    assert_int_equal(msock_send(m, "1234", 4), MSOCK_OK);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 1);
}

/* --- what the server sends by itself --- */

static void
serve_pushes(struct byte_server *s)
{
    SAY(s, "\0\0\0\3one\0\0\0\0\0\0\0\5th");
    if (s->connections > 0) {
        byte_until_end(s);
        return;
    }
    EXPECT(s, "\0\0\0\2go");
    SAY(s, "ree\0\0\0\4four");
}

static void
messages_of_the_server_come_in_order_and_then_the_time_is_over(void **state)
{
    struct byte_server s;
    const void *data;
    struct pollfd p;
    size_t n;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_pushes, NULL);
    m = client_open("frame://%s", s.at);
    assert_int_equal(msock_fd(m), -1);
    client_expect_received(m, "one");
    client_expect_received(m, "");
    assert_int_equal(msock_recv(m, 0, &data, &n), MSOCK_TIMEOUT);
    assert_int_equal(msock_recv(m, 20, &data, &n), MSOCK_TIMEOUT);
    assert_string_not_equal(msock_error(m), "");
    assert_int_equal(msock_send(m, "go", 2), MSOCK_OK);
    p = (struct pollfd){.fd = msock_fd(m), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    client_expect_received(m, "three");
    client_expect_received(m, "four");
    assert_int_equal(msock_recv(m, -1, &data, &n), MSOCK_UNREACHABLE);
    assert_non_null(strstr(msock_error(m), "closed the connection"));
    assert_int_equal(msock_fd(m), -1);
    client_expect_received(m, "one"); /* on a new connection */
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 2);
}

static void
serve_half_a_push(struct byte_server *s)
{
    SAY(s, "\0\0\0\4ne");
    EXPECT(s, "\0\0\0\3ask");
    SAY(s, "ws\0\0\0\6answer");
    byte_expect_end(s);
}

static void
what_began_to_come_before_the_message_is_no_reply(void **state)
{
    struct byte_server s;
    struct pollfd p;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_half_a_push, NULL);
    m = client_open("frame://%s", s.at);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    p = (struct pollfd){.fd = msock_fd(m), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_OK);
    client_expect_reply(m, "answer");
    client_expect_received(m, "news");
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_push_then_reply(struct byte_server *s)
{
    SAY(s, "\0\0\0\4news");
    EXPECT(s, "\0\0\0\3ask");
    SAY(s, "\0\0\0\6answer\0\0\0\4more");
    byte_expect_end(s);
}

static void
a_reply_is_what_comes_after_the_message(void **state)
{
    struct byte_server s;
    struct pollfd p;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_push_then_reply, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_connect(m), MSOCK_OK);
    p = (struct pollfd){.fd = msock_fd(m), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_OK);
    client_expect_reply(m, "answer");
    client_expect_received(m, "news");
    client_expect_received(m, "more");
    msock_close(m);
    byte_server_stop(&s);
}

#define LARGE (3u << 20)

static void
serve_large(struct byte_server *s)
{
    uint8_t *body = malloc(4 + LARGE);

    for (size_t i = 0; i < LARGE; i++)
        body[4 + i] = (uint8_t)(i * 7 + i / 251);
    memcpy(body, "\0\x30\0\0", 4);
    byte_expect(s, body, 4 + LARGE);
    byte_say(s, body, 4 + LARGE);
    byte_expect_end(s);
    free(body);
}

static int
note_progress(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *last = arg;

    assert_int_equal(total, LARGE);
    assert_true(done >= *last && done <= total);
    *last = done;
    return 0;
}

static void
three_mebibytes_go_and_come_back(void **state)
{
    uint8_t *data = malloc(LARGE);
    uint64_t last = 0;
    struct byte_server s;
    size_t n;
    msock *m;

    (void)state;
    for (size_t i = 0; i < LARGE; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    byte_server_start(&s, serve_large, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    msock_set_progress(m, note_progress, &last);
    assert_int_equal(msock_send(m, data, LARGE), MSOCK_OK);
    assert_int_equal(last, LARGE);
    assert_memory_equal(msock_reply(m, &n), data, LARGE);
    assert_int_equal(n, LARGE);
    msock_close(m);
    byte_server_stop(&s);
    free(data);
}

static void
serve_too_large_for_memory(struct byte_server *s)
{
    uint8_t *body = calloc(1, 4 + LARGE);

    memcpy(body, "\0\x30\0\0", 4);
    EXPECT(s, "\0\0\0\3ask");
    byte_say(s, body, 4 + LARGE);
    byte_until_end(s);
    free(body);
}

static void
a_reply_that_cannot_be_stored_is_none(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *before = tmp != NULL ? strdup(tmp) : NULL;
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_too_large_for_memory, NULL);
    setenv("TMPDIR", "/nonexistent/directory", 1);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_GIVEN_UP);
    assert_null(msock_reply(m, NULL));
    msock_close(m);
    if (before != NULL)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    free(before);
    byte_server_stop(&s);
}

/* --- closing --- */

#define UNTAKEN 8000 /* more than the server's window, less than the client's kernel takes */

/* The message is under way, and a receipt at the client, when that one closes. */
static void
serve_receipts(struct byte_server *s)
{
    char *body = calloc(1, UNTAKEN), sent;
    const int *said = s->arg;

    EXPECT(s, "\0\0\0\3one");
    SAY(s, "\0\0\0\7receipt");
    if (read(*said, &sent, 1) != 1)
        byte_wrong(s, "no second message");
    SAY(s, "\0\0\0\7receipt");
    (void)byte_wait(s, POLLRDHUP, 100); /* time to take it back */
    EXPECT(s, "\0\0\x1f\x40");
    byte_expect(s, body, UNTAKEN);
    byte_expect_end(s);
    free(body);
}

static void
receipts_that_nobody_reads_take_no_message_back(void **state)
{
    char *data = calloc(1, UNTAKEN);
    struct byte_server s;
    struct pollfd p;
    int small = 2304, said[2];
    msock *m;

    (void)state;
    assert_int_equal(pipe(said), 0);
    byte_server_start(&s, serve_receipts, said);
    assert_int_equal(setsockopt(s.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
    msock_set_want_reply(m, 0);
    assert_int_equal(msock_send(m, data, UNTAKEN), MSOCK_OK);
    assert_int_equal(write(said[1], "", 1), 1);
    p = (struct pollfd){.fd = msock_fd(m), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    msock_close(m);
    byte_server_stop(&s);
    close(said[0]);
    close(said[1]);
    free(data);
}

/* --- connections that end --- */

static void
serve_part(struct byte_server *s)
{
    char some[1000];

    byte_read(s, some, sizeof(some));
    if (s->arg != NULL)
        byte_reset(s);
}

static void
a_message_that_has_left_in_part_is_sent_again_but_at_the_end_of_a_stream(void **state)
{
    static const struct {
        const char *options, *sentence;
        int connections;
    } cases[] = {
        {"", "is not committed", 3},
        {"?framing=delimiter", "is not committed", 3},
        {"?framing=eof", "may have been committed", 1},
    };
    size_t n = 32u << 20;
    char *data = calloc(1, n);

    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        for (size_t i = 0; i < 3; i++) {
            struct byte_server s;
            msock *m;

            byte_server_start(&s, serve_part, reset ? &s : NULL);
            m = client_open("frame://%s%s", s.at, cases[i].options);
            assert_int_equal(msock_send(m, data, n), MSOCK_GIVEN_UP);
            assert_non_null(strstr(msock_error(m), cases[i].sentence));
            assert_int_equal(msock_fd(m), -1);
            msock_close(m);
            byte_server_stop(&s);
            assert_int_equal(s.connections, cases[i].connections);
        }
    }
    free(data);
}

/* Reads some, and the rest when the client has given up. */
static void
serve_late(struct byte_server *s)
{
    const int *given_up = s->arg;
    char some[65536];
    ssize_t n;

    byte_read(s, some, 1000);
    if (read(given_up[0], some, 1) != 1)
        byte_wrong(s, "the client says nothing");
    while ((n = recv(s->fd, some, sizeof(some), 0)) > 0)
        continue;
    s->resets += n < 0 && errno == ECONNRESET;
}

static void
a_message_up_to_the_end_that_is_given_up_half_way_ends_in_a_reset(void **state)
{
    size_t n = 32u << 20;
    char *data = calloc(1, n);
    struct byte_server s;
    int given_up[2];
    msock *m;

    (void)state;
    assert_int_equal(pipe(given_up), 0);
    byte_server_start(&s, serve_late, given_up);
    m = client_open("frame://%s?framing=eof", s.at);
    msock_set_timeouts(m, 100, 100);
    assert_int_equal(msock_send(m, data, n), MSOCK_GIVEN_UP);
    assert_int_equal(write(given_up[1], "", 1), 1);
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(s.resets, 1);
    close(given_up[0]);
    close(given_up[1]);
    free(data);
}

static void
serve_half_a_reply(struct byte_server *s)
{
    if (s->connections > 0) {
        EXPECT(s, "\0\0\0\4next");
        SAY(s, "\0\0\0\3yes");
        byte_expect_end(s);
        return;
    }
    EXPECT(s, "\0\0\0\3ask");
    SAY(s, "\0\0\0\6ans");
}

static void
half_a_reply_is_none(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_half_a_reply, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_GIVEN_UP);
    assert_null(msock_reply(m, NULL));
    assert_int_equal(msock_send(m, "next", 4), MSOCK_OK);
    client_expect_reply(m, "yes");
    msock_close(m);
    byte_server_stop(&s);
    assert_int_equal(s.connections, 2);
}

static void
serve_too_large(struct byte_server *s)
{
    EXPECT(s, "\0\0\0\3ask");
    SAY(s, "\xff\xff\xff\xff");
    byte_until_end(s);
}

static void
a_reply_that_is_too_large_is_told(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_too_large, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "too large to be taken"));
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_late_reply(struct byte_server *s)
{
    if (s->connections == 0) {
        EXPECT(s, "\0\0\0\3ask");
        byte_until_end(s);
        SAY(s, "\0\0\0\4late");
        return;
    }
    EXPECT(s, "\0\0\0\4next");
    SAY(s, "\0\0\0\3yes");
    byte_expect_end(s);
}

static void
a_reply_that_comes_too_late_is_not_that_of_the_next_message(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_late_reply, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_want_reply(m, 1);
    msock_set_timeouts(m, 50, 50);
    assert_int_equal(msock_send(m, "ask", 3), MSOCK_GIVEN_UP);
    assert_non_null(strstr(msock_error(m), "no answer within 50 ms"));
    msock_set_timeouts(m, 5000, 5000);
    assert_int_equal(msock_send(m, "next", 4), MSOCK_OK);
    client_expect_reply(m, "yes");
    msock_close(m);
    byte_server_stop(&s);
}

static void
serve_and_leave(struct byte_server *s)
{
    EXPECT(s, "\0\0\0\3one");
    SAY(s, "\0\0\0\4news");
    (void)shutdown(s->fd, SHUT_WR);
    byte_expect_end(s);
}

static void
a_connection_that_ended_meanwhile_is_made_again(void **state)
{
    struct msock_counts counts;
    struct byte_server s;
    struct pollfd p;
    msock *m;

    (void)state;
    byte_server_start(&s, serve_and_leave, NULL);
    m = client_open("frame://%s", s.at);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(msock_send(m, "one", 3), MSOCK_OK);
        p = (struct pollfd){.fd = msock_fd(m), .events = POLLRDHUP};
        assert_int_equal(poll(&p, 1, 5000), 1);
    }
    client_expect_received(m, "news"); /* of the connections before, too */
    client_expect_received(m, "news");
    client_expect_received(m, "news");
    msock_get_counts(m, &counts);
    assert_int_equal(counts.connects, 3);
    assert_int_equal(counts.retries, 0);
    msock_close(m);
    byte_server_stop(&s);
}

static int
cancel(void *arg, uint64_t done, uint64_t total)
{
    (void)arg, (void)done, (void)total;
    return 1;
}

static void
a_message_can_be_cancelled_before_it_leaves(void **state)
{
    struct byte_server s;
    msock *m;

    (void)state;
    byte_server_start(&s, byte_expect_end, NULL);
    m = client_open("frame://%s", s.at);
    msock_set_progress(m, cancel, NULL);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_CANCELLED);
    msock_close(m);
    byte_server_stop(&s);
}

static void
where_nobody_listens_nothing_is_sent_or_received(void **state)
{
    struct byte_server s;
    const void *data;
    msock *m;

    (void)state;
    byte_server_start(&s, byte_expect_end, NULL);
    m = client_open("frame://%s", s.at);
    byte_server_stop(&s);
    assert_int_equal(msock_send(m, "one", 3), MSOCK_UNREACHABLE);
    assert_int_equal(msock_recv(m, 0, &data, NULL), MSOCK_UNREACHABLE);
    assert_int_equal(msock_connect(m), MSOCK_UNREACHABLE);
    assert_int_equal(msock_recv(m, 0, NULL, NULL), MSOCK_USAGE);
    msock_close(m);
    m = msock_open("msp://127.0.0.1:1");
    assert_int_equal(msock_recv(m, 0, &data, NULL), MSOCK_USAGE);
    msock_close(m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_framing_carries_messages_and_replies),
        cmocka_unit_test(of_a_document_and_of_a_file_the_bytes_are_sent),
        cmocka_unit_test(what_a_framing_cannot_carry_is_not_sent),
        cmocka_unit_test(messages_of_the_server_come_in_order_and_then_the_time_is_over),
        cmocka_unit_test(a_reply_is_what_comes_after_the_message),
        cmocka_unit_test(what_began_to_come_before_the_message_is_no_reply),
        cmocka_unit_test(three_mebibytes_go_and_come_back),
        cmocka_unit_test(a_reply_that_cannot_be_stored_is_none),
        cmocka_unit_test(receipts_that_nobody_reads_take_no_message_back),
        cmocka_unit_test(a_message_that_has_left_in_part_is_sent_again_but_at_the_end_of_a_stream),
        cmocka_unit_test(a_message_up_to_the_end_that_is_given_up_half_way_ends_in_a_reset),
        cmocka_unit_test(half_a_reply_is_none),
        cmocka_unit_test(a_reply_that_is_too_large_is_told),
        cmocka_unit_test(a_reply_that_comes_too_late_is_not_that_of_the_next_message),
        cmocka_unit_test(a_connection_that_ended_meanwhile_is_made_again),
        cmocka_unit_test(a_message_can_be_cancelled_before_it_leaves),
        cmocka_unit_test(where_nobody_listens_nothing_is_sent_or_received),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
