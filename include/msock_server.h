/* libmsock, the receiving half: a server inside one's own program. It has the code of msockd's
 * workers, in the calling thread and without a fork: every protocol, every check, every answer.
 * Numbers in parentheses, such as (1.2), are sections of docs/protocol.md.
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
 * Memory: a slow program slows its senders down and needs no more memory. The server stops reading
 * from a connection with 1024 unsettled messages, or with unread answers. Up to 256 KiB of a
 * message and 64 MiB of all messages are held in memory; the rest is in unnamed files in $TMPDIR,
 * else /tmp. Near that limit msp grants small packets only.
 *
 * Threads: one thread at a time uses a server with all its messages and connections. Different
 * servers may be used at the same time. Only msock_server_stop may be called from any thread and
 * from a signal handler.
 *
 * Between calls the server only answers. A program that does not call msock_server_recv, _accept,
 * _run or msock_conn_read leaves its senders waiting. What msock.h says of signals, limits,
 * descriptors and forks holds here too; msock_server_set_log gets the log lines. */
#ifndef MSOCK_SERVER_H
#define MSOCK_SERVER_H

#include "msock.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct msock_server msock_server;
typedef struct msock_conn msock_conn;       /* one connection; the server owns it */
typedef struct msock_message msock_message; /* one received message */

/* --- the server --- */

/* Makes a server without listeners. Returns NULL without memory or descriptors. The caller owns it;
 * msock_server_destroy frees it. */
MSOCK_API msock_server *msock_server_create(void);

/* Closes all connections, frees the server with all its messages and connections, and removes the
 * files of its Unix sockets. Unsettled messages fail. Do not call it within a callback, nor for a
 * server that another process uses: in the child of a fork it does nothing at all, since sockets
 * and files are shared. NULL is allowed. */
MSOCK_API void msock_server_destroy(msock_server *s);

/* Binds a listener: "auto://127.0.0.1:8000", "msp:///run/my.sock",
 * "frame://[::1]:0?framing=fixed:16". The options are those of listeners in msockd.conf(5), without
 * handler and the options of handlers. May be called several times, before the first recv, run or
 * accept. From now on peers can connect, and wait. Returns MSOCK_OK, MSOCK_USAGE (the URL is wrong)
 * or MSOCK_LOCAL (the address cannot be bound, or the key_file cannot be read). */
MSOCK_API enum msock_status msock_server_add_listener(msock_server *s, const char *url);

/* Returns the address of a listener: "127.0.0.1:43117", or the path of a Unix socket, so that it
 * makes a URL behind "msp://". A name with several addresses has them all, with ", " between two;
 * "[::]:43117" takes IPv4 too, unless the URL says v6only=yes. index counts the listeners from 0 in
 * the order of adding. Returns "" beyond the last. The server owns the text. */
MSOCK_API const char *msock_server_address(const msock_server *s, unsigned index);

/* Sets the most connections at a time, 1 to 32768; default 1024. One more gets ERR busy, or its
 * protocol's counterpart. Call it before the first recv, run or accept. */
MSOCK_API void msock_server_set_connections(msock_server *s, unsigned max);

/* Sets, for listeners added later, the longest silence within a message (message_ms, default 2000)
 * and between messages (idle_ms, default 60000), in milliseconds. 0 keeps a value. */
MSOCK_API void msock_server_set_timeouts(msock_server *s, unsigned message_ms, unsigned idle_ms);

/* Appends a transform (2). on_send changes every reply and pushed message, first to last in the
 * list. on_receive changes every message, last to first, before the program sees it. Either may be
 * NULL. A message that on_receive rejects is refused (REJ refused).
 *
 * Transforms are called within recv, run, accept, read, write and commit, and must not call the
 * server. Call this before the first recv, run or accept. Returns MSOCK_OK, or MSOCK_USAGE for more
 * than 8 transforms, the key_file of a listener included. */
MSOCK_API enum msock_status msock_server_add_transform(msock_server *s, msock_transform_fn on_send,
                                                       msock_transform_fn on_receive, void *arg);

/* Levels of log lines. The log has events that belong to no single call, such as a full disk,
 * connections over the limit, or peers that do not read. */
enum msock_log_level {
    MSOCK_LOG_ERROR,
    MSOCK_LOG_WARN,
    MSOCK_LOG_NOTICE,
    MSOCK_LOG_INFO,
    MSOCK_LOG_DEBUG
};
typedef void (*msock_log_fn)(void *arg, enum msock_log_level level, const char *text);

/* Sets a callback for log lines; NULL, the default: nothing is logged. A line has no line feed, and
 * its control bytes are escaped. It is valid during the call. The callback runs in the thread that
 * has called the server, within that call, and must not call the server. */
