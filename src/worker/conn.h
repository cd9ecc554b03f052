/* A connection: bytes from its socket to its protocol, messages to its handler, answers back.
 * Invariant: a connection whose messages are still with a handler is not freed, even when its
 * socket is gone. */
#ifndef WORKER_CONN_H
#define WORKER_CONN_H

#include "worker/worker_state.h"

/* A connection's share of what its source has. */
struct conn_source {
    uint32_t row;    /* in the table of sources; 0: it is not counted there */
    bool is_allowed; /* its address is; else its name has to be */
    bool is_exempt;  /* no share, rate or penalty limits it */
    uint32_t wait_s; /* it is turned away for so many seconds more; 0: nobody knows */
};

/* Takes over an accepted, non-blocking socket, and what conn_admit said of its source. Counts it
 * and begins to serve it; where it cannot be served (no slot, no memory for epoll) it is turned
 * away with ERR busy. */
void conn_open(struct worker_listener *listener, int fd, const struct endpoint *peer,
               const struct conn_source *source);

/* Why a connection is turned away: "ERR code text". Static. */
struct conn_refusal {
    const char *code, *text;
};

/* Turns an accepted socket away: says why and, unless it is 0, for how many seconds, and lingers
 * until the peer has read it. */
void conn_refuse(struct worker_listener *listener, int fd, const struct conn_refusal *why,
                 uint32_t wait_s);

/* The same without lingering, where too many do that already: the peer may not get to read it. On a
 * listener whose protocol is not known yet it hears nothing. */
void conn_refuse_at_once(const struct worker_listener *listener, int fd,
                         const struct conn_refusal *why, uint32_t wait_s);

/* The handler's decision about a message that conn_open's connection had submitted; m is
 * destroyed. ctx: the worker. */
void conn_settle(void *ctx, struct message *m, const struct verdict *verdict);

/* Reads from those that have to wait for the others, as much as the turn has time for. */
void conn_read_unread(struct worker *w);

/* Writes what became ready and settles the state of every connection touched in this turn. */
void conn_finish_turn(struct worker *w);

/* The timer of copies has fired: asks what became of the first ones. */
void conn_look_at_copies(struct worker *w);

/* The worker leaves, and its handlers have finished: answers all copies that still wait. */
void conn_end_copies(struct worker *w);

/* A connection's timer has fired. */
void conn_timer(struct worker *w, struct timer *timer);

/* The worker leaves: connections between messages are told and closed, the others as soon as their
 * message is answered. force: also those inside a message. */
void conn_drain_all(struct worker *w, bool force);

/* The end of a turn: where memory is full, makes some; where it was and is no more, goes on with
 * those that had to wait. */
void conn_mind_memory(struct worker *w);

/* Closes everything at once; the next conn_finish_turn frees it. */
void conn_close_all(struct worker *w);

/* Where the connection comes from: listener, protocol, "127.0.0.1:50412". */
void conn_origin(void *ctx, const struct conn *c, struct message_origin *origin_out);

/* The connection that submitted m, or NULL where it is gone. */
struct conn *conn_sender(const struct message *m);

/* A message for a peer that asked for nothing; struct handler_host push. */
int conn_push(struct conn *c, struct blob *blob);

/* The connection after c (NULL: the first) whose messages go to that handler; NULL: no more. */
struct conn *conn_next(struct worker *w, const struct worker_handler *wh, struct conn *c);

/* A connection that another worker gave away. */
struct conn_moved {
    uint64_t began_us;
    struct endpoint peer; /* where a proxy has made it, as its header had it */
    const struct proto_ops *proto;
    const union proto_state *state; /* see adopt of struct proto_ops */
    const void *mark;               /* the handler's bytes */
    size_t mark_len;
    const void *outbox; /* as outbox_save wrote it */
    size_t outbox_len;
    const void *window; /* as packet_window_save wrote it */
    size_t window_len;
};

/* Goes on with it: its descriptor is this worker's now. One that makes no sense is closed. */
void conn_adopt(struct worker_listener *listener, int fd, const struct conn_moved *moved);

/* Ends a connection in order: what is on its way to the peer still goes there. */
void conn_disconnect(struct conn *c);

/* --- the connection itself: conn.c (its life), conn_turn.c (the end of each turn), conn_io.c (its
 * bytes) and conn_message.c (its messages) --- */

/* Invariant: a connection is in one phase, and goes from one to another by conn_enter alone. What
 * may hold in several phases is a condition, with a field of its own. */

