/* A client: a handle of libmsock as a Python object, and the calls that it makes with it. A Client
 * makes a call at once and waits without the GIL; a LoopClient, which is for event loops, begins an
 * Operation, whose call runs on a stack of its own and comes back wherever it would wait.
 * Invariant: a handle has one call at a time. */
#ifndef PYTHON_CLIENT_H
#define PYTHON_CLIENT_H

#include "ext.h"

#include <poll.h>

struct fiber;
struct ring;
struct many;

#define CLIENT_TRANSFORMS 8

struct client_transform {
    struct client *client;
    PyObject *encode, *decode; /* callables; or NULL */
};

struct client {
    PyObject_HEAD msock *m; /* NULL: closed */
    bool is_loop;           /* a LoopClient */
    bool is_busy;           /* a call is under way */
    pid_t owner;            /* the process that has made it */
    PyObject *url;          /* str */
    PyObject *progress;     /* a callable; or NULL */
    struct client_transform transforms[CLIENT_TRANSFORMS];
    unsigned transform_count;
    struct ext_kept kept;    /* what a callback has raised during this call */
    struct ring *ring;       /* messages sent ahead */
    const struct many *many; /* the send_many whose outcomes are in the ring; or NULL */
    struct fiber *fiber;     /* of the operation under way; or NULL */
};

/* --- client.c, for types that are made of a client --- */

void client_dealloc(PyObject *self);
int client_traverse(PyObject *self, visitproc visit, void *arg);
int client_clear(PyObject *self);

/* --- callbacks.c --- */

/* What the handle calls gets from here to the program's functions. */
void client_set_callbacks(struct client *c);
void client_set_progress(struct client *c);

/* Appends one; encode and decode may be None. 0, or -1 with an exception. */
int client_add_transform(struct client *c, PyObject *encode, PyObject *decode);

/* --- methods.c --- */

extern PyMethodDef client_methods[];
extern PyGetSetDef client_getset[];
PyObject *client_attach(PyObject *self, PyObject *sock);
PyObject *client_close(PyObject *self, PyObject *args, PyObject *keywords);

/* --- a call --- */

enum call_kind {
    CALL_CONNECT,
    CALL_ATTACH, /* fd, which the handle owns then */
    CALL_SEND,   /* kind, data */
    CALL_FILE,   /* path or fd; remote */
    CALL_RECV,   /* timeout_ms; the result is bytes */
    CALL_AHEAD,  /* kind, data */
    CALL_FLUSH,  /* timeout_ms */
    CALL_CLOSE,
};

struct call {
    enum call_kind kind;
    char what; /* 'A', 'J' */
    const char *data, *path, *remote, *id;
    size_t n, id_n;
    int fd, timeout_ms;
    bool reply;
    PyObject *owners[3]; /* what keeps the bytes above */
    PyObject *given_id;  /* as the caller has it; NULL: none */
    PyObject *otherwise; /* the result in place of MSOCK_TIMEOUT from CALL_RECV; or NULL */

    enum msock_status status;
    const void *received; /* the handle's */
    size_t received_n;
};

void call_init(struct call *call, enum call_kind kind);
void call_fini(struct call *call);

/* Takes data or an id from an argument; None is none. 0, or -1 with an exception. */
int call_take_data(struct call *call, PyObject *data);
int call_take_id(struct call *call, PyObject *id);

/* May the client begin a call now? 0, or -1 with an exception. */
int client_check(const struct client *c);

/* The same, and from then on it is busy. */
int client_begin(struct client *c);

/* Makes the call, without the GIL; no Python object is touched. */
void client_run(struct client *c, struct call *call);

/* The call is over: the client is free again. Returns its result, or NULL with an exception. */
PyObject *client_finish(struct client *c, struct call *call);

/* Makes a place among the outcomes for what is about to be sent ahead, where no other call uses
 * them. 0, or -1 with an exception. */
int client_push(struct client *c);

/* All of it, for a Client; for a LoopClient, an Operation. Takes over what call holds. */
PyObject *client_call(struct client *c, struct call *call);

/* --- messages sent ahead (ring.c) --- */

/* Those of a client that nobody has taken yet, in the order of sending. */
struct ring *ring_create(void);
void ring_destroy(struct ring *ring);
int ring_visit(const struct ring *ring, visitproc visit, void *arg);

/* Adds one that is about to be sent. 0, or -1 with an exception. */
int ring_push(struct ring *ring);

/* The call for the last one has returned: its id (a new reference is taken; or NULL), and what
 * became of it if libmsock will not report it. */
void ring_pushed(struct ring *ring, PyObject *id);
void ring_failed(struct ring *ring, enum msock_status status, const char *text, const char *code);

/* Takes back the last one. */
void ring_take_back(struct ring *ring);

/* libmsock reports the next one. Needs no GIL. */
void ring_settle(struct ring *ring, enum msock_status status, const char *text, const char *code);

/* The oldest one as an Outcome, if it has ended; else NULL, without an exception. */
PyObject *ring_pop(struct ring *ring, Py_ssize_t number);

/* How many have not ended. */
size_t ring_pending(const struct ring *ring);
bool ring_has_outcome(const struct ring *ring);

/* --- another stack (fiber.c) --- */

/* Begins to run a call on a stack of its own. NULL with an exception. */
struct fiber *fiber_create(struct client *c, struct call *call);

/* Goes on until the call waits or is over; with end, it may not wait any more. True: it is over. */
bool fiber_step(struct fiber *f, bool end);

/* Of one that waits: the descriptors, and the most milliseconds. */
unsigned fiber_waits(const struct fiber *f, const struct pollfd **fds_out, int *timeout_ms_out);

/* One that is over, or has not begun. NULL is fine. */
void fiber_destroy(struct fiber *f);

/* On that stack: waits as poll(2). */
int fiber_poll(struct fiber *f, struct pollfd *fds, unsigned n, int timeout_ms);

/* On that stack: has fn called on the other one, with the GIL. */
void fiber_call_python(struct fiber *f, void (*fn)(void *), void *arg);

/* --- operation.c, many.c --- */

PyObject *operation_create(struct client *c, struct call *call);
PyObject *many_create(struct client *c, PyObject *items, bool json);

/* Fills a call with an item of send_many: bytes or str, or a value with json; or a pair of one and
 * its id. */
int many_take_item(struct call *call, PyObject *item, bool json);

#endif
