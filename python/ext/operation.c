/* A call of a LoopClient, step by step: between two steps an event loop waits. */
#include "client.h"

struct operation {
    PyObject_HEAD struct client *client; /* NULL once it is over and its result was taken */
    struct call call;
    bool is_over, is_stepping;
};

PyObject *
operation_create(struct client *c, struct call *call)
{
    PyTypeObject *type = (PyTypeObject *)ext_types.operation;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct operation *o;

    if (client_begin(c) < 0) {
        call_fini(call);
        return NULL;
    }
    o = (void *)alloc(type, 0);
    if (o == NULL) {
        c->is_busy = false;
        call_fini(call);
        return NULL;
    }
    o->call = *call;
    c->fiber = fiber_create(c, &o->call);
    if (c->fiber == NULL) {
        c->is_busy = false;
        Py_DECREF(o);
        return NULL;
    }
    Py_INCREF(c);
    o->client = c;
    return (PyObject *)o;
}

/* One step, in which other threads run, and perhaps callbacks. */
static void
operation_go_on(struct operation *o, bool end)
{
    o->is_stepping = true;
    o->is_over = fiber_step(o->client->fiber, end);
    o->is_stepping = false;
}

/* Ends the call if it is not over. In another process it stays as it is. */
static void
operation_end(struct operation *o)
{
    struct client *c = o->client;

    if (!o->is_over && c->owner == ext_pid)
        operation_go_on(o, true);
    fiber_destroy(c->fiber);
    c->fiber = NULL;
}

static void
operation_dealloc(PyObject *self)
{
    struct operation *o = (void *)self;

    PyObject_GC_UnTrack(self);
    if (o->client != NULL) {
        struct ext_kept before = {NULL, NULL, NULL};

        PyErr_Fetch(&before.type, &before.value, &before.trace);
        operation_end(o);
        Py_XDECREF(client_finish(o->client, &o->call));
        PyErr_Restore(before.type, before.value, before.trace);
        Py_CLEAR(o->client);
    }
    call_fini(&o->call);
    ext_free(self);
}

static int
operation_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct operation *o = (void *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(o->client);
    return 0;
}

static PyObject *
operation_list_waits(const struct fiber *f)
{
    const struct pollfd *fds;
    int timeout_ms;
    unsigned n = fiber_waits(f, &fds, &timeout_ms);
    PyObject *list = PyList_New(0), *waits;

    for (unsigned i = 0; list != NULL && i < n; i++) {
        PyObject *pair = fds[i].fd >= 0 ? Py_BuildValue("(ii)", fds[i].fd, fds[i].events) : NULL;

        if (pair != NULL && PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    if (list == NULL || PyErr_Occurred()) {
        Py_XDECREF(list);
        return NULL;
    }
    waits = timeout_ms < 0 ? Py_BuildValue("(OO)", list, Py_None)
                           : Py_BuildValue("(Od)", list, timeout_ms / 1000.0);
    Py_DECREF(list);
    return waits;
}

static PyObject *
operation_step(PyObject *self, PyObject *args)
{
    struct operation *o = (void *)self;
    int end = 0;

    if (!PyArg_ParseTuple(args, "|p:step", &end))
        return NULL;
    if (o->client == NULL || o->is_over)
        return ext_none();
    if (o->is_stepping || o->client->owner != ext_pid)
        return error_usage("this operation is used elsewhere now");
    operation_go_on(o, end);
    return o->is_over ? ext_none() : operation_list_waits(o->client->fiber);
}

static PyObject *
operation_result(PyObject *self, PyObject *unused)
{
    struct operation *o = (void *)self;
    struct client *c = o->client;
    PyObject *result;

    (void)unused;
    if (c == NULL)
        return error_usage("the result was taken already");
    if (o->is_stepping)
        return error_usage("this operation is used elsewhere now");
    operation_end(o);
    result = client_finish(c, &o->call);
    o->client = NULL;
    Py_DECREF(c);
    return result;
}

static PyMethodDef operation_methods[] = {
    {"step", operation_step, METH_VARARGS,
     "step($self, end=False, /)\n--\n\n"
     "Go on with the call, without waiting.\n\n"
     "Returns None when it is over. Else what to wait for before the next step: a list of\n"
     "(descriptor, events of poll(2)), and the most seconds or None. With end the call is over\n"
     "with this step; a message that is under way is then not committed, or in doubt."},
    {"result", operation_result, METH_NOARGS,
     "result($self, /)\n--\n\nThe result, once; or its exception. Ends the call if it is not "
     "over."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)ext_no_new},
    {Py_tp_dealloc, (void *)(uintptr_t)operation_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)operation_traverse},
    {Py_tp_methods, operation_methods},
    {Py_tp_doc,
     (void *)(uintptr_t) "A call of a LoopClient, which an event loop takes step by step."},
    {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "msock._msock.Operation",
    .basicsize = sizeof(struct operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = operation_slots,
};

int
operation_init_types(PyObject *module)
{
    ext_types.operation = ext_add_type(module, &operation_spec, NULL);
    return ext_types.operation != NULL ? 0 : -1;
}
