/* cnp's packets as bytes: the vectors, both headers, the kinds, and the payload of an ERROR
 * whatever its text. */
#include "guard.h"

#include "proto/cnp/cnp_wire.h"

#include "support/hex.h"

#include <jansson.h>
#include <stdbool.h>

static void
every_vector_has_its_header_and_checksum(void **state)
{
    static const struct {
        const char *name;
        bool second, damaged;
        enum cnp_kind kind;
        uint16_t sequence;
    } cases[] = {
        {"syn", false, false, CNP_DATA, 0},
        {"data-1", false, false, CNP_DATA, 1},
        {"ack-1", false, false, CNP_ACK, 1},
        {"disconnect", false, false, CNP_DISCONNECT, 0},
        {"data-bad-checksum", false, true, CNP_DATA, 1},
        {"second-dialect-data-0", true, false, CNP_FRAGMENT, 0},
    };
    const char *root = getenv("MSOCK_SOURCE");
    char path[4096];
    json_t *all;

    (void)state;
    snprintf(path, sizeof(path), "%s/tests/vectors/packets.json", root != NULL ? root : ".");
    all = json_load_file(path, 0, NULL);
    assert_non_null(all);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        const json_t *hex = json_object_get(json_object_get(all, "cnp"), cases[i].name);
        uint8_t packet[256], sum[CNP_SUM_LEN], again[CNP_HEADER_MAX];
        size_t n = hex_read(json_string_value(hex), packet), head = cnp_header_len(cases[i].second);
        struct cnp_header h;

        cnp_header_decode(packet, cases[i].second, &h);
        assert_int_equal(head + h.length, n);
        assert_int_equal(h.sequence, cases[i].sequence);
        assert_int_equal(cnp_kind(&h, cases[i].second), cases[i].kind);
        cnp_sum_of(packet + head, h.length, sum);
        assert_int_equal(memcmp(sum, h.sum, CNP_SUM_LEN) != 0, cases[i].damaged);
        assert_int_equal(cnp_header_encode(again, cases[i].second, &h), head);
        assert_memory_equal(again, packet, head);
    }
    json_decref(all);
}

static void
an_ack_is_the_vector_with_its_own_sequence(void **state)
{
    static const uint8_t first[] = {0,    0,    0,    3,    2,   0x12, 0x34,
                                    0x0f, 0xc4, 0x37, 0xbc, 'A', 'C',  'K'};
    static const uint8_t second[] = {0,    0,    0,    3, 2,   0x12, 0x34, 0x0f,
                                     0xc4, 0x37, 0xbc, 0, 'A', 'C',  'K'};
    uint8_t out[CNP_ACK_MAX];

    (void)state;
    assert_int_equal(cnp_ack_encode(out, false, 0x1234), sizeof(first));
    assert_memory_equal(out, first, sizeof(first));
    assert_int_equal(cnp_ack_encode(out, true, 0x1234), sizeof(second));
    assert_memory_equal(out, second, sizeof(second));
}

static void
types_are_told_apart_by_dialect(void **state)
{
    static const struct {
        uint8_t type;
        bool last;
        enum cnp_kind first, second;
    } cases[] = {
        {0x00, false, CNP_UNKNOWN, CNP_UNKNOWN},
        {0x01, false, CNP_DATA, CNP_UNKNOWN},
        {0x02, false, CNP_ACK, CNP_ACK},
        {0x03, false, CNP_ERROR, CNP_STEP},
        {0x04, false, CNP_KEEPALIVE, CNP_FRAGMENT},
        {0x04, true, CNP_KEEPALIVE, CNP_DATA},
        {0x05, false, CNP_DISCONNECT, CNP_ERROR},
        {0x06, false, CNP_FRAGMENT, CNP_DISCONNECT},
        {0x63, false, CNP_UNKNOWN, CNP_CHANNEL},
        {0x07, false, CNP_UNKNOWN, CNP_UNKNOWN},
        {0xff, true, CNP_UNKNOWN, CNP_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct cnp_header h = {.type = cases[i].type, .last = cases[i].last};

        assert_int_equal(cnp_kind(&h, false), cases[i].first);
        assert_int_equal(cnp_kind(&h, true), cases[i].second);
        if (cases[i].first != CNP_UNKNOWN)
            assert_int_equal(cnp_type(cases[i].first, false), cases[i].type);
        if (cases[i].second != CNP_UNKNOWN)
            assert_int_equal(cnp_type(cases[i].second, true), cases[i].type);
    }
}

static void
an_error_is_short_json_whatever_its_text(void **state)
{
    static char long_ascii[2000], long_utf8[2000], controls[2000], bytes[2000];
    const struct {
        const char *text;
        const char *begins; /* the message */
    } cases[] = {
        {"", ""},
        {"no room", "no room"},
        {"a \"word\" and \\", "a \"word\" and \\"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"bad \xff byte", "bad \\xFF byte"},
        {"two\nlines", "two\nlines"},
        {long_ascii, "xxxxxxxx"},
        {long_utf8, "\xe2\x82\xac\xe2\x82\xac"},
        {controls, "\x01\x01\x01"},
        {bytes, "\\xFE\\xFE"},
    };

    (void)state;
    memset(long_ascii, 'x', sizeof(long_ascii) - 1);
    for (size_t i = 0; i + 3 < sizeof(long_utf8); i += 3)
        memcpy(long_utf8 + i, "\xe2\x82\xac", 3);
    memset(controls, 1, sizeof(controls) - 1);
    memset(bytes, 0xfe, sizeof(bytes) - 1);
    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct buffer out = {0};
        const char *message;
        json_t *json;

        cnp_error_payload(&out, "too-large", cases[i].text);
        assert_in_range(out.len, 1, CNP_ERROR_MAX);
        json = json_loadb(buffer_bytes(&out), out.len, 0, NULL);
        assert_non_null(json);
        assert_int_equal(json_object_size(json), 2);
        assert_string_equal(json_string_value(json_object_get(json, "error")), "too-large");
        message = json_string_value(json_object_get(json, "message"));
        assert_memory_equal(message, cases[i].begins, strlen(cases[i].begins));
        json_decref(json);
        buffer_fini(&out);
    }
}

static void
a_running_sum_is_not_disturbed_by_one_in_between(void **state)
{
    static const uint8_t expected[CNP_SUM_LEN] = {0xb1, 0x0a, 0x8d, 0xb1}; /* Hello World */
    static const uint8_t empty[CNP_SUM_LEN] = {0xd4, 0x1d, 0x8c, 0xd9};
    struct cnp_sum *sum = cnp_sum_create();
    uint8_t out[CNP_SUM_LEN];

    (void)state;
    assert_non_null(sum);
    for (int round = 0; round < 2; round++) {
        cnp_sum_begin(sum);
        cnp_sum_update(sum, "Hello", 5);
        cnp_sum_whole(sum, "", 0, out);
        assert_memory_equal(out, empty, CNP_SUM_LEN);
        cnp_sum_update(sum, " World", 6);
        cnp_sum_finish(sum, out);
        assert_memory_equal(out, expected, CNP_SUM_LEN);
    }
    cnp_sum_destroy(sum);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_has_its_header_and_checksum),
        cmocka_unit_test(an_ack_is_the_vector_with_its_own_sequence),
        cmocka_unit_test(types_are_told_apart_by_dialect),
        cmocka_unit_test(an_error_is_short_json_whatever_its_text),
        cmocka_unit_test(a_running_sum_is_not_disturbed_by_one_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
