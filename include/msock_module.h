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
 * crash them. */
#ifndef MSOCK_MODULE_H
#define MSOCK_MODULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever something below changes its meaning or layout; a module of another one is
 * refused, at start and at reload. */
#define MSOCK_MODULE_ABI 2

#define MSOCK_MODULE_REPLY_MAX (16u << 20) /* bytes of a reply */
#define MSOCK_MODULE_KEEP_MAX  1024        /* bytes that are kept with a connection */

struct json_t;             /* jansson's */
struct msock_module_conn;  /* a connection; valid from conn_open until conn_close has returned */
struct msock_module_token; /* a message that is to be settled; valid until it is */

/* What message returns, or settle is given. */
enum msock_module_result {
    MSOCK_MODULE_COMMIT = 0, /* taken: the sender gets its final answer and may forget it */
    /* The sender is told that it was refused, and nothing of it is kept. tinyproto and frame cannot
     * say so: where a reply is wanted the connection ends. */
    MSOCK_MODULE_REFUSE = 1,
    MSOCK_MODULE_FAIL = 2,  /* our side failed: the connection ends, the sender may send it again */
    MSOCK_MODULE_LATER = 3, /* only from message: settle will be called with its token */
};

enum msock_module_level {
    MSOCK_MODULE_ERROR = 0,
    MSOCK_MODULE_WARN = 1,
    MSOCK_MODULE_NOTICE = 2,
    MSOCK_MODULE_INFO = 3,
    MSOCK_MODULE_DEBUG = 4,
};

/* One verified message. Valid during the callback, but for the token. */
struct msock_module_message {
    struct msock_module_token *token;
    struct msock_module_conn *conn; /* who sent it; NULL where it has gone meanwhile */
    const void *data;               /* never NULL */
    size_t size;                    /* bytes */
    char kind;                      /* 'A' plain, 'J' JSON (checked), 'F' file */
    int wants_reply;                /* a reply will be sent; without, reply is ignored */
    const char *id;                 /* id, or path of a file; "" without; NUL-terminated */
    size_t id_len;
    const unsigned char *sha256; /* of data, 32 bytes */
    /* Kind J, with MSOCK_MODULE_JSON: the document as jansson has parsed it (a json_t); json_incref
     * keeps it beyond the callback. Otherwise NULL. */
    struct json_t *json;
};

/* Where a connection comes from. Valid during the callback, until peer is called again. */
struct msock_module_peer {
    const char *listener; /* its URL without options */
    const char *proto;    /* "frame" */
    const char *address;  /* "127.0.0.1:50412" */
    uint64_t id;          /* unique in the worker's life */
};

/* What the worker offers. size is that of the struct, for members that later versions add. */
struct msock_module_host {
    uint32_t abi;
    uint32_t size;
    void *ctx; /* the first argument of all below */

    unsigned worker;      /* which of the workers this is, from 0 */
    const char *data_dir; /* absolute */
    const char *args;     /* the listener's ?args=, or "" */

    /* The reply to a message, before it is settled; copied. The last one counts, and is sent where
     * the message is committed. With more than MSOCK_MODULE_REPLY_MAX bytes the message fails. */
    void (*reply)(void *ctx, struct msock_module_token *token, const void *data, size_t n);

    /* Settles a message for which message returned, or is about to return, MSOCK_MODULE_LATER,
     * once. text: a sentence for the sender of a refused or failed message, or NULL. The token is
     * gone afterwards. When the worker leaves, messages that are not settled by then fail, and
     * settling them does nothing. */
    void (*settle)(void *ctx, struct msock_module_token *token, enum msock_module_result result,
                   const char *text);

    /* A sentence for the sender of the message under way, for a message callback that returns
     * MSOCK_MODULE_REFUSE or MSOCK_MODULE_FAIL; copied. */
    void (*why)(void *ctx, struct msock_module_token *token, const char *text);

