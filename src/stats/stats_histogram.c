/* The reading side of the histogram of durations. A percentile is the middle of the bucket in which
 * it lies, hence within half a bucket, 3.2 %, of the truth. */
#include "stats/stats_histogram.h"

#include "common/base.h"

uint64_t
stats_histogram_low(unsigned index)
{
    unsigned group = index / STATS_HISTOGRAM_SUB;
    uint64_t sub = index % STATS_HISTOGRAM_SUB;

    MS_ASSERT(index < STATS_HISTOGRAM);
    return group == 0 ? sub : (STATS_HISTOGRAM_SUB + sub) << (group - 1);
}

uint64_t
stats_histogram_value(unsigned index)
{
    unsigned group = index / STATS_HISTOGRAM_SUB;
    uint64_t width = group == 0 ? 1 : (uint64_t)1 << (group - 1);

    return stats_histogram_low(index) + width / 2;
}

uint64_t
stats_percentile(const uint64_t latency[STATS_HISTOGRAM], double p)
{
    uint64_t total = 0, seen = 0;
    unsigned last = 0;

    for (unsigned i = 0; i < STATS_HISTOGRAM; i++)
        total += latency[i];
    for (unsigned i = 0; i < STATS_HISTOGRAM; i++) {
        if (latency[i] == 0)
            continue;
        seen += latency[i];
        last = i;
        if ((double)seen >= p * (double)total)
            break;
    }
    return total == 0 ? 0 : stats_histogram_value(last);
}

uint64_t
stats_latency_max(const uint64_t latency[STATS_HISTOGRAM])
{
    return stats_percentile(latency, 1.0);
}
