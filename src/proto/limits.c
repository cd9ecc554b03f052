/* How a message over a limit is refused: one sentence for all protocols. Invariant: it names the
 * limit and its value in bytes. */
#include "proto/limits.h"

#include <stdio.h>

const char *
limits_too_large(const char *what, uint64_t bytes, char text[LIMITS_TEXT_LEN])
{
    snprintf(text, LIMITS_TEXT_LEN, "the message is larger than %s, %llu bytes", what,
             (unsigned long long)bytes);
    return text;
}
