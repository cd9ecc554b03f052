/* libmsock: send messages, JSON documents and files so that they are known to have arrived, whole,
 * and safe; and talk to servers that speak the smaller protocols. Section numbers below are those
 * of docs/protocol.md. Receiving in one's own program is msock_server.h.
 *
 * A handle is one connection, opened when it is first needed and opened again when it was lost. The
 * library keeps no global state, prints nothing, installs no signal handler and raises no SIGPIPE.
 *
 * Threads: a handle may be used by any thread, but by one at a time. Two handles may be used at the
 * same time. A function to which another rule applies says so.
 *
 * Every function that can fail returns an enum msock_status; MSOCK_OK is 0. msock_error() then has
 * a sentence for people. */
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
    MSOCK_USAGE,       /* an argument is wrong; nothing was sent */
    MSOCK_REFUSED,     /* REJ: the server has refused the message, nothing of it is kept (1.2) */
    MSOCK_UNREACHABLE, /* no connection could be made, also not by trying again */
    /* connected, but no final ACK after all retries: the message is in doubt (1.7) */
    MSOCK_GIVEN_UP,
    MSOCK_LOCAL, /* the caller's side failed: a file that cannot be read, no memory, a transform */
    MSOCK_CANCELLED, /* the progress callback said stop; the message is not committed */
    MSOCK_TIMEOUT, /* sending: the message was taken, but the reply that was wanted was lost or did
                      not come in time; receiving: nothing came in time, and nothing is lost */
};

typedef struct msock msock;

/* The version of the library that is running. Static. Any thread. */
MSOCK_API const char *msock_version(void);

/* A word for a status: "ok", "refused", ... Static. Any thread. */
MSOCK_API const char *msock_status_name(enum msock_status status);

/* --- handle --- */

/* Makes a handle for a server: "msp://127.0.0.1:8000", "msp://[::1]:8000", "msp:///run/msock.sock";
 * or with tinyproto, cnp or frame for msp. frame takes ?framing= and &delimiter= (4), cnp
 * ?mode=burst (or step-by-step, the default) and &window_size= (3.2; default 64), all of them
 * ?key_file=, which is read here: as msock_set_key, but always the last transform on the way out,
 * and no call takes it away. The port is 8000 where none is given; a name is resolved at each
 * connection, and its first address is taken. Does not connect. NULL for a URL that cannot be used
 * (msock_url_error says why) or without memory. The handle is the caller's; msock_close frees
 * it. */
MSOCK_API msock *msock_open(const char *url);

/* Why msock_open refuses this URL, as a sentence in error (at most n bytes with NUL); returns
 * MSOCK_OK where it does not. */
MSOCK_API enum msock_status msock_url_error(const char *url, char *error, size_t n);

/* Connects now rather than with the first message, so that an unreachable server is noticed early.
 * Tries again as msock_set_retries says. MSOCK_OK, MSOCK_UNREACHABLE. */
MSOCK_API enum msock_status msock_connect(msock *m);

/* 1 where MSOCK_OK from a sending call means that the server has taken the message (msp, cnp); 0
 * where it means that it was sent, and the protocol has no acknowledgement (tinyproto, frame). */
MSOCK_API int msock_acknowledges(const msock *m);

/* Closes the connection, between messages, and frees the handle. NULL is fine. Over tinyproto, cnp
 * and frame it waits, up to answer_ms, until the server has read what was sent and closes: a
 * connection that is dropped with bytes of the server's unread would take back what is still on its
 * way. */
MSOCK_API void msock_close(msock *m);

/* --- options: set them any time between two messages --- */

/* How long to wait for a connection and for each answer, milliseconds; default 2000, and 30000 for
 * the answer to a trailer (also one sent ahead), since the server may have to make a large file
 * durable. While a packet is on its way, answer_ms is the longest standstill. 0 keeps a value. */
