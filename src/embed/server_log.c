/* The worker's log, as it is inside another program: nothing is printed, and what matters to the
 * program it is told by its calls. Takes the place of common/log.c in libmsock. */
#include "common/log.h"

void
log_error(const char *fmt, ...)
{
    (void)fmt;
}

void
log_warn(const char *fmt, ...)
{
    (void)fmt;
}

void
log_notice(const char *fmt, ...)
{
    (void)fmt;
}

void
log_info(const char *fmt, ...)
{
    (void)fmt;
}

void
log_debug(const char *fmt, ...)
{
    (void)fmt;
}
