/* A segment that has something to tell stands in a list by the id of what it tells next; the first
 * of the list tells. Of what a worker writes now only that is told which stands before its mark: a
 * commit that fails takes the rest back. */
#include "handler/journal/following.h"

#include "common/fd.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLLOW_SLICE   (512u << 10) /* of a segment's lines, at once */
#define FOLLOW_COUNT   (16u << 20)  /* bytes for follow_lag, at once */
#define FOLLOW_BLOCK   (256u << 10)
#define FOLLOW_HEAD    64 /* bytes that hold the id with which a line begins */
#define FOLLOW_LOOK_US 10000
#define FOLLOW_LOOKS   10 /* looks take at most one in so many parts of the time */
#define FOLLOW_YOUNG_S 2  /* a directory may change more than once at the same time */

#define FOLLOW_RETRY_US 200000

/* --- segments --- */

static struct followed *
followed_create(struct follow *f, const char *name)
{
    struct followed *s = ms_calloc(1, sizeof(*s));

    memcpy(s->name, name, strlen(name) + 1);
    s->fd = -1;
    s->read_at = s->counted = s->saved = position_of(f, name);
    TAILQ_INIT(&s->lines);
    return s;
}

static void
followed_unready(struct follow *f, struct followed *s)
{
    if (s->is_ready)
        TAILQ_REMOVE(&f->ready, s, ready);
    s->is_ready = false;
}

static void
followed_drop_untold(struct followed *s)
{
    struct followed_line *line;

    while ((line = s->next) != NULL) {
        s->next = TAILQ_NEXT(line, link);
        TAILQ_REMOVE(&s->lines, line, link);
        free(line);
    }
}

static void
followed_destroy(struct followed *s)
{
    s->next = TAILQ_FIRST(&s->lines);
    followed_drop_untold(s);
    fd_close(&s->fd);
    free(s);
}

/* Somebody has taken it away. What was told of it can still be done. */
static void
followed_lose(struct follow *f, struct followed *s)
{
    uint64_t told = s->next != NULL ? s->next->item.at : s->read_at;
    struct stat st;

    if (s->fd >= 0 && f->ops->status(s->fd, &st) == 0)
        s->size = (uint64_t)st.st_size;
    if (s->size > told) {
        f->lag.lost_bytes += s->size - told;
        log_line(LOG_relay_lost,
                 "relay: journal/%s was taken away before it was relayed: %llu bytes are lost to "
                 "the stream",
                 s->name, (unsigned long long)(s->size - told));
    }
    f->has_moved = true;
    followed_drop_untold(s);
    followed_unready(f, s);
    TAILQ_REMOVE(&f->segments, s, link);
    if (TAILQ_EMPTY(&s->lines)) {
        followed_destroy(s);
        return;
    }
    s->is_gone = true;
    TAILQ_INSERT_TAIL(&f->gone, s, link);
}

/* The others go on, and it is tried again. Returns -1. */
static int
followed_fail(struct follow *f, struct followed *s, const char *what)
{
    followed_unready(f, s);
    s->retry_us = clock_mono_us() + FOLLOW_RETRY_US;
    if (!s->has_failed)
        log_line(LOG_relay_cannot_read, "relay: journal/%s %s: %s", s->name, what, strerror(errno));
    s->has_failed = true;
    return -1;
}

static int
followed_open(struct follow *f, struct followed *s)
{
    if (s->fd < 0)
        s->fd = f->ops->open(f->dirs.journal, s->name, SEGMENT_READ);
    return s->fd < 0 ? -1 : 0;
}

/* One that is written is looked at again and again. */
static void
followed_rest(struct followed *s)
{
    if (s->is_final)
        fd_close(&s->fd);
}

/* --- who tells next --- */

/* The id of the line at read_at. Where it has none, that in the name is not far from it. */
static void
followed_peek(struct follow *f, struct followed *s)
{
    char line[FOLLOW_HEAD];
    ssize_t n = -1;

    if (followed_open(f, s) == 0)
        n = f->ops->read(s->fd, line, sizeof(line), (off_t)s->read_at);
    if (n < 0 || !record_id_at(line, (size_t)n, s->head))
        memcpy(s->head, s->name, ULID_LEN);
}