MSOCK_API void msock_set_timeouts(msock *m, unsigned answer_ms, unsigned commit_ms);

/* How often a message is begun again after ERR, a lost connection or too many NACKs (1.7); default
 * 5. The wait before the first is base_ms (default 50), then doubles up to max_ms (default 5000); a
 * random part, up to half, is left out, so that many clients do not come back at once. Not counted:
 * a connection that was closed while it was idle, and a message sent ahead that got a NACK (1.6).
 * No wait is made before the first retry where the server left an idle connection just then. The
 * ERR codes bad-header, too-long and denied are tried once more only. */
MSOCK_API void msock_set_retries(msock *m, unsigned retries, unsigned base_ms, unsigned max_ms);

/* NACKs within one message before the connection is given up; default 10. */
MSOCK_API void msock_set_nack_limit(msock *m, unsigned limit);

/* Called before each packet and before the trailer, and once at the end: done bytes of total have
 * been acknowledged (tinyproto, frame: have left). A new attempt starts at 0 again. A return value
 * other than 0 stops: the message is not committed (unless an earlier attempt is in doubt), the
 * connection is closed and the call returns MSOCK_CANCELLED. At the end the message is committed
 * and the value does not matter. NULL: none. Called in the thread that sends. */
typedef int (*msock_progress_fn)(void *arg, uint64_t done, uint64_t total);
MSOCK_API void msock_set_progress(msock *m, msock_progress_fn fn, void *arg);

/* Called with each message body before it is sent (encryption, compression): it returns the bytes
 * to send instead in *out, malloc'ed, and their number in *out_len; the library frees them. Returns
 * 0, or another value to fail the call with MSOCK_LOCAL (and then leaves nothing to free). Called
 * once a message, not once an attempt. Not called for files given by path, which are streamed. A
 * JSON document must be one afterwards, too, or the server refuses it. What arrives is what the
 * transform returned, so the receiver must know of it. */
typedef int (*msock_transform_fn)(void *arg, const void *in, size_t in_len, void **out,
                                  size_t *out_len);
MSOCK_API void msock_set_transform(msock *m, msock_transform_fn fn, void *arg);

/* Appends to the list of transforms: on_send is applied to every message, first to last, on_receive
 * to every reply and received message, last to first (2); either may be NULL. With any transform
 * set, also files are read into memory and transformed, up to 256 MiB; beyond, the call fails with
 * MSOCK_USAGE, and nothing ever leaves as it was. msock_set_transform replaces the list by one that
 * sends. MSOCK_OK, MSOCK_USAGE (more than 8). */
MSOCK_API enum msock_status
msock_add_transform(msock *m, msock_transform_fn on_send, msock_transform_fn on_receive, void *arg);

/* Appends the transform that seals with AES-256-GCM under the key in the file (32 bytes or 64 hex
 * digits, readable by its owner alone); the server has the same file as ?key_file=. What cannot be
 * opened is an error, never data. MSOCK_OK, MSOCK_LOCAL, MSOCK_USAGE (with framing=delimiter, since
 * what is sealed may hold a delimiter). */
MSOCK_API enum msock_status msock_set_key(msock *m, const char *path);

/* The id of the next message (UTF-8 or any bytes, 1 to 2006 of them), which the receiver sees and
 * may use to drop a double (1.7). Used up by the next send or send_json. Without one the library
 * makes a random id of 32 hex digits for each message when ids are on. MSOCK_OK, MSOCK_USAGE. */
MSOCK_API enum msock_status msock_set_id(msock *m, const void *id, size_t n);
MSOCK_API void msock_set_auto_id(msock *m, int on); /* default on */

/* Ask for the handler's reply with each message (1.5); default off. Over the other protocols
 * nothing on the wire says what is a reply: it is the first message that begins to come after ours
 * has left (tinyproto, frame) or was acknowledged (cnp); everything before is for msock_recv. So
 * one that the server sends by itself in between is taken for the reply, and the reply then comes
 * out of msock_recv, or is taken for that of the next message: a server that does both on one
 * connection must mark its replies. The same holds for replies that were not asked for. */
