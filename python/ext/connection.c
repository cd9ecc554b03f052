/* The type Connection. Invariant: it has its msock_conn until that has ended or its server is
 * closed. */
#include "server.h"

struct connection {
    PyObject_HEAD struct server *server;
    msock_conn *conn; /* NULL: it has ended */
    PyObject *peer, *identity, *protocol, *state;
};

PyObject *
connection_create(struct server *server, msock_conn *conn, const char *peer, const char *identity)
{
    PyTypeObject *type = (PyTypeObject *)ext_types.connection;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct connection *c = (void *)alloc(type, 0);

    if (c == NULL)
        return NULL;
    Py_INCREF(server);
    c->server = server;
    c->conn = conn;
    c->state = ext_none();
    c->peer = PyUnicode_FromString(peer);
    c->identity = PyUnicode_FromString(identity);
    if (c->peer != NULL && c->identity != NULL)
        return (PyObject *)c;
    Py_DECREF(c);
    return NULL;
}

void
connection_end(PyObject *self, const char *protocol)
{
    struct connection *c = (void *)self;

    c->conn = NULL;
    if (c->protocol != NULL)
        return;
    c->protocol = PyUnicode_FromString(protocol);
    if (c->protocol == NULL)
        PyErr_Clear();
}

/* Takes the turn for a connection that is open. 0, or -1 with an exception. */
static int
connection_enter(struct connection *c)
{
    if (server_enter(c->server) < 0)
        return -1;
    if (c->conn != NULL)
        return 0;
    error_set(MSOCK_UNREACHABLE, "the connection has ended", "");
    server_leave(c->server);
    return -1;
}

#define WRITE_SLICE_MS \
    100 /* after which signals are looked at, and other threads have their turn */

/* One try, for at most that long. */
static enum msock_status
connection_try_write(struct connection *c, const char *data, size_t n, int ms)
{
    enum msock_status status;
    PyThreadState *state;

    if (connection_enter(c) < 0)
        return MSOCK_USAGE;
    state = PyEval_SaveThread();
    status = msock_conn_write(c->conn, data, n, ms);
    ext_restore(state);
    if (status != MSOCK_OK && status != MSOCK_TIMEOUT)
        error_set(status, msock_server_error(c->server->s), "");
    server_leave(c->server);
    return status;
}

static PyObject *
connection_write(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "timeout", NULL};
    enum msock_status status = MSOCK_TIMEOUT;
    PyObject *data_arg, *timeout = NULL, *owner;
    const char *data;
    int left_ms;
    size_t n;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:write", names, &data_arg, &timeout) ||
        ext_milliseconds(timeout, &left_ms) < 0 || ext_bytes(data_arg, &owner, &data, &n) < 0)
        return NULL;
    while (status == MSOCK_TIMEOUT && !PyErr_Occurred()) {
        int ms = left_ms < 0 || left_ms > WRITE_SLICE_MS ? WRITE_SLICE_MS : left_ms;

        status = connection_try_write((void *)self, data, n, ms);
        if (status == MSOCK_TIMEOUT && PyErr_CheckSignals() == 0 && left_ms == ms)
            error_set(MSOCK_TIMEOUT, "the peer has not read what was written before", "");
        left_ms -= left_ms > 0 ? ms : 0;
    }
    Py_DECREF(owner);
    return PyErr_Occurred() ? NULL : ext_none();
}

static PyObject *
connection_disconnect(PyObject *self, PyObject *unused)
{
    struct connection *c = (void *)self;

    (void)unused;
    if (server_enter(c->server) < 0)
        return NULL;
    if (c->conn != NULL)
        msock_conn_disconnect(c->conn);
    server_leave(c->server);
    return ext_none();
}

static PyObject *
connection_get_protocol(PyObject *self, void *unused)
{
    struct connection *c = (void *)self;

    (void)unused;
    if (c->protocol == NULL) { /* auto:// may not know it yet, so it is not kept */
        PyObject *protocol;

        if (connection_enter(c) < 0)
            return NULL;
        protocol = PyUnicode_FromString(msock_conn_protocol(c->conn));
        server_leave(c->server);
        return protocol;
    }
    Py_INCREF(c->protocol);
    return c->protocol;
}

