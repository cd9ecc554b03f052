/* A file that is to be sent. What has no size beforehand (a pipe, a file of /proc) is read to its
 * end into an unnamed file first. Invariant: a file's bytes are read, never mapped, since a file
 * that shrinks would then raise SIGBUS in the host program. */
#ifndef CLIENT_SOURCE_H
#define CLIENT_SOURCE_H

#include "common/base.h"
#include "proto/outgoing.h"

struct source {
    int fd;
    uint64_t size; /* bytes; must hold until the end */
};

/* Opens a file, or waits for whoever writes to a FIFO and reads that to its end. Returns 0, or -1
 * with errno (EISDIR; ENXIO for a device). */
MS_MUST_CHECK int source_open(struct source *source_out, const char *path);

/* The same of an open descriptor, which stays the caller's, from where it stands. */
MS_MUST_CHECK int source_take(struct source *source_out, int fd);
void source_close(struct source *source);

/* Lets out read from the source. */
void source_attach(struct source *source, struct outgoing *out);

/* All bytes in memory of their own (free). Returns 0, or -1 with errno (EBUSY: the size has changed
 * meanwhile). */
MS_MUST_CHECK int source_read(struct source *source, uint8_t **data_out);

#endif
