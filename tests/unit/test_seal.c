/* Sealed payloads come out as they went in, or not at all; a key file is what digest.h says. */
#include "common/digest.h"

#include "guard.h"

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
counting_key(uint8_t first)
{
    uint8_t key[SEAL_KEY_LEN];
    char error[SEAL_ERROR_LEN];
    struct seal *seal;

    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)(i + (i == 0 ? first : 0));
    write_key(key, sizeof(key), 0600);
    seal = seal_open(path, error);
    assert_non_null(seal);
    return seal;
}

/* "hello" for the server under the key 00 01 .. 1f and the nonce a0 a1 .. ab, by another
 * program. */
static const uint8_t sealed_hello[] = {
    0x4d, 0x53, 0x4b, 0x31, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8,
    0xa9, 0xaa, 0xab, 0x8e, 0x7d, 0x10, 0x41, 0x2a, 0x31, 0xd0, 0xe8, 0x28, 0x86,
    0x00, 0x1e, 0x23, 0x45, 0xc9, 0x32, 0x2e, 0xd0, 0x4a, 0x96, 0x04,
};

static void
what_another_program_has_sealed_is_opened(void **state)
{
    struct guard g = guard_create(sizeof(sealed_hello)), to = guard_create(5);
    uint8_t *out = (uint8_t *)to.map + to.usable - 5;
    struct seal *seal = counting_key(0);

    (void)state;
    assert_int_equal(seal_decrypt(seal, SEAL_TO_SERVER,
                                  guard_copy(&g, sealed_hello, sizeof(sealed_hello)),
                                  sizeof(sealed_hello), out),
                     0);
    assert_memory_equal(out, "hello", 5);
    seal_close(seal);
    guard_destroy(&g);
    guard_destroy(&to);
}

static void
payloads_of_all_sizes_come_back_as_they_were(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, 1000003};
    struct seal *seal = counting_key(0);

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i];
        uint8_t *plain = malloc(n + 1), *sealed = malloc(n + SEAL_OVERHEAD), *out = malloc(n + 1);

        for (size_t k = 0; k < n; k++)
            plain[k] = (uint8_t)(k * 7 + k / 251);
        assert_int_equal(seal_encrypt(seal, SEAL_TO_CLIENT, plain, n, sealed), 0);
        assert_memory_equal(sealed, "MSK1", 4);
        assert_true(n < 16 || memcmp(sealed + 16, plain, n) != 0);
        assert_int_equal(seal_decrypt(seal, SEAL_TO_CLIENT, sealed, n + SEAL_OVERHEAD, out), 0);
        assert_memory_equal(out, plain, n);
        free(plain);
        free(sealed);
        free(out);
    }
    seal_close(seal);
}

static void
no_two_seals_are_the_same(void **state)
{
    struct seal *seal = counting_key(0);
    uint8_t one[3 + SEAL_OVERHEAD], two[3 + SEAL_OVERHEAD];

    (void)state;
    assert_int_equal(seal_encrypt(seal, SEAL_TO_SERVER, "abc", 3, one), 0);
    assert_int_equal(seal_encrypt(seal, SEAL_TO_SERVER, "abc", 3, two), 0);
    assert_memory_not_equal(one + 4, two + 4, 12);
    assert_memory_not_equal(one + 16, two + 16, 19);
    seal_close(seal);
}

static void
assert_not_opened(struct seal *seal, enum seal_direction to, const uint8_t *sealed, size_t n)
{
    static const uint8_t zero[64];
    uint8_t out[64];

    assert_in_range(n, 0, sizeof(out) + SEAL_OVERHEAD);
    memset(out, 'x', sizeof(out));
    assert_int_equal(seal_decrypt(seal, to, sealed, n, out), -1);
    if (n > SEAL_OVERHEAD)
        assert_memory_equal(out, zero, n - SEAL_OVERHEAD);
}

static void
every_changed_bit_is_found(void **state)
{
    struct seal *seal = counting_key(0);
    uint8_t sealed[sizeof(sealed_hello)], out[5];

    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        memcpy(sealed, sealed_hello, sizeof(sealed));
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_not_opened(seal, SEAL_TO_SERVER, sealed, sizeof(sealed));
    }
    assert_int_equal(seal_decrypt(seal, SEAL_TO_SERVER, sealed_hello, sizeof(sealed_hello), out),
                     0);
    seal_close(seal);
}

