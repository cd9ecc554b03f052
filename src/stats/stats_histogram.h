/* The histogram of durations in the statistics: common/histogram.h with 16 steps in each power of
 * two, so a value is known to 6.25 %. Durations of 2^31 microseconds (36 minutes) and more share
 * the last bucket. */
#ifndef STATS_STATS_HISTOGRAM_H
#define STATS_STATS_HISTOGRAM_H

#include "common/histogram.h"
#include "stats/stats_layout.h"

#define STATS_HISTOGRAM_BITS 4
static_assert(STATS_HISTOGRAM_SUB == 1 << STATS_HISTOGRAM_BITS, "steps in each power of two");

/* Bucket of a duration, microseconds. */
static inline unsigned
stats_histogram_index(uint64_t us)
{
    unsigned index = histogram_index(us, STATS_HISTOGRAM_BITS);

    return index < STATS_HISTOGRAM ? index : STATS_HISTOGRAM - 1;
}

/* The lowest duration of a bucket, and the middle of its range, microseconds. */
static inline uint64_t
stats_histogram_low(unsigned index)
{
    return histogram_low(index, STATS_HISTOGRAM_BITS);
}

static inline uint64_t
stats_histogram_value(unsigned index)
{
    return histogram_middle(index, STATS_HISTOGRAM_BITS);
}

/* The value below which a part p (0 to 1) of the durations lie, microseconds; 0 where there are
 * none. Within half a bucket, 3.2 %, of the truth. */
static inline uint64_t
stats_percentile(const uint64_t latency[STATS_HISTOGRAM], double p)
{
    return histogram_quantile(latency, STATS_HISTOGRAM, STATS_HISTOGRAM_BITS, p);
}

/* The longest duration, as the middle of its bucket; 0 where there are none. */
static inline uint64_t
stats_latency_max(const uint64_t latency[STATS_HISTOGRAM])
{
    return stats_percentile(latency, 1.0);
}

#endif
