/* How one message is published: in one publication, or by parcel_chunks.c. Invariant: nothing of a
 * parcel is under way when its done is called, or it is taken back by parcel_fini. */
#include "nats/parcel.h"

#include "common/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* --- headers --- */

/* A value that is ours has no end of a line. */
void
parcel_header_add(struct parcel *p, const char *name, const char *value)
{
    struct buffer *out = &p->ps->headers;

    buffer_append_str(out, name);
    buffer_append(out, ": ", 2);
    buffer_append_str(out, value);
    buffer_append(out, "\r\n", 2);
}

static void
parcel_header_add_foreign(struct parcel *p, const char *name, const char *value, size_t n)
{
    struct buffer *out = &p->ps->headers;

    buffer_append_str(out, name);
    buffer_append(out, ": ", 2);
    header_escape(out, value, n);
    buffer_append(out, "\r\n", 2);
}

void
parcel_headers_begin(struct parcel *p, const char *msg_id)
{
    buffer_clear(&p->ps->headers);
    parcel_header_add(p, "Nats-Msg-Id", msg_id);
    parcel_header_add(p, "Nats-Expected-Stream", p->ps->stream);
    parcel_header_add(p, "Msock-Id", p->v.id);
}

void
parcel_headers_make(struct parcel *p)
{
    const struct parcel_values *v = &p->v;
    char hex[SHA256_HEX_LEN + 1], size[24];

    digest_hex(v->sha256, SHA256_LEN, hex);
    snprintf(size, sizeof(size), "%" PRIu64, v->size);
    parcel_headers_begin(p, v->msg_id);
    parcel_header_add_foreign(p, "Msock-Time", v->time, strlen(v->time));
    parcel_header_add_foreign(p, "Msock-Kind", v->kind, strlen(v->kind));
    parcel_header_add(p, "Msock-Size", size);
    parcel_header_add(p, "Msock-SHA256", hex);
    parcel_header_add_foreign(p, "Msock-Listener", v->listener, strlen(v->listener));
    parcel_header_add_foreign(p, "Msock-Proto", v->proto, strlen(v->proto));
    parcel_header_add_foreign(p, "Msock-Peer", v->peer, strlen(v->peer));
    if (v->identity != NULL)
        parcel_header_add_foreign(p, "Msock-Identity", v->identity, strlen(v->identity));
    if (v->name_len > 0)
        parcel_header_add_foreign(p, v->is_file ? "Msock-Path" : "Msock-Key", v->name, v->name_len);
}

/* --- how it ends --- */

static void
parcel_not(struct parcel *p, enum publish_outcome outcome, const char *text, int error)
{
    p->done(p, &(struct publish_result){.outcome = outcome, .text = text, .error = error});
}

static void
parcel_unread(struct parcel *p, int error)
{
    char text[NATS_ERROR_LEN];

    snprintf(text, sizeof(text), "the body cannot be read back: %s", strerrordesc_np(error));
    parcel_not(p, PUBLISH_UNREAD, text, error);
}

/* --- the plan --- */

/* A sender chooses how long a name is: no record may be one that no stream could ever have. */
static bool
parcel_name(struct parcel *p)
{
    struct subject_values values = {
        .listener = p->v.listener,
        .kind = p->v.kind,
        .proto = p->v.proto,
        .identity = p->v.identity != NULL ? p->v.identity : "",
        .id = p->v.name,
        .id_len = p->v.name_len,
    };
    char subject[SUBJECT_MAX];

    if (subject_format(p->ps->template, &values, subject) < 0) {
        values.id = p->v.id;
        values.id_len = strlen(p->v.id);
        if (subject_format(p->ps->template, &values, subject) < 0)
            return false;
    }
    p->subject = ms_strdup(subject);
    return true;
}

/* Makes the headers of the message. Returns false where it has ended the parcel. */
static bool
parcel_plan(struct parcel *p)
{
    parcel_headers_make(p);
    if (!parcel_name(p))
        parcel_not(p, PUBLISH_REFUSED, "the subject is too long", 0);
    else if (!parcel_chunks_plan(p, publisher_payload_max(p->ps->publisher)))
        parcel_not(p, PUBLISH_TOO_LARGE, "the message is larger than NATS takes in chunks", 0);
    else
        return true;
    return false;
}

/* --- publishing --- */

static void
parcel_make_ready(struct parcel *p)
{
    if (p->is_ready)
        return;
    p->is_ready = true;
    TAILQ_INSERT_TAIL(&p->ps->ready, p, ready);
}

void
parcel_begin_again(struct parcel *p)
{
    struct parcels *ps = p->ps;

    parcel_fini(p);
    parcel_begin(ps, p);
}

