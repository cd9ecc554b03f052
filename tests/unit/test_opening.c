/* Sealed bodies are opened while they come, in whatever pieces, also where a packet is taken back;
 * and what cannot be opened is refused with its first chunk, over msp in so many words. */
#include "proto/opening.h"

#include "msp_build.h"
#include "proto_peer.h"

#include <errno.h>

#define BODY_MAX (200000 + 1)

static struct seal *client, *server;
static uint8_t body[BODY_MAX], sealed[BODY_MAX + 1000];
static struct message_store store;

static const struct seal_about ABOUT = {
    .proto = "msp", .kind = 'F', .value = "a/path", .value_len = 6};

static int
spill_open(void *arg)
{
    FILE *f = arg == NULL ? tmpfile() : NULL;
    int fd;

    if (f == NULL) {
        errno = ENOSPC;
        return -1;
    }
    fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static int
set_up(void **state)
{
    const struct seal_keys keys = {.count = 1, .key = {{1, 2, 3}}};
    char error[SEAL_ERROR_LEN];

    (void)state;
    client = seal_create(&keys, SEAL_TO_SERVER, error);
    server = seal_create(&keys, SEAL_TO_CLIENT, error);
    for (size_t i = 0; i < BODY_MAX; i++)
        body[i] = (uint8_t)(i * 7 + i / 251);
    store = (struct message_store){
        .digester = digester_create(),
        .memory_max = 100000,
        .ledger = {.max = 1 << 20, .descriptors_max = 10},
        .spill_open = spill_open,
    };
    return client != NULL && server != NULL && store.digester != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    assert_int_equal(store.ledger.used, 0);
    seal_close(client);
    seal_close(server);
    digester_destroy(store.digester);
    return 0;
}

static struct message *
begin(void)
{
    struct message *m = message_create(&store, 0, UINT64_MAX, 77);

    m->opening = opening_create(server, "msp", message_create(&store, 0, UINT64_MAX, 77));
    assert_non_null(m->opening);
    return m;
}

/* The message is whole, and the first n bytes of body. */
static void
expect_opened(struct message *m, size_t n)
{
    struct message *plain;
    uint8_t sha256[SHA256_LEN];
    const char *data;

    message_finish(m);
    m->kind = MESSAGE_FILE;
    message_set_value(m, "a/path", 6);
    assert_int_equal(opening_finish(m, &plain), 0);
    message_destroy(m);
    assert_int_equal(plain->size, n);
    assert_int_equal(plain->kind, MESSAGE_FILE);
    assert_string_equal(plain->value, "a/path");
    assert_int_equal(plain->begun_us, 77);
    digest_sha256(store.digester, body, n, sha256);
    assert_memory_equal(plain->sha256, sha256, SHA256_LEN);
    assert_int_equal(message_body(plain, &data), 0);
    assert_memory_equal(data, body, n);
    message_body_release(plain, data);
    message_destroy(plain);
}

static void
expect_refused(struct message *m)
{
    struct message *plain;

    message_finish(m);
    m->kind = MESSAGE_FILE;
    message_set_value(m, "a/path", 6);
    assert_int_equal(opening_finish(m, &plain), -1);
    assert_int_equal(errno, EBADMSG);
    message_destroy(m);
}

static size_t
seal_body(size_t n)
{
    assert_int_equal(seal_encrypt(client, &ABOUT, body, n, sealed), 0);
    return (size_t)seal_size(n);
}

static void
bodies_are_opened_in_whatever_pieces(void **state)
{
    static const size_t sizes[] = {0, 1, 1000, 65535, 65536, 65537, 131072, 200000};
    static const size_t pieces[] = {1, 38, 39, 40, 65536, 65552, 100000, SIZE_MAX};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes) * MS_ARRAY_LEN(pieces); i++) {
        size_t n = sizes[i / MS_ARRAY_LEN(pieces)], piece = pieces[i % MS_ARRAY_LEN(pieces)];
        size_t len = seal_body(n);
        struct message *m = begin();

        for (size_t at = 0; at < len; at += piece < len - at ? piece : len - at)
            message_append(m, sealed + at, piece < len - at ? piece : len - at);
        assert_int_equal(m->size, len);
        assert_false(message_is_lost(m));
        expect_opened(m, n);
    }
}

