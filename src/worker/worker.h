/* A worker: accepts, speaks the protocols, calls the handlers, counts. One process each, forked by
 * the master; this header is all that the master knows of it. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "master/child.h"

/* Runs until it is told to leave or the master is gone. Returns the exit status. */
int worker_main(const struct child *child);

#endif
