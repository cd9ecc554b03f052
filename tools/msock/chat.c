/* msock chat: lines from the keyboard go out, messages that come in are printed above them. Works
 * over every protocol whose server may speak by itself. */
#include "command.h"

#include "common/text.h"

#include <editline/readline.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define CHAT_LINE_MAX 65536u
#define CHAT_AGAIN_S  1.0 /* from one connection to the next, at least */
#define CHAT_TURN_MAX 64  /* messages that are printed before anything else has its turn */

/* --- the terminal: a line that can be edited (libedit), and what comes in above it. Where none was
 * opened, messages are plain lines on standard output and notes go to standard error --- */

#define TERMINAL_PROMPT "> "

/* Called with each line that was typed, and with NULL at the end of input. */
typedef void (*chat_typed_fn)(void *arg, const char *line);

static struct {
    bool is_open;
    bool at_end;
    bool is_fresh; /* nothing was typed since the last line */
    chat_typed_fn typed;
    void *arg;
} terminal; /* libedit has one as well */

/* libedit prints the prompt again behind its callback; at the end of input there must be none. */
static void
terminal_line(char *line)
{
    terminal.is_fresh = true;
    if (line == NULL) {
        terminal.at_end = true;
        rl_callback_handler_remove();
        putchar('\n');
    } else if (*line != '\0') {
        add_history(line);
    }
    terminal.typed(terminal.arg, line);
    free(line);
}

/* The line that is being typed makes room, and comes back below. */
static void
terminal_hide(void)
{
    if (terminal.is_open && !terminal.at_end)
        fputs("\r\033[K", stdout);
}

/* libedit draws only what differs from what it has drawn before, and takes that for still there;
 * after a change of the terminal's size it does not. */
static void
terminal_show(void)
{
    if (terminal.is_open && !terminal.at_end) {
        rl_resize_terminal();
        rl_forced_update_display();
    }
    fflush(stdout);
}

/* libedit reads characters as the locale has them, and drops what is none. A terminal of which
 * nothing is said takes UTF-8. */
