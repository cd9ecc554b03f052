/* Why something could not be done. */
#include "master/failure.h"

#include <stdarg.h>
#include <stdio.h>

void
failure_set(struct failure *f, int code, const char *fmt, ...)
{
    va_list args;

    f->code = code;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
}
