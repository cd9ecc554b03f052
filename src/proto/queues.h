/* What waits in one connection: answers, messages for the peer, and the packets of a protocol with
 * a window. */
#ifndef PROTO_QUEUES_H
#define PROTO_QUEUES_H

#include "common/text.h"
#include "proto/blob.h"
#include "proto/cnp/cnp_wire.h"

/* --- answers.c --- */

/* The answers of one connection, in order. Most are known at once and go to `ready`; the final
 * answer of a message whose handler has not settled yet keeps its place in the queue, and what
 * comes after it waits behind it. Invariant: ready holds what may be sent now; while no place
 * waits, everything is in ready. */

#define ANSWERS_PREFIX_MAX 16 /* bytes that may move behind a place's front */

struct answer; /* the place of an answer that is not known yet */

struct answers {
    struct chain ready;          /* may be sent */
    struct answer *first, *last; /* places not settled yet, those behind the last answer included */
    uint32_t waiting;            /* places whose answer will be sent */
    bool closing;                /* the last answer is known, at whatever place it is */
    bool ended;                  /* the last answer is in ready, or sent */
};

void answers_init(struct answers *a, struct ledger *ledger); /* NULL: it is not counted */
void answers_fini(struct answers *a);                        /* places still open become invalid */

/* Appends an answer that is known now. last: the connection ends with it; what is appended or
 * settled behind it is dropped, and `ended` is set once it is ready. */
void answers_append(struct answers *a, const void *data, size_t n, bool last);

/* Takes a place for an answer that comes later. prefix_len bytes at the end of what was appended
 * last and not sent yet move behind the place's front, to leave together with the answer (fewer
 * than prefix_len where part of it was sent already: then none). prefix_len is at most
 * ANSWERS_PREFIX_MAX. Every place must be settled, or answers_fini be called. Never NULL. */
struct answer *answers_reserve(struct answers *a, size_t prefix_len);

/* Fills the place; the place is gone, and all that is now in order becomes ready. last: as
 * above. */
void answers_settle(struct answers *a, struct answer *place, const void *data, size_t n, bool last);

/* An empty chain that may be given to these answers. */
static inline void
answers_chain(const struct answers *a, struct chain *c_out)
{
    chain_init(c_out, a->ready.bytes.ledger);
}

/* The same with all of a chain: at the place, or, for NULL, behind what was appended last. */
void answers_give(struct answers *a, struct answer *place, struct chain *given, bool last);

/* Bytes that are not ready: they wait for a place to be settled. */
uint64_t answers_held(const struct answers *a);

/* Nothing to send and nothing to come. */
static inline bool
answers_idle(const struct answers *a)
{
    return chain_is_empty(&a->ready) && a->waiting == 0;
}

/* --- outbox.c --- */

/* Whole messages on their way to the peer of one connection, for protocols that cannot send one at
 * any moment: replies in the order of the messages they answer, and pushes as they come. Invariant:
 * items that outbox_first returns are complete; a reserved item blocks the replies behind it, not
 * the pushes. */

/* What became of the messages of one connection: for a client, which sets settled and reads the
 * rest. Messages are numbered from 0 in the order in which they were given to the protocol. */
struct outbox_results {
    uint64_t sent; /* messages whose last byte is among the answers */
    /* of these, acknowledged as taken, or refused by the peer; only where the protocol says so */
    uint64_t delivered, refused;
    /* acknowledgements of whole messages that came, also damaged: a reply is only what begins
     * behind one */
    uint64_t answered;
    uint64_t acks;         /* cnp: ACKs that came; tinyproto: SIZEs consented to */
    uint64_t damaged;      /* packets that the peer found damaged and got again */
    uint64_t left;         /* msp: bytes of the message under way that are not acknowledged */
    const char *complaint; /* what was wrong with the peer's last bytes, static; NULL: nothing */
    int error;             /* errno of what is to be sent and cannot be read; 0: none */
    bool nacked;           /* msp: what was sent ahead was damaged, and the connection ends */
    bool rest_untaken;     /* the peer has said that it ends, and took none without an answer */
    char code[32];         /* of the last refusal or error, NUL-terminated; "" */
    char refusal[512];     /* its text, NUL-terminated, safe for a terminal */

    /* Called within the protocol's calls for each final answer, where the protocol has them; not
     * always in order. NULL: nobody is told. */
    void (*settled)(void *arg, uint64_t number, bool taken);
    void *settled_arg;
};

