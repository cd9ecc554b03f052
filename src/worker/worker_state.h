/* Shared by the files of the worker: the worker itself and its listeners. */
#ifndef WORKER_WORKER_STATE_H
#define WORKER_WORKER_STATE_H

#include "common/thread.h"
#include "dedup/dedup.h"
#include "handler/handler.h"
#include "proto/proto_table.h"
#include "proto/transform.h"
#include "sources/sources.h"
#include "stats/stats_writer.h"
#include "tls/tls.h"
#include "worker/child.h"
#include "worker/worker.h"

#include <sys/queue.h>

/* --- timer.c --- */

/* A timing wheel for very many deadlines that are nearly always pushed back before they come. A
 * timer is only ever moved when it fires or when its deadline comes nearer; pushing one back costs
 * nothing: the owner finds, when it fires early, that it has time left, and sets it again.
 * Invariant: a timer that is set fires at or after its deadline, at most one tick late, or
 * early. */

#define TIMER_TICK_US 10000
#define TIMER_SLOTS   4096 /* about 41 s; a later deadline fires early, then again */

struct timer {
    struct timer *next, **link; /* link: what points here; NULL while not set */
    uint64_t tick;              /* when it fires */
};

struct timer_wheel {
    uint64_t tick;                   /* all before it have fired */
    uint64_t used[TIMER_SLOTS / 64]; /* a bit for each slot that is not empty */
    struct timer *slots[TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_us);

/* Fires at deadline_us, unless it is set to fire before that already. */
void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_us);
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);

/* Takes one timer that is due off the wheel; NULL: no more. */
struct timer *timer_due(struct timer_wheel *wheel, uint64_t now_us);

/* Milliseconds until the next one may be due, at most max_ms. For epoll_wait. */
int timer_wait_ms(const struct timer_wheel *wheel, uint64_t now_us, int max_ms);

#define WORKER_HANDLERS_MAX (CONFIG_LISTENERS_MAX + 8) /* one a listener, and the shared ones */
#define WORKER_READ_SIZE    (256 * 1024)
#define WORKER_SEND_SIZE    (64 * 1024)
#define WORKER_EVENTS       256
#define WORKER_TICK_US      1000000 /* the handlers' clockwork; a failure is said again after it */

struct conn;

/* The target of epoll's data pointer: the first member of everything that waits for events. */
struct watch {
    void (*ready)(struct watch *watch, uint32_t events);
};

/* A handler runs once in a worker for all listeners that name it, or once for each of them. */
struct worker_handler {
    struct watch watch; /* its event_fd */
    struct worker *worker;
    const struct handler_ops *ops;
    void *handler;
    unsigned submitted; /* messages it has not settled */
};

/* A listener has one or more. */
struct worker_socket {
    struct watch watch;
    struct worker_listener *listener;
    int fd; /* -1: let go of */
};

struct worker_listener {
    struct worker *worker;
    const struct child_listener *child;
    const struct proto_ops *proto;
    struct worker_handler *handler;
    struct proto_limits limits;
    struct transforms transforms;
    struct tls_context *tls; /* NULL: none */
    uint32_t meaning;        /* handover_meaning */
    uint64_t dedup_scope, dedup_window_ms;
};

struct worker {
    const struct child *child;
    const struct config *config;
    const struct worker_setup *setup;
    int epoll_fd;
    struct watch signal_watch, master_watch;
    int signal_fd;
    struct watch wake_watch;
    struct bus *bus;        /* between the workers; or NULL */
    struct watch bus_watch; /* its bell */
    struct helper *helper;  /* its thread begins with the first job; or NULL */
    struct watch helper_watch;
    struct watch handover_watch;
    struct watch go_watch;     /* of a process: may it accept? */
    struct watch accept_watch; /* its bell */
    uint64_t nonce;
    int spare_fd; /* given up for a moment to turn a connection away when descriptors are out */

    struct stats_writer stats;
    struct message_store store;
    struct sources *sources;         /* NULL: nobody has a share */
    uint32_t crashes;                /* as far as conn_mind_crashes has minded them */
    struct dedup *dedup;             /* NULL: no listener remembers ids */
    uint64_t id_ms, id_us;           /* the time of ids, and the now_us for which it was taken */
    TAILQ_HEAD(copies, copy) copies; /* that wait for their first one */
    STAILQ_HEAD(documents, parsing) documents; /* that wait for memory to be parsed */
    unsigned documents_parsed;                 /* that have it; while any waits, there is one */
    unsigned handler_count;
    struct worker_handler handlers[WORKER_HANDLERS_MAX];
    size_t listener_count;
    struct worker_listener listeners[CONFIG_LISTENERS_MAX];
    size_t socket_count;
    struct worker_socket sockets[LISTEN_SOCKETS_MAX];
    unsigned lingering; /* sockets that a worker which drains still has */

