/* The data directory: journal/, files/, blobs/ and temporary files on their way into them. */
#ifndef HANDLER_JOURNAL_DATA_DIR_H
#define HANDLER_JOURNAL_DATA_DIR_H

#include "config/config.h"

#include <sys/types.h>

/* --- file_ops.c --- */

/* The system calls that can fail on a disk and that a commit depends on, behind pointers: without
 * sync they do nothing where they would wait for the disk, and tests let them fail. */

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

/* Creates what is missing (0750; given to config->uid and gid where the master is root and these
 * are set) and checks that the workers will be able to write there. The data directory may be a
 * symbolic link, but none of its parts: they are the workers' to replace. In the master, before the
 * fork. Returns 0, or -1 with a sentence in error that names the directory and the reason. */
MS_MUST_CHECK int data_dir_prepare(const struct config *config, char error[CONFIG_ERROR_LEN]);

/* A new unlinked file, read-write, on the file system of files/, so that it can be linked there.
 * Returns its descriptor, or -1 with errno. */
int data_dir_spill_open(const struct config *config);

/* Names in the data directory itself that are on their way somewhere else begin with this. Their
 * user holds an OFD write lock on them; a name without a lock is a leftover of a crash. */
#define DATA_DIR_TEMP_PREFIX ".msockd-"

/* The directories, open. All are -1 or none. */
struct data_dirs {
    int root, journal, files, blobs;
    uint64_t opened; /* rises whenever one of them was opened: files open beneath may be gone */
};

#define DATA_DIRS_CLOSED ((struct data_dirs){-1, -1, -1, -1, 0})

/* Opens all, and creates journal/, files/ and blobs/ where they are gone; never the data directory
 * itself, which may be a file system that is not mounted now. Cheap if they are open and still have
 * these names. Returns 0, or -1 with errno and all of them closed. */
MS_MUST_CHECK int
data_dirs_open(struct data_dirs *dirs, const char *data_dir, const struct file_ops *ops);
void data_dirs_close(struct data_dirs *dirs);

#endif
