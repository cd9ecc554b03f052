/* Exponential back-off with jitter, apart from clocks and sleeping so that it can be tested
 * whole. */
#ifndef COMMON_BACKOFF_H
#define COMMON_BACKOFF_H

#include "common/base.h"

/* The wait before try number nth (0 is the first), in microseconds: base_ms doubled nth times, at
 * most max_ms, of which a part between none and a half, chosen by random, is left out. */
uint64_t backoff_us(unsigned base_ms, unsigned max_ms, unsigned nth, uint32_t random);

#endif
