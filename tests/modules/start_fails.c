/* Does not start, and says why where it is given args; stop must not be called then. */
#include <msock_module.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
fails_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)state_out;
    if (strcmp(host->args, "long") == 0)
        memset(error, 'x', error_len); /* not even NUL-terminated */
    else
        snprintf(error, error_len, "%s", host->args);
    return -1;
}

static void
fails_stop(void *state)
{
    (void)state;
    abort();
}

#define NAME  "start_fails"
#define START fails_start
#define STOP  fails_stop
#include "least.h"
