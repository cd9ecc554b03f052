/* Reading and summing what is to be sent, in bites that fit between two looks at the socket. */
#include "client/source.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void
source_memory(struct source *source_out, const void *data, size_t n)
{
    source_out->data = n > 0 ? data : (const void *)"";
    source_out->fd = -1;
    source_out->size = n;
}

int
source_open(struct source *source_out, const char *path)
{
    int rc = -1;
    struct stat st;
    /* O_NONBLOCK: a FIFO would otherwise hold the caller until somebody writes to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0)
        goto out;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : ENXIO;
        goto out;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    source_out->data = NULL;
    source_out->size = (uint64_t)st.st_size;
    source_out->fd = fd_steal(&fd);
    rc = 0;
out:
    fd_close(&fd);
    return rc;
}

void
source_close(struct source *source)
{
    fd_close(&source->fd);
}

int
source_unchanged(const struct source *source)
{
    struct stat st;
    char byte;
    ssize_t n;

    if (source->fd < 0)
        return 0;
    if (fstat(source->fd, &st) < 0)
        return -1;
    /* Some files of /proc say that they are empty and are not: reading tells. */
    do {
        n = pread(source->fd, &byte, 1, (off_t)source->size);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -1;
    if (n == 0 && (uint64_t)st.st_size == source->size)
        return 0;
    errno = EBUSY;
    return -1;
}

int
source_read(const struct source *source, uint8_t **data_out)
{
    uint8_t *data = malloc(source->size > 0 ? source->size : 1);
    int rc;

    if (data == NULL)
        return -1;
    rc = fd_pread_all(source->fd, data, source->size, 0);
    if (rc == 0 || errno == EIO) /* EIO also where it ends before */
        rc |= source_unchanged(source);
    if (rc == 0)
        *data_out = data;
    else
        free(data);
    return rc;
}

void
chunk_fini(struct chunk *c)
{
    free(c->memory);
    *c = (struct chunk){0};
}

static int
chunk_grow(struct chunk *c, const struct source *source, size_t want)
{
    uint8_t *memory;

    if (source->data != NULL) {
        c->data = source->data + c->offset;
        return 0;
    }
    if (want > c->capacity) {
        memory = realloc(c->memory, want);
        if (memory == NULL)
            return -1;
        c->memory = memory;
        c->capacity = want;
    }
    c->data = c->memory;
    return 0;
}

int
chunk_begin(struct chunk *c, const struct source *source, uint64_t offset, size_t want)
{
    MS_ASSERT(offset <= source->size && want <= source->size - offset);
    c->offset = offset;
    c->want = want;
    c->len = 0;
    c->crc = 0;
    return chunk_grow(c, source, want);
}

int
chunk_more(struct chunk *c, const struct source *source)
{
    size_t n = c->want - c->len;

    if (n == 0)
        return 1;
    if (n > SOURCE_BITE)
        n = SOURCE_BITE;
    if (source->fd >= 0 &&
        fd_pread_all(source->fd, c->memory + c->len, n, (off_t)(c->offset + c->len)) < 0) {
        int error = errno;

        errno = error == EIO && source_unchanged(source) < 0 ? EBUSY : error;
        return -1;
    }
    c->crc = digest_crc32(c->crc, c->data + c->len, n);
    c->len += n;
    return c->len == c->want;
}

int
chunk_resize(struct chunk *c, const struct source *source, size_t want)
{
    MS_ASSERT(want <= source->size - c->offset);
    if (want < c->len) {
        c->len = want;
        c->crc = digest_crc32(0, c->data, want);
    }
    c->want = want;
    return chunk_grow(c, source, want);
}

int
source_digest(const struct source *source, struct digester *dg, uint8_t out[SHA256_LEN])
{
    struct chunk c = {0};
    struct sha256 *sha = sha256_begin(dg);
    uint64_t done = 0;
    int rc = -1;

    while (done < source->size) {
        uint64_t left = source->size - done;

        if (chunk_begin(&c, source, done, left < SOURCE_BITE ? (size_t)left : SOURCE_BITE) < 0 ||
            chunk_more(&c, source) < 0)
            goto out;
        sha256_update(sha, c.data, c.len);
        done += c.len;
    }
    sha256_finish(sha, out);
    rc = 0;
out:
    sha256_release(dg, sha);
    chunk_fini(&c);
    return rc;
}
