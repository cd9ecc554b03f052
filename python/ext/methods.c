/* The methods and attributes of a client: calls, and facts between two of them. */
#include "client.h"

#include <unistd.h>

/* --- calls --- */

static PyObject *
client_connect(PyObject *self, PyObject *unused)
{
    struct call call;

    (void)unused;
    call_init(&call, CALL_CONNECT);
    return client_call((void *)self, &call);
}

/* The socket's descriptor becomes the handle's; the object has none afterwards. */
PyObject *
client_attach(PyObject *self, PyObject *sock)
{
    PyObject *fd = PyObject_CallMethod(sock, "detach", NULL);
    struct call call;

    if (fd == NULL)
        return NULL;
    call_init(&call, CALL_ATTACH);
    call.fd = (int)PyLong_AsLong(fd);
    Py_DECREF(fd);
    return PyErr_Occurred() ? NULL : client_call((void *)self, &call);
}

static PyObject *
client_send_what(PyObject *self, PyObject *args, PyObject *keywords, char what)
{
    static char *names[] = {"", "id", "reply", NULL};
    PyObject *data, *id = NULL, *text = NULL;
    struct call call;
    int reply = 0, rc;

    call_init(&call, CALL_SEND);
    call.what = what;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, what == 'J' ? "O|$Op:send_json" : "O|$Op:send",
                                     names, &data, &id, &reply))
        return NULL;
    call.reply = reply;
    if (what == 'J')
        text = PyObject_CallFunctionObjArgs(ext_dumps, data, NULL);
    if (what == 'J' && text == NULL)
        return NULL;
    rc = call_take_data(&call, text != NULL ? text : data);
    Py_XDECREF(text);
    if (rc == 0 && call_take_id(&call, id) == 0)
        return client_call((void *)self, &call);
    call_fini(&call);
    return NULL;
}

static PyObject *
client_send(PyObject *self, PyObject *args, PyObject *keywords)
{
    return client_send_what(self, args, keywords, 'A');
}

static PyObject *
client_send_json(PyObject *self, PyObject *args, PyObject *keywords)
{
    return client_send_what(self, args, keywords, 'J');
}

/* What an open file has written leaves its buffer, and its descriptor goes to where the program is:
 * a file that was read from is ahead. 0, or -1 with an exception. */
static int
file_synchronize(PyObject *file, int fd)
{
    PyObject *seeks = PyObject_CallMethod(file, "seekable", NULL), *result = NULL;
    int is_file = seeks != NULL ? PyObject_IsTrue(seeks) : -1;
    long long at = -1;

    Py_XDECREF(seeks);
    if (is_file <= 0)
        return is_file;
    result = PyObject_CallMethod(file, "flush", NULL);
    Py_XDECREF(result);
    if (result != NULL)
        result = PyObject_CallMethod(file, "tell", NULL);
    if (result == NULL)
        return -1;
    at = PyLong_AsLongLong(result);
    Py_DECREF(result);
    if (PyErr_Occurred())
        return -1;
    if (lseek(fd, at, SEEK_SET) >= 0)
        return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* A path, a descriptor, or an object with fileno(). */
static int
call_take_file(struct call *call, PyObject *file)
{
    if (!PyLong_Check(file) && !PyObject_HasAttrString(file, "fileno")) {
        if (!PyUnicode_FSConverter(file, &call->owners[0]))
            return -1;
        call->path = PyBytes_AsString(call->owners[0]);
        return 0;
    }
    call->fd = PyObject_AsFileDescriptor(file);
    if (call->fd < 0)
        return -1;
    Py_INCREF(file);
    call->owners[0] = file;
    if (call->remote == NULL) {
        error_usage("an open file needs a name for the server");
        return -1;
    }
    return PyObject_HasAttrString(file, "seekable") ? file_synchronize(file, call->fd) : 0;
}

static PyObject *
client_send_file(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "name", "reply", NULL};
    PyObject *file, *name = Py_None;
    struct call call;
    int reply = 0;

    call_init(&call, CALL_FILE);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O$p:send_file", names, &file, &name,
                                     &reply))
        return NULL;
    call.reply = reply;
    if (name != Py_None && !PyUnicode_FSConverter(name, &call.owners[1]))
        return NULL;
    if (call.owners[1] != NULL)
        call.remote = PyBytes_AsString(call.owners[1]);
    if (call_take_file(&call, file) == 0)
        return client_call((void *)self, &call);
    call_fini(&call);
    return NULL;
}

