/* The handler `journal`, as seen by its tests: the same with system calls that may fail. */
#ifndef HANDLER_JOURNAL_JOURNAL_H
#define HANDLER_JOURNAL_JOURNAL_H

#include "handler/handler.h"
#include "handler/journal/data_dir.h"

/* As create of struct handler_ops, with these instead of the plain system calls. */
struct handler *journal_create_with(const struct handler_host *host, const struct file_ops *ops,
                                    char error[HANDLER_ERROR_LEN]);

#endif
