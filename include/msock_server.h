/* libmsock, the receiving half: a server inside one's own program. The same code as in msockd's
 * workers, in the calling thread, without a fork: every protocol, every check, every answer. Sections are
 * those of docs/protocol.md.
 *
 *     msock_server *s = msock_server_create();
 *     msock_server_add_listener(s, "auto://127.0.0.1:8000");
 *     while (msock_server_recv(s, -1, &message) == MSOCK_OK) {
 *         ... msock_message_data(message, &n) ...
 *         msock_message_commit(message, NULL, 0);
 *     }
 *
 * Messages are handed over one at a time, whole and verified. Each must be committed, refused or failed
 * by the program; only then its sender is answered (1.2). What a connection may do meanwhile is bounded by
 * the library, so a slow program slows its senders and holds no more memory.
 *
 * Threads: a server is used by one thread at a time, all its messages and connections included;
 * msock_server_stop may be called from any thread and from a signal handler. Nothing is done between
 * calls: a program that does not call msock_server_recv, _run or msock_conn_read leaves its senders
 * waiting. No signal handler is installed, no SIGPIPE raised, nothing printed. */
#ifndef MSOCK_SERVER_H
#define MSOCK_SERVER_H

#include "msock.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct msock_server msock_server;
typedef struct msock_conn msock_conn;       /* one connection; the server's */
typedef struct msock_message msock_message; /* one received message */

/* --- the server --- */

/* A server without listeners. NULL without memory or descriptors. */
MSOCK_API msock_server *msock_server_create(void);

/* Closes all connections (messages that are not settled fail), frees the server and what it handed out.
 * NULL is fine. */
MSOCK_API void msock_server_destroy(msock_server *s);

/* Binds a listener: "auto://127.0.0.1:8000", "msp:///run/my.sock", "frame://[::1]:0?framing=fixed:16", with
 * the options that msockd.conf(5) has for listeners, but handler and what belongs to it. Repeatedly, before
 * the first recv, run or accept. MSOCK_OK, MSOCK_USAGE (the URL), MSOCK_LOCAL (it cannot be bound). */
MSOCK_API enum msock_status msock_server_add_listener(msock_server *s, const char *url);

/* Where listener `index` (from 0, in the order of adding) is bound: "127.0.0.1:43117"; "" beyond the last.
 * The server's. */
MSOCK_API const char *msock_server_address(const msock_server *s, unsigned index);

/* Connections at a time, default 1024; beyond, they get ERR busy or what their protocol has for it. Before
 * the first recv, run or accept. */
MSOCK_API void msock_server_set_connections(msock_server *s, unsigned max);

/* For listeners added later: no byte within a message for message_ms (default 2000); no message for
 * idle_ms (default 60000). 0 keeps a value. */
MSOCK_API void msock_server_set_timeouts(msock_server *s, unsigned message_ms, unsigned idle_ms);

/* Appends a transform: on_send to every reply and pushed message, first to last; on_receive to every
 * message, last to first, before the program sees it. Either may be NULL. A message that on_receive
 * rejects is refused (REJ refused). Before the first recv, run or accept. MSOCK_OK, MSOCK_USAGE (more than
 * 8). */
MSOCK_API enum msock_status msock_server_add_transform(msock_server *s, msock_transform_fn on_send,
                                                       msock_transform_fn on_receive, void *arg);

/* A sentence about the last failure; "" after success. The server's, until the next call. */
MSOCK_API const char *msock_server_error(const msock_server *s);

/* --- receiving --- */

/* The next message of any connection: waits up to timeout_ms (-1: without end). MSOCK_OK and a message
 * that must be settled with one of the three below; MSOCK_TIMEOUT; MSOCK_CANCELLED: msock_server_stop was
 * called, and all that had arrived whole before is handed over. */
MSOCK_API enum msock_status
msock_server_recv(msock_server *s, int timeout_ms, msock_message **message_out);

