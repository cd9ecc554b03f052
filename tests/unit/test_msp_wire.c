/* The bytes of msp: packets as the tables of docs/protocol.md lay them out, answers as its grammar
 * has them. */
#include "proto/msp/msp_wire.h"

#include "common/base.h"
#include "guard.h"

static void
a_first_header_has_every_field_in_its_place(void **state)
{
    struct msp_first first = {.size = UINT64_C(0x0102030405060708), .crc = 0xa1b2c3d4}, back;
    uint8_t head[MSP_FIRST_HEADER];
    struct guard g = guard_create(sizeof(head));

    (void)state;
    for (unsigned i = 0; i < SHA256_LEN; i++)
        first.sha256[i] = (uint8_t)(0x40 + i);
    msp_first_encode(head, &first);
    assert_memory_equal(head, "\1\2\3\4\5\6\7\10\r\n", 10);
    assert_memory_equal(head + 10, first.sha256, SHA256_LEN);
    assert_memory_equal(head + 42, "\r\n\xa1\xb2\xc3\xd4\r\n", 8);
    assert_true(msp_first_decode((uint8_t *)guard_copy(&g, head, sizeof(head)), &back));
    assert_true(back.size == first.size);
    assert_int_equal(back.crc, first.crc);
    assert_memory_equal(back.sha256, first.sha256, SHA256_LEN);
    guard_destroy(&g);
}

static void
a_first_header_without_a_crlf_in_its_place_is_refused(void **state)
{
    static const unsigned places[] = {8, 9, 42, 43, 48, 49};
    struct msp_first first = {.size = 1}, back = {.size = 4711};
    uint8_t head[MSP_FIRST_HEADER];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(places); i++) {
        msp_first_encode(head, &first);
        head[places[i]] ^= 1;
        assert_false(msp_first_decode(head, &back));
    }
    assert_int_equal(back.size, 4711);
}

static void
a_packet_header_is_a_crc_and_a_crlf(void **state)
{
    uint8_t head[MSP_PACKET_HEADER];

    (void)state;
    msp_packet_encode(head, 0x01020304);
    assert_memory_equal(head, "\1\2\3\4\r\n", 6);
}

static void
a_trailer_sums_all_from_its_kind_on(void **state)
{
    uint8_t out[MSP_TRAILER_FIXED + SHA256_LEN + 8], digest[SHA256_LEN];

    (void)state;
    assert_int_equal(msp_trailer_encode(out, 'F', MSP_FLAG_REPLY, NULL, "a/b", 3), 13);
    assert_memory_equal(out + 4, "\r\nF\1\0\3a/b", 9);
    assert_int_equal(be32_load(out), digest_crc32(0, out + 6, 7));
    assert_int_equal(msp_trailer_encode(out, 'A', 0, NULL, NULL, 0), MSP_TRAILER_FIXED);
    assert_memory_equal(out + 4, "\r\nA\0\0\0", 6);
    memset(digest, 0x77, sizeof(digest));
    assert_int_equal(msp_trailer_encode(out, 'J', 1, digest, "id", 2), 44);
    assert_memory_equal(out + 4, "\r\nJ\3\0\42", 6);
    assert_memory_equal(out + 10, digest, SHA256_LEN);
    assert_memory_equal(out + 42, "id", 2);
    assert_int_equal(be32_load(out), digest_crc32(0, out + 6, 38));
}

static void
a_trailer_may_carry_2038_bytes(void **state)
{
    static uint8_t out[MSP_FIRST_PACKET];
    static char value[MSP_VALUE_MAX];

    (void)state;
    memset(value, 'v', sizeof(value));
    assert_int_equal(msp_trailer_encode(out, 'F', 0, NULL, value, sizeof(value)), 2048);
    assert_int_equal(be16_load(out + 8), MSP_VALUE_MAX);
}

struct answer_case {
    const char *line;
    enum msp_answer_kind kind;
    uint32_t grant;
    const char *code, *text;
};

static const struct answer_case good[] = {
    {"ACK\r\n", MSP_ANSWER_ACK, 0, "", ""},
    {"ACK 64\r\n", MSP_ANSWER_GRANT, 64, "", ""},
    {"ACK 2048\r\n", MSP_ANSWER_GRANT, 2048, "", ""},
    {"ACK 16777216\r\n", MSP_ANSWER_GRANT, 16777216, "", ""},
    {"NACK1\r\n", MSP_ANSWER_NACK1, 0, "", ""},
    {"NACK2\r\n", MSP_ANSWER_NACK2, 0, "", ""},
    {"REJ bad-json line 1 column 2: x\r\n", MSP_ANSWER_REJ, 0, "bad-json", "line 1 column 2: x"},
    {"REJ refused \r\n", MSP_ANSWER_REJ, 0, "refused", ""},
    {"REJ refused\r\n", MSP_ANSWER_REJ, 0, "refused", ""},
    {"ERR timeout  two blanks\r\n", MSP_ANSWER_ERR, 0, "timeout", " two blanks"},
    {"ERR abcdefghijklmnopqrstuvwxyz01234 x\r\n", MSP_ANSWER_ERR, 0,
     "abcdefghijklmnopqrstuvwxyz01234", "x"},
    {"ERR abcdefghijklmnopqrstuvwxyz012345 x\r\n", MSP_ANSWER_ERR, 0,
     "abcdefghijklmnopqrstuvwxyz01234", "x"},
};

