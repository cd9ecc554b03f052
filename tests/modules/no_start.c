/* Has no start callback. */
#include <msock_module.h>

static enum msock_module_result
take(void *state, const struct msock_module_message *message)
{
    (void)state;
    (void)message;
    return MSOCK_MODULE_COMMIT;
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "no_start",
    .start = NULL,
    .message = take,
};
