/* The system calls on which a commit and a recovery depend, behind pointers: without sync some do
 * nothing where they would wait for the disk, and tests record them, or let each of them fail. */
#ifndef HANDLER_JOURNAL_FILE_OPS_H
#define HANDLER_JOURNAL_FILE_OPS_H

#include "common/base.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Each returns 0 (a descriptor where it opens something, a number of bytes where it reads or
 * writes), or -1 with errno. What is opened is closed on exec. */
struct file_ops {
    /* What changes the disk. */
    int (*create)(int dir_fd, const char *name);   /* a new file, read-write, 0640; else EEXIST */
    int (*make_dir)(int dir_fd, const char *name); /* 0750 */
    ssize_t (*write)(int fd, const void *data, size_t n, off_t at);
    int (*truncate)(int fd, off_t n);
    int (*set_mode)(int fd, mode_t mode);
    int (*link_fd)(int fd, int dir_fd, const char *name); /* gives a descriptor's file a name */
    int (*rename)(int from_fd, const char *from, int to_fd, const char *to, bool replace);
    int (*remove)(int dir_fd, const char *name);
    int (*remove_dir)(int dir_fd, const char *name); /* an empty one */
    int (*sync_data)(int fd);                        /* fdatasync */
    int (*sync_dir)(int fd);                         /* fsync of a directory */
    void (*start_writeback)(int fd);                 /* begins what sync_data will wait for */

    /* What looks at it. */
    int (*open)(int dir_fd, const char *name, int flags);
    /* Opens a path through no symbolic link and not above dir_fd: by openat2, or where there is
     * none by file_walk_beneath. */
    int (*open_beneath)(int dir_fd, const char *path, int flags);
    ssize_t (*read)(int fd, void *data, size_t n, off_t at);
    int (*status)(int fd, struct stat *out);
    int (*lock)(int fd); /* the OFD write lock of a whole file; EAGAIN where another has it */

    bool waits;        /* what sync_data says is true */
    bool sync_at_once; /* many calls of sync_data may be made as one, by other means */
};

extern const struct file_ops file_ops_synced;
extern const struct file_ops file_ops_unsynced; /* the same, but waiting for no disk */

/* Takes the first component of a path, and the slash behind it, which may be the end. Returns 0, or
 * -1 with errno where it is empty, ".", ".." or too long. */
MS_MUST_CHECK int file_next_component(const char **path, char name_out[NAME_MAX + 1]);

/* Opens a name of a directory, and follows no link: that is ELOOP, also with O_DIRECTORY. */
int file_open_component(const struct file_ops *ops, int dir_fd, const char *name, int flags);

/* What openat2 does in one call: each component is opened relative to the one before without
 * following a link, which cannot leave dir_fd either, since ".." is no component here. */
int file_walk_beneath(int dir_fd, const char *path, int flags);

/* Does anybody hold a lock of the file? Takes none. True where that cannot be told. */
bool file_is_locked(int fd);

/* Beside the lock of a whole file, its owner may mark an offset: what is written behind it is not
 * safe yet. A mark ends with the lock. Returns 0, or -1 with errno. */
MS_MUST_CHECK int file_mark(int fd, uint64_t at);
void file_unmark(int fd);

/* The mark that another descriptor has set, or UINT64_MAX. */
uint64_t file_marked(int fd);

#endif
