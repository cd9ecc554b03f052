/* One message on its way from the wire to a handler: built packet by packet, hashed while its bytes
 * are hot, rolled back where a packet turns out bad. In memory up to memory_max bytes, beyond that
 * in an unlinked file, so that memory stays bounded whatever a peer sends. Invariant: size bytes
 * are stored (unless is_over or body_dropped), all of them are in the running digest. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "common/base.h"
#include "common/digest.h"

#include <stdbool.h>
#include <sys/types.h>

enum message_kind {
    MESSAGE_PLAIN = 'A', /* bytes */
    MESSAGE_JSON = 'J',  /* a JSON document, parsed before a handler sees it */
    MESSAGE_FILE = 'F',  /* a file; value is its checked relative path */
};

/* "plain", "json", "file". Static. */
const char *message_kind_name(enum message_kind kind);

/* Where messages are kept; one a worker, shared by all its connections. */
struct message_store {
    struct digester *digester;
    size_t memory_max;            /* bytes a message may hold in memory */
    int (*spill_open)(void *arg); /* a new unlinked file, read-write; -1 with errno */
    void *spill_arg;
    void (*failed)(void *arg, int error); /* a body could not be stored; NULL: nobody is told */
    uint64_t memory_limit; /* of all messages together: beyond it all but small ones go to files */
    uint64_t memory_used;  /* bytes of bodies held in memory now */
};

struct json_t; /* jansson's */

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
    bool is_over; /* more than keep_max bytes so far: what comes is not stored, until a rollback */
    uint16_t value_len;
    uint32_t tag; /* the protocol's: which of the peer's packets the answer is for */
    char *value;  /* path (kind F) or message id, NUL-terminated; never NULL once delivered */
    struct json_t *json;        /* kind J: what was parsed, where the handler wants it; or NULL */
    uint8_t sha256[SHA256_LEN]; /* of the whole body; set by message_finish */
    struct sha256 *digest;      /* running */
    struct sha256 *mark_digest; /* at the mark, where the mark is not at byte 0 */
    uint64_t mark_size;
    uint64_t file_end;     /* bytes written to fd; more than size after a rollback */
    uint64_t written_back; /* of these, given to the disk already */
    uint32_t size_hint;    /* of the first allocation */
    bool is_file;          /* the worker's: it was in a file when the handler got it */
    void *owner;           /* the worker's: the connection to answer */
    void *place;           /* the worker's: where in its queue the answer belongs */
    void *next;            /* the handler's, until it settles: a list link */
};

/* A new empty message. size_hint only sizes the first allocation, within a small limit. Never
 * NULL. */
struct message *
message_create(struct message_store *store, uint64_t size_hint, uint64_t keep_max, uint64_t now_us);
void message_destroy(struct message *m); /* NULL is fine */

/* Nobody wants the digest of this message, which is new and empty: sha256 stays zero. */
void message_skip_digest(struct message *m);

/* Stores and hashes n more bytes. A failure of the file is kept in m->error and further bytes are
 * only counted. */
void message_append(struct message *m, const void *data, size_t n);

/* A place to come back to; a second mark replaces the first. */
void message_mark(struct message *m);
void message_rollback(struct message *m);

/* The digest of the bytes so far. */
void message_peek(const struct message *m, uint8_t out[SHA256_LEN]);

/* Ends the body: sets sha256 and lets go of the running digest. */
void message_finish(struct message *m);

/* Room for a value of n bytes, to be filled by the caller; the NUL behind it is there already. */
char *message_value_reserve(struct message *m, size_t n);

/* Copies value (n bytes). */
void message_set_value(struct message *m, const void *value, size_t n);

/* Drops the first n bytes of value. */
void message_value_cut_front(struct message *m, size_t n);

/* The whole body in one piece: the memory itself, or a read-only mapping of the file. Returns 0 and
 * the bytes, which stay valid until message_body_release, or -1 with errno. Not for dropped
 * bodies. */
MS_MUST_CHECK int message_body(struct message *m, const char **data_out);
void message_body_release(struct message *m, const char *data);

#endif
