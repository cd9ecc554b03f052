/* Parses the command line with getopt_long, but prints messages of its own about errors. */
#include "config/config_settings.h"

#include "common/text.h"
#include "config/config_options.h"

#include <getopt.h>

enum args_long { ARGS_HOST = 256, ARGS_PORT, ARGS_MAX_SIZE };

/* One row an option; getopt's tables and the help are made of it. */
struct args_row {
    int code; /* the letter, or enum args_long */
    const char *name;
    const char *value; /* the name of its argument, or NULL */
    const char *help;
};

static const struct args_row args_rows[] = {
    {'w', "workers", "N", "worker processes (default: one for each core)"},
    {'l', "listen", "URL", "PROTOCOL://ADDRESS:PORT[?option=value&...]; repeatable"},
    {'H', "handler", "NAME", "the handler of listeners that name none (default: journal)"},
    {'d', "data-dir", "DIR", "directory of journal, files and blobs (default: ./msockd-data)"},
    {'r', "runtime-dir", "DIR", "directory of statistics, lock, pid file (default: see msockd(8))"},
    {'c', "config", "FILE", "read a configuration file; the command line wins"},
    {'o', "set", "OPTION=VALUE", "set any option listed below; repeatable"},
    {'t', "test", NULL, "check the configuration and exit: 0, or 78 and a reason"},
    {'D', "daemon", NULL, "go to the background once ready"},
    {ARGS_HOST, "host", "ADDRESS", "address of the first listener"},
    {ARGS_PORT, "port", "N", "port of the first listener; 0: the kernel chooses"},
    {ARGS_MAX_SIZE, "max-size", "SIZE", "same as -o max_message_size=SIZE"},
    {'v', "verbose", NULL, "log more; repeatable"},
    {'q', "quiet", NULL, "log less; repeatable"},
    {'V', "version", NULL, "print the version and exit"},
    {'h', "help", NULL, "print this and exit"},
};

#define ARGS_ROWS MS_ARRAY_LEN(args_rows)

static const struct args_row *
args_find(int code)
{
    for (size_t i = 0; i < ARGS_ROWS; i++)
        if (args_rows[i].code == code)
            return &args_rows[i];
    return NULL;
}

static void
args_tables(struct option longs[ARGS_ROWS + 1], char shorts[2 * ARGS_ROWS + 3])
{
    /* Stop at the first word that is no option, and tell a missing argument from an unknown one. */
    char *s = stpcpy(shorts, "+:");

    for (size_t i = 0; i < ARGS_ROWS; i++) {
        const struct args_row *row = &args_rows[i];

        longs[i] = (struct option){.name = row->name,
                                   .has_arg = row->value != NULL ? required_argument : no_argument,
                                   .val = row->code};
        if (row->code >= ARGS_HOST)
            continue;
        *s++ = (char)row->code;
        if (row->value != NULL)
            *s++ = ':';
    }
    *s = '\0';
    longs[ARGS_ROWS] = (struct option){0};
}

static int
args_add(const char **list, size_t *count, size_t max, const char *value, const char *flag,
         char *error)
{
    if (*count == max)
        return config_fail(error, "%s: given more than %zu times", flag, max);
    list[(*count)++] = value;
    return 0;
}

/* Returns the place for the value of an option that may be given once; NULL for other options. */
static const char **
args_place(struct config_args *c, int code)
{
    switch (code) {
    case 'w':
        return &c->workers;
    case 'H':
        return &c->handler;
    case 'd':
        return &c->data_dir;
    case 'r':
        return &c->runtime_dir;
    case 'c':
        return &c->config_file;
    case ARGS_HOST:
        return &c->host;
    case ARGS_PORT:
        return &c->port;
    case ARGS_MAX_SIZE:
        return &c->max_size;
    default:
        return NULL;
    }
}

/* -t does not undo what -h or -V before it asked for, nor the other way round: the first one
 * stands. */
static void
args_want(struct args *args, enum args_action action)
{
    if (args->action == ARGS_RUN)
        args->action = action;
}