MSOCK_API void msock_set_want_reply(msock *m, int on);

/* --- sending: each returns only when the message is committed, refused or given up --- */

/* A plain message of n bytes (KIND A). 0 bytes are a message too. */
MSOCK_API enum msock_status msock_send(msock *m, const void *data, size_t n);

/* A JSON document (KIND J), as text of n bytes, sent as it is; the server checks it. */
MSOCK_API enum msock_status msock_send_json_text(msock *m, const char *text, size_t n);

/* The same from a value, written compactly. The value stays the caller's. */
MSOCK_API enum msock_status msock_send_json(msock *m, const json_t *value);

/* A file (KIND F), streamed from disk and read once. The server stores it under remote_path, a
 * relative path of 1 to 2006 bytes, or under the file's own name where that is NULL. A FIFO, and a
 * file that does not tell its size (/proc), are read to their end first, into an unnamed file in
 * $TMPDIR, else /tmp. A file whose size changes while it is sent fails with MSOCK_LOCAL; so do
 * directories and devices. */
MSOCK_API enum msock_status
msock_send_file(msock *m, const char *local_path, const char *remote_path);

/* The same from an open descriptor, from where it stands to its end: a pipe, standard input. fd
 * stays the caller's. */
MSOCK_API enum msock_status msock_send_fd(msock *m, int fd, const char *remote_path);

/* Many messages over one connection, sent behind each other without waiting for their answers, and
 * reported in their order (1.6). The server gets them in this order too. */

/* Called for each message that was sent ahead, in order: number counts them from 0 over the life of
 * the handle. MSOCK_OK: taken, or over tinyproto and frame sent. Otherwise msock_error and
 * msock_error_code say why; MSOCK_REFUSED concerns this message alone. Called within
 * msock_send_ahead, msock_flush and the other sending calls, in their thread; it must not send. */
typedef void (*msock_settled_fn)(void *arg, uint64_t number, enum msock_status status);
MSOCK_API void msock_set_settled(msock *m, msock_settled_fn fn, void *arg);

/* Sends a message (kind 'A') or a JSON document ('J') of n bytes, at most 256 MiB, which are
 * copied. Once 1,024 messages, or 4 MiB of them, have no answer, it waits until half of them do.
 * Small messages are gathered until msock_flush is called or 32 KiB have come together, where each
 * counts 256 bytes more than it has. After a lost connection, messages without an answer are sent
 * again, under their ids; over cnp, tinyproto and frame, those that had left are reported as
 * MSOCK_GIVEN_UP. MSOCK_OK: it will be reported; MSOCK_USAGE (also while a reply is wanted),
 * MSOCK_LOCAL: it will not; anything else has ended all messages so far, and they were reported.
 * Transforms apply, the progress callback does not. */
MSOCK_API enum msock_status msock_send_ahead(msock *m, char kind, const void *data, size_t n);

/* Sends what was gathered, and waits up to timeout_ms (-1: without end) until all messages are
 * reported. 0 sends and receives what can be without waiting. MSOCK_OK: all are; MSOCK_TIMEOUT: not
 * yet; anything else has ended all messages so far. */
MSOCK_API enum msock_status msock_flush(msock *m, int timeout_ms);

/* What these calls promise over the other protocols, whose messages have up to 256 MiB and no kind,
 * id or path: what is sent are the bytes, of a file its contents. Over cnp the same as over msp
 * (3.3: the server acknowledges what its handler has taken). Over tinyproto and frame, which know
 * no acknowledgement, MSOCK_OK means that the message is in the kernel's hands, and with
 * msock_set_want_reply that the server's reply is here. Over all three a message whose last byte
 * has left is never sent again: after MSOCK_GIVEN_UP the program must know by itself. MSOCK_USAGE:
 * the protocol cannot carry this message (a fixed frame of another size, a delimiter in it). With
 * framing=eof each message has a connection of its own. Where a reply that was wanted does not come
 * in time the connection is closed, so that it cannot be taken for that of a later message. */

