/* The types Client and LoopClient: their making, options and facts. */
#include "client.h"

#include <stdlib.h>

/* No function of the program's is called any more. */
static void
client_close_handle(struct client *c)
{
    PyThreadState *state;
    msock *m = c->m;

    c->m = NULL;
    if (m == NULL)
        return;
    msock_set_wait(m, NULL, NULL);
    state = PyEval_SaveThread();
    msock_close(m);
    ext_restore(state);
}

/* --- making one --- */

struct client_options {
    const char *url;
    PyObject *key_file, *progress, *encode, *decode, *sock;
    PyObject *ca, *cert, *cert_key;
    const char *server_name;
    int insecure;
    double timeout, commit_timeout, backoff, backoff_max;
    int retries, nack_limit, auto_id;
};

/* A time of the options, in milliseconds from 1 on. */
static unsigned
client_option_ms(double seconds)
{
    double ms = seconds * 1000;

    if (!(ms > 0) || ms > 4e9) {
        PyErr_SetString(PyExc_ValueError, "a time is above 0 and below 4,000,000 seconds");
        return 1;
    }
    return ms < 1 ? 1 : (unsigned)ms;
}

static int
client_open(struct client *c, const char *url)
{
    char error[512];

    if (msock_url_error(url, error, sizeof(error)) != MSOCK_OK) {
        error_set(MSOCK_USAGE, error, "");
        return -1;
    }
    c->url = PyUnicode_FromString(url);
    c->m = c->url != NULL ? msock_open(url) : NULL;
    if (c->m == NULL) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return -1;
    }
    client_set_callbacks(c);
    return 0;
}

static int
client_set_key(struct client *c, PyObject *path)
{
    PyObject *bytes;
    enum msock_status status;
    PyThreadState *state;
    const char *name;

    if (path == NULL || path == Py_None)
        return 0;
    if (!PyUnicode_FSConverter(path, &bytes))
        return -1;
    name = PyBytes_AsString(bytes);
    state = PyEval_SaveThread();
    status = msock_set_key(c->m, name);
    ext_restore(state);
    Py_DECREF(bytes);
    if (status == MSOCK_OK)
        return 0;
    error_set(status, msock_error(c->m), msock_error_code(c->m));
    return -1;
}

/* NULL: it is not given. Returns 0, or -1 with an exception. */
static int
client_path(PyObject *path, PyObject **bytes_out)
{
    *bytes_out = NULL;
    return path == NULL || path == Py_None || PyUnicode_FSConverter(path, bytes_out) ? 0 : -1;
}

static int
client_set_tls(struct client *c, const struct client_options *o)
{
    PyObject *given[] = {o->ca, o->cert, o->cert_key}, *bytes[] = {NULL, NULL, NULL};
    const char *path[] = {NULL, NULL, NULL};
    bool is_given = o->server_name != NULL || o->insecure;
    enum msock_status status = MSOCK_OK;
    PyThreadState *state;
    int rc = 0;

    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = client_path(given[i], &bytes[i]);
        path[i] = bytes[i] != NULL ? PyBytes_AsString(bytes[i]) : NULL;
        is_given |= path[i] != NULL;
    }
    if (rc == 0 && is_given) {
        state = PyEval_SaveThread();
        status = msock_set_tls(c->m, path[0], path[1], path[2], o->server_name, o->insecure);
        ext_restore(state);
    }
    for (int i = 0; i < 3; i++)
        Py_XDECREF(bytes[i]);
    if (status == MSOCK_OK)
        return rc;
    error_set(status, msock_error(c->m), msock_error_code(c->m));
    return -1;
}

