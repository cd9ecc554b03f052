/* The extension module msock._msock: libmsock for Python, through the stable ABI of Python 3.9.
 * Invariant: nothing of Python is touched without the GIL, and the GIL is let go wherever libmsock
 * may wait or compute. */
#ifndef PYTHON_EXT_H
#define PYTHON_EXT_H

#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <msock_server.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* --- module.c --- */

/* The types; NULL before the module is there. */
struct ext_types {
    PyObject *client, *loop_client, *shared_client, *operation, *many;
    PyObject *server, *connection, *message;
    PyTypeObject *sent, *outcome;
};
extern struct ext_types ext_types;

/* getpid(2) without its system call, which each use of a handle would make. */
extern pid_t ext_pid;

/* JSONEncoder(...).encode, for JSON as a server takes it, and json.loads. */
extern PyObject *ext_dumps, *ext_loads;

/* The exception of a status, with a sentence and the protocol's code ("" without). error_make
 * returns it, or NULL with an exception set; error_set raises it and returns NULL. */
PyObject *error_make(enum msock_status status, const char *text, const char *code);
PyObject *error_set(enum msock_status status, const char *text, const char *code);

/* MSOCK_USAGE without a code. Returns NULL. */
PyObject *error_usage(const char *format, ...);

/* An exception that was raised where it could not be handed on. */
struct ext_kept {
    PyObject *type, *value, *trace;
};

/* Keeps the exception that is set, unless there is one already. */
void kept_take(struct ext_kept *kept);

/* Raises it. False where there is none. */
bool kept_raise(struct ext_kept *kept);
void kept_clear(struct ext_kept *kept);
int kept_visit(const struct ext_kept *kept, visitproc visit, void *arg);

/* Bytes of an argument: those of bytes are used where they are, a str is UTF-8, anything else with
 * a buffer is copied. owner_out is a new reference that holds them. */
int ext_bytes(PyObject *object, PyObject **owner_out, const char **data_out, size_t *n_out);

/* So many bytes are read and copied without the GIL, since others would wait for it. */
#define EXT_MANY ((size_t)64 << 10)

/* A copy of bytes that nobody changes meanwhile, as bytes. */
PyObject *ext_copy(const void *data, size_t n);

/* Seconds, or None for without end (-1), as milliseconds, rounded up. */
int ext_milliseconds(PyObject *seconds, int *ms_out);

/* Logs the exception that is set, with its traceback, as logging.getLogger("msock") does. */
void ext_log_exception(const char *text);

/* Calls a transform of the program's with bytes. Returns 0 and bytes from malloc(3), or -1 with an
 * exception set. */
int ext_transform(PyObject *function, const void *in, size_t in_len, void **out, size_t *out_len);

/* Frees an object of a type from PyType_FromSpec, last of all. */
void ext_free(PyObject *self);

/* The Py_tp_new of types whose objects only this module makes. */
PyObject *ext_no_new(PyTypeObject *type, PyObject *args, PyObject *keywords);

/* None, with a reference. */
PyObject *ext_none(void);

/* The longest wait without a look at signals: one that comes just before a wait does not end it. */
#define EXT_LOOK_MS 250

/* A method with keywords, for a PyMethodDef. */
#define EXT_KEYWORDS(f) ((PyCFunction)(void (*)(void))(f)), METH_VARARGS | METH_KEYWORDS

/* --- gil.c --- */

/* PyEval_RestoreThread, one thread after the other. */
void ext_restore(PyThreadState *state);

/* Takes a mutex, and lets the GIL go while another thread has it. False with an exception: a
 * signal's handler has raised one; this thread has the mutex, which checks that; or the interpreter
 * ends, and the thread that has the mutex may be gone. */
bool ext_lock(pthread_mutex_t *mutex);

/* In the child of a fork nobody is in the queue. */
void ext_forget_queue(void);

/* --- the types; each returns 0, or -1 with an exception --- */

int client_init_types(PyObject *module);     /* client.c: Client, LoopClient */
int operation_init_types(PyObject *module);  /* operation.c */
int shared_init_types(PyObject *module);     /* shared.c: SharedClient */
int many_init_types(PyObject *module);       /* many.c: the iterator of send_many */
int server_init_types(PyObject *module);     /* server.c */
int connection_init_types(PyObject *module); /* connection.c */
int message_init_types(PyObject *module);    /* message.c */

/* Adds a type to the module under the last part of its name. */
PyObject *ext_add_type(PyObject *module, PyType_Spec *spec, PyObject *base);

#endif
