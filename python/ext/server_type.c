/* The type Server: its making, its options and facts, its end. */
#include "server.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- options and facts --- */

static PyObject *
server_stop(PyObject *self, PyObject *unused)
{
    struct server *server = (void *)self;

    (void)unused;
    if (server->s != NULL && server->owner == ext_pid)
        msock_server_stop(server->s);
    return ext_none();
}

static PyObject *
server_add_listener(PyObject *self, PyObject *args)
{
    struct server *server = (void *)self;
    enum msock_status status;
    PyThreadState *state;
    const char *url;

    if (!PyArg_ParseTuple(args, "s:add_listener", &url) || server_enter(server) < 0)
        return NULL;
    state = PyEval_SaveThread(); /* a name may be looked up, and files be read */
    status = msock_server_add_listener(server->s, url);
    ext_restore(state);
    if (status != MSOCK_OK)
        error_set(status, msock_server_error(server->s), "");
    server_leave(server);
    return status == MSOCK_OK ? ext_none() : NULL;
}

static PyObject *
server_add_transform(PyObject *self, PyObject *args)
{
    struct server *server = (void *)self;
    struct server_transform *one = &server->transforms[server->transform_count];
    PyObject *encode, *decode;
    enum msock_status status;

    if (!PyArg_ParseTuple(args, "OO:add_transform", &encode, &decode))
        return NULL;
    if ((encode != Py_None && !PyCallable_Check(encode)) ||
        (decode != Py_None && !PyCallable_Check(decode))) {
        PyErr_SetString(PyExc_TypeError, "a transform is a function of bytes, or None");
        return NULL;
    }
    if (server_enter(server) < 0)
        return NULL;
    status = msock_server_add_transform(server->s, encode != Py_None ? server_on_encode : NULL,
                                        decode != Py_None ? server_on_decode : NULL, one);
    if (status == MSOCK_OK) {
        *one = (struct server_transform){.server = server, .encode = encode, .decode = decode};
        Py_INCREF(encode);
        Py_INCREF(decode);
        server->transform_count++;
    } else {
        error_set(status, msock_server_error(server->s), "");
    }
    server_leave(server);
    return status == MSOCK_OK ? ext_none() : NULL;
}

static PyObject *
server_get_addresses(PyObject *self, void *unused)
{
    struct server *server = (void *)self;
    PyObject *list = PyList_New(0);
    const char *address;

    (void)unused;
    if (list == NULL || server_enter(server) < 0) {
        Py_XDECREF(list);
        return NULL;
    }
    for (unsigned i = 0; list != NULL && (address = msock_server_address(server->s, i))[0] != '\0';
         i++) {
        PyObject *text = PyUnicode_DecodeFSDefault(address);

        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    server_leave(server);
    return list;
}

static PyObject *
server_get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct server *)self)->s == NULL);
}

static PyObject *
server_counts(PyObject *self, PyObject *unused)
{
    struct server *server = (void *)self;
    struct msock_server_counts c;

    (void)unused;
    if (server_enter(server) < 0)
        return NULL;
    msock_server_get_counts(server->s, &c);
    server_leave(server);
#define COUNT(name) #name, (unsigned long long)c.name
    return Py_BuildValue("{sKsKsKsKsKsKsKsKsKsKsKsKsKsK}", COUNT(acks), COUNT(nack1), COUNT(nack2),
                         COUNT(rej), COUNT(err), COUNT(messages), COUNT(duplicates), COUNT(packets),
                         COUNT(bytes_in), COUNT(bytes_out), COUNT(cut), COUNT(accepted),
                         COUNT(refused), COUNT(open));
#undef COUNT
}

/* --- the end --- */

/* Objects that are left know nothing of libmsock any more. In the child of a fork nothing happens.
 */
static void
server_destroy(struct server *server)
{
    msock_server *s = server->s;
    PyObject *key, *connection;
    PyThreadState *state;
    struct orphan *orphan;
    Py_ssize_t at = 0;

    for (size_t i = 0; i < server->event_count; i++)
        event_free(&server->events[i]);
    server->event_count = 0;

    server->s = NULL;
    while (server->connections != NULL && PyDict_Next(server->connections, &at, &key, &connection))
        connection_end(connection, "");
    while ((orphan = server->orphans) != NULL) {
        server->orphans = orphan->next;
        free(orphan);
    }
    state = PyEval_SaveThread();
    msock_server_destroy(s);
    ext_restore(state);
}

static PyObject *
server_close(PyObject *self, PyObject *unused)
{
    struct server *server = (void *)self;

    (void)unused;
    if (server->s == NULL || server->owner != ext_pid)
        return ext_none();
    if (server_enter(server) < 0)
        return NULL;
    server_destroy(server);
    server_wake(server);
    server_leave(server);
    PyDict_Clear(server->connections);
    return ext_none();
}

static int
server_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct server *server = (void *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(server->log);
    Py_VISIT(server->connections);
    for (unsigned i = 0; i < server->transform_count; i++) {
        Py_VISIT(server->transforms[i].encode);
        Py_VISIT(server->transforms[i].decode);
    }
    return kept_visit(&server->kept, visit, arg);
}

