/* msock send, send-json and send-file: one message, from an argument or standard input, or files,
 * one after the other over one connection. */
#include "command.h"

#include "common/base.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* What `send` and `send-json` differ in. */
struct send_kind {
    const char *command;
    const char *label; /* before the bar */
    const char *help;
    bool at_file; /* @FILE means the file's content */
    char kind;    /* of the message: 'A' or 'J' */
};

static const struct send_kind send_plain = {
    .command = "send",
    .label = "message",
    .kind = 'A',
    .help = "usage: msock send [OPTION...] [MESSAGE | -]\n\n"
            "Sends a message: the argument, or standard input for - or where there is none.\n"
            "An empty message is a message too.\n\n"
            "examples:\n"
            "  msock send 'pump 3 started'\n"
            "  dmesg | msock send --id boot-42\n"
            "  msock send -u 'msp://[::1]:8000' --reply ping\n"
            "  tail -F app.log | msock send --lines\n\n"
            "options:\n"
            "  -i, --id ID            the message's id, by which a receiver can drop a double;\n"
            "                         default: a random one\n"
            "      --lines            send each line of standard input as a message, without its\n"
            "                         newline, the next one before the first is "
            "answered\n" SESSION_HELP,
};

static const struct send_kind send_json = {
    .command = "send-json",
    .label = "document",
    .kind = 'J',
    .at_file = true,
    .help = "usage: msock send-json [OPTION...] [JSON | - | @FILE]\n\n"
            "Sends a JSON document as it is: the argument, the content of FILE, or standard\n"
            "input for - or where there is no argument. The server checks it.\n\n"
            "examples:\n"
            "  msock send-json '{\"hello\":\"world\"}'\n"
            "  msock send-json @order.json --json | jq -r .id\n"
            "  lsblk --json | msock send-json --reply\n"
            "  msock send-json --lines < events.ndjson\n\n"
            "options:\n"
            "  -i, --id ID            the message's id, by which a receiver can drop a double;\n"
            "                         default: a random one\n"
            "      --lines            send each line of standard input as a document (NDJSON;\n"
            "                         empty lines are left out), the next one before the first is\n"
            "                         answered\n" SESSION_HELP,
};

/* --- what is sent --- */

/* What the progress tells is how much there is, also of a pipe. */
struct send_progress {
    struct progress bar;
    bool shown;
    uint64_t total;
};

static int
send_note(void *arg, uint64_t done, uint64_t total)
{
    struct send_progress *p = arg;

    p->total = total;
    if (p->shown)
        progress_show(&p->bar, done, total);
    return 0;
}

/* Sends, and says what became of it: the file where result names one, else the message. */
static int
send_deliver(const struct session_options *options, msock *m, struct session_result *result,
             const char *label, char kind, const char *data)
{
    struct send_progress progress = {.shown = session_shows_progress(options)};
    struct msock_counts before, after;
    uint64_t began;

    progress_init(&progress.bar, label);
    if (progress.shown || result->file != NULL)
        msock_set_progress(m, send_note, &progress);
    msock_get_counts(m, &before);
    began = clock_mono_us();
    if (result->file == NULL)
        result->status = kind == 'J' ? msock_send_json_text(m, data, result->bytes)
                                     : msock_send(m, data, result->bytes);
    else if (strcmp(result->file, "-") == 0)
        result->status = msock_send_fd(m, STDIN_FILENO, result->path);
    else
        result->status = msock_send_file(m, result->file, result->path);
    result->seconds = (double)(clock_mono_us() - began) / 1e6;
    progress_clear(&progress.bar);
    if (result->file != NULL)
        result->bytes = progress.total;
    msock_get_counts(m, &after);
    msock_set_progress(m, NULL, NULL);
    result->retries = after.retries - before.retries;
    return session_report(options, m, result);
}

/* What is to be read for the argument: standard input for "-" and where there is none, the file for
 * "@FILE"; -1 where the argument is the message itself. Returns EX_OK, or EX_NOINPUT, which was
 * said. */
