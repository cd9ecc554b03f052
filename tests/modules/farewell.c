/* Sends everybody who comes "bye" and takes its leave of them, before they have said a word. */
#include <msock_module.h>

static const struct msock_module_host *farewell_host;

static int
farewell_start(const struct msock_module_host *host, void **state_out, char *error,
               size_t error_len)
{
    (void)error;
    (void)error_len;
    farewell_host = host;
    *state_out = NULL;
    return 0;
}

static void
farewell_conn_open(void *state, struct msock_module_conn *conn, int moved)
{
    (void)state;
    (void)moved;
    (void)farewell_host->push(farewell_host->ctx, conn, "bye", 3);
    farewell_host->disconnect(farewell_host->ctx, conn);
}

static enum msock_module_result
farewell_message(void *state, const struct msock_module_message *message)
{
    (void)state;
    (void)message;
    return MSOCK_MODULE_COMMIT;
}

const struct msock_module msock_module = {
    .abi = MSOCK_MODULE_ABI,
    .size = sizeof(struct msock_module),
    .name = "farewell",
    .start = farewell_start,
    .conn_open = farewell_conn_open,
    .message = farewell_message,
};
