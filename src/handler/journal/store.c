/* The order is the promise: data safe under a temporary name, every directory on the way safe, then
 * the name, then its directory safe; only then may a line speak of it. Doing each step for a group
 * before the next one lets the disk work on all of them at once, and a file system commit its own
 * journal for many. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_GROUP SYNC_GROUP_MAX /* also bounds the descriptors in use */
#define STORE_BLOCK (256u << 10)

/* --- life --- */

int
store_init(struct store *store, enum on_conflict on_conflict, const struct data_dirs *dirs,
           struct dir_syncs *syncs)
{
    *store = (struct store){.on_conflict = on_conflict,
                            .ops = syncs->ops,
                            .dirs = dirs,
                            .syncs = syncs,
                            .parents_error = EIO};
    temp_maker_init(&store->maker, syncs->ops);
    sync_group_init(&store->group, syncs->ops);
    store->digester = digester_create();
    return store->digester != NULL ? 0 : -1;
}

void
store_fini(struct store *store)
{
    sync_group_fini(&store->group);
    digester_destroy(store->digester);
    store->digester = NULL;
    free(store->blobs);
    store->blobs = NULL;
}

const char *
store_name(const struct store_put *put, char out[STORE_NAME_LEN])
{
    if (put->blob)
        digest_hex(put->m->sha256, SHA256_LEN, out);
    else if (put->number == 0)
        snprintf(out, STORE_NAME_LEN, "%s", put->m->value);
    else
        snprintf(out, STORE_NAME_LEN, "%s.%u", put->m->value, put->number);
    return out;
}

uint64_t
store_place_of(const struct store_put *put)
{
    char text[STORE_NAME_LEN];
    const char *name = store_name(put, text);
    uint64_t above =
        put->blob ? dir_place(DIR_PLACE_ROOT, "blobs", 5) : dir_place(DIR_PLACE_ROOT, "files", 5);

    return dir_place(above, name, strlen(name));
}

/* --- content --- */

/* Reads the whole body from a file, copies it to another where to is not -1, and compares its
 * digest: the disk may have lost what was written, and a read brings back something else. Returns
 * 0, or -1 with errno; EBADMSG where the content is another one. */
static int
store_read_body(struct store *store, const struct message *m, int from, int to)
{
    struct sha256 *digest = sha256_begin(store->digester);
    char *block = malloc(STORE_BLOCK);
    uint8_t sha256[SHA256_LEN];
    int rc = block != NULL ? 0 : -1;

    for (uint64_t at = 0; at < m->size && rc == 0;) {
        size_t n = m->size - at < STORE_BLOCK ? (size_t)(m->size - at) : STORE_BLOCK;

        rc = fd_read_by(store->ops->read, from, block, n, (off_t)at);
        if (rc == 0 && to >= 0)
            rc = fd_write_by(store->ops->write, to, block, n, (off_t)at);
        if (rc == 0)
            sha256_update(digest, block, n);
        thread_give_way();
        at += n;
    }
    sha256_finish(digest, sha256);
    sha256_release(store->digester, digest);
    free(block);
    if (rc == 0 && memcmp(sha256, m->sha256, SHA256_LEN) != 0) {
        errno = EBADMSG;
        rc = -1;
    }
    return rc;
}

enum store_sameness
store_is_same(struct store *store, const struct store_put *put, const char *name)
{
    enum store_sameness is = STORE_UNREAD;
    int fd = store->ops->open(put->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return errno == ELOOP || errno == ENXIO || errno == ENOENT ? STORE_OTHER : STORE_UNREAD;
    if (store->ops->status(fd, &st) < 0)
        is = STORE_UNREAD;
    else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != put->m->size)
        is = STORE_OTHER;
    else if (store_read_body(store, put->m, fd, -1) < 0)
        is = errno == EBADMSG ? STORE_OTHER : STORE_UNREAD;
    else if (store->ops->sync_data(fd) == 0) /* whoever wrote it may not have come so far */
        is = STORE_SAME;
    fd_close(&fd);
    return is;
}

/* --- bodies --- */

/* Where a body gets its temporary name: in the data directory, or, where its part of it is another
 * file system, there. */
static int
store_temp_dir(const struct store *store, const struct store_put *put)
{
    int part = put->blob ? store->dirs->blobs : store->dirs->files;
    struct stat root_is, part_is;

    if (fstat(store->dirs->root, &root_is) < 0 || fstat(part, &part_is) < 0)
        return part;
    return root_is.st_dev == part_is.st_dev ? store->dirs->root : part;
}

