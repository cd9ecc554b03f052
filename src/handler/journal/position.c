/* Where the relay is, in a small file that is replaced as a whole. The lock is on the file itself:
 * the next one is locked before it gets the name, so whoever has locked a file that still has the
 * name is alone. */
#include "handler/journal/following.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>

#define POSITION_FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK)
#define POSITION_MAX   (64u << 20)

/* A segment gets its name, and a moment later that name is in the directory. So the floor stays so
 * far behind the newest name. */
#define POSITION_SLACK_MS UINT64_C(600000)

/* --- reading --- */

static int
position_open_file(struct follow *f)
{
    int fd;

    do {
        fd = f->ops->open(f->dirs.root, FOLLOW_POSITION, POSITION_FLAGS);
        if (fd < 0 && errno == ENOENT)
            fd = f->ops->create(f->dirs.root, FOLLOW_POSITION);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

/* Somebody may have saved, and so replaced it, between the opening and the lock. */
static int
position_lock(struct follow *f)
{
    for (;;) {
        int fd = position_open_file(f);

        if (fd < 0)
            return -1;
        if (f->ops->lock(fd) < 0) {
            errno = errno == EACCES ? EAGAIN : errno;
            fd_close(&fd);
            return -1;
        }
        if (fd_is_named(fd, f->dirs.root, FOLLOW_POSITION)) {
            f->position_fd = fd;
            return 0;
        }
        fd_close(&fd);
    }
}

/* False where the line is none of ours. */
static bool
position_parse(struct follow *f, const char *line, size_t n)
{
    json_t *position = NULL;
    const char *floor;

    if (n > 0 && line[n - 1] == '\n' && record_crc32_is_right(line, n - 1))
        position = json_loadb(line, n, 0, NULL);
    floor = json_string_value(json_object_get(position, "floor"));
    f->offsets = json_incref(json_object_get(position, "segments"));
    if (floor != NULL && strlen(floor) < sizeof(f->floor) && json_is_object(f->offsets))
        memcpy(f->floor, floor, strlen(floor) + 1);
    else
        floor = NULL;
    json_decref(position);
    return floor != NULL;
}

static int
position_read(struct follow *f)
{
    struct stat st;
    char *line;
    int rc = -1;

    if (f->ops->status(f->position_fd, &st) < 0)
        return -1;
    if (st.st_size == 0) {
        log_notice("relay: there is no position yet: it begins at the beginning of the journal");
        return 0;
    }
    line = st.st_size < POSITION_MAX ? malloc((size_t)st.st_size) : NULL;
    if (line != NULL)
        rc = file_read_all(f->ops, f->position_fd, line, (size_t)st.st_size, 0);
    if (line == NULL || (rc == 0 && !position_parse(f, line, (size_t)st.st_size))) {
        log_warn("relay: " FOLLOW_POSITION " is damaged: it begins at the beginning of the "
                 "journal, and the stream drops what it has only within its duplicate window");
        rc = 0;
    }
    free(line);
    return rc;
}

int
position_open(struct follow *f)
{
    temp_maker_init(&f->maker, f->ops);
    return position_lock(f) < 0 ? -1 : position_read(f);
}

void
position_close(struct follow *f)
{
    position_listed(f);
    fd_close(&f->position_fd);
}

uint64_t
position_of(const struct follow *f, const char *name)
{
    const json_t *offset = json_object_get(f->offsets, name);

    if (json_is_integer(offset))
        return (uint64_t)json_integer_value(offset);
    return f->offsets != NULL && strcmp(name, f->floor) <= 0 ? UINT64_MAX : 0;
}

void
position_listed(struct follow *f)
{
    json_decref(f->offsets);
    f->offsets = NULL;
}

/* --- saving --- */

static void
position_raise_floor(struct follow *f)
{
    const struct followed *newest = TAILQ_LAST(&f->segments, followed_list), *s;

    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link)) {
        if (!followed_is_done(s) || ulid_ms(s->name) + POSITION_SLACK_MS >= ulid_ms(newest->name))
            break;
        if (strcmp(s->name, f->floor) > 0)
            memcpy(f->floor, s->name, sizeof(f->floor));
    }
}

static void
position_write(const struct follow *f, struct buffer *out)
{
    const char *comma = "";
    const struct followed *s;

    buffer_printf(out, "{\"floor\":\"%s\",\"segments\":{", f->floor);
    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link)) {
        bool is_above = strcmp(s->name, f->floor) > 0;

        if (is_above ? followed_position(s) == 0 : followed_is_done(s))
            continue;
        buffer_printf(out, "%s\"%s\":%llu", comma, s->name,
                      (unsigned long long)followed_position(s));
        comma = ",";
    }
    buffer_append_str(out, "}");
    record_end(out, 0);
}

/* Gives the name to a file that is safe and locked, which then takes the place of the one before.
 * Returns 0, or -1 with errno. */
static int
position_replace(struct follow *f, const struct buffer *line)
{
    struct temp_file file;
    int rc = -1;

    if (temp_file_create(&f->maker, f->dirs.root, &file) < 0)
        return -1;
    if (file_write_all(f->ops, file.fd, buffer_bytes(line), line->len, 0) == 0 &&
        f->ops->sync_data(file.fd) == 0 &&
        temp_file_rename(&f->maker, &file, f->dirs.root, FOLLOW_POSITION, true) == 0) {
        fd_close(&f->position_fd);
        f->position_fd = fd_steal(&file.fd);
        rc = f->ops->sync_dir(f->dirs.root);
    }
    temp_file_close(&f->maker, &file);
    return rc;
}

int
follow_save(struct follow *f)
{
    struct buffer line = {0};
    struct followed *s;
    int rc;

    if (!f->has_moved)
        return 0;
    position_raise_floor(f);
    position_write(f, &line);
    rc = position_replace(f, &line);
    buffer_fini(&line);
    if (rc < 0)
        return -1;
    f->has_moved = false;
    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link))
        s->saved = followed_position(s);
    return 0;
}

void
follow_finished(const struct follow *f, struct follow_finished *finished_out)
{
    struct follow_finished all = {0};
    bool is_prefix = true;
    size_t cap = 0;

    for (const struct followed *s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link)) {
        is_prefix = is_prefix && s->is_final && s->saved >= s->size;
        if (!is_prefix) {
            all.rest += s->size;
            continue;
        }
        if (all.count == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            all.segments = realloc(all.segments, cap * sizeof(*all.segments));
            MS_ASSERT(all.segments != NULL);
        }
        all.segments[all.count].bytes = s->size;
        memcpy(all.segments[all.count++].name, s->name, sizeof(s->name));
    }
    *finished_out = all;
}
