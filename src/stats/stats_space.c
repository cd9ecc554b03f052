/* Blocks of the sparse files are taken and given back through the descriptor, where a full disk is
 * an error that can be answered, and not through the mapping, where it is a signal. */
#include "stats/stats_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

int
stats_space_reserve(int fd, uint64_t offset, uint64_t len)
{
    int rc;

    do
        rc = fallocate(fd, 0, (off_t)offset, (off_t)len);
    while (rc < 0 && errno == EINTR);
    return rc < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) ? 0 : rc;
}

int
stats_space_release(int fd, uint64_t offset, uint64_t len)
{
    int rc;

    do
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
    while (rc < 0 && errno == EINTR);
    return rc;
}
