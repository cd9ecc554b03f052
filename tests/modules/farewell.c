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

#define NAME      "farewell"
#define START     farewell_start
#define CONN_OPEN farewell_conn_open
#include "least.h"