/* Each packet comes damaged first, a part of it or all. */
static void
packets_that_are_taken_back_leave_no_trace(void **state)
{
    static const size_t packets[] = {7, 39, 50, 30000, 65536, 70000, 150000};
    static uint8_t damaged[BODY_MAX + 1000];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(packets); i++) {
        size_t len = seal_body(200000), n;
        struct message *m = begin();

        for (size_t at = 0; at < len; at += n) {
            n = packets[i] < len - at ? packets[i] : len - at;
            memcpy(damaged, sealed + at, n);
            damaged[n / 2] ^= 1;
            message_mark(m);
            message_append(m, damaged, n / 2 + 1);
            message_rollback(m);
            message_append(m, damaged, n);
            message_rollback(m);
            if (at % 2 == 0)
                message_append(m, sealed + at, n / 2); /* good, and taken back all the same */
            message_rollback(m);
            message_append(m, sealed + at, n);
        }
        expect_opened(m, 200000);
    }
}

static void
what_is_bad_is_refused_with_its_chunk_and_nothing_is_kept(void **state)
{
    size_t len = seal_body(200000);
    struct message *m;

    (void)state;
    for (size_t chunk = 0; chunk < 3; chunk++) {
        size_t end = SEAL_HEADER + (chunk + 1) * (SEAL_CHUNK + SEAL_TAG);

        sealed[end - 1] ^= 1;
        m = begin();
        message_append(m, sealed, end - 1);
        assert_false(message_is_lost(m));
        message_append(m, sealed + end - 1, 1);
        assert_true(message_is_lost(m));
        assert_int_equal(opening_plain(m->opening)->size, chunk * SEAL_CHUNK);
        message_mark(m);
        assert_null(opening_plain(m->opening)->mem);
        assert_int_equal(opening_plain(m->opening)->fd, -1);
        assert_in_range(store.ledger.used, 1, 4096);
        message_append(m, sealed + end, len - end);
        message_rollback(m);
        message_append(m, sealed + end, len - end);
        expect_refused(m);
        sealed[end - 1] ^= 1;
    }
}

static void
a_header_that_is_none_is_refused_at_once(void **state)
{
    struct message *m = begin();

    (void)state;
    message_append(m, body, SEAL_HEADER);
    assert_true(message_is_lost(m));
    message_mark(m);
    message_append(m, body, 1000);
    message_rollback(m);
    message_append(m, sealed, seal_body(10));
    assert_true(message_is_lost(m));
    expect_refused(m);
}

static void
what_is_cut_short_or_longer_is_refused(void **state)
{
    static const size_t sizes[] = {0, 10, 65536, 65537};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        size_t len = seal_body(sizes[i]);
        const size_t lens[] = {0, 1, SEAL_HEADER, len - 1, len + 1};

        for (size_t k = 0; k < MS_ARRAY_LEN(lens); k++) {
            struct message *m = begin();

            message_append(m, sealed, lens[k]);
            expect_refused(m);
        }
    }
}

static void
another_path_is_refused_with_the_last_chunk(void **state)
{
    struct message *m = begin(), *plain;

    (void)state;
    message_append(m, sealed, seal_body(100));
    message_finish(m);
    m->kind = MESSAGE_FILE;
    message_set_value(m, "b/path", 6);
    assert_int_equal(opening_finish(m, &plain), -1);
    message_destroy(m);
}

static void
what_finds_no_room_is_not_refused(void **state)
{
    struct message *m = begin(), *plain;

    (void)state;
    store.spill_arg = &store;
    message_append(m, sealed, seal_body(200000));
    assert_true(message_is_lost(m));
    assert_int_equal(m->error, ENOSPC);
    message_finish(m);
    assert_int_equal(opening_finish(m, &plain), -1);
    assert_int_equal(errno, ENOSPC);
    message_destroy(m);
}

