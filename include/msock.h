/* libmsock, the sending half: sends messages, JSON documents and files, and says when they have
 * arrived, whole, and are safe. It also talks to servers of the smaller protocols. Numbers in
 * parentheses, such as (1.7), are sections of docs/protocol.md. msock_server.h is the other half:
 * it receives.
 *
 * A handle is one connection, to one server or to one of a list. The library makes the connection
 * when it first needs it, and makes it again when it was lost.
 *
 * The process is the program's. The library keeps no state besides its handles, the lookups of
 * names and whose turn it is with pick=spread, prints nothing, and changes no signal handler,
 * signal mask, umask, locale, limit or current directory, nor depends on them. It raises neither
 * SIGPIPE nor SIGXFSZ: beyond RLIMIT_FSIZE a call fails. Signals may interrupt it at any point.
 * None of its descriptors is 0, 1 or 2, also where these are closed.
 *
 * fork: a connection belongs to the process that has made it. In another process only msock_close
 * may be called for it, which then frees the copy and leaves the connection alone.
 *
 * Names: a host name is looked up in a thread of the library's, with all signals blocked. If the
 * resolver does not answer in time, the thread is left behind and ends by itself, even after
 * msock_close. A process has at most 16 of these; until one has ended, further lookups fail. After
 * a lookup the code stays in memory, even after dlclose(3). A child that is forked asks anew.
 *
 * Threads: any thread may use a handle, but only one at a time. Two handles may be used at the same
 * time. "Any thread" at a function means that it may be called at the same time as any other.
 *
 * Errors: every function that can fail returns an enum msock_status, where MSOCK_OK is 0.
 * msock_error() then has a sentence for people. */
#ifndef MSOCK_H
#define MSOCK_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MSOCK_API __attribute__((visibility("default")))

#define MSOCK_VERSION "0.1.0"

enum msock_status {
    MSOCK_OK = 0,
    MSOCK_USAGE, /* an argument is wrong; nothing was sent */
    /* REJ: the server refused the message and keeps nothing of it (1.2); or every server would, and
     * nothing was sent */
    MSOCK_REFUSED,
    MSOCK_UNREACHABLE, /* no connection could be made, in all attempts */
    /* connected, but no final ACK after all retries: the message is in doubt (1.7) */
    MSOCK_GIVEN_UP,
    MSOCK_LOCAL,     /* this side failed: a file cannot be read, no memory, a transform failed */
    MSOCK_CANCELLED, /* the progress callback stopped the message; it is not committed. Or the
                        function of msock_set_wait ended the call */
    MSOCK_TIMEOUT,   /* sending: the server took the message, but the wanted reply was lost, late or
                        not to be opened;
                        receiving: no message came in time, and nothing is lost */
};

typedef struct msock msock;

/* Returns the version of the library that is running. Static. Any thread. */
MSOCK_API const char *msock_version(void);

/* Returns a word for a status: "ok", "refused", ... Static. Any thread. */
MSOCK_API const char *msock_status_name(enum msock_status status);

/* --- handle --- */

