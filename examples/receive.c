/* Receives messages in a program of one's own and prints them.
 *
 *     cc -o receive receive.c $(pkg-config --cflags --libs libmsock)
 *     ./receive auto://127.0.0.1:8000
 *     msock send 'hello there' */
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
receive(msock_message *m)
{
    size_t n;
    const char *data = msock_message_data(m, &n);

    if (data == NULL) {
        msock_message_fail(m, "the message cannot be read back");
        return;
    }
    printf("%c from %s over %s, id '%s', %zu bytes: ", msock_message_kind(m), msock_message_peer(m),
           msock_message_protocol(m), msock_message_id(m), n);
    fwrite(data, 1, n, stdout);
    putchar('\n');
    if (fflush(stdout) == 0)
        msock_message_commit(m, NULL, 0);
    else
        msock_message_fail(m, "it could not be printed");
}

int
main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "auto://127.0.0.1:8000";
    enum msock_status status;
    msock_message *m;

    server = msock_server_create();
    if (server == NULL || msock_server_add_listener(server, url) != MSOCK_OK) {
        fprintf(stderr, "%s: %s\n", url, server != NULL ? msock_server_error(server) : "no memory");
        msock_server_destroy(server);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    fprintf(stderr, "listening on %s\n", msock_server_address(server, 0));
    while ((status = msock_server_recv(server, -1, &m)) == MSOCK_OK)
        receive(m);
    if (status != MSOCK_CANCELLED)
        fprintf(stderr, "%s\n", msock_server_error(server));
    msock_server_destroy(server);
    return status != MSOCK_CANCELLED;
}
