/* The keys of session tickets, which a chain of secrets gives: each hour's is computed from the one
 * before, which is forgotten. */
#include "tls/tls.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define HOUR_US UINT64_C(3600000000)

/* Hours are counted from 1, so that the first has one before. */
static uint64_t
hour_before(void)
{
    return clock_mono_us() / HOUR_US;
}

/* HKDF-SHA-256 of a secret, for what `use` says. */
static void
derive(const uint8_t secret[TLS_SECRET_LEN], const char *use, uint8_t *out, size_t n)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret,
                                          TLS_SECRET_LEN),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)use, strlen(use)),
        OSSL_PARAM_construct_end(),
    };

    /* Without it there would be keys that anybody knows. */
    if (ctx == NULL || EVP_KDF_derive(ctx, out, n, params) != 1)
        ms_random(out, n);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

void
tls_secret_make(struct tls_secret *out)
{
    out->hour = hour_before();
    ms_random(out->bytes, sizeof(out->bytes));
}

static void
secret_next(struct tls_secret *secret)
{
    uint8_t next[TLS_SECRET_LEN];

    derive(secret->bytes, "the next hour", next, sizeof(next));
    memcpy(secret->bytes, next, sizeof(next));
    OPENSSL_cleanse(next, sizeof(next));
    secret->hour++;
}

bool
tls_secret_is_present(const struct tls_secret *secret)
{
    return secret->hour >= hour_before();
}

void
tls_secret_advance(struct tls_secret *secret)
{
    while (!tls_secret_is_present(secret))
        secret_next(secret);
}

static void
secret_hour_keys(const struct tls_secret *secret, struct tls_ticket_keys *out)
{
    derive(secret->bytes, "name", out->name, sizeof(out->name));
    derive(secret->bytes, "cipher", out->cipher, sizeof(out->cipher));
    derive(secret->bytes, "mac", out->mac, sizeof(out->mac));
}

void
tls_secret_keys(const struct tls_secret *secret, struct tls_ticket_keys *now_out,
                struct tls_ticket_keys *before_out)
{
    struct tls_secret now = *secret;

    secret_hour_keys(secret, before_out);
    secret_next(&now);
    secret_hour_keys(&now, now_out);
    OPENSSL_cleanse(&now, sizeof(now));
}
