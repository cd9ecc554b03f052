/* The type Message. Invariant: it has its msock_message until it is settled or its server is
 * closed. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

struct message {
    PyObject_HEAD struct server *server;
    msock_message *m; /* NULL: it is settled */
    uint64_t size;
    bool wants_reply;
    char kind;
    PyObject *id, *sha256, *peer, *protocol, *connection;
    PyObject *data; /* NULL until somebody asks */
};

PyObject *
message_create(struct server *server, msock_message *m, PyObject *connection)
{
    PyTypeObject *type = (PyTypeObject *)ext_types.message;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    const char *id = msock_message_id(m);
    struct message *message = (void *)alloc(type, 0);

    if (message == NULL)
        return NULL;
    Py_INCREF(server);
    message->server = server;
    message->size = msock_message_size(m);
    message->kind = msock_message_kind(m);
    message->wants_reply = msock_message_wants_reply(m);
    message->id = PyUnicode_DecodeUTF8(id, (Py_ssize_t)strlen(id), "surrogateescape");
    message->sha256 = PyBytes_FromStringAndSize((const char *)msock_message_sha256(m), 32);
    message->peer = PyUnicode_FromString(msock_message_peer(m));
    message->protocol = PyUnicode_FromString(msock_message_protocol(m));
    Py_XINCREF(connection);
    message->connection = connection != NULL ? connection : ext_none();
    if (message->id == NULL || message->sha256 == NULL || message->peer == NULL ||
        message->protocol == NULL) {
        Py_DECREF(message);
        return NULL;
    }
    message->m = m;
    return (PyObject *)message;
}

/* Takes the turn for a message that is not settled. 0, or -1 with an exception. */
static int
message_enter(struct message *message)
{
    if (message->m == NULL) {
        error_usage("this message is settled");
        return -1;
    }
    if (server_enter(message->server) < 0)
        return -1;
    if (message->m != NULL)
        return 0;
    error_usage("this message is settled"); /* while we waited for our turn */
    server_leave(message->server);
    return -1;
}

/* A large one comes from a file. */
static const void *
message_bytes(struct message *message, size_t *n_out)
{
    PyThreadState *state;
    const void *bytes;

    if (msock_message_size(message->m) < EXT_MANY)
        return msock_message_data(message->m, n_out);
    state = PyEval_SaveThread();
    bytes = msock_message_data(message->m, n_out);
    ext_restore(state);
    return bytes;
}

/* Another thread may have read it while we waited for our turn. */
static PyObject *
message_read(struct message *message)
{
    const void *bytes;
    size_t n;

    if (message_enter(message) < 0)
        return NULL;
    if (message->data == NULL) {
        bytes = message_bytes(message, &n);
        if (bytes != NULL)
            message->data = ext_copy(bytes, n);
        else
            error_set(MSOCK_LOCAL, "the message cannot be read back", "");
    }
    server_leave(message->server);
    return message->data;
}

static PyObject *
message_get_data(PyObject *self, void *unused)
{
    struct message *message = (void *)self;
    PyObject *data = message->data != NULL ? message->data : message_read(message);

    (void)unused;
    Py_XINCREF(data);
    return data;
}

static PyObject *
message_get_text(PyObject *self, void *unused)
{
    PyObject *data = message_get_data(self, unused), *text = NULL;

    if (data != NULL)
        text = PyUnicode_FromEncodedObject(data, "utf-8", "strict");
    Py_XDECREF(data);
    return text;
}

static PyObject *
message_json(PyObject *self, PyObject *unused)
{
    PyObject *data = message_get_data(self, NULL), *value = NULL;

    (void)unused;
    if (data != NULL)
        value = PyObject_CallFunctionObjArgs(ext_loads, data, NULL);
    Py_XDECREF(data);
    return value;
}

/* The closure is the place of the member. */
static PyObject *
message_get_object(PyObject *self, void *offset)
{
    PyObject *object = *(PyObject **)(void *)((char *)self + (uintptr_t)offset);

    Py_INCREF(object);
    return object;
}

static PyObject *
message_get_kind(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromStringAndSize(&((struct message *)self)->kind, 1);
}

static PyObject *
message_get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct message *)self)->size);
}

static PyObject *
message_get_wants_reply(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct message *)self)->wants_reply);
}

static PyObject *
message_get_settled(PyObject *self, void *unused)
{
    struct message *message = (void *)self;

    (void)unused;
    return PyBool_FromLong(message->m == NULL || message->server->s == NULL);
}

/* --- what becomes of one --- */

/* Gives the message away; the caller settles it and leaves. NULL with an exception. */
static msock_message *
message_take(struct message *message)
{
    msock_message *m;

    if (message_enter(message) < 0)
        return NULL;
    m = message->m;
    message->m = NULL;
    return m;
}

static PyObject *
message_commit(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"reply", NULL};
    struct message *message = (void *)self;
    PyObject *reply = Py_None, *owner = NULL;
    const char *bytes = NULL;
    msock_message *m;
    size_t n = 0;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:commit", names, &reply) ||
        (reply != Py_None && ext_bytes(reply, &owner, &bytes, &n) < 0))
        return NULL;
    m = message_take(message);
    if (m != NULL) {
        PyThreadState *state = n < EXT_MANY ? NULL : PyEval_SaveThread();

        msock_message_commit(m, bytes, n);
        if (state != NULL)
            ext_restore(state);
        server_leave(message->server);
    }
    Py_XDECREF(owner);
    return m != NULL ? ext_none() : NULL;
}

