/* Takes its worker with it when a message says "crash"; settles all others. */
#include <msock_module.h>

#include <signal.h>
#include <string.h>

static int
start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    (void)host;
    (void)error;
    (void)error_len;
    *state_out = NULL;
    return 0;
}

static enum msock_module_result
take(void *state, const struct msock_module_message *message)
{
    (void)state;
    if (message->size == 5 && memcmp(message->data, "crash", 5) == 0) {
        signal(SIGSEGV, SIG_DFL); /* no sanitizer has a say in it */
        raise(SIGSEGV);
    }
    return MSOCK_MODULE_COMMIT;
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "crash",
    .start = start,
    .message = take,
};
