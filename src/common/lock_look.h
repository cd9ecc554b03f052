/* Finds the processes that hold a lock. The kernel tells it of those only that we may look at. */
#ifndef COMMON_LOCK_LOOK_H
#define COMMON_LOCK_LOOK_H

#include "common/base.h"

#include <limits.h>
#include <sys/types.h>

/* A lock, of whatever kind, that a process holds. */
struct lock_seen {
    long pid;
    char path[PATH_MAX]; /* of the file now, with " (deleted)" behind it where it has none */
};

struct stat;
typedef bool (*lock_seen_fn)(void *arg, const struct lock_seen *seen);

/* Calls fn for the locks of all processes that we may look at, those on this file or (NULL) on any
 * directory, until it returns true. Returns whether it did. */
bool lock_look(const struct stat *file, lock_seen_fn fn, void *arg);

/* Is this a process of that user ((uid_t)-1: of any) and name? */
bool process_is(long pid, uid_t uid, const char *name);

#endif
