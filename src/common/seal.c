/* AES-256-GCM by libcrypto's EVP. After a failure nothing half done is left in the caller's
 * memory. */
#include "common/digest.h"

#include "common/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SEAL_MAGIC     "MSK1"
#define SEAL_MAGIC_LEN 4
#define SEAL_NONCE_LEN 12
#define SEAL_HEADER    (SEAL_MAGIC_LEN + SEAL_NONCE_LEN)
#define SEAL_TAG_LEN   16
#define SEAL_BITE      ((size_t)1 << 30) /* libcrypto counts in int */
#define SEAL_FILE_MAX  (2 * SEAL_KEY_LEN + 1)

static_assert(SEAL_HEADER + SEAL_TAG_LEN == SEAL_OVERHEAD, "the layout in digest.h");

struct seal {
    EVP_CIPHER *cipher;
    uint8_t key[SEAL_KEY_LEN];
};

/* --- the key file --- */

/* Makes the key from the contents of the file. */
static bool
seal_key_parse(const char *text, size_t n, uint8_t key_out[SEAL_KEY_LEN])
{
    if (n == SEAL_KEY_LEN) {
        memcpy(key_out, text, n);
        return true;
    }
    if (n > 2 * SEAL_KEY_LEN && text[n - 1] == '\n')
        n -= text[n - 2] == '\r' ? 2 : 1;
    return n == 2 * SEAL_KEY_LEN && digest_unhex(text, SEAL_KEY_LEN, key_out);
}

/* Returns the descriptor of a regular file that only its owner can read, or -1 with a sentence. */
static int
seal_key_file(const char *path, char error[SEAL_ERROR_LEN])
{
    struct stat st;
    /* O_NONBLOCK: a FIFO of that name must not hold us up. */
    int fd = fd_above_standard(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

    if (fd < 0 || fstat(fd, &st) < 0)
        snprintf(error, SEAL_ERROR_LEN, "the key file %.100s cannot be opened: %s", path,
                 strerror(errno));
    else if (!S_ISREG(st.st_mode))
        snprintf(error, SEAL_ERROR_LEN, "the key file %.100s is not a regular file", path);
    else if ((st.st_mode & 077) != 0)
        snprintf(error, SEAL_ERROR_LEN,
                 "the key file %.60s is open to others than its owner (mode %03o): chmod 600 %.60s",
                 path, (unsigned)st.st_mode & 0777, path);
    else
        return fd;
    fd_close(&fd);
    return -1;
}

int
seal_key_read(const char *path, uint8_t key_out[SEAL_KEY_LEN], char error[SEAL_ERROR_LEN])
{
    char text[SEAL_FILE_MAX + 1];
    int fd = seal_key_file(path, error), rc = -1;
    size_t len = 0;
    ssize_t got;

    if (fd < 0)
        return -1;
    while (len < sizeof(text) && (got = fd_read(fd, text + len, sizeof(text) - len)) != 0) {
        if (got < 0) {
            snprintf(error, SEAL_ERROR_LEN, "the key file %.100s cannot be read: %s", path,
                     strerror(errno));
            goto out;
        }
        len += (size_t)got;
    }
    if (seal_key_parse(text, len, key_out))
        rc = 0;
    else
        snprintf(error, SEAL_ERROR_LEN,
                 "the key file %.100s holds neither 32 bytes nor 64 hex digits", path);
out:
    OPENSSL_cleanse(text, sizeof(text));
    fd_close(&fd);
    return rc;
}

void
seal_key_name(const uint8_t key[SEAL_KEY_LEN], char out[SEAL_KEY_NAME_LEN])
{
    uint8_t sha256[SHA256_LEN] = {0};

    (void)EVP_Q_digest(NULL, "SHA256", NULL, key, SEAL_KEY_LEN, sha256, NULL);
    digest_hex(sha256, SEAL_KEY_NAME_LEN / 2, out);
}

struct seal *
seal_create(const uint8_t key[SEAL_KEY_LEN], char error[SEAL_ERROR_LEN])
{
    struct seal *seal = ms_calloc(1, sizeof(*seal));

    if (seal == NULL) {
        snprintf(error, SEAL_ERROR_LEN, "there is no memory for a key");
        return NULL;
    }
    memcpy(seal->key, key, SEAL_KEY_LEN);
    seal->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (seal->cipher != NULL)
        return seal;
    snprintf(error, SEAL_ERROR_LEN, "libcrypto has no AES-256-GCM here");
    seal_close(seal);
    return NULL;
}

struct seal *
seal_open(const char *path, char error[SEAL_ERROR_LEN])
{
    uint8_t key[SEAL_KEY_LEN];
    struct seal *seal = NULL;

    if (seal_key_read(path, key, error) == 0)
        seal = seal_create(key, error);
    OPENSSL_cleanse(key, sizeof(key));
    return seal;
}

void
seal_close(struct seal *seal)
{
    if (seal == NULL)
        return;
    EVP_CIPHER_free(seal->cipher);
    OPENSSL_cleanse(seal->key, sizeof(seal->key));
    free(seal);
}

/* --- sealing --- */

/* Sets key, nonce and direction for one payload. */
static bool
seal_begin(const struct seal *seal, EVP_CIPHER_CTX *ctx, enum seal_direction to,
           const uint8_t *nonce, int encrypt)
{
    uint8_t aad = (uint8_t)to;
    int len;

    return ctx != NULL &&
           EVP_CipherInit_ex2(ctx, seal->cipher, seal->key, nonce, encrypt, NULL) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &len, &aad, 1) == 1;
}

