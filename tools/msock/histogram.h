/* A log-linear histogram of durations: 64 steps in each power of two, so a value is known to 1.6 %,
 * whatever its size. Pure. */
#ifndef MSOCK_HISTOGRAM_H
#define MSOCK_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB     64u
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 59u) /* all of uint64_t */

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max; /* exact */
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* The bucket of a value, and the middle of a bucket. */
static inline unsigned
histogram_index(uint64_t value)
{
    unsigned top;

    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    top = 63u - (unsigned)__builtin_clzll(value);
    return (top - 5) * HISTOGRAM_SUB + (unsigned)(value >> (top - 6) & (HISTOGRAM_SUB - 1));
}

uint64_t histogram_value(unsigned index);

static inline void
histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->bucket[histogram_index(value)]++;
}

/* The value that share (0 to 1) of all values do not exceed; 0 where there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
