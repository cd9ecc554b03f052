/* A worker: accepts, speaks the protocols, calls the handlers, counts. In msockd it is a process,
 * forked by the master (worker_main); in a program that receives by itself it is a part of that
 * (libmsock), turned by the program's own thread. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "common/log.h"
#include "handler/handler.h"
#include "proto/transform.h"
#include "worker/child.h"

struct worker;

/* The differences between the two. */
struct worker_setup {
    bool is_process; /* takes signals, heeds the master's end, seeds jansson, raises limits */

    /* The handler of that name; never NULL for a name that the configuration has. */
    const struct handler_ops *(*find_handler)(const char *name);

    /* A new unlinked file for a message that is too large for memory; -1 with errno. */
    int (*spill_open)(const struct config *config);

    /* Transforms of all listeners besides a listener's key; or NULL. */
    const struct transforms *transforms;

    /* Where it logs, within the functions below; NULL: where the daemon does. */
    const struct log_sink *log;

    /* An eventfd, non-blocking: a turn that waits returns when it is written to; or -1. */
    int wake_fd;
};

/* A whole process: runs until it is told to leave or the master is gone. Returns the exit
 * status. */
int worker_main(const struct child *child);

/* --- as a part of another program: one thread at a time --- */

/* Opens a worker: child, setup and what they point to stay the caller's, and valid. The worker
 * closes the listeners' descriptors, also where it cannot be opened. Returns it, or NULL with a
 * sentence in error. */
struct worker *worker_create(const struct child *child, const struct worker_setup *setup,
                             char error[HANDLER_ERROR_LEN]);

/* Commits the messages under way, closes everything, frees. NULL is fine. */
void worker_destroy(struct worker *w);

/* Waits for events up to timeout_ms (-1: until there is one) and deals with them: one turn of the
 * loop. */
void worker_turn(struct worker *w, int timeout_ms);

/* Between two turns: sends answers and pushes since the last one. Nothing is received, and no
 * message is submitted. */
void worker_send(struct worker *w);

/* Takes no new connections and tells those between messages; the turns go on. */
void worker_drain(struct worker *w, const char *why);

/* Between two turns: a descriptor that poll(2) finds readable when a turn has something to do, and
 * the most milliseconds until it has, without that. */
int worker_fd(const struct worker *w);
int worker_left_ms(const struct worker *w);

/* What it has counted. */
const struct stats_block *worker_stats(const struct worker *w);

/* Connections that are not closed yet. */
unsigned worker_connections(const struct worker *w);

/* --- one connection, while its handler knows of it --- */

/* Bytes that wait for its peer to read, in whatever queue. */
size_t conn_queued(const struct conn *c);

/* Bytes that wait for the handler: they are behind the answer to a message that is not settled. */
size_t conn_held_back(const struct conn *c);

/* Which of child->listeners it came to. */
size_t conn_listener(const struct conn *c);

#endif
