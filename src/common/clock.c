/* The two clocks, and the one way in which a time is written. */
#include "common/clock.h"

#include "common/base.h"

#include <time.h>

static uint64_t
clock_us(clockid_t id)
{
    struct timespec ts;

    MS_ASSERT(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t
clock_real_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

static char *
clock_digits(char *out, unsigned value, unsigned width, char end)
{
    for (unsigned i = width; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    out[width] = end;
    return out + width + 1;
}

unsigned
clock_format(uint64_t real_us, char out[CLOCK_RFC3339_LEN])
{
    time_t seconds = (time_t)(real_us / 1000000);
    struct tm tm;
    char *p = out;

    MS_ASSERT(gmtime_r(&seconds, &tm) != NULL);
    p = clock_digits(p, (unsigned)(tm.tm_year + 1900), 4, '-');
    p = clock_digits(p, (unsigned)tm.tm_mon + 1, 2, '-');
    p = clock_digits(p, (unsigned)tm.tm_mday, 2, 'T');
    p = clock_digits(p, (unsigned)tm.tm_hour, 2, ':');
    p = clock_digits(p, (unsigned)tm.tm_min, 2, ':');
    p = clock_digits(p, (unsigned)tm.tm_sec, 2, '.');
    p = clock_digits(p, (unsigned)(real_us % 1000000), 6, 'Z');
    *p = '\0';
    return (unsigned)(p - out);
}
