/* One message on its way from the wire to a handler: built packet by packet, hashed while its bytes
 * are hot, rolled back where a packet turns out bad. In memory up to memory_max bytes, beyond that
 * in an unlinked file, so that memory stays bounded whatever a peer sends. Invariant: size bytes
 * are stored (unless is_over or body_dropped), all of them are in the running digest. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "common/digest.h"
#include "common/ledger.h"
#include "proto/limits.h"

enum message_kind {
    MESSAGE_PLAIN = 'A', /* bytes */
    MESSAGE_JSON = 'J',  /* a JSON document, parsed before a handler sees it */
    MESSAGE_FILE = 'F',  /* a file; value is its checked relative path */
};

/* "plain", "json", "file". Static. */
const char *message_kind_name(enum message_kind kind);

struct message;

/* Where messages are kept; one a worker, shared by all its connections. */
struct message_store {
    struct digester *digester;
    size_t memory_max;            /* bytes a message may hold in memory */
    int (*spill_open)(void *arg); /* a new unlinked file, read-write; -1 with errno */
    /* Lets go of one, soon: its bytes go with it, which takes the disk a while. The descriptor
     * leaves the ledger then. NULL: message_store_close does it at once. */
    void (*spill_close)(void *arg, int fd);
    void *spill_arg;
    void (*failed)(void *arg, int error); /* a body could not be stored; NULL: nobody is told */

    /* Sets aside disk for m, which is to have so many bytes there: all that its sender has
     * announced, or the next step of a size that nobody knows; and gives back what m has. Returns
     * 0, or the error of the message, of which failed is not told: ENOSPC, or EBUSY where its
     * source has its share. NULL: nobody counts. */
    int (*disk_reserve)(void *arg, struct message *m, uint64_t bytes);
    void (*disk_release)(void *arg, struct message *m);
    uint64_t disk_promised; /* bytes set aside and not written yet */
    struct ledger ledger;   /* of all that its owner holds for peers */
};

/* Lets go of the file of a message that is kept there, or was. */
void message_store_close(struct message_store *store, int *fd);

struct opening; /* proto/opening.h */
struct json_t;  /* jansson's */
struct json_error_t;

struct message {
    struct message_store *store;
    uint64_t size;     /* bytes appended */
    uint64_t keep_max; /* beyond this size nobody wants the body: it is only summed */
    uint64_t begun_us; /* when its first byte came, monotonic */
    char *mem;         /* the body, while it is in memory */
    size_t mem_len, mem_cap;
    int fd;    /* the unlinked file, or -1 */
    int error; /* errno of the first failed store, sticky; 0 while all is well */
    enum message_kind kind;
    bool wants_reply;  /* a reply of the handler's goes back */
    bool body_dropped; /* more than keep_max bytes, in the end: mem and fd hold nothing */
    bool is_over; /* more than keep_max bytes so far: further bytes are not stored, until a rollback
                   */
    uint16_t value_len;
    uint32_t value_cost; /* of value, in the ledger */
    uint32_t tag;        /* the protocol's: which of the peer's packets the answer is for */
    char *value; /* path (kind F) or message id, NUL-terminated; never NULL once delivered */
    struct json_t *json;        /* kind J: what was parsed, where the handler wants it; or NULL */
    uint64_t json_cost;         /* of json, in the ledger */
    uint8_t sha256[SHA256_LEN]; /* of the whole body; set by message_finish */
    bool has_sha256;            /* false where its digest was skipped; true in a file */
    struct sha256 *digest;      /* running */
    struct sha256 *mark_digest; /* at the mark, where the mark is not at byte 0 */
    uint64_t mark_size;
    uint32_t crc, mark_crc;  /* of a body in a file, where wants_crc: its CRC-32 */
    bool wants_crc;          /* it will go to a peer, perhaps over msp (1.5) */
    uint64_t file_end;       /* bytes written to fd; more than size after a rollback */
    uint64_t written_back;   /* of these, given to the disk already */
    uint32_t size_hint;      /* of the first allocation */
    uint64_t announced;      /* bytes that its sender said it has, where it did */
    uint64_t disk;           /* bytes set aside for it on disk */
    struct opening *opening; /* its bytes are sealed, and their contents are there; or NULL */
    uint32_t source;         /* the worker's: whose share that is */
    bool is_file;            /* the worker's: it was in a file when the handler got it */
    uint32_t dedup;          /* the worker's: its entry there; 0: none */
    uint64_t name;           /* the worker's: of value, which was foreseen; 0: it was not */
    void *owner;             /* the worker's: the connection to answer */
    void *place;             /* the worker's: where in its queue the answer belongs */
    void *next;              /* the handler's, until it settles: a list link */
};

