/* Log-linear histograms: 2^bits steps in each power of two, exact below 2^bits. So a value is known
 * to one part in 2^bits, whatever its size. Pure; the counts are the caller's. */
#ifndef COMMON_HISTOGRAM_H
#define COMMON_HISTOGRAM_H

#include "common/base.h"

/* Buckets that hold all of uint64_t. */
#define HISTOGRAM_BUCKETS(bits) ((size_t)(65 - (bits)) << (bits))

/* The bucket of a value. Called for every message, so it is here. */
static inline unsigned
histogram_index(uint64_t value, unsigned bits)
{
    unsigned top;

    if (value >> bits == 0)
        return (unsigned)value;
    top = 63u - (unsigned)__builtin_clzll(value);
    return ((top - bits + 1) << bits) +
           (unsigned)(value >> (top - bits) & (((uint64_t)1 << bits) - 1));
}

/* The lowest value of a bucket, and the middle of its range. */
uint64_t histogram_low(unsigned index, unsigned bits);
uint64_t histogram_middle(unsigned index, unsigned bits);

/* The value below which a share (0 to 1) of all values lie, as the middle of its bucket; 0 without
 * values. */
uint64_t histogram_quantile(const uint64_t *counts, unsigned buckets, unsigned bits, double share);

#endif
