/* A worker's set-up and its end: everything it holds is opened and closed here. */
#ifndef WORKER_WORKER_OPEN_H
#define WORKER_WORKER_OPEN_H

#include "worker/worker_state.h"

/* the handlers' clockwork, and how often a failure is said again */
#define WORKER_TICK_US 1000000

/* What the loop of a process does with signals, and when the master is gone. */
struct worker_events {
    void (*signals)(struct watch *watch, uint32_t events);
    void (*master_gone)(struct watch *watch, uint32_t events);
};

/* Shared memory, store, event loop, handlers, listeners: in the end it accepts. Returns 0, or -1
 * with a sentence in error. */
MS_MUST_CHECK int
worker_open(struct worker *w, const struct child *child, const struct worker_setup *setup,
            const struct worker_events *events, char error[HANDLER_ERROR_LEN]);

/* Waits for what is being committed, answers it, closes everything. */
void worker_close(struct worker *w);

#endif