static int
client_set_options(struct client *c, const struct client_options *o)
{
    PyObject *attached;

    msock_set_timeouts(c->m, client_option_ms(o->timeout), client_option_ms(o->commit_timeout));
    msock_set_retries(c->m, (unsigned)o->retries, client_option_ms(o->backoff),
                      client_option_ms(o->backoff_max));
    msock_set_nack_limit(c->m, (unsigned)o->nack_limit);
    msock_set_auto_id(c->m, o->auto_id);
    if (PyErr_Occurred())
        return -1;
    if (o->retries < 0 || o->nack_limit < 0) {
        PyErr_SetString(PyExc_ValueError, "a number of tries is not negative");
        return -1;
    }
    if (o->progress != NULL && o->progress != Py_None) {
        if (!PyCallable_Check(o->progress)) {
            PyErr_SetString(PyExc_TypeError, "progress is a function, or None");
            return -1;
        }
        Py_INCREF(o->progress);
        c->progress = o->progress;
        client_set_progress(c);
    }
    if ((o->encode != Py_None || o->decode != Py_None) &&
        client_add_transform(c, o->encode, o->decode) < 0)
        return -1;
    if (client_set_key(c, o->key_file) < 0 || client_set_tls(c, o) < 0)
        return -1;
    if (o->sock == Py_None)
        return 0;
    attached = client_attach((PyObject *)c, o->sock);
    Py_XDECREF(attached);
    return attached != NULL ? 0 : -1;
}

static struct client *
client_alloc(PyTypeObject *type)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct client *c = (void *)alloc(type, 0);

    if (c == NULL)
        return NULL;
    c->owner = ext_pid;
    c->is_loop = PyType_IsSubtype(type, (PyTypeObject *)ext_types.loop_client);
    c->ring = ring_create();
    if (c->ring != NULL)
        return c;
    Py_DECREF(c);
    PyErr_NoMemory();
    return NULL;
}

static PyObject *
client_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"url",         "timeout",     "commit_timeout", "retries",  "backoff",
                            "backoff_max", "nack_limit",  "auto_id",        "key_file", "encode",
                            "decode",      "progress",    "sock",           "ca",       "cert",
                            "cert_key",    "server_name", "insecure",       NULL};
    struct client_options o = {.timeout = 2,
                               .commit_timeout = 300,
                               .retries = 5,
                               .backoff = 0.05,
                               .backoff_max = 5,
                               .nack_limit = 10,
                               .auto_id = 1,
                               .encode = Py_None,
                               .decode = Py_None,
                               .sock = Py_None};
    struct client *c;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|z$ddiddipOOOOOOOOzp:Client", names, &o.url,
                                     &o.timeout, &o.commit_timeout, &o.retries, &o.backoff,
                                     &o.backoff_max, &o.nack_limit, &o.auto_id, &o.key_file,
                                     &o.encode, &o.decode, &o.progress, &o.sock, &o.ca, &o.cert,
                                     &o.cert_key, &o.server_name, &o.insecure))
        return NULL;
    if (o.url == NULL)
        o.url = getenv("MSOCK_URL");
    c = client_alloc(type);
    if (c == NULL)
        return NULL;
    if (client_open(c, o.url != NULL ? o.url : "msp://127.0.0.1:8000") == 0 &&
        client_set_options(c, &o) == 0)
        return (PyObject *)c;
    client_close_handle(c); /* here, so that nobody is warned */
    Py_DECREF(c);
    return NULL;
}

/* --- the end of one --- */

int
client_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct client *c = (void *)self;
    int rc;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->progress);
    for (unsigned i = 0; i < c->transform_count; i++) {
        Py_VISIT(c->transforms[i].encode);
        Py_VISIT(c->transforms[i].decode);
    }
    rc = kept_visit(&c->kept, visit, arg);
    return rc != 0 || c->ring == NULL ? rc : ring_visit(c->ring, visit, arg);
}

/* A handle that is still open finds no functions any more. */
int
client_clear(PyObject *self)
{
    struct client *c = (void *)self;

    kept_clear(&c->kept);
    Py_CLEAR(c->progress);
    for (; c->transform_count > 0; c->transform_count--) {
        Py_CLEAR(c->transforms[c->transform_count - 1].encode);
        Py_CLEAR(c->transforms[c->transform_count - 1].decode);
    }
    return 0;
}

