/* What libmsock tells of a server: first as plain notes, which need no GIL, and then as objects. */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- notes, without the GIL --- */

static bool
server_note(struct server *server, const struct event *event)
{
    if (server->event_count == server->event_room) {
        size_t room = server->event_room > 0 ? server->event_room * 2 : 64;
        struct event *events = realloc(server->events, room * sizeof(*events));

        if (events == NULL)
            return false;
        server->events = events;
        server->event_room = room;
    }
    server->events[server->event_count++] = *event;
    return true;
}

static void
on_message(void *arg, msock_server *s, msock_message *message)
{
    (void)s;
    if (!server_note(arg, &(struct event){.kind = EVENT_MESSAGE, .message = message}))
        msock_message_fail(message, "the program has no memory for it");
}

void
event_free(struct event *event)
{
    free(event->text);
    free(event->identity);
}

/* The connection may be gone when the note is read: what is to be known of it is noted too. Without
 * memory nobody hears of it. */
static void
server_note_connection(struct server *server, enum event_kind kind, msock_conn *conn,
                       const char *text)
{
    struct event event = {.kind = kind,
                          .conn = conn,
                          .text = strdup(text),
                          .identity = strdup(msock_conn_identity(conn))};

    if (event.text == NULL || event.identity == NULL || !server_note(server, &event))
        event_free(&event);
}

static void
on_opened(void *arg, msock_server *s, msock_conn *conn)
{
    (void)s;
    server_note_connection(arg, EVENT_OPENED, conn, msock_conn_peer(conn));
}

static void
on_closed(void *arg, msock_server *s, msock_conn *conn)
{
    (void)s;
    server_note_connection(arg, EVENT_CLOSED, conn, msock_conn_protocol(conn));
}

const struct msock_server_callbacks server_callbacks = {
    .message = on_message, .opened = on_opened, .closed = on_closed};

void
server_on_log(void *arg, enum msock_log_level level, const char *text)
{
    struct server *server = arg;
    struct log_line *line = malloc(sizeof(*line)), **at = &server->log_lines;

    if (line == NULL)
        return;
    *line = (struct log_line){.level = (int)level, .text = strdup(text)};
    while (*at != NULL)
        at = &(*at)->next;
    *at = line;
}

/* Takes the exception that is set if it is one that ends programs, as of a signal: it came to a
 * function of the server's by chance. */
static bool
server_is_interrupted(struct server *server)
{
    if (PyErr_ExceptionMatches(PyExc_Exception))
        return false;
    kept_take(&server->kept);
    return true;
}

void
server_pass_log(struct server *server, struct log_line *line, PyObject *log)
{
    struct log_line *next;

    for (; line != NULL; line = next) {
        PyObject *result = PyObject_CallFunction(log, "iz", line->level, line->text);

        if (result == NULL && !server_is_interrupted(server))
            PyErr_WriteUnraisable(log);
        Py_XDECREF(result);
        next = line->next;
        free(line->text);
        free(line);
    }
}

/* --- transforms: called by libmsock, with or without the GIL --- */

static int
server_transform(struct server_transform *one, PyObject *function, const void *in, size_t in_len,
                 void **out, size_t *out_len)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int rc = -1;

    one->server->is_inside = true;
    if (function != NULL) /* NULL: the server is being collected */
        rc = ext_transform(function, in, in_len, out, out_len);
    if (rc < 0 && function != NULL && !server_is_interrupted(one->server))
        ext_log_exception("a transform has failed: its message is not taken");
    one->server->is_inside = false;
    PyGILState_Release(state);
    errno = 0; /* the bytes are at fault, and not this side */
    return rc;
}

int
server_on_encode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct server_transform *one = arg;

    return server_transform(one, one->encode, in, in_len, out, out_len);
}

int
server_on_decode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len)
{
    struct server_transform *one = arg;

    return server_transform(one, one->decode, in, in_len, out, out_len);
}

/* --- notes as objects --- */

static PyObject *
event_message(struct server *server, const struct event *event)
{
    msock_conn *conn = msock_message_conn(event->message); /* NULL: it has ended */
    PyObject *key = PyLong_FromVoidPtr(conn), *object = NULL;

    if (key != NULL)
        object = message_create(server, event->message,
                                PyDict_GetItemWithError(server->connections, key));
    Py_XDECREF(key);
    if (object == NULL)
        msock_message_fail(event->message, "the program has no memory for it");
    return object;
}

static PyObject *
event_opened(struct server *server, const struct event *event, PyObject *key)
{
    PyObject *connection = connection_create(server, event->conn, event->text, event->identity);

    if (connection == NULL || PyDict_SetItem(server->connections, key, connection) < 0) {
        Py_XDECREF(connection);
        return NULL;
    }
    return Py_BuildValue("(NO)", connection, Py_True);
}

static PyObject *
event_closed(struct server *server, const struct event *event, PyObject *key)
{
    PyObject *connection = PyDict_GetItemWithError(server->connections, key), *pair;

    if (connection == NULL)
        return PyErr_Occurred() != NULL ? NULL : ext_none();
    pair = Py_BuildValue("(OO)", connection, Py_False);
    connection_end(connection, event->text);
    if (PyDict_DelItem(server->connections, key) == 0)
        return pair;
    Py_XDECREF(pair);
    return NULL;
}

/* A Message, a pair of a Connection and whether it was opened, or None. */
static PyObject *
event_object(struct server *server, const struct event *event)
{
    PyObject *key, *object;

    if (event->kind == EVENT_MESSAGE)
        return event_message(server, event);
    key = PyLong_FromVoidPtr(event->conn);
    if (key == NULL)
        return NULL;
    object = event->kind == EVENT_OPENED ? event_opened(server, event, key)
                                         : event_closed(server, event, key);
    Py_DECREF(key);
    return object;
}

PyObject *
server_take_events(struct server *server)
{
    struct event *events = server->events;
    size_t count = server->event_count;
    PyObject *list = PyList_New(0);

    if (list == NULL)
        return NULL;
    server->events = NULL;
    server->event_count = server->event_room = 0;
    for (size_t i = 0; i < count; i++) {
        PyObject *object = event_object(server, &events[i]);

        if (object == NULL || (object != Py_None && PyList_Append(list, object) < 0))
            PyErr_WriteUnraisable((PyObject *)server);
        Py_XDECREF(object);
        event_free(&events[i]);
    }
    free(events);
    return list;
}
