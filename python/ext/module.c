/* The module itself, and what its types share: exceptions, arguments, bytes. */
#include "ext.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ext_types ext_types;
pid_t ext_pid;
PyObject *ext_dumps, *ext_loads;
static PyObject *ext_logger;

/* --- exceptions: the classes are those of msock.errors --- */

static PyObject *error_classes[MSOCK_TIMEOUT + 1];

static const char *const error_names[MSOCK_TIMEOUT + 1] = {
    [MSOCK_OK] = "Error",
    [MSOCK_USAGE] = "UsageError",
    [MSOCK_REFUSED] = "Refused",
    [MSOCK_UNREACHABLE] = "Unreachable",
    [MSOCK_GIVEN_UP] = "GivenUp",
    [MSOCK_LOCAL] = "LocalError",
    [MSOCK_CANCELLED] = "Cancelled",
    [MSOCK_TIMEOUT] = "Timeout",
};

static int
errors_import(void)
{
    PyObject *errors = PyImport_ImportModule("msock.errors");

    for (size_t i = 0; errors != NULL && i <= MSOCK_TIMEOUT; i++) {
        error_classes[i] = PyObject_GetAttrString(errors, error_names[i]);
        if (error_classes[i] == NULL)
            break;
    }
    Py_XDECREF(errors);
    return PyErr_Occurred() ? -1 : 0;
}

/* What peers say need not be UTF-8. */
static PyObject *
error_text(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
}

PyObject *
error_make(enum msock_status status, const char *text, const char *code)
{
    PyObject *sentence = error_text(text[0] != '\0' ? text : msock_status_name(status));
    PyObject *word = error_text(code), *error = NULL;

    if (sentence != NULL && word != NULL)
        error = PyObject_CallFunctionObjArgs(error_classes[status], sentence, word, NULL);
    Py_XDECREF(sentence);
    Py_XDECREF(word);
    return error;
}

PyObject *
error_set(enum msock_status status, const char *text, const char *code)
{
    PyObject *error = error_make(status, text, code);

    if (error != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    return NULL;
}

PyObject *
error_usage(const char *format, ...)
{
    va_list ap;
    PyObject *text;

    va_start(ap, format);
    text = PyUnicode_FromFormatV(format, ap);
    va_end(ap);
    if (text != NULL)
        PyErr_SetObject(error_classes[MSOCK_USAGE], text);
    Py_XDECREF(text);
    return NULL;
}

void
kept_take(struct ext_kept *kept)
{
    if (kept->type == NULL)
        PyErr_Fetch(&kept->type, &kept->value, &kept->trace);
    else
        PyErr_Clear();
}

bool
kept_raise(struct ext_kept *kept)
{
    if (kept->type == NULL)
        return false;
    PyErr_Restore(kept->type, kept->value, kept->trace);
    *kept = (struct ext_kept){NULL, NULL, NULL};
    return true;
}

void
kept_clear(struct ext_kept *kept)
{
    Py_CLEAR(kept->type);
    Py_CLEAR(kept->value);
    Py_CLEAR(kept->trace);
}

int
kept_visit(const struct ext_kept *kept, visitproc visit, void *arg)
{
    Py_VISIT(kept->type);
    Py_VISIT(kept->value);
    Py_VISIT(kept->trace);
    return 0;
}

/* --- arguments --- */

/* The stable ABI of 3.9 has no Py_buffer: a copy it is. */
static PyObject *
bytes_copied(PyObject *object)
{
    PyObject *view = PyMemoryView_FromObject(object), *copy;

    if (view == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) /* that of a closed mmap says more */
            PyErr_Format(PyExc_TypeError, "bytes or str expected, not %R",
                         (PyObject *)Py_TYPE(object));
        return NULL;
    }
    copy = PyBytes_FromObject(view);
    Py_DECREF(view);
    return copy;
}