#define CONN_SEND_TIMEOUT_US 60000000 /* for a peer to read any of its answers */
#define CONN_LINGER_US       2000000  /* for a peer to read its last one */

/* Which follows which, and how long each may last, is the table in conn.c. */
enum conn_phase {
    CONN_HANDSHAKING, /* TLS begins; its protocol has not heard of it */
    CONN_SERVING,     /* messages come and are answered */
    CONN_LEAVING,     /* the same, but it ends as soon as it is between messages */
    CONN_TURNED_AWAY, /* read until it is known how to say so */
    CONN_OVERRUN,     /* left too much unread: it ends with this turn */
    CONN_CLOSING,     /* nothing more is read; the last answers go out */
    CONN_LINGERING,   /* all is sent: reading on, so that the peer gets it, until it closes */
    CONN_DEAD,        /* the socket is gone; messages are still with a handler */
};
#define CONN_PHASES (CONN_DEAD + 1)

#define CONN_READ_FIRST 16384 /* bytes read at once of a new one */

struct conn {
    struct watch watch;
    struct worker_listener *listener;
    const struct proto_ops *proto; /* the listener's, until it becomes another */
    int fd;
    struct tls_session *tls; /* NULL: none */
    char *identity;          /* "cert:NAME", "user:NAME"; NULL: none */
    uint8_t phase;           /* enum conn_phase */
    bool is_touched;         /* in the worker's list of them */
    bool is_unread;          /* in the worker's list of them */
    bool is_unknown;         /* in the worker's list of them: lookahead holds bytes */
    bool is_opened;          /* the handler knows of it */
    bool is_refused;         /* it counts in worker->refused */
    bool is_starved;         /* there was no memory for what its protocol had to do */
    bool is_ending;     /* condition: epoll has told of the peer's end, which is not read yet */
    bool peer_done;     /* condition: the peer has shut down its writing side */
    bool is_held;       /* condition: its last message is a document with the helper, or a copy
                         * that waits for the first one */
    bool is_throttled;  /* condition: its source has sent enough in this second */
    bool read_paused;   /* condition: left unread until there is room for its answers again */
    bool watches_write; /* interest: epoll tells when there is room to send */
    struct conn_source source;
    uint32_t read_size;                 /* bytes to read at once: fewer where messages are tiny */
    uint32_t fed;                       /* messages in this turn */
    uint32_t waiting;                   /* messages with the handler */
    uint32_t waiting_files;             /* of these, those that are in files */
    uint32_t window;                    /* worker->window when it last sent something */
    struct stats_slot *slot;            /* NULL for one that is turned away */
    const struct conn_refusal *refusal; /* of such a one */
    uint32_t refusal_wait_s;
    struct message *message; /* being built */
    struct answers answers;
    struct outbox outbox;
    struct packet_window *window_held; /* NULL, but with a protocol that needs one */
    struct buffer lookahead;
    struct buffer unfed; /* received, and left until there is room for what it leads to */
    struct timer timer;
    uint64_t phase_end_us; /* the phase may last so long; UINT64_MAX: see conn_deadline */
    uint64_t send_end_us;  /* condition: the peer takes nothing, and has to by then; 0: it does */
    uint64_t hold_end_us;  /* answers wait for others to leave with, until then; 0: none does */
    uint64_t blocked_us;   /* since when something has waited for the peer to take it; 0: nothing */
    uint64_t blocked_sent; /* bytes that it has taken since blocked_us */
    struct conn *next, **link;  /* all connections of the worker */
    STAILQ_ENTRY(conn) touched; /* where is_touched */
    TAILQ_ENTRY(conn) unread;   /* where is_unread */
    TAILQ_ENTRY(conn) paused;   /* where read_paused */
    TAILQ_ENTRY(conn) unknown;  /* where is_unknown */
    TAILQ_ENTRY(conn) shaking;  /* where CONN_HANDSHAKING */
    union proto_state state;
};

static inline struct worker *
conn_worker(const struct conn *c)
{
    return c->listener->worker;
}

/* Its messages are taken. */
static inline bool
conn_is_serving(const struct conn *c)
{
    return c->phase == CONN_SERVING || c->phase == CONN_LEAVING;
}

/* Its bytes are read for what they say. */
static inline bool
conn_is_reading(const struct conn *c)
{
    return conn_is_serving(c) || c->phase == CONN_TURNED_AWAY;
}

/* The next phase begins; it has to be one that may follow. */
void conn_enter(struct conn *c, enum conn_phase phase);

