/* The order is the promise: data safe, then the name, then the directory safe; only then may a line
 * speak of it. Doing each step for a group before the next one lets the disk work on all of them at
 * once, and a file system commit its own journal for many. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- sync group --- */

/* Linux's own asynchronous I/O knows fdatasync (since 4.18) and runs each in a thread of the
 * kernel's. Whatever it does not take is done here, one after the other. */

void
sync_group_init(struct sync_group *group, const struct file_ops *ops)
{
    *group = (struct sync_group){.ops = ops};
}

void
sync_group_fini(struct sync_group *group)
{
    if (group->open)
        syscall(SYS_io_destroy, group->context);
    group->open = false;
}

/* Set up by the first use: a worker without files needs none. */
static bool
sync_group_usable(struct sync_group *group)
{
    if (!group->ops->sync_at_once || group->hopeless)
        return false;
    if (!group->open) {
        group->context = 0;
        group->open = syscall(SYS_io_setup, SYNC_GROUP_MAX, &group->context) == 0;
        group->hopeless = !group->open;
    }
    return group->open;
}

static void
sync_group_one(struct sync_group *group, int fd, int *error_out)
{
    *error_out = group->ops->sync_data(fd) < 0 ? errno : 0;
}

/* Gives as many as are taken to the kernel. Returns their number: the first so many. */
static size_t
sync_group_submit(struct sync_group *group, struct iocb *blocks, const int *fds, size_t count)
{
    struct iocb *pointers[SYNC_GROUP_MAX];
    long taken;

    for (size_t i = 0; i < count; i++) {
        blocks[i] = (struct iocb){
            .aio_data = i, .aio_fildes = (uint32_t)fds[i], .aio_lio_opcode = IOCB_CMD_FDSYNC};
        pointers[i] = &blocks[i];
    }
    taken = syscall(SYS_io_submit, group->context, (long)count, pointers);
    if (taken < 0 && errno != EAGAIN)
        group->hopeless = true;
    return taken > 0 ? (size_t)taken : 0;
}

static void
sync_group_await(struct sync_group *group, size_t count, int *errors_out)
{
    struct io_event events[SYNC_GROUP_MAX];

    while (count > 0) {
        long got = syscall(SYS_io_getevents, group->context, 1L, (long)count, events, NULL);

        MS_ASSERT(got > 0 || errno == EINTR);
        for (long i = 0; i < got; i++)
            errors_out[events[i].data] = events[i].res < 0 ? (int)-events[i].res : 0;
        count -= got > 0 ? (size_t)got : 0;
    }
}

void
sync_group_run(struct sync_group *group, const int *fds, size_t count, int *errors_out)
{
    struct iocb blocks[SYNC_GROUP_MAX];
    size_t taken = 0;

    MS_ASSERT(count <= SYNC_GROUP_MAX);
    if (count > 1 && sync_group_usable(group))
        taken = sync_group_submit(group, blocks, fds, count);
    for (size_t i = taken; i < count; i++)
        sync_group_one(group, fds[i], &errors_out[i]);
    sync_group_await(group, taken, errors_out);
}

/* --- the store --- */

#define STORE_GROUP SYNC_GROUP_MAX /* also bounds the descriptors in use */

int
store_init(struct store *store, enum on_conflict on_conflict, const struct data_dirs *dirs,
           const struct file_ops *ops)
{
    *store = (struct store){.on_conflict = on_conflict, .ops = ops, .dirs = dirs};
    temp_maker_init(&store->maker, ops);
    sync_group_init(&store->syncs, ops);
    store->digester = digester_create();
    return store->digester != NULL ? 0 : -1;
}

