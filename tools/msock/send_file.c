/* msock send-file: files, one after the other over one connection. A failure does not stop the
 * files behind it; the worst status is the command's. */
#include "command.h"
#include "numbers.h"
#include "say.h"
#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct send_file_options {
    struct session_options session;
    const char *as; /* NULL: under the file's own name */
};

static void
send_file_help(FILE *out)
{
    fputs("usage: msock send-file [OPTION...] FILE... [--as PATH]\n\n"
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
          "                         only form for several files\n",
          out);
    session_help(out);
}

/* --as names no path, only where it begins. */
static bool
send_file_is_directory(const char *as)
{
    return as == NULL || *as == '\0' || as[strlen(as) - 1] == '/';
}

/* Returns 0 to go on, 1 where help was printed, -1 for wrong usage, which was said. */
static int
send_file_parse(struct send_file_options *options, int argc, char **argv)
{
    static const struct option longs[] = {
        {"as", required_argument, NULL, 'a'}, SESSION_LONG, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "a:", longs, NULL)) != -1) {
        if (c == 'h') {
            send_file_help(stdout);
            return 1;
        }
        if (c == 'a')
            options->as = optarg;
        else if (session_option(&options->session, c, optarg) < 0)
            return -1;
    }
    if (optind >= argc) {
        say_error("no file is named");
        return -1;
    }
    for (int i = optind; i < argc; i++)
        if (strcmp(argv[i], "-") == 0 &&
            (argc - optind > 1 || send_file_is_directory(options->as))) {
            say_error("standard input has no name: give it one with --as PATH");
            return -1;
        }
    if (options->as != NULL && argc - optind > 1 &&
        (*options->as == '\0' || !send_file_is_directory(options->as))) {
        say_error("--as needs a slash at its end for several files, such as backup/");
        return -1;
    }
    return 0;
}

static const char *
send_file_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* The path at the server, on the heap; NULL without memory. */
static char *
send_file_path(const char *as, const char *file)
{
    const char *base = send_file_base(file);
    size_t n = as != NULL ? strlen(as) : 0;
    char *path;

    if (as != NULL && (n == 0 || as[n - 1] != '/'))
        return strdup(as);
    path = malloc(n + strlen(base) + 1);
    if (path == NULL)
        return NULL;
    memcpy(path, as != NULL ? as : "", n);
    strcpy(path + n, base);
    return path;
}

/* What the progress tells is how much there is, also of a pipe. */
struct send_file_progress {
    struct progress bar;
    bool shown;
    uint64_t total;
};

static int
send_file_note(void *arg, uint64_t done, uint64_t total)
{
    struct send_file_progress *p = arg;

    p->total = total;
    return p->shown ? progress_show(&p->bar, done, total) : 0;
}

static int
send_file_deliver(const struct send_file_options *options, msock *m, const char *file,
                  const char *path)
{
    struct session_result result = {.file = file, .path = path};
    struct msock_counts before, after;
    struct send_file_progress progress = {.shown = session_shows_progress(&options->session)};
    uint64_t began;

    progress_init(&progress.bar, send_file_base(file));
    msock_set_progress(m, send_file_note, &progress);
    msock_get_counts(m, &before);
    began = number_now_ns();
    result.status = strcmp(file, "-") == 0 ? msock_send_fd(m, STDIN_FILENO, path)
                                           : msock_send_file(m, file, path);
    result.seconds = (double)(number_now_ns() - began) / 1e9;
    progress_clear(&progress.bar);
    result.bytes = progress.total;
    msock_get_counts(m, &after);
    msock_set_progress(m, NULL, NULL);
    result.retries = after.retries - before.retries;
    return session_report(&options->session, m, &result);
}

static int
send_file_all(const struct send_file_options *options, msock *m, int count, char **files)
{
    int worst = EX_OK;

    for (int i = 0; i < count; i++) {
        char *path = send_file_path(options->as, files[i]);

        if (path == NULL) {
            say_error("no memory");
            return EX_OSERR;
        }
        worst = session_worse(worst, send_file_deliver(options, m, files[i], path));
        free(path);
    }
    return worst;
}

int
command_send_file(int argc, char **argv, const char *url)
{
    struct send_file_options options = {.session = SESSION_OPTIONS_INIT(url)};
    int parsed = send_file_parse(&options, argc, argv);
    msock *m = NULL;
    int rc;

    if (parsed > 0)
        return EX_OK;
    if (parsed < 0) {
        say_hint("msock send-file --help");
        return EX_USAGE;
    }
    rc = session_open(&options.session, &m);
    if (rc == EX_OK)
        rc = send_file_all(&options, m, argc - optind, argv + optind);
    msock_close(m);
    return rc;
}
