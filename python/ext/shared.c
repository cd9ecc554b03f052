/* SharedClient: a client that several threads use as they use a socket, where one waits for what
 * comes while others send. Each call of libmsock is one that does not wait, and is made with the
 * GIL, which so is the lock; a thread waits by itself, without it. For connections that the program
 * has made (sock=), since a connection cannot be made without waiting. */
#include "client.h"

#include <errno.h>
#include <time.h>

#define LOOK_MS 250 /* a connection that another thread has closed is noticed */

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the connection. 0, or -1 with an exception. */
static int
shared_wait(struct client *c, int64_t left_ms)
{
    struct pollfd p = {.fd = msock_fd(c->m), .events = msock_events(c->m)};
    PyThreadState *state = PyEval_SaveThread();
    int n = poll(&p, 1, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);

    PyEval_RestoreThread(state);
    return n < 0 ? PyErr_CheckSignals() : 0;
}

/* A call that does not wait. NULL with an exception. */
static PyObject *
shared_call(struct client *c, struct call *call)
{
    if (client_begin(c) < 0)
        return NULL;
    client_run(c, call);
    return client_finish(c, call);
}

static PyObject *
shared_take(PyObject *self, PyObject *timeout)
{
    struct client *c = (void *)self;
    int64_t until = 0, left;
    PyObject *message;
    struct call call;
    int timeout_ms;

    if (ext_milliseconds(timeout, &timeout_ms) < 0)
        return NULL;
    call_init(&call, CALL_RECV);
    call.timeout_ms = 0;
    call.otherwise = Py_None;
    for (;;) {
        message = shared_call(c, &call);
        if (message != Py_None)
            return message;
        left = timeout_ms < 0 ? INT32_MAX : timeout_ms;
        if (timeout_ms >= 0 && until == 0)
            until = now_ms() + timeout_ms;
        else if (timeout_ms >= 0)
            left = until - now_ms();
        if (left <= 0)
            return message;
        Py_DECREF(message);
        if (shared_wait(c, left) < 0)
            return NULL;
    }
}

/* Waits until what was sent ahead has left, or has failed. */
static int
shared_flush(struct client *c)
{
    PyObject *done;
    struct call call;

    call_init(&call, CALL_FLUSH);
    call.timeout_ms = 0;
    for (;;) {
        done = shared_call(c, &call);
        Py_XDECREF(done);
        if (done == NULL)
            return -1;
        if (done == Py_True)
            return 0;
        if (shared_wait(c, INT32_MAX) < 0)
            return -1;
    }
}

/* What became of the last message: None, or its exception. One before it whose wait was interrupted
 * has its outcome here too. */
static PyObject *
shared_outcome(struct client *c)
{
    PyObject *outcome, *error;

    while ((outcome = ring_pop(c->ring, 0)) != NULL) {
        error = PyStructSequence_GetItem(outcome, 2);
        if (!ring_has_outcome(c->ring) && error != Py_None)
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(outcome);
    }
    return PyErr_Occurred() != NULL ? NULL : ext_none();
}

static PyObject *
shared_put(PyObject *self, PyObject *data)
{
    struct client *c = (void *)self;
    PyObject *result = NULL;
    struct call call;

    call_init(&call, CALL_AHEAD);
    if (call_take_data(&call, data) < 0)
        return NULL;
    if (client_begin(c) == 0 && ring_push(c->ring) == 0) {
        client_run(c, &call);
        result = client_finish(c, &call);
    }
    call_fini(&call);
    Py_XDECREF(result);
    if (result == NULL || shared_flush(c) < 0)
        return NULL;
    return shared_outcome(c);
}

static PyMethodDef shared_methods[] = {
    {"take", shared_take, METH_O,
     "take($self, timeout, /)\n--\n\n"
     "Wait for the next message, in any thread; None if it does not come within timeout seconds."},
    {"put", shared_put, METH_O,
     "put($self, data, /)\n--\n\n"
     "Send a message while other threads wait in take(); one thread at a time."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot shared_slots[] = {
    {Py_tp_dealloc, (void *)(uintptr_t)client_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)client_traverse},
    {Py_tp_clear, (void *)(uintptr_t)client_clear},
    {Py_tp_methods, shared_methods},
    {Py_tp_doc,
     (void *)(uintptr_t) "A Client with sock=, which several threads use as they use a socket."},
    {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "msock._msock.SharedClient",
    .basicsize = sizeof(struct client),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = shared_slots,
};

int
shared_init_types(PyObject *module)
{
    ext_types.shared_client = ext_add_type(module, &shared_spec, ext_types.client);
    return ext_types.shared_client != NULL ? 0 : -1;
}
