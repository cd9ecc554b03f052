/* The order of the looks decides. A worker writes only while it holds the lock: so a file that had
 * bytes before nobody held its lock has had its writer. Recovery, which may still come, changes no
 * byte of what is whole, and does not look at what is sealed. */
#include "handler/journal/segment_list.h"

#include "common/fd.h"
#include "handler/journal/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

const char *
listed_state_name(enum listed_state state)
{
    static const char *const names[] = {
        [LISTED_WRITING] = "writing", [LISTED_FINISHED] = "finished", [LISTED_TORN] = "torn"};

    return names[state];
}

static int
listed_see(void *arg, const struct segment_line *line)
{
    (void)arg;
    return line->whole && !line->bad_end ? 0 : -1;
}

/* Fills in st what the file is once its state is decided. Returns 0, or -1 with errno. */
static int
listed_look(int fd, struct stat *st, enum listed_state *state_out)
{
    if (fstat(fd, st) < 0)
        return -1;
    if (file_is_locked(fd)) {
        *state_out = LISTED_WRITING;
        return fstat(fd, st);
    }
    *state_out = LISTED_TORN;
    if (st->st_size == 0)
        return 0;
    if (fstat(fd, st) < 0)
        return -1;
    if ((st->st_mode & 0777) == SEGMENT_SEALED ||
        segment_scan(&file_ops_synced, fd, 0, (uint64_t)st->st_size, listed_see, NULL) == 0)
        *state_out = LISTED_FINISHED;
    return 0;
}

static void
listed_segment(const struct segment_list *list, int dir_fd, const char *name)
{
    struct listed_segment segment = {.name = name, .begun_us = ulid_ms(name) * 1000};
    int fd = openat(dir_fd, name, SEGMENT_READ);
    struct stat st;

    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
        return; /* taken away, or none of ours */
    if (fd < 0 || listed_look(fd, &st, &segment.state) < 0) {
        list->unread(list->arg, name, errno);
    } else if (S_ISREG(st.st_mode) && st.st_nlink > 0) {
        segment.worker = (unsigned)strtoul(name + ULID_LEN + 2, NULL, 10);
        segment.bytes = (uint64_t)st.st_size;
        segment.written_us =
            (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
        list->found(list->arg, &segment);
    }
    fd_close(&fd);
}

int
segment_list_run(const struct segment_list *list)
{
    int root = open(list->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -1 : openat(root, "journal", DATA_DIR_PART | O_CLOEXEC);
    struct dirent **names = NULL;
    int count = fd < 0 ? -1 : segment_names(fd, &names);

    for (int i = 0; i < count; i++)
        listed_segment(list, fd, names[i]->d_name);
    segment_names_free(names, count);
    fd_close(&fd);
    fd_close(&root);
    return count < 0 ? -1 : 0;
}