    struct timer_wheel wheel;
    struct timer park_timer; /* listeners are left to others until it fires */
    struct timer tick_timer; /* about once a second, for the handlers */
    struct timer handover_timer;
    struct timer rate_timer;    /* while connections wait for the next second: source_rate */
    struct timer copies_timer;  /* while there are copies that wait */
    struct timer proxied_timer; /* while there are connections that wait for their PROXY header: */
    TAILQ_HEAD(proxied_list, proxied) proxied; /* these, the oldest first */
    unsigned proxied_count;
    bool handover_is_lost;     /* somebody has shut the socket down */
    uint64_t handover_full_us; /* since when there is no room for what moves here; 0: there is */
    bool parked;
    bool parked_for_share; /* it has more connections than the others */
    uint64_t full_said_us; /* when it was last said that descriptors are out */

    struct conn *conns; /* all of them */
    unsigned conn_count;
    unsigned refused; /* of these, connections one too many, until they are told so and gone */
    unsigned refused_max;
    TAILQ_HEAD(handshakes, conn) handshakes; /* under way, the oldest first */
    unsigned handshake_count;
    TAILQ_HEAD(paused, conn) paused;        /* the first of them has waited longest */
    bool paused_by_memory, paused_by_files; /* some of them, perhaps */
    bool paused_by_scarcity;
    TAILQ_HEAD(unknown, conn) unknown;  /* the first of them has been so longest */
    STAILQ_HEAD(touched, conn) touched; /* looked at once more at the end of the turn, in order */
    uint32_t fed;                       /* messages in this turn, */
    size_t read;                        /* and bytes */
    uint32_t pushed;                    /* to peers that asked for nothing; goes round */
    TAILQ_HEAD(unread, conn) unread;    /* with bytes left to read: the first has waited longest */
    struct message *submitting;
    const struct conn *reading;   /* whose bytes are being looked at; or NULL */
    int64_t disk_free;            /* as disk.c has seen it, */
    uint64_t disk_looked_us;      /* then, */
    uint64_t disk_reserved;       /* when so much had been set aside */
    char peer[ENDPOINT_TEXT_LEN]; /* what conn_origin returned last */
    uid_t uid;                    /* of the last Unix socket, */
    char user[256];               /* and the name; "": there was none */

    uint64_t memory_lately; /* the most that the ledger had since the last tick, */
    uint64_t memory_peak;   /* and up to then, since memory was given back */

    uint64_t now_us;
    bool clock_is_old; /* time may have passed since now_us was read */
    uint32_t window;   /* counts spans of WORKER_WINDOW_US, to tell who is busy */
    uint64_t window_end_us;
    uint64_t flush_us; /* when a handler wants to be flushed again; 0: with the next turn */
    unsigned busy_now, busy_before; /* connections that sent something in this span and the last */
    uint64_t *settled_begun;        /* when the messages settled in this turn had begun */
    size_t settled_count, settled_cap;

    uint64_t said_us; /* since when said counts: lines about what others did wrong */
    uint64_t unsaid;  /* such lines that were left out since the last one */
    uint32_t said;
    uint64_t evicted_said_us; /* when it was last said that peers were closed for memory */
    uint64_t lost_said_us;    /* when it was last said that a peer does not read */
    uint64_t store_failed_us; /* when it was last said that messages cannot be stored */
    bool draining, stopping;
    uint64_t drain_end_us;
    uint8_t *read_buf; /* WORKER_READ_SIZE */
    uint8_t *send_buf; /* behind it, WORKER_SEND_SIZE: a piece of a file on its way */
};

/* A random number, another one with each call. */
uint64_t worker_nonce(struct worker *w);

/* Calls ready when there is something to read. Returns 0, or -1 with errno. */
MS_MUST_CHECK int worker_watch(struct worker *w, int fd, struct watch *watch,
                               void (*ready)(struct watch *watch, uint32_t events));

/* The thread beside the loop, started where there is none yet. NULL: it cannot be. */
struct helper *worker_helper(struct worker *w);

/* --- worker_open.c --- */

/* The signals of a worker that is a process, and the end of its master. */
struct worker_events {
    void (*signals)(struct watch *watch, uint32_t events);
    void (*master_gone)(struct watch *watch, uint32_t events);
    void (*watch_crashes)(struct stats_recorder *recorder); /* stats_watch_crashes */
};