MSOCK_API void msock_server_set_log(msock_server *s, msock_log_fn on_log, void *arg);

/* Returns a sentence about the last failure; "" after success. The server owns it until the next
 * call. */
MSOCK_API const char *msock_server_error(const msock_server *s);

/* --- receiving --- */

/* Waits up to timeout_ms (-1: without end) for the next message. The connections take turns; those
 * that msock_server_accept has handed out are left out. Returns:
 *
 *   MSOCK_OK         *message_out is a message; the program must settle it with one of the three
 *                    calls below, in any order
 *   MSOCK_TIMEOUT    no message came in time
 *   MSOCK_CANCELLED  msock_server_stop was called, and all messages read by then are handed over
 *   MSOCK_USAGE      there is no listener
 *   MSOCK_LOCAL      no memory or no descriptors */
MSOCK_API enum msock_status
msock_server_recv(msock_server *s, int timeout_ms, msock_message **message_out);

/* Callbacks of msock_server_run. Only message is required; the others may be NULL. They never run
 * within another call of the program, so they may use every function except _run, _dispatch and
 * _destroy. */
struct msock_server_callbacks {
    void (*message)(void *arg, msock_server *s,
                    msock_message *message); /* settle it, now or later */
    void (*opened)(void *arg, msock_server *s, msock_conn *conn);
    /* The connection has ended. conn is valid until closed returns. */
    void (*closed)(void *arg, msock_server *s, msock_conn *conn);
    void (*tick)(void *arg, msock_server *s); /* every tick_ms milliseconds */
    int tick_ms;                              /* default 1000 */
};

/* Receives until msock_server_stop. Then it takes no new connections and waits up to drain_ms
 * milliseconds for messages under way (0: takes only those that are there). It tells the peers, if
 * their protocol can, closes the connections, and returns MSOCK_OK. Unsettled messages may be
 * settled afterwards. Returns MSOCK_USAGE without a listener or a callback for messages, else
 * MSOCK_LOCAL. */
MSOCK_API enum msock_status
msock_server_run(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg,
                 int drain_ms);

/* Makes recv, run, accept, read and write return, now and from now on. After it the program can
 * only settle messages and destroy the server. Any thread, any signal handler, also before the
 * server is used. */
MSOCK_API void msock_server_stop(msock_server *s);

/* --- for programs with an event loop of their own --- */

/* Returns a descriptor that poll(2) finds readable (POLLIN) when the server has something to do;
 * the server owns it, and it stays the same. Then, and when msock_server_timeout milliseconds are
 * over without an event, the program calls msock_server_recv with timeout 0 until that returns
 * MSOCK_TIMEOUT, or msock_server_dispatch. Returns -1 if the server cannot be used, see
 * msock_server_error. From now on no listener can be added. */
MSOCK_API int msock_server_fd(msock_server *s);

/* Returns for how many milliseconds the program may wait now, from 0 on. Ask anew before each wait,
 * and after each call of another function for this server. */
MSOCK_API int msock_server_timeout(const msock_server *s);

/* Does what there is to do, without waiting, and calls the callbacks as msock_server_run does, but
 * for tick. Returns MSOCK_OK; MSOCK_CANCELLED after msock_server_stop, when everything is told that
 * was there; MSOCK_USAGE without a listener or a callback for messages, or within a callback;
 * MSOCK_LOCAL. Afterwards msock_server_run may end the server in order. */
MSOCK_API enum msock_status
msock_server_dispatch(msock_server *s, const struct msock_server_callbacks *callbacks, void *arg);

/* --- statistics --- */

/* Counts since the first call that received; those of the protocols are described in
 * docs/protocol.md, with each of them. */
struct msock_server_counts {
    uint64_t acks, nack1, nack2, rej, err; /* answers sent, or the protocol's counterparts */
    uint64_t messages;                     /* committed */
    uint64_t duplicates; /* of these, answered by the outcome of an earlier copy */
    uint64_t packets;    /* accepted */
    uint64_t bytes_in, bytes_out;
    uint64_t cut;               /* messages dropped because their end did not come */
    uint64_t accepted, refused; /* connections */
    uint64_t open;              /* connections now */
};
MSOCK_API void
msock_server_get_counts(const msock_server *s, struct msock_server_counts *counts_out);

/* --- a message --- */

/* Returns the bytes of the message, *n of them, and a NUL behind them. The message owns them until
 * it is settled. Returns NULL if they cannot be read back; then fail the message. */
MSOCK_API const void *msock_message_data(msock_message *m, size_t *n);

/* Returns the document of a message of kind J, parsed when it came; NULL for other kinds. The
 * message owns it until it is settled; json_incref keeps it longer. */
MSOCK_API json_t *msock_message_json(const msock_message *m);

