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

uint64_t
limits_rate_deadline(const struct proto_limits *limits, uint64_t begun_us, uint64_t received)
{
    if (limits->min_rate == 0)
        return UINT64_MAX;
    return begun_us + limits->rate_grace_us + received * 1000000 / limits->min_rate;
}

uint64_t
limits_progress_deadline(const struct proto_limits *limits, uint64_t heard_us, uint64_t begun_us,
                         uint64_t received)
{
    uint64_t silence = heard_us + limits->timeout_us;
    uint64_t rate = limits_rate_deadline(limits, begun_us, received);

    return silence < rate ? silence : rate;
}
