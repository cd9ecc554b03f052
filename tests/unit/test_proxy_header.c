/* PROXY headers: what is one exactly is taken, in whatever pieces, and all else is refused. */
#include "proto/proxy_header.h"

#include "guard.h"

#define V2   "\r\n\r\n\0\r\nQUIT\n"
#define TCP4 "\x0a\1\2\3\x7f\0\0\1\x30\x39\x1f\x40" /* 10.1.2.3:12345 to 127.0.0.1:8000 */
#define TCP6 \
    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x30\x39\x1f\x40"

#define BYTES(text) (text), sizeof(text) - 1

static const struct good {
    const char *bytes;
    size_t n, len; /* len: of the header */
    const char *peer;
} goods[] = {
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 12345 8000\r\n"), 42, "10.1.2.3:12345"},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 0 65535\r\nrest"), 39, "10.1.2.3:0"},
    {BYTES("PROXY TCP6 2001:db8::7 ::1 12345 8000\r\n"), 39, "[2001:db8::7]:12345"},
    {BYTES("PROXY TCP6 ::ffff:10.1.2.3 ::1 1 2\r\n"), 36, "10.1.2.3:1"},
    {BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     104, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535"},
    {BYTES(V2 "\x21\x11\0\x0c" TCP4), 28, "10.1.2.3:12345"},
    {BYTES(V2 "\x21\x11\0\x0c" TCP4 "PROXY"), 28, "10.1.2.3:12345"}, /* it may go on otherwise */
    {BYTES(V2 "\x21\x21\0\x24" TCP6), 52, "[2001:db8::7]:12345"},
    {BYTES(V2 "\x21\x11\0\x14" TCP4 "\4\0\0\5\0\2ab"), 36, "10.1.2.3:12345"}, /* TLVs */
};

/* Its header is taken with the last byte of it, and its end at a page that cannot be read. */
static void
a_header_is_taken_when_it_is_whole(void **state)
{
    struct guard g = guard_create(PROXY_HEADER_MAX);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(goods); i++) {
        const struct good *c = &goods[i];
        struct proxy_header header;
        char peer[ENDPOINT_TEXT_LEN];

        for (size_t n = 0; n <= c->n; n++) {
            enum proxy_verdict verdict =
                proxy_header_read((const uint8_t *)guard_copy(&g, c->bytes, n), n, &header);

            if (n < c->len && verdict != PROXY_MORE)
                fail_msg("row %zu after %zu bytes: %s", i, n, header.why);
            if (n < c->len)
                continue;
            assert_int_equal(verdict, PROXY_GOOD);
            assert_int_equal(header.len, c->len);
            endpoint_format(&header.peer, peer);
            assert_string_equal(peer, c->peer);
        }
    }
    guard_destroy(&g);
}

#define SENSE  "makes no sense"
#define NONE   "does not begin with a PROXY header"
#define FAMILY "no IPv4 or IPv6 address"

static const struct bad {
    const char *bytes;
    size_t n;
    const char *why;
} bads[] = {
    {BYTES("X"), NONE},
    {BYTES("PROXZ TCP4"), NONE},
    {BYTES("proxy "), NONE},
    {BYTES("\r\n\r\n\1"), NONE},
    {BYTES("\x16\3\1\2\0"), NONE}, /* TLS */
    {BYTES("PROXY UNKNOWN\r\n"), FAMILY},
    {BYTES("PROXY UNKNOWN ::1 ::1 1 1\r\n"), FAMILY},
    {BYTES("PROXY UDP4 10.1.2.3 127.0.0.1 1 1\r\n"), FAMILY},
    {BYTES("PROXY \r\n"), FAMILY},
    {BYTES("PROXY TCP4\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1 1\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1 1 \r\n"), SENSE},
    {BYTES("PROXY TCP4  10.1.2.3 127.0.0.1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 01 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 65536 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 -1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2 127.0.0.1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 ::1 ::1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP6 10.1.2.3 127.0.0.1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3\0 127.0.0.1 1 1\r\n"), SENSE},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1 1\r\nPROXY TCP4 "), "two PROXY headers"},
    {BYTES("PROXY TCP4 10.1.2.3 127.0.0.1 1 1\r\n" V2), "two PROXY headers"},
    {BYTES(V2 "\x21\x11\0\x0c" TCP4 V2), "two PROXY headers"},
    {BYTES(V2 "\x20\0\0\0"), "the proxy's own"},
    {BYTES(V2 "\x11\x11\0\x0c" TCP4), SENSE}, /* version 1 in this form */
    {BYTES(V2 "\x22\x11\0\x0c" TCP4), SENSE},
    {BYTES(V2 "\x21\x00\0\x00"), FAMILY},      /* UNSPEC */
    {BYTES(V2 "\x21\x12\0\x0c" TCP4), FAMILY}, /* UDP */
    {BYTES(V2 "\x21\x31\0\xd8"), FAMILY},      /* UNIX */
    {BYTES(V2 "\x21\x11\0\x0b"), SENSE},       /* no room for the addresses */
    {BYTES(V2 "\x21\x21\0\x0c"), SENSE},
    {BYTES(V2 "\x21\x11\xff\xff"), "too long"},
    {BYTES(V2 "\x21\x11\0\x0d" TCP4 "\4"), SENSE}, /* a TLV that is cut */
    {BYTES(V2 "\x21\x11\0\x10" TCP4 "\4\0\2a"), SENSE},
};

static void
all_else_is_refused_with_a_reason(void **state)
{
    struct guard g = guard_create(PROXY_HEADER_MAX);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(bads); i++) {
        const struct bad *c = &bads[i];
        struct proxy_header header;

        if (proxy_header_read((const uint8_t *)guard_copy(&g, c->bytes, c->n), c->n, &header) !=
                PROXY_BAD ||
            strstr(header.why, c->why) == NULL)
            fail_msg("row %zu: %s", i, header.why != NULL ? header.why : "taken");
    }
    guard_destroy(&g);
}

static void
a_line_has_107_bytes_at_most(void **state)
{
    struct proxy_header header;
    uint8_t line[107];

    (void)state;
    memset(line, ' ', sizeof(line));
    memcpy(line, "PROXY ", 6);
    assert_int_equal(proxy_header_read(line, 106, &header), PROXY_MORE);
    assert_int_equal(proxy_header_read(line, 107, &header), PROXY_BAD);
    assert_non_null(strstr(header.why, "has no end"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_taken_when_it_is_whole),
        cmocka_unit_test(all_else_is_refused_with_a_reason),
        cmocka_unit_test(a_line_has_107_bytes_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
