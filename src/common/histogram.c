/* The arithmetic of histograms: from a bucket back to its values, and quantiles of counts. */
#include "common/histogram.h"

uint64_t
histogram_low(unsigned index, unsigned bits)
{
    unsigned group = index >> bits;
    uint64_t sub = index & ((1u << bits) - 1);

    return group == 0 ? sub : (((uint64_t)1 << bits) + sub) << (group - 1);
}

uint64_t
histogram_middle(unsigned index, unsigned bits)
{
    unsigned group = index >> bits;

    return histogram_low(index, bits) + (group == 0 ? 0 : ((uint64_t)1 << (group - 1)) / 2);
}

uint64_t
histogram_quantile(const uint64_t *counts, unsigned buckets, unsigned bits, double share)
{
    uint64_t total = 0, seen = 0;
    unsigned last = 0;

    for (unsigned i = 0; i < buckets; i++)
        total += counts[i];
    for (unsigned i = 0; i < buckets; i++) {
        if (counts[i] == 0)
            continue;
        seen += counts[i];
        last = i;
        if ((double)seen >= share * (double)total)
            break;
    }
    return total == 0 ? 0 : histogram_middle(last, bits);
}
