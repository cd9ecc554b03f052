/* The two functions for programs with an event loop of their own. */
#include "msock.h"
#include "scripted_server.h"

#include <openssl/sha.h>
#include <zlib.h>

static void
a_message_is_laid_out_as_the_protocol_says(void **state)
{
    uint8_t out[4096], sha[32];
    const size_t n = 50 + 5 + 10 + 8;

    (void)state;
    memset(out, 0xee, sizeof(out));
    assert_int_equal(msock_encode('J', 1, "[1,2]", 5, "order-17", 8, out, sizeof(out)), n);
    assert_memory_equal(out, "\0\0\0\0\0\0\0\5\r\n", 10);
    SHA256((const uint8_t *)"[1,2]", 5, sha);
    assert_memory_equal(out + 10, sha, 32);
    assert_memory_equal(out + 42, "\r\n", 2);
    assert_int_equal(server_number(out + 44, 4), crc32(0, (const uint8_t *)"[1,2]", 5));
    assert_memory_equal(out + 48, "\r\n[1,2]", 7);
    assert_int_equal(server_number(out + 55, 4), crc32(0, out + 61, 12));
    assert_memory_equal(out + 59, "\r\nJ\1\0\10order-17", 14);
    assert_int_equal(out[n], 0xee);
}

static void
what_was_laid_out_is_accepted_by_a_server(void **state)
{
    struct server *s = server_create();
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const size_t sizes[] = {0, 1, 1998};
    uint8_t out[4096], *data = test_bytes(1998);
    char in[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    server_start(s, AF_INET);
    sa.sin_port = htons((in_port_t)atoi(strrchr(s->url, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    for (int i = 0; i < 3; i++) {
        size_t n = msock_encode('A', 0, data, sizes[i], NULL, 0, out, sizeof(out));

        assert_int_equal(n, 60 + sizes[i]);
        assert_int_equal(send(fd, out, n, MSG_NOSIGNAL), n);
        assert_int_equal(recv(fd, in, 10, MSG_WAITALL), 10);
        assert_memory_equal(in, "ACK\r\nACK\r\n", 10);
    }
    close(fd);
    server_stop(s);
    assert_int_equal(s->message_count, 3);
    assert_memory_equal(s->messages[2].body, data, 1998);
    free(data);
    server_destroy(s);
}

static void
limits_and_lengths_are_told_without_writing(void **state)
{
    uint8_t out[4200], *data = test_bytes(2100);

    (void)state;
    assert_int_equal(msock_encode('A', 0, data, 1998, data, 2038, out, sizeof(out)),
                     50 + 1998 + 10 + 2038);
    assert_int_equal(msock_encode('A', 0, data, 1999, NULL, 0, out, sizeof(out)), 0);
    assert_int_equal(msock_encode('A', 0, data, 1, data, 2039, out, sizeof(out)), 0);
    assert_int_equal(msock_encode('A', 0, data, 100, NULL, 0, NULL, 0), 160);
    memset(out, 0xee, sizeof(out));
    assert_int_equal(msock_encode('A', 0, data, 100, NULL, 0, out, 159), 160);
    assert_int_equal(out[0], 0xee);
    assert_int_equal(msock_encode('A', 0, data, 100, NULL, 0, out, 160), 160);
    assert_int_equal(out[0], 0);
    free(data);
}

struct decode_case {
    const char *bytes;
    int length;
    enum msock_answer answer;
    uint32_t grant;
};

static void
answers_are_decoded(void **state)
{
    static const struct decode_case cases[] = {
        {"ACK\r\n", 5, MSOCK_ANSWER_ACK, 0},
        {"ACK 2048\r\nACK\r\n", 10, MSOCK_ANSWER_ACK, 2048},
        {"NACK1\r\n", 7, MSOCK_ANSWER_NACK1, 0},
        {"NACK2\r\n", 7, MSOCK_ANSWER_NACK2, 0},
        {"REJ bad-json line 1\r\n", 21, MSOCK_ANSWER_REJ, 0},
        {"ERR busy\r\n", 10, MSOCK_ANSWER_ERR, 0},
        {"ACK", 0, 0, 0},
        {"ACK\r", 0, 0, 0},
        {"", 0, 0, 0},
        {"HELLO\r\n", -1, 0, 0},
        {"ACK 63\r\n", -1, 0, 0},
        {"ACK 16777217\r\n", -1, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct decode_case *c = &cases[i];
        enum msock_answer answer = MSOCK_ANSWER_ERR;
        uint32_t grant = 99;

        assert_int_equal(msock_decode(c->bytes, strlen(c->bytes), &answer, &grant), c->length);
        assert_int_equal(msock_decode(c->bytes, strlen(c->bytes), NULL, NULL), c->length);
        if (c->length <= 0)
            continue;
        assert_int_equal(answer, c->answer);
        assert_int_equal(grant, c->grant);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_laid_out_as_the_protocol_says),
        cmocka_unit_test(what_was_laid_out_is_accepted_by_a_server),
        cmocka_unit_test(limits_and_lengths_are_told_without_writing),
        cmocka_unit_test(answers_are_decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
