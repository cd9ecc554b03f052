/* What the URL of a server says to a client: where it is, which protocol is spoken there, and
 * how. */
#ifndef CLIENT_ADDRESS_H
#define CLIENT_ADDRESS_H

#include "common/url.h"
#include "msock.h"
#include "proto/limits.h"
#include "proto/transform.h"

#include <stdbool.h>

#define ADDRESS_PORT      8000 /* where none is given */
#define ADDRESS_ERROR_LEN 512

struct proto_ops;

struct address {
    struct url url;
    const struct proto_ops *ops;
    struct framing framing;
    uint32_t window_size;  /* cnp: 1 is step-by-step */
    struct transform seal; /* of ?key_file=; send is NULL without one */
};

/* Reads a URL and the key file that it names. Returns 0, or -1 with a sentence in error.
 * address_fini after success only. */
MS_MUST_CHECK int
address_read(const char *text, struct address *address_out, char error[ADDRESS_ERROR_LEN]);
void address_fini(struct address *address);

#endif
