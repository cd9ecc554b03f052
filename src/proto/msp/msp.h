/* msp, the verified transfer (docs/protocol.md 1): what its files share. */
#ifndef PROTO_MSP_MSP_H
#define PROTO_MSP_MSP_H

#include "proto/message.h"
#include "proto/msp/msp_wire.h"
#include "proto/proto.h"

/* --- msp_packets.c --- */

/* The bodies of a message's packets, one after the other, prepared while the network is busy: the
 * packet under way, the next one already read and summed, and the message's running SHA-256.
 * Invariant: a buffer is filled again only when its bytes are in the digest, or none is kept. */

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

/* --- msp_client.c --- */

/* The client's side of msp (docs/protocol.md 1.1, 1.5 to 1.8): lays out packets and trailers,
 * follows the server's answers, and reads reply blocks. For msp_ops.c.
 *
 * What fits into one packet is sent ahead, any number of messages behind each other. A larger
 * message begins when all before it are settled; it goes packet by packet, and its digest with the
 * trailer. A strict message waits for each answer, and its digest stands in its first packet.
 * Nothing is laid out but by msp_client_work, so that the caller can stop between two packets.
 *
 * What ends the connection: an answer that makes no sense here, a NACK to what was sent ahead, too
 * many NACKs, a damaged reply, a message that cannot be read. results->complaint names it, or
 * results->error.
 *
 * Invariant: the messages from first up to unsent, which is left out, wait for their final answer,
 * in this order. */

struct msp_client;

struct msp_client *msp_client_create(void);
void msp_client_destroy(struct msp_client *c); /* NULL is fine */

/* See struct proto_ops. */
int msp_client_send(struct msp_client *c, struct outgoing *out);
bool msp_client_work(struct msp_client *c, struct proto_io *io);
enum proto_event msp_client_feed(struct msp_client *c, struct proto_io *io, const uint8_t *data,
                                 size_t n, size_t *consumed_out, struct message **message_out);

/* No message waits for its final answer. */
bool msp_client_idle(const struct msp_client *c);

/* --- msp.c --- */

/* The server's side; msp_ops.c puts both sides into one table. Invariant: between two calls the
 * struct holds everything the protocol knows about the connection, apart from the body of the
 * message being built (io->message). No pointers. */

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
    bool over_limit;   /* SIZE was over max_message_size */
    bool late_digest;  /* SHA256 was zero (1.8) */
    bool first_packet; /* the packet under way is the message's first */
    bool header_bad;   /* its CRLF was not in place: NACK1 at its end */
    bool marked;       /* the message is marked at its beginning: part of it is stored already */
    bool verified;     /* its CRC-32 held and ACK is out; its last bytes are not stored yet */
    bool more;         /* with verified: more packets follow this one */
    bool clean;        /* no NACK1 since the last ACK <N>: the grant may grow */
    bool discard;      /* after a NACK: drop arrived bytes, until the connection is drained */
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

/* SHA-256 of no bytes: what an empty message declares (1.4). */
extern const uint8_t msp_empty_digest[SHA256_LEN];

void msp_init(struct msp *msp, const struct proto_limits *limits, uint64_t now_us);

/* The server's side of struct proto_ops, which says what these are for. */

enum proto_event msp_feed(struct msp *msp, struct proto_io *io, const uint8_t *data, size_t n,
                          size_t *consumed_out, struct message **message_out);

/* Ends what a NACK dropped, and finds the end of a packet of undetermined size (1.4). */
enum proto_event msp_drained(struct msp *msp, struct proto_io *io);

uint64_t msp_deadline(const struct msp *msp, const struct proto_limits *limits);

/* The deadline has passed: PROTO_MORE where a NACK1 gives the peer another chance, else
 * PROTO_CLOSE. */
enum proto_event msp_expire(struct msp *msp, struct proto_io *io);

/* The server leaves: ERR shutdown. Between messages nothing is lost by it, inside one the peer
 * sends it again elsewhere. Always PROTO_CLOSE. */
enum proto_event msp_shutdown(struct msp *msp, struct proto_io *io);

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

/* --- msp_answer.c --- */

/* What the server of msp says: the answer lines of docs/protocol.md 1.2, each with its counter. */

/* ACK without a number. */
void msp_say_ack(struct proto_io *io);

/* ACK <N>: chooses the grant (1.3) and lays out the next packet. */
void msp_say_grant(struct msp *msp, struct proto_io *io);

/* NACK1, and what has arrived is dropped; or ERR retries, where there were too many. The state that
 * follows NACK1 is the caller's to set. */
enum proto_event msp_say_nack1(struct msp *msp, struct proto_io *io);

/* NACK2 likewise: back between messages, with the NACKs so far remembered. */
enum proto_event msp_say_nack2(struct msp *msp, struct proto_io *io);

/* REJ: the message is dropped, the connection is between messages. Always PROTO_MORE. */
enum proto_event
msp_say_rej(struct msp *msp, struct proto_io *io, const char *code, const char *text);

/* ERR: the message is dropped, the connection ends. Always PROTO_CLOSE. */
enum proto_event
msp_say_err(struct msp *msp, struct proto_io *io, const char *code, const char *text);

/* The answer to a message of that size: REJ too-large over
 * max_message_size, REJ refused over take_max. */
enum proto_event msp_say_too_large(struct msp *msp, struct proto_io *io, uint64_t size);

/* For a message that is lost already: REJ no-space or ERR internal, as its error has it, where it
 * could not be stored, and REJ refused where it cannot be opened. */
enum proto_event msp_say_lost(struct msp *msp, struct proto_io *io);

/* --- the trailer (msp_answer.c) --- */

/* The trailer of msp (docs/protocol.md 1.1, 1.3 TRAILER, 1.8): what a whole message turns out to
 * be. */

/* The fixed part is in head[]. Takes room for VALUE. */
enum proto_event msp_trailer_begin(struct msp *msp, struct proto_io *io);

/* VALUE is whole: checks everything and hands the message over, or answers. */
enum proto_event
msp_trailer_end(struct msp *msp, struct proto_io *io, struct message **message_out);

#endif
