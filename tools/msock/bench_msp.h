/* msp on a connection of the load (docs/protocol.md 1.6, 1.7): messages ahead, or packet by packet.
 * What was in flight on a connection that was lost is sent again in strict mode, waiting for every
 * answer. */
#ifndef MSOCK_BENCH_MSP_H
#define MSOCK_BENCH_MSP_H

#include "bench_conn.h"
#include "bench_msp_wire.h"

#include <openssl/evp.h>

struct msp_reply {
    uint8_t header[MSP_FIRST_HEADER];
    uint64_t left;
    uint32_t crc;
    EVP_MD_CTX *digest;
};

const struct msp_wire *msp_wire(const struct conn *conn);

/* True where every answer is waited for before the next packet. */
bool msp_strict(const struct conn *conn);

/* Strict mode: the next packet of the message in flight, at most grant bytes long; its trailer; the
 * message from its beginning. */
void msp_send_packet(struct conn *conn, uint32_t grant);
void msp_send_trailer(struct conn *conn);
void msp_send_first(struct conn *conn);

/* bench_msp_answer.c: frees it; NULL is fine. */
void msp_reply_destroy(struct msp_reply *reply);

/* bench_msp_answer.c: consumes answers and replies; acts on each. As feed of struct
 * bench_protocol. */
size_t msp_answer_feed(struct conn *conn, const uint8_t *data, size_t n);

#endif
