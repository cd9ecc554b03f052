/* A bad network: a TCP proxy that flips bits, cuts connections, holds bytes back and hands them on
 * one by one, all from a seed, and counts what it did and saw. */
#ifndef SYSTEM_PROXY_H
#define SYSTEM_PROXY_H

#include "peer.h"

#include <stdatomic.h>

struct proxy_options {
    uint64_t seed;
    uint64_t flip_every; /* mean number of bytes to the server between two flipped bits; 0: none */
    uint64_t cut_every; /* mean number of bytes, either way, between two cut connections; 0: none */
    uint64_t
        spoil_every;   /* of the packets of cnp (its first dialect) behind the handshake, each way,
                          one in so many on average gets a flipped bit in its checksum or payload */
    bool reset;        /* connections are cut by a reset, not by an end in order */
    unsigned delay_us; /* each piece is held back for up to so long */
    bool split;        /* hand on single bytes */
};

struct proxy {
    struct target target; /* connect here */
    _Atomic uint64_t connections, flips, cuts;
    _Atomic uint64_t spoiled_up, spoiled_down; /* packets of cnp */
    _Atomic uint64_t bytes_up, bytes_down;     /* to the server, from it */
    _Atomic uint64_t nack1, nack2, err;        /* lines that came from the server */
    struct proxy_state *state;
    struct proxy *next;
};

/* Listens on a port of its own and hands everything on to the server. Teardown ends it. */
struct proxy *proxy_start(const struct target *server, const struct proxy_options *options);

/* Cuts everything and stops. The counts stay until teardown. */
void proxy_stop(struct proxy *x);

void proxy_end_all(void);

#endif
