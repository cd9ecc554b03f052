/* A change of configuration as a transaction; the start is one that begins with nothing. Either
 * every worker of the new generation says that it is ready, and then it takes over, or everything
 * is as it was. */
#ifndef MASTER_RELOAD_H
#define MASTER_RELOAD_H

#include "master/state.h"

/* Prepares, binds and forks a pending generation with config, which is taken over in every case.
 * Returns 0, or -1 with the reason and nothing left behind but workers that are being reaped. */
MS_MUST_CHECK int reload_begin(struct master *m, struct config *config, struct failure *why);

/* Gives pending up. */
void reload_abort(struct master *m);

/* Makes pending current, and lets the generation before it drain. */
void reload_commit(struct master *m);

/* HUP: builds the configuration and begins; one that is under way is followed by one more. */
void reload_request(struct master *m);

/* Gives pending up and says why, on the log and as the verdict. */
void reload_fail(struct master *m, const struct failure *why);

/* pending is ready: commits and says so. */
void reload_finish(struct master *m);

/* Appends "8 workers, listening on msp://127.0.0.1:8000, ..." for g. */
void reload_describe(const struct generation *g, struct buffer *out);

#endif
