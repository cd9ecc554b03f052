/* Packets of msp as a client lays them out, for the tests of the server's side. Each function
 * returns the length. */
#ifndef TESTS_UNIT_MSP_BUILD_H
#define TESTS_UNIT_MSP_BUILD_H

#include "proto/msp/msp_wire.h"

/* The first packet of a body of that size, with as much of the body as goes into it. */
size_t build_first(uint8_t *out, const void *body, size_t size, bool late, bool undetermined);

/* A further packet. */
size_t build_packet(uint8_t *out, const void *body, size_t n);

/* A trailer without a digest. value may be NULL where n is 0. */
size_t build_trailer(uint8_t *out, char kind, uint8_t flags, const void *value, size_t n);

/* First packet and trailer of a message that fits into one. */
size_t build_message(uint8_t *out, char kind, const void *body, size_t n, const char *value);

#endif
