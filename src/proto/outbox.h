/* Whole messages on their way to the peer of one connection, for protocols that cannot send one at
 * any moment: replies in the order of the messages they answer, and pushes as they come. Invariant:
 * items that outbox_first returns are complete; a reserved item blocks the replies behind it, not
 * the pushes. */
#ifndef PROTO_OUTBOX_H
#define PROTO_OUTBOX_H

#include "common/buffer.h"

#include <stdbool.h>

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
    char code[32];         /* of the last refusal or error, NUL-terminated; "" */
    char refusal[512];     /* its text, NUL-terminated, safe for a terminal */

    /* Called within the protocol's calls for each final answer, where the protocol has them; not
     * always in order. NULL: nobody is told. */
    void (*settled)(void *arg, uint64_t number, bool taken);
    void *settled_arg;
};

struct outbox_item; /* one message, or the place of a reply that is not known yet */

/* In the connection; an empty one owns no memory. */
struct outbox {
    struct outbox_item *first, *last; /* complete, in the order in which they leave */
    struct outbox_item *reserved_first, *reserved_last; /* replies to come, in order, some filled */
    size_t bytes; /* memory of all complete messages that are waiting, filled places included */
    struct outbox_results *results; /* the caller's, where it wants to know; or NULL */
};

void outbox_init(struct outbox *ob);
void outbox_fini(struct outbox *ob); /* frees all; reserved items become invalid, results stay */

/* A message that may leave now, behind those that are complete already. Copies data. */
void outbox_push(struct outbox *ob, const void *data, size_t n);

/* The place of a reply: replies leave in the order in which their places were reserved. Every place
 * must be filled or cancelled, or outbox_fini be called. Never NULL. */
struct outbox_item *outbox_reserve(struct outbox *ob);
void outbox_fill(struct outbox *ob, struct outbox_item *item, const void *data, size_t n);
void outbox_cancel(struct outbox *ob, struct outbox_item *item); /* no reply */

/* No reply, and the connection is to end at this place, behind the replies before. */
void outbox_end(struct outbox *ob, struct outbox_item *item);

/* The oldest complete message, or NULL; its bytes stay in place until outbox_pop. */
struct outbox_item *outbox_first(struct outbox *ob);
bool outbox_is_end(const struct outbox_item *item);         /* it is no message: see outbox_end */
const uint8_t *outbox_data(const struct outbox_item *item); /* may be NULL where it is empty */
size_t outbox_len(const struct outbox_item *item);

/* Takes the oldest complete message off and frees it. */
void outbox_pop(struct outbox *ob);

/* For a connection that moves to another process: appends all complete messages that wait to out,
 * and pushes what was written so. What was not written by outbox_save gives -1; some may be pushed
 * then. */
void outbox_save(const struct outbox *ob, struct buffer *out);
MS_MUST_CHECK int outbox_restore(struct outbox *ob, const void *data, size_t n);

/* Nothing to send and no reply to come. */
static inline bool
outbox_idle(const struct outbox *ob)
{
    return ob->first == NULL && ob->reserved_first == NULL;
}

#endif