int
ext_bytes(PyObject *object, PyObject **owner_out, const char **data_out, size_t *n_out)
{
    PyObject *bytes = object;
    Py_ssize_t n;
    char *data;

    if (PyUnicode_Check(object))
        bytes = PyUnicode_AsUTF8String(object);
    else if (PyBytes_Check(object))
        Py_INCREF(bytes);
    else
        bytes = bytes_copied(object);
    if (bytes == NULL)
        return -1;
    if (PyBytes_AsStringAndSize(bytes, &data, &n) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    *owner_out = bytes;
    *data_out = data;
    *n_out = (size_t)n;
    return 0;
}

PyObject *
ext_copy(const void *data, size_t n)
{
    PyObject *copy = PyBytes_FromStringAndSize(n < EXT_MANY ? data : NULL, (Py_ssize_t)n);
    PyThreadState *state;
    char *to;

    if (copy == NULL || n < EXT_MANY)
        return copy;
    to = PyBytes_AsString(copy);
    state = PyEval_SaveThread();
    memcpy(to, data, n);
    ext_restore(state);
    return copy;
}

int
ext_milliseconds(PyObject *seconds, int *ms_out)
{
    double ms = -1;

    if (seconds != NULL && seconds != Py_None) {
        ms = ceil(PyFloat_AsDouble(seconds) * 1000);
        if (PyErr_Occurred())
            return -1;
        if (!(ms >= 0)) {
            PyErr_SetString(PyExc_ValueError, "a time is not negative");
            return -1;
        }
    }
    *ms_out = ms > 2e9 ? 2000000000 : (int)ms;
    return 0;
}

int
ext_transform(PyObject *function, const void *in, size_t in_len, void **out, size_t *out_len)
{
    PyObject *result = PyObject_CallFunction(function, "y#", in, (Py_ssize_t)in_len);
    PyObject *owner = NULL;
    const char *data;
    int rc = -1;

    if (result != NULL && ext_bytes(result, &owner, &data, out_len) == 0) {
        *out = malloc(*out_len + 1);
        if (*out != NULL) {
            memcpy(*out, data, *out_len);
            rc = 0;
        } else {
            PyErr_NoMemory();
        }
    }
    Py_XDECREF(owner);
    Py_XDECREF(result);
    return rc;
}

void
ext_log_exception(const char *text)
{
    PyObject *type, *value, *trace, *args, *keywords, *error, *result = NULL;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    error = PyObject_GetAttrString(ext_logger, "error");
    args = Py_BuildValue("(s)", text);
    keywords = Py_BuildValue("{s:(OOO)}", "exc_info", type, value, trace ? trace : Py_None);
    if (error != NULL && args != NULL && keywords != NULL)
        result = PyObject_Call(error, args, keywords);
    if (result == NULL)
        PyErr_WriteUnraisable(ext_logger);
    Py_XDECREF(result);
    Py_XDECREF(keywords);
    Py_XDECREF(args);
    Py_XDECREF(error);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

void
ext_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    release(self);
    Py_DECREF(type);
}

PyObject *
ext_no_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args;
    (void)keywords;
    PyErr_Format(PyExc_TypeError, "the module msock alone makes objects of %R", type);
    return NULL;
}

PyObject *
ext_none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

/* --- functions of the module --- */

static PyObject *
module_url_error(PyObject *module, PyObject *args)
{
    char error[512];
    const char *url;

    (void)module;
    if (!PyArg_ParseTuple(args, "s:url_error", &url))
        return NULL;
    if (msock_url_error(url, error, sizeof(error)) == MSOCK_OK)
        return ext_none();
    return PyUnicode_FromString(error);
}

/* Of a message that fits into one packet. */
static PyObject *
module_encode(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"kind", "data", "value", "reply", NULL};
    PyObject *data_arg, *value_arg = NULL, *data_owner = NULL, *value_owner = NULL, *out = NULL;
    const char *kind, *data, *value = NULL;
    size_t n, value_n = 0, size;
    char packet[4200];
    int reply = 0;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sO|O$p:encode", names, &kind, &data_arg,
                                     &value_arg, &reply))
        return NULL;
    if (strlen(kind) != 1 || strchr("AJF", kind[0]) == NULL)
        return error_usage("a kind is A, J or F");
    if (ext_bytes(data_arg, &data_owner, &data, &n) < 0 ||
        (value_arg != NULL && ext_bytes(value_arg, &value_owner, &value, &value_n) < 0))
        goto out;
    size = msock_encode(kind[0], reply, data, n, value, value_n, packet, sizeof(packet));
    if (size > 0)
        out = PyBytes_FromStringAndSize(packet, (Py_ssize_t)size);
    else
        error_usage("too long for one packet");
out:
    Py_XDECREF(data_owner);
    Py_XDECREF(value_owner);
    return out;
}

/* One answer line of msp: None, or its length, word and grant. */
static PyObject *
module_decode(PyObject *module, PyObject *data_arg)
{
    static const char *const words[] = {"ACK", "NACK1", "NACK2", "REJ", "ERR"};
    enum msock_answer answer;
    PyObject *owner;
    const char *data;
    uint32_t grant;
    size_t n;
    int len;

    (void)module;
    if (ext_bytes(data_arg, &owner, &data, &n) < 0)
        return NULL;
    len = msock_decode(data, n, &answer, &grant);
    Py_DECREF(owner);
    if (len < 0)
        return error_usage("this is no answer line");
    if (len == 0)
        return ext_none();
    return Py_BuildValue("(isk)", len, words[answer], (unsigned long)grant);
}

static PyMethodDef module_methods[] = {
    {"url_error", module_url_error, METH_VARARGS,
     "url_error($module, url, /)\n--\n\n"
     "Check the URL of a client. Returns None, or a sentence that says what is wrong."},
    {"encode", EXT_KEYWORDS(module_encode),
     "encode($module, /, kind, data, value=b'', *, reply=False)\n--\n\n"
     "Lay out a whole msp message of one packet, with its trailer, ready to be sent.\n\n"
     "kind is 'A', 'J' or 'F', value the id or the path. At most 1998 bytes of data."},
    {"decode", module_decode, METH_O,
     "decode($module, data, /)\n--\n\n"
     "Read one answer line of msp from the beginning of data.\n\n"
     "Returns its length, its word and the number of an ACK (0 without); None if it is not whole."},
    {NULL, NULL, 0, NULL},
};

