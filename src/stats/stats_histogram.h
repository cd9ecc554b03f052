/* The log-linear histogram of durations: exact below 16 microseconds, then 16 steps to every power
 * of two, so a value is known to 6.25 %. Durations of 2^31 microseconds (36 minutes) and more share
 * the last bucket. */
#ifndef STATS_STATS_HISTOGRAM_H
#define STATS_STATS_HISTOGRAM_H

#include "stats/stats_layout.h"

/* Bucket of a duration. Called for every message, so it is here. */
static inline unsigned
stats_histogram_index(uint64_t us)
{
    unsigned exponent, index;

    if (us < STATS_HISTOGRAM_SUB)
        return (unsigned)us;
    exponent = 63u - (unsigned)__builtin_clzll(us);
    index = (exponent - 3) * STATS_HISTOGRAM_SUB + ((unsigned)(us >> (exponent - 4)) & 15u);
    return exponent >= STATS_HISTOGRAM_GROUPS + 3 ? STATS_HISTOGRAM - 1 : index;
}
static_assert(STATS_HISTOGRAM_SUB == 16, "stats_histogram_index shifts by 4");

/* The lowest duration of a bucket (index < STATS_HISTOGRAM), microseconds. */
uint64_t stats_histogram_low(unsigned index);

/* The middle of a bucket's range, microseconds. */
uint64_t stats_histogram_value(unsigned index);

/* The value below which a part p (0 to 1) of the durations lie, microseconds; 0 where there are
 * none. */
uint64_t stats_percentile(const uint64_t latency[STATS_HISTOGRAM], double p);

/* The longest duration, as the middle of its bucket; 0 where there are none. */
uint64_t stats_latency_max(const uint64_t latency[STATS_HISTOGRAM]);

#endif
