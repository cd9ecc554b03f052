/* Room in the sparse files. A store into a hole of a mapped file on a full file system kills with
 * SIGBUS, so whoever is about to touch a part of it for the first time reserves it before. */
#ifndef STATS_STATS_SPACE_H
#define STATS_STATS_SPACE_H

#include "common/base.h"

/* Gives [offset, offset + len) blocks of its own; bytes that were a hole read as 0. Returns 0 (also
 * where the file system cannot do this), or -1 with errno (ENOSPC, EDQUOT). */
MS_MUST_CHECK int stats_space_reserve(int fd, uint64_t offset, uint64_t len);

/* Makes [offset, offset + len) a hole again: it reads as 0 and takes no room. Returns 0, or -1 with
 * errno where the file system cannot do this; the bytes are then as they were. */
MS_MUST_CHECK int stats_space_release(int fd, uint64_t offset, uint64_t len);

#endif
