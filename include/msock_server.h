/* libmsock, the receiving half: a server inside one's own program. The same code as in msockd's
 * workers, in the calling thread, without a fork: every protocol, every check, every answer.
 * Sections are those of docs/protocol.md.
 *
 *     msock_server *s = msock_server_create();
 *     msock_server_add_listener(s, "auto://127.0.0.1:8000");
 *     while (msock_server_recv(s, -1, &message) == MSOCK_OK) {
 *         ... msock_message_data(message, &n) ...
 *         msock_message_commit(message, NULL, 0);
 *     }
 *
 * Messages are handed over one at a time, whole and verified. The program must commit, refuse or
 * fail each of them. The sender is answered at that moment and not before (1.2).
 *
 * Memory: a slow program slows its senders down and needs no more memory. A connection with 1024
 * unsettled messages, or with unread answers, is not read any more. Up to 256 KiB of a message and
 * 64 MiB of all messages are held in memory; the rest is in unnamed files in $TMPDIR, else /tmp.
 * Near that limit msp grants small packets only.
 *
 * Threads: one thread at a time uses a server with all its messages and connections. Different
 * servers may be used at the same time. msock_server_stop may be called from any thread and from a
 * signal handler. Nothing but answers moves between calls: a program that does not call
 * msock_server_recv, _accept, _run or msock_conn_read leaves its senders waiting. The library
 * installs no signal handler, raises no SIGPIPE and prints nothing; msock_server_set_log has what
 * it would log. */
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

/* Closes all connections (messages that are not settled fail), frees the server and what it handed
 * out, and removes the files of its Unix sockets. Not within a callback, and not in a child of a
 * fork, which shares sockets and files with its parent. NULL is fine. */
MSOCK_API void msock_server_destroy(msock_server *s);

/* Binds a listener: "auto://127.0.0.1:8000", "msp:///run/my.sock",
 * "frame://[::1]:0?framing=fixed:16", with the options that msockd.conf(5) has for listeners, but
 * handler and what belongs to it. Repeatedly, before the first recv, run or accept; peers can
 * connect from here on, and wait. MSOCK_OK, MSOCK_USAGE (the URL), MSOCK_LOCAL (it cannot be bound,
 * or its key_file not be read). */
MSOCK_API enum msock_status msock_server_add_listener(msock_server *s, const char *url);

/* Where listener `index` (from 0, in the order of adding) is bound: "127.0.0.1:43117", or the path
 * of a Unix socket, so that it makes a URL behind "msp://"; "" beyond the last. The server's. */
MSOCK_API const char *msock_server_address(const msock_server *s, unsigned index);

/* Connections at a time, 1 to 32768, default 1024; beyond, they get ERR busy or what their protocol
 * has for it. Before the first recv, run or accept. */
MSOCK_API void msock_server_set_connections(msock_server *s, unsigned max);

/* For listeners added later: no byte within a message for message_ms (default 2000); no message for
 * idle_ms (default 60000). 0 keeps a value. */
MSOCK_API void msock_server_set_timeouts(msock_server *s, unsigned message_ms, unsigned idle_ms);

/* Appends a transform: on_send to every reply and pushed message, first to last; on_receive to
 * every message, last to first, before the program sees it. Either may be NULL. A message that
 * on_receive rejects is refused (REJ refused). They are called within recv, run, accept, read,
 * write and commit, and must not call the server themselves. Before the first recv, run or accept.
 * MSOCK_OK, MSOCK_USAGE (more than 8, a listener's key_file included). */
MSOCK_API enum msock_status msock_server_add_transform(msock_server *s, msock_transform_fn on_send,
                                                       msock_transform_fn on_receive, void *arg);

/* What the server has to say that concerns no single call, such as a full disk, connections that
 * are turned away, or peers that do not read. */
enum msock_log_level {
    MSOCK_LOG_ERROR,
    MSOCK_LOG_WARN,
    MSOCK_LOG_NOTICE,
    MSOCK_LOG_INFO,
    MSOCK_LOG_DEBUG
};
typedef void (*msock_log_fn)(void *arg, enum msock_log_level level, const char *text);

/* on_log gets each line: without a line feed, control bytes escaped, valid during the call. It is
 * called in the thread that has called the server, within that call, and must not call the server
 * itself. NULL, as at first: nothing is logged. */
MSOCK_API void msock_server_set_log(msock_server *s, msock_log_fn on_log, void *arg);

/* A sentence about the last failure; "" after success. The server's, until the next call. */
MSOCK_API const char *msock_server_error(const msock_server *s);

/* --- receiving --- */

/* The next message of any connection that accept has not handed out, the connections in turn: waits
 * up to timeout_ms (-1: without end). MSOCK_OK and a message that must be settled with one of the
 * three below, in any order; MSOCK_TIMEOUT; MSOCK_CANCELLED: msock_server_stop was called, and all
 * that had been read by then is handed over; MSOCK_USAGE: no listener; MSOCK_LOCAL: no memory or no
 * descriptors. */
MSOCK_API enum msock_status
msock_server_recv(msock_server *s, int timeout_ms, msock_message **message_out);

