/* The lock that keeps a second master out of a runtime directory: an OFD lock on DIR/lock, which
 * the kernel drops when its last descriptor is closed, however the master died. Workers therefore
 * close theirs, so that one that still drains does not keep a new master out. */
#ifndef MASTER_LOCK_H
#define MASTER_LOCK_H

#include "master/failure.h"

#include <sys/types.h>

/* Takes the lock, on a file of mode 0640 and group gid unless that is (gid_t)-1, and writes this
 * process's id into the file. A holder that is about to die is waited for, at most 200 ms. Returns
 * the descriptor (the caller closes it to let go), or -1 with the reason: EX_TEMPFAIL and the
 * holder's pid where another has it. */
MS_MUST_CHECK int lock_take(const char *dir, gid_t gid, struct failure *why);

#endif
