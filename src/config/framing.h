/* ?framing=, ?delimiter= and ?unterminated= of a listener or a client. */
#ifndef CONFIG_FRAMING_H
#define CONFIG_FRAMING_H

#include "common/url.h"
#include "proto/limits.h"

#define FRAMING_REASON_LEN 160

/* Reads framing (length32, fixed:N, delimiter, delimiter:X, eof), delimiter (escapes as in C) and
 * unterminated among the options. max_message_size bounds N. Returns 0, or -1 with half a sentence
 * in reason. */
MS_MUST_CHECK int framing_parse(const struct url *url, uint64_t max_message_size,
                                struct framing *framing_out, char reason[FRAMING_REASON_LEN]);

/* The value of an option holds a NUL (%00), which only a delimiter may. */
bool framing_forbids_nul(const struct url_option *option);

#endif
