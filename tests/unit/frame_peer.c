#include "frame_peer.h"

void
frame_begin(struct proto_peer *p, struct framing framing)
{
    proto_peer_init(p, &frame_protocol);
    p->limits.framing = framing;
    proto_peer_begin(p, PROTO_SERVER);
}

void
frame_hear(struct proto_peer *p, const char *data, size_t n)
{
    proto_peer_hear(p, data, n, PEER_WHOLE, true);
}

const char *
sample_stream(size_t n)
{
    static char stream[1 << 16];

    MS_ASSERT(n <= sizeof(stream));
    for (size_t i = 0; i < n; i++)
        stream[i] = (char)('a' + (i * 7 + i / 26) % 26);
    return stream;
}
