/* Memory that the workers share, in regions of one size. A worker writes its own region and reads
 * all others: the master maps everything before it seals the memory against writers, and each
 * worker keeps only its own part of that mapping. The size is sealed too, so that reading another
 * worker's region cannot fail. Memory that nobody has touched costs nothing. */
#ifndef COMMON_REGIONS_H
#define COMMON_REGIONS_H

#include "common/base.h"

struct regions {
    void *memory; /* all of them, read-write; a worker keeps its own region only */
    int fd;       /* can be mapped read-only, and not otherwise; -1: none */
    unsigned n;
    size_t size; /* bytes of a region: whole pages */
};

/* Makes n regions of zeros; name is for people who look into /proc. Returns 0, or -1 with errno.
 * regions_close also takes what failed. */
MS_MUST_CHECK int regions_create(const char *name, unsigned n, size_t size, struct regions *out);
void regions_close(struct regions *r);

/* In a worker: unmaps all but its own region. */
void regions_keep(const struct regions *r, unsigned own);

/* The region of that number, to be written. */
static inline void *
regions_own(const struct regions *r, unsigned own)
{
    return (char *)r->memory + own * r->size;
}

/* Maps all of them for reading. NULL with errno. */
MS_MUST_CHECK const void *regions_map(const struct regions *r);
void regions_unmap(const struct regions *r, const void *map);

#endif
