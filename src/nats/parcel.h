/* A message of any size for a stream: in one publication, or in chunks with a manifest behind them.
 * handler=nats and the relay send the same bytes and headers. Nothing here blocks but the reading
 * of a body.
 *
 * A message that is too large for one publication goes in chunks to the same subject, several at a
 * time, and when the stream has confirmed all of them a manifest follows under the message's own
 * id: it says where in the stream each chunk is. A consumer that meets a manifest has all the
 * chunks before it. Each chunk has an id of its own, by the message's, its place, and the digest of
 * the body up to its end: so a message that is sent again finds the chunks that were stored before,
 * and another one under the same id does not.
 *
 * A server that was gone may come back without the last messages that it has confirmed, and a
 * stream that was removed is made anew. So all chunks and the manifest are confirmed in one round
 * of the publisher: in the next one they are sent again, and those that are still there are
 * duplicates.
 *
 * The chunks of an object store would be in a stream of their own, with another retention, without
 * an order beside the other messages, and without an id: so they are not used. */
#ifndef NATS_PARCEL_H
#define NATS_PARCEL_H

#include "common/digest.h"
#include "common/text.h"
#include "nats/publisher.h"

#include <sys/queue.h>

#define PARCEL_CHUNKS_AHEAD 8 /* chunks of one message under way */

struct parcel;

/* What the parcels of one publisher share. */
struct parcels {
    struct publisher *publisher;
    struct digester *digester;
    const char *stream;
    const char *template;                   /* of subjects */
    TAILQ_HEAD(parcel_queue, parcel) ready; /* that can publish something */
    struct buffer headers;                  /* of the next publication */
    uint64_t served_us;                     /* when the stream last confirmed something */
};

/* All is borrowed. */
void parcels_init(struct parcels *ps, struct publisher *publisher, struct digester *digester,
                  const char *stream, const char *template);
void parcels_fini(struct parcels *ps);

/* Publishes what is ready while the publisher has room. May end parcels. */
void parcels_pump(struct parcels *ps);

/* What a parcel is made of. Texts and bytes are borrowed until it has ended. */
struct parcel_values {
    const char *msg_id; /* its Nats-Msg-Id */
    const char *id;     /* of its record */
    const char *time;
    const char *kind;
    const char *proto;
    const char *listener;
    const char *peer;
    const char *identity; /* NULL: there is none */
    const char *name;     /* the sender's id or, of a file, its path: any bytes */
    size_t name_len;
    bool is_file;

    /* Another message may have that msg_id, and then this one is PUBLISH_REUSED. */
    bool may_be_reused;

    uint64_t size;
    uint8_t sha256[SHA256_LEN];
    const char *mem; /* the body; or NULL, and it is read from fd */
    int fd;
};

struct parcel_piece {
    struct parcel *parcel;
    struct publication *publication; /* under way; or NULL */
    uint32_t chunk;
};

struct parcel_chunks {
    uint32_t count; /* 0: the message goes in one publication */
    uint32_t next;  /* to be published */
    uint32_t stored;
    size_t len;            /* bytes of each but the last */
    uint32_t round;        /* of the publisher, in which they began */
    uint64_t *seqs;        /* where the stream has them */
    struct sha256 *digest; /* of what was read so far */
};

struct parcel {
    struct parcel_values v;

    /* Called once, unless parcel_fini comes before: the last publication is stored, or one is not.
     * It has to call parcel_fini. */
    void (*done)(struct parcel *p, const struct publish_result *result);

    unsigned out; /* publications under way */

    /* private */
    struct parcels *ps;
    TAILQ_ENTRY(parcel) ready; /* of ps->ready, while is_ready */
    bool is_ready;
    bool is_last;  /* its last publication is under way */
    char *subject; /* NULL: nothing is planned yet */
    struct parcel_chunks chunks;
    struct parcel_piece pieces[PARCEL_CHUNKS_AHEAD];
};

/* Begins one whose v and done are set, and the rest is 0: it is ready. */
void parcel_begin(struct parcels *ps, struct parcel *p);

/* Takes back what is under way. Then it may begin again. Fine for one that was not begun. */
void parcel_fini(struct parcel *p);

/* --- between parcel.c and parcel_chunks.c --- */

/* Headers are made in ps->headers. */
void parcel_headers_begin(struct parcel *p, const char *msg_id);
void parcel_header_add(struct parcel *p, const char *name, const char *value);

/* Those of the message itself. */
void parcel_headers_make(struct parcel *p);

/* All of it, since it is another round. */
void parcel_begin_again(struct parcel *p);

/* Makes a publication of the parcel with ps->headers and room for len bytes, of data unless that is
 * NULL. It has to be given to the publisher next. */
struct publication *parcel_piece(struct parcel *p, uint32_t chunk, const void *data, size_t len);

/* Reads from the body. Returns 0, or -1 with errno. */
MS_MUST_CHECK int parcel_read(const struct parcel *p, uint64_t at, char *out, size_t n);

/* Decides on chunks, where a publication with ps->headers may have payload_max bytes. Returns false
 * where the body is too large for a manifest. */
bool parcel_chunks_plan(struct parcel *p, size_t payload_max);

/* Publishes the next chunk, or the manifest. Returns 0, or -1 with errno where the body cannot be
 * read. */
MS_MUST_CHECK int parcel_chunks_advance(struct parcel *p);
bool parcel_chunks_can_advance(const struct parcel *p);
void parcel_chunks_fini(struct parcel *p);

#endif
