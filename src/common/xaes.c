/* XAES-256-GCM out of libcrypto's CMAC and AES-256-GCM. Invariant: after a failure nothing half
 * done is left in the caller's memory. */
#include "common/xaes.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define MAC_LEN 16

struct xaes_key {
    EVP_CIPHER *gcm;
    EVP_MAC_CTX *cmac; /* has the key, and is only copied */
};

/* A context of EVP_CIPHER_CTX under another name: nobody else needs libcrypto's headers. */
static EVP_CIPHER_CTX *
xaes_ctx(struct xaes *x)
{
    return (EVP_CIPHER_CTX *)x;
}

static EVP_MAC_CTX *
xaes_cmac(const uint8_t key[XAES_KEY_LEN])
{
    char cipher[] = "AES-256-CBC";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "CMAC", NULL);
    EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;

    EVP_MAC_free(mac);
    if (ctx != NULL && EVP_MAC_init(ctx, key, XAES_KEY_LEN, params) == 1)
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

struct xaes_key *
xaes_key_create(const uint8_t key[XAES_KEY_LEN])
{
    struct xaes_key *k = ms_calloc(1, sizeof(*k));

    if (k == NULL)
        return NULL;
    k->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    k->cmac = xaes_cmac(key);
    if (k->gcm != NULL && k->cmac != NULL)
        return k;
    xaes_key_destroy(k);
    return NULL;
}

void
xaes_key_destroy(struct xaes_key *key)
{
    if (key == NULL)
        return;
    EVP_CIPHER_free(key->gcm);
    EVP_MAC_CTX_free(key->cmac);
    free(key);
}

/* One half of the derived key: the CMAC of a counter, the label "X" and the front of the nonce. */
static bool
xaes_derive(const struct xaes_key *key, uint8_t counter, const uint8_t front[XAES_FRONT_LEN],
            uint8_t out[MAC_LEN])
{
    uint8_t block[4 + XAES_FRONT_LEN] = {0, counter, 'X', 0};
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(key->cmac);
    bool derived;
    size_t len;

    memcpy(block + 4, front, XAES_FRONT_LEN);
    derived = ctx != NULL && EVP_MAC_update(ctx, block, sizeof(block)) == 1 &&
              EVP_MAC_final(ctx, out, &len, MAC_LEN) == 1;
    EVP_MAC_CTX_free(ctx);
    return derived;
}

struct xaes *
xaes_begin(const struct xaes_key *key, const uint8_t front[XAES_FRONT_LEN], bool encrypt)
{
    uint8_t derived[2 * MAC_LEN];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool begun = ctx != NULL && xaes_derive(key, 1, front, derived) &&
                 xaes_derive(key, 2, front, derived + MAC_LEN) &&
                 EVP_CipherInit_ex2(ctx, key->gcm, derived, NULL, encrypt, NULL) == 1;

    OPENSSL_cleanse(derived, sizeof(derived));
    if (begun)
        return (struct xaes *)ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

void
xaes_end(struct xaes *x)
{
    EVP_CIPHER_CTX_free(xaes_ctx(x));
}

static bool
xaes_add(EVP_CIPHER_CTX *ctx, const struct iovec *aad, size_t aad_count)
{
    int len;

    for (size_t i = 0; i < aad_count; i++)
        if (aad[i].iov_len > 0 &&
            EVP_CipherUpdate(ctx, NULL, &len, aad[i].iov_base, (int)aad[i].iov_len) != 1)
            return false;
    return true;
}

int
xaes_run(struct xaes *x, const uint8_t back[XAES_BACK_LEN], const struct iovec *aad,
         size_t aad_count, const void *in, size_t n, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = xaes_ctx(x);
    bool seals = EVP_CIPHER_CTX_is_encrypting(ctx) == 1;
    size_t body = seals ? n : n - XAES_TAG_LEN;
    uint8_t tag[XAES_TAG_LEN], rest[EVP_MAX_BLOCK_LENGTH];
    bool good;
    int len = 0;

    MS_ASSERT(n <= XAES_RUN_MAX && (seals || n >= XAES_TAG_LEN));
    if (!seals)
        memcpy(tag, (const uint8_t *)in + body, XAES_TAG_LEN);
    good =
        EVP_CipherInit_ex2(ctx, NULL, NULL, back, -1, NULL) == 1 && xaes_add(ctx, aad, aad_count) &&
        (body == 0 || EVP_CipherUpdate(ctx, out, &len, in, (int)body) == 1) &&
        (seals || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, XAES_TAG_LEN, tag) == 1) &&
        EVP_CipherFinal_ex(ctx, rest, &len) == 1 &&
        (!seals || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, XAES_TAG_LEN, out + body) == 1);
    if (good)
        return 0;
    OPENSSL_cleanse(out, body);
    errno = EBADMSG;
    return -1;
}
