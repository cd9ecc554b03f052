/* NATS keys are Ed25519 keys as base32 text: "U..." the public key of a user, "SU..." its seed. A
 * file has the seed alone; libnats wants the public key beside it. */
#include "nats/publisher.h"

#include "common/fd.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

#define SEED_CHARS  58
#define SEED_BYTES  36 /* two of a prefix, 32 of the key, two of a sum */
#define KEY_BYTES   32
#define PREFIX_SEED 0x90  /* 18 << 3: text that begins with S */
#define PREFIX_USER 0xa0  /* 20 << 3: with U */
#define FILE_MAX    65536 /* a JWT may stand before it */

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* CRC-16 of XMODEM, with which every key ends. */
static uint16_t
nkey_sum(const uint8_t *data, size_t n)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < n; i++) {
        crc = (uint16_t)(crc ^ data[i] << 8);
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (uint16_t)((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static bool
nkey_decode(const char *text, uint8_t out[SEED_BYTES])
{
    unsigned bits = 0, have = 0;
    size_t n = 0;

    for (size_t i = 0; i < SEED_CHARS; i++) {
        const char *at = text[i] != '\0' ? strchr(base32, text[i]) : NULL;

        if (at == NULL)
            return false;
        bits = bits << 5 | (unsigned)(at - base32);
        have += 5;
        if (have >= 8 && n < SEED_BYTES) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    return n == SEED_BYTES && (out[0] & 0xf8) == PREFIX_SEED &&
           ((out[0] & 7) << 5 | (out[1] & 0xf8) >> 3) == PREFIX_USER &&
           nkey_sum(out, SEED_BYTES - 2) == (out[SEED_BYTES - 2] | out[SEED_BYTES - 1] << 8);
}

static void
nkey_encode(const uint8_t key[KEY_BYTES], char out[NKEY_PUBLIC_LEN])
{
    uint8_t raw[1 + KEY_BYTES + 2] = {PREFIX_USER};
    unsigned bits = 0, have = 0;
    uint16_t sum;
    size_t n = 0;

    memcpy(raw + 1, key, KEY_BYTES);
    sum = nkey_sum(raw, 1 + KEY_BYTES);
    raw[1 + KEY_BYTES] = (uint8_t)sum;
    raw[2 + KEY_BYTES] = (uint8_t)(sum >> 8);
    for (size_t i = 0; i < sizeof(raw); i++) {
        bits = bits << 8 | raw[i];
        for (have += 8; have >= 5; have -= 5)
            out[n++] = base32[bits >> (have - 5) & 31];
    }
    out[n] = '\0';
}

static bool
nkey_derive(const uint8_t seed[KEY_BYTES], uint8_t key_out[KEY_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, KEY_BYTES);
    size_t n = KEY_BYTES;
    bool good = key != NULL && EVP_PKEY_get_raw_public_key(key, key_out, &n) == 1;

    EVP_PKEY_free(key);
    return good;
}

int
nkey_public(const char *path, char out[NKEY_PUBLIC_LEN], char error[NATS_ERROR_LEN])
{
    uint8_t seed[SEED_BYTES], key[KEY_BYTES];
    char *data, *at;
    size_t n;
    bool good;

    if (fd_read_file(path, FILE_MAX, &data, &n) < 0) {
        snprintf(error, NATS_ERROR_LEN, "%.150s: %m", path);
        return -1;
    }
    /* The seed may stand between lines of dashes, and these letters in what is before it. */
    for (at = strstr(data, "SU"); at != NULL && !nkey_decode(at, seed); at = strstr(at + 1, "SU"))
        ;
    good = at != NULL && nkey_derive(seed + 2, key);
    if (good)
        nkey_encode(key, out);
    else
        snprintf(error, NATS_ERROR_LEN, "%.150s: there is no seed of a user's nkey in it", path);
    OPENSSL_cleanse(data, n);
    OPENSSL_cleanse(seed, sizeof(seed));
    free(data);
    return good ? 0 : -1;
}
