/* The list of transforms and its two directions. The result of one is freed as soon as the next one
 * has read it, so at most two payloads are in memory at a time besides the caller's. */
#include "proto/transform.h"

#include <errno.h>
#include <stdlib.h>

int
transforms_add(struct transforms *t, const struct transform *transform)
{
    if (t->count == TRANSFORMS_MAX) {
        errno = ENOSPC;
        return -1;
    }
    t->list[t->count++] = *transform;
    return 0;
}

void
transforms_fini(struct transforms *t)
{
    for (size_t i = 0; i < t->count; i++)
        seal_close(t->list[i].seal);
    t->count = 0;
}

const struct seal *
transforms_seal(const struct transforms *t)
{
    return t->count > 0 ? t->list[t->count - 1].seal : NULL;
}

size_t
transforms_whole(const struct transforms *t)
{
    return t->count - (transforms_seal(t) != NULL);
}

/* A payload on its way through the list; own is NULL while the bytes are still the caller's. */
struct passing {
    const void *bytes;
    size_t len;
    void *own;
};

/* Whose fault it was, as errno says; a callback that does not set it means the payload. */
static int
passing_fault(int error)
{
    switch (error) {
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EIO:
    case EMFILE:
    case ENFILE:
        return error;
    default:
        return EBADMSG;
    }
}

static void
passing_become(struct passing *p, void *out, size_t len)
{
    free(p->own);
    p->own = out;
    p->bytes = out;
    p->len = len;
}

static int
passing_apply(struct passing *p, transform_fn fn, void *arg)
{
    void *out = NULL;
    size_t len = 0;

    if (fn == NULL)
        return 0;
    errno = 0;
    if (fn(arg, p->len > 0 ? p->bytes : "", p->len, &out, &len) != 0 || (out == NULL && len > 0)) {
        errno = passing_fault(errno);
        return -1;
    }
    passing_become(p, out, len);
    return 0;
}

static int
passing_seal(struct passing *p, const struct seal *seal, const struct seal_about *about)
{
    size_t len = (size_t)seal_size(p->len);
    uint8_t *out = malloc(len);

    if (out == NULL || seal_encrypt(seal, about, p->bytes, p->len, out) < 0) {
        free(out);
        errno = ENOMEM;
        return -1;
    }
    passing_become(p, out, len);
    return 0;
}

static int
passing_open(struct passing *p, const struct seal *seal, const struct seal_about *about)
{
    uint8_t *out = malloc(p->len + 1); /* NULL would mean two things */
    size_t len;

    if (out == NULL || seal_decrypt(seal, about, p->bytes, p->len, out, &len) < 0) {
        free(out); /* errno stays */
        return -1;
    }
    passing_become(p, out, len);
    return 0;
}

/* The result becomes the caller's; a payload that nothing has touched is copied. */
static int
passing_take(struct passing *p, void **out_out, size_t *len_out)
{
    if (p->own == NULL) {
        p->own = malloc(p->len > 0 ? p->len : 1);
        if (p->own == NULL)
            return -1;
        if (p->len > 0)
            memcpy(p->own, p->bytes, p->len);
    }
    *out_out = p->own;
    *len_out = p->len;
    return 0;
}

int
transforms_send(const struct transforms *t, const struct seal_about *about, const void *in,
                size_t n, void **out_out, size_t *out_len_out)
{
    struct passing p = {.bytes = in, .len = n};

    for (size_t i = 0; i < t->count; i++) {
        const struct transform *one = &t->list[i];

        if ((one->seal != NULL ? passing_seal(&p, one->seal, about)
                               : passing_apply(&p, one->send, one->arg)) < 0) {
            free(p.own); /* errno stays */
            return -1;
        }
    }
    return passing_take(&p, out_out, out_len_out);
}

/* Back through the first so many. */
static int
transforms_back(const struct transforms *t, size_t count, const struct seal_about *about,
                struct passing *p, void **out_out, size_t *out_len_out)
{
    for (size_t i = count; i-- > 0;) {
        const struct transform *one = &t->list[i];

        if ((one->seal != NULL ? passing_open(p, one->seal, about)
                               : passing_apply(p, one->receive, one->arg)) < 0) {
            free(p->own);
            return -1;
        }
    }
    return passing_take(p, out_out, out_len_out);
}

int
transforms_receive(const struct transforms *t, const struct seal_about *about, const void *in,
                   size_t n, void **out_out, size_t *out_len_out)
{
    struct passing p = {.bytes = in, .len = n};

    return transforms_back(t, t->count, about, &p, out_out, out_len_out);
}

/* A new message like m with another body, or NULL with errno where that cannot be stored. */
static struct message *
message_with_body(const struct message *m, struct message_store *store, const void *body, size_t n)
{
    struct message *made = message_create(store, n, m->keep_max, m->begun_us);

    if (made == NULL)
        return NULL;
    message_append(made, body, n);
    message_finish(made);
    if (made->error != 0) {
        errno = made->error;
        message_destroy(made);
        return NULL;
    }
    message_like(made, m);
    return made;
}

int
transforms_receive_message(const struct transforms *t, const struct message *m,
                           struct message_store *store, struct message **made_out)
{
    struct message *made = NULL;
    struct passing p = {.len = (size_t)m->size};
    const char *body;
    void *out = NULL;
    size_t out_len;
    int saved;

    errno = EBADMSG;
    if (m->body_dropped || m->size > TRANSFORM_BODY_MAX)
        return -1;
    if (message_body(m, &body) < 0) {
        errno = errno == EBADMSG ? EIO : errno; /* the file's fault, not the sender's */
        return -1;
    }
    p.bytes = body;
    if (transforms_back(t, transforms_whole(t), NULL, &p, &out, &out_len) == 0)
        made = message_with_body(m, store, out, out_len);
    saved = errno;
    message_body_release(m, body);
    free(out);
    errno = saved;
    if (made == NULL)
        return -1;
    *made_out = made;
    return 0;
}
