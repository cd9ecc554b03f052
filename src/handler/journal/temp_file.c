/* A temporary name is visible to the recovery of other workers, which removes what nobody has
 * locked: so a file is locked before it gets one, or, where creating it gives it one, looked at
 * again once it is locked. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>

#define TEMP_TRIES 10

void
temp_maker_init(struct temp_maker *maker, const struct file_ops *ops)
{
    maker->ops = ops;
    ulid_init(&maker->ids);
}

void
temp_file_name(struct temp_maker *maker, char out[TEMP_NAME_LEN])
{
    size_t prefix = sizeof(DATA_DIR_TEMP_PREFIX) - 1;

    memcpy(out, DATA_DIR_TEMP_PREFIX, prefix);
    ulid_next(&maker->ids, clock_real_us(), out + prefix);
    out[prefix + ULID_LEN] = '\0';
}

bool
temp_file_is_reserved(const char *name)
{
    return strncmp(name, DATA_DIR_TEMP_PREFIX, sizeof(DATA_DIR_TEMP_PREFIX) - 1) == 0;
}

bool
temp_file_is_name(const char *name)
{
    size_t prefix = sizeof(DATA_DIR_TEMP_PREFIX) - 1;

    return temp_file_is_reserved(name) && ulid_begins(name + prefix) &&
           name[prefix + ULID_LEN] == '\0';
}

/* Locked, and not removed between its creation and the lock. Else false with errno. */
static bool
temp_is_ours(const struct file_ops *ops, int fd)
{
    struct stat st;

    if (ops->lock(fd) < 0 || ops->status(fd, &st) < 0)
        return false;
    errno = EBUSY;
    return st.st_nlink == 1;
}

int
temp_file_create(struct temp_maker *maker, int dir_fd, struct temp_file *file_out)
{
    struct temp_file file = {.fd = -1, .dir_fd = dir_fd};
    int error = 0;

    for (unsigned tries = 0; tries < TEMP_TRIES; tries++) {
        temp_file_name(maker, file.name);
        file.fd = maker->ops->create(dir_fd, file.name);
        if (file.fd < 0)
            return -1;
        if (temp_is_ours(maker->ops, file.fd)) {
            *file_out = file;
            return 0;
        }
        error = errno;
        temp_file_close(maker, &file);
        file.dir_fd = dir_fd;
    }
    errno = error;
    return -1;
}

int
temp_file_adopt(struct temp_maker *maker, int fd, int dir_fd, struct temp_file *file_out)
{
    struct temp_file file = {.fd = fd, .dir_fd = dir_fd, .borrowed = true};

    temp_file_name(maker, file.name);
    if (maker->ops->lock(fd) < 0 || maker->ops->link_fd(fd, dir_fd, file.name) < 0)
        return -1;
    *file_out = file;
    return 0;
}

int
temp_file_rename(struct temp_maker *maker, struct temp_file *file, int dir_fd, const char *name,
                 bool replace)
{
    if (maker->ops->rename(file->dir_fd, file->name, dir_fd, name, replace) < 0)
        return -1;
    file->name[0] = '\0';
    return 0;
}

void
temp_file_close(struct temp_maker *maker, struct temp_file *file)
{
    int saved = errno;

    if (file->name[0] != '\0')
        (void)maker->ops->remove(file->dir_fd, file->name);
    errno = saved;
    if (!file->borrowed)
        fd_close(&file->fd);
    *file = TEMP_FILE_NONE;
}