/* Makes a handle for a server; does not connect. The URL is one of "msp://127.0.0.1:8000",
 * "msp://[::1]:8000" and "msp:///run/msock.sock", or the same with tinyproto, cnp or frame. The
 * default port is 8000. A name is looked up at each connection, and its addresses, at most 16, are
 * tried in turn (RFC 8305): the next one as soon as one fails, or after 250 ms without an answer.
 * The first that connects is used, and is the first one next time. "localhost" and names under
 * ".localhost" are ::1 and 127.0.0.1, and ask no resolver.
 *
 * "msp://a:8000,b:8001,[::1]" is a list of up to 16 servers, any of which may take a message; none
 * is a Unix socket, and none stands there twice. All addresses of all of them are tried as those of
 * one name; a name is looked up when its turn comes. An address that fails rests for 0.5 s, then 1
 * s and so on up to 30 s, less a random part up to half, until a message goes well there: until
 * then those that do not rest come first. Nothing waits for a rest to end. A message may move to
 * another server, under the same id: whether it is a double there is for what stands behind the
 * servers.
 *
 * "msp+tls://" is msp inside TLS 1.3, and so are the others. The server's certificate must be one
 * of the system's authorities, or of those in tls_ca, and have the host of the URL, a name or an
 * address. The handshake is part of connecting. Where a certificate is not taken, ours or the
 * server's, the other addresses and servers get their turn, then there is one retry at most, and
 * msock_error_code is "untrusted": nothing of the message was taken.
 *
 * Options stand behind "?" with "&" between them:
 *
 *   pick                all: which server comes first: first (the default: the earliest of the list
 *                       that does not rest), random (an order by chance for each handle) or spread
 *                       (each choice in this process begins at the next server). With random and
 *                       spread a server is kept while it works, and the addresses of a name are
 *                       chosen in that way too.
 *   framing             frame: length32 (the default), fixed:N, delimiter, delimiter:X, eof (4)
 *   delimiter           frame with framing=delimiter: 1 to 32 bytes, also NUL ("delimiter=%00");
 *                       a newline by default
 *   role                tinyproto: server for a connection that somebody else has made
 *                       (msock_attach), else client
 *   mode                cnp: step-by-step (the default) or burst (3.2)
 *   window_size         cnp with mode=burst: 2 to 1024 packets, 64 by default (3.3)
 *   tls_ca, tls_cert, tls_key, tls_name, tls_insecure=yes
 *                       "+tls": as msock_set_tls. They are read now.
 *   key_file            all: as msock_set_key, with two differences: the key is always the last
 *                       transform on the way out, and no call removes it. It is read now.
 *
 * Returns NULL for a URL that cannot be used (msock_url_error says why) or without memory. The
 * caller owns the handle; msock_close frees it. Any thread. */
MSOCK_API msock *msock_open(const char *url);

/* Checks a URL as msock_open does. Returns MSOCK_OK if it is good. Otherwise error gets the reason,
 * a sentence of at most n bytes with its NUL. Any thread. */
MSOCK_API enum msock_status msock_url_error(const char *url, char *error, size_t n);

/* Connects now and not with the first message, so that an unreachable server is noticed early.
 * Tries again as msock_set_retries says. Returns MSOCK_OK or MSOCK_UNREACHABLE. */
MSOCK_API enum msock_status msock_connect(msock *m);

/* Gives a new handle a stream socket that is connected already, by somebody else or to somebody who
 * has connected to this program. The handle speaks its protocol there, in the client's role unless
 * its URL says role=server, and owns fd from now on, also if this fails. It never connects by
 * itself: the host of its URL is not used, and when the connection has ended, calls return
 * MSOCK_UNREACHABLE or MSOCK_GIVEN_UP. Waits up to answer_ms where the protocol begins with an
 * answer. Returns MSOCK_OK; MSOCK_USAGE if the handle was connected before, or fd is no connected
 * stream socket; MSOCK_UNREACHABLE. */
MSOCK_API enum msock_status msock_attach(msock *m, int fd);

/* Returns 1 if MSOCK_OK from a sending call means that the server has taken the message (msp, cnp).
 * Returns 0 if it only means that the message was sent (tinyproto, frame: no acknowledgement). */
MSOCK_API int msock_acknowledges(const msock *m);

/* Closes the connection and frees the handle. NULL is allowed. Over every protocol but msp
 * it first waits, up to answer_ms, until the server has read everything and closes: a close with
 * unread bytes from the server would destroy messages that are still on their way. */
MSOCK_API void msock_close(msock *m);

/* --- options: set them at any time between two messages --- */

