/* Sealed payloads come out as they went in, or not at all; a key file is what seal.h says. */
#include "common/seal.h"

#include "common/digest.h"

#include "guard.h"

#include <errno.h>
#include <sys/stat.h>

static char *dir;
static char path[4200];

static int
set_up(void **state)
{
    (void)state;
    dir = guard_tmpdir();
    snprintf(path, sizeof(path), "%s/key", dir);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    guard_tmpdir_remove(dir);
    return 0;
}

static void
write_key(const void *data, size_t n, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* 00 01 02 ... 1f, or another first byte. */
static struct seal *
counting_key(uint8_t first, enum seal_direction to)
{
    uint8_t key[SEAL_KEY_LEN];
    char error[SEAL_ERROR_LEN];
    struct seal *seal;

    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)(i + (i == 0 ? first : 0));
    write_key(key, sizeof(key), 0600);
    seal = seal_open(path, to, error);
    assert_non_null(seal);
    return seal;
}

static const struct seal_about ABOUT = {
    .proto = "msp", .kind = 'A', .value = "id-1", .value_len = 4};

/* "hello" for the server, a message over msp with the id "id-1", under the key 00 01 .. 1f and the
 * front a0 a1 .. b2, by another program. */
static const uint8_t sealed_hello[] = {
    0x4d, 0x53, 0x4b, 0x32, 0x63, 0x0d, 0xcd, 0x29, 0x66, 0xc4, 0x33, 0x66, 0xa0, 0xa1, 0xa2,
    0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1,
    0xb2, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x5a, 0xd7, 0x80, 0xa1, 0x6d, 0x39,
    0x25, 0x30, 0x58, 0xec, 0x39, 0x00, 0x1f, 0xb3, 0x84, 0x83, 0x05, 0x58, 0xcd, 0x85, 0xda,
};

static void
what_another_program_has_sealed_is_opened(void **state)
{
    struct guard g = guard_create(sizeof(sealed_hello)), to = guard_create(sizeof(sealed_hello));
    uint8_t *out = (uint8_t *)to.map + to.usable - sizeof(sealed_hello);
    struct seal *seal = counting_key(0, SEAL_TO_CLIENT);
    size_t n;

    (void)state;
    assert_int_equal(seal_decrypt(seal, &ABOUT, guard_copy(&g, sealed_hello, sizeof(sealed_hello)),
                                  sizeof(sealed_hello), out, &n),
                     0);
    assert_int_equal(n, 5);
    assert_memory_equal(out, "hello", 5);
    seal_close(seal);
    guard_destroy(&g);
    guard_destroy(&to);
}

/* docs/protocol.md has it. */
static void
the_example_of_the_document_is_opened(void **state)
{
    static const struct seal_about about = {.proto = "frame", .kind = 'A'};
    struct seal *seal = counting_key(0, SEAL_TO_CLIENT);
    uint8_t sealed[sizeof(sealed_hello)], out[sizeof(sealed_hello)];
    size_t n;

    (void)state;
    assert_true(digest_unhex("4d534b32630dcd2966c43366a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1"
                             "b200000000000000055ad780a16dc1935aa157a9772ea802ec876d185020",
                             sizeof(sealed), sealed));
    assert_int_equal(seal_decrypt(seal, &about, sealed, sizeof(sealed), out, &n), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(out, "hello", 5);
    seal_close(seal);
}

static void
payloads_of_all_sizes_come_back_as_they_were(void **state)
{
    static const size_t sizes[] = {0,     1,     15,    16,     17,     4096,
                                   65535, 65536, 65537, 131072, 131073, 1000003};
    struct seal *client = counting_key(0, SEAL_TO_SERVER);
    struct seal *server = counting_key(0, SEAL_TO_CLIENT);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i], len = (size_t)seal_size(n), back;
        uint8_t *plain = malloc(n + 1), *sealed = malloc(len), *out = malloc(len);

        for (size_t k = 0; k < n; k++)
            plain[k] = (uint8_t)(k * 7 + k / 251);
        assert_int_equal(len, n + SEAL_HEADER + SEAL_TAG * (n == 0 ? 1 : (n + 65535) / 65536));
        assert_int_equal(seal_encrypt(client, &ABOUT, plain, n, sealed), 0);
        assert_memory_equal(sealed, "MSK2", 4);
        assert_true(n < 16 || memcmp(sealed + SEAL_HEADER, plain, n) != 0);
        assert_int_equal(seal_decrypt(server, &ABOUT, sealed, len, out, &back), 0);
        assert_int_equal(back, n);
        assert_memory_equal(out, plain, n);
        free(plain);
        free(sealed);
        free(out);
    }
    seal_close(client);
    seal_close(server);
}

