/* A segment is read through a window that grows to its longest line. A line that is not whole may
 * still end with a record that is: only the newline before it, or what stands there, was damaged.
 */
#include "handler/journal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_BLOCK     (256u << 10)
#define SCAN_LINE_MAX  (512u << 20) /* longer than any line that was ever written */
#define SCAN_GLUED_MAX 64           /* records in one line, the newlines between them damaged */

struct scan {
    segment_line_fn fn;
    void *arg;
    char *window;
    size_t cap, len; /* of the window: bytes allocated, bytes read */
    uint64_t at;     /* offset of the window in the segment */
};

static int
scan_give(struct scan *s, size_t from, size_t n, bool whole, bool bad_end)
{
    struct segment_line line = {s->at + from, n, s->window + from, whole, bad_end};

    return n == 0 ? 0 : s->fn(s->arg, &line);
}

/* n bytes with what ends them: a newline, or what stands in its place. */
static int
scan_line(struct scan *s, size_t from, size_t n, bool end_is_good, unsigned depth)
{
    const char *line = s->window + from;
    size_t front;

    if (record_is_whole(line, n - 1))
        return scan_give(s, from, n, true, !end_is_good);
    front = depth > 0 ? record_find(line, n - 1) : n - 1;
    if (front >= n - 1)
        return scan_give(s, from, n, false, false);
    if (front > 0 && scan_line(s, from, front, false, depth - 1) < 0)
        return -1;
    return scan_give(s, from + front, n - front, true, !end_is_good);
}

/* Gives all lines that end within the window, and returns how many bytes these are, or -1. */
static ssize_t
scan_window(struct scan *s)
{
    size_t from = 0;
    char *newline;

    while ((newline = memchr(s->window + from, '\n', s->len - from)) != NULL) {
        size_t n = (size_t)(newline - s->window) - from + 1;

        if (scan_line(s, from, n, true, SCAN_GLUED_MAX) < 0)
            return -1;
        from += n;
    }
    if (from == 0 && s->len >= SCAN_LINE_MAX) {
        if (scan_give(s, 0, s->len, false, false) < 0)
            return -1;
        from = s->len;
    }
    return (ssize_t)from;
}

static void
scan_drop(struct scan *s, size_t n)
{
    memmove(s->window, s->window + n, s->len - n);
    s->len -= n;
    s->at += n;
}

static int
scan_read(struct scan *s, const struct file_ops *ops, int fd, uint64_t size)
{
    uint64_t left = size - s->at - s->len;
    size_t more = s->len > SCAN_BLOCK ? s->len : SCAN_BLOCK;
    size_t n = left < more ? (size_t)left : more;

    if (s->len + n > s->cap) {
        size_t cap = s->len + more;
        char *window = realloc(s->window, cap);

        if (window == NULL)
            return -1;
        s->window = window;
        s->cap = cap;
    }
    if (file_read_all(ops, fd, s->window + s->len, n, (off_t)(s->at + s->len)) < 0)
        return -1;
    s->len += n;
    return 0;
}

int
segment_scan(const struct file_ops *ops, int fd, uint64_t size, segment_line_fn fn, void *arg)
{
    struct scan s = {.fn = fn, .arg = arg};
    int rc = 0;

    while (rc == 0 && s.at + s.len < size) {
        ssize_t done;

        rc = scan_read(&s, ops, fd, size);
        done = rc < 0 ? -1 : scan_window(&s);
        if (done < 0)
            rc = -1;
        else
            scan_drop(&s, (size_t)done);
    }
    if (rc == 0)
        rc = scan_give(&s, 0, s.len, false, false);
    free(s.window);
    return rc;
}