static PyObject *
client_receive(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"timeout", "default", NULL};
    PyObject *timeout = NULL, *otherwise = NULL;
    struct call call;

    call_init(&call, CALL_RECV);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O$O:receive", names, &timeout, &otherwise) ||
        ext_milliseconds(timeout, &call.timeout_ms) < 0)
        return NULL;
    Py_XINCREF(otherwise);
    call.otherwise = otherwise;
    return client_call((void *)self, &call);
}

static PyObject *
client_send_many(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "json", NULL};
    PyObject *items;
    int json = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$p:send_many", names, &items, &json))
        return NULL;
    return many_create((void *)self, items, json);
}

static PyObject *
client_method_add_transform(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"encode", "decode", NULL};
    struct client *c = (void *)self;
    PyObject *encode, *decode = Py_None;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:add_transform", names, &encode,
                                     &decode) ||
        client_begin(c) < 0)
        return NULL;
    rc = client_add_transform(c, encode, decode);
    c->is_busy = false;
    return rc == 0 ? ext_none() : NULL;
}

PyObject *
client_close(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = NULL;
    struct call call;

    call_init(&call, CALL_CLOSE);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:close", names, &timeout) ||
        ext_milliseconds(timeout, &call.timeout_ms) < 0)
        return NULL;
    if (((struct client *)self)->m == NULL && !((struct client *)self)->is_loop)
        return ext_none();
    return client_call((void *)self, &call);
}

static PyObject *
client_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    Py_INCREF(self);
    return self;
}

static PyObject *
client_exit(PyObject *self, PyObject *args)
{
    (void)args;
    return PyObject_CallMethod(self, "close", NULL);
}

/* --- parts of send_many, for LoopClient --- */

static PyObject *
client_ahead(PyObject *self, PyObject *args)
{
    struct client *c = (void *)self;
    struct call call;
    PyObject *item, *operation;
    int json;

    if (!PyArg_ParseTuple(args, "Op:_ahead", &item, &json))
        return NULL;
    call_init(&call, CALL_AHEAD);
    if (many_take_item(&call, item, json) < 0 || client_push(c) < 0) {
        call_fini(&call);
        return NULL;
    }
    operation = client_call(c, &call);
    if (operation == NULL && c->is_loop)
        ring_take_back(c->ring);
    return operation;
}

static PyObject *
client_flush(PyObject *self, PyObject *args)
{
    struct call call;
    PyObject *timeout;

    call_init(&call, CALL_FLUSH);
    if (!PyArg_ParseTuple(args, "O:_flush", &timeout) ||
        ext_milliseconds(timeout, &call.timeout_ms) < 0)
        return NULL;
    return client_call((void *)self, &call);
}

static PyObject *
client_outcome(PyObject *self, PyObject *number)
{
    struct client *c = (void *)self;
    Py_ssize_t n = PyLong_AsSsize_t(number);
    PyObject *outcome;

    if (n == -1 && PyErr_Occurred())
        return NULL;
    outcome = c->is_busy ? NULL : ring_pop(c->ring, n);
    return outcome != NULL || PyErr_Occurred() ? outcome : ext_none();
}

/* --- facts --- */

static PyObject *
client_get_url(PyObject *self, void *unused)
{
    struct client *c = (void *)self;

    (void)unused;
    Py_INCREF(c->url);
    return c->url;
}

static PyObject *
client_get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct client *)self)->m == NULL);
}

/* A fact is told between two calls: during one, the handle belongs to the thread that makes it. */
static PyObject *
client_fact(PyObject *self, PyObject *(*fact)(const msock *))
{
    struct client *c = (void *)self;
    PyObject *result;

    if (client_begin(c) < 0)
        return NULL;
    result = fact(c->m);
    c->is_busy = false;
    return result;
}

static PyObject *
fact_connected_to(const msock *m)
{
    return PyUnicode_FromString(msock_connected_to(m));
}

static PyObject *
fact_acknowledges(const msock *m)
{
    return PyBool_FromLong(msock_acknowledges(m));
}

static PyObject *
fact_events(const msock *m)
{
    return PyLong_FromLong(msock_events(m));
}

static PyObject *
fact_fileno(const msock *m)
{
    return PyLong_FromLong(msock_fd(m));
}

static PyObject *
fact_counts(const msock *m)
{
    struct msock_counts c;

    msock_get_counts(m, &c);
#define COUNT(name) #name, (unsigned long long)c.name
    return Py_BuildValue("{sKsKsKsKsKsKsKsKsKsK}", COUNT(acks), COUNT(nack1), COUNT(nack2),
                         COUNT(rej), COUNT(err), COUNT(messages), COUNT(retries), COUNT(connects),
                         COUNT(bytes_out), COUNT(bytes_in));
#undef COUNT
}