/* Nobody has closed it. */
static void
client_lose(struct client *c)
{
    struct ext_kept before = {NULL, NULL, NULL};

    PyErr_Fetch(&before.type, &before.value, &before.trace);
    if (c->owner == ext_pid && PyErr_ResourceWarning(NULL, 1, "unclosed client of %R", c->url) < 0)
        PyErr_WriteUnraisable(c->url);
    client_close_handle(c);
    PyErr_Restore(before.type, before.value, before.trace);
}

void
client_dealloc(PyObject *self)
{
    struct client *c = (void *)self;

    PyObject_GC_UnTrack(self);
    if (c->m != NULL)
        client_lose(c);
    (void)client_clear(self);
    Py_CLEAR(c->url);
    ring_destroy(c->ring);
    ext_free(self);
}

/* --- facts --- */

static PyObject *
client_repr(PyObject *self)
{
    struct client *c = (void *)self;

    return PyUnicode_FromFormat("<msock.%s %R%s>", c->is_loop ? "aio.Client" : "Client",
                                c->url != NULL ? c->url : Py_None, c->m == NULL ? " closed" : "");
}

static const char client_doc[] =
    "Client(url=None, *, timeout=2.0, commit_timeout=300.0, retries=5, backoff=0.05, "
    "backoff_max=5.0,\n"
    "       nack_limit=10, auto_id=True, key_file=None, encode=None, decode=None, progress=None,\n"
    "       sock=None, ca=None, cert=None, cert_key=None, server_name=None, insecure=False)\n"
    "--\n\n"
    "A connection to a server, or to one of a list; made when it is first needed, and again when "
    "it\n"
    "was lost. One thread uses it at a time.\n\n"
    "url             'msp://127.0.0.1:8000', 'msp://a,b,c', 'msp:///run/msock.sock', or the same "
    "with\n"
    "                tinyproto, cnp or frame; without one $MSOCK_URL, else msp://127.0.0.1:8000\n"
    "timeout         seconds for a connection, for each answer, and for a packet to move on\n"
    "commit_timeout  seconds for the final answer or the reply, once the whole message has left\n"
    "retries         how often a message is begun again, after backoff seconds at first, which\n"
    "                double up to backoff_max\n"
    "nack_limit      how many NACKs within one message the connection survives\n"
    "auto_id         whether a message without an id gets a random one\n"
    "key_file        a file with the key that seals all messages\n"
    "encode, decode  as add_transform\n"
    "progress        a function of the bytes that are done and of all; False from it stops the "
    "message\n"
    "sock            a connected socket.socket, which the client takes over; it never connects by\n"
    "                itself then\n"
    "ca              of 'msp+tls://...' and so on: a file with the authorities that are trusted\n"
    "cert, cert_key  our certificate and its key\n"
    "server_name     the name that the server's certificate must have, else the host of the URL\n"
    "insecure        True: anybody can be the server";

static PyType_Slot client_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)client_new},
    {Py_tp_dealloc, (void *)(uintptr_t)client_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)client_traverse},
    {Py_tp_clear, (void *)(uintptr_t)client_clear},
    {Py_tp_repr, (void *)(uintptr_t)client_repr},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_getset},
    {Py_tp_doc, (void *)(uintptr_t)client_doc},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "msock._msock.Client",
    .basicsize = sizeof(struct client),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = client_slots,
};

static PyType_Slot loop_client_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t) "A Client whose calls return an Operation, for event loops: "
                                    "see msock.aio."},
    {Py_tp_traverse, (void *)(uintptr_t)client_traverse},
    {Py_tp_clear, (void *)(uintptr_t)client_clear},
    {Py_tp_dealloc, (void *)(uintptr_t)client_dealloc},
    {0, NULL},
};

static PyType_Spec loop_client_spec = {
    .name = "msock._msock.LoopClient",
    .basicsize = sizeof(struct client),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loop_client_slots,
};

int
client_init_types(PyObject *module)
{
    ext_types.client = ext_add_type(module, &client_spec, NULL);
    if (ext_types.client == NULL)
        return -1;
    ext_types.loop_client = ext_add_type(module, &loop_client_spec, ext_types.client);
    return ext_types.loop_client != NULL ? 0 : -1;
}
