/* Sends every message back, over whatever protocol it came.
 *
 *     cc -o echo_server echo_server.c $(pkg-config --cflags --libs libmsock)
 *     ./echo_server auto://127.0.0.1:8000 'frame://127.0.0.1:8001?framing=length32'
 *     ./echo_client tinyproto://127.0.0.1:8000 hello */
#include <msock_server.h>
#include <signal.h>
#include <stdio.h>

static msock_server *server;

static void
on_signal(int number)
{
    (void)number;
    msock_server_stop(server);
}

static void
echo(void *arg, msock_server *s, msock_message *m)
{
    size_t n;
    const void *data = msock_message_data(m, &n);

    (void)arg;
    (void)s;
    if (data != NULL)
        msock_message_commit(m, data, n);
    else
        msock_message_fail(m, "the message cannot be read back");
}

static int
listen_on(const char *url, unsigned index)
{
    if (msock_server_add_listener(server, url) != MSOCK_OK) {
        fprintf(stderr, "%s: %s\n", url, msock_server_error(server));
        return -1;
    }
    fprintf(stderr, "listening on %s\n", msock_server_address(server, index));
    return 0;
}

int
main(int argc, char **argv)
{
    const struct msock_server_callbacks callbacks = {.message = echo};
    enum msock_status status = MSOCK_USAGE;
    int failed = 0;

    server = msock_server_create();
    if (server == NULL)
        return 1;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    for (int i = 1; i < argc && failed == 0; i++)
        failed = listen_on(argv[i], (unsigned)i - 1);
    if (argc < 2)
        failed = listen_on("auto://127.0.0.1:8000", 0);
    if (failed == 0 && (status = msock_server_run(server, &callbacks, NULL, 2000)) != MSOCK_OK)
        fprintf(stderr, "%s\n", msock_server_error(server));
    msock_server_destroy(server);
    return status != MSOCK_OK;
}
