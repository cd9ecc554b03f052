/* Checksums made to hold after an input was changed, so that a fuzzer gets behind them: CRC-32 and
 * SHA-256 of msp, MD5 of cnp. Follows docs/protocol.md, as far as whole packets are there. */
#ifndef TESTS_FUZZ_MEND_H
#define TESTS_FUZZ_MEND_H

#include "proto/limits.h"

#include <stddef.h>
#include <stdint.h>

/* What a client of msp sends to a server with those limits. */
void mend_msp(uint8_t *at, size_t n, const struct proto_limits *limits);

/* The reply block among a server's answers of msp. */
void mend_msp_reply(uint8_t *at, size_t n);

/* What either side of cnp sends, in the dialect that its first packet is in. */
void mend_cnp(uint8_t *at, size_t n);

/* Whichever of these a server that tells protocols apart would find. */
void mend_auto(uint8_t *at, size_t n, const struct proto_limits *limits);

#endif