static int
store_write_body(struct store *store, struct store_put *put)
{
    const struct message *m = put->m;
    int dir_fd = store_temp_dir(store, put);

    if (m->fd >= 0 && temp_file_adopt(&store->maker, m->fd, dir_fd, &put->temp) == 0)
        return 0;
    if (temp_file_create(&store->maker, dir_fd, &put->temp) < 0)
        return -1;
    if (m->fd >= 0)
        return store_read_body(store, m, m->fd, put->temp.fd);
    return fd_write_by(store->ops->write, put->temp.fd, m->mem, m->mem_len, 0);
}

static bool
store_goes_on(const struct store_put *put)
{
    return put->outcome.is == PROTO_COMMITTED && !put->stored;
}

static void
store_write(struct store *store, struct store_put *put)
{
    put->temp = TEMP_FILE_NONE;
    put->dir_fd = put->blob ? store->dirs->blobs : -1;
    put->dir_place = dir_place(DIR_PLACE_ROOT, "blobs", 5);
    if (!store_goes_on(put) || (put->blob && blob_store_has(store, put)))
        return;
    if (store_write_body(store, put) < 0)
        put->outcome = outcome_failed("the body cannot be written", errno);
    else
        store->ops->start_writeback(put->temp.fd);
}

static void
store_sync(struct store *store, struct store_put *puts, size_t count)
{
    struct store_put *under_way[STORE_GROUP];
    int fds[STORE_GROUP] = {-1}, errors[STORE_GROUP];
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (!store_goes_on(&puts[i]))
            continue;
        fds[n] = puts[i].temp.fd;
        under_way[n++] = &puts[i];
    }
    sync_group_run(&store->group, SYNC_DATA, fds, n, errors);
    for (size_t i = 0; i < n; i++)
        if (errors[i] != 0)
            under_way[i]->outcome = outcome_failed("the body cannot be made safe", errors[i]);
}

/* --- directories --- */

/* From the bottom up. A directory that we have made and whose name could not be made safe goes
 * again, unless somebody uses it: it will be made anew, and its name written again. */
static void
store_close_parents(struct store *store)
{
    while (store->parent_count > 0) {
        struct store_parent *p = &store->parents[--store->parent_count];

        if ((p->error != 0 || p->unnamed) && p->made[0] != '\0')
            (void)store->ops->remove_dir(p->parent.fd, p->made);
        fd_close(&p->parent.fd);
        fd_close(&p->dir.fd);
    }
}

/* From the top down: what is beneath a directory without a safe name has none either. */
static void
store_judge_parents(struct store *store, const struct dir_group *dirs)
{
    for (size_t i = 0; i < store->parent_count; i++) {
        struct store_parent *p = &store->parents[i];

        p->error = dirs->errors[p->sync];
        if (p->error != 0)
            store->parents_error = p->error;
        else if (dir_is_named(store->syncs, p->parent.fd, p->parent.place))
            dir_set_named(store->syncs, p->dir.fd, p->dir.place);
        else
            p->unnamed = true;
    }
}

static void
store_sync_parents(struct store *store)
{
    struct dir_group dirs = {.count = 0};

    for (size_t i = 0; i < store->parent_count; i++)
        store->parents[i].sync = dir_group_add(&dirs, store->parents[i].parent.fd);
    dir_group_run(&dirs, store->syncs, &store->group);
    store_judge_parents(store, &dirs);
    store_close_parents(store);
}

/* What is known of one that was just made is of another that had its inode before. */
static bool
store_knows(struct store *store, const struct store_dir *dir, bool made)
{
    if (!made)
        return dir_is_named(store->syncs, dir->fd, dir->place);
    dir_set_named(store->syncs, dir->fd, 0);
    return false;
}

int
store_parent(struct store *store, const struct store_dir *parent, const struct store_dir *dir,
             const char *name, bool made)
{
    struct store_parent p = {.parent = *parent, .dir = *dir};

    if (store_knows(store, dir, made))
        return 0;
    if (dir_check(store->syncs, parent->fd) < 0)
        return -1;
    if (store->parent_count == STORE_PARENTS_MAX)
        store_sync_parents(store);
    p.parent.fd = fcntl(parent->fd, F_DUPFD_CLOEXEC, 0);
    p.dir.fd = fcntl(dir->fd, F_DUPFD_CLOEXEC, 0);
    if (made)
        snprintf(p.made, sizeof(p.made), "%s", name);
    if (p.parent.fd < 0 || p.dir.fd < 0) {
        fd_close(&p.parent.fd);
        fd_close(&p.dir.fd);
        return -1;
    }
    store->parents[store->parent_count++] = p;
    return 0;
}

