/* From a listener's URL to an address one can connect to. */
#ifndef SYSTEM_TARGET_H
#define SYSTEM_TARGET_H

#include "peer.h"

/* msp://127.0.0.1:4000, msp://[::1]:4000, msp:///path/of/socket. Ends the test where it is none. */
void target_from_url(const char *url, struct target *target_out);

/* 127.0.0.1 at that port. */
void target_local(unsigned port, struct target *target_out);

unsigned target_port(const struct target *target);

#endif