static bool
seal_run(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t n, uint8_t *out)
{
    for (size_t done = 0; done < n;) {
        size_t bite = n - done < SEAL_BITE ? n - done : SEAL_BITE;
        int len;

        if (EVP_CipherUpdate(ctx, out + done, &len, in + done, (int)bite) != 1 || len != (int)bite)
            return false;
        done += bite;
    }
    return true;
}

int
seal_encrypt(const struct seal *seal, enum seal_direction to, const void *in, size_t n,
             uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *body = out + SEAL_HEADER, *tag = body + n;
    bool sealed;
    int len;

    memcpy(out, SEAL_MAGIC, SEAL_MAGIC_LEN);
    ms_random(out + SEAL_MAGIC_LEN, SEAL_NONCE_LEN);
    sealed = seal_begin(seal, ctx, to, out + SEAL_MAGIC_LEN, 1) && seal_run(ctx, in, n, body) &&
             EVP_CipherFinal_ex(ctx, tag, &len) == 1 &&
             EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_LEN, tag) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!sealed)
        OPENSSL_cleanse(out, n + SEAL_OVERHEAD);
    return sealed ? 0 : -1;
}

int
seal_decrypt(const struct seal *seal, enum seal_direction to, const void *in, size_t n,
             uint8_t *out)
{
    const uint8_t *bytes = in;
    uint8_t tag[SEAL_TAG_LEN], rest[EVP_MAX_BLOCK_LENGTH];
    EVP_CIPHER_CTX *ctx;
    size_t body_len;
    bool opened;
    int len;

    errno = EBADMSG;
    if (n < SEAL_OVERHEAD)
        return -1;
    body_len = n - SEAL_OVERHEAD;
    memcpy(tag, bytes + SEAL_HEADER + body_len, SEAL_TAG_LEN);
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        errno = ENOMEM;
        return -1;
    }
    opened = memcmp(bytes, SEAL_MAGIC, SEAL_MAGIC_LEN) == 0 &&
             seal_begin(seal, ctx, to, bytes + SEAL_MAGIC_LEN, 0) &&
             seal_run(ctx, bytes + SEAL_HEADER, body_len, out) &&
             EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_LEN, tag) == 1 &&
             EVP_CipherFinal_ex(ctx, rest, &len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (opened)
        return 0;
    OPENSSL_cleanse(out, body_len);
    errno = EBADMSG;
    return -1;
}