static PyObject *
connection_get_peer(PyObject *self, void *unused)
{
    struct connection *c = (void *)self;

    (void)unused;
    Py_INCREF(c->peer);
    return c->peer;
}

static PyObject *
connection_get_identity(PyObject *self, void *unused)
{
    struct connection *c = (void *)self;

    (void)unused;
    Py_INCREF(c->identity);
    return c->identity;
}

static PyObject *
connection_get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct connection *)self)->conn == NULL);
}

static PyObject *
connection_get_state(PyObject *self, void *unused)
{
    struct connection *c = (void *)self;

    (void)unused;
    Py_INCREF(c->state);
    return c->state;
}

static int
connection_set_state(PyObject *self, PyObject *value, void *unused)
{
    struct connection *c = (void *)self;
    PyObject *before = c->state;

    (void)unused;
    if (value == NULL)
        value = Py_None;
    Py_INCREF(value);
    c->state = value;
    Py_DECREF(before);
    return 0;
}

static PyObject *
connection_repr(PyObject *self)
{
    struct connection *c = (void *)self;

    return PyUnicode_FromFormat("<msock.Connection %U%s>", c->peer,
                                c->conn == NULL ? " closed" : "");
}

static int
connection_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct connection *c = (void *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->server);
    Py_VISIT(c->state);
    return 0;
}

/* The server stays: until it is gone, the connection may be asked for. */
static int
connection_clear(PyObject *self)
{
    struct connection *c = (void *)self;
    PyObject *before = c->state;

    c->state = ext_none();
    Py_XDECREF(before);
    return 0;
}

static void
connection_dealloc(PyObject *self)
{
    struct connection *c = (void *)self;

    PyObject_GC_UnTrack(self);
    Py_CLEAR(c->state);
    Py_CLEAR(c->peer);
    Py_CLEAR(c->identity);
    Py_CLEAR(c->protocol);
    Py_CLEAR(c->server);
    ext_free(self);
}

static PyMethodDef connection_methods[] = {
    {"write", EXT_KEYWORDS(connection_write),
     "write($self, data, /, timeout=None)\n--\n\n"
     "Send a message to the peer without a request from it; over every protocol but msp.\n\n"
     "Waits until the peer has read enough of what was written before. Raises Timeout if nothing "
     "was\n"
     "sent within timeout seconds, and Unreachable if the connection has ended. UsageError: too\n"
     "much waits behind a message of the peer that is not settled."},
    {"disconnect", connection_disconnect, METH_NOARGS,
     "disconnect($self, /)\n--\n\n"
     "End the connection between two messages. What was written before is still sent."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef connection_getset[] = {
    {"identity", connection_get_identity, NULL,
     "Who the peer is: 'cert:NAME', 'user:NAME', or '-'.", NULL},
    {"peer", connection_get_peer, NULL, "The peer's address: '127.0.0.1:50412'.", NULL},
    {"protocol", connection_get_protocol, NULL, "'msp', 'tinyproto', 'cnp' or 'frame'.", NULL},
    {"closed", connection_get_closed, NULL, "True once it has ended.", NULL},
    {"state", connection_get_state, connection_set_state,
     "Whatever the program keeps with the connection; None at first.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)ext_no_new},
    {Py_tp_dealloc, (void *)(uintptr_t)connection_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)connection_traverse},
    {Py_tp_clear, (void *)(uintptr_t)connection_clear},
    {Py_tp_repr, (void *)(uintptr_t)connection_repr},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_getset},
    {Py_tp_doc,
     (void *)(uintptr_t) "A connection to a Server. The same object for all its messages."},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "msock._msock.Connection",
    .basicsize = sizeof(struct connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = connection_slots,
};

int
connection_init_types(PyObject *module)
{
    ext_types.connection = ext_add_type(module, &connection_spec, NULL);
    return ext_types.connection != NULL ? 0 : -1;
}
