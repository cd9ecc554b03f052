/* Memory that processes share: the master makes it, and a worker, which is executed anew, maps it
 * by its descriptor. Its size is sealed, so that reading it cannot fail. Memory that nobody has
 * touched costs nothing.
 *
 * Regions are such memory in parts of one size. A worker writes its own region and reads all
 * others. */
#ifndef COMMON_REGIONS_H
#define COMMON_REGIONS_H

#include "common/base.h"

/* Makes size bytes of zeros; name is for people who look into /proc. Returns their address, or NULL
 * with errno. */
MS_MUST_CHECK void *memory_create(const char *name, size_t size, int *fd_out);

/* Another descriptor of it, which can only read: what is mapped by it cannot become writable. -1
 * where /proc is not mounted. */
int memory_reader(int fd);

/* Maps memory that another process has made, read-write. NULL with errno. */
MS_MUST_CHECK void *memory_attach(int fd, size_t size);

struct regions {
    void *memory; /* all of them; in a worker only its own can be written */
    int fd;       /* read-write; -1: none */
    int read_fd;  /* the same memory read-only; -1: none, where /proc is not mounted */
    unsigned n;
    size_t size; /* bytes of a region: whole pages */
};

#define REGIONS_NONE ((struct regions){.fd = -1, .read_fd = -1})

/* Makes n regions. Returns 0, or -1 with errno. regions_close also takes what failed. */
MS_MUST_CHECK int regions_create(const char *name, unsigned n, size_t size, struct regions *out);
void regions_close(struct regions *r);

/* In a worker, where only the descriptors have come: maps all regions, and closes the descriptors,
 * so that no other region can become writable any more. Returns 0, or -1 with errno. */
MS_MUST_CHECK int regions_attach(struct regions *r, unsigned own);

/* In a master that was executed anew: maps all regions to be written, and keeps the descriptors.
 * Returns 0, or -1 with errno. */
MS_MUST_CHECK int regions_resume(struct regions *r);

/* The region of that number. */
static inline void *
regions_own(const struct regions *r, unsigned own)
{
    return (char *)r->memory + own * r->size;
}

#endif