/* One message, or the place of a reply that is not known yet. */
struct outbox_item {
    struct outbox_item *next;
    bool complete; /* of a reserved one: its reply is there, or there will be none */
    bool cancelled;
    bool ends;         /* the connection, in place of a message: see outbox_end */
    struct blob *blob; /* of a message */
};

/* In the connection; an empty one owns no memory. */
struct outbox {
    struct outbox_item *first, *last; /* complete, in the order in which they leave; read only */
    struct outbox_item *reserved_first, *reserved_last; /* replies to come, in order, some filled */
    size_t bytes; /* of all complete messages that are waiting, filled places included */
    size_t held;  /* of these, in filled places that wait for one before them */
    struct ledger *ledger;
    struct outbox_results *results; /* the caller's, where it wants to know; or NULL */
};

void outbox_init(struct outbox *ob, struct ledger *ledger);
void outbox_fini(struct outbox *ob); /* frees all; reserved items become invalid, results stay */

/* A message that may leave now, behind those that are complete already. Takes the reference; NULL:
 * there was no memory for it. */
void outbox_push(struct outbox *ob, struct blob *blob);

/* The place of a reply: replies leave in the order in which their places were reserved. Every place
 * must be filled or cancelled, or outbox_fini be called. Never NULL. */
struct outbox_item *outbox_reserve(struct outbox *ob);
void outbox_fill(struct outbox *ob, struct outbox_item *item, struct blob *blob); /* as a push */
void outbox_cancel(struct outbox *ob, struct outbox_item *item);                  /* no reply */

/* No reply, and the connection is to end at this place, behind the replies before. */
void outbox_end(struct outbox *ob, struct outbox_item *item);

/* Tells a client's caller what was wrong with the peer's last bytes: complaint, which is static. */
void outbox_complain(const struct outbox *ob, const char *complaint);
#define OUTBOX_TOO_LARGE "the server has a message that is too large to be taken"

/* Takes the oldest complete message, first, off and frees it; its bytes stay in place until then.
 */
void outbox_pop(struct outbox *ob);

/* For a connection that moves to another process: appends all complete messages that wait to out,
 * and pushes what was written so. -1 where one cannot be read, and for what was not written by
 * outbox_save; some may be pushed then. */
MS_MUST_CHECK int outbox_save(const struct outbox *ob, struct buffer *out);
MS_MUST_CHECK int
outbox_restore(struct outbox *ob, struct message_store *store, const void *data, size_t n);

/* Nothing to send and no reply to come. */
static inline bool
outbox_idle(const struct outbox *ob)
{
    return ob->first == NULL && ob->reserved_first == NULL;
}

/* --- packet_window.c --- */

/* Packets of one connection of a protocol with a window: those that came before their turn, and
 * those that were sent and are not acknowledged. Lent by the connection; made by the protocol that
 * needs it. What a packet's number and index mean is the protocol's business. */

struct packet {
    struct packet *next;
    uint64_t index;          /* its place among all packets of its direction, from 0 */
    uint64_t message;        /* flight: the number of its message, on this connection */
    uint64_t due_us;         /* flight: when it is sent again, monotonic */
    uint16_t sequence;       /* as on the wire */
    uint8_t tries;           /* flight: how often it was sent again */
    uint8_t answers;         /* flight: what the peer has said about it, copy by copy */
    bool ends;               /* the last one of its message */
    struct buffer bytes;     /* early: its payload; flight: its header */
    struct blob *blob;       /* flight: its payload is a part of this */
    uint64_t offset, length; /* flight: which */
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
    struct blob_reader sending;  /* the rest of the outbox's first message, once it was begun */
    size_t bytes;                /* payloads of early and arriving, and packets in flight */
    struct message_store *store; /* whose ledger counts it */
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
bool packet_window_begin(struct packet_window *pw, uint64_t index, uint16_t sequence, bool ends);
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

/* A packet that leaves: the next n bytes of what pw->sending reads. Its header is to be appended to
 * bytes. NULL where there is no memory. */
struct packet *packet_window_send(struct packet_window *pw, uint16_t sequence, bool ends, size_t n);

/* Appends a packet in flight to what is ready, which it leaves by. */
void packet_window_say(const struct packet *p, struct chain *ready);

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