/* One for the process: the stable ABI of 3.9 gives a type no way to its module. With this m_size
 * each interpreter that imports it asks for it. */
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "msock._msock",
    .m_doc = "libmsock for Python. Use it through the package msock.",
    .m_size = 0,
    .m_methods = module_methods,
};

static PyStructSequence_Field sent_fields[] = {
    {"id",
     "the message's id: as it was given, else a random str; None over a protocol without ids"},
    {"reply", "the handler's reply as bytes; None if there is none"},
    {NULL, NULL},
};

static PyStructSequence_Desc sent_desc = {
    .name = "msock.Sent",
    .doc = "What became of a message that was sent.",
    .fields = sent_fields,
    .n_in_sequence = 2,
};

static PyStructSequence_Field outcome_fields[] = {
    {"number", "counts the messages of one send_many from 0"},
    {"id", "as in Sent"},
    {"error", "None, or the exception that send() would have raised"},
    {NULL, NULL},
};

static PyStructSequence_Desc outcome_desc = {
    .name = "msock.Outcome",
    .doc = "What became of one message of send_many.",
    .fields = outcome_fields,
    .n_in_sequence = 3,
};

PyObject *
ext_add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *bases = base != NULL ? PyTuple_Pack(1, base) : NULL;
    PyObject *type = NULL;

    if (base == NULL || bases != NULL)
        type = PyType_FromSpecWithBases(spec, bases);
    Py_XDECREF(bases);
    if (type == NULL)
        return NULL;
    Py_INCREF(type);
    if (PyModule_AddObject(module, strrchr(spec->name, '.') + 1, type) == 0)
        return type;
    Py_DECREF(type);
    Py_DECREF(type);
    return NULL;
}

static int
module_add_sequence(PyObject *module, PyStructSequence_Desc *desc, PyTypeObject **type_out)
{
    *type_out = PyStructSequence_NewType(desc);
    if (*type_out == NULL)
        return -1;
    Py_INCREF(*type_out);
    return PyModule_AddObject(module, strrchr(desc->name, '.') + 1, (PyObject *)*type_out);
}

static int
module_import_logger(void)
{
    PyObject *logging = PyImport_ImportModule("logging");

    if (logging != NULL)
        ext_logger = PyObject_CallMethod(logging, "getLogger", "s", "msock");
    Py_XDECREF(logging);
    return ext_logger != NULL ? 0 : -1;
}

static int
module_import(void)
{
    PyObject *json = PyImport_ImportModule("json"), *encoder = NULL, *make = NULL;
    PyObject *none = PyTuple_New(0);
    PyObject *how = Py_BuildValue("{s:O,s:O,s:(ss)}", "ensure_ascii", Py_False, "allow_nan",
                                  Py_False, "separators", ",", ":");

    if (json != NULL)
        make = PyObject_GetAttrString(json, "JSONEncoder");
    if (make != NULL && how != NULL && none != NULL)
        encoder = PyObject_Call(make, none, how);
    if (encoder != NULL) {
        ext_dumps = PyObject_GetAttrString(encoder, "encode");
        ext_loads = PyObject_GetAttrString(json, "loads");
    }
    Py_XDECREF(encoder);
    Py_XDECREF(make);
    Py_XDECREF(how);
    Py_XDECREF(none);
    Py_XDECREF(json);
    return ext_dumps != NULL && ext_loads != NULL ? errors_import() : -1;
}

static void
module_forked(void)
{
    ext_pid = getpid();
    ext_forget_queue();
}

static int
module_watch_forks(void)
{
    ext_pid = getpid();
    if (pthread_atfork(NULL, NULL, module_forked) == 0)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static PyObject *
module_create(void)
{
    PyObject *module = PyModule_Create(&module_def);

    if (module == NULL)
        return NULL;
    if (module_watch_forks() == 0 && module_import() == 0 && module_import_logger() == 0 &&
        PyModule_AddStringConstant(module, "__version__", msock_version()) == 0 &&
        module_add_sequence(module, &sent_desc, &ext_types.sent) == 0 &&
        module_add_sequence(module, &outcome_desc, &ext_types.outcome) == 0 &&
        client_init_types(module) == 0 && operation_init_types(module) == 0 &&
        shared_init_types(module) == 0 && many_init_types(module) == 0 &&
        connection_init_types(module) == 0 && message_init_types(module) == 0 &&
        server_init_types(module) == 0)
        return module;
    Py_DECREF(module);
    return NULL;
}

PyMODINIT_FUNC PyInit__msock(void);

/* Callbacks would run in the main interpreter, and exceptions be of its classes. */
PyMODINIT_FUNC
PyInit__msock(void)
{
    static PyObject *module;

    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "msock works in the main interpreter of a process only");
        return NULL;
    }
    if (module == NULL)
        module = module_create();
    Py_XINCREF(module);
    return module;
}
