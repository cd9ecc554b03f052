/* One connection to a server, with a protocol's state machine in the client's role. Bytes go from
 * the transport to the machine, and its answers and messages go out. Messages that the server sends
 * by itself wait in an inbox. Invariant: without a connection of the transport, only the inbox is
 * left. */
#ifndef CLIENT_PEER_H
#define CLIENT_PEER_H

#include "common/url.h"
#include "common/wait.h"
#include "proto/proto_table.h"
#include "tls/tls.h"

#include <sys/uio.h>

/* --- transport.c --- */

/* One connection to a server: a non-blocking socket, with TLS or without, and the counts of bytes
 * but those of TLS. Nothing here knows what the bytes mean, and nothing raises a signal. Invariant:
 * fd is -1 where there is no connection, and tls is NULL then. */

enum transport_io {
    TRANSPORT_DONE, /* something was moved */
    TRANSPORT_WAIT, /* nothing can be moved now */
    TRANSPORT_LOST, /* the connection has ended; error says how */
};

struct transport {
    int fd;
    struct tls_session *tls; /* NULL: there is no TLS */
    char why[TLS_ERROR_LEN]; /* how TLS has failed: half a sentence; "" where it has not */
    bool is_untrusted;       /* and that was over a certificate; the server has taken nothing */
    struct waiter *waiter;   /* the caller's */
    pid_t owner;             /* who has made the connection */
    int error;               /* errno of the loss; 0: the server closed in order */
    bool is_gone;            /* the other machine does not answer: the next read says so */
    uint64_t bytes_in, bytes_out; /* over all connections */
};

void transport_init(struct transport *t, struct waiter *waiter);

/* After a fork: a connection of another process loses our copy of its socket, and nothing more. */
void transport_forget_others(struct transport *t);

/* Takes over a connection, a non-blocking socket; an older one must be closed. */
void transport_take(struct transport *t, int fd);

/* Begins TLS on a connection that was just taken over. The server is asked for, and checked, by its
 * name (NULL: by none). Returns 0; or -1 with a sentence in why, or with errno: ETIMEDOUT,
 * ECANCELED, ENOMEM or that of the loss. */
MS_MUST_CHECK int transport_secure(struct transport *t, const struct tls_context *context,
                                   const char *name, uint64_t deadline_us);

/* Nothing more will be sent: the server is to see the end. */
void transport_shut(struct transport *t);

/* Closes, if open. */
void transport_close(struct transport *t);

/* The same by a reset, so that the other side does not take what it has got for all there is. */
void transport_reset(struct transport *t);

/* Sends what the kernel takes of *count pieces at *iov, and moves both on (the pieces are written
 * to). TRANSPORT_DONE where at least one byte went out. */
enum transport_io transport_send(struct transport *t, struct iovec **iov, int *count);

/* Reads up to n bytes to buf without waiting; *got_out is how many. */
enum transport_io transport_read(struct transport *t, void *buf, size_t n, size_t *got_out);

/* The monotonic time after so many milliseconds; negative: never; 0: a time that is long over. */
uint64_t transport_deadline(int timeout_ms);

/* Waits until one of the poll(2) events is there or the monotonic time is deadline_us; false
 * where the time is over. An error on the socket counts as an event, and so does the end of all
 * waiting (waiter->is_ended). */
bool transport_wait(struct transport *t, short events, uint64_t deadline_us);

/* Bytes sent that the other side has not taken yet, as far as the kernel knows. */
unsigned transport_unsent(const struct transport *t);

#define PEER_MESSAGE_MAX ((uint64_t)256 << 20) /* bytes of one message, in both directions */
#define PEER_READ        65536

enum peer_turn {
    PEER_MOVED, /* something was sent, received or due */
    /* nothing moved: the time is over, or the inbox is full (do not wait then) */
    PEER_QUIET,
    PEER_ENDED, /* the connection has ended; peer->end says how */
};

enum peer_end {
    PEER_CLOSED,   /* by the server, in order */
    PEER_LOST,     /* by an error; transport.error is its errno */
    PEER_FINISHED, /* the protocol ended it: an error answer of the server, or bytes that make no
                    * sense */
    PEER_EXPIRED,  /* by the protocol: the server is silent where it must speak */
    /* we ended it: a message cannot be read; results.error is its errno */
    PEER_UNREADABLE,
    PEER_STARVED, /* we ended it: there is no memory */
};

