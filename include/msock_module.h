/* A module: a handler for msockd in a shared object. A listener names it:
 *
 *     msockd -l 'frame://127.0.0.1:8001?handler=module&path=./my.so&args=...'
 *
 * It defines one symbol, msock_module, of the type struct msock_module. Build it with
 * `cc -shared -fPIC -o my.so my.c`. It links with nothing of msockd.
 *
 * Each worker process loads the module after the change to the configured user, and starts it once
 * for every listener that names it. These instances share everything but the state that start sets.
 *
 * Threads: all callbacks run in the worker's one thread, and the functions of the host must be
 * called from that thread. A callback that blocks holds up all connections of the worker.
 *
 * A module that crashes takes its worker with it. The master replaces the worker, and the others go
 * on. Messages that were not settled were not acknowledged, so their senders send them again.
 *
 * msockd does not load a file that everybody may write to. To install a new version, move it (mv)
 * over the old one and reload: running workers still use the old file, and a write into it would
 * crash them.
 *
 * A module runs in the sandbox of its worker (msockd.conf(5), sandbox): it reaches the data
 * directory, its own directory and the system's libraries, and makes no processes and no
 * connections. A system call that is refused returns EPERM or ENOSYS, and the log names it. No
 * thread of a module may block SIGSYS. */
#ifndef MSOCK_MODULE_H
#define MSOCK_MODULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. It changes with the meaning or layout of anything below. msockd
 * refuses a module of another version, at start and at reload. */
#define MSOCK_MODULE_ABI 2

#define MSOCK_MODULE_REPLY_MAX (16u << 20) /* bytes of a reply */
#define MSOCK_MODULE_KEEP_MAX  1024        /* bytes that keep stores with a connection */

struct json_t;             /* jansson's */
struct msock_module_conn;  /* a connection; valid from conn_open until conn_close has returned */
struct msock_module_token; /* an unsettled message; valid until it is settled */

/* The result of a message: message returns it, or settle gets it. */
enum msock_module_result {
    MSOCK_MODULE_COMMIT = 0, /* taken: the sender gets its final answer and may forget it */
    /* The sender is told that the message is refused, and nothing of it is kept. tinyproto and
     * frame cannot say so; if a reply is wanted, the connection ends. */
    MSOCK_MODULE_REFUSE = 1,
    MSOCK_MODULE_FAIL = 2,  /* this side failed: the connection ends, the sender may send again */
    MSOCK_MODULE_LATER = 3, /* only from message: the module will call settle with the token */
};

enum msock_module_level {
    MSOCK_MODULE_ERROR = 0,
    MSOCK_MODULE_WARN = 1,
    MSOCK_MODULE_NOTICE = 2,
    MSOCK_MODULE_INFO = 3,
    MSOCK_MODULE_DEBUG = 4,
};

/* One verified message. Valid during the callback; the token is valid until it is settled. */
struct msock_module_message {
    struct msock_module_token *token;
    struct msock_module_conn *conn; /* of the sender; NULL if it has ended meanwhile */
    const void *data;               /* never NULL */
    size_t size;                    /* bytes */
    char kind;                      /* 'A' plain, 'J' JSON (checked), 'F' file */
    int wants_reply;                /* 1: a reply will be sent; 0: a reply is ignored */
    const char *id;                 /* the id, or the path of a file; "" without; NUL-terminated */
    size_t id_len;
    const unsigned char *sha256; /* of data, 32 bytes */
    /* Kind J, with the flag MSOCK_MODULE_JSON: the document as jansson parsed it (a json_t).
     * json_incref keeps it after the callback. Otherwise NULL. */
    struct json_t *json;
};

/* The origin of a connection. Its texts are valid during the callback, until the next call of
 * peer. */
struct msock_module_peer {
    const char *listener; /* its URL without options */
    const char *proto;    /* "frame" */
    const char *address;  /* "127.0.0.1:50412" */
    uint64_t id;          /* no other connection of this worker has or had it */
    const char *identity; /* "cert:NAME", "user:NAME"; "-" where there is none */
};

/* The functions and facts that the worker offers. size is that of the struct: a later version may
 * have more members. */
struct msock_module_host {
    uint32_t abi;
    uint32_t size;
    void *ctx; /* the first argument of all functions below */

    unsigned worker;      /* the number of this worker, from 0 */
    const char *data_dir; /* absolute */
    const char *args;     /* the listener's ?args=, or "" */

    /* Sets the reply to a message, n bytes, before the message is settled; copied. Only the last
     * reply counts. It is sent if the message is committed. A reply over MSOCK_MODULE_REPLY_MAX
     * bytes fails the message. */
    void (*reply)(void *ctx, struct msock_module_token *token, const void *data, size_t n);

