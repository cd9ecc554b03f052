/* The system calls that can fail on a disk and that a commit depends on, behind pointers: without
 * sync they do nothing where they would wait for the disk, and tests let them fail. */
#ifndef HANDLER_JOURNAL_FILE_OPS_H
#define HANDLER_JOURNAL_FILE_OPS_H

#include "common/base.h"

#include <stdbool.h>
#include <sys/types.h>

/* Each returns 0 (a descriptor where it opens something), or -1 with errno. */
struct file_ops {
    int (*write_all)(int fd, const void *data, size_t n);
    int (*sync_data)(int fd);        /* fdatasync */
    int (*sync_dir)(int fd);         /* fsync of a directory */
    void (*start_writeback)(int fd); /* begins what sync_data will wait for */
    int (*truncate)(int fd, off_t n);
    int (*open_unnamed)(
        int dir_fd); /* O_TMPFILE, read-write, 0640; EOPNOTSUPP where there is none */
    int (*link_fd)(int fd, int dir_fd, const char *name); /* gives a descriptor's file a name */
    /* openat2 beneath dir_fd, through no symbolic link; ENOSYS where there is none. */
    int (*open_beneath)(int dir_fd, const char *path, int flags);
    bool sync_at_once; /* many calls of sync_data may be made as one, by other means */
};

extern const struct file_ops file_ops_synced;
extern const struct file_ops file_ops_unsynced; /* the same, but waiting for no disk */

#endif