static void
no_two_seals_are_the_same(void **state)
{
    struct seal *seal = counting_key(0, SEAL_TO_SERVER);
    uint8_t one[3 + SEAL_HEADER + SEAL_TAG], two[sizeof(one)];

    (void)state;
    assert_int_equal(seal_encrypt(seal, &ABOUT, "abc", 3, one), 0);
    assert_int_equal(seal_encrypt(seal, &ABOUT, "abc", 3, two), 0);
    assert_memory_equal(one, two, 12);
    assert_memory_not_equal(one + 12, two + 12, 12);
    assert_memory_not_equal(one + 24, two + 24, 7);
    assert_memory_not_equal(one + SEAL_HEADER, two + SEAL_HEADER, 3 + SEAL_TAG);
    seal_close(seal);
}

static void
assert_not_opened(struct seal *seal, const struct seal_about *about, const uint8_t *sealed,
                  size_t n)
{
    uint8_t out[200];
    size_t len = 77;

    assert_in_range(n, 0, sizeof(out));
    memset(out, 'x', sizeof(out));
    errno = 0;
    assert_int_equal(seal_decrypt(seal, about, sealed, n, out, &len), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(len, 77);
    assert_true(memcmp(out, "hello", 5) != 0);
}

static void
every_changed_bit_is_found(void **state)
{
    struct seal *seal = counting_key(0, SEAL_TO_CLIENT);
    uint8_t sealed[sizeof(sealed_hello)];

    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        memcpy(sealed, sealed_hello, sizeof(sealed));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_not_opened(seal, &ABOUT, sealed, sizeof(sealed));
    }
    seal_close(seal);
}

static void
what_is_cut_short_or_longer_is_not_opened(void **state)
{
    struct guard g = guard_create(sizeof(sealed_hello) + 1);
    struct seal *seal = counting_key(0, SEAL_TO_CLIENT);
    uint8_t longer[sizeof(sealed_hello) + 1] = {0};

    (void)state;
    for (size_t n = 0; n < sizeof(sealed_hello); n++)
        assert_not_opened(seal, &ABOUT, (uint8_t *)guard_copy(&g, sealed_hello, n), n);
    memcpy(longer, sealed_hello, sizeof(sealed_hello));
    assert_not_opened(seal, &ABOUT, longer, sizeof(longer));
    seal_close(seal);
    guard_destroy(&g);
}

static void
another_key_direction_protocol_kind_or_id_opens_nothing(void **state)
{
    struct seal *right = counting_key(0, SEAL_TO_CLIENT), *wrong = counting_key(1, SEAL_TO_CLIENT);
    struct seal *turned = counting_key(0, SEAL_TO_SERVER);
    const struct seal_about others[] = {
        {.proto = "cnp", .kind = 'A', .value = "id-1", .value_len = 4},
        {.proto = "msp", .kind = 'J', .value = "id-1", .value_len = 4},
        {.proto = "msp", .kind = 'A', .value = "id-2", .value_len = 4},
        {.proto = "msp", .kind = 'A', .value = "id-1", .value_len = 3},
        {.proto = "msp", .kind = 'A'},
    };

    (void)state;
    assert_not_opened(wrong, &ABOUT, sealed_hello, sizeof(sealed_hello));
    assert_not_opened(turned, &ABOUT, sealed_hello, sizeof(sealed_hello));
    for (size_t i = 0; i < MS_ARRAY_LEN(others); i++)
        assert_not_opened(right, &others[i], sealed_hello, sizeof(sealed_hello));
    seal_close(right);
    seal_close(wrong);
    seal_close(turned);
    seal_close(NULL);
}

/* --- chunks --- */

#define CHUNK (SEAL_CHUNK + SEAL_TAG)

/* 3 chunks and a bit. */
#define LARGE (3 * SEAL_CHUNK + 3392)