static int
server_clear(PyObject *self)
{
    struct server *server = (void *)self;

    if (server->s != NULL)
        server_destroy(server);
    if (server->log_lines != NULL)
        server_pass_log(server, server->log_lines, server->log);
    server->log_lines = NULL;
    kept_clear(&server->kept);
    Py_CLEAR(server->log);
    Py_CLEAR(server->connections);
    for (; server->transform_count > 0; server->transform_count--) {
        Py_CLEAR(server->transforms[server->transform_count - 1].encode);
        Py_CLEAR(server->transforms[server->transform_count - 1].decode);
    }
    return 0;
}

static void
server_dealloc(PyObject *self)
{
    struct server *server = (void *)self;

    PyObject_GC_UnTrack(self);
    (void)server_clear(self);
    free(server->events);
    if (server->wake_fd > 0)
        close(server->wake_fd);
    if (server->watch_fd > 0)
        close(server->watch_fd);
    pthread_mutex_destroy(&server->lock);
    ext_free(self);
}

/* --- the beginning --- */

/* What a class of Python makes of it has arguments of its own: configure() gets ours. */
static PyObject *
server_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct server *server = (void *)alloc(type, 0);
    pthread_mutexattr_t recursive;

    (void)args;
    (void)keywords;
    if (server == NULL)
        return NULL;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&server->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    server->owner = ext_pid;
    server->log = ext_none();
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->connections = PyDict_New();
    server->s = msock_server_create();
    if (server->s != NULL && server->wake_fd >= 0 && server->connections != NULL)
        return (PyObject *)server;
    Py_DECREF(server);
    return error_set(MSOCK_LOCAL, "there is no memory or no descriptor for a server", "");
}

static PyObject *
server_configure(PyObject *self, PyObject *args)
{
    struct server *server = (void *)self;
    int connections;
    unsigned message_ms, idle_ms;
    PyObject *log, *before;

    if (!PyArg_ParseTuple(args, "OiII:configure", &log, &connections, &message_ms, &idle_ms))
        return NULL;
    if (connections < 1 || connections > 32768)
        return error_usage("connections is 1 to 32768");
    if (server_enter(server) < 0)
        return NULL;
    before = server->log;
    Py_INCREF(log);
    server->log = log;
    Py_XDECREF(before);
    msock_server_set_log(server->s, server_on_log, server);
    msock_server_set_connections(server->s, (unsigned)connections);
    msock_server_set_timeouts(server->s, message_ms, idle_ms);
    server_leave(server);
    return ext_none();
}

static PyMethodDef server_methods[] = {
    {"add_listener", server_add_listener, METH_VARARGS,
     "add_listener($self, url, /)\n--\n\n"
     "Listen on 'auto://127.0.0.1:8000', 'msp:///run/my.sock', ...; before anything is received."},
    {"configure", server_configure, METH_VARARGS,
     "configure($self, log, connections, message_ms, idle_ms, /)\n--\n\n"
     "Set the function for lines of the log, and limits for listeners that are added later."},
    {"add_transform", server_add_transform, METH_VARARGS,
     "add_transform($self, encode, decode, /)\n--\n\n"
     "Append a pair of functions bytes -> bytes: for each reply and message that is sent, and for\n"
     "each message that is received (in reverse order). Either may be None. At most 8; before\n"
     "anything is received."},
    {"events", server_events, METH_VARARGS,
     "events($self, timeout=None, /)\n--\n\n"
     "Wait for what happens next: a list of a Message each, or (Connection, whether it was "
     "opened).\n\n"
     "Empty if nothing came within timeout seconds; None after stop(), when all was told."},
    {"waits", server_waits, METH_NOARGS,
     "waits($self, /)\n--\n\n"
     "For event loops: two descriptors to be read from, and a number of seconds; whatever comes\n"
     "first, call events(0), and then this again."},
    {"drain", server_drain, METH_O,
     "drain($self, timeout, /)\n--\n\n"
     "Stop, and wait as events() does while messages are under way; None when no connection is "
     "left."},
    {"stop", server_stop, METH_NOARGS,
     "stop($self, /)\n--\n\n"
     "End the receiving, now and from now on. From any thread or signal handler."},
    {"counts", server_counts, METH_NOARGS,
     "counts($self, /)\n--\n\n"
     "The counts of this server since it began, as a dict: answers by kind, messages, duplicates,\n"
     "packets, bytes, connections."},
    {"close", server_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Close all connections. Messages that are not settled fail: their senders send them again."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"addresses", server_get_addresses, NULL,
     "The address of each listener, with the real port: ['127.0.0.1:43117']. A path of a Unix "
     "socket\n"
     "is one too. Several addresses of one listener stand in a row, with ', ' between two.",
     NULL},
    {"closed", server_get_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)server_new},
    {Py_tp_dealloc, (void *)(uintptr_t)server_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)server_traverse},
    {Py_tp_clear, (void *)(uintptr_t)server_clear},
    {Py_tp_methods, server_methods},
    {Py_tp_getset, server_getset},
    {Py_tp_doc, (void *)(uintptr_t) "What msock.Server is made of."},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "msock._msock.Server",
    .basicsize = sizeof(struct server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = server_slots,
};

int
server_init_types(PyObject *module)
{
    ext_types.server = ext_add_type(module, &server_spec, NULL);
    return ext_types.server != NULL ? 0 : -1;
}