static void
parcel_piece_stored(struct parcel *p, const struct parcel_piece *piece,
                    const struct publish_result *result)
{
    p->ps->served_us = clock_mono_us();
    if (p->is_last) {
        p->done(p, result);
        return;
    }
    p->chunks.seqs[piece->chunk] = result->seq;
    p->chunks.stored++;
    if (parcel_chunks_can_advance(p))
        parcel_make_ready(p);
}

static void
parcel_piece_done(struct publication *publication, const struct publish_result *result)
{
    struct parcel_piece *piece = publication->arg;
    struct parcel *p = piece->parcel;

    piece->publication = NULL;
    p->out--;
    if (result->outcome == PUBLISH_STORED)
        parcel_piece_stored(p, piece, result);
    else if (result->outcome == PUBLISH_UNBOUND)
        parcel_begin_again(p);
    else
        p->done(p, result);
}

static struct parcel_piece *
parcel_free_piece(struct parcel *p)
{
    struct parcel_piece *piece = p->pieces;

    while (piece->publication != NULL)
        piece++;
    MS_ASSERT(piece < p->pieces + PARCEL_CHUNKS_AHEAD);
    return piece;
}

struct publication *
parcel_piece(struct parcel *p, uint32_t chunk, const void *data, size_t len)
{
    const struct buffer *headers = &p->ps->headers;
    struct parcel_piece *piece = parcel_free_piece(p);
    struct publication *publication =
        publication_create(p->subject, buffer_bytes(headers), headers->len, data, len);

    *piece = (struct parcel_piece){.parcel = p, .publication = publication, .chunk = chunk};
    publication->done = parcel_piece_done;
    if (p->is_last && p->v.may_be_reused)
        publication->same = "Msock-SHA256";
    if (p->is_last)
        publication->bound_round = p->chunks.round;
    publication->arg = piece;
    p->out++;
    return publication;
}

int
parcel_read(const struct parcel *p, uint64_t at, char *out, size_t n)
{
    if (p->v.mem == NULL)
        return fd_pread_all(p->v.fd, out, n, (off_t)at);
    memcpy(out, p->v.mem + at, n);
    return 0;
}

/* What comes back from a file has to be proven. */
static int
parcel_read_all(const struct parcel *p, char *out)
{
    uint8_t digest[SHA256_LEN];

    if (parcel_read(p, 0, out, p->v.size) < 0)
        return -1;
    if (p->v.mem != NULL)
        return 0;
    digest_sha256(p->ps->digester, out, p->v.size, digest);
    if (memcmp(digest, p->v.sha256, SHA256_LEN) == 0)
        return 0;
    errno = EBADMSG;
    return -1;
}

/* Its plan was made just before, with its headers. */
static int
parcel_publish_all(struct parcel *p)
{
    struct publication *publication;

    p->is_last = true;
    publication = parcel_piece(p, 0, NULL, p->v.size);
    if (parcel_read_all(p, publication_data(publication)) < 0) {
        p->pieces[0].publication = NULL;
        publication_destroy(publication);
        return -1;
    }
    publisher_give(p->ps->publisher, publication);
    return 0;
}

/* Publishes the next piece. May end the parcel. */
static void
parcel_advance(struct parcel *p)
{
    int rc;

    if (p->subject == NULL && !parcel_plan(p))
        return;
    rc = p->chunks.count == 0 ? parcel_publish_all(p) : parcel_chunks_advance(p);
    if (rc < 0)
        parcel_unread(p, errno);
    else if (parcel_chunks_can_advance(p))
        parcel_make_ready(p);
}

/* --- life --- */

void
parcels_init(struct parcels *ps, struct publisher *publisher, struct digester *digester,
             const char *stream, const char *template)
{
    *ps = (struct parcels){
        .publisher = publisher, .digester = digester, .stream = stream, .template = template};
    TAILQ_INIT(&ps->ready);
}

void
parcels_fini(struct parcels *ps)
{
    buffer_fini(&ps->headers);
}

void
parcels_pump(struct parcels *ps)
{
    struct parcel *p;

    while ((p = TAILQ_FIRST(&ps->ready)) != NULL && publisher_has_room(ps->publisher)) {
        TAILQ_REMOVE(&ps->ready, p, ready);
        p->is_ready = false;
        parcel_advance(p);
    }
}

void
parcel_begin(struct parcels *ps, struct parcel *p)
{
    p->ps = ps;
    parcel_make_ready(p);
}

void
parcel_fini(struct parcel *p)
{
    for (size_t i = 0; i < PARCEL_CHUNKS_AHEAD; i++)
        if (p->pieces[i].publication != NULL)
            publisher_cancel(p->ps->publisher, p->pieces[i].publication);
    if (p->is_ready)
        TAILQ_REMOVE(&p->ps->ready, p, ready);
    parcel_chunks_fini(p);
    free(p->subject);
    *p = (struct parcel){.v = p->v, .done = p->done};
}
