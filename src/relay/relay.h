/* The relay: one process beside the workers that follows the journal and publishes its records to a
 * stream of NATS. Senders are answered by the journal alone; what the stream does not take now, it
 * gets later. relay.c is the process, relay_job.c a record on its way, relay_keep.c what is kept,
 * told and removed.
 *
 * A record counts as relayed once the stream has confirmed it, and the position on disk passes it
 * only then. So a relay that is killed publishes some records again, under the same ids: the stream
 * drops them as long as it remembers ids. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "worker/child.h"

/* What is said where nothing comes that could be relayed; or NULL. */
const char *relay_warning(const struct config *config);

/* The process's entry; see worker/child.h. Returns the exit status. */
int relay_main(const struct child *child);

#endif
