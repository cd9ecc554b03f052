/* From libmsock to the functions of a client's program: signals, progress, transforms. libmsock
 * calls without the GIL, and for a LoopClient on another stack, where Python must not run. */
#include "client.h"

#include <errno.h>

/* Calls a function that needs the GIL. */
static void
client_python(struct client *c, void (*fn)(void *), void *arg)
{
    PyGILState_STATE state;

    if (c->fiber != NULL) {
        fiber_call_python(c->fiber, fn, arg);
        return;
    }
    state = PyGILState_Ensure();
    fn(arg);
    PyGILState_Release(state);
}

static void
client_check_signals(void *arg)
{
    struct client *c = arg;

    if (PyErr_CheckSignals() < 0)
        kept_take(&c->kept);
}

static int
client_wait(void *arg, struct pollfd *fds, unsigned n, int timeout_ms)
{
    struct client *c = arg;
    bool is_long = timeout_ms < 0 || timeout_ms > EXT_LOOK_MS;
    int rc;

    if (c->fiber != NULL)
        return fiber_poll(c->fiber, fds, n, timeout_ms);
    rc = poll(fds, n, is_long ? EXT_LOOK_MS : timeout_ms);
    if (rc > 0 || (rc == 0 && !is_long) || (rc < 0 && errno != EINTR))
        return rc;
    client_python(c, client_check_signals, c);
    errno = c->kept.type != NULL ? ECANCELED : EINTR;
    return -1;
}

struct progress {
    struct client *client;
    unsigned long long done, total;
    int stop;
};

/* False, and nothing else, stops the message. */
static void
client_call_progress(void *arg)
{
    struct progress *p = arg;
    PyObject *function = p->client->progress, *result = NULL;

    Py_XINCREF(function); /* NULL: the client is being collected */
    if (function != NULL)
        result = PyObject_CallFunction(function, "KK", p->done, p->total);
    p->stop = result == NULL || result == Py_False;
    if (result == NULL)
        kept_take(&p->client->kept);
    Py_XDECREF(result);
    Py_XDECREF(function);
}

static int
client_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress p = {.client = arg, .done = done, .total = total};

    client_python(p.client, client_call_progress, &p);
    return p.stop;
}

struct transform {
    struct client *client;
    PyObject *function;
    const void *in;
    size_t in_len;
    void **out;
    size_t *out_len;
    int rc;
};

static void
client_call_transform(void *arg)
{
    struct transform *t = arg;

    if (t->function != NULL) /* NULL: the client is being collected */
        t->rc = ext_transform(t->function, t->in, t->in_len, t->out, t->out_len);
    if (t->rc < 0)
        kept_take(&t->client->kept);
}

/* arg is one of the client's. */
static int
client_transform(struct client_transform *one, PyObject *function, struct transform *t)
{
    t->client = one->client;
    t->function = function;
    t->rc = -1;
    client_python(one->client, client_call_transform, t);
    return t->rc;
}

static int
client_encode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct client_transform *one = arg;
    struct transform t = {.in = in, .in_len = in_len, .out = out, .out_len = out_len};

    return client_transform(one, one->encode, &t);
}

static int
client_decode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct client_transform *one = arg;
    struct transform t = {.in = in, .in_len = in_len, .out = out, .out_len = out_len};

    return client_transform(one, one->decode, &t);
}

static void
client_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct client *c = arg;

    (void)number;
    ring_settle(c->ring, status, msock_error(c->m), msock_error_code(c->m));
}

/* --- setting them --- */

void
client_set_callbacks(struct client *c)
{
    msock_set_wait(c->m, client_wait, c);
    msock_set_settled(c->m, client_settled, c);
}

void
client_set_progress(struct client *c)
{
    msock_set_progress(c->m, client_progress, c);
}

static bool
is_transform(PyObject *function)
{
    if (function == Py_None || PyCallable_Check(function))
        return true;
    PyErr_SetString(PyExc_TypeError, "a transform is a function of bytes, or None");
    return false;
}

int
client_add_transform(struct client *c, PyObject *encode, PyObject *decode)
{
    struct client_transform *one = &c->transforms[c->transform_count];

    if (!is_transform(encode) || !is_transform(decode))
        return -1;
    if (msock_add_transform(c->m, encode != Py_None ? client_encode : NULL,
                            decode != Py_None ? client_decode : NULL, one) != MSOCK_OK) {
        error_set(MSOCK_USAGE, msock_error(c->m), "");
        return -1;
    }
    c->transform_count++;
    one->client = c;
    Py_INCREF(encode);
    Py_INCREF(decode);
    one->encode = encode;
    one->decode = decode;
    return 0;
}
