/* The handlers there are, one file each; handler.c puts them into its table. */
#ifndef HANDLER_HANDLER_LIST_H
#define HANDLER_HANDLER_LIST_H

#include "handler/handler.h"

extern const struct handler_ops journal_handler;   /* journal.c */
extern const struct handler_ops echo_handler;      /* echo.c */
extern const struct handler_ops discard_handler;   /* discard.c */
extern const struct handler_ops exec_handler;      /* exec.c */
extern const struct handler_ops module_handler;    /* module.c */
extern const struct handler_ops broadcast_handler; /* broadcast.c */

#endif
