/* cnp (docs/protocol.md 3): both sides of the first dialect, the server's side of the second.
 *
 * The protocol leaves some points open. They are decided here:
 *  - A packet with SEQUENCE 0 belongs to a message of its own, also between the FRAGMENTs of a
 *    sequenced one. A peer that has sent only such packets gets them from us too, one at a time.
 *    Every other peer gets sequenced ones.
 *  - Packets beyond a gap are kept, at most a window of them. Others, and all of them while memory
 *    is short, are dropped without a word, and the sender's timeout brings them again.
 *  - A window counts packets without an ACK. So every FRAGMENT that was acknowledged beyond a gap
 *    lets the sender go one further. Further than that: ERROR `window`, close.
 *  - A double is acknowledged again only when the ACK has been sent once: not while the handler has
 *    its message. The double of a refused message gets ERROR `refused` again.
 *  - SEQUENCE 0 in an ACK or ERROR from a peer that has sent no numbers means our oldest packet. If
 *    that one was sent again, each of its copies may have an answer, and all these answers are
 *    expected first. A peer that does not answer doubles costs the next packet a timeout, but no
 *    ACK counts for a packet that nobody has acknowledged.
 *  - A reply that does not fit into the peer's packets, and no fragments were agreed: ERROR
 *    `too-large`, close; a push then fails with EMSGSIZE. More than PROTO_REPLY_MAX waits for a
 *    peer that sends on and reads nothing: ERROR `backlog`, close.
 *  - If the last step of the handshake came damaged, DATA behind it is dropped until the step comes
 *    again, and is no error.
 *  - Other ERRORs that end the connection: `bad-type`, `fragments`, `timeout`, `retries`,
 *    `internal`, `shutdown`. A connection whose peer never sent anything is closed silently.
 *  - A client whose window_size is 1 asks for step-by-step, otherwise for burst; always for
 *    fragments.
 *  - Second dialect: a NACK with the same payload takes the place of an ERROR. A NACK means "again"
 *    there, so one for anything but a CHECKSUM ends the connection. Only `sr` keeps packets beyond
 *    a gap: an ACK of `gbn` also stands for all packets before it. While a message is with its
 *    handler, only doubles can arrive, and they are dropped. There is no KEEPALIVE: idle_timeout
 *    applies.
 *
 * Invariant: between two calls the struct holds everything the protocol knows about the connection,
 * apart from the messages being built and the packets in *io->window. No pointers. */
#ifndef PROTO_CNP_CNP_H
#define PROTO_CNP_CNP_H

#include "proto/cnp/cnp_wire.h"
#include "proto/proto.h"

/* payload of a packet that is no message, where packets are smaller */
#define CNP_CONTROL_MAX 4096
#define CNP_PACKET_MAX  (16u << 20) /* the most that packet_size_max may be */
#define CNP_WINDOW_MAX  32767 /* half the numbers, so that a double is told from what is beyond */

enum cnp_state {
    CNP_OPENING, /* server: the SYN is not whole; client: nothing was said yet */
    CNP_SESSION, /* server: SYN-ACK is out, the session's id has not come back */
    CNP_ASKED,   /* client: SYN is out */
    CNP_READY,   /* the handshake is complete */
    /* nothing is consumed any more; the farewell waits for messages with their handler */
    CNP_LEAVING,
    CNP_CLOSED, /* nothing is consumed any more */
};

/* Where the payload under way goes. */
enum cnp_into {
    CNP_INTO_NOTHING, /* a double, or dropped: only summed */
    CNP_INTO_MESSAGE, /* its turn: straight into the message */
    CNP_INTO_EARLY,   /* the window's packet that is arriving */
    CNP_INTO_CONTROL, /* the window's control buffer */
};

