/* New connections: who takes them, how many, and what the rest are told. */
#ifndef WORKER_ACCEPT_H
#define WORKER_ACCEPT_H

#include "worker/worker_state.h"

/* Begins to take connections from every listener. Returns 0, or -1 with errno. */
MS_MUST_CHECK int accept_start(struct worker *w);

/* Takes none any more and lets go of the listeners' descriptors. */
void accept_stop(struct worker *w);

/* Where the listeners are left to others because this worker has too many connections: back to them
 * as soon as it has no longer. Once a turn. */
void accept_reconsider(struct worker *w);

/* The park timer has fired: back to the listeners, and first to what nobody else took. */
void accept_unpark(struct worker *w);

#endif