static PyObject *
message_end_badly(PyObject *self, PyObject *args, const char *format,
                  void (*settle)(msock_message *, const char *))
{
    struct message *message = (void *)self;
    const char *text = NULL;
    msock_message *m;

    if (!PyArg_ParseTuple(args, format, &text))
        return NULL;
    m = message_take(message);
    if (m == NULL)
        return NULL;
    settle(m, text);
    server_leave(message->server);
    return ext_none();
}

static PyObject *
message_refuse(PyObject *self, PyObject *args)
{
    return message_end_badly(self, args, "|z:refuse", msock_message_refuse);
}

static PyObject *
message_fail(PyObject *self, PyObject *args)
{
    return message_end_badly(self, args, "|z:fail", msock_message_fail);
}

/* --- the object --- */

/* Nobody has settled it: that fails it, now or with the server's next turn. */
static void
message_lose(struct message *message)
{
    struct server *server = message->server;
    struct orphan *orphan;

    if (server_try_enter(server)) {
        msock_message_fail(message->m, "the program has let go of the message");
        server_leave(server);
        return;
    }
    orphan = malloc(sizeof(*orphan)); /* without memory it fails with the server */
    if (orphan == NULL)
        return;
    *orphan = (struct orphan){.next = server->orphans, .m = message->m};
    server->orphans = orphan;
}

static int
message_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct message *message = (void *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(message->server);
    Py_VISIT(message->connection);
    return 0;
}

static void
message_dealloc(PyObject *self)
{
    struct message *message = (void *)self;

    PyObject_GC_UnTrack(self);
    if (message->m != NULL && message->server->s != NULL)
        message_lose(message);
    Py_CLEAR(message->id);
    Py_CLEAR(message->sha256);
    Py_CLEAR(message->peer);
    Py_CLEAR(message->protocol);
    Py_CLEAR(message->connection);
    Py_CLEAR(message->data);
    Py_CLEAR(message->server);
    ext_free(self);
}

static PyObject *
message_repr(PyObject *self)
{
    struct message *message = (void *)self;

    return PyUnicode_FromFormat("<msock.Message %c from %U over %U, id %R%s>", message->kind,
                                message->peer, message->protocol, message->id,
                                message->m == NULL ? ", settled" : "");
}

static PyMethodDef message_methods[] = {
    {"json", message_json, METH_NOARGS,
     "json($self, /)\n--\n\nThe value of a JSON document. ValueError if it is none."},
    {"commit", EXT_KEYWORDS(message_commit),
     "commit($self, /, reply=None)\n--\n\n"
     "Settle the message: its sender is told that it is safe. reply, bytes or str, goes with it "
     "if\n"
     "one is wanted."},
    {"reply", EXT_KEYWORDS(message_commit),
     "reply($self, /, reply=None)\n--\n\nThe same as commit(reply)."},
    {"refuse", message_refuse, METH_VARARGS,
     "refuse($self, text=None, /)\n--\n\n"
     "Settle the message: its sender is told that it is refused, and why. tinyproto and frame "
     "cannot\n"
     "say so; if a reply is wanted, the connection ends."},
    {"fail", message_fail, METH_VARARGS,
     "fail($self, text=None, /)\n--\n\n"
     "Settle the message: this side could not take it. The connection ends, and the sender may "
     "send\n"
     "the message again."},
    {NULL, NULL, 0, NULL},
};

#define MEMBER(name) (void *)offsetof(struct message, name)

static PyGetSetDef message_getset[] = {
    {"data", message_get_data, NULL,
     "Its bytes. Read them before the message is settled; they stay then.", NULL},
    {"text", message_get_text, NULL, "Its bytes as UTF-8.", NULL},
    {"kind", message_get_kind, NULL,
     "'A' plain, 'J' a JSON document or 'F' a file; over every protocol but msp always 'A'.", NULL},
    {"id", message_get_object, NULL, "Its id, or the path of a file; '' without.", MEMBER(id)},
    {"size", message_get_size, NULL, "How many bytes its data has.", NULL},
    {"sha256", message_get_object, NULL, "Its SHA-256, 32 bytes.", MEMBER(sha256)},
    {"peer", message_get_object, NULL, "The address of its sender: '127.0.0.1:50412'.",
     MEMBER(peer)},
    {"protocol", message_get_object, NULL, "Its protocol: 'msp'.", MEMBER(protocol)},
    {"connection", message_get_object, NULL,
     "The Connection of its sender; None if that had ended when the message was handed over.",
     MEMBER(connection)},
    {"wants_reply", message_get_wants_reply, NULL, "True if a reply will be sent.", NULL},
    {"settled", message_get_settled, NULL, "True after commit, refuse or fail.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot message_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)ext_no_new},
    {Py_tp_dealloc, (void *)(uintptr_t)message_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)message_traverse},
    {Py_tp_repr, (void *)(uintptr_t)message_repr},
    {Py_tp_methods, message_methods},
    {Py_tp_getset, message_getset},
    {Py_tp_doc, (void *)(uintptr_t) "A message that a Server has received, whole and verified. The "
                                    "program settles it with one of commit, refuse and fail; one "
                                    "that it lets go of fails."},
    {0, NULL},
};

static PyType_Spec message_spec = {
    .name = "msock._msock.Message",
    .basicsize = sizeof(struct message),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = message_slots,
};

int
message_init_types(PyObject *module)
{
    ext_types.message = ext_add_type(module, &message_spec, NULL);
    return ext_types.message != NULL ? 0 : -1;
}
