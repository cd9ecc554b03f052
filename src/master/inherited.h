/* What a master leaves to the program that it executes in its own place: a file in memory, in which
 * structs stand as they stand in memory, and descriptors, which keep their numbers. First in it
 * stands what both programs must have alike. */
#ifndef MASTER_INHERITED_H
#define MASTER_INHERITED_H

#include "common/environment.h"
#include "master/state.h"

#include <limits.h>

struct inherited {
    struct master master;
    uint32_t packet; /* handover_meaning of no listener */
    struct log_place log;
    struct environment_left environment;
    struct dedup_place dedup;
    struct sources_place sources;
    bool has_cwd;
    char cwd[PATH_MAX];
    uint32_t generations, retired;
};

/* All but the file. */
void inherited_fill(const struct master *m, struct inherited *in);

/* Whether descriptors live over an exec: one, those that a trial needs (no lock, no port, and
 * nothing that hides the master's death), and all. Return 0, or less with errno. */
int inherited_keep_one(int fd, bool keep);
int inherited_keep_memory(const struct inherited *in, bool keep);
int inherited_keep(const struct inherited *in, bool keep);

/* Returns the file, which lives over an exec, or -1 with errno. */
int inherited_write(const struct master *m, const struct inherited *in);

/* Reads it, and maps the memory that it tells of. Returns NULL, or what is wrong (static): the
 * program that wrote it may be of another version. */
const char *inherited_read(int fd, struct inherited *in);

#endif
