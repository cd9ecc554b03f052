/* Payloads in sealed chunks. The nonce of a chunk is the random front of its payload, the number of
 * the chunk and a mark of the last one, so none can be left out, moved or added. */
#include "common/seal.h"

#include "common/digest.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define SEAL_MAGIC     "MSK2"
#define SEAL_MAGIC_LEN 4
#define SEAL_ID_AT     SEAL_MAGIC_LEN
#define SEAL_FRONT_AT  (SEAL_ID_AT + SEAL_ID_LEN)
#define SEAL_FRONT_LEN 19 /* of all nonces: XAES_FRONT_LEN and the front of the nonce's back */
#define SEAL_SIZE_AT   (SEAL_FRONT_AT + SEAL_FRONT_LEN)
#define SEAL_BACK_LEN  (SEAL_FRONT_LEN - XAES_FRONT_LEN)
#define SEAL_CHUNKS    UINT32_MAX /* the number of a chunk has 32 bits */

static_assert(SEAL_SIZE_AT + 8 == SEAL_HEADER, "the layout in seal.h");
static_assert(SEAL_BACK_LEN + 4 + 1 == XAES_BACK_LEN, "front, number and mark");

struct seal {
    enum seal_direction to, from;
    size_t count;
    struct {
        uint8_t id[SEAL_ID_LEN];
        struct xaes_key *key;
    } keys[SEAL_KEYS_MAX];
};

struct seal_stream {
    struct xaes *xaes;
    uint64_t size;  /* of the payload */
    uint32_t chunk; /* the next one */
    uint8_t to;
    bool seals;
    const char *proto;
    uint8_t header[SEAL_HEADER];
};

/* --- keys --- */

static bool
seal_add(struct seal *seal, const uint8_t key[SEAL_KEY_LEN])
{
    uint8_t sha256[SHA256_LEN];

    if (EVP_Q_digest(NULL, "SHA256", NULL, key, SEAL_KEY_LEN, sha256, NULL) != 1)
        return false;
    memcpy(seal->keys[seal->count].id, sha256, SEAL_ID_LEN);
    seal->keys[seal->count].key = xaes_key_create(key);
    return seal->keys[seal->count++].key != NULL;
}

struct seal *
seal_create(const struct seal_keys *keys, enum seal_direction to, char error[SEAL_ERROR_LEN])
{
    struct seal *seal = ms_calloc(1, sizeof(*seal));
    bool added = seal != NULL;

    for (size_t i = 0; added && i < keys->count; i++)
        added = seal_add(seal, keys->key[i]);
    if (!added) {
        snprintf(error, SEAL_ERROR_LEN,
                 "there is no memory for a key, or libcrypto has no AES-256-GCM and CMAC here");
        seal_close(seal);
        return NULL;
    }
    seal->to = to;
    seal->from = to == SEAL_TO_SERVER ? SEAL_TO_CLIENT : SEAL_TO_SERVER;
    return seal;
}

struct seal *
seal_open(const char *path, enum seal_direction to, char error[SEAL_ERROR_LEN])
{
    struct seal_keys keys;
    struct seal *seal;

    if (seal_keys_read(path, &keys, error) < 0)
        return NULL;
    seal = seal_create(&keys, to, error);
    seal_keys_wipe(&keys);
    return seal;
}

void
seal_close(struct seal *seal)
{
    if (seal == NULL)
        return;
    for (size_t i = 0; i < seal->count; i++)
        xaes_key_destroy(seal->keys[i].key);
    free(seal);
}

static const struct xaes_key *
seal_find(const struct seal *seal, const uint8_t id[SEAL_ID_LEN])
{
    for (size_t i = 0; i < seal->count; i++)
        if (memcmp(seal->keys[i].id, id, SEAL_ID_LEN) == 0)
            return seal->keys[i].key;
    return NULL;
}

/* --- a payload --- */

static uint64_t
seal_chunks(uint64_t size)
{
    return size == 0 ? 1 : (size - 1) / SEAL_CHUNK + 1;
}

uint64_t
seal_size(uint64_t n)
{
    return SEAL_HEADER + n + seal_chunks(n) * SEAL_TAG;
}

static struct seal_stream *
seal_stream_create(const struct xaes_key *key, const char *proto, enum seal_direction to,
                   bool seals, const uint8_t header[SEAL_HEADER])
{
    struct seal_stream *s = ms_calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->xaes = xaes_begin(key, header + SEAL_FRONT_AT, seals);
    s->size = be64_load(header + SEAL_SIZE_AT);
    s->to = (uint8_t)to;
    s->seals = seals;
    s->proto = proto;
    memcpy(s->header, header, SEAL_HEADER);
    if (s->xaes != NULL)
        return s;
    free(s);
    errno = ENOMEM;
    return NULL;
}