static void
followed_place(struct follow *f, struct followed *s)
{
    struct followed *other;

    if (s->next != NULL)
        memcpy(s->head, s->next->item.id, ULID_LEN);
    else
        followed_peek(f, s);
    s->is_ready = true;
    for (other = TAILQ_FIRST(&f->ready); other != NULL; other = TAILQ_NEXT(other, ready)) {
        if (memcmp(s->head, other->head, ULID_LEN) < 0) {
            TAILQ_INSERT_BEFORE(other, s, ready);
            return;
        }
    }
    TAILQ_INSERT_TAIL(&f->ready, s, ready);
}

/* --- reading --- */

static uint64_t
count_newlines(const char *bytes, size_t n)
{
    const char *end = bytes + n;
    uint64_t count = 0;

    while ((bytes = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL) {
        count++;
        bytes++;
    }
    return count;
}

/* What was counted of these bytes by their newlines is not counted any more. */
static void
followed_uncount(struct followed *s, const struct segment_line *line)
{
    uint64_t end = line->at + line->n;

    if (s->counted > line->at)
        s->records -= count_newlines(line->text,
                                     s->counted < end ? (size_t)(s->counted - line->at) : line->n);
    if (s->counted < end)
        s->counted = end;
}

static void
followed_add(struct followed *s, const struct segment_line *line, const char id[ULID_LEN])
{
    size_t n = line->no_end ? line->n : line->n - 1;
    struct followed_line *new = ms_calloc(1, sizeof(*new) + n + 1);

    memcpy(new->text, line->text, n);
    memcpy(new->item.id, id, ULID_LEN);
    new->item.line = new->text;
    new->item.n = n;
    new->item.segment = s->name;
    new->item.at = line->at;
    new->of = s;
    TAILQ_INSERT_TAIL(&s->lines, new, link);
    if (s->next == NULL)
        s->next = new;
    s->records++;
}

struct reading {
    struct follow *f;
    struct followed *s;
    uint64_t from;
};

/* A line that is not whole yet is awaited: the writer's next write, or recovery, makes it so. */
static int
reading_line(void *arg, const struct segment_line *line)
{
    struct reading *r = arg;
    struct followed *s = r->s;
    char id[ULID_LEN];

    errno = ECANCELED;
    if (!s->is_sealed && (!line->whole || line->bad_end))
        return -1;
    followed_uncount(s, line);
    if (line->whole && record_id_at(line->text, line->n, id))
        followed_add(s, line, id);
    else if (!line->whole || record_is_damage(line->text, line->n))
        r->f->lag.damaged++;
    if (!line->whole)
        log_line(LOG_relay_passes_damage,
                 "relay: journal/%s: %zu damaged bytes at %llu are passed over", s->name, line->n,
                 (unsigned long long)line->at);
    s->read_at = line->at + line->n;
    r->f->has_moved = true;
    return s->read_at - r->from < FOLLOW_SLICE ? 0 : -1;
}

/* Reads what it tells next, of what is safe. Returns 0, or -1 with errno. */
static int
followed_load(struct follow *f, struct followed *s)
{
    struct reading r = {f, s, s->read_at};

    if (followed_open(f, s) < 0)
        return errno == ENOENT ? 0 : followed_fail(f, s, "cannot be opened");
    if (segment_scan(f->ops, s->fd, s->read_at, s->good, reading_line, &r) < 0 &&
        errno != ECANCELED)
        return followed_fail(f, s, "cannot be read");
    if (s->read_at == s->good)
        followed_rest(s);
    return 0;
}

/* --- looking --- */

/* Nobody but a worker or recovery holds its lock; and one that nobody holds any more, and that had
 * bytes before, is not written again. A commit that was under way has gone well where there is no
 * mark before these bytes and they are still there: if it fails, nobody appends after it. */
static int
followed_measure(struct follow *f, struct followed *s)
{
    struct stat before, st;
    uint64_t marked;
    bool is_final;

    if (f->ops->status(s->fd, &before) < 0)
        return -1;
    marked = file_marked(s->fd);
    is_final = before.st_size > 0 && !file_is_locked(s->fd);
    if (f->ops->status(s->fd, &st) < 0)
        return -1;
    s->is_sealed = (st.st_mode & 0777) == SEGMENT_SEALED || !S_ISREG(st.st_mode);
    s->is_final = s->is_sealed || is_final;
    s->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    s->good = (uint64_t)before.st_size < s->size ? (uint64_t)before.st_size : s->size;
    if (s->good > marked)
        s->good = marked;
    return 0;
}

/* Somebody has cut it short, or what was saved is all of it. */
static void
followed_clamp(struct followed *s)
{
    const struct followed_line *line;

    if (s->saved > s->size)
        s->saved = s->size;
    if (s->counted > s->size) {
        s->counted = s->size;
        s->records = 0;
        for (line = TAILQ_FIRST(&s->lines); line != NULL; line = TAILQ_NEXT(line, link))
            s->records++;
    }
    if (s->read_at > s->size)
        s->read_at = s->size;
}

/* What is to be told of a segment that has told all it had. Returns 0, or -1 with errno. */
static int
followed_look(struct follow *f, struct followed *s)
{
    if (followed_open(f, s) < 0 || followed_measure(f, s) < 0) {
        if (errno != ENOENT && errno != ELOOP && errno != ENXIO)
            return followed_fail(f, s, "cannot be read");
        s->is_final = errno != ENOENT; /* else it is none of ours */
    }
    followed_clamp(s);
    if (s->good > s->read_at)
        followed_place(f, s);
    followed_rest(s);
    return 0;
}

/* Brings the list of segments up to date with the names that are there. */
static void
follow_merge(struct follow *f, struct dirent **names, int count)
{
    struct followed *s = TAILQ_FIRST(&f->segments), *other;

    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;

        while (s != NULL && strcmp(s->name, name) < 0) {
            other = s;
            s = TAILQ_NEXT(s, link);
            followed_lose(f, other);
        }
        if (s != NULL && strcmp(s->name, name) == 0) {
            s = TAILQ_NEXT(s, link);
            continue;
        }
        other = followed_create(f, name);
        if (s != NULL)
            TAILQ_INSERT_BEFORE(s, other, link);
        else
            TAILQ_INSERT_TAIL(&f->segments, other, link);
    }
    while ((other = s) != NULL) {
        s = TAILQ_NEXT(s, link);
        followed_lose(f, other);
    }
}