static void
what_is_cut_short_or_longer_is_not_opened(void **state)
{
    struct guard g = guard_create(sizeof(sealed_hello) + 1);
    struct seal *seal = counting_key(0);
    uint8_t longer[sizeof(sealed_hello) + 1] = {0};

    (void)state;
    for (size_t n = 0; n < sizeof(sealed_hello); n++)
        assert_not_opened(seal, SEAL_TO_SERVER, (uint8_t *)guard_copy(&g, sealed_hello, n), n);
    memcpy(longer, sealed_hello, sizeof(sealed_hello));
    assert_not_opened(seal, SEAL_TO_SERVER, longer, sizeof(longer));
    seal_close(seal);
    guard_destroy(&g);
}

static void
another_key_and_the_other_direction_open_nothing(void **state)
{
    struct seal *right = counting_key(0), *wrong = counting_key(1);

    (void)state;
    assert_not_opened(wrong, SEAL_TO_SERVER, sealed_hello, sizeof(sealed_hello));
    assert_not_opened(right, SEAL_TO_CLIENT, sealed_hello, sizeof(sealed_hello));
    seal_close(right);
    seal_close(wrong);
    seal_close(NULL);
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

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
    {HEX "\r", 65, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX "\n\n", 66, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX, 63, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX, 31, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX, 33, 0600, "neither 32 bytes nor 64 hex digits"},
    {"", 0, 0600, "neither 32 bytes nor 64 hex digits"},
    {"g" HEX, 64, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX HEX, 128, 0600, "neither 32 bytes nor 64 hex digits"},
    {HEX, 64, 0640, "chmod 600"},
    {HEX, 64, 0604, "chmod 600"},
    {HEX, 64, 0610, "chmod 600"},
    {HEX, 64, 0602, "chmod 600"},
};

static void
a_key_file_is_private_and_has_32_bytes_or_64_digits(void **state)
{
    uint8_t out[5];

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(key_cases); i++) {
        const struct key_case *c = &key_cases[i];
        char error[SEAL_ERROR_LEN] = "";
        struct seal *seal;

        write_key(c->text, c->n, c->mode);
        seal = seal_open(path, error);
        assert_int_equal(seal != NULL, c->reason == NULL);
        if (c->reason != NULL)
            assert_non_null(strstr(error, c->reason));
        else
            assert_int_equal(
                seal_decrypt(seal, SEAL_TO_SERVER, sealed_hello, sizeof(sealed_hello), out), 0);
        seal_close(seal);
        assert_int_equal(unlink(path), 0);
    }
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
    seal = seal_open(name, error);
    assert_non_null(seal);
    seal_close(seal);
    assert_int_equal(chmod(path, 0644), 0);
    assert_null(seal_open(name, error));
    assert_non_null(strstr(error, "chmod 600"));
}

static void
what_is_no_file_is_no_key(void **state)
{
    char error[SEAL_ERROR_LEN], name[4300];

    (void)state;
    snprintf(name, sizeof(name), "%s/none", dir);
    assert_null(seal_open(name, error));
    assert_non_null(strstr(error, "No such file"));
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_null(seal_open(name, error));
    assert_non_null(strstr(error, "not a regular file"));
    assert_null(seal_open(dir, error));
    assert_non_null(strstr(error, "not a regular file"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_another_program_has_sealed_is_opened),
        cmocka_unit_test(payloads_of_all_sizes_come_back_as_they_were),
        cmocka_unit_test(no_two_seals_are_the_same),
        cmocka_unit_test(every_changed_bit_is_found),
        cmocka_unit_test(what_is_cut_short_or_longer_is_not_opened),
        cmocka_unit_test(another_key_and_the_other_direction_open_nothing),
        cmocka_unit_test(a_key_file_is_private_and_has_32_bytes_or_64_digits),
        cmocka_unit_test(a_link_to_a_key_is_followed_and_its_target_is_judged),
        cmocka_unit_test(what_is_no_file_is_no_key),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
