/* One end of tinyproto, its bytes written as hex: for the tests of it. */
#ifndef TESTS_UNIT_TINYPROTO_PEER_H
#define TESTS_UNIT_TINYPROTO_PEER_H

#include "proto_peer.h"

/* The state of the protocol. */
struct tinyproto *machine(struct proto_peer *p);

/* A peer with default limits, in that role. */
void begin(struct proto_peer *p, enum proto_role role);

/* It hears these bytes, in pieces. */
void hears(struct proto_peer *p, const char *hex, size_t piece);

/* It has said exactly these bytes since the last look. */
void says(struct proto_peer *p, const char *hex);

/* Hears all at once, and answers with this. */
void hears_and_says(struct proto_peer *p, const char *heard, const char *said);

/* A server whose opening is over. */
void begin_open(struct proto_peer *p);

/* Ends with GENERIC_ERROR, which is counted, and hears nothing more. */
void expect_fault(struct proto_peer *p);

#endif