/* Sets how long to wait, in milliseconds. answer_ms, default 2000: for a connection, with the
 * lookup of the name and all its addresses; for each answer; and for a packet to move on.
 * commit_ms, default 300000 (5 minutes): for the final answer, or the reply, once the whole message
 * has left, also ahead; the server's disk or program may be slow. It is all that limits this wait,
 * as long as the connection holds: it ends after about 40 s without an answer of the server's TCP.
 * Then the message is in doubt, and is sent again where the protocol allows it: to a msockd, that
 * copy gets the outcome of the first (1.9). A message so takes at most retries + 1 times the time
 * to send it and commit_ms, and the pauses between. 0 keeps a value. */
MSOCK_API void msock_set_timeouts(msock *m, unsigned answer_ms, unsigned commit_ms);

/* Sets how often a message is begun again after ERR, a lost connection or too many NACKs (1.7);
 * default 5. The first wait is base_ms milliseconds (default 50). It doubles up to max_ms (default
 * 5000). A random part, up to half, is left out, so that many clients do not come back at once.
 *
 * These do not count as retries: a connection that the server had closed while it was idle, a
 * message sent ahead that got a NACK (1.6), and a move to another address after the ERR codes busy
 * and shutdown, or before anything of the message has left. If an idle connection ends just as a
 * message is sent, the first retry does not wait. With several servers or addresses, a wait comes
 * only when each has had its turn since the last one. After the ERR codes bad-header, too-long and
 * denied there is one retry only. */
MSOCK_API void msock_set_retries(msock *m, unsigned retries, unsigned base_ms, unsigned max_ms);

/* Sets how many NACKs within one message the connection survives; default 10. */
MSOCK_API void msock_set_nack_limit(msock *m, unsigned limit);

/* Sets a progress callback; NULL: none. The thread that sends calls it before each packet, before
 * the trailer, and once at the end. done bytes of total are acknowledged by then (tinyproto, frame:
 * sent). Each new attempt counts from 0. It must not use the handle.
 *
 * A return value other than 0 stops the message: it is not committed (unless an earlier attempt is
 * in doubt), the connection is closed, and the sending call returns MSOCK_CANCELLED. At the end the
 * message is committed already, and the value does not matter. */
typedef int (*msock_progress_fn)(void *arg, uint64_t done, uint64_t total);
MSOCK_API void msock_set_progress(msock *m, msock_progress_fn fn, void *arg);

/* Sets one transform for sending, such as encryption or compression; NULL: none. It replaces all
 * transforms, except the key of the URL. For a list, or for receiving, use msock_add_transform.
 *
 * fn gets the body of a message, once a message and not once an attempt. It puts the bytes to send
 * instead into *out, from malloc(3), and their number into *out_len; the library frees them. It
 * returns 0. Any other value fails the call with MSOCK_LOCAL; then *out needs no free. A server
 * that receives refuses the message then; but with errno ENOMEM, ENOSPC, EDQUOT, EFBIG, EIO, EMFILE
 * or ENFILE the message fails, so that its sender may send it again. A JSON document must still be
 * JSON afterwards, or the server refuses it. The receiver gets the changed bytes, so it must know
 * the transform. */
typedef int (*msock_transform_fn)(void *arg, const void *in, size_t in_len, void **out,
                                  size_t *out_len);
MSOCK_API void msock_set_transform(msock *m, msock_transform_fn fn, void *arg);

/* Appends to the list of transforms (2). on_send changes every message, first to last in the list.
 * on_receive changes every reply and received message, last to first. Either may be NULL. With a
 * transform, files are read into memory and transformed too, up to 256 MiB; a larger one fails with
 * MSOCK_USAGE and is not sent. Returns MSOCK_OK, or MSOCK_USAGE for more than 8 transforms. */
MSOCK_API enum msock_status
msock_add_transform(msock *m, msock_transform_fn on_send, msock_transform_fn on_receive, void *arg);

