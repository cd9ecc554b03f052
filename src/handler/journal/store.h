/* Bodies that become files of their own, many at a time: all are written, all made safe, all get
 * their names, and then each directory is made safe once. */
#ifndef HANDLER_JOURNAL_STORE_H
#define HANDLER_JOURNAL_STORE_H

#include "common/base.h"
#include "handler/journal/data_dir.h"
#include "handler/outcome.h"

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <sys/types.h>

/* --- ulid.c --- */

/* ULIDs: 48 bits of milliseconds and 80 random bits as 26 characters that sort like the time. A
 * generator never gives the same or a smaller one again, also where the clock is set back. */

#define ULID_LEN 26 /* without NUL */

/* One thread uses it at a time. */
struct ulid_source {
    uint64_t ms;              /* of the last one */
    uint16_t high;            /* the random bits of the last one: 16 */
    uint64_t low;             /* and 64 */
    char text[ULID_LEN];      /* the last one; its first ten characters are those of ms */
    unsigned char pool[1000]; /* random bytes, fetched many at a time */
    size_t pool_left;
    /* Fills n random bytes; NULL: getrandom(2). Tests set another. */
    void (*random)(void *out, size_t n);
};

void ulid_init(struct ulid_source *source);

/* The next one for the time real_us (microseconds since 1970), or just above the last one where
 * that is of the same millisecond or later. Writes ULID_LEN characters and no NUL. */
void ulid_next(struct ulid_source *source, uint64_t real_us, char out[ULID_LEN]);

/* --- beneath.c --- */

/* Directories named by a sender, opened beneath a directory of ours and never anywhere else,
 * whatever symbolic links stand in the way and whoever renames directories meanwhile. */

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

/* --- temp_file.c --- */

/* A body on its way to its name: a file without a name, or, on file systems that have no such
 * files, under a temporary and locked name in the data directory. It gets its real name only when
 * it is whole. */

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

/* --- sync_group.c --- */

/* Many files made safe at once. One fdatasync after the other makes the disk flush its cache for
 * each of them; given to the kernel together they share flushes. */

#define SYNC_GROUP_MAX 64

/* One thread uses it at a time. */
struct sync_group {
    const struct file_ops *ops;
    aio_context_t context;
    bool open;     /* context is there */
    bool hopeless; /* this kernel, or a filter, has no such calls: one after the other */
};

void sync_group_init(struct sync_group *group, const struct file_ops *ops);
void sync_group_fini(struct sync_group *group);

/* Syncs the data of at most SYNC_GROUP_MAX files and waits for all. errors_out gets an errno or 0
 * for each. */
void sync_group_run(struct sync_group *group, const int *fds, size_t count, int *errors_out);

/* One body to be stored. */
struct store_put {
    struct message *m;      /* only read */
    struct outcome outcome; /* how it ended; meaningful after store_run */
    bool blob;              /* under blobs/<sha256>, else under files/ and its path */
    bool stored;            /* it has its name already */
    bool duplicate;         /* a file of this path and content was there already */
    unsigned number;        /* of "path.<number>"; 0: the path itself */
    struct temp_file temp;  /* while it is under way */
};

#define STORE_DIRS_MAX 64

struct store_dir {
    int fd;
    dev_t device;
    ino_t inode;
};

/* One thread uses it at a time. */
struct store {
    enum on_conflict on_conflict;
    const struct file_ops *ops;
    const struct data_dirs *dirs; /* borrowed; open during store_run */
    struct temp_maker maker;
    struct sync_group syncs;
    struct digester *digester;                /* of its own: it may run beside the worker */
    struct store_dir changed[STORE_DIRS_MAX]; /* directories to be made safe */
    size_t changed_count;
    int changed_error; /* errno of the first that could not be, within a group */
};

/* Returns 0, or -1 with errno. */
MS_MUST_CHECK int store_init(struct store *store, enum on_conflict on_conflict,
                             const struct data_dirs *dirs, const struct file_ops *ops);
void store_fini(struct store *store);

/* Stores all; each has its own outcome. What could not be made safe may still have got its name:
 * another sender may rely on it by now, so it is not taken away again. */
void store_run(struct store *store, struct store_put *puts, size_t count);

#define STORE_NAME_LEN 2304

/* The name under files/ or blobs/ that it has got, NUL-terminated. Returns out. */
const char *store_name(const struct store_put *put, char out[STORE_NAME_LEN]);

/* --- for file_store.c and blob_store.c --- */

/* Notes a directory in which a name is new. Returns 0, or -1 with errno. */
MS_MUST_CHECK int store_changed(struct store *store, int dir_fd);

/* As temp_file_link and temp_file_replace, with a safe copy where the file itself cannot be linked
 * into dir_fd. */
MS_MUST_CHECK int
store_link(struct store *store, struct store_put *put, int dir_fd, const char *name);
MS_MUST_CHECK int
store_replace(struct store *store, struct store_put *put, int dir_fd, const char *name);

/* Each gives the put its name and sets its outcome. */
void file_store_link(struct store *store, struct store_put *put);
void blob_store_link(struct store *store, struct store_put *put);

/* True where the blob is there already, and its body need not be written. */
bool blob_store_has(struct store *store, struct store_put *put);

#endif
