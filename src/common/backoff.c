#include "common/backoff.h"

uint64_t
backoff_us(unsigned base_ms, unsigned max_ms, unsigned nth, uint32_t random)
{
    uint64_t full = base_ms;
    uint64_t half;

    /* 32 doublings take any base but 0 beyond any max. */
    full <<= nth < 32 ? nth : 32;
    if (full > max_ms)
        full = max_ms;
    full *= 1000;
    half = full / 2;
    return full - (half * (random >> 16) >> 16);
}
