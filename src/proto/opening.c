/* Sealed bodies, opened chunk by chunk. A packet whose sum does not hold is taken back, so a chunk
 * that was opened with its bytes is, too: the bytes which that chunk had before the packet are
 * kept. Invariant: chunk holds the next sealed chunk as far as it has come. */
#include "proto/opening.h"

#include <errno.h>
#include <stdlib.h>

struct opening {
    const struct seal *seal;
    const char *proto;
    struct ledger *ledger;
    struct message *plain;      /* NULL once it was handed over */
    struct seal_stream *stream; /* NULL: the header is not whole */
    uint8_t header[SEAL_HEADER];
    uint8_t *chunk;     /* room for room bytes of the next chunk, once the header is whole */
    size_t room, whole; /* whole: bytes that it will have */
    size_t have;        /* bytes of the header or chunk that have come */
    bool is_refused, is_dropped; /* is_dropped: refused for good, no packet takes that back */

    /* At the mark: how much there was, and how far it was opened. */
    bool marked_stream, mark_is_spent; /* the chunk of the mark was opened, or tried */
    uint32_t marked_chunk;
    size_t marked_have;
    uint8_t *marked_bytes; /* of its chunk, where it is spent */
    size_t marked_room;
};

struct opening *
opening_create(const struct seal *seal, const char *proto, struct message *plain)
{
    struct opening *o = ms_calloc(1, sizeof(*o));

    if (o == NULL) {
        message_destroy(plain);
        return NULL;
    }
    o->ledger = &plain->store->ledger;
    ledger_take(o->ledger, sizeof(*o));
    o->seal = seal;
    o->proto = proto;
    o->plain = plain;
    return o;
}

static void
opening_free_chunk(struct opening *o)
{
    ledger_give(o->ledger, o->room + o->marked_room);
    free(o->chunk);
    free(o->marked_bytes);
    o->chunk = o->marked_bytes = NULL;
    o->room = o->marked_room = 0;
}

void
opening_destroy(struct opening *o)
{
    if (o == NULL)
        return;
    opening_free_chunk(o);
    ledger_give(o->ledger, sizeof(*o));
    seal_stream_end(o->stream);
    message_destroy(o->plain);
    free(o);
}

struct message *
opening_plain(const struct opening *o)
{
    return o->plain;
}

bool
opening_is_refused(const struct opening *o)
{
    return o->is_refused;
}

/* There is no memory for it: our fault, not the sender's. */
static void
opening_fail(struct opening *o)
{
    if (o->plain->error == 0)
        o->plain->error = ENOMEM;
}

static void
opening_refuse(struct opening *o)
{
    if (errno == ENOMEM)
        opening_fail(o);
    else
        o->is_refused = true;
}

static void
opening_next_chunk(struct opening *o)
{
    o->whole = seal_stream_next(o->stream) + SEAL_TAG;
    o->have = 0;
}

/* The header is whole. */
static void
opening_begin(struct opening *o)
{
    errno = 0;
    o->stream = seal_stream_open(o->seal, o->proto, o->header);
    if (o->stream == NULL) {
        opening_refuse(o);
        return;
    }
    opening_next_chunk(o);
    o->chunk = ms_malloc(o->whole);
    if (o->chunk == NULL) {
        opening_fail(o);
        return;
    }
    o->room = o->whole;
    ledger_take(o->ledger, o->room);
}

/* The chunk is opened where it is; its bytes up to the mark are kept for a way back. */
static bool
opening_keep_marked(struct opening *o)
{
    if (o->mark_is_spent || !o->marked_stream || o->marked_have == 0 ||
        o->marked_chunk != seal_stream_tell(o->stream))
        return true;
    if (o->marked_bytes == NULL) {
        o->marked_bytes = ms_malloc(o->room);
        if (o->marked_bytes == NULL)
            return false;
        o->marked_room = o->room;
        ledger_take(o->ledger, o->marked_room);
    }
    memcpy(o->marked_bytes, o->chunk, o->marked_have);
    o->mark_is_spent = true;
    return true;
}

/* The chunk is whole. The last one needs to know kind and value. */
static void
opening_open(struct opening *o, const struct seal_about *about)
{
    size_t n = seal_stream_next(o->stream);

    if (!opening_keep_marked(o)) {
        opening_fail(o);
    } else if (seal_stream_run(o->stream, about, o->chunk, o->chunk) < 0) {
        o->is_refused = true;
    } else {
        message_append(o->plain, o->chunk, n);
        o->have = 0;
    }
}

