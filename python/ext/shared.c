/* SharedClient: a client that several threads use as they use a socket, where one waits for what
 * comes while others send. Each call of libmsock is one that does not wait, and threads take turns
 * with them; the waiting is between two turns, and the GIL is let go for all of it. For connections
 * that the program has made (sock=), since a connection cannot be made without waiting.
 * Invariant: nobody waits for a turn with the GIL, so close() and transforms may wait for the GIL
 * with the turn. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What has become of a call. */
struct shared_end {
    enum msock_status status;
    bool is_closed, is_interrupted; /* the latter with an exception */
    char error[512], code[32];
};

struct shared {
    struct client c;
    pthread_mutex_t turn;
    uint64_t posted, settled; /* messages: sent ahead, and of these ended */
    struct shared_end last;   /* of the message that has ended last */
};

/* A call under way: the GIL is let go. */
struct shared_call {
    struct shared *s;
    PyThreadState *state;
    int64_t until_ms; /* monotonic */
    struct shared_end end;
};

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
shared_limit(struct shared_call *call, int timeout_ms)
{
    call->until_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

/* Takes the turn, with -1 for no end of the call. 0, or -1 with an exception. */
static int
shared_enter(struct shared_call *call, PyObject *self, int timeout_ms)
{
    struct shared *s = (void *)self;

    if (s->c.owner != ext_pid) {
        error_usage("this client belongs to the process that forked this one: make another one");
        return -1;
    }
    *call = (struct shared_call){.s = s, .end.status = MSOCK_OK};
    shared_limit(call, timeout_ms);
    if (!ext_lock(&s->turn))
        return -1;
    call->end.is_closed = s->c.m == NULL;
    call->state = PyEval_SaveThread();
    return 0;
}

/* The exception of a call, or of none: None. The turn is over. */
static PyObject *
shared_result(const struct shared_end *end)
{
    if (end->is_interrupted)
        return NULL;
    if (end->is_closed)
        return error_usage("this client is closed");
    return end->status == MSOCK_OK ? ext_none() : error_set(end->status, end->error, end->code);
}

/* That no message came is no error. */
static PyObject *
shared_leave(struct shared_call *call)
{
    if (call->end.status == MSOCK_TIMEOUT)
        call->end.status = MSOCK_OK;
    pthread_mutex_unlock(&call->s->turn);
    ext_restore(call->state);
    return shared_result(&call->end);
}

static void
shared_note(struct shared *s, struct shared_end *end, enum msock_status status)
{
    end->status = status;
    if (status == MSOCK_OK || status == MSOCK_TIMEOUT)
        return;
    snprintf(end->error, sizeof(end->error), "%s", msock_error(s->c.m));
    snprintf(end->code, sizeof(end->code), "%s", msock_error_code(s->c.m));
}

/* Out of turn, waits for the connection, and notices one that another thread has closed. False: the
 * call is over. */
static bool
shared_wait(struct shared_call *call)
{
    struct shared *s = call->s;
    struct pollfd p = {.fd = msock_fd(s->c.m), .events = msock_events(s->c.m)};
    int64_t left = call->until_ms == INT64_MAX ? EXT_LOOK_MS : call->until_ms - now_ms();

    if (left <= 0)
        return false;
    pthread_mutex_unlock(&s->turn);
    if (poll(&p, 1, left < EXT_LOOK_MS ? (int)left : EXT_LOOK_MS) <= 0) {
        ext_restore(call->state);
        call->end.is_interrupted = PyErr_CheckSignals() < 0;
        call->state = PyEval_SaveThread();
    }
    pthread_mutex_lock(&s->turn);
    call->end.is_closed = s->c.m == NULL;
    return !call->end.is_closed && !call->end.is_interrupted;
}

/* The next message is there: true, with the turn that its bytes are good for. */
static bool
shared_recv(struct shared_call *call, const void **data_out, size_t *n_out)
{
    if (call->end.is_closed)
        return false;
    do
        shared_note(call->s, &call->end, msock_recv(call->s->c.m, 0, data_out, n_out));
    while (call->end.status == MSOCK_TIMEOUT && shared_wait(call));
    return call->end.status == MSOCK_OK;
}

/* Gives libmsock a message. What failed with it may have been counted as ended. */
static bool
shared_post(struct shared_call *call, const void *data, size_t n)
{
    struct shared *s = call->s;

    if (call->end.is_closed)
        return false;
    if (s->posted < s->settled)
        s->posted = s->settled;
    shared_note(s, &call->end, msock_send_ahead(s->c.m, 'A', data, n));
    if (call->end.status != MSOCK_OK)
        return false;
    s->posted++;
    return true;
}

/* Waits until all messages have left or have failed, also those whose wait was interrupted. */
static bool
shared_flush(struct shared_call *call)
{
    struct shared *s = call->s;

    while (!call->end.is_closed && s->settled < s->posted &&
           msock_flush(s->c.m, 0) == MSOCK_TIMEOUT && shared_wait(call))
        ;
    return s->settled >= s->posted;
}

/* Sends a message, and waits until it has left or has failed. */
static bool
shared_send(struct shared_call *call, const void *data, size_t n)
{
    if (!shared_post(call, data, n) || !shared_flush(call))
        return false;
    call->end = call->s->last;
    return call->end.status == MSOCK_OK;
}

static void
shared_settled(void *arg, uint64_t number, enum msock_status status)
{
    struct shared *s = arg;

    (void)number;
    s->settled++;
    shared_note(s, &s->last, status);
}

/* --- methods --- */

static PyObject *
shared_take(PyObject *self, PyObject *timeout)
{
    struct shared_call call;
    PyObject *message;
    const void *data;
    char *copy = NULL;
    int timeout_ms;
    bool is_there;
    size_t n;

    if (ext_milliseconds(timeout, &timeout_ms) < 0 || shared_enter(&call, self, timeout_ms) < 0)
        return NULL;
    is_there = shared_recv(&call, &data, &n);
    if (is_there && (copy = malloc(n + 1)) != NULL)
        memcpy(copy, data, n);
    message = shared_leave(&call);
    if (is_there) {
        Py_DECREF(message); /* None */
        message = copy != NULL ? ext_copy(copy, n) : PyErr_NoMemory();
    }
    free(copy);
    return message;
}

static PyObject *
shared_give(PyObject *self, PyObject *data,
            bool (*give)(struct shared_call *, const void *, size_t))
{
    struct shared_call call;
    PyObject *owner, *result = NULL;
    const char *bytes;
    size_t n;

    if (ext_bytes(data, &owner, &bytes, &n) < 0)
        return NULL;
    if (shared_enter(&call, self, -1) == 0) {
        (void)give(&call, bytes, n);
        result = shared_leave(&call);
    }
    Py_DECREF(owner);
    return result;
}

static PyObject *
shared_put(PyObject *self, PyObject *data)
{
    return shared_give(self, data, shared_send);
}

/* Until what may leave has left: whoever waits in take() may not know yet that there is something.
 * What fails later shows when the next message is given or taken. */
static bool
shared_begin(struct shared_call *call, const void *data, size_t n)
{
    msock **m = &call->s->c.m;

    if (!shared_post(call, data, n))
        return false;
    while (msock_flush(*m, 0) == MSOCK_TIMEOUT && (msock_events(*m) & POLLOUT) != 0)
        if (!shared_wait(call))
            return false;
    return true;
}

static PyObject *
shared_put_ahead(PyObject *self, PyObject *data)
{
    return shared_give(self, data, shared_begin);
}

static PyObject *
shared_finish(PyObject *self, PyObject *timeout)
{
    struct shared_call call;
    int timeout_ms;

    if (ext_milliseconds(timeout, &timeout_ms) < 0 || shared_enter(&call, self, timeout_ms) < 0)
        return NULL;
    (void)shared_flush(&call);
    call.end.is_closed = false; /* nothing is left then */
    return shared_leave(&call);
}

static PyObject *
shared_echo(PyObject *self, PyObject *timeout)
{
    struct shared_call call;
    const void *data;
    int timeout_ms;
    size_t n;

    if (ext_milliseconds(timeout, &timeout_ms) < 0 || shared_enter(&call, self, timeout_ms) < 0)
        return NULL;
    while (shared_recv(&call, &data, &n) && shared_send(&call, data, n))
        shared_limit(&call, timeout_ms);
    return shared_leave(&call);
}

/* With the turn, so that nobody is in libmsock. */
static PyObject *
shared_close(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct shared_call call;
    PyObject *result;

    if (shared_enter(&call, self, -1) < 0)
        return NULL;
    ext_restore(call.state);
    call.s->c.is_busy = false;
    result = client_close(self, args, keywords);
    call.s->c.is_busy = true;
    pthread_mutex_unlock(&call.s->turn);
    return result;
}

static void
shared_dealloc(PyObject *self)
{
    pthread_mutex_destroy(&((struct shared *)self)->turn);
    client_dealloc(self);
}

/* The methods of a Client find it in use, but for those above. */
static PyObject *
shared_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    newfunc make = (newfunc)PyType_GetSlot((PyTypeObject *)ext_types.client, Py_tp_new);
    struct shared *s = (void *)make(type, args, keywords);
    pthread_mutexattr_t checks;

    if (s == NULL)
        return NULL;
    pthread_mutexattr_init(&checks);
    pthread_mutexattr_settype(&checks, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&s->turn, &checks);
    pthread_mutexattr_destroy(&checks);
    msock_set_settled(s->c.m, shared_settled, s);
    s->c.is_busy = true;
    return (PyObject *)s;
}