static int
input_open(const struct send_kind *kind, const char *argument, int *fd_out)
{
    if (argument == NULL || strcmp(argument, "-") == 0) {
        *fd_out = STDIN_FILENO;
        return EX_OK;
    }
    *fd_out = -1;
    if (!kind->at_file || argument[0] != '@')
        return EX_OK;
    *fd_out = open(argument + 1, O_RDONLY | O_CLOEXEC);
    if (*fd_out >= 0)
        return EX_OK;
    say_error("cannot read %s: %s", argument + 1, strerror(errno));
    return EX_NOINPUT;
}

/* Reads to the end. Returns 0 with *data_out (the caller frees), or -1 with errno. */
static int
input_read(int fd, char **data_out, size_t *len_out)
{
    FILE *all = open_memstream(data_out, len_out);
    char piece[65536];
    ssize_t n = -1;
    int error;

    if (all == NULL)
        return -1;
    while ((n = fd_read(fd, piece, sizeof(piece))) > 0)
        if (fwrite(piece, 1, (size_t)n, all) != (size_t)n)
            break;
    error = errno;
    if (fclose(all) == 0 && n == 0)
        return 0;
    free(*data_out);
    errno = n == 0 ? ENOMEM : error;
    return -1;
}

static int
send_message(const struct send_kind *kind, const struct session_options *options, msock *m,
             const char *argument)
{
    struct session_result result = {.file = NULL};
    char *data = NULL;
    size_t len;
    int fd, rc = input_open(kind, argument, &fd);

    if (rc != EX_OK)
        return rc;
    if (fd == STDIN_FILENO && argument == NULL && isatty(fd)) {
        say_error("nothing to send: give it as an argument, or - to type it in");
        return EX_USAGE;
    }
    if (fd < 0) {
        len = strlen(argument);
    } else if (input_read(fd, &data, &len) < 0) {
        say_error("cannot read %s: %s", fd == STDIN_FILENO ? "standard input" : argument + 1,
                  strerror(errno));
        rc = EX_NOINPUT;
    }
    if (fd != STDIN_FILENO)
        fd_close(&fd);
    if (rc != EX_OK)
        return rc;
    result.bytes = len;
    rc = send_deliver(options, m, &result, kind->label, kind->kind, data != NULL ? data : argument);
    free(data);
    return rc;
}

/* The lines of standard input, or of @FILE. */
static int
send_stream(const struct send_kind *kind, const struct session_options *options, msock *m,
            const char *argument)
{
    int fd, rc = input_open(kind, argument, &fd);

    if (rc != EX_OK)
        return rc;
    if (fd < 0) {
        say_error("--lines reads standard input; there is no message to give");
        return EX_USAGE;
    }
    rc = send_lines(options, m, kind->kind, fd);
    if (fd != STDIN_FILENO)
        fd_close(&fd);
    return rc;
}

static int
send_run(const struct send_kind *kind, int argc, char **argv, const char *url)
{
    struct session_options options = SESSION_OPTIONS_INIT(url);
    bool lines = false;
    const struct option_row rows[] = {SESSION_ROWS(&options),
                                      {"id", 'i', OPTION_TEXT, &options.id, 0, 0, NULL},
                                      {"lines", 0, OPTION_FLAG, &lines, 0, 0, NULL}};
    int rc = options_read(argc, argv, kind->command, kind->help, rows, MS_ARRAY_LEN(rows));
    const char *argument = optind < argc ? argv[optind] : NULL;
    msock *m = NULL;

    if (rc != OPTIONS_GO_ON)
        return rc;
    if (argc - optind > 1) {
        say_error("one message at a time; quote what has spaces in it");
        return say_usage(kind->command);
    }
    if (lines && (options.id != NULL || options.want_reply)) {
        say_error("each line has an id of its own and no reply: --lines goes without --id and"
                  " --reply");
        return say_usage(kind->command);
    }
    rc = session_open(&options, &m);
    if (rc == EX_OK)
        rc = lines ? send_stream(kind, &options, m, argument)
                   : send_message(kind, &options, m, argument);
    msock_close(m);
    return rc;
}

int
command_send(int argc, char **argv, const char *url)
{
    return send_run(&send_plain, argc, argv, url);
}

int
command_send_json(int argc, char **argv, const char *url)
{
    return send_run(&send_json, argc, argv, url);
}

/* --- files: a failure does not stop those behind it; the worst status is the command's --- */