struct seal_stream *
seal_stream_begin(const struct seal *seal, const char *proto, uint64_t size,
                  uint8_t header_out[SEAL_HEADER])
{
    memcpy(header_out, SEAL_MAGIC, SEAL_MAGIC_LEN);
    memcpy(header_out + SEAL_ID_AT, seal->keys[0].id, SEAL_ID_LEN);
    ms_random(header_out + SEAL_FRONT_AT, SEAL_FRONT_LEN);
    be64_store(header_out + SEAL_SIZE_AT, size);
    MS_ASSERT(seal_chunks(size) <= SEAL_CHUNKS);
    return seal_stream_create(seal->keys[0].key, proto, seal->to, true, header_out);
}

struct seal_stream *
seal_stream_open(const struct seal *seal, const char *proto, const uint8_t header[SEAL_HEADER])
{
    const struct xaes_key *key = seal_find(seal, header + SEAL_ID_AT);

    if (memcmp(header, SEAL_MAGIC, SEAL_MAGIC_LEN) != 0 || key == NULL ||
        seal_chunks(be64_load(header + SEAL_SIZE_AT)) > SEAL_CHUNKS) {
        errno = EBADMSG;
        return NULL;
    }
    return seal_stream_create(key, proto, seal->from, false, header);
}

void
seal_stream_end(struct seal_stream *s)
{
    if (s == NULL)
        return;
    xaes_end(s->xaes);
    free(s);
}

size_t
seal_stream_next(const struct seal_stream *s)
{
    uint64_t left = s->size - s->chunk * (uint64_t)SEAL_CHUNK;

    return left < SEAL_CHUNK ? (size_t)left : SEAL_CHUNK;
}

bool
seal_stream_is_last(const struct seal_stream *s)
{
    return s->chunk + UINT64_C(1) == seal_chunks(s->size);
}

uint32_t
seal_stream_tell(const struct seal_stream *s)
{
    return s->chunk;
}

void
seal_stream_seek(struct seal_stream *s, uint32_t chunk)
{
    s->chunk = chunk;
}

static struct iovec
seal_piece(const void *data, size_t n)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = n};
}

int
seal_stream_run(struct seal_stream *s, const struct seal_about *about, const uint8_t *in,
                uint8_t *out)
{
    bool last = seal_stream_is_last(s);
    size_t n = seal_stream_next(s) + (s->seals ? 0 : SEAL_TAG);
    uint8_t back[XAES_BACK_LEN], kind = last ? about->kind : 0;
    const struct iovec aad[] = {
        seal_piece(s->header, SEAL_HEADER),
        seal_piece(&s->to, 1),
        seal_piece(s->proto, strlen(s->proto) + 1),
        seal_piece(&kind, 1), /* this and the next: of the last chunk alone */
        seal_piece(last ? about->value : NULL, last ? about->value_len : 0),
    };

    memcpy(back, s->header + SEAL_FRONT_AT + XAES_FRONT_LEN, SEAL_BACK_LEN);
    be32_store(back + SEAL_BACK_LEN, s->chunk);
    back[XAES_BACK_LEN - 1] = last;
    if (xaes_run(s->xaes, back, aad, last ? 5 : 3, in, n, out) < 0)
        return -1;
    s->chunk++;
    return 0;
}

/* --- all in one piece --- */

/* Chunk by chunk, up to and with the last one. */
static int
seal_run_all(struct seal_stream *s, const struct seal_about *about, const uint8_t *in, uint8_t *out)
{
    bool last;

    do {
        size_t n = seal_stream_next(s);

        last = seal_stream_is_last(s);
        if (seal_stream_run(s, about, in, out) < 0)
            return -1;
        in += n + (s->seals ? 0 : SEAL_TAG);
        out += n + (s->seals ? SEAL_TAG : 0);
    } while (!last);
    return 0;
}

int
seal_encrypt(const struct seal *seal, const struct seal_about *about, const void *in, size_t n,
             uint8_t *out)
{
    struct seal_stream *s = seal_stream_begin(seal, about->proto, n, out);
    int rc = s != NULL ? seal_run_all(s, about, in, out + SEAL_HEADER) : -1;

    seal_stream_end(s);
    return rc;
}

int
seal_decrypt(const struct seal *seal, const struct seal_about *about, const void *in, size_t n,
             uint8_t *out, size_t *len_out)
{
    const uint8_t *bytes = in;
    struct seal_stream *s;
    uint64_t size;
    int rc;

    errno = EBADMSG;
    size = n >= SEAL_HEADER ? be64_load(bytes + SEAL_SIZE_AT) : n;
    if (size >= n || seal_size(size) != n)
        return -1;
    s = seal_stream_open(seal, about->proto, bytes);
    if (s == NULL)
        return -1;
    rc = seal_run_all(s, about, bytes + SEAL_HEADER, out);
    seal_stream_end(s);
    if (rc == 0)
        *len_out = (size_t)size;
    else
        OPENSSL_cleanse(out, (size_t)size);
    return rc;
}