struct peer {
    const struct proto_ops *ops;
    enum proto_role role;        /* may be changed between two connections */
    struct transport *transport; /* the caller's */
    struct proto_limits limits;  /* may be changed between two calls */
    struct message_store store;
    enum peer_end end; /* how the last connection ended */
    bool end_untold;   /* and the program does not know yet: post_say_end */

    struct answers answers;
    struct proto_body body; /* of a message, behind the answers */
    struct outbox outbox;
    struct outbox_results results; /* of this connection */
    struct packet_window *window;
    struct buffer lookahead;
    struct message *building;
    struct proto_tally tally; /* what the caller has not counted yet */
    struct {
        uint64_t delivered, damaged, refused; /* of results, what it has */
    } counted;
    uint64_t posted;        /* messages, on this connection */
    uint64_t flushed;       /* of these, in the kernel's hands with their last byte */
    uint64_t flushed_bytes; /* the transport's bytes_out at that time */
    bool shut;              /* our writing side is shut down */

    uint8_t *in; /* read and not fed yet: PEER_READ bytes */
    size_t in_head, in_len;

    struct message *inbox_first, *inbox_last; /* linked by next */
    unsigned inbox_count;
    uint64_t inbox_bytes;
    bool has_heard;          /* a message of the server's came; the caller takes it back */
    bool awaiting;           /* the next message that may be a reply goes to awaited */
    struct message *awaited; /* until peer_reply takes it */
    uint64_t asked;          /* what peer_answerable must be beyond */
    uint64_t reply_from_us;  /* no message that began before is a reply; UINT64_MAX: none at all */
    uint64_t now_us;         /* monotonic; moves on where a reply becomes possible */

    union proto_state state;
};

/* digester and transport are the caller's and must stay as long as the peer. NULL: no memory. */
struct peer *
peer_create(const struct proto_ops *ops, struct transport *transport, struct digester *digester);
void peer_destroy(struct peer *p); /* closes the connection; NULL is fine */

/* The transport has just been connected: the protocol begins; or ends, where there is no memory. */
void peer_begin(struct peer *p);

/* Closes the connection; the inbox stays. */
void peer_close(struct peer *p);

/* The same in good order: says goodbye, and waits up to ms until the server has read everything and
 * closes. A close with unread bytes would destroy messages that are still on their way. */
void peer_leave(struct peer *p, unsigned ms);

static inline bool
peer_alive(const struct peer *p)
{
    return p->transport->fd >= 0;
}

/* The protocol's opening is over and messages may be pushed. */
bool peer_ready(const struct peer *p);

/* Moves bytes in both directions; if there are none, waits until the monotonic time deadline_us; 0
 * is not at all. */
MS_MUST_CHECK enum peer_turn peer_turn(struct peer *p, uint64_t deadline_us);

/* Turns without waiting until nothing moves, or until the monotonic time deadline_us under a server
 * that never stops. False where the connection has ended. */
bool peer_catch_up(struct peer *p, uint64_t deadline_us);

/* Gives the protocol a message for the server. Over msp, out and its bytes must stay until the
 * message is settled or the connection has ended; otherwise they are copied. With reply, peer_reply
 * gets the server's first message that begins to come after the last byte of ours has left or, if
 * the protocol acknowledges, after the acknowledgement. Returns 0, or -1 with errno EMSGSIZE,
 * or ENOMEM (the connection has ended then). */
MS_MUST_CHECK int peer_post(struct peer *p, struct outgoing *out, bool reply);

/* No more messages from this side: the server is to see the end. */
void peer_shut(struct peer *p);

/* So many messages wait in the inbox that nothing more is read. */
bool peer_full(const struct peer *p);

/* Bytes that wait for nothing but the kernel to take them. */
uint64_t peer_to_send(const struct peer *p);

/* Bytes of messages and answers that the kernel has not taken or the server has not acknowledged. A
 * smaller number is progress. */
uint64_t peer_unsent(const struct peer *p);

/* Bytes of the message under way that have not left or, if the protocol acknowledges, are not
 * acknowledged. */
uint64_t peer_undone(const struct peer *p);

/* The oldest message that the server has sent by itself; the caller destroys it. NULL: none. */
struct message *peer_take(struct peer *p);

/* The next peer_take returns m again. */
void peer_put_back(struct peer *p, struct message *m);

/* Bytes of the reply (or of the message taken for it) that have come so far. */
uint64_t peer_reply_bytes(const struct peer *p);

/* The reply; the caller destroys it. NULL: not there yet. */
struct message *peer_reply(struct peer *p);

#endif