/* Its protocol and its handler hear of it now. */
void conn_start(struct conn *c);

/* The connection is looked at once more at the end of the turn. */
void conn_touch(struct conn *c);

/* It is read from behind the others of this turn, or in one of the next: all of those in turn. */
void conn_read_later(struct conn *c);

/* It is left unread until there is room for what it may send; and no longer. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* It is not known what its bytes are, or it is again. */
void conn_set_unknown(struct conn *c, bool is_unknown);

/* The socket is gone. What is in the lists of this turn is freed at its end. */
void conn_close(struct conn *c);

/* The same where the peer has ended in order and all is said: TLS has a word for that. */
void conn_close_in_order(struct conn *c);

/* It is out of every list: its memory goes. */
void conn_free(struct conn *c);

/* All is said: waits for the peer to close first, so that no reset destroys what it has not
 * read. */
void conn_linger(struct conn *c);

/* Gives the connection to another worker; where that has to wait, or cannot be, it stays. */
void conn_move(struct conn *c);

/* Nothing more is read; what is ready still goes out. */
void conn_begin_closing(struct conn *c);

/* Speaks that protocol from here on. */
void conn_begin(struct conn *c, const struct proto_ops *proto);

/* Says in its protocol why it is turned away, and ends it. */
void conn_turn_away(struct conn *c);

/* Ends a connection that was served: says why, as conn_refuse does. */
void conn_expel(struct conn *c, const struct conn_refusal *why, uint32_t wait_s);

/* Tells the peer that the server leaves, behind the answers it still gets, and begins to close. */
void conn_shutdown(struct conn *c);

/* The worker drains, and the connection waits, or will wait at its next boundary between messages,
 * to be taken over by another worker: nothing more is read. */
bool conn_awaits_move(const struct conn *c);

/* --- conn_io.c --- */

/* What its protocol made of something that was not bytes: PROTO_CLOSE or PROTO_BECOME is acted
 * on. */
void conn_happened(struct conn *c, enum proto_event event, const struct proto_io *io);

/* Wants to hear when there is room to send. */
void conn_watch_write(struct conn *c);

/* An event of its socket. */
void conn_ready(struct watch *watch, uint32_t events);

/* Sends what is ready, as far as the peer takes it. */
void conn_write(struct conn *c);

/* The same while a handler pushes, which must not hear of the connection's end meanwhile: that
 * comes with the end of the turn. */
void conn_write_early(struct conn *c);

/* Reads until the socket is empty or the connection has had its share of this turn. to_end: the
 * peer may have closed behind its last bytes, so a short read is not the end. */
void conn_read(struct conn *c, bool to_end);

/* False while it has too many answers waiting, or is past reading. */
bool conn_wants_bytes(const struct conn *c);

/* --- conn_identity.c --- */

/* It is a peer of that name, of that kind: "cert:", "user:". */
void conn_set_identity(struct conn *c, const char *kind, const char *name);

/* Where it is a Unix socket: its process and its user. */
void conn_note_user(struct conn *c);

/* Gives a file to the handler, beneath its sender's own directory with ?prefix=identity. */
void conn_take_file(struct conn *c, struct message *m);

/* --- conn_tls.c --- */

/* The connection begins with a handshake. Returns 0, or -1 where there is no memory. */
MS_MUST_CHECK int conn_begin_tls(struct conn *c);

/* Goes on with the handshake as far as it can. */
void conn_shake(struct conn *c);

/* The time for it is over. */
void conn_handshake_late(struct conn *c);

/* The phase of the handshake ends; and TLS does, where there is any. */
void conn_leave_tls(struct conn *c);
void conn_end_tls(struct conn *c);

/* It could not be read from, and errno says why: where TLS was broken, that is logged and counts
 * against its source. */
void conn_note_broken_tls(struct conn *c);

/* The first bytes for the protocol: says so in the log where they look like TLS that this listener
 * does not speak, or like a PROXY header that it does not expect. */
void conn_note_foreign(const struct conn *c, const uint8_t *data, size_t n);

/* --- conn_message.c --- */

/* Adds n to that counter of the connection and of the worker. */
#define CONN_ADD(c, name, n)                                                   \
    do {                                                                       \
        stats_add(&conn_worker(c)->stats.block->counters.name, (uint64_t)(n)); \
        if ((c)->slot != NULL)                                                 \
            stats_add(&(c)->slot->counters.name, (uint64_t)(n));               \
    } while (0)