/* Waits up to timeout_ms (-1: without end) for the next message that the server sends by itself,
 * over tinyproto, cnp and frame; a reply that was waited for is not among them. Connects where
 * there is no connection, once. MSOCK_OK and *n bytes (n may be NULL), NUL-terminated besides, the
 * handle's until its next msock_recv; MSOCK_TIMEOUT; MSOCK_UNREACHABLE: the connection has ended,
 * or there is none to be had (the next call connects again); MSOCK_LOCAL: a message came that a
 * transform rejects, and is dropped; MSOCK_USAGE: msp. */
MSOCK_API enum msock_status msock_recv(msock *m, int timeout_ms, const void **data_out, size_t *n);

/* The connection's descriptor, to wait for with poll(2); -1 where there is none. Every call on the
 * handle may have read messages for which there is nothing to wait any more: before waiting,
 * msock_recv(m, 0, ...) is to be called until it returns MSOCK_TIMEOUT. */
MSOCK_API int msock_fd(const msock *m);

/* The poll(2) events to wait for on msock_fd: POLLIN, and POLLOUT while bytes are to be sent. */
MSOCK_API short msock_events(const msock *m);

/* --- what the last call said --- */

/* A sentence about the last failure on this handle; "" after success. The handle's, until the next
 * call. */
MSOCK_API const char *msock_error(const msock *m);

/* The code of the last REJ or ERR ("bad-json", "exists", "timeout", ...), "" where there was none.
 * The handle's, until the next call. */
MSOCK_API const char *msock_error_code(const msock *m);

/* The reply of the last message where one was wanted: *n bytes, NUL-terminated besides; NULL where
 * there is none. The handle's, until the next send. */
MSOCK_API const void *msock_reply(const msock *m, size_t *n);

/* The id under which the last message was sent, NUL-terminated; "" without. The handle's, until the
 * next send. */
MSOCK_API const char *msock_last_id(const msock *m);

/* What this handle has counted since it was made. */
struct msock_counts {
    uint64_t acks, nack1, nack2, rej, err; /* answers received, or what the protocol has in their
                                              place; err: connections that ended with an error */
    uint64_t messages;                     /* committed */
    uint64_t retries;                      /* messages begun again on a new connection */
    uint64_t connects;                     /* connections made */
    uint64_t bytes_out, bytes_in;
};
MSOCK_API void msock_get_counts(const msock *m, struct msock_counts *counts_out);

/* --- for programs with an event loop of their own --- */

/* The exact bytes of a message that fits into one packet, trailer included, ready to be sent ahead
 * (1.6). kind is 'A', 'J' or 'F'; value is the id or path, may be NULL with 0; n <= 1998, value_len
 * <= 2038. Returns how many bytes that are; they are written where out_size is enough. 0: too long
 * or without memory. */
MSOCK_API size_t msock_encode(char kind, int want_reply, const void *data, size_t n,
                              const void *value, size_t value_len, void *out, size_t out_size);

enum msock_answer {
    MSOCK_ANSWER_ACK, /* ACK, with *grant 0; ACK <N>, with *grant N */
    MSOCK_ANSWER_NACK1,
    MSOCK_ANSWER_NACK2,
    MSOCK_ANSWER_REJ,
    MSOCK_ANSWER_ERR,
};

/* Reads one answer line from n bytes. Returns its length, 0 where it is not complete, -1 where it
 * is none. grant may be NULL. */
MSOCK_API int
msock_decode(const void *data, size_t n, enum msock_answer *answer_out, uint32_t *grant_out);

#ifdef __cplusplus
}
#endif

#endif
