/* The table of handlers. */
#include "handler/handler_list.h"

#include <string.h>

static const struct handler_ops *const handlers[] = {
    &journal_handler, &echo_handler,   &discard_handler,
    &exec_handler,    &module_handler, &broadcast_handler,
};

const struct handler_ops *
handler_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(handlers); i++)
        if (strcmp(handlers[i]->name, name) == 0)
            return handlers[i];
    return NULL;
}

const char *
handler_names(void)
{
    return "journal, echo, discard, exec, module, broadcast";
}
