/* Time in microseconds. Protocol code never calls this: time is an argument there. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

/* Microseconds on the monotonic clock, which no one sets back. Equal in all processes of a
 * machine. */
uint64_t clock_mono_us(void);

/* Microseconds since 1970 (UTC). */
uint64_t clock_real_us(void);

#define CLOCK_RFC3339_LEN 28 /* "2026-11-21T10:11:12.123456Z" and NUL */

/* Writes real_us as RFC 3339 with microseconds, UTC. Returns the length without the NUL (27). */
unsigned clock_format(uint64_t real_us, char out[CLOCK_RFC3339_LEN]);

#endif
