/* One call of libmsock: its arguments, the call itself, and its result as Python has it. */
#include "client.h"

#include <string.h>
#include <unistd.h>

void
call_init(struct call *call, enum call_kind kind)
{
    *call = (struct call){.kind = kind, .what = 'A', .fd = -1, .timeout_ms = -1};
}

void
call_fini(struct call *call)
{
    for (size_t i = 0; i < sizeof(call->owners) / sizeof(call->owners[0]); i++)
        Py_CLEAR(call->owners[i]);
    Py_CLEAR(call->given_id);
    Py_CLEAR(call->otherwise);
    if (call->kind == CALL_ATTACH && call->fd >= 0)
        close(call->fd);
    call->fd = -1;
}

int
call_take_data(struct call *call, PyObject *data)
{
    return ext_bytes(data, &call->owners[0], &call->data, &call->n);
}

int
call_take_id(struct call *call, PyObject *id)
{
    if (id == NULL || id == Py_None)
        return 0;
    if (ext_bytes(id, &call->owners[1], &call->id, &call->id_n) < 0)
        return -1;
    if (call->id_n == 0 || call->id_n > 2006) {
        error_usage("an id has 1 to 2006 bytes");
        return -1;
    }
    Py_INCREF(id);
    call->given_id = id;
    return 0;
}

/* --- the call --- */

int
client_check(const struct client *c)
{
    if (c->m == NULL)
        error_usage("this client is closed");
    else if (c->owner != ext_pid)
        error_usage("this client belongs to the process that forked this one: make another one");
    else if (c->is_busy)
        error_usage("this client is in use: by another thread or task, or by the call that has"
                    " called this callback");
    return PyErr_Occurred() != NULL ? -1 : 0;
}

int
client_begin(struct client *c)
{
    if (client_check(c) < 0)
        return -1;
    c->is_busy = true;
    return 0;
}

int
client_push(struct client *c)
{
    return client_check(c) < 0 ? -1 : ring_push(c->ring);
}

static enum msock_status
call_send_bytes(struct client *c, const struct call *call)
{
    return call->what == 'J' ? msock_send_json_text(c->m, call->data, call->n)
                             : msock_send(c->m, call->data, call->n);
}

static enum msock_status
call_send_file(struct client *c, const struct call *call)
{
    return call->path != NULL ? msock_send_file(c->m, call->path, call->remote)
                              : msock_send_fd(c->m, call->fd, call->remote);
}

static enum msock_status
call_attach(struct client *c, struct call *call)
{
    int fd = call->fd;

    call->fd = -1;
    return msock_attach(c->m, fd);
}

static enum msock_status
call_close(struct client *c, const struct call *call)
{
    if (call->timeout_ms >= 0)
        msock_set_timeouts(c->m, call->timeout_ms > 0 ? (unsigned)call->timeout_ms : 1, 0);
    msock_close(c->m);
    c->m = NULL;
    return MSOCK_OK;
}

void
client_run(struct client *c, struct call *call)
{
    if (call->id != NULL)
        (void)msock_set_id(c->m, call->id, call->id_n);
    if (call->kind != CALL_CLOSE)
        msock_set_want_reply(c->m, call->reply);
    switch (call->kind) {
    case CALL_CONNECT:
        call->status = msock_connect(c->m);
        break;
    case CALL_ATTACH:
        call->status = call_attach(c, call);
        break;
    case CALL_SEND:
        call->status = call_send_bytes(c, call);
        break;
    case CALL_FILE:
        call->status = call_send_file(c, call);
        break;
    case CALL_RECV:
        call->status = msock_recv(c->m, call->timeout_ms, &call->received, &call->received_n);
        break;
    case CALL_AHEAD:
        call->status = msock_send_ahead(c->m, call->what, call->data, call->n);
        break;
    case CALL_FLUSH:
        call->status = msock_flush(c->m, call->timeout_ms);
        break;
    case CALL_CLOSE:
        call->status = call_close(c, call);
        break;
    }
}

/* --- its result --- */

