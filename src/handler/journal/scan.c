/* A segment is read through a window that grows to its longest line. A line that is not whole may
 * still hold records that are: then only newlines, or what stands between them, were damaged. */
#include "handler/journal/journal.h"

#include "common/fd.h"
#include "common/thread.h"

#include <stdlib.h>

#define SCAN_BLOCK    (256u << 10)
#define SCAN_LINE_MAX (512u << 20) /* longer than any line that was ever written */

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
    struct segment_line line = {
        .at = s->at + from, .n = n, .text = s->window + from, .whole = whole, .bad_end = bad_end};

    return n == 0 ? 0 : s->fn(s->arg, &line);
}

/* Gives the whole records, each with one byte behind it, with which a line begins. Returns how many
 * bytes they are, or -1. */
static ssize_t
scan_front(struct scan *s, size_t from, size_t n)
{
    size_t done = 0, first;

    while ((first = record_first(s->window + from + done, n - done)) > 0 && done + first < n) {
        if (scan_give(s, from + done, first + 1, true, true) < 0)
            return -1;
        done += first + 1;
    }
    return (ssize_t)done;
}

/* Whole records at the end of a line whose newline is good, and damaged bytes before them. */
static int
scan_back(struct scan *s, size_t from, size_t n)
{
    size_t *begins = NULL, count = 0, cap = 0, end = n, begin;
    int rc = 0;

    while (end > 0 && (begin = record_find(s->window + from, end - 1)) < end - 1) {
        if (count == cap) {
            size_t *more = realloc(begins, (cap = cap == 0 ? 16 : cap * 2) * sizeof(*begins));

            if (more == NULL) {
                free(begins);
                return -1;
            }
            begins = more;
        }
        begins[count++] = begin;
        end = begin;
    }
    rc = scan_give(s, from, end, false, false);
    while (rc == 0 && count-- > 0) {
        size_t next = count > 0 ? begins[count - 1] : n;

        rc = scan_give(s, from + begins[count], next - begins[count], true, count > 0);
    }
    free(begins);
    return rc;
}

/* n bytes, the last of them a newline. */
static int
scan_line(struct scan *s, size_t from, size_t n)
{
    ssize_t front;

    if (record_is_whole(s->window + from, n - 1))
        return scan_give(s, from, n, true, false);
    front = scan_front(s, from, n - 1); /* the newline is not what stands in the place of one */
    if (front < 0)
        return -1;
    if (record_is_whole(s->window + from + front, n - (size_t)front - 1))
        return scan_give(s, from + (size_t)front, n - (size_t)front, true, false);
    return scan_back(s, from + (size_t)front, n - (size_t)front);
}

/* What stands behind the last newline. A torn line may hold what looks like a record, in a body: so
 * only those count that follow each other from the beginning. */
static int
scan_tail(struct scan *s)
{
    ssize_t front = s->len > 0 ? scan_front(s, 0, s->len) : 0;
    struct segment_line last = {.whole = true, .bad_end = true, .no_end = true};

    if (front < 0 || (size_t)front == s->len)
        return front < 0 ? -1 : 0;
    last.at = s->at + (size_t)front;
    last.n = s->len - (size_t)front;
    last.text = s->window + front;
    if (record_first(last.text, last.n) == last.n)
        return s->fn(s->arg, &last);
    return scan_give(s, (size_t)front, last.n, false, false);
}

/* Gives all lines that end within the window, and returns how many bytes these are, or -1. */
static ssize_t
scan_window(struct scan *s)
{
    size_t from = 0;
    char *newline;

    while ((newline = memchr(s->window + from, '\n', s->len - from)) != NULL) {
        size_t n = (size_t)(newline - s->window) - from + 1;

        if (scan_line(s, from, n) < 0)
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
    if (fd_read_by(ops->read, fd, s->window + s->len, n, (off_t)(s->at + s->len)) < 0)
        return -1;
    s->len += n;
    thread_give_way();
    return 0;
}

int
segment_scan(const struct file_ops *ops, int fd, uint64_t from, uint64_t size, segment_line_fn fn,
             void *arg)
{
    struct scan s = {.fn = fn, .arg = arg, .at = from};
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
        rc = scan_tail(&s);
    free(s.window);
    return rc;
}
