/* Directories named by a sender, opened beneath a directory of ours and never anywhere else,
 * whatever symbolic links stand in the way and whoever renames directories meanwhile. */
#ifndef HANDLER_JOURNAL_BENEATH_H
#define HANDLER_JOURNAL_BENEATH_H

#include "handler/journal/file_ops.h"

/* Called with each directory in which another one was created, and which therefore has to be
 * synced. The descriptor is valid during the call. Returns 0, or -1 with errno to give up. */
typedef int (*beneath_created_fn)(void *arg, int parent_fd);

/* Opens the directory `path` ("" for root_fd itself), creating what is missing (0750). Returns its
 * descriptor, or -1 with errno: ELOOP or ENOTDIR where a symbolic link or something else that is no
 * directory is in the way. */
int beneath_open_dir(const struct file_ops *ops, int root_fd, const char *path,
                     beneath_created_fn created, void *arg);

/* Opens a regular file's name in an open directory for reading; follows no link and waits for no
 * FIFO. Returns its descriptor, or -1 with errno. */
int beneath_open_file(int dir_fd, const char *name);

#endif
