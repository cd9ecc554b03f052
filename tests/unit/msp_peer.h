/* A server of msp without a socket, for tests: feeds bytes as they would arrive, keeps what it
 * answers and what it hands over. Its input always ends at a page that cannot be read. */
#ifndef TESTS_UNIT_MSP_PEER_H
#define TESTS_UNIT_MSP_PEER_H

#include "proto/msp/msp.h"

struct delivered {
    char kind;
    char *value;
    size_t value_len;
    char *body;
    size_t size;
};

struct msp_peer {
    struct proto_limits limits;
    struct message_store store;
    struct answers answers;
    struct proto_tally tally;
    struct message *message;
    struct msp msp;
    uint64_t now_us, keep_max;
    bool closed;
    bool hold; /* leave messages unsettled: they go to held[] */
    unsigned held_count, delivered_count;
    struct message *held[16];
    struct answer *places[16];
    struct delivered delivered[16];
    struct buffer said; /* all answers so far */
    uint8_t *guard;     /* the mapping whose last page cannot be read */
};

void msp_peer_init(struct msp_peer *p);
void msp_peer_fini(struct msp_peer *p);

/* Bytes arrive in pieces of at most `piece`; the connection is drained after each piece, or only
 * after the last where together is set. */
void msp_peer_hear(struct msp_peer *p, const void *data, size_t n, size_t piece, bool together);

/* Time passes and the deadline is served if it has come. */
void msp_peer_wait(struct msp_peer *p, uint64_t us);

void msp_peer_settle(struct msp_peer *p, unsigned held, const struct verdict *verdict);

/* What it has said since the last call, as a string; the peer's until the next call. */
const char *msp_peer_said(struct msp_peer *p);

/* Packets as a client lays them out. Each returns its length. */
size_t build_first(uint8_t *out, const void *body, size_t size, bool late, bool undetermined);
size_t build_packet(uint8_t *out, const void *body, size_t n);
size_t build_trailer(uint8_t *out, char kind, uint8_t flags, const void *value, size_t n);

/* First packet and trailer of a message that fits into one. */
size_t build_message(uint8_t *out, char kind, const void *body, size_t n, const char *value);

#endif