/* Callbacks of msock_server_run; any may be NULL but message. They are never called from within a
 * call of the program's, so all functions but _run and _destroy may be used in them. */
struct msock_server_callbacks {
    void (*message)(void *arg, msock_server *s,
                    msock_message *message); /* settle it, now or later */
    void (*opened)(void *arg, msock_server *s, msock_conn *conn);
    void (*closed)(void *arg, msock_server *s, msock_conn *conn); /* its last moment, and conn's */
    void (*tick)(void *arg, msock_server *s);                     /* every tick_ms */
    int tick_ms;                                                  /* default 1000 */
};

/* Receives until msock_server_stop; then takes no new connections, finishes the messages under way
 * (at most drain_ms, 0: those that are there), tells and closes the connections as it can, and
 * returns MSOCK_OK. Messages that are kept may be settled afterwards. MSOCK_USAGE: no listener, no
 * callback for messages; MSOCK_LOCAL. */
MSOCK_API enum msock_status
msock_server_run(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg,
                 int drain_ms);

/* Makes recv, run, accept, read and write return, now and from now on: what is left to do is to
 * settle, and to destroy the server. Any thread, any signal handler, also before the server is
 * used. */
MSOCK_API void msock_server_stop(msock_server *s);

/* --- a message --- */

/* Its bytes, *n of them; NUL-terminated besides. NULL where they cannot be read back (fail it
 * then). The message's, until it is settled. */
MSOCK_API const void *msock_message_data(msock_message *m, size_t *n);

/* Kind J: the document as it was parsed when it came. The message's, until it is settled;
 * json_incref keeps it longer. NULL for other kinds. */
MSOCK_API json_t *msock_message_json(const msock_message *m);
MSOCK_API char msock_message_kind(const msock_message *m);      /* 'A', 'J' or 'F' */
MSOCK_API const char *msock_message_id(const msock_message *m); /* id or path; "" without */
MSOCK_API const unsigned char *msock_message_sha256(const msock_message *m); /* 32 bytes */
MSOCK_API const char *msock_message_peer(const msock_message *m);            /* "127.0.0.1:50412" */
MSOCK_API const char *msock_message_protocol(const msock_message *m);        /* "msp" */
MSOCK_API int msock_message_wants_reply(const msock_message *m);

/* Who sent it; NULL where that connection is gone. */
MSOCK_API msock_conn *msock_message_conn(const msock_message *m);

/* Each settles the message and frees it. Commit: the sender is told that it is safe, with n bytes
 * of reply (copied; at most 16 MiB, what transforms add included, or the message fails; NULL: none)
 * where one is wanted. Refuse: REJ refused with a sentence, or NULL; over tinyproto and frame,
 * which have no word for it, a connection that waits for a reply ends. Fail: our side could not,
 * the connection ends and the sender may send it again. */
MSOCK_API void msock_message_commit(msock_message *m, const void *reply, size_t n);
MSOCK_API void msock_message_refuse(msock_message *m, const char *text);
MSOCK_API void msock_message_fail(msock_message *m, const char *text);

/* --- one connection, like a socket --- */

/* The next connection that was not handed out yet. Its messages are then for msock_conn_read alone.
 * A connection that has ended already is handed out where there are messages of it. MSOCK_OK,
 * MSOCK_TIMEOUT, MSOCK_CANCELLED, MSOCK_USAGE, MSOCK_LOCAL. The connection stays valid until
 * msock_conn_disconnect, also when its peer has gone. */
MSOCK_API enum msock_status
msock_server_accept(msock_server *s, int timeout_ms, msock_conn **conn_out);

/* The next message of this connection. MSOCK_OK, MSOCK_TIMEOUT, MSOCK_UNREACHABLE: it has ended;
 * MSOCK_CANCELLED. */
MSOCK_API enum msock_status
msock_conn_read(msock_conn *c, int timeout_ms, msock_message **message_out);

/* Sends a message to the peer, whether it asked or not: over tinyproto, cnp and frame. Copies;
 * waits up to timeout_ms until no more than 1 MiB (the listener's send_queue_max) is left unread.
 * MSOCK_OK: it is on its way, and goes on with each further call; MSOCK_TIMEOUT, MSOCK_CANCELLED
 * (nothing of it was sent); MSOCK_UNREACHABLE: the connection has ended; MSOCK_USAGE (msp, auto
 * before its peer has said anything, or too long for the peer). */
MSOCK_API enum msock_status
msock_conn_write(msock_conn *c, const void *data, size_t n, int timeout_ms);
MSOCK_API const char *msock_conn_peer(const msock_conn *c);
MSOCK_API const char *msock_conn_protocol(const msock_conn *c);

/* Ends the connection, between messages; what was written before is still sent, as long as the
 * program goes on receiving. Messages of it that were not handed over yet fail. c is gone where it
 * came from msock_server_accept; within msock_server_run it is there until closed was called for
 * it. */
MSOCK_API void msock_conn_disconnect(msock_conn *c);

#ifdef __cplusplus
}
#endif

#endif
