/* msock chat: lines from the keyboard go out, messages that come in are printed above them. Works
 * over every protocol whose server may speak by itself: tinyproto, frame and cnp. */
#include "chat_terminal.h"
#include "command.h"
#include "input.h"
#include "msock.h"
#include "numbers.h"
#include "say.h"
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define CHAT_LINE_MAX 65536u
#define CHAT_AGAIN_S  1.0 /* from one connection to the next, at least */
#define CHAT_TURN_MAX 64  /* messages that are printed before anything else has its turn */

struct chat {
    msock *m;
    const char *name; /* put before each line; NULL: nothing */
    double wait_s;    /* how long to listen after the end of input */
    bool json;
    bool input_done;
    bool failed;              /* a line could not be sent */
    bool more;                /* messages may be there, whatever poll(2) says */
    double again;             /* when to connect, where there is no connection */
    double end;               /* with input_done: when to leave */
    char line[CHAT_LINE_MAX]; /* from a pipe: what is there of the next line */
    size_t line_len;
};

static double
chat_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
chat_input_done(struct chat *chat)
{
    if (chat->input_done)
        return;
    chat->input_done = true;
    chat->end = chat_now() + chat->wait_s;
}

/* --- out --- */

static void
chat_send(struct chat *chat, const char *line, size_t n)
{
    size_t name_len = chat->name != NULL ? strlen(chat->name) + 2 : 0;
    char *text = malloc(name_len + n + 1);

    if (text == NULL) {
        say_error("no memory");
        exit(EX_OSERR);
    }
    if (name_len > 0)
        snprintf(text, name_len + 1, "%s: ", chat->name);
    memcpy(text + name_len, line, n);
    if (msock_send(chat->m, text, name_len + n) != MSOCK_OK) {
        chat_terminal_note(msock_error(chat->m));
        chat->failed = true;
    }
    free(text);
}

/* A line from the terminal; NULL: its end (^D). */
static void
chat_typed(void *arg, const char *line)
{
    struct chat *chat = arg;

    if (line == NULL)
        chat_input_done(chat);
    else if (*line != '\0')
        chat_send(chat, line, strlen(line));
}

/* Sends the whole lines of a pipe; of one that is too long, what fits. */
static void
chat_send_lines(struct chat *chat)
{
    char *at = chat->line, *end = chat->line + chat->line_len, *newline;

    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        chat_send(chat, at, (size_t)(newline - at));
        at = newline + 1;
    }
    if (at == chat->line && chat->line_len == sizeof(chat->line)) {
        chat_send(chat, at, chat->line_len);
        at = end;
    }
    chat->line_len = (size_t)(end - at);
    memmove(chat->line, at, chat->line_len);
}

static void
chat_read_pipe(struct chat *chat)
{
    ssize_t n =
        read(STDIN_FILENO, chat->line + chat->line_len, sizeof(chat->line) - chat->line_len);

    if (n < 0 && errno == EINTR)
        return;
    if (n > 0) {
        chat->line_len += (size_t)n;
        chat_send_lines(chat);
        return;
    }
    if (chat->line_len > 0)
        chat_send(chat, chat->line, chat->line_len);
    chat->line_len = 0;
    chat_input_done(chat);
}

/* --- in --- */

