/* Does not start, and says why where it is given args; stop must not be called then. */
#include <msock_module.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)state_out;
    if (strcmp(host->args, "long") == 0)
        memset(error, 'x', error_len); /* not even NUL-terminated */
    else
        snprintf(error, error_len, "%s", host->args);
    return -1;
}

static enum msock_module_result
take(void *state, const struct msock_module_message *message)
{
    (void)state;
    (void)message;
    return MSOCK_MODULE_COMMIT;
}

static void
stop(void *state)
{
    (void)state;
    abort();
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "start_fails",
    .start = start,
    .message = take,
    .stop = stop,
};
