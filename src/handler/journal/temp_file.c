/* A temporary name is visible to the recovery of other workers, which removes what nobody has
 * locked: so a file is locked before it gets one, or, where creating it gives it one, looked at
 * again once it is locked. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_TRIES      10
#define TEMP_COPY_BLOCK (256u << 10)

void
temp_maker_init(struct temp_maker *maker, const struct file_ops *ops)
{
    maker->ops = ops;
    ulid_init(&maker->ids);
}

int
temp_file_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

static void
temp_name(struct temp_maker *maker, char out[TEMP_NAME_LEN])
{
    size_t prefix = sizeof(DATA_DIR_TEMP_PREFIX) - 1;

    memcpy(out, DATA_DIR_TEMP_PREFIX, prefix);
    ulid_next(&maker->ids, clock_real_us(), out + prefix);
    out[prefix + ULID_LEN] = '\0';
}

/* Locked, and not removed between its creation and the lock. */
static bool
temp_is_ours(int fd)
{
    struct stat st;

    return temp_file_lock(fd) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1;
}

static int
temp_file_create_named(struct temp_maker *maker, int root_fd, struct temp_file *file_out)
{
    struct temp_file file = {.fd = -1, .name_fd = root_fd};

    for (unsigned tries = 0; tries < TEMP_TRIES; tries++) {
        temp_name(maker, file.name);
        file.fd = openat(root_fd, file.name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
        if (file.fd < 0)
            return -1;
        if (temp_is_ours(file.fd)) {
            *file_out = file;
            return 0;
        }
        temp_file_close(&file);
    }
    errno = EBUSY;
    return -1;
}

int
temp_file_create(struct temp_maker *maker, int dir_fd, int root_fd, struct temp_file *file_out)
{
    int fd = maker->ops->open_unnamed(dir_fd);

    if (fd >= 0) {
        *file_out = (struct temp_file){.fd = fd};
        return 0;
    }
    if (errno != EOPNOTSUPP || root_fd < 0)
        return -1;
    return temp_file_create_named(maker, root_fd, file_out);
}

struct temp_file
temp_file_borrow(int fd)
{
    return (struct temp_file){.fd = fd, .borrowed = true};
}

int
temp_file_link(struct temp_maker *maker, const struct temp_file *file, int dir_fd, const char *name)
{
    if (file->name[0] != '\0')
        return linkat(file->name_fd, file->name, dir_fd, name, 0);
    return maker->ops->link_fd(file->fd, dir_fd, name);
}

int
temp_file_replace(struct temp_maker *maker, const struct temp_file *file, int root_fd, int dir_fd,
                  const char *name)
{
    char temp[TEMP_NAME_LEN];
    int at_fd = root_fd, saved;

    temp_name(maker, temp);
    if (temp_file_lock(file->fd) < 0)
        return -1;
    if (temp_file_link(maker, file, at_fd, temp) < 0) {
        if (errno != EXDEV)
            return -1;
        at_fd = dir_fd;
        if (temp_file_link(maker, file, at_fd, temp) < 0)
            return -1;
    }
    if (renameat(at_fd, temp, dir_fd, name) == 0)
        return 0;
    saved = errno;
    (void)unlinkat(at_fd, temp, 0);
    errno = saved;
    return -1;
}

static int
temp_file_copy_slowly(struct temp_maker *maker, int from, int to, off_t at, uint64_t n)
{
    char *block = ms_malloc(TEMP_COPY_BLOCK);
    int rc = -1;

    while (n > 0) {
        size_t part = n < TEMP_COPY_BLOCK ? (size_t)n : TEMP_COPY_BLOCK;

        if (fd_pread_all(from, block, part, at) < 0 || maker->ops->write_all(to, block, part) < 0)
            goto out;
        at += (off_t)part;
        n -= part;
    }
    rc = 0;
out:
    free(block);
    return rc;
}

int
temp_file_copy(struct temp_maker *maker, int from, const struct temp_file *to, uint64_t n)
{
    off_t at = 0;

    while (n > 0) {
        ssize_t done = copy_file_range(from, &at, to->fd, NULL, n, 0);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break; /* between these file systems not, or a real failure: then writing says which */
        n -= (uint64_t)done;
    }
    return temp_file_copy_slowly(maker, from, to->fd, at, n);
}

void
temp_file_close(struct temp_file *file)
{
    int saved = errno;

    if (file->name[0] != '\0')
        (void)unlinkat(file->name_fd, file->name, 0);
    errno = saved;
    if (!file->borrowed)
        fd_close(&file->fd);
    *file = TEMP_FILE_NONE;
}
