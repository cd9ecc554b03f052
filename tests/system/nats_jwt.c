/* A JWT of NATS: {"typ":"JWT","alg":"ed25519-nkey"}, a dot, the claims, a dot, and the signature of
 * all before it, each in base64url. A key is written as an nkey: a letter for what it is, 32 bytes
 * and a CRC-16, in base32. */
#include "nats_jwt.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define KEY_LEN  32
#define NKEY_LEN 64
#define JWT_LEN  2048
#define SEED     18 /* numbers of letters: 'S', */
#define OPERATOR 14 /* 'O', */
#define ACCOUNT  0  /* 'A', */
#define USER     20 /* and 'U' */
#define LIMITS                                                          \
    UNLIMITED ",\"conn\":-1,\"leaf\":-1,\"imports\":-1,\"exports\":-1," \
              "\"wildcards\":true"
#define UNLIMITED "\"subs\":-1,\"data\":-1,\"payload\":-1"

struct party {
    unsigned letter;
    EVP_PKEY *key;
    uint8_t seed[KEY_LEN];
    char nkey[NKEY_LEN];
};

static void
nkey_write(const uint8_t *data, size_t n, char out[NKEY_LEN])
{
    uint8_t all[KEY_LEN + 4];
    uint32_t bits = 0, crc = 0;
    unsigned have = 0;

    memcpy(all, data, n);
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint32_t)data[i] << 8;
        for (unsigned k = 0; k < 8; k++)
            crc = (crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1;
    }
    all[n++] = crc & 0xff;
    all[n++] = crc >> 8 & 0xff;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | all[i];
        for (have += 8; have >= 5; have -= 5)
            *out++ = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[bits >> (have - 5) & 31];
    }
    if (have > 0)
        *out++ = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[bits << (5 - have) & 31];
    *out = '\0';
}

static void
party_create(struct party *p, unsigned letter, uint8_t number)
{
    uint8_t raw[1 + KEY_LEN] = {(uint8_t)(letter << 3)};
    size_t n = KEY_LEN;

    p->letter = letter;
    memset(p->seed, number, sizeof(p->seed));
    p->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, p->seed, sizeof(p->seed));
    assert_non_null(p->key);
    assert_int_equal(EVP_PKEY_get_raw_public_key(p->key, raw + 1, &n), 1);
    nkey_write(raw, sizeof(raw), p->nkey);
}

static size_t
base64url(const void *data, size_t n, char *out)
{
    size_t len = (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)n);

    while (len > 0 && out[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[len] = '\0';
    return len;
}

/* What the issuer says of the subject. */
static void
jwt_write(const struct party *issuer, const struct party *subject, const char *claims,
          char out[JWT_LEN])
{
    static const char head[] = "{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}";
    char text[1024];
    uint8_t signature[64];
    size_t len = base64url(head, strlen(head), out), n = sizeof(signature);
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    snprintf(text, sizeof(text),
             "{\"jti\":\"1\",\"iat\":1600000000,\"iss\":\"%s\",\"sub\":\"%s\",\"name\":\"test\","
             "\"nats\":{%s,\"version\":2}}",
             issuer->nkey, subject->nkey, claims);
    out[len++] = '.';
    len += base64url(text, strlen(text), out + len);
    assert_int_equal(EVP_DigestSignInit(c, NULL, NULL, NULL, issuer->key), 1);
    assert_int_equal(EVP_DigestSign(c, signature, &n, (const uint8_t *)out, len), 1);
    EVP_MD_CTX_free(c);
    out[len++] = '.';
    base64url(signature, n, out + len);
}

void
nats_jwt_config(char out[NATS_JWT_CONFIG])
{
    static const char plain[] = "\"type\":\"account\",\"limits\":{" LIMITS "}";
    static const char streams[] =
        "\"type\":\"account\",\"limits\":{" LIMITS
        ",\"mem_storage\":-1,\"disk_storage\":-1,\"streams\":-1,\"consumer\":-1}";
    struct party operator, account, system;
    char jwt[3][JWT_LEN];

    party_create(&operator, OPERATOR, 1);
    party_create(&account, ACCOUNT, 2);
    party_create(&system, ACCOUNT, 3);
    jwt_write(&operator, & operator, "\"type\":\"operator\"", jwt[0]);
    jwt_write(&operator, & account, streams, jwt[1]);
    jwt_write(&operator, & system, plain, jwt[2]);
    snprintf(out, NATS_JWT_CONFIG,
             "operator: %s\nsystem_account: %s\nresolver: MEMORY\n"
             "resolver_preload: { %s: %s, %s: %s }",
             jwt[0], system.nkey, account.nkey, jwt[1], system.nkey, jwt[2]);
    EVP_PKEY_free(operator.key);
    EVP_PKEY_free(account.key);
    EVP_PKEY_free(system.key);
}

/* A seed has two letters in front, 'S' and that of its party. */
static void
seed_write(const struct party *p, char out[NKEY_LEN])
{
    uint8_t raw[2 + KEY_LEN] = {(uint8_t)(SEED << 3 | p->letter >> 2), (uint8_t)(p->letter << 6)};

    memcpy(raw + 2, p->seed, KEY_LEN);
    nkey_write(raw, sizeof(raw), out);
}

void
nats_jwt_creds(const char *path, bool is_known)
{
    struct party account, user;
    char jwt[JWT_LEN], seed[NKEY_LEN], text[2 * JWT_LEN];

    party_create(&account, ACCOUNT, is_known ? 2 : 9);
    party_create(&user, USER, 4);
    jwt_write(&account, &user, "\"type\":\"user\"," UNLIMITED, jwt);
    seed_write(&user, seed);
    snprintf(text, sizeof(text),
             "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"
             "-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
             jwt, seed);
    harness_write_file(path, text, strlen(text));
    EVP_PKEY_free(account.key);
    EVP_PKEY_free(user.key);
}
