#include "send_message.h"

#include "input.h"
#include "numbers.h"
#include "say.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { SEND_LINES = 256 };

/* Returns 0 to go on, 1 where help was printed, -1 for wrong usage, which was said. */
static int
send_parse(const struct send_kind *kind, struct session_options *options, int argc, char **argv,
           bool *lines_out)
{
    static const struct option longs[] = {{"id", required_argument, NULL, 'i'},
                                          {"lines", no_argument, NULL, SEND_LINES},
                                          SESSION_LONG,
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT "i:", longs, NULL)) != -1) {
        if (c == 'h') {
            kind->help(stdout);
            return 1;
        }
        if (c == 'i')
            options->id = optarg;
        else if (c == SEND_LINES)
            *lines_out = true;
        else if (session_option(options, c, optarg) < 0)
            return -1;
    }
    if (argc - optind > 1) {
        say_error("one message at a time; quote what has spaces in it");
        return -1;
    }
    if (*lines_out && (options->id != NULL || options->want_reply)) {
        say_error("each line has an id of its own and no reply: --lines goes without --id and"
                  " --reply");
        return -1;
    }
    return 0;
}

/* The lines of standard input, or of @FILE. */
static int
send_stream(const struct send_kind *kind, const struct session_options *options, msock *m,
            const char *argument)
{
    int fd = STDIN_FILENO, rc;

    if (argument != NULL && kind->at_file && argument[0] == '@') {
        fd = open(argument + 1, O_RDONLY | O_CLOEXEC);
    } else if (argument != NULL && strcmp(argument, "-") != 0) {
        say_error("--lines reads standard input; there is no message to give");
        return EX_USAGE;
    }
    if (fd < 0) {
        say_error("cannot read %s: %s", argument + 1, strerror(errno));
        return EX_NOINPUT;
    }
    rc = send_lines(options, m, kind->kind, fd);
    if (fd != STDIN_FILENO)
        close(fd);
    return rc;
}

static int
send_deliver(const struct send_kind *kind, const struct session_options *options, msock *m,
             const char *data, size_t len)
{
    struct session_result result = {.bytes = len};
    struct msock_counts counts;
    struct progress progress;
    uint64_t began;

    progress_init(&progress, kind->label);
    if (session_shows_progress(options))
        msock_set_progress(m, progress_show, &progress);
    began = number_now_ns();
    result.status = kind->send(m, data, len);
    result.seconds = (double)(number_now_ns() - began) / 1e9;
    progress_clear(&progress);
    msock_get_counts(m, &counts);
    result.retries = counts.retries;
    return session_report(options, m, &result);
}

int
send_message(const struct send_kind *kind, int argc, char **argv, const char *url)
{
    struct session_options options = SESSION_OPTIONS_INIT(url);
    bool lines = false;
    int parsed = send_parse(kind, &options, argc, argv, &lines);
    char *data = NULL;
    size_t len = 0;
    msock *m = NULL;
    int rc;

    if (parsed > 0)
        return EX_OK;
    if (parsed < 0) {
        say_hint(kind->command);
        return EX_USAGE;
    }
    rc = session_open(&options, &m);
    if (rc == EX_OK && lines) {
        rc = send_stream(kind, &options, m, optind < argc ? argv[optind] : NULL);
        msock_close(m);
        return rc;
    }
    if (rc == EX_OK)
        rc = input_message(optind < argc ? argv[optind] : NULL, kind->at_file, &data, &len);
    if (rc == EX_OK)
        rc = send_deliver(kind, &options, m, data, len);
    free(data);
    msock_close(m);
    return rc;
}
