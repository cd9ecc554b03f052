/* Sends each argument as a message and prints what comes back, over whatever protocol the URL
 * names.
 *
 *     cc -o echo_client echo_client.c $(pkg-config --cflags --libs libmsock)
 *     ./echo_client cnp://127.0.0.1:8000 hello 'hello again' */
#include <msock.h>
#include <stdio.h>
#include <string.h>

static int
echo(msock *m, const char *text)
{
    enum msock_status status = msock_send(m, text, strlen(text));
    const char *reply;
    size_t n;

    if (status != MSOCK_OK) {
        fprintf(stderr, "%s: %s\n", msock_status_name(status), msock_error(m));
        return 1;
    }
    reply = msock_reply(m, &n);
    if (reply == NULL) {
        fprintf(stderr, "no reply came\n");
        return 1;
    }
    printf("%.*s\n", (int)n, reply);
    return n != strlen(text) || memcmp(reply, text, n) != 0;
}

int
main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "msp://127.0.0.1:8000";
    msock *m = msock_open(url);
    char reason[256];
    int failed = 0;

    if (m == NULL) {
        msock_url_error(url, reason, sizeof(reason));
        fprintf(stderr, "%s\n", reason);
        return 64;
    }
    msock_set_want_reply(m, 1);
    for (int i = 2; i < argc && !failed; i++)
        failed = echo(m, argv[i]);
    msock_close(m);
    return failed;
}