/* Some bytes of the header or the chunk. Returns how many. */
static size_t
opening_take(struct opening *o, const uint8_t *data, size_t n)
{
    uint8_t *to = o->stream != NULL ? o->chunk : o->header;
    size_t whole = o->stream != NULL ? o->whole : SEAL_HEADER;
    size_t take = n < whole - o->have ? n : whole - o->have;

    memcpy(to + o->have, data, take);
    o->have += take;
    if (o->have < whole)
        return take;
    if (o->stream == NULL) {
        opening_begin(o);
    } else if (!seal_stream_is_last(o->stream)) {
        opening_open(o, NULL);
        if (!o->is_refused && o->plain->error != ENOMEM)
            opening_next_chunk(o);
    } else if (take == 0) {
        o->is_refused = true; /* bytes behind the last chunk */
    }
    return take;
}

void
opening_append(struct opening *o, const uint8_t *data, size_t n)
{
    while (n > 0 && !o->is_refused && o->plain->error == 0) {
        size_t taken = opening_take(o, data, n);

        data += taken;
        n -= taken;
    }
}

void
opening_mark(struct opening *o)
{
    if (o->is_refused) {
        o->is_dropped = true;
        opening_free_chunk(o);
        message_drop_body(o->plain);
        return;
    }
    message_mark(o->plain);
    o->marked_stream = o->stream != NULL;
    o->marked_chunk = o->stream != NULL ? seal_stream_tell(o->stream) : 0;
    o->marked_have = o->have;
    o->mark_is_spent = false;
}

void
opening_rollback(struct opening *o)
{
    if (o->is_dropped)
        return;
    message_rollback(o->plain);
    o->is_refused = false;
    o->have = o->marked_have;
    if (!o->marked_stream) {
        seal_stream_end(o->stream);
        o->stream = NULL;
        opening_free_chunk(o);
        return;
    }
    seal_stream_seek(o->stream, o->marked_chunk);
    o->whole = seal_stream_next(o->stream) + SEAL_TAG;
    if (o->mark_is_spent)
        memcpy(o->chunk, o->marked_bytes, o->marked_have);
    o->mark_is_spent = false;
}

/* --- the ends --- */

static struct seal_about
opening_about(const struct opening *o, const struct message *m)
{
    return (struct seal_about){
        .proto = o->proto, .kind = (uint8_t)m->kind, .value = m->value, .value_len = m->value_len};
}

int
opening_finish(struct message *m, struct message **plain_out)
{
    struct opening *o = m->opening;
    const struct seal_about about = opening_about(o, m);
    struct message *plain = o->plain;

    if (!o->is_refused && plain->error == 0) {
        if (o->stream == NULL || !seal_stream_is_last(o->stream) || o->have < o->whole)
            o->is_refused = true;
        else
            opening_open(o, &about);
    }
    message_finish(plain);
    message_like(plain, m);
    if (o->is_refused || plain->error != 0) {
        errno = o->is_refused ? EBADMSG : plain->error;
        return -1;
    }
    *plain_out = plain;
    o->plain = NULL;
    return 0;
}

/* Appends the sealed chunks. */
static int
opening_seal_chunks(struct message *made, struct seal_stream *s, const struct seal_about *about,
                    const uint8_t *in)
{
    uint8_t *chunk = malloc(SEAL_CHUNK + SEAL_TAG);
    bool last = false;
    int rc = chunk != NULL ? 0 : -1;

    while (rc == 0 && !last) {
        size_t n = seal_stream_next(s);

        last = seal_stream_is_last(s);
        rc = seal_stream_run(s, about, in, chunk);
        if (rc == 0)
            message_append(made, chunk, n + SEAL_TAG);
        in += n;
    }
    free(chunk);
    return rc;
}

struct message *
opening_seal(struct message_store *store, const struct seal *seal, const struct seal_about *about,
             const void *data, size_t n)
{
    uint8_t header[SEAL_HEADER];
    struct seal_stream *s = seal_stream_begin(seal, about->proto, n, header);
    struct message *made = s != NULL ? message_create(store, seal_size(n), UINT64_MAX, 0) : NULL;
    int rc = -1;

    if (made != NULL) {
        made->wants_crc = true;
        message_append(made, header, SEAL_HEADER);
        rc = opening_seal_chunks(made, s, about, data);
        message_finish(made);
    }
    seal_stream_end(s);
    if (rc == 0 && made->error == 0)
        return made;
    message_destroy(made);
    errno = ENOMEM;
    return NULL;
}
