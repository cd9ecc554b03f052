/* CRC-32 and SHA-256 against known values, and against themselves cut at every place. */
#include "common/digest.h"

#include "guard.h"

static struct digester *dg;

static int
set_up(void **state)
{
    (void)state;
    dg = digester_create();
    return dg == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    (void)state;
    digester_destroy(dg);
    return 0;
}

static void
assert_digest(const uint8_t sum[SHA256_LEN], const char *hex)
{
    char text[SHA256_HEX_LEN + 1];

    digest_hex(sum, SHA256_LEN, text);
    assert_string_equal(text, hex);
}

#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void
crc32_is_that_of_zlib(void **state)
{
    (void)state;
    assert_int_equal(digest_crc32(0, NULL, 0), 0);
    assert_int_equal(digest_crc32(0, "", 0), 0);
    assert_int_equal(digest_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(digest_crc32(0, "a", 1), 0xe8b7be43);
    assert_int_equal(digest_crc32(0xe8b7be43, NULL, 0), 0xe8b7be43);
}

static void
crc32_can_be_continued_at_any_byte(void **state)
{
    uint8_t data[300];
    struct guard g = guard_create(sizeof(data));
    uint32_t whole;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31 + 5);
    whole = digest_crc32(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        uint32_t crc = digest_crc32(0, guard_copy(&g, data, cut), cut);
        size_t rest = sizeof(data) - cut;

        assert_int_equal(digest_crc32(crc, guard_copy(&g, data + cut, rest), rest), whole);
    }
    guard_destroy(&g);
}

static void
sha256_of_known_texts_holds(void **state)
{
    uint8_t sum[SHA256_LEN];

    (void)state;
    digest_sha256(dg, "", 0, sum);
    assert_digest(sum, SHA_EMPTY);
    digest_sha256(dg, NULL, 0, sum);
    assert_digest(sum, SHA_EMPTY);
    digest_sha256(dg, "abc", 3, sum);
    assert_digest(sum, SHA_ABC);
}

static void
sha256_of_parts_is_that_of_the_whole(void **state)
{
    uint8_t data[200], whole[SHA256_LEN], sum[SHA256_LEN];

    (void)state;
    memset(data, 0xa5, sizeof(data));
    digest_sha256(dg, data, sizeof(data), whole);
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        struct sha256 *s = sha256_begin(dg);

        sha256_update(s, data, cut);
        sha256_update(s, data + cut, sizeof(data) - cut);
        sha256_finish(s, sum);
        assert_memory_equal(sum, whole, SHA256_LEN);
        sha256_release(dg, s);
    }
}

static void
peeking_does_not_disturb_a_running_digest(void **state)
{
    struct sha256 *s = sha256_begin(dg);
    uint8_t sum[SHA256_LEN], alone[SHA256_LEN];

    (void)state;
    sha256_peek(dg, s, sum);
    assert_digest(sum, SHA_EMPTY);
    sha256_update(s, "ab", 2);
    for (int i = 0; i < 3; i++)
        sha256_peek(dg, s, sum);
    digest_sha256(dg, "ab", 2, alone);
    assert_memory_equal(sum, alone, SHA256_LEN);
    sha256_update(s, "c", 1);
    sha256_finish(s, sum);
    assert_digest(sum, SHA_ABC);
    sha256_release(dg, s);
}

static void
a_copy_goes_its_own_way(void **state)
{
    struct sha256 *s = sha256_begin(dg), *mark = sha256_begin(dg);
    uint8_t sum[SHA256_LEN];

    (void)state;
    sha256_update(s, "ab", 2);
    sha256_copy(mark, s);
    sha256_update(s, "WRONG", 5);
    sha256_finish(s, sum);
    sha256_copy(s, mark); /* over a finished one */
    sha256_update(s, "c", 1);
    sha256_finish(s, sum);
    assert_digest(sum, SHA_ABC);
    sha256_update(mark, "c", 1);
    sha256_finish(mark, sum);
    assert_digest(sum, SHA_ABC);
    sha256_release(dg, mark);
    sha256_release(dg, s);
}

static void
a_released_or_reset_digest_begins_anew(void **state)
{
    struct sha256 *s = sha256_begin(dg), *again;
    uint8_t sum[SHA256_LEN];

    (void)state;
    sha256_update(s, "old bytes", 9);
    sha256_release(dg, s);
    again = sha256_begin(dg);
    assert_ptr_equal(again, s); /* kept for re-use */
    sha256_update(again, "old bytes", 9);
    sha256_reset(dg, again);
    sha256_update(again, "abc", 3);
    sha256_finish(again, sum);
    assert_digest(sum, SHA_ABC);
    sha256_reset(dg, again);
    sha256_finish(again, sum);
    assert_digest(sum, SHA_EMPTY);
    sha256_release(dg, again);
    sha256_release(dg, NULL);
}

static void
hex_is_lower_case(void **state)
{
    char text[9];

    (void)state;
    digest_hex((const uint8_t[]){0x00, 0x9a, 0xff, 0x1f}, 4, text);
    assert_string_equal(text, "009aff1f");
    digest_hex(NULL, 0, text);
    assert_string_equal(text, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32_is_that_of_zlib),
        cmocka_unit_test(crc32_can_be_continued_at_any_byte),
        cmocka_unit_test(sha256_of_known_texts_holds),
        cmocka_unit_test(sha256_of_parts_is_that_of_the_whole),
        cmocka_unit_test(peeking_does_not_disturb_a_running_digest),
        cmocka_unit_test(a_copy_goes_its_own_way),
        cmocka_unit_test(a_released_or_reset_digest_begins_anew),
        cmocka_unit_test(hex_is_lower_case),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
