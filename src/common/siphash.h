/* SipHash-2-4 of 64 bits: short input to a number that nobody can foresee, or make equal for two
 * inputs, without the secret. Other than a digest it costs some tens of nanoseconds. */
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include "common/base.h"

struct siphash {
    uint64_t v[4];
    uint64_t word; /* bytes that are not mixed in yet */
    size_t n;      /* bytes so far */
};

void siphash_begin(struct siphash *h, const uint8_t secret[16]);
void siphash_update(struct siphash *h, const void *data, size_t n);
uint64_t siphash_finish(struct siphash *h);

#endif