static int
args_take(struct args *args, int code, const char *value, char *error)
{
    struct config_args *c = &args->config;
    const char **place = args_place(c, code);

    if (place != NULL) {
        *place = value;
        return 0;
    }
    switch (code) {
    case 'l':
        return args_add(c->listen, &c->listen_count, MS_ARRAY_LEN(c->listen), value, "-l", error);
    case 'o':
        return args_add(c->set, &c->set_count, MS_ARRAY_LEN(c->set), value, "-o", error);
    case 'D':
        c->daemonize = true;
        return 0;
    case 'v':
        c->verbosity++;
        return 0;
    case 'q':
        c->verbosity--;
        return 0;
    case 't':
        args_want(args, ARGS_TEST);
        return 0;
    case 'V':
        args_want(args, ARGS_VERSION);
        return 0;
    default:
        MS_ASSERT(code == 'h');
        args_want(args, ARGS_HELP);
        return 0;
    }
}

/* The option that getopt refused: a letter stands in optopt, a long one in the word just read. */
static int
args_refuse(int why, char *const argv[], char *error)
{
    const struct args_row *row = args_find(optopt);
    const char *word = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'}, quoted[CONFIG_QUOTED_LEN];

    if (why == ':')
        return config_fail(error, "%s: expected %s after it", word[1] != '-' ? letter : word,
                           row->value);
    config_quote(optopt != 0 && row == NULL ? letter : word, quoted);
    if (row != NULL)
        return config_fail(error, "%s: takes no value", quoted);
    return config_fail(error, "%s: unknown option; msockd -h lists them all", quoted);
}

int
args_parse(int argc, char *const argv[], struct args *args_out, char error[CONFIG_ERROR_LEN])
{
    struct args args = {.action = ARGS_RUN};
    struct option longs[ARGS_ROWS + 1];
    char shorts[2 * ARGS_ROWS + 3], quoted[CONFIG_QUOTED_LEN];
    int code;

    args_tables(longs, shorts);
    optind = 0; /* begin anew, also in glibc's own state */
    opterr = 0;
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == '?' || code == ':')
            return args_refuse(code, argv, error);
        if (args_take(&args, code, optarg, error) < 0)
            return -1;
    }
    if (optind < argc)
        return config_fail(error, "unexpected argument \"%s\"; options begin with a hyphen",
                           config_quote(argv[optind], quoted));
    *args_out = args;
    return 0;
}

static void
args_help_rows(FILE *out)
{
    for (size_t i = 0; i < ARGS_ROWS; i++) {
        const struct args_row *row = &args_rows[i];
        char left[40];

        snprintf(left, sizeof(left), "--%s%s%s", row->name, row->value == NULL ? "" : " ",
                 row->value == NULL ? "" : row->value);
        if (row->code < ARGS_HOST)
            fprintf(out, "  -%c, %-18s  %s\n", row->code, left, row->help);
        else
            fprintf(out, "      %-18s  %s\n", left, row->help);
    }
}

static void
args_help_options(FILE *out, unsigned scope, bool mark)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        bool also_in_url = mark && (o->scope & OPTION_IN_URL) != 0;
        char left[64];

        if ((o->scope & scope) == 0 || (!mark && o->scope != scope))
            continue;
        snprintf(left, sizeof(left), "%s=%s", o->name, o->initial);
        fprintf(out, "%c %-28s %s\n", also_in_url ? '*' : ' ', left, o->help);
    }
}

void
args_help(FILE *out)
{
    char handlers[256];

    text_list(config_options[OPTION_HANDLER].choices, handlers, sizeof(handlers));
    fputs(
        "Usage: msockd [OPTION]...\n"
        "Receives messages, JSON documents and files over TCP, checks every byte, and "
        "acknowledges\n"
        "them when they are safe on disk. Every option has a default.\n\n"
        "  msockd -w 8\n"
        "      8 workers on auto://127.0.0.1:8000, journal in ./msockd-data\n"
        "  msockd -l 'msp://[::]:8000?timeout=5s' -l msp:///run/msock.sock -d /var/lib/msockd -D\n"
        "      all addresses and a Unix socket, in the background\n\n",
        out);
    args_help_rows(out);
    fputs("\nOptions of -o and of the file, with their defaults (*: also in the URL of a "
          "listener):\n",
          out);
    args_help_options(out, OPTION_IN_FILE, true);
    fputs("\nOptions in the URL of a listener only:\n", out);
    args_help_options(out, OPTION_IN_URL, false);
    fprintf(out, "\nHandlers: %s.\n", handlers);
    fputs("Signals: TERM and INT stop, QUIT finishes what is under way and stops, HUP reloads, "
          "USR1\n"
          "reopens the log and begins new segments. Manual pages: msockd(8), msockd.conf(5).\n",
          out);
}
