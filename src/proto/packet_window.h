/* Packets of one connection of a protocol with a window: those that came before their turn, and those
 * that were sent and are not acknowledged. Lent by the connection; made by the protocol that needs
 * it. */
#ifndef PROTO_PACKET_WINDOW_H
#define PROTO_PACKET_WINDOW_H

#include "common/base.h"

#include <stdbool.h>

struct packet_window;

void packet_window_destroy(struct packet_window *pw); /* NULL is fine */

/* Nothing waits in either direction. True for NULL. */
bool packet_window_idle(const struct packet_window *pw);

/* Bytes of memory it holds for packets, in both directions. 0 for NULL. */
size_t packet_window_bytes(const struct packet_window *pw);

#endif