static void
a_reply_is_sealed_in_pieces(void **state)
{
    static const size_t sizes[] = {1, 65536, 200000};
    const struct seal_about about = {.proto = "msp", .kind = 'A', .value = "id", .value_len = 2};

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        struct message *m = opening_seal(&store, server, &about, body, sizes[i]);
        uint8_t *out = malloc(sizes[i] + 1000);
        const char *data;
        size_t n;

        assert_non_null(m);
        assert_int_equal(message_body(m, &data), 0);
        assert_int_equal(seal_decrypt(client, &about, data, (size_t)m->size, out, &n), 0);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(out, body, n);
        message_body_release(m, data);
        message_destroy(m);
        free(out);
    }
}

/* --- over msp --- */

static uint8_t wire[BODY_MAX + 5000];

static void
msp_begin(struct proto_peer *p)
{
    proto_peer_init(p, &msp_protocol);
    p->seal = server;
    proto_peer_begin(p, PROTO_SERVER);
}

static void
over_msp_a_sealed_message_is_handed_over_opened(void **state)
{
    const struct seal_about about = {.proto = "msp", .kind = 'A', .value = "id", .value_len = 2};
    struct proto_peer p;
    size_t n;

    (void)state;
    for (size_t piece = 1; piece < 200; piece += 33) {
        msp_begin(&p);
        assert_int_equal(seal_encrypt(client, &about, "hello", 5, sealed), 0);
        n = build_message(wire, 'A', sealed, (size_t)seal_size(5), "id");
        proto_peer_hear(&p, wire, n, piece, true);
        proto_peer_expect_said(&p, "ACK\r\nACK\r\n", 10);
        proto_peer_expect_delivered(&p, 0, "hello", 5);
        n = build_message(wire, 'A', sealed, (size_t)seal_size(5), "di");
        proto_peer_hear(&p, wire, n, piece, true);
        proto_peer_expect_said(&p, "ACK\r\nREJ refused not opened\r\n", 29);
        assert_int_equal(p.delivered_count, 1);
        proto_peer_fini(&p);
    }
}

/* 250 MiB of rubbish: as many packets as it takes to bring the first chunk are taken. */
static void
over_msp_rubbish_is_refused_with_its_first_chunk(void **state)
{
    struct msp_first first = {.size = 250u << 20, .sha256 = {1}};
    struct proto_peer p;
    size_t heard = MSP_FIRST_BODY;
    const char *said;

    (void)state;
    msp_begin(&p);
    p.limits.packet_size_max = 16384;
    assert_int_equal(seal_encrypt(client, &ABOUT, "", 0, sealed), 0);
    memcpy(body, sealed, 12);          /* a key that is known, */
    be64_store(body + 31, 240u << 20); /* and a size that may be */
    first.crc = digest_crc32(0, body, MSP_FIRST_BODY);
    msp_first_encode(wire, &first);
    memcpy(wire + MSP_FIRST_HEADER, body, MSP_FIRST_BODY);
    proto_peer_hear(&p, wire, MSP_FIRST_HEADER + MSP_FIRST_BODY, PEER_WHOLE, true);
    said = proto_peer_said(&p);
    while (strncmp(said, "ACK ", 4) == 0) {
        size_t n = strtoul(said + 4, NULL, 10);

        n = build_packet(wire, body, n - MSP_PACKET_HEADER);
        heard += n - MSP_PACKET_HEADER;
        proto_peer_hear(&p, wire, n, PEER_WHOLE, true);
        said = proto_peer_said(&p);
    }
    assert_string_equal(said, "REJ refused " OPENING_REFUSED "\r\n");
    assert_in_range(heard, SEAL_CHUNK, SEAL_CHUNK + 3 * 16384);
    assert_null(p.message);
    assert_int_equal(p.tally.rej, 1);
    proto_peer_fini(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bodies_are_opened_in_whatever_pieces),
        TEST(packets_that_are_taken_back_leave_no_trace),
        TEST(what_is_bad_is_refused_with_its_chunk_and_nothing_is_kept),
        TEST(a_header_that_is_none_is_refused_at_once),
        TEST(what_is_cut_short_or_longer_is_refused),
        TEST(another_path_is_refused_with_the_last_chunk),
        TEST(what_finds_no_room_is_not_refused),
        TEST(a_reply_is_sealed_in_pieces),
        TEST(over_msp_a_sealed_message_is_handed_over_opened),
        TEST(over_msp_rubbish_is_refused_with_its_first_chunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
