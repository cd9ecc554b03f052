/* Many files, or directories, made safe at once. One fdatasync after the other makes the disk flush
 * its cache for each of them; given to the kernel together they share flushes. */
#ifndef HANDLER_JOURNAL_SYNC_GROUP_H
#define HANDLER_JOURNAL_SYNC_GROUP_H

#include "handler/journal/file_ops.h"

#include <linux/aio_abi.h>

#define SYNC_GROUP_MAX 64

/* One thread uses it at a time. */
struct sync_group {
    const struct file_ops *ops;
    aio_context_t context;
    bool open;     /* context is there */
    bool hopeless; /* this kernel, or a filter, has no such calls: one after the other */
};

enum sync_what {
    SYNC_DATA, /* files: fdatasync */
    SYNC_DIRS, /* directories: fsync, since fdatasync may leave out a name that is new */
};

void sync_group_init(struct sync_group *group, const struct file_ops *ops);
void sync_group_fini(struct sync_group *group);

/* Syncs at most SYNC_GROUP_MAX of them and waits for all. errors_out gets an errno or 0 for each.
 */
void sync_group_run(struct sync_group *group, enum sync_what what, const int *fds, size_t count,
                    int *errors_out);

#endif
