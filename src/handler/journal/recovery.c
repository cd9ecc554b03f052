/* A segment ends well when its last byte is a newline and its last block holds no NUL. NUL bytes
 * are blocks that a power failure kept from the disk though the file's length had grown: no line
 * has any, so all from the first of them on is cut off. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECOVERY_TAIL  4096u
#define RECOVERY_BLOCK (64u << 10)

/* The offset of the first NUL byte, or size. Only after a power failure is so much read. */
static int
recovery_first_nul(int fd, uint64_t size, char *block, uint64_t *nul_out)
{
    *nul_out = size;
    for (uint64_t at = 0; at < size && *nul_out == size; at += RECOVERY_BLOCK) {
        size_t n = size - at < RECOVERY_BLOCK ? (size_t)(size - at) : RECOVERY_BLOCK;
        const char *nul;

        if (fd_pread_all(fd, block, n, (off_t)at) < 0)
            return -1;
        nul = memchr(block, '\0', n);
        if (nul != NULL)
            *nul_out = at + (uint64_t)(nul - block);
    }
    return 0;
}

/* The end of the last whole line within the first `end` bytes. */
static int
recovery_line_end(int fd, uint64_t end, char *block, uint64_t *line_end_out)
{
    *line_end_out = 0;
    while (end > 0 && *line_end_out == 0) {
        size_t n = end < RECOVERY_BLOCK ? (size_t)end : RECOVERY_BLOCK;
        const char *newline;

        end -= n;
        if (fd_pread_all(fd, block, n, (off_t)end) < 0)
            return -1;
        newline = memrchr(block, '\n', n);
        if (newline != NULL)
            *line_end_out = end + (uint64_t)(newline - block) + 1;
    }
    return 0;
}

/* How many of the first `size` bytes are good, judged by the last of them alone. */
static int
recovery_good_once(int fd, uint64_t size, char *block, uint64_t *good_out)
{
    size_t n = size < RECOVERY_TAIL ? (size_t)size : RECOVERY_TAIL;
    uint64_t end = size;

    if (fd_pread_all(fd, block, n, (off_t)(size - n)) < 0)
        return -1;
    if (memchr(block, '\0', n) != NULL) {
        if (recovery_first_nul(fd, size, block, &end) < 0)
            return -1;
    } else if (block[n - 1] == '\n') {
        *good_out = size;
        return 0;
    }
    return recovery_line_end(fd, end, block, good_out);
}

/* How many of its bytes are good. Without a torn line another block is the last one, and is judged
 * like it, so that a second start finds nothing to cut. */
static int
recovery_good(int fd, uint64_t size, uint64_t *good_out)
{
    char *block = ms_malloc(RECOVERY_BLOCK);
    uint64_t end;
    int rc = 0;

    *good_out = size;
    do {
        end = *good_out;
        if (end > 0)
            rc = recovery_good_once(fd, end, block, good_out);
    } while (rc == 0 && *good_out < end);
    free(block);
    return rc;
}

static int
recovery_remove(int dir_fd, const char *name, unsigned *count)
{
    if (unlinkat(dir_fd, name, 0) < 0)
        return -1;
    ++*count;
    return 0;
}

static int
recovery_cut(int fd, const char *name, uint64_t size, uint64_t good, const struct file_ops *ops,
             struct recovery_tally *tally)
{
    if (ops->truncate(fd, (off_t)good) < 0 || ops->sync_data(fd) < 0)
        return -1;
    tally->cut++;
    log_notice("journal/%s: %llu bytes cut off behind its last whole line", name,
               (unsigned long long)(size - good));
    return 0;
}

/* Returns 0, or -1 with errno; a segment that another process has locked is left alone. */
static int
recovery_segment_locked(int dir_fd, int fd, const char *name, const struct file_ops *ops,
                        struct recovery_tally *tally)
{
    struct stat st;
    uint64_t good;

    if (fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode) || st.st_nlink == 0)
        return 0;
    if (st.st_size == 0)
        return recovery_remove(dir_fd, name, &tally->emptied);
    if (recovery_good(fd, (uint64_t)st.st_size, &good) < 0)
        return -1;
    if (good == (uint64_t)st.st_size)
        return 0;
    if (recovery_cut(fd, name, (uint64_t)st.st_size, good, ops, tally) < 0)
        return -1;
    return good > 0 ? 0 : recovery_remove(dir_fd, name, &tally->emptied);
}

static bool
recovery_is_segment(const char *name)
{
    size_t n = strlen(name), suffix = sizeof(SEGMENT_SUFFIX) - 1;

    return n > suffix && strcmp(name + n - suffix, SEGMENT_SUFFIX) == 0;
}

static void
recovery_segment(int dir_fd, const char *name, const struct file_ops *ops,
                 struct recovery_tally *tally)
{
    int fd, rc;

    if (!recovery_is_segment(name))
        return;
    fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return; /* gone meanwhile, or put away by someone so that we may not write it */
    rc = temp_file_lock(fd);
    if (rc == 0)
        rc = recovery_segment_locked(dir_fd, fd, name, ops, tally);
    else if (errno == EAGAIN || errno == EACCES)
        rc = 0;
    if (rc < 0) {
        log_warn("journal/%s cannot be recovered: %s", name, strerror(errno));
        tally->failed++;
    }
    fd_close(&fd);
}

static void
recovery_leftover(int dir_fd, const char *name, const struct file_ops *ops,
                  struct recovery_tally *tally)
{
    struct stat st;
    int fd;

    (void)ops;
    if (strncmp(name, DATA_DIR_TEMP_PREFIX, sizeof(DATA_DIR_TEMP_PREFIX) - 1) != 0)
        return;
    fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && temp_file_lock(fd) == 0 &&
        recovery_remove(dir_fd, name, &tally->leftovers) < 0)
        tally->failed++;
    fd_close(&fd);
}

typedef void (*recovery_entry_fn)(int dir_fd, const char *name, const struct file_ops *ops,
                                  struct recovery_tally *tally);

static void
recovery_each(int dir_fd, recovery_entry_fn fn, const struct file_ops *ops,
              struct recovery_tally *tally)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (dir == NULL) {
        log_warn("a directory cannot be searched for what a crash left: %s", strerror(errno));
        tally->failed++;
        fd_close(&fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        fn(dir_fd, entry->d_name, ops, tally);
    closedir(dir);
}

void
recovery_run(const struct data_dirs *dirs, const struct file_ops *ops,
             struct recovery_tally *tally_out)
{
    struct recovery_tally tally = {0};

    recovery_each(dirs->journal, recovery_segment, ops, &tally);
    recovery_each(dirs->root, recovery_leftover, ops, &tally);
    if (tally.leftovers > 0)
        log_notice("%u temporary files of a crashed worker removed", tally.leftovers);
    *tally_out = tally;
}