/* A new empty message. size_hint is what its sender has announced, if it has: it sizes the first
 * allocation, within a small limit, and what is set aside on disk. Never
 * NULL. */
struct message *
message_create(struct message_store *store, uint64_t size_hint, uint64_t keep_max, uint64_t now_us);
void message_destroy(struct message *m); /* NULL is fine */

/* Goes over to another store: it was made in another thread, and is finished. */
void message_move(struct message *m, struct message_store *store);

/* Skips the digest of this message, which is new and empty: sha256 stays zero, unless the body goes
 * to a file. Then all of it is summed, since what comes back from a file has to be proven. */
void message_skip_digest(struct message *m);

/* Would n more bytes go to a file that it has not got yet? */
bool message_needs_file(const struct message *m, uint64_t n);

/* Stores and hashes n more bytes. A failure of the file is kept in m->error and further bytes are
 * only counted. */
void message_append(struct message *m, const void *data, size_t n);

/* It could not be stored, or is sealed and cannot be opened: whatever else comes of it. */
bool message_is_lost(const struct message *m);

/* A place to come back to; a second mark replaces the first. */
void message_mark(struct message *m);
void message_rollback(struct message *m);

/* Does this errno mean that there is no room: ENOSPC, EDQUOT, or EFBIG of `ulimit -f`? */
bool message_found_no_room(int error);

/* The digest of the bytes so far. */
void message_peek(const struct message *m, uint8_t out[SHA256_LEN]);

/* Ends the body: sets sha256 and lets go of the running digest. */
void message_finish(struct message *m);

/* Room for a value of n bytes, to be filled by the caller; the NUL behind it is there already. */
char *message_value_reserve(struct message *m, size_t n);

/* More bytes of it cost memory: they go to no file, and are not only summed. */
bool message_takes_memory(const struct message *m);

/* Drops the body: nobody wants it any more. */
void message_drop_body(struct message *m);

/* Takes over what is known of m besides its body: kind, value, whose it is and where its answer
 * goes. */
void message_like(struct message *made, const struct message *m);

/* Copies value (n bytes), in place of the one that was there or was foreseen. */
void message_set_value(struct message *m, const void *value, size_t n);

/* Drops the first n bytes of value. */
void message_value_cut_front(struct message *m, size_t n);

/* The whole body in one piece: the memory itself, or, from a file, a copy whose digest was compared
 * again. Returns 0 and the bytes, which stay valid until message_body_release, or -1 with errno:
 * EBADMSG where the file gave back something else. Not for dropped bodies. Any thread. */
MS_MUST_CHECK int message_body(const struct message *m, const char **data_out);
void message_body_release(const struct message *m, const char *data);

/* The same as a copy that the caller frees, with a NUL behind it; NULL with errno. */
char *message_copy_body(const struct message *m);

/* --- on its way to the peer --- */

/* A message on its way to the peer, described by the side that sends it. The protocol decides how
 * it travels; the bytes stay where they are. */

struct outgoing {
    uint64_t size;       /* bytes of the body */
    const uint8_t *data; /* all of them; NULL: read gets them piece by piece */