struct cnp {
    uint8_t state; /* enum cnp_state */
    uint8_t role;  /* enum proto_role */
    uint8_t into;  /* enum cnp_into */
    uint8_t have;  /* bytes of head[] that are there; CNP_OPENING: 1 inside the SYN */
    uint8_t head[CNP_HEADER_MAX]; /* the header under way */
    uint8_t nacks;                /* of the handshake */
    bool awaited;                 /* server: the last handshake step came damaged */
    bool second;                  /* dialect */
    bool burst;                   /* negotiated; in the second dialect always */
    bool selective;               /* packets beyond a gap are kept: not with gbn */
    bool fragments;               /* negotiated; in the second dialect always */
    bool in_payload;              /* header is whole, its payload is not */
    bool fresh;                   /* the message began with the packet under way */
    bool marked;                  /* part of the packet under way is in the message */
    bool plain;                   /* the message under way consists of packets with SEQUENCE 0 */
    bool releasing;     /* kept packets have their turn; the last byte before them is held back */
    bool with_handler;  /* second dialect: a message is, and no other can begin */
    bool asked;         /* KEEPALIVE is out, its ACK has not come */
    bool heard_plain;   /* DATA with SEQUENCE 0 came */
    bool heard_numbers; /* sequenced DATA came */
    uint8_t under_way;  /* messages begun and not whole: at most one of each kind */
    struct cnp_header header; /* of the packet under way */
    uint32_t left;            /* bytes of its payload still to come */
    uint32_t packet_max;      /* negotiated */
    uint16_t window;          /* negotiated */
    uint16_t early;           /* packets kept beyond a gap, at most a window */
    uint16_t early_acked;     /* of these, the FRAGMENTs: they have their ACK */
    uint16_t flight;          /* packets of ours without their ACK */
    uint32_t echoes;          /* answers without a number to come, to doubles of what has its ACK */
    uint32_t with_handlers;   /* messages */
    bool done;              /* second dialect: a message has ended, nothing of the next has come */
    uint16_t done_sequence; /* the packet that ended it */
    uint32_t done_length;
    uint8_t done_sum[CNP_SUM_LEN];
    uint64_t session;
    uint64_t accepted;  /* sequenced packets, in their turn; second dialect: of this message */
    uint64_t sent;      /* sequenced packets; second dialect: of this message */
    uint64_t begun_us;  /* what is under way began; in the handshake: its present step */
    uint64_t received;  /* bytes since begun_us, for the minimal rate */
    uint64_t heard_us;  /* last byte */
    uint64_t used_us;   /* a message or a part of one was last on its way, in either direction */
    uint64_t asked_us;  /* our KEEPALIVE */
    uint64_t resend_us; /* no packet in flight is due before */
};

/* The window of the connection, made where there is none. NULL: this machine cannot sum packets. */
struct packet_window *cnp_window(struct proto_io *io);

/* Consumes bytes up to the next event: see struct proto_ops. */
enum proto_event cnp_feed(void *state, struct proto_io *io, const uint8_t *data, size_t n,
                          size_t *consumed_out, struct message **message_out);

/* What the handler decided about a message: see struct proto_ops. */
void cnp_settle(void *state, struct proto_io *io, void *place, const struct message *m,
                const struct verdict *verdict);

extern const struct proto_ops cnp_protocol;

/* --- cnp_answer.c --- */

/* What either side of cnp says about the other's packets, each with its counter. */

/* Appends the header of a packet: header has its type, sequence and LAST, the rest follows from the
 * payload. */
void cnp_packet_head(const struct cnp *cnp, const struct proto_io *io, struct buffer *out,
                     struct cnp_header *header, const void *payload, size_t n);

/* A packet of control: type is the one on the wire. last: as in cnp_farewell. */
void cnp_say(struct cnp *cnp, struct proto_io *io, uint8_t type, uint16_t sequence,
             const void *payload, size_t n, bool last);

void cnp_say_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR, with which the connection goes on; counted by the caller. */
void cnp_say_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence, const char *code,
                   const char *text);

/* ERROR `checksum`, counted. */
void cnp_say_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR with which the connection ends, counted. Always PROTO_CLOSE. */
enum proto_event cnp_say_close(struct cnp *cnp, struct proto_io *io, uint16_t sequence,
                               const char *code, const char *text);

/* The same: there can be no such packet here. */
enum proto_event cnp_say_nonsense(struct cnp *cnp, struct proto_io *io, uint16_t sequence,
                                  const char *code, const char *text);