/* The id of the last message: None, as it was given, or the random one. */
static PyObject *
client_last_id(const struct client *c, const struct call *call)
{
    const char *id = msock_last_id(c->m);

    if (id[0] == '\0')
        return ext_none();
    if (call->given_id == NULL)
        return PyUnicode_FromString(id);
    Py_INCREF(call->given_id);
    return call->given_id;
}

static PyObject *
client_sent(const struct client *c, const struct call *call)
{
    PyObject *sent = PyStructSequence_New(ext_types.sent), *id, *reply;
    size_t n;
    const char *bytes = msock_reply(c->m, &n);

    if (sent == NULL)
        return NULL;
    id = client_last_id(c, call);
    reply = bytes != NULL ? ext_copy(bytes, n) : ext_none();
    if (id == NULL || reply == NULL) {
        Py_XDECREF(id);
        Py_XDECREF(reply);
        Py_DECREF(sent);
        return NULL;
    }
    PyStructSequence_SetItem(sent, 0, id);
    PyStructSequence_SetItem(sent, 1, reply);
    return sent;
}

/* What is sent ahead has its place among the outcomes, also if libmsock has not taken it. */
static PyObject *
client_sent_ahead(struct client *c, const struct call *call)
{
    PyObject *id = client_last_id(c, call);

    if (id == NULL)
        PyErr_Clear();
    ring_pushed(c->ring, id);
    Py_XDECREF(id);
    if (call->status == MSOCK_USAGE || call->status == MSOCK_LOCAL)
        ring_failed(c->ring, call->status, msock_error(c->m), msock_error_code(c->m));
    return ext_none();
}

static PyObject *
client_failed(const struct client *c, const struct call *call)
{
    if (call->status == MSOCK_LOCAL && strcmp(msock_error(c->m), "there is no memory") == 0)
        return PyErr_NoMemory();
    return error_set(call->status, msock_error(c->m), msock_error_code(c->m));
}

/* libmsock will not report what was to be sent ahead. */
static bool
call_is_untaken(const struct call *call)
{
    return call->status == MSOCK_USAGE || call->status == MSOCK_LOCAL ||
           call->status == MSOCK_CANCELLED;
}

static PyObject *
client_result(struct client *c, const struct call *call)
{
    if (kept_raise(&c->kept)) {
        if (call->kind == CALL_AHEAD && call_is_untaken(call))
            ring_take_back(c->ring);
        return NULL;
    }
    switch (call->kind) {
    case CALL_AHEAD:
        if (call->status != MSOCK_CANCELLED)
            return client_sent_ahead(c, call);
        ring_take_back(c->ring);
        break;
    case CALL_FLUSH: /* what became of the messages is in the ring */
        if (call->status != MSOCK_CANCELLED)
            return PyBool_FromLong(call->status != MSOCK_TIMEOUT);
        break;
    case CALL_SEND:
    case CALL_FILE:
        if (call->status == MSOCK_OK)
            return client_sent(c, call);
        break;
    case CALL_RECV:
        if (call->status == MSOCK_OK)
            return ext_copy(call->received, call->received_n);
        if (call->status == MSOCK_TIMEOUT && call->otherwise != NULL) {
            Py_INCREF(call->otherwise);
            return call->otherwise;
        }
        break;
    case CALL_CONNECT:
    case CALL_ATTACH:
    case CALL_CLOSE:
        if (call->status == MSOCK_OK)
            return ext_none();
        break;
    }
    return client_failed(c, call);
}

PyObject *
client_finish(struct client *c, struct call *call)
{
    PyObject *result = client_result(c, call);

    kept_clear(&c->kept);
    c->is_busy = false;
    return result;
}

PyObject *
client_call(struct client *c, struct call *call)
{
    PyThreadState *state;
    PyObject *result = NULL;

    if (c->is_loop)
        return operation_create(c, call);
    if (client_begin(c) == 0) {
        state = PyEval_SaveThread();
        client_run(c, call);
        ext_restore(state);
        result = client_finish(c, call);
    }
    call_fini(call);
    return result;
}
