/* The assertion and the allocations that end the process rather than return. They write to standard
 * error by themselves: the log is not part of libmsock. */
#include "common/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void
ms_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    dprintf(STDERR_FILENO, "%s:%d: %s: assertion failed: %s\n", file, line, func, expr);
    abort();
}

static _Noreturn void
ms_out_of_memory(size_t n)
{
    dprintf(STDERR_FILENO, "out of memory: %zu bytes\n", n);
    abort();
}

void *
ms_malloc(size_t n)
{
    void *p = malloc(n != 0 ? n : 1);

    if (p == NULL)
        ms_out_of_memory(n);
    return p;
}

void *
ms_calloc(size_t count, size_t size)
{
    void *p = count != 0 && size != 0 ? calloc(count, size) : calloc(1, 1);

    if (p == NULL)
        ms_out_of_memory(count * size);
    return p;
}

char *
ms_strdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(ms_malloc(n), s, n);
}
