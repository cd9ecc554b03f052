/* One end of plain frames, and the framings to give it: for the tests of it. */
#ifndef TESTS_UNIT_FRAME_PEER_H
#define TESTS_UNIT_FRAME_PEER_H

#include "proto_peer.h"

/* Values of a struct framing. */
#define LENGTH32                 \
    {                            \
        .kind = FRAMING_LENGTH32 \
    }
#define FIXED(n)                                \
    {                                           \
        .kind = FRAMING_FIXED, .fixed_len = (n) \
    }
#define DELIMITER(text)                                            \
    {                                                              \
        FRAMING_DELIMITER, 0, sizeof(text) - 1, text, false, false \
    }
#define LINES                                      \
    {                                              \
        FRAMING_DELIMITER, 0, 1, "\n", true, false \
    }
#define UNTIL_EOF           \
    {                       \
        .kind = FRAMING_EOF \
    }

/* A server with default limits and that framing. */
void frame_begin(struct proto_peer *p, struct framing framing);

/* It hears all at once. */
void frame_hear(struct proto_peer *p, const char *data, size_t n);

/* n letters without a line's end, at most 64 KiB. */
const char *sample_stream(size_t n);

#endif
