/* msp, the verified transfer (docs/protocol.md 1). This is the server's side; the client's is
 * msp_client.h, and msp_ops.c puts both into one table.
 *
 * Invariant: between two calls the struct holds everything the protocol knows about the connection,
 * apart from the body of the message being built (io->message). No pointers. */
#ifndef PROTO_MSP_MSP_H
#define PROTO_MSP_MSP_H

#include "proto/msp/msp_wire.h"
#include "proto/proto.h"

enum msp_state {
    MSP_IDLE,    /* between messages; no byte of a next one has come */
    MSP_HEADER,  /* inside the 50 bytes of a first packet */
    MSP_BODY,    /* inside the body of a packet */
    MSP_PACKET,  /* inside the 6 bytes of a further packet */
    MSP_TRAILER, /* inside the 10 fixed bytes of the trailer */
    MSP_VALUE,   /* inside the trailer's VALUE */
    MSP_CLOSED,  /* an ERR went out: nothing is consumed any more */
};

/* The client's state. A connection that this side made never moves to another process. */
struct msp_client_state {
    uint8_t role; /* PROTO_CLIENT */
    struct msp_client *client;
};

struct msp {
    uint8_t role;      /* PROTO_SERVER */
    uint8_t state;     /* enum msp_state */
    uint8_t have;      /* bytes of head[] that are there */
    bool undetermined; /* SIZE was 0 or over the limit (1.4) */
    bool late_digest;  /* SHA256 was zero (1.8) */
    bool first_packet; /* the packet under way is the message's first */
    bool header_bad;   /* its CRLF was not in place: NACK1 at its end */
    bool marked;       /* the message is marked at its beginning: part of it is stored already */
    bool verified;     /* its CRC-32 held and ACK is out; its last bytes are not stored yet */
    bool more;         /* with verified: more packets follow this one */
    bool clean;        /* no NACK1 since the last ACK <N>: the grant may grow */
    bool discard;      /* after a NACK: drop what has arrived, until the connection is drained */
    uint8_t head[MSP_FIRST_HEADER]; /* the fixed part under way */
    uint16_t value_have;            /* bytes of VALUE that are there */
    uint32_t nacks;                 /* within this message */
    uint32_t rereads;               /* further packets of an undetermined message without its end */
    uint32_t grant;                 /* N of the last ACK <N>; kept over messages */
    uint32_t packet_len;            /* body bytes of this packet, at most where undetermined */
    uint32_t packet_left;           /* of these, still to come */
    uint32_t crc;                   /* of this packet's body so far */
    uint32_t crc_declared;
    uint64_t left;              /* bytes of the message behind this packet */
    uint64_t begun_us;          /* first byte of the message, monotonic */
    uint64_t heard_us;          /* last byte, monotonic */
    uint64_t received;          /* bytes since begun_us, for the minimal rate */
    uint8_t sha256[SHA256_LEN]; /* declared */
};

void msp_init(struct msp *msp, const struct proto_limits *limits, uint64_t now_us);

/* Consumes bytes up to the next event; *consumed_out may be less than n, and then the rest is to be
 * fed again after the event was dealt with. On PROTO_MESSAGE *message_out is the caller's. */
enum proto_event msp_feed(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n,
                          size_t *consumed_out, struct message **message_out);

/* No more bytes are waiting on the connection. Ends what a NACK dropped, and finds the end of a
 * packet of undetermined size (1.4). Call before the answers go out. */
enum proto_event msp_drained(struct msp *msp, struct proto_io *io);

/* The time (monotonic microseconds) at which msp_expire must be called, if no byte comes before. */
uint64_t msp_deadline(const struct msp *msp, const struct proto_limits *limits);

/* The deadline has passed: PROTO_MORE where a NACK1 gives the peer another chance, else
 * PROTO_CLOSE. */
enum proto_event msp_expire(struct msp *msp, struct proto_io *io);

/* The server leaves: ERR shutdown. Between messages nothing is lost by it, inside one the peer
 * sends it again elsewhere. Always PROTO_CLOSE. */
enum proto_event msp_shutdown(struct msp *msp, struct proto_io *io);

/* True between messages: a connection may be closed without cutting anything off. */
static inline bool
msp_idle(const struct msp *msp)
{
    return msp->state == MSP_IDLE;
}

/* Bytes at the end of what is ready that may wait for the final answer of the message just handed
 * over: its first ACK, when the trailer came with the body (1.6). For answers_reserve. */
#define MSP_HELD_ACK_LEN 5

/* The final answer for a message that msp_feed handed over: at its reserved place, or (NULL) right
 * behind what was appended last: ACK and, where the message wants one, the reply (1.5); REJ; or ERR
 * internal, with which the connection ends (answers->ended). */
void msp_settle(struct proto_io *io, struct answer *place, const struct message *m,
                const struct verdict *verdict);

/* "ERR busy" or another refusal for a connection that is turned away before it said anything. */
size_t msp_refusal(const char *code, const char *text, char out[MSP_LINE_MAX]);

extern const struct proto_ops msp_protocol;

#endif
