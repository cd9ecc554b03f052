#include "handler/exec/exec.h"

#include <string.h>

void
exec_tail_init(struct exec_tail *tail)
{
    tail->line_len = tail->last_len = 0;
}

void
exec_tail_end(struct exec_tail *tail, exec_tail_line_fn said, void *arg)
{
    if (tail->line_len > 0 && tail->line[tail->line_len - 1] == '\r')
        tail->line_len--;
    if (tail->line_len == 0)
        return;
    memcpy(tail->last, tail->line, tail->line_len);
    tail->last_len = tail->line_len;
    tail->line_len = 0;
    said(arg, tail->last, tail->last_len);
}

static void
exec_tail_add(struct exec_tail *tail, const char *data, size_t n)
{
    size_t room = EXEC_TAIL_MAX - tail->line_len;
    size_t part = n < room ? n : room;

    memcpy(tail->line + tail->line_len, data, part);
    tail->line_len += part;
}

void
exec_tail_feed(struct exec_tail *tail, const char *data, size_t n, exec_tail_line_fn said,
               void *arg)
{
    while (n > 0) {
        const char *end = memchr(data, '\n', n);
        size_t part = end != NULL ? (size_t)(end - data) : n;

        exec_tail_add(tail, data, part);
        if (end == NULL)
            return;
        exec_tail_end(tail, said, arg);
        data += part + 1;
        n -= part + 1;
    }
}
