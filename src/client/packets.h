/* The bodies of a message's packets, one after the other, prepared while the network is busy: the
 * packet under way, the next one already read and summed, and the message's running SHA-256.
 * Invariant: a buffer is filled again only when its bytes are in the digest (or none is kept). */
#ifndef CLIENT_PACKETS_H
#define CLIENT_PACKETS_H

#include "client/source.h"

#include <stdbool.h>

struct packets {
    const struct source *source;
    struct digester *digester;
    struct sha256 *sha;          /* NULL: no digest is kept */
    uint64_t hashed;             /* bytes in sha */
    struct chunk current, other; /* other: the packet before, then the next one */
    bool next_begun;
    uint32_t grant; /* of the last packet; the next one is prepared for the same */
    int error;      /* errno of what failed, sticky; 0 while all is well */
};

/* keep_digest: hash what is sent. grant_guess: what the server may grant after the first packet. */
void packets_init(struct packets *p, const struct source *source, struct digester *dg,
                  bool keep_digest, uint32_t grant_guess);
void packets_fini(struct packets *p);

/* The first packet is the current one. Also for beginning again. Returns 0, or -1 with p->error. */
MS_MUST_CHECK int packets_first(struct packets *p);

/* The current packet was accepted and more follow: the next one, as large as grant allows, becomes
 * the current one. Returns 0, or -1 with p->error. */
MS_MUST_CHECK int packets_next(struct packets *p, uint32_t grant);

/* True where the current packet is the last one. */
static inline bool
packets_at_end(const struct packets *p)
{
    return p->current.offset + p->current.want == p->source->size;
}

/* Does a bite of what will be needed soon; false where nothing is left to do. For struct
 * exchange. */
bool packets_work(void *packets);

/* The digest of the whole message; the last packet must be the current one, a digest must be
 * kept. */
void packets_digest(struct packets *p, uint8_t out[SHA256_LEN]);

#endif
