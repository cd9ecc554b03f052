/* What is mapped by a descriptor that can only read cannot become writable by mprotect. */
#include "common/regions.h"

#include "common/fd.h"
#include "common/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void *
memory_attach(int fd, size_t size)
{
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    return map != MAP_FAILED ? map : NULL;
}

void *
memory_create(const char *name, size_t size, int *fd_out)
{
    int fd = kernel_memory_file(name);
    void *map = NULL;

    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        map = memory_attach(fd, size);
    if (map != NULL)
        *fd_out = fd_steal(&fd);
    fd_close(&fd);
    return map;
}

int
memory_reader(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int
regions_create(const char *name, unsigned n, size_t size, struct regions *out)
{
    *out = (struct regions){.fd = -1, .read_fd = -1, .n = n, .size = size};
    out->memory = memory_create(name, n * size, &out->fd);
    if (out->memory == NULL)
        return -1;
    out->read_fd = memory_reader(out->fd);
    return 0;
}

void
regions_close(struct regions *r)
{
    int saved = errno;

    if (r->memory != NULL)
        munmap(r->memory, r->n * r->size);
    r->memory = NULL;
    fd_close(&r->fd);
    fd_close(&r->read_fd);
    errno = saved;
}

int
regions_resume(struct regions *r)
{
    r->memory = memory_attach(r->fd, r->n * r->size);
    return r->memory != NULL ? 0 : -1;
}

int
regions_attach(struct regions *r, unsigned own)
{
    int rc = -1;
    int read_fd = r->read_fd >= 0 ? r->read_fd : r->fd;
    off_t at = (off_t)(own * r->size);
    void *map = mmap(NULL, r->n * r->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, read_fd, 0);

    if (map == MAP_FAILED)
        goto out;
    r->memory = map;
    if (mmap((char *)map + at, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd,
             at) == MAP_FAILED)
        goto out;
    rc = 0;
out:
    fd_close(&r->fd);
    fd_close(&r->read_fd);
    return rc;
}
