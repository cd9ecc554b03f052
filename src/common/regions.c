/* The mapping that was made before the seal stays writable, and there can be no other one. */
#include "common/regions.h"

#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Without the seal against writers, which kernels before 5.1 do not have, workers get a descriptor
 * that can only read. */
static int
regions_reopen(struct regions *r)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
    fd = fchmod(r->fd, 0400) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    fd_close(&r->fd);
    r->fd = fd;
    return 0;
}

/* The mapping stays writable, and there can be no other one. */
static int
regions_seal(struct regions *r)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    if (fcntl(r->fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) == 0)
        return 0;
    return fcntl(r->fd, F_ADD_SEALS, seals) < 0 ? -1 : regions_reopen(r);
}

int
regions_create(const char *name, unsigned n, size_t size, struct regions *out)
{
    const size_t len = n * size;
    void *map;

    *out = (struct regions){.fd = kernel_memory_file(name), .n = n, .size = size};
    if (out->fd < 0 || ftruncate(out->fd, (off_t)len) < 0)
        return -1;
    map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
    if (map == MAP_FAILED)
        return -1;
    out->memory = map;
    return regions_seal(out);
}

void
regions_close(struct regions *r)
{
    int saved = errno;

    if (r->memory != NULL)
        munmap(r->memory, r->n * r->size);
    r->memory = NULL;
    fd_close(&r->fd);
    errno = saved;
}

void
regions_keep(const struct regions *r, unsigned own)
{
    char *memory = r->memory;

    if (own > 0)
        munmap(memory, own * r->size);
    if (own + 1 < r->n)
        munmap(memory + (own + 1) * r->size, (r->n - own - 1) * r->size);
}

const void *
regions_map(const struct regions *r)
{
    void *map;

    if (r->fd < 0)
        return r->memory;
    map = mmap(NULL, r->n * r->size, PROT_READ, MAP_SHARED, r->fd, 0);
    return map != MAP_FAILED ? map : NULL;
}

void
regions_unmap(const struct regions *r, const void *map)
{
    if (map != r->memory)
        munmap((void *)(uintptr_t)map, r->n * r->size);
}
