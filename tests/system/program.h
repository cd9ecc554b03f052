/* The file of a daemon's program, which an upgrade replaces. One of a test at a time. */
#ifndef SYSTEM_PROGRAM_H
#define SYSTEM_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

/* A copy of the msockd that was built, in a directory of its own: its path, for daemon_options.
 * Static. */
const char *program_begin(void);

/* Puts n bytes in its place, as a package manager does: under another name first. */
void program_put(const void *bytes, size_t n, mode_t mode);

/* The one that was built, and its bytes. Caller frees. */
void program_put_good(void);
char *program_read_good(size_t *n_out);

/* The next version, with another option "next", and counters: see tests/next_version.sh. */
void program_put_next(void);

/* The one that was built with other bytes, as many, everywhere. */
void program_put_changed(const char *from, const char *to);

/* The same with another number in front of what a master inherits. */
void program_put_other_layout(void);

/* A bad one, of another kind for each number: it ends, crashes, hangs, is none, does not fit, lacks
 * a library, or is not there. */
#define PROGRAM_BAD_KINDS 7
void program_put_bad(unsigned number);

#endif
