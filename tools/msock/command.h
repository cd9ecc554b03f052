/* What the subcommands of msock share. A name, a function and one line of help of each make the
 * table that drives main.c. */
#ifndef MSOCK_COMMAND_H
#define MSOCK_COMMAND_H

#include "common/base.h"
#include "msock.h"

#include <jansson.h>
#include <stdbool.h>

#define DEFAULT_URL  "msp://127.0.0.1:8000"
#define DEFAULT_PORT 8000 /* where an address names none */

/* Runs a subcommand: argv[0] is replaced by the program's name for getopt's messages, url is what
 * stood before the command, $MSOCK_URL or the command's default. Returns the exit status
 * (sysexits.h). */
typedef int (*command_fn)(int argc, char **argv, const char *url);

struct command {
    const char *name;
    command_fn run;
    const char *url; /* where none is given; NULL: the command has a choice of its own */
    const char *help;
};

int command_send(int argc, char **argv, const char *url);
int command_send_json(int argc, char **argv, const char *url);
int command_send_file(int argc, char **argv, const char *url);
int command_listen(int argc, char **argv, const char *url);
int command_chat(int argc, char **argv, const char *url);
int command_selftest(int argc, char **argv, const char *url);
int command_bench(int argc, char **argv, const char *url);

/* --- what is said on standard error, in one form: "msock: sentence" (command.c) --- */

/* Prints "msock: ..." and a newline. Control characters, which a server's text or a file's name may
 * carry, come out as '?', so that nothing can drive the terminal. */
void say_error(const char *format, ...) MS_PRINTF(1, 2);

/* Prints where to read on: "msock: see `msock send --help`". Returns EX_USAGE. */
int say_usage(const char *command);

/* How many bytes the character of UTF-8 at text has, of which n bytes are there; 0 where that is
 * none, or one that could drive a terminal: a control character, also of the second set (U+0080 to
 * U+009F), or one that turns the direction of writing. Then '?' stands for one byte. */
size_t say_harmless(const char *text, size_t n);

/* Copies len bytes of text to out with a NUL behind them, what is not harmless replaced; out has
 * room for len + 1 bytes. */
void say_clean_bytes(const char *text, size_t len, char *out);

/* The same with a string, cut to fit n bytes with NUL. */
void say_clean(const char *text, char *out, size_t n);

/* --- options (command.c) --- */

enum option_kind {
    OPTION_FLAG,    /* bool: true */
    OPTION_SET,     /* int: low */
    OPTION_SWITCH,  /* bool: "on" or "off" */
    OPTION_TEXT,    /* const char * */
    OPTION_LIST,    /* struct option_list: one more */
    OPTION_COUNT,   /* uint32_t from low to high; K, M or G may stand behind it, as in sizes */
    OPTION_NUMBER,  /* uint64_t, the same */
    OPTION_SECONDS, /* double from low to high, as a decimal fraction */
};

#define OPTION_LIST_MAX 64

struct option_list {
    const char *items[OPTION_LIST_MAX + 1];
    unsigned count;
};

struct option_row {
    const char *name;
    char letter; /* 0: it has none */
    enum option_kind kind;
    void *value; /* as the kind says */
    double low, high;
    const char *wants; /* what is said of a wrong value; NULL: as the kind and the limits have it */
};

#define OPTIONS_GO_ON (-1)

/* Reads a command's options, -h and --help besides; arguments begin at optind. Returns
 * OPTIONS_GO_ON, or the status to exit with: help was printed, or what is wrong was said. */
MS_MUST_CHECK int options_read(int argc, char **argv, const char *command, const char *help,
                               const struct option_row *rows, size_t n);

/* --- a bar on the terminal: share, bytes, rate, time left (progress.c) --- */

struct progress {
    char label[256];   /* what is sent; without control characters */
    uint64_t began_us; /* monotonic */
    uint64_t drawn_us; /* last time; 0: never */
    uint64_t drawn_done;
    double rate; /* bytes a second, smoothed; 0: not known yet */
};

