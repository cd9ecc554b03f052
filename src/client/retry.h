/* How long to wait before a message is begun again (docs/protocol.md 1.7). Pure. */
#ifndef CLIENT_RETRY_H
#define CLIENT_RETRY_H

#include <stdint.h>

/* The wait before retry number nth (0 is the first), in microseconds: base_ms doubled nth times, at
 * most max_ms, of which a part between none and a half, chosen by random, is left out. */
uint64_t retry_wait_us(unsigned base_ms, unsigned max_ms, unsigned nth, uint32_t random);

#endif
