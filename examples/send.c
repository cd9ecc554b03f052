/* Sends a JSON document and then the files that are named, and tells what became of each.
 *
 *     cc -o send send.c $(pkg-config --cflags --libs libmsock)
 *     ./send msp://127.0.0.1:8000 report.pdf picture.png */
#include <msock.h>
#include <stdio.h>

static int
report(msock *m, const char *what, enum msock_status status)
{
    size_t n = 0;
    const char *reply = msock_reply(m, &n);

    if (status != MSOCK_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, msock_status_name(status), msock_error(m));
        return 1;
    }
    printf("%s: committed", what);
    if (n > 0)
        printf(", reply: %.*s", (int)n, reply);
    putchar('\n');
    return 0;
}

int
main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "msp://127.0.0.1:8000";
    json_t *event = json_pack("{s:s, s:i}", "event", "upload", "files", argc > 2 ? argc - 2 : 0);
    msock *m = msock_open(url);
    char reason[256];
    int failed = 0;

    if (m == NULL || event == NULL) {
        msock_url_error(url, reason, sizeof(reason));
        fprintf(stderr, "%s\n", reason);
        json_decref(event);
        msock_close(m);
        return 64;
    }
    msock_set_want_reply(m, 1);
    failed |= report(m, "event", msock_send_json(m, event));
    for (int i = 2; i < argc; i++)
        failed |= report(m, argv[i], msock_send_file(m, argv[i], NULL));
    json_decref(event);
    msock_close(m);
    return failed;
}
