/* The handlers that CONFIG_HANDLERS has a row for. */
#include "handler/handler.h"

#define X(name, ...) &name##_handler,
static const struct handler_ops *const handlers[] = {CONFIG_HANDLERS(X)};
#undef X

const struct handler_ops *
handler_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(handlers); i++)
        if (strcmp(handlers[i]->name, name) == 0)
            return handlers[i];
    return NULL;
}

void *
handler_keep_host(const struct handler_host *host, char error[HANDLER_ERROR_LEN])
{
    struct handler_host *copy = ms_malloc(sizeof(*copy));

    (void)error;
    *copy = *host;
    return copy;
}
