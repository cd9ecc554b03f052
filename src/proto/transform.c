/* The list of transforms and its two directions. What one of them made is freed as soon as the next
 * one has read it, so at most two payloads are in memory at a time besides the caller's. */
#include "proto/transform.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* A payload on its way through the list; own is NULL while the bytes are still the caller's. */
struct passing {
    const void *bytes;
    size_t len;
    void *own;
};

static int
passing_apply(struct passing *p, transform_fn fn, void *arg)
{
    void *out = NULL;
    size_t len = 0;

    if (fn == NULL)
        return 0;
    if (fn(arg, p->len > 0 ? p->bytes : "", p->len, &out, &len) != 0)
        return -1;
    if (out == NULL && len > 0)
        return -1;
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

/* A new message like m with another body, or NULL where that cannot be stored. */
static struct message *
message_with_body(const struct message *m, const void *body, size_t n)
{
    struct message *made = message_create(m->store, n, m->keep_max, m->begun_us);

    message_append(made, body, n);
    message_finish(made);
    if (made->error != 0) {
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

struct message *
transforms_receive_message(const struct transforms *t, struct message *m)
{
    struct message *made = NULL;
    const char *body;
    void *out = NULL;
    size_t out_len;

    if (m->body_dropped || m->size > TRANSFORM_BODY_MAX || message_body(m, &body) < 0)
        return NULL;
    if (transforms_receive(t, body, m->size, &out, &out_len) == 0)
        made = message_with_body(m, out, out_len);
    message_body_release(m, body);
    free(out);
    return made;
}