static PyMethodDef shared_methods[] = {
    {"take", shared_take, METH_O,
     "take($self, timeout, /)\n--\n\n"
     "Wait for the next message, in any thread; None if it does not come within timeout seconds."},
    {"put", shared_put, METH_O,
     "put($self, data, /)\n--\n\n"
     "Send a message while other threads wait in take(); one thread at a time."},
    {"put_ahead", shared_put_ahead, METH_O,
     "put_ahead($self, data, /)\n--\n\n"
     "Begin to send a message; take() goes on with it where its peer has to answer first."},
    {"finish", shared_finish, METH_O,
     "finish($self, timeout, /)\n--\n\n"
     "Wait until all messages have left, at most timeout seconds."},
    {"echo", shared_echo, METH_O,
     "echo($self, timeout, /)\n--\n\n"
     "Send each message back until none comes within timeout seconds, or the connection ends, "
     "which\n"
     "raises."},
    {"close", EXT_KEYWORDS(shared_close), "close($self, /, timeout=None)\n--\n\nAs of Client."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot shared_slots[] = {
    {Py_tp_new, (void *)(uintptr_t)shared_new},
    {Py_tp_dealloc, (void *)(uintptr_t)shared_dealloc},
    {Py_tp_traverse, (void *)(uintptr_t)client_traverse},
    {Py_tp_clear, (void *)(uintptr_t)client_clear},
    {Py_tp_methods, shared_methods},
    {Py_tp_doc,
     (void *)(uintptr_t) "A Client with sock=, which several threads use as they use a socket."},
    {0, NULL},
};

static PyType_Spec shared_spec = {
    .name = "msock._msock.SharedClient",
    .basicsize = sizeof(struct shared),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = shared_slots,
};

int
shared_init_types(PyObject *module)
{
    ext_types.shared_client = ext_add_type(module, &shared_spec, ext_types.client);
    return ext_types.shared_client != NULL ? 0 : -1;
}