/* Records an event of the connection; see stats_record. */
static inline void
conn_record(const struct conn *c, enum stats_event_kind kind, uint32_t value, const char *code)
{
    struct worker *w = conn_worker(c);

    stats_record(&w->stats, kind, c->slot, w->now_us, value, code);
}

/* A message has begun, and its end has not come. */
bool conn_is_receiving(const struct conn *c);

/* Logs a line about it, but in no flood: "LISTENER: subject from PEER over PROTOCOL what". */
void conn_say(const struct conn *c, enum log_kind kind, const char *subject, const char *what);

/* Says in the log that the message which was being received came too slowly. */
void conn_note_late(struct conn *c);

/* The peer has ended: counts the message it leaves unfinished, if there is one, and says so in the
 * log. */
void conn_note_cut(struct conn *c);

/* Remembers it where memory ran out: no byte leaves any more, and the connection ends with the
 * turn. True then. */
bool conn_is_starved(struct conn *c);

/* Closes such a connection, and says so in the log. */
void conn_end_starved(struct conn *c);

/* Closes one whose reply cannot be read back as it was, errno tells why, and says so in the log. */
void conn_end_unreadable(struct conn *c);

/* Adds what the protocol has counted; conn_is_starved is in it. */
void conn_count(struct conn *c, const struct proto_tally *tally);

/* What the connection lends its protocol during a call. */
struct proto_io conn_io(struct conn *c, struct proto_tally *tally);

/* Gives a message to the handler and keeps its answer's place. */
void conn_give(struct conn *c, struct message *m);

/* Answers a message that no handler has seen; m is destroyed. */
void conn_answer_here(struct conn *c, struct message *m, const struct verdict *verdict);

/* The last of a message: its reply, which a seal may have changed already, goes to the peer. m is
 * destroyed. */
void conn_answered(struct conn *c, struct message *m, const struct verdict *verdict);

/* --- conn_prepare.c --- */

/* A whole message has come: to the handler, once it was opened and parsed where it has to be. */
void conn_submit(struct conn *c, struct message *m);

/* What its answers' seals stand for. */
struct seal_about conn_about(const struct conn *c, const struct message *m);

/* Does the message have a reply that takes long to seal? Then conn_seal_later has it sealed, and
 * conn_answered called with it, which is with the message until then. Returns 0, or -1 where that
 * cannot be. */
bool conn_seals_later(const struct conn *c, const struct message *m, const struct verdict *verdict);
MS_MUST_CHECK int conn_seal_later(struct conn *c, struct message *m, const struct verdict *verdict);

/* --- conn_source.c --- */

/* Why a connection that has come is not let in, counted. NULL: it is, and counts for its source
 * from here on. */
const struct conn_refusal *
conn_admit(const struct worker_listener *l, const struct source *source, struct conn_source *out);

/* A connection counts for its source from here on, and no more. False where its source cannot be
 * known, for want of room. */
bool conn_source_begin(struct worker *w, const struct source *source, struct conn_source *out);
void conn_source_end(struct worker *w, struct conn_source *source);

/* Its name is known: it counts for that from here on. NULL, or why it is not let in. */
const struct conn_refusal *conn_admit_name(struct conn *c);

/* It has got a packet window, and is turned away where idle connections may hold no more. */
void conn_admit_window(struct conn *c);

/* Its source has made trouble, n times. */
void conn_blame(struct conn *c, enum stats_blame what, unsigned n);

/* Its bytes or its message are looked at from here on, up to conn_unnote with what this returns: if
 * the worker dies meanwhile, that stands against its source. */
uint32_t conn_note(const struct conn *c);
void conn_unnote(const struct worker *w, uint32_t before);

/* May it go on with the next message, within source_rate? If not, it is not read until the next
 * second. */
bool conn_may_send(struct conn *c);

/* A second has begun: those that had to wait are read. */
void conn_send_again(struct worker *w);

/* Ends the connections of sources whose bytes have killed a worker just now. */
void conn_mind_crashes(struct worker *w);

/* --- conn_copies.c --- */

/* The protocol's foresee (struct proto_io); arg: the connection. */
void
conn_foresee(void *arg, struct message *m, enum message_kind kind, const void *value, size_t n);

/* Gives a message to the handler, unless an earlier copy of it is under way, or was just
 * committed. */
void conn_take(struct conn *c, struct message *m);

/* The message of that entry (0 is fine) is settled so. */
void conn_end_claim(struct worker *w, uint32_t entry, const struct verdict *verdict);

#endif
