/* A server of libmsock as Python objects. Threads take turns with it: a lock is held for each call
 * of libmsock, and never while anybody waits, so messages may be settled while another thread waits
 * for the next ones. What libmsock tells becomes Python objects when its call is over. */
#ifndef PYTHON_SERVER_H
#define PYTHON_SERVER_H

#include "ext.h"

#define SERVER_TRANSFORMS 8

struct server;

struct server_transform {
    struct server *server;
    PyObject *encode, *decode; /* callables; or NULL */
};

enum event_kind { EVENT_MESSAGE, EVENT_OPENED, EVENT_CLOSED };

/* What libmsock has told. */
struct event {
    enum event_kind kind;
    msock_message *message;
    msock_conn *conn;
    char *text; /* of a connection: its peer when it was opened, its protocol when it was closed */
    char *identity; /* the same: msock_conn_identity */
};

struct log_line {
    struct log_line *next;
    int level;
    char *text;
};

/* A message whose object is gone before it was settled. */
struct orphan {
    struct orphan *next;
    msock_message *m;
};

struct server {
    PyObject_HEAD msock_server *s; /* NULL: closed */
    pthread_mutex_t lock;          /* recursive: a callback may settle */
    pid_t owner;
    int wake_fd;        /* ends the wait of whoever waits for events; an eventfd */
    int watch_fd;       /* for event loops: libmsock's, but open until they have noticed close() */
    bool is_woken;      /* it was written to */
    bool is_receiving;  /* a thread is in events() */
    bool is_inside;     /* libmsock calls a transform: nobody may call it */
    bool is_waited_for; /* somebody waits for the descriptor, until: */
    int64_t until_ms;   /* monotonic */

    PyObject *log; /* a function of a level and a text */
    struct server_transform transforms[SERVER_TRANSFORMS];
    unsigned transform_count;
    PyObject *connections; /* by the address of the msock_conn; a dict */
    struct event *events;
    size_t event_count, event_room;
    struct log_line *log_lines;
    struct orphan *orphans;
    struct ext_kept kept; /* an interrupt of the program, for whoever receives */
};

/* Takes the turn with libmsock. 0, or -1 with an exception: closed, another process, or within a
 * transform. */
int server_enter(struct server *server);

/* The same where it is free right now; false without an exception. */
bool server_try_enter(struct server *server);

/* Ends the turn: wakes who waits too long now, and passes the lines of the log on. An exception
 * that is set stays. */
void server_leave(struct server *server);

/* The methods of server.c, for the table in server_type.c. */
PyObject *server_events(PyObject *self, PyObject *args);
PyObject *server_waits(PyObject *self, PyObject *unused);
PyObject *server_drain(PyObject *self, PyObject *timeout);

/* Ends the wait of whoever waits for events. */
void server_wake(struct server *server);

/* --- events.c --- */

extern const struct msock_server_callbacks server_callbacks;
void server_on_log(void *arg, enum msock_log_level level, const char *text);
int server_on_encode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len);
int server_on_decode(void *arg, const void *in, size_t in_len, void **out, size_t *out_len);

/* Tells the lines to a function, and frees them. Not within a turn: it may take its time. */
void server_pass_log(struct server *server, struct log_line *line, PyObject *log);

/* What a note owns. */
void event_free(struct event *event);

/* The events so far: a list of a Message each, or of a pair of a Connection and whether it was
 * opened. NULL with an exception. */
PyObject *server_take_events(struct server *server);

/* --- connection.c --- */

/* The object of a connection that was opened. */
PyObject *
connection_create(struct server *server, msock_conn *conn, const char *peer, const char *identity);

/* It has ended: the object knows it no more. */
void connection_end(PyObject *self, const char *protocol);

/* --- message.c --- */

/* Takes over a message. If that fails it is left alone. */
PyObject *message_create(struct server *server, msock_message *m, PyObject *connection);

#endif
