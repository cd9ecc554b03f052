/* The last line of what a child says on its standard error, however much that is: the beginnings of
 * two lines are all that is kept. */
#ifndef HANDLER_EXEC_EXEC_TAIL_H
#define HANDLER_EXEC_EXEC_TAIL_H

#include "common/base.h"

#define EXEC_TAIL_MAX 512

struct exec_tail {
    char line[EXEC_TAIL_MAX]; /* not ended yet */
    size_t line_len;
    char last[EXEC_TAIL_MAX]; /* the last one that was not empty, without its end */
    size_t last_len;
};

/* Told of each line that is not empty, cut to EXEC_TAIL_MAX bytes. */
typedef void (*exec_tail_line_fn)(void *arg, const char *line, size_t n);

void exec_tail_init(struct exec_tail *tail);
void exec_tail_feed(struct exec_tail *tail, const char *data, size_t n, exec_tail_line_fn said,
                    void *arg);

/* No more will come: what has no end of line is a line too. */
void exec_tail_end(struct exec_tail *tail, exec_tail_line_fn said, void *arg);

#endif
