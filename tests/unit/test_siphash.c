/* SipHash-1-3 against the values of another program, in pieces of every size. */
#include "common/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t
hash_in_pieces(const uint8_t secret[16], const uint8_t *data, size_t n, size_t piece)
{
    struct siphash h;

    siphash_begin(&h, secret);
    for (size_t at = 0; at < n; at += piece)
        siphash_update(&h, data + at, n - at < piece ? n - at : piece);
    return siphash_finish(&h);
}

/* PYTHONHASHSEED=0 python3 -c 'print([hex(hash(bytes(range(n))) % 2**64) for n in (5, 10, 15)])' */
static void
it_has_the_values_of_others_in_pieces_of_any_size(void **state)
{
    static const struct {
        size_t n;
        uint64_t hash;
    } rows[] = {{5, UINT64_C(0x5abe2169dff36275)},
                {10, UINT64_C(0xaf9f77a65ab51a1d)},
                {15, UINT64_C(0xf30eb725bb91c9ea)}};
    static const uint8_t secret[16];
    uint8_t data[64];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++)
        for (size_t piece = 1; piece <= 16; piece++)
            assert_true(hash_in_pieces(secret, data, rows[i].n, piece) == rows[i].hash);
    for (size_t piece = 1; piece < sizeof(data); piece++)
        assert_true(hash_in_pieces(secret, data, sizeof(data), piece) ==
                    hash_in_pieces(secret, data, sizeof(data), sizeof(data)));
}

static void
another_secret_is_another_hash(void **state)
{
    uint8_t secret[16] = {0}, data[8] = "message";
    uint64_t first = hash_in_pieces(secret, data, sizeof(data), 8);

    (void)state;
    secret[15] = 1;
    assert_true(hash_in_pieces(secret, data, sizeof(data), 8) != first);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_the_values_of_others_in_pieces_of_any_size),
        cmocka_unit_test(another_secret_is_another_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
