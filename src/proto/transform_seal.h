/* The transform that seals payloads (common/seal.h). */
#ifndef PROTO_TRANSFORM_SEAL_H
#define PROTO_TRANSFORM_SEAL_H

#include "common/seal.h"
#include "proto/transform.h"

/* Reads the key file and fills *out, whose arg transforms_fini frees: it seals what this side sends
 * for the side that to names, and opens what comes from there. Returns 0, or -1 with a sentence in
 * error. */
MS_MUST_CHECK int transform_seal(const char *key_file, enum seal_direction to,
                                 struct transform *transform_out, char error[SEAL_ERROR_LEN]);

#endif