static void
terminal_locale(void)
{
    const char *name = setlocale(LC_CTYPE, "");

    if (name == NULL || strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* Shows the prompt; standard input and output are terminals. */
static void
terminal_open(chat_typed_fn typed, void *arg)
{
    terminal_locale();
    terminal.is_open = true;
    terminal.at_end = false;
    terminal.typed = typed;
    terminal.arg = arg;
    terminal.is_fresh = true;
    rl_callback_handler_install(TERMINAL_PROMPT, terminal_line);
}

/* Also where none is open. */
static void
terminal_close(void)
{
    if (terminal.is_open && !terminal.at_end) {
        rl_callback_handler_remove();
        putchar('\n');
    } else if (terminal.is_open) {
        fputs("\r\033[K", stdout); /* the prompt, which libedit shows again behind the last line */
    }
    fflush(stdout);
    terminal.is_open = false;
}

/* Standard input has something: calls typed where that ends a line. */
static void
terminal_read(void)
{
    terminal.is_fresh = false; /* the callback says otherwise */
    rl_callback_read_char();
    if (terminal.is_fresh && !terminal.at_end) {
        /* Else libedit leaves the terminal to itself until the next whole line. */
        rl_callback_handler_install(TERMINAL_PROMPT, terminal_line);
    }
}

/* Prints a message of n bytes, control characters replaced, and a newline. */
static void
terminal_print(const char *data, size_t n)
{
    char *clean = malloc(n + 1);

    terminal_hide();
    if (clean != NULL && isatty(STDOUT_FILENO)) {
        say_clean_bytes(data, n, clean);
        fputs(clean, stdout);
    } else {
        fwrite(data, 1, n, stdout); /* a program reads it, as it came */
    }
    putchar('\n');
    terminal_show();
    free(clean);
}

/* Says something about the chat itself. */
static void
terminal_note(const char *text)
{
    terminal_hide();
    say_error("%s", text);
    terminal_show();
}

/* --- the chat --- */

struct chat {
    msock *m;
    const struct session_options *options;
    const char *name; /* put before each line; NULL: nothing */
    double wait_s;    /* how long to listen after the end of input */
    bool json;
    bool input_done;
    bool failed;              /* a line could not be sent */
    bool unheard;             /* a message could not be printed: that ends it */
    bool more;                /* messages may be there, whatever poll(2) says */
    double again;             /* when to connect, where there is no connection */
    double end;               /* with input_done: when to leave */
    char line[CHAT_LINE_MAX]; /* from a pipe: what is there of the next line */
    size_t line_len;
};

static double
chat_now(void)
{
    return (double)clock_mono_us() / 1e6;
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
    char *text = ms_malloc(name_len + n + 1);

    if (name_len > 0)
        snprintf(text, name_len + 1, "%s: ", chat->name);
    memcpy(text + name_len, line, n);
    if (msock_send(chat->m, text, name_len + n) != MSOCK_OK) {
        terminal_note(msock_error(chat->m));
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

/* Sends the whole lines of a pipe; a line that is too long is cut. */
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
chat_print_json(const char *data, size_t n)
{
    json_t *text = json_stringn(data, n), *line;
    const char *key = text != NULL ? "text" : "base64";

    if (text == NULL)
        text = json_base64(data, n);
    line = json_pack("{s:o}", key, text);
    json_dump_callback(line, text_json_write, stdout, JSON_COMPACT);
    json_decref(line);
    putchar('\n');
}

static void
chat_print(struct chat *chat, const char *data, size_t n)
{
    if (chat->json)
        chat_print_json(data, n);
    else
        terminal_print(data, n);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    if (!chat->unheard)
        say_error("cannot write to standard output: %s", strerror(errno));
    chat->unheard = true;
}

/* What has come, up to a limit, or else nobody could leave while messages keep coming; sets more.
 * Returns false where the connection has ended. */
static bool
chat_receive(struct chat *chat)
{
    chat->more = false;
    for (int i = 0; i < CHAT_TURN_MAX && !chat->unheard; i++) {
        const void *data;
        size_t n;
        enum msock_status status = msock_recv(chat->m, 0, &data, &n);

        if (status == MSOCK_TIMEOUT)
            return true;
        if (status == MSOCK_OK)
            chat_print(chat, data, n);
        else
            terminal_note(msock_error(chat->m));
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
    if (p[1].revents != 0 && terminal.is_open)
        terminal_read();
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
    terminal_note(msock_error(chat->m));
    return false;
}

static void
chat_say_server(const struct chat *chat)
{
    char text[512];

    if (!session_has_moved(chat->options, chat->m))
        return;
    snprintf(text, sizeof(text), "connected to %s", msock_connected_to(chat->m));
    terminal_note(text);
}

static int
chat_lost(const struct chat *chat)
{
    return session_status(chat->m, &(struct session_result){.status = MSOCK_UNREACHABLE});
}

/* Until the end of input, or the server is gone for good. Every call on the handle may have read
 * messages for which there is nothing to poll any more. */
static int
chat_run(struct chat *chat)
{
    while (!chat->unheard && (!chat->input_done || chat_now() < chat->end)) {
        if (!chat_connect(chat))
            return chat_lost(chat);
        if ((msock_fd(chat->m) >= 0 || chat->more) && !chat_receive(chat) && chat->input_done)
            return chat_lost(chat);
        chat_say_server(chat);
        chat_wait(chat);
    }
    if (msock_fd(chat->m) >= 0)
        (void)chat_receive(chat);
    if (chat->unheard)
        return EX_IOERR;
    return chat->failed ? EX_TEMPFAIL : EX_OK;
}

static const char chat_help[] =
    "usage: msock chat [OPTION...]\n\n"
    "Sends each line of input as a message and prints the messages that come, over all\n"
    "protocols but msp. On a terminal lines can be edited; ^D leaves.\n\n"
    "examples:\n"
    "  msockd -l 'frame://127.0.0.1:8001?handler=broadcast'   # the server\n"
    "  msock chat -u frame://127.0.0.1:8001 --name ann\n"
    "  echo hello | msock chat -u tinyproto://127.0.0.1:8002 --wait 1\n\n"
    "options:\n"
    "  -u, --url URL       the server, or several; default $MSOCK_URL\n"
    "  -n, --name NAME     put \"NAME: \" before each line\n"
    "  -w, --wait SECONDS  listen for so long after the end of input; default 0\n"
    "  -k, --key FILE      seal and open messages with the key in FILE\n" SESSION_TLS_HELP
    "  -j, --json          print each message as a JSON object: text, or base64 where it is\n"
    "                      not UTF-8\n"
    "  -v, --verbose       say on standard error which server was taken\n"
    "  -h, --help          this text\n\n"
    "exit status: 0, 64 usage, 69 not reachable, 74 cannot print, 75 a line could not be\n"
    "sent, 77 a certificate was not taken\n";

/* Returns OPTIONS_GO_ON, or an exit status. */
static int
chat_options(struct chat *chat, struct session_options *options, int argc, char **argv)
{
    const struct option_row rows[] = {{"url", 'u', OPTION_TEXT, &options->url, 0, 0, NULL},
                                      {"name", 'n', OPTION_TEXT, &chat->name, 0, 0, NULL},
                                      {"wait", 'w', OPTION_SECONDS, &chat->wait_s, 0, 1e6, NULL},
                                      {"key", 'k', OPTION_TEXT, &options->key, 0, 0, NULL},
                                      SESSION_TLS_ROWS(&options->tls),
                                      {"json", 'j', OPTION_FLAG, &chat->json, 0, 0, NULL},
                                      {"verbose", 'v', OPTION_FLAG, &options->verbose, 0, 0, NULL}};
    int status = options_read(argc, argv, "chat", chat_help, rows, MS_ARRAY_LEN(rows));

    if (status != OPTIONS_GO_ON || optind == argc)
        return status;
    say_error("chat takes no argument: what is typed is sent");
    return EX_USAGE;
}

int
command_chat(int argc, char **argv, const char *url)
{
    static struct chat chat;
    struct session_options options = SESSION_OPTIONS_INIT(url);
    int status = chat_options(&chat, &options, argc, argv);

    if (status != OPTIONS_GO_ON)
        return status;
    chat.options = &options;
    status = session_open(&options, &chat.m);
    if (status != EX_OK)
        return status;
    if (msock_recv(chat.m, 0, &(const void *){NULL}, &(size_t){0}) == MSOCK_USAGE) {
        say_error("%s", msock_error(chat.m));
        msock_close(chat.m);
        return EX_USAGE;
    }
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !chat.json)
        terminal_open(chat_typed, &chat);
    status = chat_run(&chat);
    terminal_close();
    msock_close(chat.m);
    return status;
}