/* Appends the transform that seals with XAES-256-GCM (7). The file at path has the key, 32 bytes,
 * or up to 8 keys in lines of 64 hex digits: the first one seals, all of them open. It belongs to
 * root or the caller, and nobody else may have any right to it. The server has the same key in
 * ?key_file=. A reply that cannot be opened is an error, never data. Returns MSOCK_OK, MSOCK_LOCAL,
 * or MSOCK_USAGE: there is a key already, the URL's too; or with framing=delimiter, because sealed
 * bytes may hold the delimiter. */
MSOCK_API enum msock_status msock_set_key(msock *m, const char *path);

/* Sets TLS, for a new handle whose URL begins with "msp+tls://" or so. Each may be NULL, for what
 * the URL says: ca, a file with the authorities that are trusted; cert and key_file, our
 * certificate and its key (not that of msock_set_key); server_name, which the server's certificate
 * must have. All files are PEM and are read now; only its owner and group may read the key. With
 * insecure not 0 anybody can be the server. Returns MSOCK_OK; MSOCK_USAGE without TLS, or after the
 * first connection; or MSOCK_LOCAL for a file that cannot be used. */
MSOCK_API enum msock_status
msock_set_tls(msock *m, const char *ca, const char *cert, const char *key_file,
              const char *server_name, int insecure);

/* Sets the id of the next message: 1 to 2006 bytes of any kind, copied. The receiver sees it and
 * may use it to drop a double (1.7). The next message that is not a file uses it up. Returns
 * MSOCK_OK or MSOCK_USAGE. */
MSOCK_API enum msock_status msock_set_id(msock *m, const void *id, size_t n);

/* Sets whether a message without an id gets a random one of 32 hex digits; default on. */
MSOCK_API void msock_set_auto_id(msock *m, int on);

/* Sets whether to ask for the handler's reply with each message (1.5); default off. msock_reply has
 * it afterwards.
 *
 * Over every protocol but msp the wire does not mark a reply (6). The library takes the first
 * message that begins to come after the sent one has left (cnp: was acknowledged). Earlier messages
 * are for msock_recv. So a push in between is taken for the reply, and the reply then comes out of
 * msock_recv, or as the reply to the next message. A server that sends both pushes and replies on
 * one connection, or replies that nobody asked for, must mark its replies. */
MSOCK_API void msock_set_want_reply(msock *m, int on);

/* Sets a function that waits in the place of poll(2); NULL: none. With it a program can look at its
 * signals, or serve an event loop of its own from another stack. The handle calls it, in the thread
 * of the call, wherever it would wait, with the arguments of poll(2); with n 0 it is a pause. It
 * returns as poll(2) does, and must not use the handle.
 *
 * With -1 and another errno than EINTR it ends the call: the call waits no more and returns
 * MSOCK_CANCELLED. A message under way is then not committed, or in doubt, as the sentence says,
 * and its connection is closed. msock_recv and msock_flush lose nothing; msock_send_ahead takes
 * back a message that was still waiting for room. A look-up goes on by itself, as after its time.
 */
struct pollfd;
typedef int (*msock_wait_fn)(void *arg, struct pollfd *fds, unsigned n, int timeout_ms);
MSOCK_API void msock_set_wait(msock *m, msock_wait_fn fn, void *arg);

/* --- sending --- */

/* Each call of this part returns when the message is committed, refused or given up.
 *
 * Over every protocol but msp a message has at most 256 MiB and no kind, id or path: only the
 * bytes are sent, of a file its contents. What MSOCK_OK means there:
 *
 *   cnp               the same as over msp: the server's handler has taken the message (3.3)
 *   tinyproto, frame  the kernel has the message; with msock_set_want_reply, the reply is here
 *
 * Over these three a message whose last byte has left is never sent again, unless the ERROR with
 * which a cnp server ends shows that it was not taken: after MSOCK_GIVEN_UP the program must find
 * out by itself. MSOCK_USAGE also means that the protocol cannot carry the message, such as a fixed
 * frame of another size, or a delimiter in the message. With framing=eof each message has a
 * connection of its own. If a wanted reply does not come in time, the connection is closed, so that
 * the late reply is not taken for that of a later message. */

