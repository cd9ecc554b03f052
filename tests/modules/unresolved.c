/* Needs a function that nobody has. */
#include <msock_module.h>

enum msock_module_result nobody_has_this(void *state, const struct msock_module_message *message);

static int
start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)host;
    (void)error;
    (void)error_len;
    *state_out = NULL;
    return 0;
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "unresolved",
    .start = start,
    .message = nobody_has_this,
};
