/* A body on its way to its name: a file without a name, or, on file systems that have no such
 * files, under a temporary and locked name in the data directory. It gets its real name only when
 * it is whole. */
#ifndef HANDLER_JOURNAL_TEMP_FILE_H
#define HANDLER_JOURNAL_TEMP_FILE_H

#include "handler/journal/data_dir.h"
#include "handler/journal/ulid.h"

#define TEMP_NAME_LEN (sizeof(DATA_DIR_TEMP_PREFIX) + ULID_LEN)

/* Makes temporary files. One thread uses it at a time. */
struct temp_maker {
    const struct file_ops *ops;
    struct ulid_source ids;
};

struct temp_file {
    int fd;
    int name_fd;              /* the directory of name; borrowed */
    bool borrowed;            /* fd is someone else's */
    char name[TEMP_NAME_LEN]; /* "" where it has none */
};

#define TEMP_FILE_NONE ((struct temp_file){.fd = -1})

void temp_maker_init(struct temp_maker *maker, const struct file_ops *ops);

/* An empty file that can be linked beneath dir_fd; where a temporary name is needed, it is in
 * root_fd (-1: then it fails). Both must live as long as the file. Returns 0, or -1 with errno. */
MS_MUST_CHECK int
temp_file_create(struct temp_maker *maker, int dir_fd, int root_fd, struct temp_file *file_out);

/* A descriptor that stays the caller's, perhaps of a file that cannot be linked. */
struct temp_file temp_file_borrow(int fd);

/* Gives it the name, which must not exist. Returns 0, or -1 with errno; EXDEV and ENOENT mean that
 * it cannot be linked there and has to be copied. */
MS_MUST_CHECK int temp_file_link(struct temp_maker *maker, const struct temp_file *file, int dir_fd,
                                 const char *name);

/* The same, taking the place of whatever file has the name, atomically; by way of a temporary name
 * in root_fd, or in dir_fd where that is another file system. */
MS_MUST_CHECK int temp_file_replace(struct temp_maker *maker, const struct temp_file *file,
                                    int root_fd, int dir_fd, const char *name);

/* Copies the n bytes of a file to another, which is empty. Returns 0, or -1 with errno. */
MS_MUST_CHECK int
temp_file_copy(struct temp_maker *maker, int from, const struct temp_file *to, uint64_t n);

/* Removes the temporary name and closes. */
void temp_file_close(struct temp_file *file);

/* Takes the OFD write lock of a whole file without waiting. Returns 0, or -1 with errno: EAGAIN
 * where another has it. The lock lives as long as the open file. */
MS_MUST_CHECK int temp_file_lock(int fd);

#endif