/* Facts about the message. The message owns the texts until it is settled. */
MSOCK_API char msock_message_kind(const msock_message *m);      /* 'A', 'J' or 'F' (1.1) */
MSOCK_API const char *msock_message_id(const msock_message *m); /* id or path; "" without */
MSOCK_API uint64_t msock_message_size(const msock_message *m);  /* bytes of its data */
MSOCK_API const unsigned char *msock_message_sha256(const msock_message *m); /* 32 bytes */
MSOCK_API const char *msock_message_peer(const msock_message *m);            /* "127.0.0.1:50412" */
MSOCK_API const char *msock_message_protocol(const msock_message *m);        /* "msp" */
MSOCK_API int msock_message_wants_reply(const msock_message *m); /* 1: a reply will be sent (6) */

/* Returns the connection of the sender; NULL if that connection has ended. */
MSOCK_API msock_conn *msock_message_conn(const msock_message *m);

/* Each of these three settles the message and frees it. text is a sentence, or NULL.
 *
 * A message with an id, or a file, that was committed is answered by the library when it comes
 * again within 10 minutes, and the program does not see it (1.9); the reply is an object with its
 * size and digest. The option dedup_window of a listener's URL sets another time, 0 none at all.
 * 100,000 ids are remembered, as long as the server lives.
 *
 * commit  The sender is told that the message is safe. reply, n bytes, goes with it if a reply is
 *         wanted; copied; NULL: none. A reply over 16 MiB, counted after the transforms, fails the
 *         message.
 * refuse  The sender is told that the message is refused: REJ refused with text (1.2), ERROR
 *         refused (3.3). tinyproto and frame cannot say so; if a reply is wanted, the connection
 *         ends.
 * fail    This side could not take the message. The connection ends, and the sender may send the
 *         message again. */
MSOCK_API void msock_message_commit(msock_message *m, const void *reply, size_t n);
MSOCK_API void msock_message_refuse(msock_message *m, const char *text);
MSOCK_API void msock_message_fail(msock_message *m, const char *text);

/* --- one connection, like a socket --- */

/* Waits up to timeout_ms (-1: without end) for the next connection that was not handed out yet.
 * From then on only msock_conn_read gets its messages. A connection that has ended already is
 * handed out if it left messages. It stays valid until msock_conn_disconnect, even after its peer
 * has gone. Returns MSOCK_OK, MSOCK_TIMEOUT, MSOCK_CANCELLED, MSOCK_USAGE or MSOCK_LOCAL, as
 * msock_server_recv. */
MSOCK_API enum msock_status
msock_server_accept(msock_server *s, int timeout_ms, msock_conn **conn_out);

/* Waits up to timeout_ms (-1: without end) for the next message of this connection. Returns
 * MSOCK_OK, MSOCK_TIMEOUT, MSOCK_CANCELLED, or MSOCK_UNREACHABLE if the connection has ended. */
MSOCK_API enum msock_status
msock_conn_read(msock_conn *c, int timeout_ms, msock_message **message_out);

/* Sends a message of n bytes to the peer, without a request from it, over every protocol but msp
 * (6); copied. Waits up to timeout_ms until the peer has no more than the listener's send_queue_max
 * (1 MiB) left to read. Over auto the message waits until the peer has said what it speaks, and is
 * dropped if that is msp. Returns:
 *
 *   MSOCK_OK           the message is on its way; every further call on the server sends more of it
 *   MSOCK_TIMEOUT, MSOCK_CANCELLED   nothing of the message was sent
 *   MSOCK_UNREACHABLE  the connection has ended
 *   MSOCK_USAGE        the protocol is msp, or the message is too long for the peer, or more than
 *                      send_queue_max waits behind a message of the peer that is not settled */
MSOCK_API enum msock_status
msock_conn_write(msock_conn *c, const void *data, size_t n, int timeout_ms);

/* The peer's address and the protocol, as for a message. The connection owns the texts. */
MSOCK_API const char *msock_conn_peer(const msock_conn *c);
MSOCK_API const char *msock_conn_protocol(const msock_conn *c);

/* Who the peer is: "cert:NAME" by its certificate, "user:NAME" on a Unix socket, "-" where it has
 * no identity (docs/protocol.md 9). UTF-8; it may hold control characters. The connection owns it.
 */
MSOCK_API const char *msock_conn_identity(const msock_conn *c);

/* Ends the connection between messages. Everything written before is still sent, as long as the
 * program goes on receiving. Its messages that were not handed over yet fail. A connection from
 * msock_server_accept is not valid afterwards. Within msock_server_run it is valid until its
 * callback closed has returned. */
MSOCK_API void msock_conn_disconnect(msock_conn *c);

#ifdef __cplusplus
}
#endif

#endif
