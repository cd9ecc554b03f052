/* The bodies of a message's packets, one after the other, prepared while the network is busy: the
 * packet under way, the next one already read and summed, and the message's running SHA-256.
 * Invariant: a buffer is filled again only when its bytes are in the digest, or none is kept. */
#ifndef PROTO_MSP_MSP_PACKETS_H
#define PROTO_MSP_MSP_PACKETS_H

#include "proto/outgoing.h"

struct msp_chunk {
    const uint8_t *data; /* the bytes: the message's own, or memory below */
    uint8_t *memory;     /* NULL until a message has to be read */
    size_t capacity;     /* of memory */
    uint64_t offset;     /* in the message */
    size_t want;         /* bytes of the packet's body */
    size_t len;          /* of these, there and in crc */
    uint32_t crc;
};

struct msp_packets {
    const struct outgoing *out;
    struct digester *digester;
    struct sha256 *sha;              /* NULL: no digest is kept */
    uint64_t hashed;                 /* bytes in sha */
    struct msp_chunk current, other; /* other: the packet before, then the next one */
    bool next_begun;
    uint32_t grant; /* of the last packet; the next one is prepared for the same */
    int error;      /* errno of what failed, sticky; 0 while all is well */
};

/* keep_digest: hash what is sent. grant_guess: what the server may grant after the first packet. */
void msp_packets_init(struct msp_packets *p, const struct outgoing *out, struct digester *dg,
                      bool keep_digest, uint32_t grant_guess);
void msp_packets_fini(struct msp_packets *p);

/* The first packet is the current one. Also for beginning again. Returns 0, or -1 with p->error. */
MS_MUST_CHECK int msp_packets_first(struct msp_packets *p);

/* The current packet was accepted and more follow: the next one, as large as grant allows, becomes
 * the current one. Returns 0, or -1 with p->error. */
MS_MUST_CHECK int msp_packets_next(struct msp_packets *p, uint32_t grant);

/* True where the current packet is the last one. */
static inline bool
msp_packets_at_end(const struct msp_packets *p)
{
    return p->current.offset + p->current.want == p->out->size;
}

/* Does a bite (under a millisecond) of what will be needed soon; false where nothing is left. */
bool msp_packets_work(struct msp_packets *p);

/* Hashes a bite of the whole message, without packets. 1 when all of it is in the digest, 0 before,
 * -1 with p->error. msp_packets_first begins anew. */
MS_MUST_CHECK int msp_packets_hash_ahead(struct msp_packets *p);

/* The digest of the whole message; the last packet must be the current one, or all of it hashed
 * ahead, and a digest must be kept. */
void msp_packets_digest(struct msp_packets *p, uint8_t out[SHA256_LEN]);

#endif
