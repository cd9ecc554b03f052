/* The checksum of cnp: the first 4 bytes of MD5 over a payload (docs/protocol.md 3.1). It finds
 * damage, not forgery. A struct cnp_sum fetches the algorithm once and keeps its contexts: one of
 * them runs over a packet that arrives in pieces, the other sums what is there in one piece
 * meanwhile. */
#ifndef PROTO_CNP_CNP_SUM_H
#define PROTO_CNP_CNP_SUM_H

#include "common/base.h"

#define CNP_SUM_LEN 4

struct cnp_sum;

/* NULL with errno ENOTSUP: this libcrypto has no MD5. */
MS_MUST_CHECK struct cnp_sum *cnp_sum_create(void);
void cnp_sum_destroy(struct cnp_sum *sum); /* NULL is fine */

/* The running sum: begun anew, continued, and ended. */
void cnp_sum_begin(struct cnp_sum *sum);
void cnp_sum_update(struct cnp_sum *sum, const void *data, size_t n);
void cnp_sum_finish(struct cnp_sum *sum, uint8_t out[CNP_SUM_LEN]);

/* The sum of n bytes in one piece. Leaves the running one alone. */
void cnp_sum_whole(struct cnp_sum *sum, const void *data, size_t n, uint8_t out[CNP_SUM_LEN]);

/* The same for those who keep no struct cnp_sum. Fetches the algorithm each time. Zeros where this
 * libcrypto has no MD5. */
void cnp_sum_of(const void *data, size_t n, uint8_t out[CNP_SUM_LEN]);

#endif