void
store_fini(struct store *store)
{
    sync_group_fini(&store->syncs);
    digester_destroy(store->digester);
    store->digester = NULL;
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

/* --- directories --- */

static void
store_sync_changed(struct store *store)
{
    for (size_t i = 0; i < store->changed_count; i++) {
        if (store->ops->sync_dir(store->changed[i].fd) < 0 && store->changed_error == 0)
            store->changed_error = errno;
        fd_close(&store->changed[i].fd);
    }
    store->changed_count = 0;
}

int
store_changed(struct store *store, int dir_fd)
{
    struct store_dir dir;
    struct stat st;

    if (fstat(dir_fd, &st) < 0)
        return -1;
    for (size_t i = 0; i < store->changed_count; i++)
        if (store->changed[i].inode == st.st_ino && store->changed[i].device == st.st_dev)
            return 0;
    if (store->changed_count == STORE_DIRS_MAX)
        store_sync_changed(store);
    dir = (struct store_dir){fcntl(dir_fd, F_DUPFD_CLOEXEC, 0), st.st_dev, st.st_ino};
    if (dir.fd < 0)
        return -1;
    store->changed[store->changed_count++] = dir;
    return 0;
}

/* --- bodies --- */

static int
store_write_body(struct store *store, struct store_put *put)
{
    const struct message *m = put->m;
    int dir_fd = put->blob ? store->dirs->blobs : store->dirs->files;

    if (m->fd >= 0) {
        put->temp = temp_file_borrow(m->fd);
        return 0;
    }
    if (temp_file_create(&store->maker, dir_fd, store->dirs->root, &put->temp) < 0)
        return -1;
    return store->ops->write_all(put->temp.fd, m->mem, m->mem_len);
}

static void
store_write(struct store *store, struct store_put *put)
{
    put->temp = TEMP_FILE_NONE;
    put->outcome = outcome_committed();
    if (put->blob && blob_store_has(store, put))
        return;
    if (store_write_body(store, put) < 0)
        put->outcome = outcome_failed("the body cannot be written", errno);
    else
        store->ops->start_writeback(put->temp.fd);
}

static bool
store_goes_on(const struct store_put *put)
{
    return put->outcome.is == PROTO_COMMITTED && !put->stored;
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
    sync_group_run(&store->syncs, fds, n, errors);
    for (size_t i = 0; i < n; i++)
        if (errors[i] != 0)
            under_way[i]->outcome = outcome_failed("the body cannot be made safe", errors[i]);
}

/* Puts a safe copy, which can be linked into dir_fd, in the place of the temporary file. Returns 0,
 * or -1 with errno. */
static int
store_copy(struct store *store, struct store_put *put, int dir_fd)
{
    struct temp_file copy = TEMP_FILE_NONE;

    if (temp_file_create(&store->maker, dir_fd, store->dirs->root, &copy) < 0)
        return -1;
    if (temp_file_copy(&store->maker, put->temp.fd, &copy, put->m->size) < 0 ||
        store->ops->sync_data(copy.fd) < 0) {
        temp_file_close(&copy);
        return -1;
    }
    temp_file_close(&put->temp);
    put->temp = copy;
    return 0;
}

/* Another file system, or a file whose only name is gone. That the new name is taken is said before
 * either, so both ways to a name have to expect it. */
static bool
store_must_copy(int error)
{
    return error == EXDEV || error == ENOENT;
}

int
store_link(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    if (temp_file_link(&store->maker, &put->temp, dir_fd, name) == 0)
        return 0;
    if (!store_must_copy(errno) || store_copy(store, put, dir_fd) < 0)
        return -1;
    return temp_file_link(&store->maker, &put->temp, dir_fd, name);
}

int
store_replace(struct store *store, struct store_put *put, int dir_fd, const char *name)
{
    int root_fd = store->dirs->root;

    if (temp_file_replace(&store->maker, &put->temp, root_fd, dir_fd, name) == 0)
        return 0;
    if (!store_must_copy(errno) || store_copy(store, put, dir_fd) < 0)
        return -1;
    return temp_file_replace(&store->maker, &put->temp, root_fd, dir_fd, name);
}

static void
store_place(struct store *store, struct store_put *put)
{
    if (!store_goes_on(put))
        return;
    if (put->blob)
        blob_store_link(store, put);
    else
        file_store_link(store, put);
}

static void
store_run_group(struct store *store, struct store_put *puts, size_t count)
{
    store->changed_error = 0;
    for (size_t i = 0; i < count; i++)
        store_write(store, &puts[i]);
    store_sync(store, puts, count);
    for (size_t i = 0; i < count; i++)
        store_place(store, &puts[i]);
    store_sync_changed(store);
    for (size_t i = 0; i < count; i++) {
        temp_file_close(&puts[i].temp);
        if (store->changed_error != 0 && puts[i].outcome.is == PROTO_COMMITTED)
            puts[i].outcome =
                outcome_named_failed("a directory cannot be made safe", store->changed_error);
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
