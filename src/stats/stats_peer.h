/* The peer of a connection, from the bytes of its slot to text. */
#ifndef STATS_STATS_PEER_H
#define STATS_STATS_PEER_H

#include "common/url.h"

/* "127.0.0.1:50412", "[::1]:50412", "unix:pid 4711", or "unix:" where the pid is not known. family,
 * address and port as in struct stats_slot. */
void stats_peer_format(uint8_t family, const uint8_t address[16], uint16_t port,
                       char out[ENDPOINT_TEXT_LEN]);

#endif
