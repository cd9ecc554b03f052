#include "proto/cnp/cnp_wire.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Also where the system's default is FIPS: nothing is protected by this sum. */
#define MD5_PROPERTIES "-fips"
#define MD5_LEN        16

struct cnp_sum {
    EVP_MD *md;
    EVP_MD_CTX *running, *whole;
};

struct cnp_sum *
cnp_sum_create(void)
{
    EVP_MD *md = EVP_MD_fetch(NULL, "MD5", MD5_PROPERTIES);
    struct cnp_sum *sum;

    if (md == NULL) {
        errno = ENOTSUP;
        return NULL;
    }
    sum = ms_calloc(1, sizeof(*sum));
    sum->md = md;
    sum->running = EVP_MD_CTX_new();
    sum->whole = EVP_MD_CTX_new();
    MS_ASSERT(sum->running != NULL && sum->whole != NULL);
    return sum;
}

void
cnp_sum_destroy(struct cnp_sum *sum)
{
    if (sum == NULL)
        return;
    EVP_MD_CTX_free(sum->running);
    EVP_MD_CTX_free(sum->whole);
    EVP_MD_free(sum->md);
    free(sum);
}

static void
cnp_sum_end(EVP_MD_CTX *ctx, uint8_t out[CNP_SUM_LEN])
{
    uint8_t md5[MD5_LEN];

    MS_ASSERT(EVP_DigestFinal_ex(ctx, md5, NULL) == 1);
    memcpy(out, md5, CNP_SUM_LEN);
}

void
cnp_sum_begin(struct cnp_sum *sum)
{
    MS_ASSERT(EVP_DigestInit_ex2(sum->running, sum->md, NULL) == 1);
}

void
cnp_sum_update(struct cnp_sum *sum, const void *data, size_t n)
{
    MS_ASSERT(EVP_DigestUpdate(sum->running, data, n) == 1);
}

void
cnp_sum_finish(struct cnp_sum *sum, uint8_t out[CNP_SUM_LEN])
{
    cnp_sum_end(sum->running, out);
}

void
cnp_sum_whole(struct cnp_sum *sum, const void *data, size_t n, uint8_t out[CNP_SUM_LEN])
{
    MS_ASSERT(EVP_DigestInit_ex2(sum->whole, sum->md, NULL) == 1);
    MS_ASSERT(EVP_DigestUpdate(sum->whole, data, n) == 1);
    cnp_sum_end(sum->whole, out);
}

void
cnp_sum_of(const void *data, size_t n, uint8_t out[CNP_SUM_LEN])
{
    uint8_t md5[MD5_LEN] = {0};

    if (EVP_Q_digest(NULL, "MD5", MD5_PROPERTIES, data, n, md5, NULL) != 1)
        memset(md5, 0, sizeof(md5));
    memcpy(out, md5, CNP_SUM_LEN);
}
