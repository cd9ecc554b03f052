/* CRC-32 and SHA-256. Fetching SHA-256 from a provider, or making a context, costs more than
 * digesting a short message. So the digester fetches once and keeps its contexts. */
#include "common/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include <zlib.h>

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

struct sha256 {
    EVP_MD_CTX *ctx;
    bool is_good;        /* false: there was no memory to begin, and libcrypto would crash */
    struct sha256 *next; /* in the pool */
};

struct digester {
    EVP_MD *md;
    struct sha256 *pool;    /* released contexts, ready to be reset */
    struct sha256 *scratch; /* for peek and for the digest in one go */
    size_t lent;            /* digests begun and not yet released */
};

uint32_t
digest_crc32(uint32_t crc, const void *data, size_t n)
{
    if (n == 0)
        return crc;
#ifdef HAVE_LIBDEFLATE
    return libdeflate_crc32(crc, data, n);
#else
    return (uint32_t)crc32_z(crc, data, n);
#endif
}

uint32_t
digest_crc32_rest(uint32_t all, uint32_t front, size_t n)
{
    return all ^ (uint32_t)crc32_combine(front, 0, (z_off_t)n);
}

static void
sha256_destroy(struct sha256 *s)
{
    if (s == NULL)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

static struct sha256 *
sha256_create(void)
{
    struct sha256 *s = ms_calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->ctx = EVP_MD_CTX_new();
    if (s->ctx != NULL)
        return s;
    sha256_destroy(s);
    return ms_out_of_memory(0);
}

/* Digesting fails for want of memory alone. */
static void
sha256_did(struct sha256 *s, bool done)
{
    s->is_good = done;
    if (!done)
        (void)ms_out_of_memory(0);
}

void
digester_destroy(struct digester *dg)
{
    if (dg == NULL)
        return;
    MS_ASSERT(dg->lent == 0);
    while (dg->pool != NULL) {
        struct sha256 *s = dg->pool;

        dg->pool = s->next;
        sha256_destroy(s);
    }
    sha256_destroy(dg->scratch);
    EVP_MD_free(dg->md);
    free(dg);
}

struct digester *
digester_create(void)
{
    struct digester *dg;
    EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);

    if (md == NULL) {
        errno = ENOTSUP; /* or no memory: libcrypto does not say */
        return NULL;
    }
    dg = calloc(1, sizeof(*dg));
    if (dg == NULL) {
        EVP_MD_free(md);
        errno = ENOMEM;
        return NULL;
    }
    dg->md = md;
    dg->scratch = sha256_create();
    if (dg->scratch != NULL)
        return dg;
    digester_destroy(dg);
    errno = ENOMEM;
    return NULL;
}

struct sha256 *
sha256_begin(struct digester *dg)
{
    struct sha256 *s = dg->pool;

    if (s != NULL)
        dg->pool = s->next;
    else
        s = sha256_create();
    if (s == NULL)
        return NULL;
    dg->lent++;
    sha256_reset(dg, s);
    return s;
}

void
sha256_update(struct sha256 *s, const void *data, size_t n)
{
    if (s->is_good)
        sha256_did(s, EVP_DigestUpdate(s->ctx, data, n) == 1);
}

void
sha256_peek(struct digester *dg, const struct sha256 *s, uint8_t out[SHA256_LEN])
{
    sha256_copy(dg->scratch, s);
    sha256_finish(dg->scratch, out);
}

void
sha256_finish(struct sha256 *s, uint8_t out[SHA256_LEN])
{
    memset(out, 0, SHA256_LEN);
    if (s->is_good)
        sha256_did(s, EVP_DigestFinal_ex(s->ctx, out, NULL) == 1);
}

void
sha256_reset(struct digester *dg, struct sha256 *s)
{
    sha256_did(s, EVP_DigestInit_ex2(s->ctx, dg->md, NULL) == 1);
}

void
sha256_copy(struct sha256 *to, const struct sha256 *from)
{
    sha256_did(to, from->is_good && EVP_MD_CTX_copy_ex(to->ctx, from->ctx) == 1);
}

void
sha256_release(struct digester *dg, struct sha256 *s)
{
    if (s == NULL)
        return;
    MS_ASSERT(dg->lent > 0);
    dg->lent--;
    s->next = dg->pool;
    dg->pool = s;
}

void
digest_sha256(struct digester *dg, const void *data, size_t n, uint8_t out[SHA256_LEN])
{
    sha256_reset(dg, dg->scratch);
    sha256_update(dg->scratch, data, n);
    sha256_finish(dg->scratch, out);
}

void
digest_hex(const uint8_t *data, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[data[i] >> 4];
        out[2 * i + 1] = hex[data[i] & 15];
    }
    out[2 * n] = '\0';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
digest_unhex(const char *text, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
