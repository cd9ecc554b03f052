/* File descriptors: EINTR and short writes are dealt with here and nowhere else. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include "common/base.h"

#include <dirent.h>
#include <sys/types.h>

/* Closes *fd unless it is -1, stores -1 there, and leaves errno as it was. */
void fd_close(int *fd);

/* Does the name in the directory, which is not followed where it is a link, stand for the open
 * file? */
bool fd_is_named(int fd, int dir_fd, const char *name);

/* readdir(3). At the end of the directory errno is 0. */
const struct dirent *fd_read_dir(DIR *dir);

/* Returns *fd and stores -1 there: ownership moves to the caller. */
int fd_steal(int *fd);

/* For every descriptor that is made in libmsock: where 0, 1 and 2 are closed in its host, none of
 * them may become ours, since the host prints there. Returns fd, or another one in its place; -1
 * with errno, also for -1. */
int fd_move_up(int fd);

static inline int
fd_above_standard(int fd)
{
    return fd < 0 || fd > 2 ? fd : fd_move_up(fd);
}

/* read(2), again after EINTR. Returns what read returns. */
ssize_t fd_read(int fd, void *buf, size_t n);

/* Writes all n bytes to a blocking descriptor. Returns 0, or -1 with errno (some bytes may be
 * out). */
MS_MUST_CHECK int fd_write_all(int fd, const void *buf, size_t n);

/* The same at an offset; the file position stays. Beyond the limit of a file's size it writes
 * nothing and fails with EFBIG, and the signal that the kernel has for it is not raised. */
MS_MUST_CHECK int fd_pwrite_all(int fd, const void *buf, size_t n, off_t offset);

/* Reads exactly n bytes at an offset. Returns 0, or -1 with errno (EIO where the file ends
 * before). */
MS_MUST_CHECK int fd_pread_all(int fd, void *buf, size_t n, off_t offset);

/* The same loops, again after EINTR, around functions in place of pread(2) and pwrite(2). */
typedef ssize_t (*fd_read_fn)(int fd, void *buf, size_t n, off_t offset);
typedef ssize_t (*fd_write_fn)(int fd, const void *buf, size_t n, off_t offset);
MS_MUST_CHECK int fd_read_by(fd_read_fn how, int fd, void *buf, size_t n, off_t offset);
MS_MUST_CHECK int fd_write_by(fd_write_fn how, int fd, const void *buf, size_t n, off_t offset);

/* Reads a whole regular file into a NUL-terminated heap string (caller frees); refuses more than
 * max bytes with EFBIG. Returns 0 and *data_out, *len_out, or -1 with errno. */
MS_MUST_CHECK int fd_read_file(const char *path, size_t max, char **data_out, size_t *len_out);

/* Opens /dev/null, for neither reading nor writing, where descriptor 0, 1 or 2 is closed: nothing
 * that is opened later becomes standard output by accident, and what is read or printed there
 * fails. */
void fd_fill_standard(void);

/* Sets O_NONBLOCK. Returns 0, or -1 with errno. */
MS_MUST_CHECK int fd_set_nonblock(int fd);

/* Wakes all who watch a non-blocking eventfd with EPOLLET, also where somebody has filled its
 * counter: nobody else reads it. */
void fd_ring_bell(int fd);

/* Can nothing come out of the socket any more, because one end of it was shut down? */
bool fd_is_shut(int fd);

/* A new file without a name, read-write: made in dir as prefix and six more characters, and
 * unlinked at once. Returns the descriptor, or -1 with errno. */
MS_MUST_CHECK int fd_open_unlinked(const char *dir, const char *prefix);

/* The same in $TMPDIR, or else /tmp. */
MS_MUST_CHECK int fd_open_scratch(void);
const char *fd_scratch_dir(void);

/* Raises the soft limit of open descriptors to the hard one. Returns the limit now in force. */
unsigned long fd_raise_limit(void);

/* --- runtime_dir.c --- */

/* Where msockd keeps its shared memory and its lock when no directory is named. msockd and msockctl
 * must agree, so the rule stands here once. */

/* $RUNTIME_DIRECTORY (the first one, where systemd names several), else $XDG_RUNTIME_DIR/msockd,
 * else /run/msockd for root, else /tmp/msockd-<uid>. Variables that hold no absolute path count as
 * unset. Heap string, caller frees. */
MS_MUST_CHECK char *runtime_dir_default(void);

/* The path of a file that belongs to the program that runs: beside it, also where that was replaced
 * meanwhile; else where such files are installed. */
#define PROGRAM_PART_LEN (4096 + 64)
void program_part(const char *name, char path_out[PROGRAM_PART_LEN]);

#endif
