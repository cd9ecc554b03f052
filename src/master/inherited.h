/* What a master leaves to the program that it executes in its own place: a file in memory, in which
 * structs stand as they stand in memory, and descriptors, which keep their numbers. */
#ifndef MASTER_INHERITED_H
#define MASTER_INHERITED_H

#include "common/environment.h"
#include "master/state.h"

#include <limits.h>

/* What must be the same on both sides stands first: see inherited.c. */
#define INHERITED_LAYOUT 13

struct inherited {
    uint64_t layout[INHERITED_LAYOUT];
    uint64_t packet; /* child_packet_size */
    struct master master;
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

/* Reads it, and maps the memory that it tells of. Returns NULL, or what is wrong (static). */
const char *inherited_read(int fd, struct inherited *in);

#endif
