/* Ids rise within a worker, whatever the clock does. This carries that over to the next worker:
 * what was written last is in the segments that began last. A worker has two
 * segments at a time, and one of the generation before may still write while the next one of its
 * number begins, so several segments of each number are looked at. */
#include "handler/journal/journal.h"

#include "common/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define NEWEST_SEGMENTS  8            /* of each worker's number */
#define NEWEST_TAIL      (64u << 10)  /* first try */
#define NEWEST_TAIL_MAX  (128u << 20) /* no line is longer */
#define NEWEST_TAIL_MORE 8

struct newest {
    char id[ULID_LEN];                   /* the largest so far; "" */
    unsigned looked[CONFIG_WORKERS_MAX]; /* at segments of each number */
};

static void
newest_note(struct newest *newest, const char id[ULID_LEN])
{
    if (memcmp(id, newest->id, ULID_LEN) > 0)
        memcpy(newest->id, id, ULID_LEN);
}

/* The last whole record in these bytes, which stand behind a newline. False where there is none. */
static bool
newest_in(const char *bytes, size_t n, char id[ULID_LEN], uint64_t *time_ms)
{
    const char *end = memrchr(bytes, '\n', n), *begin;

    for (; end != NULL; end = begin == bytes ? NULL : begin - 1) {
        begin = memrchr(bytes, '\n', (size_t)(end - bytes));
        begin = begin == NULL ? bytes : begin + 1;
        if (record_id(begin, (size_t)(end - begin), id)) {
            *time_ms = record_time_ms(begin, (size_t)(end - begin));
            return true;
        }
    }
    return false;
}

/* A tail that is cut off in the middle of a line begins behind that line. */
static bool
newest_in_tail(int fd, uint64_t size, uint64_t tail, char id[ULID_LEN], uint64_t *time_ms)
{
    uint64_t n = tail < size ? tail : size;
    char *bytes = malloc((size_t)n), *from = bytes;
    bool found = false;

    if (bytes != NULL && fd_pread_all(fd, bytes, (size_t)n, (off_t)(size - n)) == 0) {
        if (n < size)
            from = memchr(bytes, '\n', (size_t)n);
        if (from != NULL)
            found = newest_in(from, (size_t)(bytes + n - from), id, time_ms);
    }
    free(bytes);
    return found;
}

bool
newest_in_segment(int fd, char id_out[ULID_LEN], uint64_t *time_ms_out)
{
    uint64_t tail = NEWEST_TAIL;
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    while (!newest_in_tail(fd, (uint64_t)st.st_size, tail, id_out, time_ms_out)) {
        if (tail >= (uint64_t)st.st_size || tail >= NEWEST_TAIL_MAX)
            return false;
        tail *= NEWEST_TAIL_MORE;
    }
    return true;
}

static void
newest_segment(struct newest *newest, int journal_fd, const char *name)
{
    int fd = openat(journal_fd, name, SEGMENT_READ);
    char id[ULID_LEN];
    uint64_t time_ms;

    if (fd >= 0 && newest_in_segment(fd, id, &time_ms))
        newest_note(newest, id);
    fd_close(&fd);
}

bool
newest_id(int journal_fd, char id_out[ULID_LEN])
{
    struct newest newest = {.id = ""};
    struct dirent **names = NULL;
    int count = segment_names(journal_fd, &names);

    for (int i = count - 1; i >= 0; i--) { /* the newest first */
        const char *name = names[i]->d_name;
        unsigned long worker = strtoul(name + ULID_LEN + 2, NULL, 10) % CONFIG_WORKERS_MAX;

        newest_note(&newest, name);
        if (newest.looked[worker]++ < NEWEST_SEGMENTS)
            newest_segment(&newest, journal_fd, name);
    }
    segment_names_free(names, count);
    if (newest.id[0] != '\0')
        memcpy(id_out, newest.id, ULID_LEN);
    return newest.id[0] != '\0';
}