/* Sends a plain message of n bytes (KIND A). 0 bytes are a message too. */
MSOCK_API enum msock_status msock_send(msock *m, const void *data, size_t n);

/* Sends a JSON document (KIND J): n bytes of text, as they are. The server checks it. */
MSOCK_API enum msock_status msock_send_json_text(msock *m, const char *text, size_t n);

/* Sends a value as a JSON document, written compactly. The caller keeps the value, and must not
 * change it during the call. */
MSOCK_API enum msock_status msock_send_json(msock *m, const json_t *value);

/* Sends a file (KIND F). It is streamed from disk and read once. The server stores it under
 * remote_path, a relative path of 1 to 2006 bytes; NULL: under the file's own name. A FIFO, and a
 * file that does not tell its size (/proc), are first read to their end, into an unnamed file in
 * $TMPDIR, else /tmp. A file that is written to meanwhile fails with MSOCK_LOCAL, and so do
 * directories, sockets and devices. A path that no server takes is MSOCK_REFUSED with the code
 * "bad-path" before a connection is made. */
MSOCK_API enum msock_status
msock_send_file(msock *m, const char *local_path, const char *remote_path);

/* The same from an open descriptor, such as a pipe or standard input: from its position to its end.
 * The caller keeps fd. */
MSOCK_API enum msock_status msock_send_fd(msock *m, int fd, const char *remote_path);

/* --- sending ahead: many messages without a wait for each answer (1.6) --- */

/* Sets the callback that reports each message sent ahead, in the order of sending, which is also
 * the order of arrival. number counts the messages from 0 over the life of the handle. MSOCK_OK:
 * the server has taken the message (tinyproto, frame: it was sent). Otherwise msock_error and
 * msock_error_code say why; MSOCK_REFUSED and MSOCK_USAGE are about this message alone. It is
 * called within msock_send_ahead, msock_flush and the other sending calls, in their thread, and
 * must not send. */
typedef void (*msock_settled_fn)(void *arg, uint64_t number, enum msock_status status);
MSOCK_API void msock_set_settled(msock *m, msock_settled_fn fn, void *arg);

/* Sends a message (kind 'A') or a JSON document ('J') of n bytes, at most 256 MiB; copied.
 * Transforms apply; the progress callback does not.
 *
 * Waiting: with 1,024 messages or 4 MiB unanswered, it waits until half of them are answered.
 * Gathering: small messages leave together, at msock_flush or when they make 32 KiB. For both sums
 * a message counts as its size plus 256 bytes. After a lost connection, messages without an answer
 * are sent again under their ids. Over every protocol but msp, messages that had left are not sent
 * again but reported as MSOCK_GIVEN_UP.
 *
 * Returns MSOCK_OK: the message will be reported. MSOCK_USAGE (also while a reply is wanted, and
 * for a message that the protocol cannot carry) or MSOCK_LOCAL: it will not. Any other value: all
 * messages so far, this one too, have ended and were reported. */
MSOCK_API enum msock_status msock_send_ahead(msock *m, char kind, const void *data, size_t n);

/* Sends all gathered messages, and waits up to timeout_ms (-1: without end) until all are reported.
 * With 0 it sends and receives as much as it can without waiting. Returns MSOCK_OK: all are
 * reported. MSOCK_TIMEOUT: not yet. Any other value: all messages so far have ended. */
MSOCK_API enum msock_status msock_flush(msock *m, int timeout_ms);

/* --- receiving what the server sends by itself --- */

/* Waits up to timeout_ms (-1: without end) for the next message that the server sends by itself,
 * over every protocol but msp (6). A reply that a sending call waited for does not come here.
 * Connects, once, if there is no connection. Returns:
 *
 *   MSOCK_OK           *data_out has *n bytes (n may be NULL) and a NUL behind them; the handle
 *                      owns them until its next msock_recv
 *   MSOCK_TIMEOUT      no message came in time
 *   MSOCK_UNREACHABLE  the connection has ended, or none can be made; the next call connects again
 *   MSOCK_LOCAL        a transform rejected a message, which is dropped; or there is no memory:
 *                      a message that has come is there for the next call
 *   MSOCK_USAGE        the protocol is msp */
