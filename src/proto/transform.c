/* The list of transforms and its two directions. The result of one is freed as soon as the next one
 * has read it, so at most two payloads are in memory at a time besides the caller's. */
#include "proto/transform.h"

#include <errno.h>
#include <stdio.h>
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
        if (t->list[i].free_arg != NULL)
            t->list[i].free_arg(t->list[i].arg);
    t->count = 0;
}

bool
transforms_any_thread(const struct transforms *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!t->list[i].any_thread)
            return false;
    return true;
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
    free(p->own);
    p->own = out;
    p->bytes = out;
    p->len = len;
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
transforms_send(const struct transforms *t, const void *in, size_t n, void **out_out,
                size_t *out_len_out)
{
    struct passing p = {.bytes = in, .len = n};

    for (size_t i = 0; i < t->count; i++)
        if (passing_apply(&p, t->list[i].send, t->list[i].arg) < 0) {
            free(p.own);
            return -1;
        }
    return passing_take(&p, out_out, out_len_out);
}

int
transforms_receive(const struct transforms *t, const void *in, size_t n, void **out_out,
                   size_t *out_len_out)
{
    struct passing p = {.bytes = in, .len = n};

    for (size_t i = t->count; i-- > 0;)
        if (passing_apply(&p, t->list[i].receive, t->list[i].arg) < 0) {
            free(p.own);
            return -1;
        }
    return passing_take(&p, out_out, out_len_out);
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
    made->kind = m->kind;
    made->wants_reply = m->wants_reply;
    made->tag = m->tag;
    made->owner = m->owner;
    made->place = m->place;
    message_set_value(made, m->value, m->value_len);
    return made;
}

int
transforms_receive_message(const struct transforms *t, const struct message *m,
                           struct message_store *store, struct message **made_out)
{
    struct message *made = NULL;
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
    if (transforms_receive(t, body, m->size, &out, &out_len) == 0)
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

/* --- sealing --- */

struct sealing {
    struct seal *seal;
    enum seal_direction to, from;
};

/* The work needs some memory also for an empty payload, or NULL would mean two things. */
static uint8_t *
sealing_memory(size_t n)
{
    return malloc(n > 0 ? n : 1);
}

static int
sealing_send(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct sealing *s = arg;
    uint8_t *sealed =
        in_len <= SIZE_MAX - SEAL_OVERHEAD ? sealing_memory(in_len + SEAL_OVERHEAD) : NULL;

    if (sealed == NULL || seal_encrypt(s->seal, s->to, in, in_len, sealed) < 0) {
        free(sealed);
        return -1;
    }
    *out = sealed;
    *out_len = in_len + SEAL_OVERHEAD;
    return 0;
}

static int
sealing_receive(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct sealing *s = arg;
    uint8_t *opened;

    errno = EBADMSG;
    if (in_len < SEAL_OVERHEAD)
        return -1;
    opened = sealing_memory(in_len - SEAL_OVERHEAD);
    if (opened == NULL)
        return -1;
    if (seal_decrypt(s->seal, s->from, in, in_len, opened) < 0) {
        free(opened);
        return -1;
    }
    *out = opened;
    *out_len = in_len - SEAL_OVERHEAD;
    return 0;
}

static void
sealing_free(void *arg)
{
    struct sealing *s = arg;

    seal_close(s->seal);
    free(s);
}

/* Takes the seal, NULL where it could not be made. */
static int
transform_take_seal(struct seal *seal, enum seal_direction to, struct transform *transform_out,
                    char error[SEAL_ERROR_LEN])
{
    struct sealing *s;

    if (seal == NULL)
        return -1;
    s = ms_calloc(1, sizeof(*s));
    if (s == NULL) {
        snprintf(error, SEAL_ERROR_LEN, "there is no memory for a key");
        seal_close(seal);
        return -1;
    }
    s->seal = seal;
    s->to = to;
    s->from = to == SEAL_TO_SERVER ? SEAL_TO_CLIENT : SEAL_TO_SERVER;
    *transform_out = (struct transform){
        .send = sealing_send,
        .receive = sealing_receive,
        .arg = s,
        .free_arg = sealing_free,
        .any_thread = true,
    };
    return 0;
}

int
transform_seal(const char *key_file, enum seal_direction to, struct transform *transform_out,
               char error[SEAL_ERROR_LEN])
{
    return transform_take_seal(seal_open(key_file, error), to, transform_out, error);
}

int
transform_seal_with(const uint8_t key[SEAL_KEY_LEN], enum seal_direction to,
                    struct transform *transform_out, char error[SEAL_ERROR_LEN])
{
    return transform_take_seal(seal_create(key, error), to, transform_out, error);
}
