/* msock listen: receives in the foreground and prints, or gives each message to a program. */
#include "command.h"
#include "listen_message.h"
#include "listen_url.h"
#include "numbers.h"
#include "say.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LISTEN_URL     "auto://127.0.0.1:8000"
#define LISTEN_URLS    64
#define LISTEN_LAST_MS 1000 /* for peers to read their last answers */

struct listening {
    msock_server *server;
    const char *url; /* -u or $MSOCK_URL; or NULL */
    const char *urls[LISTEN_URLS + 1];
    unsigned url_count;
    const char *key;
    uint64_t count; /* of messages; 0: until ^C */
    struct listen_options options;
};

/* For the signal handler. */
static msock_server *listen_server;

static void
listen_help(FILE *out)
{
    fputs(
        "usage: msock listen [OPTION...]\n\n"
        "Receives messages and prints each with a newline behind it; its sender is answered when\n"
        "it is printed. ^C ends it in order.\n\n"
        "examples:\n"
        "  msock listen\n"
        "  msock listen -l 'frame://0.0.0.0:5551?framing=delimiter' --json | jq .text\n"
        "  msock listen --exec 'psql -c \"copy lines from stdin\"' --count 100\n\n"
        "options:\n"
        "  -u, --url URL       where to listen; the options are those of listeners in\n"
        "                      msockd.conf(5) but handler; default $MSOCK_URL, else\n"
        "                      " LISTEN_URL "\n"
        "  -l, --listen URL    the same, repeatable: another place; without -u and $MSOCK_URL the\n"
        "                      only ones\n"
        "  -k, --key FILE      open and seal what is received and sent with the key in FILE\n"
        "  -j, --json          one JSON object a line: id, proto, peer, kind, size, sha256, and\n"
        "                      text, or base64 where it is not UTF-8\n"
        "  -n, --count N       end after N messages\n"
        "  -x, --exec COMMAND  /bin/sh runs COMMAND for each message, instead of printing it; the\n"
        "                      message is its standard input, MSOCK_ID, _FILE, _KIND, _PEER,\n"
        "                      _PROTO, _SHA256 and _SIZE describe it; exit status 0 takes it, 65\n"
        "                      refuses it, with any other it has failed\n"
        "  -h, --help          this text\n\n"
        "exit status: 0 ended by ^C or --count, 64 usage, 71 cannot listen, 74 cannot print\n",
        out);
}

static int
listen_option(struct listening *l, int c, const char *value)
{
    switch (c) {
    case 'l':
        if (l->url_count == LISTEN_URLS) {
            say_error("more than %d listeners", LISTEN_URLS);
            return -1;
        }
        l->urls[l->url_count++] = value;
        return 0;
    case 'u':
        l->url = value;
        return 0;
    case 'k':
        l->key = value;
        return 0;
    case 'j':
        l->options.json = true;
        return 0;
    case 'x':
        l->options.command = value;
        return 0;
    case 'n':
        if (number_parse(value, UINT64_MAX / 2, &l->count) && l->count > 0)
            return 0;
        say_error("--count wants a number from 1 on, not '%s'", value);
        return -1;
    }
    return -1;
}

/* Returns 0 to go on, 1 where help was printed, -1 for wrong usage, which was said. */
static int
listen_parse(struct listening *l, int argc, char **argv)
{
    static const struct option longs[] = {
        {"url", required_argument, NULL, 'u'},   {"listen", required_argument, NULL, 'l'},
        {"key", required_argument, NULL, 'k'},   {"json", no_argument, NULL, 'j'},
        {"count", required_argument, NULL, 'n'}, {"exec", required_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "u:l:k:jn:x:h", longs, NULL)) != -1) {
        if (c == 'h') {
            listen_help(stdout);
            return 1;
        }
        if (listen_option(l, c, optarg) < 0)
            return -1;
    }
    if (optind < argc) {
        say_error("there is nothing to say after the options: '%s'", argv[optind]);
        return -1;
    }
    if (l->url != NULL) {
        memmove(l->urls + 1, l->urls, l->url_count++ * sizeof(l->urls[0]));
        l->urls[0] = l->url;
    }
    if (l->url_count == 0)
        l->urls[l->url_count++] = LISTEN_URL;
    return 0;
}

static int
listen_begin(struct listening *l)
{
    for (unsigned i = 0; i < l->url_count; i++) {
        char *url = listen_url_with_key(l->urls[i], l->key);
        enum msock_status status =
            url != NULL ? msock_server_add_listener(l->server, url) : MSOCK_LOCAL;

        free(url);
        if (status == MSOCK_OK)
            continue;
        say_error("%s", msock_server_error(l->server));
        return status == MSOCK_USAGE ? EX_USAGE : EX_OSERR;
    }
    return EX_OK;
}

static void
listen_on_signal(int signal)
{
    (void)signal;
    msock_server_stop(listen_server);
}

/* Who reads what is printed may leave before us, which the write says, too. Not SIG_IGN, which
 * commands would inherit. */
static void
listen_on_pipe(int signal)
{
    (void)signal;
}

/* The second ^C does not wait any more. */
static void
listen_catch_signals(const struct listening *l)
{
    const struct sigaction action = {.sa_handler = listen_on_signal,
                                     .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    const struct sigaction broken = {.sa_handler = listen_on_pipe, .sa_flags = SA_RESTART};

    listen_server = l->server;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &broken, NULL);
}

static void
listen_say_ready(const struct listening *l)
{
    fputs("msock: ready", stderr);
    for (unsigned i = 0; i < l->url_count; i++) {
        const char *end = strstr(l->urls[i], "://");

        fprintf(stderr, " %.*s%s", (int)(end - l->urls[i]) + 3, l->urls[i],
                msock_server_address(l->server, i));
    }
    fputc('\n', stderr);
}

static int
listen_receive(const struct listening *l)
{
    enum msock_status status = MSOCK_OK;
    msock_message *m;

    for (uint64_t n = 0; l->count == 0 || n < l->count; n++) {
        status = msock_server_recv(l->server, -1, &m);
        if (status != MSOCK_OK)
            break;
        if (listen_message(&l->options, m) < 0) {
            say_error("cannot write to standard output: %s", strerror(errno));
            return EX_IOERR;
        }
    }
    if (status == MSOCK_OK || status == MSOCK_CANCELLED)
        return EX_OK;
    say_error("%s", msock_server_error(l->server));
    return EX_OSERR;
}

static void
listen_too_late(void *arg, msock_server *s, msock_message *m)
{
    (void)arg;
    (void)s;
    msock_message_fail(m, "the receiver has ended");
}

/* Lets everybody read what was said to them last. */
static void
listen_end(struct listening *l)
{
    const struct msock_server_callbacks callbacks = {.message = listen_too_late};

    msock_server_stop(l->server);
    (void)msock_server_run(l->server, &callbacks, NULL, LISTEN_LAST_MS);
}

int
command_listen(int argc, char **argv, const char *url)
{
    struct listening l = {.url = url, .options = {.terminal = isatty(STDOUT_FILENO)}};
    int parsed = listen_parse(&l, argc, argv), status;

    if (parsed != 0) {
        if (parsed < 0)
            say_hint("msock listen --help");
        return parsed > 0 ? EX_OK : EX_USAGE;
    }
    l.server = msock_server_create();
    if (l.server == NULL) {
        say_error("no memory or no descriptors");
        return EX_OSERR;
    }
    status = listen_begin(&l);
    if (status == EX_OK) {
        listen_catch_signals(&l);
        listen_say_ready(&l);
        status = listen_receive(&l);
        listen_end(&l);
    }
    msock_server_destroy(l.server);
    return status;
}
