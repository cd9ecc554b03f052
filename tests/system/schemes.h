/* The protocols that a client can speak, from the daemon's table, for tests over all of them. */
#ifndef SYSTEM_SCHEMES_H
#define SYSTEM_SCHEMES_H

#include <stdbool.h>
#include <stddef.h>

/* The i-th of them, or NULL behind the last; with pushed only of those in which a server may speak
 * unasked, whose connections also move to another worker. */
const char *scheme_at(size_t i, bool pushed);

#endif
