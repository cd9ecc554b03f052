/* Never settles the first message, and pushes 2 MiB to the sender of each further one. */
#include <msock_module.h>

#include <stdbool.h>

struct flood {
    struct msock_module_host host;
    bool has_first;
};

static int
flood_start(const struct msock_module_host *host, void **state_out, char *error, size_t error_len)
{
    static struct flood flood;

    (void)error;
    (void)error_len;
    flood.host = *host;
    *state_out = &flood;
    return 0;
}

static enum msock_module_result
flood_message(void *state, const struct msock_module_message *message)
{
    static const char block[64 << 10];
    struct flood *flood = state;

    if (!flood->has_first) {
        flood->has_first = true;
        return MSOCK_MODULE_LATER;
    }
    for (int i = 0; i < 32; i++)
        (void)flood->host.push(flood->host.ctx, message->conn, block, sizeof(block));
    return MSOCK_MODULE_COMMIT;
}

#define NAME    "flood"
#define START   flood_start
#define MESSAGE flood_message
#include "least.h"
