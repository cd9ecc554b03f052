#include "proto/packet_window.h"

#include <stdlib.h>

struct packet_window {
    size_t bytes;
};

void
packet_window_destroy(struct packet_window *pw)
{
    free(pw);
}

bool
packet_window_idle(const struct packet_window *pw)
{
    return pw == NULL || pw->bytes == 0;
}

size_t
packet_window_bytes(const struct packet_window *pw)
{
    return pw == NULL ? 0 : pw->bytes;
}
