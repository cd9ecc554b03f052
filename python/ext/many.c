/* The iterator of send_many: takes from the program's iterable as long as nothing has ended, and
 * hands out what has. A list is gathered. Any other iterable may pause: each of its messages goes
 * to the kernel before the next one is asked for. While it is quick the kernel gathers (TCP_CORK),
 * and sends what it has after 200 ms at the latest. */
#include "client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>

#define QUICK_NS 1000000 /* an item that came sooner */

struct many {
    PyObject_HEAD struct client *client;
    PyObject *items; /* an iterator; NULL once it is exhausted */
    bool json, may_pause, has_begun;
    bool is_running;   /* somebody waits for the next outcome */
    int corked;        /* the descriptor; -1: none */
    Py_ssize_t number; /* of the next outcome */
};

PyObject *
many_create(struct client *c, PyObject *items, bool json)
{
    PyTypeObject *type = (PyTypeObject *)ext_types.many;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *iterator = PyObject_GetIter(items);
    struct many *many;

    if (iterator == NULL)
        return NULL;
    many = (void *)alloc(type, 0);
    if (many == NULL) {
        Py_DECREF(iterator);
        return NULL;
    }
    Py_INCREF(c);
    many->client = c;
    many->items = iterator;
    many->json = json;
    many->corked = -1;
    many->may_pause = !PyList_Check(items) && !PyTuple_Check(items);
    return (PyObject *)many;
}

int
many_take_item(struct call *call, PyObject *item, bool json)
{
    PyObject *text;
    int rc;

    if (PyTuple_Check(item) && PyTuple_Size(item) == 2) {
        if (call_take_id(call, PyTuple_GetItem(item, 1)) < 0)
            return -1;
        item = PyTuple_GetItem(item, 0);
    }
    if (!json)
        return call_take_data(call, item);
    call->what = 'J';
    text = PyObject_CallFunctionObjArgs(ext_dumps, item, NULL);
    if (text == NULL)
        return -1;
    rc = call_take_data(call, text);
    Py_DECREF(text);
    return rc;
}

/* 0, or -1 with an exception. */
static int
many_flush(const struct many *many, int timeout_ms)
{
    struct call call;
    PyObject *result;

    call_init(&call, CALL_FLUSH);
    call.timeout_ms = timeout_ms;
    result = client_call(many->client, &call);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* What another send_many of this client has left behind is nobody's. */
static int
many_begin(struct many *many)
{
    PyObject *outcome;

    if (ring_pending(many->client->ring) > 0 && many_flush(many, -1) < 0)
        return -1;
    while ((outcome = ring_pop(many->client->ring, 0)) != NULL)
        Py_DECREF(outcome);
    many->client->many = many;
    many->has_begun = true;
    return PyErr_Occurred() != NULL ? -1 : 0;
}

static int
many_send(struct many *many, PyObject *item)
{
    struct call call;
    PyObject *result;

    call_init(&call, CALL_AHEAD);
    if (many_take_item(&call, item, many->json) < 0 || client_push(many->client) < 0) {
        call_fini(&call);
        return -1;
    }
    result = client_call(many->client, &call);
    Py_XDECREF(result);
    if (result == NULL)
        return -1;
    return many->may_pause ? many_flush(many, 0) : 0;
}

/* A connection that was made anew has another descriptor, or begins uncorked under the same one:
 * then its messages leave one by one. Where this is no TCP they do too. */
static void
many_cork(struct many *many, int on)
{
    struct client *c = many->client;
    int fd = c->m != NULL && !c->is_busy ? msock_fd(c->m) : -1;

    if ((fd == many->corked) == on)
        return;
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    many->corked = on ? fd : -1;
}

static int64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The next item; NULL at the end, or with an exception. */
static PyObject *
many_next_item(struct many *many)
{
    int64_t before = many->may_pause ? now_ns() : 0;
    PyObject *item = PyIter_Next(many->items);

    if (many->may_pause)
        many_cork(many, item != NULL && now_ns() - before < QUICK_NS);
    return item;
}

/* Takes and sends the next item, or waits for the last answers. */
static int
many_go_on(struct many *many)
{
    PyObject *item;
    int rc;

    if (many->items == NULL)
        return many_flush(many, -1);
    item = many_next_item(many);
    if (item == NULL) {
        Py_CLEAR(many->items);
        return PyErr_Occurred() != NULL ? -1 : 0;
    }
    rc = many_send(many, item);
    Py_DECREF(item);
    return rc;
}

static PyObject *
many_outcome(struct many *many)
{
    struct ring *ring = many->client->ring;

    if (!many->has_begun && many_begin(many) < 0)
        return NULL;
    if (many->client->many != many)
        return error_usage("another send_many of this client has begun");
    while (!ring_has_outcome(ring)) {
        if (many->items == NULL && ring_pending(ring) == 0)
            return NULL;
        if (many_go_on(many) < 0)
            return NULL;
    }
    return ring_pop(ring, many->number++);
}

/* An item's own code may come back here, and other threads run meanwhile. */
static PyObject *
many_next(PyObject *self)
{
    struct many *many = (void *)self;
    PyObject *outcome;

    if (many->is_running || many->client->is_busy)
        return error_usage("this send_many or its client is in use: by another thread, or by the"
                           " items themselves");
    many->is_running = true;
    outcome = many_outcome(many);
    many->is_running = false;
    return outcome;
}

static int
many_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct many *many = (void *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(many->client);
    Py_VISIT(many->items);
    return 0;
}

static int
many_clear(PyObject *self)
{
    Py_CLEAR(((struct many *)self)->items);
    return 0;
}

static void
many_dealloc(PyObject *self)
{
    struct many *many = (void *)self;

    PyObject_GC_UnTrack(self);
    if (many->client != NULL && many->client->many == many) {
        many_cork(many, 0);
        many->client->many = NULL;
    }
    Py_CLEAR(many->items);
    Py_CLEAR(many->client);
    ext_free(self);
}

static PyObject *
many_iter(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyType_Slot many_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)ext_no_new},
    {Py_tp_dealloc, (void *)(uintptr_t)many_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)many_traverse},
    {Py_tp_clear, (void *)(uintptr_t)many_clear},
    {Py_tp_iter, (void *)(uintptr_t)many_iter},
    {Py_tp_iternext, (void *)(uintptr_t)many_next},
    {Py_tp_doc, (void *)(uintptr_t) "The outcomes of Client.send_many."},
    {0, NULL},
};

static PyType_Spec many_spec = {
    .name = "msock._msock.Many",
    .basicsize = sizeof(struct many),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = many_slots,
};

int
many_init_types(PyObject *module)
{
    ext_types.many = ext_add_type(module, &many_spec, NULL);
    return ext_types.many != NULL ? 0 : -1;
}