/* The closure is the fact. */
static PyObject *
client_get_fact(PyObject *self, void *which)
{
    static PyObject *(*const facts[])(const msock *) = {fact_connected_to, fact_acknowledges,
                                                        fact_events};

    return client_fact(self, facts[(uintptr_t)which]);
}

static PyObject *
client_fileno(PyObject *self, PyObject *unused)
{
    (void)unused;
    return client_fact(self, fact_fileno);
}

static PyObject *
client_counts(PyObject *self, PyObject *unused)
{
    (void)unused;
    return client_fact(self, fact_counts);
}

PyMethodDef client_methods[] = {
    {"connect", client_connect, METH_NOARGS,
     "connect($self, /)\n--\n\n"
     "Connect now and not with the first message. Raises Unreachable after all retries."},
    {"send", EXT_KEYWORDS(client_send),
     "send($self, data, /, *, id=None, reply=False)\n--\n\n"
     "Send a message (bytes, or str as UTF-8) and wait until it is committed.\n\n"
     "Returns a Sent: the id, and with reply=True the handler's reply. Raises Refused, "
     "Unreachable,\n"
     "GivenUp, ... A message without an id gets a random one."},
    {"send_json", EXT_KEYWORDS(client_send_json),
     "send_json($self, value, /, *, id=None, reply=False)\n--\n\n"
     "Send a value as a JSON document, as json.dumps writes it. As send otherwise."},
    {"send_file", EXT_KEYWORDS(client_send_file),
     "send_file($self, file, /, name=None, *, reply=False)\n--\n\n"
     "Send a file, which the server stores under name, a relative path.\n\n"
     "file is a path, whose last part is the name without one; or a descriptor or an open file, "
     "from\n"
     "its position to its end. It is streamed from the disk. As send otherwise."},
    {"send_many", EXT_KEYWORDS(client_send_many),
     "send_many($self, items, /, *, json=False)\n--\n\n"
     "Send many messages behind each other, without a wait for each answer.\n\n"
     "items is an iterable of bytes or str (with json=True of values), or of pairs (item, id).\n"
     "Returns an iterator over an Outcome for each of them, in their order. Nothing is sent "
     "unless\n"
     "it is iterated; up to 1,024 messages are under way at a time."},
    {"receive", EXT_KEYWORDS(client_receive),
     "receive($self, /, timeout=None, **default)\n--\n\n"
     "Wait for the next message that the server sends by itself; not over msp.\n\n"
     "Returns bytes. If none came within timeout seconds, returns default=... if that was given, "
     "else\n"
     "raises Timeout. Raises Unreachable if the connection has ended; the next call connects "
     "again."},
    {"add_transform", EXT_KEYWORDS(client_method_add_transform),
     "add_transform($self, /, encode, decode=None)\n--\n\n"
     "Append a pair of functions bytes -> bytes: for each message that is sent, and for each "
     "reply\n"
     "and message that is received (in reverse order). Either may be None. At most 8."},
    {"counts", client_counts, METH_NOARGS,
     "counts($self, /)\n--\n\n"
     "The counts of this client since it was made, as a dict: answers by kind, messages, retries,\n"
     "connects and bytes."},
    {"fileno", client_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nThe descriptor of the connection; -1 without one."},
    {"close", EXT_KEYWORDS(client_close),
     "close($self, /, timeout=None)\n--\n\n"
     "Close the connection. Every other call then raises UsageError.\n\n"
     "Over every protocol but msp this waits until the server has read everything and closes too: "
     "at\n"
     "most timeout seconds, by default that of the client."},
    {"__enter__", client_enter, METH_NOARGS, NULL},
    {"__exit__", client_exit, METH_VARARGS, NULL},
    {"_attach", client_attach, METH_O, NULL},
    {"_ahead", client_ahead, METH_VARARGS, NULL},
    {"_flush", client_flush, METH_VARARGS, NULL},
    {"_outcome", client_outcome, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyGetSetDef client_getset[] = {
    {"url", client_get_url, NULL, "The URL that it was made with.", NULL},
    {"closed", client_get_closed, NULL, "True after close().", NULL},
    {"connected_to", client_get_fact, NULL,
     "The server of the last connection; '' before the first one.", (void *)0},
    {"acknowledges", client_get_fact, NULL,
     "True if the protocol tells that a message was taken (msp, cnp).", (void *)1},
    {"events", client_get_fact, NULL, "The events of poll(2) to wait for on fileno().", (void *)2},
    {NULL, NULL, NULL, NULL, NULL},
};