static int
follow_list(struct follow *f)
{
    struct dirent **names;
    struct stat st;
    int count;

    if (f->ops->status(f->dirs.journal, &st) < 0)
        return -1;
    if (!f->listed_soon && memcmp(&f->listed, &st.st_mtim, sizeof(f->listed)) == 0) {
        position_listed(f);
        return 0;
    }
    count = segment_names(f->dirs.journal, &names);
    if (count < 0)
        return -1;
    follow_merge(f, names, count);
    segment_names_free(names, count);
    position_listed(f);
    f->listed = st.st_mtim;
    f->listed_soon = (uint64_t)st.st_mtim.tv_sec + FOLLOW_YOUNG_S > clock_real_us() / 1000000;
    return 0;
}

/* One that has something to tell is only measured, for follow_lag. */
static int
follow_look_at(struct follow *f, struct followed *s, uint64_t now_us)
{
    struct stat st;

    if (s->is_final && (s->is_ready || s->read_at == s->size))
        return 0;
    if (!s->is_ready)
        return now_us < s->retry_us ? 0 : followed_look(f, s);
    if (f->ops->status(s->fd, &st) == 0 && (uint64_t)st.st_size > s->size)
        s->size = (uint64_t)st.st_size;
    return 0;
}

static int
follow_look(struct follow *f)
{
    uint64_t began_us = clock_mono_us(), took_us;
    int rc = 0;

    f->look_us = began_us + FOLLOW_LOOK_US;
    if (data_dirs_open(&f->dirs, f->config, &f->syncs) < 0 || follow_list(f) < 0)
        return -1;
    for (struct followed *s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link))
        if (follow_look_at(f, s, began_us) < 0)
            rc = -1;
    took_us = clock_mono_us() - began_us;
    if (took_us * FOLLOW_LOOKS > FOLLOW_LOOK_US)
        f->look_us = began_us + took_us * FOLLOW_LOOKS;
    return rc;
}

/* --- for the caller --- */

/* Loads what it tells next, unless it waits for more. */
static int
follow_load(struct follow *f, struct followed *s)
{
    followed_unready(f, s);
    if (followed_load(f, s) < 0)
        return -1;
    if (s->next != NULL)
        followed_place(f, s);
    return 0;
}

static struct follow_item *
follow_tell(struct follow *f, struct followed *s)
{
    struct followed_line *line = s->next;

    followed_unready(f, s);
    s->next = TAILQ_NEXT(line, link);
    if (s->next != NULL || s->read_at < s->good)
        followed_place(f, s);
    return &line->item;
}