/* Opens chunk by chunk. Returns how many were good. */
static unsigned
good_chunks(struct seal *seal, const uint8_t *sealed)
{
    struct seal_stream *s = seal_stream_open(seal, "msp", sealed);
    uint8_t *out = malloc(CHUNK);
    unsigned good = 0;

    assert_non_null(s);
    for (size_t at = SEAL_HEADER; good < 4; at += CHUNK, good++)
        if (seal_stream_run(s, &ABOUT, sealed + at, out) < 0)
            break;
    free(out);
    seal_stream_end(s);
    return good;
}

static void
a_chunk_is_good_at_its_place_alone(void **state)
{
    struct seal *client = counting_key(0, SEAL_TO_SERVER);
    struct seal *server = counting_key(0, SEAL_TO_CLIENT);
    size_t len = (size_t)seal_size(LARGE);
    uint8_t *plain = calloc(1, LARGE), *sealed = malloc(len), *other = malloc(len);

    (void)state;
    assert_int_equal(seal_encrypt(client, &ABOUT, plain, LARGE, sealed), 0);
    assert_int_equal(good_chunks(server, sealed), 4);
    memcpy(other, sealed, len); /* one twice */
    memcpy(other + SEAL_HEADER + CHUNK, sealed + SEAL_HEADER, CHUNK);
    assert_int_equal(good_chunks(server, other), 1);
    assert_int_equal(seal_encrypt(client, &ABOUT, plain, LARGE, other), 0); /* another's */
    memcpy(other + SEAL_HEADER + 2 * CHUNK, sealed + SEAL_HEADER + 2 * CHUNK, CHUNK);
    assert_int_equal(good_chunks(server, other), 2);
    memcpy(other, sealed, len); /* the last one left out: its size is in every tag */
    be64_store(other + 31, 3 * SEAL_CHUNK);
    assert_int_equal(good_chunks(server, other), 0);
    free(plain);
    free(sealed);
    free(other);
    seal_close(client);
    seal_close(server);
}

/* --- the key file --- */

#define OTHER "5500000000000000000000000000000000000000000000000000000000000055"
#define HEX   "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

struct key_case {
    const char *text;
    size_t n;
    mode_t mode;
    const char *reason; /* part of it; NULL: taken */
};

