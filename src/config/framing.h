/* ?framing= and ?delimiter= of a listener or a client. */
#ifndef CONFIG_FRAMING_H
#define CONFIG_FRAMING_H

#include "common/base.h"
#include "proto/limits.h"

#define FRAMING_REASON_LEN 160

/* Reads "length32", "fixed:N", "delimiter", "delimiter:X" or "eof", with delimiter (escapes as in
 * C) where framing itself has none; NULL: the default. max_message_size bounds N. Returns 0, or -1
 * with half a sentence in reason. */
MS_MUST_CHECK int
framing_parse(const char *framing, const char *delimiter, uint64_t max_message_size,
              struct framing *framing_out, char reason[FRAMING_REASON_LEN]);

#endif