    /* Sends a message to a connection of this worker, whether it asked or not; copied. Returns 0,
     * or -1 with errno ENOTSUP (its protocol has no way to: msp), EMSGSIZE, ENOTCONN (it is
     * closing), or ENOBUFS: it does not read, and will be closed. */
    int (*push)(void *ctx, struct msock_module_conn *conn, const void *data, size_t n);

    /* Sends a message to every connection of this listener, in all workers, but except (may be
     * NULL); copied. Returns 0, or -1 with errno EMSGSIZE (over 1 MiB) or EAGAIN: other workers are
     * behind, try again in tick. */
    int (*broadcast)(void *ctx, struct msock_module_conn *except, const void *data, size_t n);

    /* The connections of this listener in this worker, in no order: the first for NULL, then the
     * one after conn; NULL at the end. */
    struct msock_module_conn *(*next_conn)(void *ctx, struct msock_module_conn *conn);
    void (*peer)(void *ctx, const struct msock_module_conn *conn,
                 struct msock_module_peer *peer_out);

    /* A pointer of the module's own with each connection; NULL at first. */
    void (*set_data)(void *ctx, struct msock_module_conn *conn, void *data);
    void *(*data)(void *ctx, const struct msock_module_conn *conn);

    /* Bytes that go with a connection when it moves to another worker (MSOCK_MODULE_MOVABLE);
     * copied, in place of those kept before. Returns 0, or -1 with errno EMSGSIZE: over
     * MSOCK_MODULE_KEEP_MAX. */
    int (*keep)(void *ctx, struct msock_module_conn *conn, const void *data, size_t n);

    /* What was kept last, in whichever worker: *n_out bytes (n_out may be NULL), NUL-terminated
     * besides; NULL and 0 at first. Valid until keep is called or conn_close has returned. After a
     * reload it may come from an older version of the module. */
    const void *(*kept)(void *ctx, const struct msock_module_conn *conn, size_t *n_out);

    /* Ends a connection; what was pushed before is still sent. */
    void (*disconnect)(void *ctx, struct msock_module_conn *conn);

    /* A line in the daemon's log; control bytes are escaped. */
    void (*log)(void *ctx, enum msock_module_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
};

/* The connection may be given to the worker that takes this one's place on a reload, without its
 * peer noticing: conn_close is called here and conn_open there, with moved set. Without this flag
 * it is closed between messages, as the protocol has it. */
#define MSOCK_MODULE_MOVABLE 1u

/* The module looks at the parsed documents. Without this flag none is kept for it. */
#define MSOCK_MODULE_JSON 2u

struct msock_module {
    uint32_t abi;  /* MSOCK_MODULE_ABI */
    uint32_t size; /* sizeof(struct msock_module) */
    const char *name;
    uint32_t flags; /* MSOCK_MODULE_..., ored */

    /* Called once before all others. Sets *state_out, the first argument of all below. Returns 0,
     * or -1 with a sentence in error (error_len bytes with NUL): the worker does not start, and
     * stop is not called. host is valid until stop has returned. Never NULL. */
    int (*start)(const struct msock_module_host *host, void **state_out, char *error,
                 size_t error_len);

    /* A connection begins, or ends. moved: it comes from, or goes to, another worker. What is
     * pushed to it in conn_close is not sent. NULL: none. */
    void (*conn_open)(void *state, struct msock_module_conn *conn, int moved);
    void (*conn_close)(void *state, struct msock_module_conn *conn, int moved);

    /* One message. Never NULL. */
    enum msock_module_result (*message)(void *state, const struct msock_module_message *message);

    void (*tick)(void *state); /* about once a second; NULL: none */

    /* The last call; messages that were not settled have failed, all connections are closed. NULL:
     * none. */
    void (*stop)(void *state);
};

/* What a module defines. */
extern const struct msock_module msock_module;

#ifdef __cplusplus
}
#endif

#endif
