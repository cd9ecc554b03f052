/* The log file of a daemon whose workers run as another user than the master. */
#ifndef MASTER_LOG_FILE_H
#define MASTER_LOG_FILE_H

#include "config/config.h"
#include "master/failure.h"

/* Makes sure that config's log file is there. One that is missing is created and, by a root master
 * whose workers are another user, given to that user, so that they can open it again after a
 * rotation. One that exists keeps its owner: its directory may be the workers', and to give away
 * what they put under that name would give away any file; for the same reason a symbolic link is
 * refused. Returns 0, or -1 with the reason; nothing
 * to do where the log is standard error. */
MS_MUST_CHECK int log_file_prepare(const struct config *config, struct failure *why);

#endif
