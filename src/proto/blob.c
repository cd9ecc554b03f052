/* Invariant: a blob's bytes are in memory, or all of them in its file, where they are read and
 * never changed. */
#include "proto/blob.h"

#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>

#define BLOB_PIECE (64u << 10)

static struct ledger *
blob_ledger(const struct blob *b)
{
    return b->store != NULL ? &b->store->ledger : NULL;
}

struct blob *
blob_create(struct message_store *store, const void *data, size_t n)
{
    struct blob *b = ms_malloc(sizeof(*b) + n);

    if (b == NULL)
        return NULL;
    *b = (struct blob){.refs = 1, .store = store, .len = n, .cost = sizeof(*b) + n, .fd = -1};
    b->mem = (uint8_t *)(b + 1);
    if (n > 0)
        memcpy(b + 1, data, n);
    ledger_take(blob_ledger(b), b->cost);
    return b;
}

struct blob *
blob_of_message(struct message *m)
{
    struct blob *b = m->error == 0 ? ms_malloc(sizeof(*b)) : NULL;

    if (b == NULL) {
        errno = m->error != 0 ? m->error : ENOMEM;
        return NULL;
    }
    *b = (struct blob){.refs = 1,
                       .store = m->store,
                       .len = m->size,
                       .mem = (uint8_t *)m->mem,
                       .cost = sizeof(*b) + m->mem_cap,
                       .fd = m->fd,
                       .has_sha256 = m->has_sha256,
                       .has_crc = m->fd >= 0 && m->wants_crc,
                       .crc = m->crc};
    memcpy(b->sha256, m->sha256, SHA256_LEN);
    ledger_take(blob_ledger(b), sizeof(*b));
    m->mem = NULL;
    m->mem_len = m->mem_cap = 0;
    m->fd = -1;
    m->body_dropped = true;
    return b;
}

struct blob *
blob_store(struct message_store *store, const void *data, size_t n)
{
    struct message *m = message_create(store, n, UINT64_MAX, 0);
    struct blob *b;

    if (m == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    message_skip_digest(m);
    m->wants_crc = true;
    message_append(m, data, n);
    message_finish(m);
    b = blob_of_message(m);
    message_destroy(m);
    return b;
}

void
blob_unref(struct blob *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    blob_unref(b->sealed);
    ledger_give(blob_ledger(b), b->cost);
    if (b->mem != (uint8_t *)(b + 1))
        free((void *)(uintptr_t)b->mem);
    if (b->fd >= 0)
        message_store_close(b->store, &b->fd);
    free(b);
}

/* --- reading --- */

void
blob_reader_init_part(struct blob_reader *r, struct blob *blob, uint64_t at, uint64_t n)
{
    *r = (struct blob_reader){.blob = blob, .at = at, .left = n};
}

void
blob_reader_init(struct blob_reader *r, struct blob *blob)
{
    blob_reader_init_part(r, blob, 0, blob->len);
    if (blob->fd >= 0 && blob->has_sha256)
        r->digest = sha256_begin(blob->store->digester);
}

void
blob_reader_fini(struct blob_reader *r)
{
    if (r->digest != NULL)
        sha256_release(r->blob->store->digester, r->digest);
    blob_unref(r->blob);
    *r = (struct blob_reader){0};
}

/* Are these last n bytes, behind those that were taken, the end of what it was? */
static bool
blob_reader_is_sound(const struct blob_reader *r, const void *data, size_t n)
{
    struct digester *dg = r->blob->store->digester;
    struct sha256 *all = sha256_begin(dg);
    uint8_t sha256[SHA256_LEN];

    if (all == NULL)
        return false;
    sha256_copy(all, r->digest);
    sha256_update(all, data, n);
    sha256_finish(all, sha256);
    sha256_release(dg, all);
    return memcmp(sha256, r->blob->sha256, SHA256_LEN) == 0;
}

ssize_t
blob_reader_next(const struct blob_reader *r, void *scratch, size_t size, const uint8_t **data_out)
{
    const struct blob *b = r->blob;
    size_t n = r->left < size ? (size_t)r->left : size;

    if (b->fd < 0) {
        *data_out = b->mem + r->at;
        return (ssize_t)r->left;
    }
    if (fd_pread_all(b->fd, scratch, n, (off_t)r->at) < 0)
        return -1;
    if (r->digest != NULL && n == r->left && !blob_reader_is_sound(r, scratch, n)) {
        errno = EBADMSG;
        return -1;
    }
    *data_out = scratch;
    return (ssize_t)n;
}

void
blob_reader_take(struct blob_reader *r, const void *data, size_t n)
{
    MS_ASSERT(n <= r->left);
    if (r->digest != NULL)
        sha256_update(r->digest, data, n);
    r->at += n;
    r->left -= n;
}

/* --- all of it --- */

static int
blob_read_all(struct blob *b, uint8_t *out)
{
    struct blob_reader r;
    const uint8_t *data;
    ssize_t n = 0;

    blob_reader_init(&r, blob_ref(b));
    while (r.left > 0 && (n = blob_reader_next(&r, out + r.at, BLOB_PIECE, &data)) > 0)
        blob_reader_take(&r, data, (size_t)n);
    blob_reader_fini(&r);
    return n < 0 ? -1 : 0;
}

int
blob_bytes(struct blob *b, const uint8_t **data_out)
{
    uint8_t *copy;

    if (b->fd < 0) {
        *data_out = b->mem;
        return 0;
    }
    copy = malloc((size_t)b->len);
    if (copy == NULL || blob_read_all(b, copy) < 0) {
        free(copy);
        return -1;
    }
    *data_out = copy;
    return 0;
}

void
blob_release(const struct blob *b, const uint8_t *data)
{
    if (b->fd >= 0)
        free((void *)(uintptr_t)data);
}

int
blob_sum(struct blob *b)
{
    const uint8_t *data;

    if (b->has_sha256 && b->has_crc)
        return 0;
    if (blob_bytes(b, &data) < 0)
        return -1;
    if (!b->has_sha256)
        digest_sha256(b->store->digester, data, (size_t)b->len, b->sha256);
    b->crc = digest_crc32(0, data, (size_t)b->len);
    b->has_sha256 = b->has_crc = true;
    blob_release(b, data);
    return 0;
}
