/* Bytes on their way to peers: kept once, however many they go to, and read piece by piece where
 * they are in a file. */
#ifndef PROTO_BLOB_H
#define PROTO_BLOB_H

#include "common/text.h"
#include "proto/message.h"

#include <sys/uio.h>

/* --- blob.c --- */

/* Bytes that change no more, held by all who send them: in memory, or in a file without a name.
 * Whoever creates one or gets it from blob_ref holds a reference, and gives it away or drops it. */
struct blob {
    unsigned refs;
    struct message_store *store; /* whose ledger counts it; NULL: it is not counted */
    uint64_t len;
    const uint8_t *mem; /* NULL: it is in fd */
    size_t cost;        /* in the ledger */
    int fd;             /* or -1 */
    bool has_sha256, has_crc;
    uint8_t sha256[SHA256_LEN];
    uint32_t crc;
    struct blob *sealed;                /* what a list of transforms has made of it; or NULL */
    const void *sealed_by, *sealed_for; /* that list, and the protocol it was made for */
};

/* A copy in memory. NULL where there is none (ms_memory_failed). */
struct blob *blob_create(struct message_store *store, const void *data, size_t n);

/* The same for n bytes that may be many: in a file, where a message of that size would be. NULL
 * with errno where they cannot be stored. */
struct blob *blob_store(struct message_store *store, const void *data, size_t n);

/* The body of a finished message, which has none afterwards. NULL as blob_create, or with the
 * message's error in errno. */
struct blob *blob_of_message(struct message *m);

static inline struct blob *
blob_ref(struct blob *b)
{
    b->refs++;
    return b;
}

void blob_unref(struct blob *b); /* NULL is fine */

/* Sets sha256 and crc where they are not known. Returns 0, or -1 with errno: it cannot be read. */
MS_MUST_CHECK int blob_sum(struct blob *b);

/* All bytes in one piece, valid until blob_release. Returns 0, or -1 with errno. */
MS_MUST_CHECK int blob_bytes(struct blob *b, const uint8_t **data_out);
void blob_release(const struct blob *b, const uint8_t *data);

/* Bytes of a blob, one piece after the other. */
struct blob_reader {
    struct blob *blob; /* its reference; NULL: nothing */
    uint64_t at, left;
    struct sha256 *digest; /* of what was taken; NULL: it is not compared */
};

/* Takes the reference. The whole of a file is compared with what it was. */
void blob_reader_init(struct blob_reader *r, struct blob *blob);

/* A part of it; nothing is compared. */
void blob_reader_init_part(struct blob_reader *r, struct blob *blob, uint64_t at, uint64_t n);
void blob_reader_fini(struct blob_reader *r);

/* The next bytes, more than none unless none are left: where they are, or up to size of them in
 * scratch. Returns how many, or -1 with errno: EBADMSG where the file gives back something else,
 * before the last of them is given. Takes nothing. */
ssize_t
blob_reader_next(const struct blob_reader *r, void *scratch, size_t size, const uint8_t **data_out);

/* n bytes of these, at data, are taken. */
void blob_reader_take(struct blob_reader *r, const void *data, size_t n);

/* --- chain.c --- */

/* A queue of bytes: its own, and between them blobs. Invariant: bytes come first, then each link,
 * its blob and what was appended behind it. */

#define CHAIN_COPY_MAX 2048 /* a blob in memory up to this size is copied */

struct chain_link {
    struct chain_link *next;
    struct blob_reader reader;
    struct buffer behind;
};

struct chain {
    struct buffer bytes;
    struct chain_link *first, *last;
    uint64_t linked; /* bytes of all links, and behind them */
    uint64_t filed;  /* bytes of blobs that are in files */
};

void chain_init(struct chain *c, struct ledger *ledger);
void chain_fini(struct chain *c); /* frees all; it is empty and usable afterwards */

static inline uint64_t
chain_len(const struct chain *c)
{
    return c->bytes.len + c->linked;
}

static inline bool
chain_is_empty(const struct chain *c)
{
    return c->bytes.len == 0 && c->first == NULL;
}

void chain_append(struct chain *c, const void *data, size_t n);

/* Takes the last n bytes off, into out. False, and nothing is taken, where n is 0 or not all of
 * them are bytes of the chain's own. */
bool chain_cut(struct chain *c, void *out, size_t n);

/* A blob, whose reference it takes, or a part of it. */
void chain_add(struct chain *c, struct blob *blob);
void chain_add_part(struct chain *c, struct blob *blob, uint64_t at, uint64_t n);

/* All of `from` goes to the end of c. */
void chain_move(struct chain *c, struct chain *from);

/* The next bytes to send, as at most max (2 or more) pieces; those from a file are in scratch
 * (NULL: there are no files), and come last. Returns how many pieces, or -1 with errno. */
int chain_peek(const struct chain *c, void *scratch, size_t size, struct iovec *iov, int max);

/* The first n bytes of these pieces have left; scratch is as chain_peek has left it. */
void chain_sent(struct chain *c, const void *scratch, size_t n);

#endif
