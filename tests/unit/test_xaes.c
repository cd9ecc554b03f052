/* XAES-256-GCM gives the answers that https://c2sp.org/XAES-256-GCM has. */
#include "common/xaes.h"

#include "common/digest.h"

#include "guard.h"

#include <errno.h>
#include <openssl/evp.h>

static void
assert_hex(const uint8_t *data, size_t n, const char *expected)
{
    char hex[2 * 64 + 1];

    digest_hex(data, n, hex);
    assert_string_equal(hex, expected);
}

/* Seals, and opens it again. */
static void
seal_once(const uint8_t *key, const uint8_t *nonce, const struct iovec *aad, const uint8_t *in,
          size_t n, uint8_t *out)
{
    struct xaes_key *k = xaes_key_create(key);
    struct xaes *to = xaes_begin(k, nonce, true), *from = xaes_begin(k, nonce, false);
    uint8_t back[256];

    assert_non_null(to);
    assert_non_null(from);
    assert_int_equal(xaes_run(to, nonce + XAES_FRONT_LEN, aad, 1, in, n, out), 0);
    assert_int_equal(xaes_run(from, nonce + XAES_FRONT_LEN, aad, 1, out, n + XAES_TAG_LEN, back),
                     0);
    assert_memory_equal(back, in, n);
    xaes_end(to);
    xaes_end(from);
    xaes_key_destroy(k);
}

static void
both_published_vectors_hold(void **state)
{
    static const struct {
        uint8_t key;
        const char *aad, *expected;
    } rows[] = {
        {1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
        {3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
    };
    static const uint8_t nonce[] = "ABCDEFGHIJKLMNOPQRSTUVWX", text[] = "XAES-256-GCM";

    (void)state;
    for (size_t i = 0; i < MS_ARRAY_LEN(rows); i++) {
        const struct iovec aad = {(void *)(uintptr_t)rows[i].aad, strlen(rows[i].aad)};
        uint8_t key[XAES_KEY_LEN], out[12 + XAES_TAG_LEN];

        memset(key, rows[i].key, sizeof(key));
        seal_once(key, nonce, &aad, text, 12, out);
        assert_hex(out, sizeof(out), rows[i].expected);
    }
}

#define ROUND_MAX (XAES_KEY_LEN + 24 + 1 + 255 + 1 + 255) /* random bytes of one round */

/* SHAKE-128 of all that is sealed with what SHAKE-128 of nothing gives. XAES_ROUNDS=1000000 is the
 * long form. */
static void
the_accumulated_vectors_hold(void **state)
{
    const char *wanted = getenv("XAES_ROUNDS");
    size_t rounds = wanted != NULL ? strtoul(wanted, NULL, 10) : 10000;
    size_t size = rounds * ROUND_MAX, at = 0;
    uint8_t *random = malloc(size), sum[32];
    EVP_MD_CTX *rng = EVP_MD_CTX_new(), *all = EVP_MD_CTX_new();

    (void)state;
    assert_int_equal(EVP_DigestInit(rng, EVP_shake128()), 1);
    assert_int_equal(EVP_DigestInit(all, EVP_shake128()), 1);
    assert_int_equal(EVP_DigestFinalXOF(rng, random, size), 1);
    for (size_t i = 0; i < rounds; i++) {
        const uint8_t *key = random + at, *nonce = key + XAES_KEY_LEN, *text = nonce + 25;
        size_t n = nonce[24];
        const struct iovec aad = {(void *)(uintptr_t)(text + n + 1), text[n]};
        uint8_t out[255 + XAES_TAG_LEN];

        seal_once(key, nonce, &aad, text, n, out);
        assert_int_equal(EVP_DigestUpdate(all, out, n + XAES_TAG_LEN), 1);
        at += XAES_KEY_LEN + 24 + 1 + n + 1 + aad.iov_len;
    }
    assert_int_equal(EVP_DigestFinalXOF(all, sum, sizeof(sum)), 1);
    assert_hex(sum, sizeof(sum),
               rounds == 10000
                   ? "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
                   : "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15");
    EVP_MD_CTX_free(rng);
    EVP_MD_CTX_free(all);
    free(random);
}

static void
what_was_changed_is_wiped(void **state)
{
    static const uint8_t key[XAES_KEY_LEN] = {7}, nonce[24] = {9}, zero[4];
    const struct iovec aad = {(void *)(uintptr_t) "aad", 3}, other = {(void *)(uintptr_t) "aae", 3};
    struct xaes_key *k = xaes_key_create(key);
    struct xaes *from = xaes_begin(k, nonce, false);
    uint8_t sealed[4 + XAES_TAG_LEN];

    (void)state;
    seal_once(key, nonce, &aad, (const uint8_t *)"text", 4, sealed);
    errno = 0;
    assert_int_equal(
        xaes_run(from, nonce + XAES_FRONT_LEN, &other, 1, sealed, sizeof(sealed), sealed), -1);
    assert_int_equal(errno, EBADMSG);
    assert_memory_equal(sealed, zero, 4);
    xaes_end(from);
    xaes_end(NULL);
    xaes_key_destroy(k);
    xaes_key_destroy(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_published_vectors_hold),
        cmocka_unit_test(the_accumulated_vectors_hold),
        cmocka_unit_test(what_was_changed_is_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
