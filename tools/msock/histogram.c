#include "histogram.h"

#include <math.h>

uint64_t
histogram_value(unsigned index)
{
    unsigned group = index / HISTOGRAM_SUB;
    uint64_t low;

    if (group == 0)
        return index;
    low = (uint64_t)(HISTOGRAM_SUB + index % HISTOGRAM_SUB) << (group - 1);
    return low + (((uint64_t)1 << (group - 1)) >> 1);
}

uint64_t
histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count);
    uint64_t seen = 0;

    if (histogram->count == 0)
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->bucket[i];
        if (seen >= wanted && seen > 0) {
            uint64_t value = histogram_value(i);

            return value < histogram->max ? value : histogram->max;
        }
    }
    return histogram->max;
}