static void
chat_print(const struct chat *chat, const char *data, size_t n)
{
    json_t *text;

    if (!chat->json) {
        chat_terminal_print(data, n);
        return;
    }
    text = json_stringn(data, n);
    if (text == NULL) /* not UTF-8 */
        text = json_sprintf("(%zu bytes that are no text)", n);
    json_dumpf(json_pack("{s:o}", "text", text), stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
}

/* What has come, up to a limit, or else nobody could leave while messages keep coming; sets more.
 * Returns false where the connection has ended. */
static bool
chat_receive(struct chat *chat)
{
    chat->more = false;
    for (int i = 0; i < CHAT_TURN_MAX; i++) {
        const void *data;
        size_t n;
        enum msock_status status = msock_recv(chat->m, 0, &data, &n);

        if (status == MSOCK_TIMEOUT)
            return true;
        if (status == MSOCK_OK)
            chat_print(chat, data, n);
        else
            chat_terminal_note(msock_error(chat->m));
        if (status != MSOCK_OK && status != MSOCK_LOCAL)
            return false;
    }
    chat->more = true;
    return true;
}

/* --- the loop --- */

static int
chat_wait_ms(const struct chat *chat)
{
    double now = chat_now(), left = 3600;

    if (chat->more)
        return 0;
    if (chat->input_done)
        left = chat->end - now;
    if (msock_fd(chat->m) < 0 && chat->again - now < left)
        left = chat->again - now;
    return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

static void
chat_wait(struct chat *chat)
{
    struct pollfd p[2] = {
        {.fd = msock_fd(chat->m), .events = POLLIN},
        {.fd = chat->input_done ? -1 : STDIN_FILENO, .events = POLLIN},
    };

    if (poll(p, 2, chat_wait_ms(chat)) <= 0)
        return;
    if (p[1].revents != 0 && chat_terminal_is_open())
        chat_terminal_read();
    else if (p[1].revents != 0)
        chat_read_pipe(chat);
}

/* Connects where there is no connection and it is time to. Returns false where there is none to be
 * had. */
static bool
chat_connect(struct chat *chat)
{
    if (msock_fd(chat->m) >= 0 || chat->more || chat_now() < chat->again)
        return true;
    chat->again = chat_now() + CHAT_AGAIN_S;
    if (msock_connect(chat->m) == MSOCK_OK)
        return true;
    chat_terminal_note(msock_error(chat->m));
    return false;
}

/* Until the end of input, or the server is gone for good. Every call on the handle may have read
 * messages for which there is nothing to poll any more. */
static int
chat_run(struct chat *chat)
{
    while (!chat->input_done || chat_now() < chat->end) {
        if (!chat_connect(chat))
            return EX_UNAVAILABLE;
        if ((msock_fd(chat->m) >= 0 || chat->more) && !chat_receive(chat) && chat->input_done)
            return EX_UNAVAILABLE;
        chat_wait(chat);
    }
    if (msock_fd(chat->m) >= 0)
        (void)chat_receive(chat);
    return chat->failed ? EX_TEMPFAIL : EX_OK;
}

static void
chat_help(FILE *out)
{
    fputs(
        "usage: msock chat [OPTION...]\n\n"
        "Sends each line of input as a message and prints the messages that come, over tinyproto,\n"
        "frame or cnp. On a terminal lines can be edited; ^D leaves.\n\n"
        "examples:\n"
        "  msockd -l 'frame://127.0.0.1:8001?handler=broadcast'   # the server\n"
        "  msock chat -u frame://127.0.0.1:8001 --name ann\n"
        "  echo hello | msock chat -u tinyproto://127.0.0.1:8002 --wait 1\n\n"
        "options:\n"
        "  -u, --url URL       the server; default $MSOCK_URL\n"
        "  -n, --name NAME     put \"NAME: \" before each line\n"
        "  -w, --wait SECONDS  listen for so long after the end of input; default 0\n"
        "  -k, --key FILE      seal and open messages with the key in FILE\n"
        "  -j, --json          print each message as a JSON object\n"
        "  -h, --help          this text\n\n"
        "exit status: 0, 64 usage, 69 not reachable, 75 a line could not be sent\n",
        out);
}

/* Returns -1 to go on, or an exit status. */
static int
chat_options(struct chat *chat, struct session_options *options, int argc, char **argv)
{
    static const struct option longs[] = {{"url", required_argument, NULL, 'u'},
                                          {"name", required_argument, NULL, 'n'},
                                          {"wait", required_argument, NULL, 'w'},
                                          {"key", required_argument, NULL, 'k'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "u:n:w:k:jh", longs, NULL)) != -1) {
        if (c == 'h') {
            chat_help(stdout);
            return EX_OK;
        }
        if (c == 'n') {
            chat->name = optarg;
        } else if (c == 'w' && number_seconds(optarg, 1e6, &chat->wait_s)) {
            continue;
        } else if (c == 'w') {
            say_error("--wait wants seconds, such as 0.5 or 10, not '%s'", optarg);
            return EX_USAGE;
        } else if (session_option(options, c, optarg) < 0) {
            say_hint("msock chat --help");
            return EX_USAGE;
        }
    }
    chat->json = options->json;
    if (optind == argc)
        return -1;
    say_error("chat takes no argument: what is typed is sent");
    return EX_USAGE;
}

int
command_chat(int argc, char **argv, const char *url)
{
    static struct chat chat;
    struct session_options options = SESSION_OPTIONS_INIT(url);
    int status = chat_options(&chat, &options, argc, argv);

    if (status >= 0)
        return status;
    status = session_open(&options, &chat.m);
    if (status != EX_OK)
        return status;
    if (msock_recv(chat.m, 0, &(const void *){NULL}, &(size_t){0}) == MSOCK_USAGE) {
        say_error("%s", msock_error(chat.m));
        msock_close(chat.m);
        return EX_USAGE;
    }
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !chat.json)
        chat_terminal_open(chat_typed, &chat);
    status = chat_run(&chat);
    chat_terminal_close();
    msock_close(chat.m);
    return status;
}
