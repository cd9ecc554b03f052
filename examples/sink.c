/* Takes JSON documents and prints one member of each. A document without it is refused.
 *
 *     cc -o sink sink.c $(pkg-config --cflags --libs libmsock jansson)
 *     ./sink auto://127.0.0.1:8000 event
 *     msock send-json '{"event": "login", "user": "ann"}' */
#include <msock_server.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static msock_server *server;

static void
on_signal(int number)
{
    (void)number;
    msock_server_stop(server);
}

static int
print_member(const json_t *document, const char *member)
{
    char *text = json_dumps(json_object_get(document, member), JSON_ENCODE_ANY | JSON_COMPACT);
    int rc = text != NULL && puts(text) >= 0 && fflush(stdout) == 0 ? 0 : -1;

    free(text);
    return rc;
}

static void
take(msock_message *m, const char *member)
{
    const json_t *document = msock_message_json(m);

    if (document == NULL)
        msock_message_refuse(m, "this sink takes JSON documents");
    else if (json_object_get(document, member) == NULL)
        msock_message_refuse(m, "the document has not got what this sink collects");
    else if (print_member(document, member) == 0)
        msock_message_commit(m, NULL, 0);
    else
        msock_message_fail(m, "it could not be printed");
}

int
main(int argc, char **argv)
{
    enum msock_status status;
    msock_message *m;

    server = msock_server_create();
    if (argc != 3 || server == NULL) {
        fprintf(stderr, "usage: sink URL MEMBER\n");
        msock_server_destroy(server);
        return 64;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    status = msock_server_add_listener(server, argv[1]);
    if (status == MSOCK_OK)
        fprintf(stderr, "listening on %s\n", msock_server_address(server, 0));
    while (status == MSOCK_OK && (status = msock_server_recv(server, -1, &m)) == MSOCK_OK)
        take(m, argv[2]);
    if (status != MSOCK_CANCELLED)
        fprintf(stderr, "%s: %s\n", argv[1], msock_server_error(server));
    msock_server_destroy(server);
    return status != MSOCK_CANCELLED;
}