/* Callbacks of msock_server_run; any may be NULL but message. */
struct msock_server_callbacks {
    void (*message)(void *arg, msock_server *s,
                    msock_message *message); /* settle it, now or later */
    void (*opened)(void *arg, msock_server *s, msock_conn *conn);
    void (*closed)(void *arg, msock_server *s, msock_conn *conn); /* its last moment */
    void (*tick)(void *arg, msock_server *s);                     /* every tick_ms */
    int tick_ms;                                                  /* default 1000 */
};

/* Receives until msock_server_stop; then takes no new connections, finishes the messages under way (at
 * most drain_ms, 0: those that are there) and returns MSOCK_OK. MSOCK_USAGE: no listener. */
MSOCK_API enum msock_status
msock_server_run(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg,
                 int drain_ms);

/* Makes recv, run, accept and read return. Any thread, any signal handler. */
MSOCK_API void msock_server_stop(msock_server *s);

/* --- a message --- */

/* Its bytes, *n of them; NUL-terminated besides. NULL where they cannot be read back (fail it then). The
 * message's, until it is settled. */
MSOCK_API const void *msock_message_data(msock_message *m, size_t *n);
MSOCK_API char msock_message_kind(const msock_message *m);      /* 'A', 'J' or 'F' */
MSOCK_API const char *msock_message_id(const msock_message *m); /* id or path; "" without */
MSOCK_API const unsigned char *msock_message_sha256(const msock_message *m); /* 32 bytes */
MSOCK_API const char *msock_message_peer(const msock_message *m);            /* "127.0.0.1:50412" */
MSOCK_API const char *msock_message_protocol(const msock_message *m);        /* "msp" */
MSOCK_API int msock_message_wants_reply(const msock_message *m);

/* Who sent it; NULL where that connection is gone. */
MSOCK_API msock_conn *msock_message_conn(const msock_message *m);

/* Each settles the message and frees it. Commit: the sender is told that it is safe, with n bytes of reply
 * (copied; at most 16 MiB; NULL: none) where one is wanted. Refuse: REJ refused with a sentence. Fail: our
 * side could not; the sender may send it again. */
MSOCK_API void msock_message_commit(msock_message *m, const void *reply, size_t n);
MSOCK_API void msock_message_refuse(msock_message *m, const char *text);
MSOCK_API void msock_message_fail(msock_message *m, const char *text);

/* --- one connection, like a socket --- */

/* The next connection that was not handed out yet. Its messages are then for msock_conn_read alone.
 * MSOCK_OK, MSOCK_TIMEOUT, MSOCK_CANCELLED. The connection stays valid until msock_conn_disconnect, also
 * when its peer has gone. */
MSOCK_API enum msock_status
msock_server_accept(msock_server *s, int timeout_ms, msock_conn **conn_out);

/* The next message of this connection. MSOCK_OK, MSOCK_TIMEOUT, MSOCK_UNREACHABLE: it has ended;
 * MSOCK_CANCELLED. */
MSOCK_API enum msock_status
msock_conn_read(msock_conn *c, int timeout_ms, msock_message **message_out);

/* Sends a message to the peer, whether it asked or not: over tinyproto, cnp and frame. Copies; waits up to
 * timeout_ms until no more than 1 MiB is left unread. MSOCK_OK, MSOCK_TIMEOUT (nothing of it was sent),
 * MSOCK_UNREACHABLE, MSOCK_USAGE (msp, or too long for the peer). */
MSOCK_API enum msock_status
msock_conn_write(msock_conn *c, const void *data, size_t n, int timeout_ms);
MSOCK_API const char *msock_conn_peer(const msock_conn *c);
MSOCK_API const char *msock_conn_protocol(const msock_conn *c);

/* Ends the connection; what was written before is still sent, as long as the server is turned. c is gone
 * where it came from msock_server_accept. */
MSOCK_API void msock_conn_disconnect(msock_conn *c);

#ifdef __cplusplus
}
#endif

#endif