static void
every_answer_is_read_whole_and_at_every_split(void **state)
{
    struct guard g = guard_create(2 * MSP_LINE_MAX);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(good); i++) {
        int n = (int)strlen(good[i].line);
        char two[MSP_LINE_MAX];
        struct msp_answer answer;

        memset(&answer, 'X', sizeof(answer));
        for (int cut = 0; cut < n; cut++) {
            const char *part = guard_copy(&g, good[i].line, (size_t)cut);

            assert_int_equal(msp_answer_decode(part, (size_t)cut, &answer), 0);
            assert_int_equal(answer.code[0], 'X');
        }
        snprintf(two, sizeof(two), "%sACK\r\n", good[i].line);
        for (int extra = 0; extra <= 5; extra++) {
            size_t len = (size_t)(n + extra);

            assert_int_equal(msp_answer_decode(guard_copy(&g, two, len), len, &answer), n);
            assert_int_equal(answer.kind, good[i].kind);
            assert_int_equal(answer.grant, good[i].grant);
            assert_string_equal(answer.code, good[i].code);
            assert_string_equal(answer.text, good[i].text);
        }
    }
    guard_destroy(&g);
}

static void
what_is_no_answer_is_refused(void **state)
{
    static const char *const bad[] = {
        "\r\n",
        "\n",
        "\rX",
        "ACK\n",
        "ACK\rx",
        "ack\r\n",
        "ACK \r\n",
        "ACK  64\r\n",
        "ACK 64 \r\n",
        "ACK 064\r\n",
        "ACK 63\r\n",
        "ACK 0\r\n",
        "ACK +64\r\n",
        "ACK -64\r\n",
        "ACK 16777217\r\n",
        "ACK 99999999\r\n",
        "ACK 4294967360\r\n",
        "ACK 6x\r\n",
        "ACK0\r\n",
        "ACKNOWLEDGED\r\n",
        "NACK\r\n",
        "NACK3\r\n",
        "NACK1 \r\n",
        "NACK12\r\n",
        "REJ\r\n",
        "REJ \r\n",
        "REJ  x\r\n",
        "REJ Bad x\r\n",
        "REJ bad_x y\r\n",
        "ERR\r\n",
        "REJ bad-json a\tb\r\n",
        "ERR x \x7f\r\n",
        "ERR x \xc3\xa4\r\n",
        "HTTP/1.1 400\r\n",
        " ACK\r\n",
        "AC\r\n",
        "ERRx y\r\n",
    };
    struct guard g = guard_create(MSP_LINE_MAX);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bad); i++) {
        struct msp_answer answer = {.grant = 4711};
        size_t n = strlen(bad[i]);

        if (msp_answer_decode(guard_copy(&g, bad[i], n), n, &answer) != -1)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(answer.grant, 4711);
    }
    assert_int_equal(msp_answer_decode("ACK\0\r\n", 6, &(struct msp_answer){0}), -1);
    guard_destroy(&g);
}

static void
a_line_has_at_most_512_bytes_with_its_end(void **state)
{
    char line[MSP_LINE_MAX + 8];
    struct msp_answer answer;
    struct guard g = guard_create(sizeof(line));

    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "ERR busy ", 9);
    for (size_t n = 0; n < MSP_LINE_MAX; n++)
        assert_int_equal(msp_answer_decode(guard_copy(&g, line, n), n, &answer), 0);
    assert_int_equal(msp_answer_decode(guard_copy(&g, line, 512), 512, &answer), -1);
    memcpy(line + 510, "\r\n", 2);
    assert_int_equal(msp_answer_decode(guard_copy(&g, line, 511), 511, &answer), 0);
    assert_int_equal(msp_answer_decode(guard_copy(&g, line, 512), 512, &answer), 512);
    assert_int_equal(strlen(answer.text), 512 - 2 - 9);
    memcpy(line + 510, "x\r\n", 3);
    assert_int_equal(msp_answer_decode(line, 513, &answer), -1);
    guard_destroy(&g);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_header_has_every_field_in_its_place),
        cmocka_unit_test(a_first_header_without_a_crlf_in_its_place_is_refused),
        cmocka_unit_test(a_packet_header_is_a_crc_and_a_crlf),
        cmocka_unit_test(a_trailer_sums_all_from_its_kind_on),
        cmocka_unit_test(a_trailer_may_carry_2038_bytes),
        cmocka_unit_test(every_answer_is_read_whole_and_at_every_split),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(a_line_has_at_most_512_bytes_with_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
