/* What is behind the last whole line of a segment that is being written is the next batch on its
 * way, and is read again. */
#include "handler/journal/verifying.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- records --- */

static const char *
record_member(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text != NULL ? text : "";
}

static void
verify_name_file(struct verifying *v, const json_t *record, const char *path)
{
    uint64_t size = (uint64_t)json_integer_value(json_object_get(record, "size"));
    struct named_path *entry = named_add(&v->named, path, record_member(record, "id"), size,
                                         record_member(record, "sha256"));

    entry->segment = v->segment;
    if (v->verify->since == NULL || strcmp(record_member(record, "time"), v->verify->since) >= 0)
        entry->wanted = true;
}

static void
verify_record(struct verifying *v, const struct segment_line *line)
{
    json_t *record = json_loadb(line->text, line->n - 1, JSON_ALLOW_NUL, NULL);
    const char *path = record_member(record, "file");

    v->tally.records++;
    if (path[0] == '\0')
        path = record_member(record, "blob");
    if (path[0] != '\0')
        verify_name_file(v, record, path);
    json_decref(record);
}

/* --- segments --- */

/* What was not whole up to here. At the end of a segment that is being written it is the next batch
 * on its way. */
static void
verify_end_run(struct verifying *v, bool at_end)
{
    if (v->run.n == 0)
        return;
    if (at_end)
        v->run.what = VERIFY_TORN;
    if (at_end && v->is_open)
        v->end = v->run.at;
    else
        verify_found(v, &v->run);
    v->run.n = 0;
}

static int
verify_line(void *arg, const struct segment_line *line)
{
    struct verifying *v = arg;
    /* At the end of a segment that is being written, the newline is on its way. */
    bool bad = !line->whole || (line->bad_end && !(line->no_end && v->is_open));
    bool replaced = line->whole && record_is_damage(line->text, line->n - 1);

    if (line->whole) {
        verify_end_run(v, false);
        v->end = line->at + line->n;
    }
    if (bad && v->run.n == 0)
        v->run = (struct verify_finding){
            .what = VERIFY_DAMAGED, .path = v->path, .at = line->at, .n = line->n};
    else if (bad)
        v->run.n += line->n;
    if (bad && line->whole)
        verify_end_run(v, false);
    if (replaced)
        verify_found(v,
                     &(struct verify_finding){
                         .what = VERIFY_REPLACED, .path = v->path, .at = line->at, .n = line->n});
    else if (line->whole && record_trimmed(line->text, line->n - 1) > 0)
        verify_record(v, line);
    v->tally.bytes += line->n;
    verify_progress(v);
    return 0;
}

/* A segment that has been read. */
struct verify_segment {
    char *name;
    uint64_t end; /* up to here */
    bool is_counted;
    bool is_bad; /* it could not be read, and is not looked at again */
};

static int
segment_compare(const void *a, const void *b)
{
    return strcmp(((const struct verify_segment *)a)->name,
                  ((const struct verify_segment *)b)->name);
}

static void
segment_free(void *segment)
{
    free(((struct verify_segment *)segment)->name);
    free(segment);
}

static struct verify_segment *
verify_get_segment(struct verifying *v, const char *name)
{
    struct verify_segment *segment = ms_calloc(1, sizeof(*segment));
    struct verify_segment **found;

    segment->name = ms_strdup(name);
    found = tsearch(segment, &v->segments, segment_compare);
    MS_ASSERT(found != NULL);
    if (*found != segment)
        segment_free(segment);
    return *found;
}

/* Was it cut back while it was read? A worker does that after a failure, and so does recovery. */
static bool
segment_was_cut(int fd, uint64_t size)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (uint64_t)st.st_size < size;
}

/* Reads what has come since it was read last. Returns 0, or -1 with errno. */
static int
verify_read_segment(struct verifying *v, struct verify_segment *segment, int fd, uint64_t size)
{
    int rc = 0;

    if (size <= segment->end)
        return 0;
    v->end = segment->end;
    rc = segment_scan(&file_ops_synced, fd, segment->end, size, verify_line, v);
    if (rc == 0) {
        v->end = size;
        verify_end_run(v, true);
    }
    v->run.n = 0;
    segment->end = v->end;
    return rc;
}

/* Returns 0, or -1 where it is no segment that can be read. */
static int
verify_look_at_segment(struct verifying *v, struct verify_segment *segment, int fd)
{
    struct stat st;

    if ((fd < 0 && (errno == ELOOP || errno == ENXIO)) ||
        (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))) {
        verify_say(v, VERIFY_IRREGULAR, v->path, NULL);
        return -1;
    }
    while (fd >= 0 && fstat(fd, &st) == 0) {
        if (verify_read_segment(v, segment, fd, (uint64_t)st.st_size) == 0)
            return 0;
        if (!segment_was_cut(fd, (uint64_t)st.st_size))
            break;
    }
    verify_say(v, VERIFY_UNREAD, v->path, NULL);
    return -1;
}

static void
verify_segment(struct verifying *v, int dir_fd, const char *name)
{
    struct verify_segment *segment = verify_get_segment(v, name);
    char path[sizeof("journal/") + NAME_MAX];
    int fd;

    if (segment->is_bad)
        return;
    fd = openat(dir_fd, name, VERIFY_FILE);
    if (fd < 0 && errno == ENOENT)
        return; /* one that held nothing and was removed meanwhile */
    snprintf(path, sizeof(path), "journal/%s", name);
    v->path = path;
    v->segment = segment->name;
    v->is_open = fd >= 0 && file_is_locked(fd);
    v->named.segment++;
    segment->is_bad = verify_look_at_segment(v, segment, fd) < 0;
    if (!segment->is_counted && !segment->is_bad) {
        v->tally.segments++;
        segment->is_counted = true;
    }
    fd_close(&fd);
}

static void
verify_count_open_segment(struct verifying *v, int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, VERIFY_FILE);

    v->tally.open += fd >= 0 && file_is_locked(fd);
    fd_close(&fd);
}

static int
verify_each_segment(struct verifying *v,
                    void (*look)(struct verifying *v, int dir_fd, const char *name))
{
    int fd = openat(v->root, "journal", VERIFY_DIR);
    struct dirent **names = NULL;
    int count = fd < 0 ? -1 : segment_names(fd, &names);

    for (int i = 0; i < count; i++)
        look(v, fd, names[i]->d_name);
    segment_names_free(names, count);
    fd_close(&fd);
    return count < 0 ? -1 : 0;
}

int
verify_segments(struct verifying *v)
{
    return verify_each_segment(v, verify_segment);
}

void
verify_count_open(struct verifying *v)
{
    (void)verify_each_segment(v, verify_count_open_segment);
}

void
verify_segments_fini(struct verifying *v)
{
    tdestroy(v->segments, segment_free);
}