    /* Settles a message, once, if its callback message returns MSOCK_MODULE_LATER: before that
     * return or after it. text is a sentence for the sender of a refused or failed message, or
     * NULL. The token is not valid afterwards. Unsettled messages fail when the worker leaves;
     * settling them then does nothing. */
    void (*settle)(void *ctx, struct msock_module_token *token, enum msock_module_result result,
                   const char *text);

    /* Sets the sentence for the sender, in a message callback that will return MSOCK_MODULE_REFUSE
     * or MSOCK_MODULE_FAIL; copied. */
    void (*why)(void *ctx, struct msock_module_token *token, const char *text);

    /* Sends a message of n bytes to a connection of this worker, without a request from it;
     * copied. Returns 0, or -1 with errno ENOTSUP (msp has no pushes), EMSGSIZE (too long for the
     * peer), ENOTCONN (it is closing), or ENOBUFS (it does not read, and will be closed). */
    int (*push)(void *ctx, struct msock_module_conn *conn, const void *data, size_t n);

    /* Sends a message of n bytes to every connection of this listener, in all workers, but not to
     * except (may be NULL); copied. Returns 0, or -1 with errno EMSGSIZE (over 1 MiB) or EAGAIN
     * (other workers are behind: try again in tick). */
    int (*broadcast)(void *ctx, struct msock_module_conn *except, const void *data, size_t n);

    /* Returns the connection after conn, the first for NULL, NULL after the last: those of this
     * listener in this worker, in no order. */
    struct msock_module_conn *(*next_conn)(void *ctx, struct msock_module_conn *conn);

    /* Tells where a connection comes from. */
    void (*peer)(void *ctx, const struct msock_module_conn *conn,
                 struct msock_module_peer *peer_out);

    /* Set and return a pointer of the module for each connection; NULL at first. */
    void (*set_data)(void *ctx, struct msock_module_conn *conn, void *data);
    void *(*data)(void *ctx, const struct msock_module_conn *conn);

    /* Stores n bytes that go with a connection when it moves to another worker
     * (MSOCK_MODULE_MOVABLE); copied. They replace the bytes stored before. Returns 0, or -1 with
     * errno EMSGSIZE (over MSOCK_MODULE_KEEP_MAX). */
    int (*keep)(void *ctx, struct msock_module_conn *conn, const void *data, size_t n);

    /* Returns the bytes that keep stored last, in this or another worker: *n_out bytes (n_out may
     * be NULL) and a NUL behind them; NULL and 0 at first. Valid until the next keep, or until
     * conn_close has returned. After a reload an older version of the module may have stored
     * them. */
    const void *(*kept)(void *ctx, const struct msock_module_conn *conn, size_t *n_out);

    /* Ends a connection. Messages pushed before are still sent. */
    void (*disconnect)(void *ctx, struct msock_module_conn *conn);

    /* Writes a line to the daemon's log, as printf does; control bytes are escaped. */
    void (*log)(void *ctx, enum msock_module_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
};

/* Flag: on a reload, connections may move to a new worker, and their peers notice nothing.
 * conn_close is called here and conn_open there, with moved set. Without this flag they are closed
 * between messages, as their protocol does it (docs/protocol.md 1.10, 2.4, 3.5, 4). */
#define MSOCK_MODULE_MOVABLE 1u

/* Flag: the module wants the parsed JSON documents. Without it, json is always NULL. */
#define MSOCK_MODULE_JSON 2u

struct msock_module {
    uint32_t abi;  /* MSOCK_MODULE_ABI */
    uint32_t size; /* sizeof(struct msock_module) */
    const char *name;
    uint32_t flags; /* MSOCK_MODULE_..., ored */

    /* Called once, before all other callbacks; required. Sets *state_out, their first argument.
     * Returns 0, or -1 with a sentence in error (at most error_len bytes with NUL): then the worker
     * does not start, and stop is not called. host is valid until stop has returned. */
    int (*start)(const struct msock_module_host *host, void **state_out, char *error,
                 size_t error_len);

    /* A connection begins, or ends; NULL: none. moved is 1 if the connection comes from, or goes
     * to, another worker. Messages pushed in conn_close are not sent. */
    void (*conn_open)(void *state, struct msock_module_conn *conn, int moved);
    void (*conn_close)(void *state, struct msock_module_conn *conn, int moved);

    /* Takes one message; required. */
    enum msock_module_result (*message)(void *state, const struct msock_module_message *message);

    void (*tick)(void *state); /* about once a second; NULL: none */

    /* The last call; NULL: none. By then unsettled messages have failed, and all connections are
     * closed. */
    void (*stop)(void *state);
};

/* The symbol that a module defines. */
extern const struct msock_module msock_module;

#ifdef __cplusplus
}
#endif

#endif
