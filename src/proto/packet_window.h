/* Packets of one connection of a protocol with a window: those that came before their turn, and
 * those that were sent and are not acknowledged. Lent by the connection; made by the protocol that
 * needs it. What a packet's number and index mean is the protocol's business. */
#ifndef PROTO_PACKET_WINDOW_H
#define PROTO_PACKET_WINDOW_H

#include "common/buffer.h"
#include "proto/cnp/cnp_wire.h"
#include "proto/message.h"

#include <stdbool.h>

struct packet {
    struct packet *next;
    uint64_t index;    /* its place among all packets of its direction, from 0 */
    uint64_t message;  /* flight: the number of its message, on this connection */
    uint64_t due_us;   /* flight: when it is sent again, monotonic */
    uint16_t sequence; /* as on the wire */
    uint8_t tries;     /* flight: how often it was sent again */
    uint8_t answers;   /* flight: what the peer has said about it, copy by copy */
    bool ends;         /* the last one of its message */
    struct buffer bytes;
};

struct packet_list {
    struct packet *first, *last;
    uint32_t count;
};

/* Numbers of messages that were handed on and that a double must not be acknowledged for. */
struct packet_mark {
    uint16_t sequence;
    bool refused; /* the handler said no; else: it has not decided yet */
};

struct packet_window {
    struct packet_list early;  /* came before their turn, by index */
    struct packet_list flight; /* sent, not acknowledged, in the order in which they left first */
    struct packet *arriving;   /* is coming before its turn, not whole yet; or NULL */
    struct buffer control;     /* the payload under way that belongs to no message */
    struct buffer farewell;    /* what is said last, once no handler has a message any more */
    struct buffer step;    /* a client's last handshake step, until it is known to have arrived */
    struct message *aside; /* a second message under way, or NULL */
    struct cnp_sum *sum;
    struct packet_mark *marks; /* in the order in which they were set */
    uint32_t marks_len, marks_cap;
    size_t sent_len;             /* bytes of the outbox's first message that have left */
    size_t bytes;                /* payloads of early and arriving, and packets in flight */
    struct message_store *store; /* whose memory_used the packets that came count for */
};

/* NULL with errno ENOTSUP: this libcrypto cannot sum packets. */
MS_MUST_CHECK struct packet_window *packet_window_create(struct message_store *store);

/* NULL is fine. Its store must still be there. */
void packet_window_destroy(struct packet_window *pw);

/* Nothing waits in either direction. True for NULL. */
bool packet_window_idle(const struct packet_window *pw);

/* Bytes of memory it holds for packets, in both directions. 0 for NULL. */
size_t packet_window_bytes(const struct packet_window *pw);

/* --- before their turn --- */

/* A packet begins to arrive (arriving is NULL); its payload follows piece by piece. */
void packet_window_begin(struct packet_window *pw, uint64_t index, uint16_t sequence, bool ends);
void packet_window_append(struct packet_window *pw, const void *data, size_t n);

/* It is whole and is kept; or it was damaged and is dropped (also where there is none). No packet
 * of the same index may be kept already. */
void packet_window_keep(struct packet_window *pw);
void packet_window_drop(struct packet_window *pw);

/* The kept packet of that index, or NULL. */
const struct packet *packet_window_kept(const struct packet_window *pw, uint64_t index);

/* Takes the first kept packet off. The caller frees it with packet_destroy. */
struct packet *packet_window_take(struct packet_window *pw);
void packet_destroy(struct packet *p);

/* Drops all kept packets. */
void packet_window_forget(struct packet_window *pw);

/* --- on their way --- */

/* A packet that leaves: its n bytes are to be appended to bytes, for which there is room. */
struct packet *packet_window_send(struct packet_window *pw, uint16_t sequence, bool ends, size_t n);

/* The oldest packet in flight with that number, or NULL. */
struct packet *packet_window_in_flight(struct packet_window *pw, uint16_t sequence);

/* It has arrived: taken off and freed. */
void packet_window_arrived(struct packet_window *pw, struct packet *p);

/* --- marks --- */

/* Handed on just now. A mark of a message that had this number before the numbers came round is
 * gone. */
void packet_window_mark(struct packet_window *pw, uint16_t sequence);

/* The mark of that number, or NULL; valid until the next call. */
struct packet_mark *packet_window_marked(struct packet_window *pw, uint16_t sequence);
void packet_window_unmark(struct packet_window *pw, struct packet_mark *mark);

/* For a connection that moves to another process, with an idle window: appends what is left to
 * remember to out (nothing, for NULL), and makes a window of what was written so. NULL with errno
 * where that makes no sense (EINVAL), or as packet_window_create. */
void packet_window_save(const struct packet_window *pw, struct buffer *out);
MS_MUST_CHECK struct packet_window *
packet_window_restore(struct message_store *store, const void *data, size_t n);

#endif