void progress_init(struct progress *progress, const char *label);

/* Draws at most ten times a second, and not at all for what is done before anyone could read it. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total);

/* Takes the bar off the terminal, if there is one. */
void progress_clear(struct progress *progress);

/* --- what the sending commands share (session.c) --- */

/* TLS; what is NULL is as the URL says, else as the environment. */
struct session_tls {
    const char *ca, *cert, *key_file, *server_name;
    bool insecure;
};

/* Something of it was asked for. */
bool session_asks_tls(const struct session_tls *tls);

/* What is said, with a scheme, where it was for a URL without TLS. */
#define SESSION_TLS_WANTS "--ca and its like are for a URL that begins with %s+tls://"

struct url;

/* The same with what the environment says and the URL does not, and the warning where nobody checks
 * the server. */
struct session_tls session_complete_tls(const struct session_tls *tls, const struct url *url);

struct session_options {
    const char *url;
    const char *id;  /* NULL: the library makes one */
    const char *key; /* a file; NULL: nothing is sealed */
    struct session_tls tls;
    double timeout_s;       /* below 0: the library's defaults */
    double final_timeout_s; /* the same */
    uint32_t retries;       /* SESSION_RETRIES: the library's default */
    int progress;           /* a bar: 1 yes, 0 no, -1 on a terminal */
    bool want_reply;
    bool json;
    bool quiet;
    bool verbose;
};

#define SESSION_RETRIES UINT32_MAX
#define SESSION_OPTIONS_INIT(server)                                                         \
    {                                                                                        \
        .url = (server), .timeout_s = -1, .final_timeout_s = -1, .retries = SESSION_RETRIES, \
        .progress = -1                                                                       \
    }

/* Rows of the options of TLS, and their help. */
#define SESSION_TLS_ROWS(t)                                             \
    {"ca", 0, OPTION_TEXT, &(t)->ca, 0, 0, NULL},                       \
        {"cert", 0, OPTION_TEXT, &(t)->cert, 0, 0, NULL},               \
        {"key-file", 0, OPTION_TEXT, &(t)->key_file, 0, 0, NULL},       \
        {"server-name", 0, OPTION_TEXT, &(t)->server_name, 0, 0, NULL}, \
    {                                                                   \
        "insecure", 0, OPTION_FLAG, &(t)->insecure, 0, 0, NULL          \
    }
#define SESSION_TLS_HELP                                                                   \
    "      --ca FILE          msp+tls://...: trust the certificate authorities in FILE;\n" \
    "                         default $MSOCK_CA, else those of the system\n"               \
    "      --cert FILE        be known by this certificate; default $MSOCK_CERT\n"         \
    "      --key-file FILE    its key; default $MSOCK_KEY_FILE\n"                          \
    "      --server-name NAME the name that the server's certificate must have; default\n" \
    "                         $MSOCK_SERVER_NAME, else the host of the URL\n"              \
    "      --insecure         do not check the server's certificate: anybody can be it\n"

/* Rows of the options above but the id, and their help. */
#define SESSION_ROWS(o)                                                                \
    {"url", 'u', OPTION_TEXT, &(o)->url, 0, 0, NULL},                                  \
        {"key", 'k', OPTION_TEXT, &(o)->key, 0, 0, NULL}, SESSION_TLS_ROWS(&(o)->tls), \
        {"timeout", 't', OPTION_SECONDS, &(o)->timeout_s, 0.001, 1e6, NULL},           \
        {"final-timeout", 0, OPTION_SECONDS, &(o)->final_timeout_s, 0.001, 1e6, NULL}, \
        {"retries", 'r', OPTION_COUNT, &(o)->retries, 0, 1000000, NULL},               \
        {"reply", 0, OPTION_FLAG, &(o)->want_reply, 0, 0, NULL},                       \
        {"progress", 0, OPTION_SET, &(o)->progress, 1, 0, NULL},                       \
        {"no-progress", 0, OPTION_SET, &(o)->progress, 0, 0, NULL},                    \
        {"json", 'j', OPTION_FLAG, &(o)->json, 0, 0, NULL},                            \
        {"quiet", 'q', OPTION_FLAG, &(o)->quiet, 0, 0, NULL},                          \
    {                                                                                  \
        "verbose", 'v', OPTION_FLAG, &(o)->verbose, 0, 0, NULL                         \
    }
