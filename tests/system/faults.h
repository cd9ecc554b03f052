/* Switches the faults of tests/preload/faults.c on and off while the daemon runs. */
#ifndef SYSTEM_FAULTS_H
#define SYSTEM_FAULTS_H

#include "daemon.h"

/* Skips the test where a library cannot be preloaded: the sanitizers' runtime must come first. */
void faults_need(void);

/* From now on these rules hold, one a line:
 *     CALL ACTION WHERE EVERY
 * CALL: write (and its family), sync (fsync and fdatasync), syncdir (fsync of a directory), lock
 *     (an OFD lock is taken), link (linkat), rename, noreplace (renameat2 with a flag), mode
 *     (fchmod), fallocate, close, fork, alarm (a new program begins as the master).
 * ACTION: an errno's name (EIO, ENOSPC, EDQUOT, EINVAL, EPERM, EOPNOTSUPP, ENOLCK), short (half of
 *     it is written), abort, exit, hang, hold (until the rules are other ones, then it is done as
 *     usual), delay-N (the same after N milliseconds), delay-N-EIO (then it fails so).
 * WHERE: a part of the path of the file, "-" for any. EVERY: each nth such call of a process.
 * An empty text switches all off. */
void faults_set(const struct daemon *d, const char *rules);

/* How often rules have struck since the daemon was created, over all its processes. */
uint64_t faults_struck(const struct daemon *d);

#endif
