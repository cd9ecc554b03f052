/* The inside of include/msock_server.h: a worker without a process of its own, and a handler that
 * keeps messages until the program asks. Within a turn of the worker only the handler is called,
 * and it calls nothing of the program, so no call of the program is nested in another. Invariant: a
 * message is in its connection's queue, or handed out (server->out), until it is settled; a
 * connection is there as long as any of its messages, its socket, or the program needs it. */
#ifndef EMBED_SERVER_H
#define EMBED_SERVER_H

#include "common/url.h"
#include "config/config_settings.h"
#include "handler/handler.h"
#include "msock_server.h"
#include "worker/worker.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/types.h>

#define SERVER_ERROR_LEN 640
#define SERVER_BUCKETS   4096

struct msock_message {
    struct msock_conn *conn; /* never NULL */
    struct message *core;
    TAILQ_ENTRY(msock_message) link; /* in conn->queue or server->out */
    char *body;                      /* NUL-terminated, for the program; NULL: not asked for yet */
};
TAILQ_HEAD(message_list, msock_message);

struct msock_conn {
    struct msock_server *server;
    struct conn *core; /* NULL: it has ended */
    struct msock_conn *next_in_bucket;
    TAILQ_ENTRY(msock_conn) link;  /* in server->fresh or server->taken */
    TAILQ_ENTRY(msock_conn) ready; /* in server->ready, where is_ready */
    struct message_list queue;     /* whole messages that the program has not got yet */
    unsigned holds;                /* messages handed out, and calls that still look at it */
    bool is_ready;
    bool is_taken;     /* handed out by accept: the program's until it ends it */
    bool is_dismissed; /* ended by the program: no more messages are handed out */
    bool said_opened, said_closed;
    char peer[ENDPOINT_TEXT_LEN];
    char identity[TLS_IDENTITY_LEN + 8]; /* "" where there is none */
    const char *proto;                   /* once it has ended */
};
TAILQ_HEAD(conn_list, msock_conn);

struct server_listener {
    struct listen_socket sockets[LISTEN_ADDRESSES_MAX]; /* fd -1: none, or the worker's by now */
    size_t socket_count;
    char *address;
    uint64_t queue_max; /* bytes that a peer may leave unread before a write to it waits */
};

/* One msock_server_run, or all calls of msock_server_dispatch. */
struct server_run {
    struct msock_server_callbacks callbacks;
    void *arg;
    uint64_t tick_us; /* 0: none */
    uint64_t next_tick_us;
};

struct msock_server {
    struct config config; /* the handler finds the server by it */
    struct settings settings;
    char *cwd;
    struct server_listener listeners[CONFIG_LISTENERS_MAX];
    struct transforms transforms;
    struct stats_place stats;
    struct dedup_table *dedup;
    _Atomic int64_t id_offset_us; /* see struct handler_host */
    struct child child;
    struct worker_setup setup;
    struct worker *worker; /* NULL before the first call that receives */
    pid_t owner;           /* the process that receives; before, the one that has made the server */
    bool is_broken;        /* the worker could not be opened */
    struct handler_host host;
    struct log_sink log; /* writes nothing without a callback */
    msock_log_fn on_log;
    void *log_arg;

    _Atomic bool stop; /* asked for, by any thread */
    bool is_stopped;   /* and all that was there then is in the queues */
    int wake_fd;       /* eventfd */

    struct msock_conn *buckets[SERVER_BUCKETS]; /* by struct conn */
    struct conn_list fresh, taken;              /* not handed out by accept, and those that are */
    struct conn_list ready; /* of fresh: with something that the program has not been told */
    struct message_list out;
    struct server_run dispatch;
    const struct server_run *run; /* who is told of connections; NULL: nobody */
    bool is_running;              /* in msock_server_run or msock_server_dispatch */
    bool is_ending;               /* connections are freed all together */
    uint64_t turned_us;           /* when the last turn ended */
    char error[SERVER_ERROR_LEN];
};

/* --- server.c --- */

/* A call begins: forgets the last error, opens the worker where there is none. MSOCK_OK,
 * MSOCK_USAGE, MSOCK_LOCAL. */
enum msock_status server_begin(struct msock_server *s);

/* Sets the sentence and returns status. */
enum msock_status
server_fail(struct msock_server *s, enum msock_status status, const char *fmt, ...) MS_PRINTF(3, 4);

/* --- handler.c --- */

/* Between the worker and the queues; one for all listeners. */
extern const struct handler_ops server_handler;

/* --- receive.c --- */

#define SERVER_FOREVER UINT64_MAX

struct server_wait {
    uint64_t until_us; /* monotonic, or SERVER_FOREVER */
    bool turned;       /* there was a turn already: none is made once the time is over */
};

struct server_wait server_wait_for(int timeout_ms);

/* Lets the worker do something: MSOCK_OK, look again; MSOCK_TIMEOUT; MSOCK_CANCELLED: stopped, and
 * all messages are in the queues. */
enum msock_status server_wait(struct msock_server *s, struct server_wait *wait);

/* Gives the worker a turn, also for a program that always finds messages in the queues. */
void server_keep_up(struct msock_server *s);

/* --- conn.c --- */

struct msock_conn *server_conn_find(const struct msock_server *s, const struct conn *core);
struct msock_conn *server_conn_add(struct msock_server *s, struct conn *core);

/* The socket is gone. */
void server_conn_ended(struct msock_conn *c);

/* Puts it behind those with something to tell. */
void server_conn_ready(struct msock_conn *c);

/* Takes it off that list. */
void server_conn_not_ready(struct msock_conn *c);

/* Frees it where nobody needs it any more. */
void server_conn_put(struct msock_conn *c);

/* --- message.c --- */

/* A new one at the end of its connection's queue. */
void server_message_add(struct msock_conn *c, struct message *core);

/* Takes the oldest message out of the queue, which is not empty. The program owns it now. */
struct msock_message *server_message_take(struct msock_conn *c);

/* Fails all that are in that list, and frees them. */
void server_messages_fail(struct message_list *list, const char *text);

#endif
