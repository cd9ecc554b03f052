/* Looking for the delimiter of a framing (docs/protocol.md 4): in whole chunks, at their ends, and
 * in what is about to be sent. */
#ifndef PROTO_FRAME_DELIMITER_H
#define PROTO_FRAME_DELIMITER_H

#include "proto/limits.h"

#include <stddef.h>

/* Where the first delimiter begins in n bytes (1 or more), or n: there is none. */
size_t delimiter_find(const struct framing *framing, const uint8_t *data, size_t n);

/* How many bytes at the end, in which there is no delimiter, may turn out to belong to one, with a
 * CR before it where that is dropped. At most FRAMING_DELIMITER_MAX. */
size_t delimiter_undecided(const struct framing *framing, const uint8_t *data, size_t n);

/* The peer would find a delimiter before the one behind this message: inside it, or beginning in it
 * and ending in the one behind. */
bool delimiter_inside(const struct framing *framing, const uint8_t *data, size_t n);

#endif