/* The connection ends with these bytes, behind the answers to messages that are with their handler.
 * Where it ends already they are dropped. Always PROTO_CLOSE. */
enum proto_event cnp_farewell(struct cnp *cnp, struct proto_io *io, const void *data, size_t n);

/* A message was settled: the farewell may have its time. */
void cnp_farewell_due(struct cnp *cnp, struct proto_io *io);

/* The connection ends without a word. Always PROTO_CLOSE. */
enum proto_event cnp_end(struct cnp *cnp);

/* --- cnp_send.c --- */

/* Messages of ours on their way to the peer of cnp: cut into packets, kept until their ACK, and
 * sent again (docs/protocol.md 3.3). */

/* Sends what the window allows. PROTO_MORE, or PROTO_CLOSE where a message that was pushed before
 * the handshake turns out not to fit. */
enum proto_event cnp_pump(struct cnp *cnp, struct proto_io *io);

/* Whether a message of n bytes can go to this peer. The handshake is complete. */
bool cnp_fits(const struct cnp *cnp, size_t n);

/* The peer has the packet; more may leave. PROTO_FLUSH where it was the last one of a message of a
 * client's. */
enum proto_event cnp_acknowledged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* An ACK that does not have its checksum, and hence takes nothing off. PROTO_MORE, or PROTO_FLUSH
 * as above. */
enum proto_event cnp_damaged_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* ERROR, or NACK, whose payload is in the window's control buffer. */
enum proto_event cnp_heard_error(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* Keeps the text of an ERROR or of a refused handshake, for a client that asks. */
void cnp_note_refusal(struct proto_io *io, const char *text);

/* Sends again what is due. */
enum proto_event cnp_resend_due(struct cnp *cnp, struct proto_io *io);

/* --- cnp_receive.c --- */

/* The peer's DATA and FRAGMENTs, put in order and into messages (docs/protocol.md 3.3, 3.4). */

/* Its header is in cnp->header: says in cnp->into where the payload goes. PROTO_CLOSE where it may
 * not come at all. */
enum proto_event cnp_data_begin(struct cnp *cnp, struct proto_io *io);

/* Its payload is whole, and has its checksum. */
enum proto_event cnp_data_end(struct cnp *cnp, struct proto_io *io, struct message **message_out);

/* Its payload is damaged: as if it had not come. */
void cnp_data_damaged(struct cnp *cnp, struct proto_io *io);

/* A kept packet has its turn. */
bool cnp_has_turn(const struct cnp *cnp, const struct proto_io *io);

/* Puts kept packets into their message while they have their turn: PROTO_MESSAGE for each message
 * that becomes whole; PROTO_MORE when there are no more. */
enum proto_event cnp_release(struct cnp *cnp, struct proto_io *io, struct message **message_out);

/* The ACK of that packet got lost, if there was one. */
void cnp_repeat_ack(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

/* --- cnp_handshake.c --- */

/* The handshake of cnp (docs/protocol.md 3.2 and, with the dialect told from the SYN, 3.4). */

/* Server: some bytes of the SYN, header and payload. */
enum proto_event
cnp_syn_feed(struct cnp *cnp, struct proto_io *io, const uint8_t *data, size_t n, size_t *used);

/* Counts one more damaged packet of the handshake, of either side's. False: that is too many. */
bool cnp_may_repeat(struct cnp *cnp, const struct proto_io *io);

/* Client: says SYN. */
void cnp_say_syn(struct cnp *cnp, struct proto_io *io);

/* A header is whole in CNP_SESSION or CNP_ASKED: PROTO_CLOSE where no such packet may come now. */
enum proto_event cnp_step_begin(struct cnp *cnp, struct proto_io *io);

/* Its payload is whole, in the window's control buffer, and has its checksum. */
enum proto_event cnp_step_end(struct cnp *cnp, struct proto_io *io);

/* It is damaged: said so and waited for again, or, after too many of them, PROTO_CLOSE. */
enum proto_event cnp_step_damaged(struct cnp *cnp, struct proto_io *io, uint16_t sequence);

#endif