#define SESSION_STATUS                                                            \
    "exit status: 0 committed, 64 usage, 65 refused, 66 a file cannot be read,\n" \
    "69 not reachable, 71 no memory or descriptors, 73 no temporary file,\n"      \
    "74 standard output cannot be written, 75 given up after retries,\n"          \
    "77 a certificate was not taken\n"

#define SESSION_HELP                                                                        \
    "  -u, --url URL          the server, or several: msp://a:8000,b:8000; default\n"       \
    "                         $MSOCK_URL, else msp://127.0.0.1:8000\n"                      \
    "  -k, --key FILE         seal what is sent with the first key in FILE (32 bytes, or\n" \
    "                         lines of 64 hex digits)\n" SESSION_TLS_HELP                   \
    "      --reply            ask for the reply and print it on standard output; over\n"    \
    "                         tinyproto, cnp and lines a journal sends one with\n"          \
    "                         ?reply=yes only\n"                                            \
    "  -t, --timeout SECONDS  how long to wait for a connection and for each answer but\n"  \
    "                         the last one; default 2\n"                                    \
    "      --final-timeout SECONDS\n"                                                       \
    "                         how long to wait, each time, for the last answer: it is\n"    \
    "                         committed; default 300\n"                                     \
    "  -r, --retries N        how often to begin again; default 5\n"                        \
    "      --progress         show a bar also where standard error is not a terminal\n"     \
    "      --no-progress      never show a bar\n"                                           \
    "  -j, --json             print what became of it as one JSON object a line\n"          \
    "  -q, --quiet            no line for what is committed\n"                              \
    "  -v, --verbose          say on standard error which server was taken\n"               \
    "  -h, --help             this text\n\n" SESSION_STATUS

/* A handle with the options set. Returns EX_OK with *m_out (msock_close is the caller's), EX_USAGE
 * or EX_OSERR, which it says itself. Does not connect. */
int session_open(const struct session_options *options, msock **m_out);

/* True where a bar is to be shown. */
bool session_shows_progress(const struct session_options *options);

/* True where the server is to be named (--verbose) and is another one than at the last call. */
bool session_has_moved(const struct session_options *options, const msock *m);

/* Names it then. */
void session_say_server(const struct session_options *options, const msock *m);

/* One message or file that was dealt with. */
struct session_result {
    enum msock_status status;
    const char *file; /* local path; NULL for a message */
    const char *path; /* where it is stored by the server; NULL for a message */
    uint64_t bytes;
    double seconds;
    uint64_t retries;
};

/* Says what became of it, on standard output (reply, JSON, a line on a terminal) or standard error.
 * Returns the exit status for it. */
int session_report(const struct session_options *options, const msock *m,
                   const struct session_result *result);

/* The exit status for a result of the last call on m. */
int session_status(const msock *m, const struct session_result *result);

/* The worse of two exit statuses: 77, 69, 75, 71, 73, 66, 65, 64, 0. */
int session_worse(int a, int b);

/* Bytes as a string of base64; NULL without memory. */
json_t *json_base64(const void *data, size_t n);

/* What can be read from fd, a message for each line. Says what is wrong, and how many lines were
 * taken. Returns the exit status. */
int send_lines(const struct session_options *options, msock *m, char kind, int fd);

/* --- receiving (listen.c) --- */

/* The URL with ?key_file= for that path, percent-encoded (NULL: as it is). Returns a string that
 * the caller frees, or NULL without memory. */
char *listen_url_with_key(const char *url, const char *key);

#endif