static const char send_file_help[] =
    "usage: msock send-file [OPTION...] FILE... [--as PATH]\n\n"
    "Sends files, each stored under its own name, or as --as says. A file appears\n"
    "there when it is whole and safe. - is standard input; that and pipes are read to\n"
    "their end first, into an unnamed file in $TMPDIR, else /tmp.\n\n"
    "examples:\n"
    "  msock send-file disk.img\n"
    "  msock send-file report.pdf --as 2026/report-final.pdf\n"
    "  msock send-file --as backup/ *.tar --json | jq -r .status\n"
    "  mysqldump shop | msock send-file --as shop/today.sql -\n\n"
    "options:\n"
    "  -a, --as PATH          where to store it; with a slash at its end a directory, the\n"
    "                         only form for several files\n" SESSION_HELP;

/* --as names no path, only where it begins. */
static bool
send_file_is_directory(const char *as)
{
    return as == NULL || *as == '\0' || as[strlen(as) - 1] == '/';
}

static const char *
send_file_base(const char *file)
{
    const char *slash = strrchr(file, '/');

    return slash != NULL ? slash + 1 : file;
}

static int
send_file_compare(const void *a, const void *b)
{
    return strcmp(send_file_base(*(char *const *)a), send_file_base(*(char *const *)b));
}

/* False where two of the files would be stored under one path, which was said. */
static bool
send_file_names_differ(size_t count, char **files)
{
    char **sorted = ms_calloc(count, sizeof(*sorted));
    bool differ = true;

    for (size_t i = 0; i < count; i++)
        sorted[i] = files[i];
    qsort(sorted, count, sizeof(*sorted), send_file_compare);
    for (size_t i = 1; i < count && differ; i++) {
        differ = send_file_compare(&sorted[i - 1], &sorted[i]) != 0;
        if (!differ)
            say_error("%s and %s would be stored under the same path", sorted[i - 1], sorted[i]);
    }
    free(sorted);
    return differ;
}

/* False where the files and --as do not go together, which was said. */
static bool
send_file_check(const char *as, int count, char **files)
{
    if (count == 0) {
        say_error("no file is named");
        return false;
    }
    for (int i = 0; i < count; i++)
        if (strcmp(files[i], "-") == 0 && (count > 1 || send_file_is_directory(as))) {
            say_error("standard input has no name: give it one with --as PATH");
            return false;
        }
    if (as != NULL && count > 1 && (*as == '\0' || !send_file_is_directory(as))) {
        say_error("--as needs a slash at its end for several files, such as backup/");
        return false;
    }
    return true;
}

/* The path at the server, on the heap. */
static char *
send_file_path(const char *as, const char *base)
{
    char *path;

    if (!send_file_is_directory(as) || (as != NULL && *as == '\0'))
        return ms_strdup(as);
    path = ms_malloc((as != NULL ? strlen(as) : 0) + strlen(base) + 1);
    strcpy(stpcpy(path, as != NULL ? as : ""), base);
    return path;
}

static int
send_file(const struct session_options *options, msock *m, const char *as, const char *file)
{
    const char *base = send_file_base(file);
    char *path = send_file_path(as, base);
    struct session_result result = {.file = file, .path = path};
    int rc = send_deliver(options, m, &result, base, 'F', NULL);

    free(path);
    return rc;
}

int
command_send_file(int argc, char **argv, const char *url)
{
    struct session_options options = SESSION_OPTIONS_INIT(url);
    const char *as = NULL; /* NULL: under the file's own name */
    const struct option_row rows[] = {SESSION_ROWS(&options),
                                      {"as", 'a', OPTION_TEXT, &as, 0, 0, NULL}};
    int rc = options_read(argc, argv, "send-file", send_file_help, rows, MS_ARRAY_LEN(rows));
    msock *m = NULL;

    if (rc != OPTIONS_GO_ON)
        return rc;
    if (!send_file_check(as, argc - optind, argv + optind))
        return say_usage("send-file");
    if (strncmp(options.url, "msp", 3) == 0 && /* the others carry no path */
        !send_file_names_differ((size_t)(argc - optind), argv + optind))
        return say_usage("send-file");
    rc = session_open(&options, &m);
    if (rc == EX_OK)
        for (int i = optind; i < argc; i++)
            rc = session_worse(rc, send_file(&options, m, as, argv[i]));
    msock_close(m);
    return rc;
}
