/* Plain frames (docs/protocol.md 4) on a bare socket. */
#ifndef SYSTEM_RAW_FRAME_H
#define SYSTEM_RAW_FRAME_H

#include "raw.h"

#define RAW_FRAME_FIXED 100 /* bytes of each message of raw_frame_fixed */

extern const struct raw_kind raw_frame_length32, raw_frame_fixed, raw_frame_delimiter,
    raw_frame_eof;

/* The 4 bytes before a message. */
void raw_frame_head(uint8_t out[4], uint32_t len);

#endif