/* Shared memory, store, event loop, handlers, listeners. A process of its own accepts only after
 * worker_go. Returns 0, or -1 with a sentence in error. */
MS_MUST_CHECK int
worker_open(struct worker *w, const struct child *child, const struct worker_setup *setup,
            const struct worker_events *events, char error[HANDLER_ERROR_LEN]);

/* Waits for what is being committed, answers it, closes everything. */
void worker_close(struct worker *w);

/* Begins to accept connections and to take them over. Returns 0, or -1 with errno. */
MS_MUST_CHECK int worker_go(struct worker *w);

/* --- worker.c --- */

#define WORKER_MORE_LEN 64

/* Before a line about what peers or other workers do: a line for each, but no flood. False where
 * enough was said lately; else more_out tells at the end of the line how many were left out. */
bool worker_may_say(struct worker *w, char more_out[WORKER_MORE_LEN]);

/* Reads the clock where time may have passed since it was read: in a commit, or in the program that
 * embeds the worker. */
void worker_mind_clock(struct worker *w);

/* --- worker_host.c --- */

/* The running handler for that listener; started where there is none that it may share. NULL with a
 * sentence in error. */
struct worker_handler *
worker_handler(struct worker *w, const struct child_listener *cl, char error[HANDLER_ERROR_LEN]);

/* --- accept.c --- */

/* New connections: which worker takes them, how many, and the answer to the rest. */

/* Begins to take connections from every listener. Returns 0, or -1 with errno. */
MS_MUST_CHECK int accept_start(struct worker *w);

/* Leaves the sockets to the workers of the next generation. One that the master has retired has no
 * successor: those that are connected there are taken until the master ends it. */
void accept_stop(struct worker *w);

/* Takes what waits, where this worker has room and has begun to accept. Now and then: another
 * worker that is stopped, or goes wrong, may have used up the wake-up. */
void accept_look(struct worker *w);

/* Lets go of what accept_stop has kept. */
void accept_end(struct worker *w);

/* Logs, now and then, since peers can make it happen as often as they like, that connections are
 * turned away for want of descriptors. */
void accept_say_full(struct worker *w);

/* A worker with too many connections leaves its listeners to the others. This goes back to them as
 * soon as it has fewer. Call it once a turn. */
void accept_reconsider(struct worker *w);

/* Lets that peer's connection in, or turns it away. */
void accept_peer(struct worker_listener *l, int fd, const struct endpoint *peer);

/* The park timer has fired: goes back to the listeners, and first takes connections that nobody
 * else took. */
void accept_unpark(struct worker *w);

/* --- proxied.c --- */

/* A connection of a listener with proxy=required, from a proxy or somebody else: waits for the
 * header that says whose it is, and lets it in as that one's, or closes it. */
void proxied_begin(struct worker_listener *l, int fd, const struct endpoint *proxy);

/* Closes those that have waited too long; or all. */
void proxied_expire(struct worker *w, bool all);

/* --- disk.c --- */

/* Of struct message_store; arg: the worker. */
int disk_reserve(void *arg, struct message *m, uint64_t bytes);
void disk_release(void *arg, struct message *m);
void disk_close(void *arg, int fd);

/* --- handover.c --- */

/* Connections that move on a reload: a worker that leaves gives those that are between messages,
 * and whose protocol has no way to send them elsewhere, to a worker of the new generation:
 * descriptor, protocol state and what the handler wants to know. Their peers notice nothing.
 *
 * All workers share one pair of packet sockets: a worker that leaves puts connections in, and one
 * that accepts takes them out, as from a listener. If nobody takes them (the daemon stops, or the
 * new configuration has no such listener), they are closed as usual. */

/* Begins to take connections. Returns 0, or -1 with errno. */
MS_MUST_CHECK int handover_start(struct worker *w);
void handover_stop(struct worker *w);

/* Logs, but in no flood, that a connection of a listener of that name has ended on its way. */
void handover_say_ended(struct worker *w, const char *name, const char *why);

/* The hand-over timer has fired: looks again whether there is room. */
void handover_again(struct worker *w);

enum handover {
    HANDOVER_DONE,  /* the connection is somebody else's: close it here, without a word */
    HANDOVER_AGAIN, /* no room just now: try again soon */
    HANDOVER_NO,    /* it cannot move */
};

/* Whether connections of that listener, with that protocol, may move, while there is somebody to
 * take them. */
bool handover_wanted(const struct worker_listener *listener, const struct proto_ops *proto);

/* Gives it away. The connection is between messages. */
enum handover handover_give(struct conn *c);

#endif