int
follow_next(struct follow *f, struct follow_item **item_out)
{
    struct followed *s;

    if (clock_mono_us() >= f->look_us && follow_look(f) < 0)
        return -1;
    while (f->dirs.journal >= 0 && (s = TAILQ_FIRST(&f->ready)) != NULL) {
        if (s->next != NULL) {
            *item_out = follow_tell(f, s);
            return 1;
        }
        if (follow_load(f, s) < 0)
            return -1;
    }
    return 0;
}

void
follow_done(struct follow *f, struct follow_item *item)
{
    struct followed_line *line = (struct followed_line *)item;
    struct followed *s = line->of;

    if (strcmp(item->id, f->lag.newest) > 0)
        memcpy(f->lag.newest, item->id, sizeof(f->lag.newest));
    line->done = true;
    while ((line = TAILQ_FIRST(&s->lines)) != NULL && line->done) {
        TAILQ_REMOVE(&s->lines, line, link);
        free(line);
        s->records--;
    }
    f->has_moved = true;
    if (s->is_gone && TAILQ_EMPTY(&s->lines)) {
        TAILQ_REMOVE(&f->gone, s, link);
        followed_destroy(s);
    }
}

/* --- lag --- */

/* Counts the newlines of what was not counted, as long as *left lasts. */
static void
followed_count(struct follow *f, struct followed *s, uint64_t *left)
{
    while (s->counted<s->size && * left> 0 && followed_open(f, s) == 0) {
        uint64_t n = s->size - s->counted;

        n = n < FOLLOW_BLOCK ? n : FOLLOW_BLOCK;
        if (fd_read_by(f->ops->read, s->fd, f->block, (size_t)n, (off_t)s->counted) < 0)
            break;
        s->records += count_newlines(f->block, (size_t)n);
        s->counted += n;
        *left -= n < *left ? n : *left;
    }
    followed_rest(s);
}

static uint64_t
followed_oldest_us(const struct followed *s)
{
    const struct followed_line *first = TAILQ_FIRST(&s->lines);

    return ulid_ms(first != NULL ? first->item.id : s->is_ready ? s->head : s->name) * 1000;
}

void
follow_lag(struct follow *f, struct follow_lag *lag_out)
{
    uint64_t left = FOLLOW_COUNT;
    struct follow_lag lag;
    struct followed *s;

    if (clock_mono_us() >= f->look_us)
        (void)follow_look(f); /* what it cannot read, follow_next says */
    lag = f->lag;
    for (s = TAILQ_FIRST(&f->segments); s != NULL; s = TAILQ_NEXT(s, link)) {
        uint64_t position = followed_position(s), oldest_us;

        if (s->size <= position)
            continue;
        followed_count(f, s, &left);
        lag.counting = lag.counting || s->counted < s->size;
        lag.records += s->records;
        lag.bytes += s->size - position;
        oldest_us = followed_oldest_us(s);
        if (lag.oldest_us == 0 || oldest_us < lag.oldest_us)
            lag.oldest_us = oldest_us;
    }
    *lag_out = lag;
}

/* --- life --- */

struct follow *
follow_open(const struct config *config, const struct file_ops *ops, char error[FOLLOW_ERROR_LEN])
{
    struct follow *f = ms_calloc(1, sizeof(*f));
    int saved;

    f->config = config;
    f->ops = ops;
    f->dirs = DATA_DIRS_CLOSED;
    f->position_fd = -1;
    f->block = ms_malloc(FOLLOW_BLOCK);
    f->listed_soon = true;
    TAILQ_INIT(&f->segments);
    TAILQ_INIT(&f->ready);
    TAILQ_INIT(&f->gone);
    dir_syncs_init(&f->syncs, ops);
    if (data_dirs_open(&f->dirs, config, &f->syncs) == 0 && position_open(f) == 0)
        return f;
    saved = errno;
    snprintf(error, FOLLOW_ERROR_LEN, "the journal in %s cannot be followed: %s", config->data_dir,
             saved == EAGAIN ? "another process does that" : strerror(saved));
    follow_close(f);
    errno = saved;
    return NULL;
}

static void
follow_clear(struct followed_list *list)
{
    struct followed *s;

    while ((s = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, s, link);
        followed_destroy(s);
    }
}

void
follow_close(struct follow *f)
{
    if (f == NULL)
        return;
    follow_clear(&f->segments);
    follow_clear(&f->gone);
    position_close(f);
    data_dirs_close(&f->dirs);
    dir_syncs_fini(&f->syncs);
    free(f->block);
    free(f);
}
