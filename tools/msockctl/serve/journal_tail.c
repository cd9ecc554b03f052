/* The newest records of the journal, for people who look at a page. Bodies are left out: the page
 * says who sent how much, not what. Only the ends of the newest segments are read. */
#include "serve.h"

#include "common/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX 16
#define TAIL_BYTES   65536
#define RECORDS_MAX  25

static int
is_segment(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return dot != NULL && strcmp(dot, ".ndjson") == 0;
}

/* Names begin with the time. */
static int
newest_first(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name);
}

/* A record as the page shows it; NULL where the line is none. */
static json_t *
record_read(const char *line, size_t n)
{
    json_t *record = json_loadb(line, n, 0, NULL);

    if (!json_is_string(json_object_get(record, "id"))) {
        json_decref(record);
        return NULL;
    }
    json_object_del(record, "json");
    json_object_del(record, "text");
    json_object_del(record, "base64");
    json_object_del(record, "crc32");
    return record;
}

/* Reads the last bytes of a segment. Returns how many, 0 where it cannot be read. */
static size_t
segment_end(int dir_fd, const char *name, char *bytes)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    size_t len = 0;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        len = st.st_size < TAIL_BYTES ? (size_t)st.st_size : TAIL_BYTES;
        if (fd_pread_all(fd, bytes, len, st.st_size - (off_t)len) < 0)
            len = 0;
    }
    fd_close(&fd);
    return len;
}

/* Its newest records, from the last line on. A line that is being written, or is cut at its
 * beginning, is none. */
static void
segment_tail(int dir_fd, const char *name, json_t *records)
{
    char *bytes = ms_malloc(TAIL_BYTES);
    size_t end = segment_end(dir_fd, name, bytes), from, count = 0;

    for (; end > 0 && count < RECORDS_MAX; end = from) {
        json_t *record;

        from = --end; /* a newline ends the line before */
        while (from > 0 && bytes[from - 1] != '\n')
            from--;
        record = record_read(bytes + from, end - from);
        if (record != NULL)
            json_array_append_new(records, record);
        count += record != NULL;
    }
    free(bytes);
}

static int
later_first(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;

    return strcmp(json_string_value(json_object_get(*y, "id")),
                  json_string_value(json_object_get(*x, "id")));
}

/* Gives up the reference. */
static json_t *
records_newest(json_t *records)
{
    const size_t n = json_array_size(records);
    json_t **rows = ms_calloc(n + 1, sizeof(rows[0])), *newest = json_array();

    for (size_t i = 0; i < n; i++)
        rows[i] = json_array_get(records, i);
    qsort(rows, n, sizeof(rows[0]), later_first);
    for (size_t i = 0; i < n && i < RECORDS_MAX; i++)
        json_array_append(newest, rows[i]);
    free(rows);
    json_decref(records);
    return newest;
}

json_t *
journal_tail(const char *data_dir)
{
    char path[PATH_MAX];
    struct dirent **names;
    json_t *records;
    int dir_fd, n;

    snprintf(path, sizeof(path), "%s/journal", data_dir);
    dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    n = dir_fd < 0 ? -1 : scandirat(dir_fd, ".", &names, is_segment, newest_first);
    if (n < 0) {
        fd_close(&dir_fd);
        return NULL;
    }
    records = json_array();
    for (int i = 0; i < n; i++) {
        if (i < SEGMENTS_MAX)
            segment_tail(dir_fd, names[i]->d_name, records);
        free(names[i]);
    }
    free(names);
    fd_close(&dir_fd);
    return records_newest(records);
}
