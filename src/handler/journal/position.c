/* Where the relay is, in a small file that is replaced as a whole. The lock is on the file itself:
 * the next one is locked before it gets the name, so whoever has locked a file that still has the
 * name is alone. */
#include "handler/journal/following.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define POSITION_FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK)
#define POSITION_MAX   (64u << 20)

/* A worker that comes too late with a name takes another one. So that this is seldom, names stay so
 * far before the floor. */
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

/* The position in an open file; NULL with errno, EBADMSG where it is none. */
static json_t *
position_load(const struct file_ops *ops, int fd)
{
    json_t *position = NULL;
    struct stat st;
    size_t n;
    char *line;

    if (ops->status(fd, &st) < 0)
        return NULL;
    n = st.st_size < POSITION_MAX ? (size_t)st.st_size : 0;
    line = ms_malloc(n + 1);
    if (fd_read_by(ops->read, fd, line, n, 0) == 0) {
        if (n > 0 && line[n - 1] == '\n' && record_crc32_is_right(line, n - 1))
            position = json_loadb(line, n, 0, NULL);
        errno = EBADMSG;
    }
    free(line);
    return position;
}

static const char *
position_text(const json_t *position, const char *key)
{
    const char *text = json_string_value(json_object_get(position, key));

    return text != NULL ? text : "";
}

static const char *
position_name(const json_t *position, const char *key)
{
    const char *name = position_text(position, key);

    return segment_is_name(name) ? name : "";
}

int
position_newest(const struct file_ops *ops, int root, char id_out[ULID_LEN])
{
    int fd = ops->open(root, FOLLOW_POSITION, SEGMENT_READ);
    json_t *position = fd < 0 ? NULL : position_load(ops, fd);
    const char *floor = position_name(position, "rising");
    int found = floor[0] != '\0';

    fd_close(&fd);
    if (position == NULL && errno != ENOENT && errno != EBADMSG)
        return -1;
    if (found)
        memcpy(id_out, floor, ULID_LEN);
    json_decref(position);
    return found;
}

static int
position_read(struct follow *f)
{
    json_t *position = position_load(f->ops, f->position_fd);

    if (position == NULL && errno != EBADMSG)
        return -1;
    if (position == NULL)
        log_line(LOG_relay_begins_anew,
                 "relay: there is no whole " FOLLOW_POSITION ": it begins at the beginning of the "
                 "journal, and the stream drops what it has only within its duplicate window");
    snprintf(f->floor, sizeof(f->floor), "%s", position_name(position, "floor"));
    snprintf(f->rising, sizeof(f->rising), "%s", position_name(position, "rising"));
    memcpy(f->risen, f->rising, sizeof(f->risen));
    if (ulid_begins(position_text(position, "newest")))
        memcpy(f->lag.newest, position_text(position, "newest"), ULID_LEN);
    f->offsets = json_incref(json_object_get(position, "segments"));
    json_decref(position);
    return 0;
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
    f->has_moved = f->has_moved || strcmp(f->floor, f->risen) != 0;
    memcpy(f->floor, f->risen, sizeof(f->floor));
}

/* --- saving --- */

/* The next floor; no worker begins a segment beneath it from when it is on the disk. */
static void
position_raise(struct follow *f)
{
    const struct followed *newest = TAILQ_LAST(&f->segments, followed_list), *s;

    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link)) {
        if (!followed_is_done(s) || ulid_ms(s->name) + POSITION_SLACK_MS >= ulid_ms(newest->name) ||
            ulid_ms(s->name) >= CLOCK_MS_MAX) /* a worker has no name behind it */
            break;
        if (strcmp(s->name, f->rising) > 0)
            memcpy(f->rising, s->name, sizeof(f->rising));
    }
}

static void
position_write(const struct follow *f, struct buffer *out)
{
    const char *comma = "";
    const struct followed *s;

    buffer_printf(out, "{\"newest\":\"%s\",\"floor\":\"%s\",\"rising\":\"%s\",\"segments\":{",
                  f->lag.newest, f->floor, f->rising);
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
    if (fd_write_by(f->ops->write, file.fd, buffer_bytes(line), line->len, 0) == 0 &&
        f->ops->sync_data(file.fd) == 0 &&
        temp_file_rename(&f->maker, &file, f->dirs.root, FOLLOW_POSITION, true) == 0) {
        fd_close(&f->position_fd);
        f->position_fd = fd_steal(&file.fd);
        rc = f->ops->sync_dir(f->dirs.root);
    }
    temp_file_close(&f->maker, &file);
    return rc;
}

/* On a full disk what is done may go before that is saved, since nothing else makes room: what is
 * gone is not told again. */
int
follow_save(struct follow *f)
{
    struct buffer line = {0};
    struct followed *s;
    int rc;

    if (!f->has_moved)
        return 0;
    position_raise(f);
    position_write(f, &line);
    rc = position_replace(f, &line);
    buffer_fini(&line);
    if (rc < 0 && !message_found_no_room(errno))
        return -1;
    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link))
        s->saved = followed_position(s);
    if (rc < 0)
        return -1;
    f->has_moved = false;
    memcpy(f->risen, f->rising, sizeof(f->risen));
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