static const struct key_case key_cases[] = {
    {HEX, 64, 0600, NULL},
    {HEX "\n", 65, 0400, NULL},
    {HEX "\r\n", 66, 0600, NULL},
    {HEX "\n\n", 66, 0600, NULL},
    {"# the new one\n" HEX "\n", 79, 0600, NULL},
    {"\r\n" OTHER "\n" HEX "\n", 132, 0600, NULL},
    {HEX "\n" HEX "\nx", 131, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {"# none\n", 7, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {" " HEX, 65, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {HEX, 63, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {HEX, 31, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {HEX, 33, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {"", 0, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {"g" HEX, 64, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {HEX HEX, 128, 0600, "neither 32 bytes nor 1 to 8 lines"},
    {HEX, 64, 0640, "chmod 600"},
    {HEX, 64, 0604, "chmod 600"},
    {HEX, 64, 0610, "chmod 600"},
    {HEX, 64, 0602, "chmod 600"},
};

static void
a_key_file_is_private_and_has_32_bytes_or_lines_of_digits(void **state)
{
    uint8_t out[sizeof(sealed_hello)];
    size_t n;

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(key_cases); i++) {
        const struct key_case *c = &key_cases[i];
        char error[SEAL_ERROR_LEN] = "";
        struct seal *seal;

        write_key(c->text, c->n, c->mode);
        seal = seal_open(path, SEAL_TO_CLIENT, error);
        assert_int_equal(seal != NULL, c->reason == NULL);
        if (c->reason != NULL)
            assert_non_null(strstr(error, c->reason));
        else
            assert_int_equal(
                seal_decrypt(seal, &ABOUT, sealed_hello, sizeof(sealed_hello), out, &n), 0);
        seal_close(seal);
        assert_int_equal(unlink(path), 0);
    }
}

static void
eight_keys_are_the_most(void **state)
{
    char text[9 * 65 + 1], error[SEAL_ERROR_LEN];
    struct seal_keys keys;

    (void)state;
    for (int i = 0; i < 9; i++)
        snprintf(text + (size_t)i * 65, 66, "%064d\n", i);
    write_key(text, (size_t)8 * 65, 0600);
    assert_int_equal(seal_keys_read(path, &keys, error), 0);
    assert_int_equal(keys.count, 8);
    assert_int_equal(keys.key[7][31], 7);
    write_key(text, (size_t)9 * 65, 0600);
    assert_int_equal(seal_keys_read(path, &keys, error), -1);
}

/* Both sides have both keys; each seals with its own first one. */
static void
the_first_key_seals_and_all_of_them_open(void **state)
{
    uint8_t sealed[5 + SEAL_HEADER + SEAL_TAG], out[sizeof(sealed)];
    char error[SEAL_ERROR_LEN];
    struct seal *both, *new, *old = counting_key(0, SEAL_TO_CLIENT);
    size_t n;

    (void)state;
    write_key(OTHER "\n", 65, 0600);
    new = seal_open(path, SEAL_TO_CLIENT, error);
    write_key(OTHER "\n" HEX "\n", 130, 0600);
    both = seal_open(path, SEAL_TO_SERVER, error);
    assert_int_equal(seal_encrypt(both, &ABOUT, "hello", 5, sealed), 0);
    assert_int_equal(seal_decrypt(new, &ABOUT, sealed, sizeof(sealed), out, &n), 0);
    assert_not_opened(old, &ABOUT, sealed, sizeof(sealed));
    seal_close(both);
    both = seal_open(path, SEAL_TO_CLIENT, error);
    assert_int_equal(seal_decrypt(both, &ABOUT, sealed_hello, sizeof(sealed_hello), out, &n), 0);
    assert_not_opened(new, &ABOUT, sealed_hello, sizeof(sealed_hello));
    seal_close(both);
    seal_close(new);
    seal_close(old);
}

static void
a_key_file_of_somebody_else_is_refused(void **state)
{
    char error[SEAL_ERROR_LEN];

    (void)state;
    write_key(HEX, 64, 0600);
    if (chown(path, 12345, (gid_t)-1) < 0) /* root alone can */
        skip();
    assert_null(seal_open(path, SEAL_TO_CLIENT, error));
    assert_non_null(strstr(error, "belongs to uid 12345"));
    assert_int_equal(chown(path, 0, (gid_t)-1), 0);
}

static void
a_link_to_a_key_is_followed_and_its_target_is_judged(void **state)
{
    char error[SEAL_ERROR_LEN], name[4300];
    struct seal *seal;

    (void)state;
    write_key(HEX, 64, 0600);
    snprintf(name, sizeof(name), "%s/link", dir);
    assert_int_equal(symlink(path, name), 0);
    seal = seal_open(name, SEAL_TO_CLIENT, error);
    assert_non_null(seal);
    seal_close(seal);
    assert_int_equal(chmod(path, 0644), 0);
    assert_null(seal_open(name, SEAL_TO_CLIENT, error));
    assert_non_null(strstr(error, "chmod 600"));
}

static void
what_is_no_file_is_no_key(void **state)
{
    char error[SEAL_ERROR_LEN], name[4300];

    (void)state;
    snprintf(name, sizeof(name), "%s/none", dir);
    assert_null(seal_open(name, SEAL_TO_CLIENT, error));
    assert_non_null(strstr(error, "No such file"));
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_null(seal_open(name, SEAL_TO_CLIENT, error));
    assert_non_null(strstr(error, "not a regular file"));
    assert_null(seal_open(dir, SEAL_TO_CLIENT, error));
    assert_non_null(strstr(error, "not a regular file"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_another_program_has_sealed_is_opened),
        cmocka_unit_test(the_example_of_the_document_is_opened),
        cmocka_unit_test(payloads_of_all_sizes_come_back_as_they_were),
        cmocka_unit_test(no_two_seals_are_the_same),
        cmocka_unit_test(every_changed_bit_is_found),
        cmocka_unit_test(what_is_cut_short_or_longer_is_not_opened),
        cmocka_unit_test(another_key_direction_protocol_kind_or_id_opens_nothing),
        cmocka_unit_test(a_chunk_is_good_at_its_place_alone),
        cmocka_unit_test(a_key_file_is_private_and_has_32_bytes_or_lines_of_digits),
        cmocka_unit_test(eight_keys_are_the_most),
        cmocka_unit_test(the_first_key_seals_and_all_of_them_open),
        cmocka_unit_test(a_key_file_of_somebody_else_is_refused),
        cmocka_unit_test(a_link_to_a_key_is_followed_and_its_target_is_judged),
        cmocka_unit_test(what_is_no_file_is_no_key),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