MSOCK_API enum msock_status msock_recv(msock *m, int timeout_ms, const void **data_out, size_t *n);

/* Returns the descriptor of the connection, to wait for with poll(2); -1 without a connection. The
 * handle may already hold messages that it has read during any other call, and poll does not see
 * them. So before waiting, call msock_recv(m, 0, ...) until it returns MSOCK_TIMEOUT. */
MSOCK_API int msock_fd(const msock *m);

/* Returns the poll(2) events to wait for on msock_fd: POLLIN, and POLLOUT while there are bytes
 * that the kernel has not taken yet. Ask after the call that sends. */
MSOCK_API short msock_events(const msock *m);

/* --- results of the last call --- */

/* Returns a sentence about the last failure on this handle; "" after success. With a list of
 * servers it tells of each one how it has failed during the call. The handle owns it until the next
 * call. */
MSOCK_API const char *msock_error(const msock *m);

/* Returns the code of the last REJ or ERR ("bad-json", "exists", "timeout", ...), or "no-temporary"
 * if input that does not tell its size could not be copied to TMPDIR; "" otherwise. The handle owns
 * it until the next call. */
MSOCK_API const char *msock_error_code(const msock *m);

/* Returns the server of the last connection, also after its end: "127.0.0.1:8000",
 * "example.org:8000 (192.0.2.1:8000)", "unix:/run/msock.sock"; "" before the first. After a message
 * it is the server that took it. The handle owns it until the next call. */
MSOCK_API const char *msock_connected_to(const msock *m);

/* Returns the reply to the last message if one was wanted: *n bytes (n may be NULL) and a NUL
 * behind them. NULL without a reply. The handle owns it until the next send. */
MSOCK_API const void *msock_reply(const msock *m, size_t *n);

/* Returns the id of the last message, NUL-terminated; "" if it had none. The handle owns it until
 * the next send. */
MSOCK_API const char *msock_last_id(const msock *m);

/* Counts of this handle since it was made. */
struct msock_counts {
    uint64_t acks, nack1, nack2, rej; /* answers received, or the protocol's counterparts */
    uint64_t err;                     /* connections that ended with an error */
    uint64_t messages;                /* committed */
    uint64_t retries;                 /* messages begun again on a new connection */
    uint64_t connects;                /* connections made */
    uint64_t bytes_out, bytes_in;
};
MSOCK_API void msock_get_counts(const msock *m, struct msock_counts *counts_out);

/* --- for programs with an event loop of their own --- */

/* Lays out a whole msp message that fits into one packet, with its trailer, ready to be sent ahead
 * (1.6). kind is 'A', 'J' or 'F'. value is the id or path, or NULL with 0. n is at most 1998 and
 * value_len at most 2038. Returns the number of bytes of the message, and writes them if out_size
 * is enough. Returns 0 if something is too long, or without memory. Any thread. */
MSOCK_API size_t msock_encode(char kind, int want_reply, const void *data, size_t n,
                              const void *value, size_t value_len, void *out, size_t out_size);

enum msock_answer {
    MSOCK_ANSWER_ACK, /* ACK, with *grant 0; ACK <N>, with *grant N */
    MSOCK_ANSWER_NACK1,
    MSOCK_ANSWER_NACK2,
    MSOCK_ANSWER_REJ,
    MSOCK_ANSWER_ERR,
};

/* Reads one answer line of msp (1.2) from n bytes. Returns its length, 0 if it is not complete, or
 * -1 if it is no answer line. Both results may be NULL. Any thread. */
MSOCK_API int
msock_decode(const void *data, size_t n, enum msock_answer *answer_out, uint32_t *grant_out);

#ifdef __cplusplus
}
#endif

#endif
