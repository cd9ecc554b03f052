/* Bodies that become files of their own, many at a time: all are written, all made safe, all get
 * their names, and then each directory is made safe once. */
#ifndef HANDLER_JOURNAL_STORE_H
#define HANDLER_JOURNAL_STORE_H

#include "handler/journal/sync_group.h"
#include "handler/journal/temp_file.h"
#include "handler/outcome.h"

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