/* Makes the names of directories safe, and fails the puts that wanted one which could not be. */
static void
store_make_named(struct store *store, struct store_put *puts, size_t count)
{
    int error;

    store_sync_parents(store);
    for (size_t i = 0; i < count; i++) {
        if (puts[i].outcome.is != PROTO_COMMITTED || puts[i].named)
            continue;
        puts[i].named = dir_is_named(store->syncs, puts[i].dir_fd, puts[i].dir_place);
        error = !puts[i].named                                ? store->parents_error
                : dir_check(store->syncs, puts[i].dir_fd) < 0 ? errno
                                                              : 0;
        if (error != 0)
            puts[i].outcome = outcome_failed("a directory of its path cannot be made safe", error);
    }
}

static void
store_open_dirs(struct store *store, struct store_put *puts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!puts[i].blob && store_goes_on(&puts[i]))
            file_store_open(store, &puts[i]);
        if (store->parent_count > STORE_PARENTS_MAX / 2)
            store_make_named(store, puts, i + 1);
    }
    store_make_named(store, puts, count);
}

/* --- names --- */

/* Puts a safe copy, in the directory that is to have the name, in the place of the temporary file.
 * Returns 0, or -1 with errno. */
static int
store_copy(struct store *store, struct store_put *put)
{
    struct temp_file copy = TEMP_FILE_NONE;

    if (temp_file_create(&store->maker, put->dir_fd, &copy) < 0)
        return -1;
    if (store_read_body(store, put->m, put->temp.fd, copy.fd) < 0 ||
        store->ops->sync_data(copy.fd) < 0) {
        temp_file_close(&store->maker, &copy);
        return -1;
    }
    temp_file_close(&store->maker, &put->temp);
    put->temp = copy;
    return 0;
}

int
store_rename(struct store *store, struct store_put *put, const char *name, bool replace)
{
    if (temp_file_rename(&store->maker, &put->temp, put->dir_fd, name, replace) == 0)
        return 0;
    if (errno != EXDEV || store_copy(store, put) < 0)
        return -1;
    return temp_file_rename(&store->maker, &put->temp, put->dir_fd, name, replace);
}

static void
store_place(struct store *store, struct store_put *put)
{
    if (!store_goes_on(put))
        return;
    if (put->blob)
        blob_store_place(store, put);
    else
        file_store_place(store, put);
}

/* The directories in which names are new. What has got its name stays: another sender may rely on
 * it by now. */
static void
store_sync_dirs(struct store *store, struct store_put *puts, size_t count)
{
    struct dir_group dirs = {.count = 0};
    size_t sync[STORE_GROUP];

    for (size_t i = 0; i < count; i++)
        if (puts[i].stored)
            sync[i] = dir_group_add(&dirs, puts[i].dir_fd);
    dir_group_run(&dirs, store->syncs, &store->group);
    for (size_t i = 0; i < count; i++)
        if (puts[i].stored && dirs.errors[sync[i]] != 0)
            puts[i].outcome =
                outcome_named_failed("the directory cannot be made safe", dirs.errors[sync[i]]);
}

static void
store_run_group(struct store *store, struct store_put *puts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        store_write(store, &puts[i]);
    store_sync(store, puts, count);
    store_open_dirs(store, puts, count);
    for (size_t i = 0; i < count; i++)
        store_place(store, &puts[i]);
    store_sync_dirs(store, puts, count);
    for (size_t i = 0; i < count; i++) {
        temp_file_close(&store->maker, &puts[i].temp);
        if (!puts[i].blob)
            fd_close(&puts[i].dir_fd);
    }
}

void
store_run(struct store *store, struct store_put *puts, size_t count)
{
    for (size_t at = 0; at < count; at += STORE_GROUP) {
        size_t n = count - at < STORE_GROUP ? count - at : STORE_GROUP;

        store_run_group(store, puts + at, n);
    }
}

void
store_check(const struct store *store, struct store_put *puts, size_t count)
{
    char name[STORE_NAME_LEN];
    struct stat st;

    for (size_t i = 0; i < count; i++)
        if (puts[i].found && puts[i].outcome.is == PROTO_COMMITTED &&
            fstatat(puts[i].blob ? store->dirs->blobs : store->dirs->files,
                    store_name(&puts[i], name), &st, AT_SYMLINK_NOFOLLOW) < 0)
            puts[i].outcome =
                outcome_named_failed("the body was there and has been taken away", errno);
}