    /* Reads n bytes at offset. unchanged tells, once all were read, whether they still are the
     * whole. Both return 0, or -1 with errno (EBUSY: the size has changed). Used where data is
     * NULL. */
    int (*read)(void *arg, void *buf, size_t n, uint64_t offset);
    int (*unchanged)(void *arg);
    void *arg;

    /* msp alone carries the rest. */
    char kind;         /* 'A', 'J' or 'F' */
    bool wants_reply;  /* a reply block is to follow the final ACK (1.5) */
    bool strict;       /* nothing is sent ahead, and the digest stands in the first packet */
    bool late;         /* nothing is sent ahead, and the digest goes with the trailer (1.8) */
    const char *value; /* the id, or the path of a file */
    size_t value_len;
    bool has_digest;            /* sha256 is known; set by the protocol where it had to read */
    uint8_t sha256[SHA256_LEN]; /* of the body */
    struct outgoing *next;      /* the protocol's */
};

/* --- the path of a file (path_check.c) --- */

/* Which paths a sender may name (docs/protocol.md 1.1). */

/* Names that begin with this are the server's own, for files on their way. */
#define PATH_OWN_PREFIX ".msockd-"

/* Relative, UTF-8, no NUL, no empty, "." or ".." component, none that begins with PATH_OWN_PREFIX,
 * no leading "/", no component over 255 bytes, at most 32 components. Returns NULL where all hold,
 * else the reason as a static text. The server asks before it stores a file, and the client before
 * it sends one. */
const char *path_check(const char *path, size_t n);

/* --- json.c --- */

/* JSON documents as docs/protocol.md 1.3 wants them: parsed once, by jansson, and handed on with
 * the message. Before that one pass over the bytes bounds what the tree can cost. */

#define JSON_ERROR_LEN       256
#define JSON_DEPTH_MAX_LIMIT 2000 /* jansson itself stops at 2048 */

/* Any value at the top, no duplicate keys, UTF-8, within max_json_size, max_json_depth and
 * max_json_values. Integers that do not fit into 64 bits become reals. Returns the value, the
 * caller's (json_decref), or NULL with "line L column C: reason" in error, which may hold bytes of
 * the document as they are, control bytes too: whoever shows it escapes it. errno is ENOMEM where
 * it is not the document's fault, else EINVAL. cost_out: bytes that the value takes at most. */
struct json_t *json_parse(const char *text, size_t n, const struct proto_limits *limits,
                          uint64_t *cost_out, char error[JSON_ERROR_LEN]);

/* As json_loadb, with errno ENOMEM where it is not the text's fault, else EINVAL. jansson does not
 * always say that it has no memory, so without memory for a tree of that size it is ENOMEM, too. */
struct json_t *json_load_text(const char *text, size_t n, size_t flags, struct json_error_t *why);

enum json_verdict {
    JSON_GOOD,
    JSON_BAD,        /* error says where and why */
    JSON_UNREADABLE, /* our side: the body cannot be read back, or there is no memory */
    JSON_NO_ROOM,    /* the same: others have the memory; nothing here returns it */
};

/* Bytes that parsing it takes at most, beside the message. It may be JSON_GOOD here and bad after
 * all. May be called in any thread, as long as nobody else uses the message. */
enum json_verdict json_weigh_message(const struct message *m, const struct proto_limits *limits,
                                     uint64_t *cost_out, char error[JSON_ERROR_LEN]);

/* Parses the body of a message. It gets the value (message->json) where that is wanted, of
 * *cost_out bytes at most. In any thread, as above. */
enum json_verdict json_parse_message(struct message *m, const struct proto_limits *limits,
                                     bool wanted, uint64_t *cost_out, char error[JSON_ERROR_LEN]);

/* Counts what the message got by that in the ledger of its store; json_release gives it back. */
void json_account(struct message *m, uint64_t cost);
void json_release(struct message *m);

/* Seeds jansson's hash tables from getrandom(2). Once in each process, after the fork. */
void json_seed(void);

#endif
