/* The turns of a server, and waiting for what happens between two of them. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- turns --- */

static void
server_fail_orphans(struct server *server)
{
    struct orphan *orphan;

    while ((orphan = server->orphans) != NULL) {
        server->orphans = orphan->next;
        msock_message_fail(orphan->m, "the program has let go of the message");
        free(orphan);
    }
}

static int
server_check(const struct server *server)
{
    if (server->s == NULL)
        error_usage("this server is closed");
    else if (server->owner != ext_pid)
        error_usage("this server belongs to the process that forked this one");
    return PyErr_Occurred() != NULL ? -1 : 0;
}

int
server_enter(struct server *server)
{
    if (server_check(server) < 0 || !ext_lock(&server->lock))
        return -1;
    if (server->is_inside)
        error_usage("a transform cannot use its server");
    else if (server_check(server) == 0) {
        server_fail_orphans(server);
        return 0;
    }
    pthread_mutex_unlock(&server->lock);
    return -1;
}

bool
server_try_enter(struct server *server)
{
    if (server->s == NULL || server->owner != ext_pid || pthread_mutex_trylock(&server->lock) != 0)
        return false;
    if (!server->is_inside && server->s != NULL)
        return true;
    pthread_mutex_unlock(&server->lock);
    return false;
}

void
server_wake(struct server *server)
{
    static const uint64_t one = 1;

    if (server->is_woken)
        return;
    server->is_woken = true;
    while (write(server->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void
server_unwake(struct server *server)
{
    uint64_t count;

    if (!server->is_woken)
        return;
    server->is_woken = false;
    while (read(server->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

static void
server_unlock(struct server *server)
{
    struct ext_kept before = {NULL, NULL, NULL};
    struct log_line *lines = server->log_lines;
    PyObject *log = server->log;

    server->log_lines = NULL;
    pthread_mutex_unlock(&server->lock);
    if (lines == NULL)
        return;
    PyErr_Fetch(&before.type, &before.value, &before.trace);
    Py_INCREF(log);
    server_pass_log(server, lines, log);
    Py_DECREF(log);
    PyErr_Restore(before.type, before.value, before.trace);
}

void
server_leave(struct server *server)
{
    if (server->s != NULL && server->is_waited_for &&
        now_ms() + msock_server_timeout(server->s) < server->until_ms)
        server_wake(server);
    server_unlock(server);
}

/* --- waiting for what happens --- */

/* A turn of the end: MSOCK_CANCELLED once no connection is left. */
static enum msock_status
server_end_turn(struct server *server)
{
    enum msock_status status = msock_server_run(server->s, &server_callbacks, server, 0);
    struct msock_server_counts counts;

    if (status != MSOCK_OK)
        return status;
    (void)msock_server_dispatch(server->s, &server_callbacks, server); /* hears of what follows */
    msock_server_get_counts(server->s, &counts);
    return counts.open == 0 ? MSOCK_CANCELLED : MSOCK_OK;
}

/* A turn of the server. Returns the events, or NULL with an exception; *status_out is how it went,
 * *fd_out and until_ms what to wait for: libmsock says of its end only that it is there. */
static PyObject *
server_turn(struct server *server, bool ends, enum msock_status *status_out, int *fd_out)
{
    PyObject *list = NULL;
    PyThreadState *state;

    if (server_enter(server) < 0)
        return NULL;
    server->is_waited_for = false;
    server_unwake(server);
    state = PyEval_SaveThread();
    *status_out = ends ? server_end_turn(server)
                       : msock_server_dispatch(server->s, &server_callbacks, server);
    ext_restore(state);
    *fd_out = -1;
    if (*status_out == MSOCK_OK || *status_out == MSOCK_CANCELLED) {
        *fd_out = msock_server_fd(server->s);
        list = server_take_events(server);
    } else {
        error_set(*status_out, msock_server_error(server->s), "");
    }
    server->until_ms = now_ms() + (ends ? EXT_LOOK_MS : msock_server_timeout(server->s));
    server->is_waited_for = true;
    server_unlock(server); /* whoever comes next wakes us, and not we ourselves */
    return list;
}

/* Waits until there is something to do, or that time. 0, or -1 with an exception. */
static int
server_poll(struct server *server, int fd, int64_t until_ms)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = server->wake_fd, .events = POLLIN}};
    PyThreadState *state;
    int64_t left;
    int n;

    if (server->until_ms < until_ms)
        until_ms = server->until_ms;
    left = until_ms - now_ms();
    if (left <= 0)
        return 0;
    state = PyEval_SaveThread();
    n = poll(fds, 2, left < EXT_LOOK_MS ? (int)left : EXT_LOOK_MS);
    ext_restore(state);
    return n <= 0 ? PyErr_CheckSignals() : 0;
}

static PyObject *
server_wait_events(struct server *server, int timeout_ms, bool ends)
{
    int64_t until_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
    enum msock_status status;
    PyObject *list;
    int fd;

    while (!kept_raise(&server->kept)) {
        list = server_turn(server, ends, &status, &fd);
        if (list == NULL || PyList_Size(list) > 0)
            return list;
        if (status == MSOCK_CANCELLED) {
            Py_DECREF(list);
            return kept_raise(&server->kept) ? NULL : ext_none();
        }
        if (now_ms() >= until_ms)
            return list;
        Py_DECREF(list);
        if (server_poll(server, fd, until_ms) < 0)
            return NULL;
    }
    return NULL;
}

static PyObject *
server_receive(struct server *server, PyObject *timeout, bool ends)
{
    PyObject *list;
    int timeout_ms;

    if (ext_milliseconds(timeout, &timeout_ms) < 0)
        return NULL;
    if (server->is_receiving)
        return error_usage("another thread receives from this server");
    server->is_receiving = true;
    list = server_wait_events(server, timeout_ms, ends);
    server->is_receiving = false;
    return list;
}

PyObject *
server_events(PyObject *self, PyObject *args)
{
    PyObject *timeout = NULL;

    if (!PyArg_ParseTuple(args, "|O:events", &timeout))
        return NULL;
    return server_receive((void *)self, timeout, false);
}

PyObject *
server_drain(PyObject *self, PyObject *timeout)
{
    struct server *server = (void *)self;

    if (server_enter(server) < 0)
        return NULL;
    msock_server_stop(server->s);
    server_leave(server);
    return server_receive(server, timeout, true);
}

PyObject *
server_waits(PyObject *self, PyObject *unused)
{
    struct server *server = (void *)self;
    double left;
    int fd;

    (void)unused;
    if (server_enter(server) < 0)
        return NULL;
    fd = msock_server_fd(server->s);
    if (fd < 0)
        error_set(MSOCK_USAGE, msock_server_error(server->s), "");
    else if (server->watch_fd <= 0 && (server->watch_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    left = msock_server_timeout(server->s) / 1000.0;
    server->until_ms = now_ms() + (int64_t)(left * 1000);
    server->is_waited_for = true;
    server_leave(server);
    if (PyErr_Occurred())
        return NULL;
    return Py_BuildValue("(iid)", server->watch_fd, server->wake_fd, left);
}
