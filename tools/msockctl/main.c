/* msockctl: a table of subcommands. It reads the shared memory of a msockd, which needs nobody to
 * answer, and signals its master. Options and endings are the same in all of them. */
#include "ctl.h"

#include "common/environment.h"
#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define OPTIONS_MAX 8
#define TEXT_MAX    2048

static void MS_PRINTF(2, 0) text_make(char out[TEXT_MAX], const char *fmt, va_list ap)
{
    char raw[TEXT_MAX / 2];

    vsnprintf(raw, sizeof(raw), fmt, ap);
    text_escape(raw, strlen(raw), out, TEXT_MAX);
}

static void MS_PRINTF(2, 0) error_print(const struct ctl *ctl, const char *fmt, va_list ap)
{
    char text[TEXT_MAX];

    text_make(text, fmt, ap);
    if (ctl->errors != NULL)
        buffer_printf(ctl->errors, "%s\n", text);
    else
        fprintf(stderr, "msockctl%s%s: %s\n", ctl->command != NULL ? " " : "",
                ctl->command != NULL ? ctl->command->name : "", text);
}

void
ctl_error(const struct ctl *ctl, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_print(ctl, fmt, ap);
    va_end(ap);
}

int
ctl_usage(const struct ctl *ctl, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_print(ctl, fmt, ap);
    va_end(ap);
    fprintf(stderr, "try: msockctl %s%s-h\n", ctl->command != NULL ? ctl->command->name : "",
            ctl->command != NULL ? " " : "");
    return EX_USAGE;
}

void
ctl_print(const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    text_make(text, fmt, ap);
    va_end(ap);
    puts(text);
}

int
ctl_options(struct ctl *ctl, int argc, char *argv[], const struct ctl_option *options, size_t n)
{
    struct option longs[OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
    int c, index;

    MS_ASSERT(n <= OPTIONS_MAX);
    for (size_t i = 0; i < n; i++)
        longs[i + 1] = (struct option){
            options[i].name, options[i].flag != NULL ? no_argument : required_argument, NULL, 0};
    optind = 0; /* getopt_long begins anew, after the options before the command */
    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:hr:", longs, &index)) != -1) {
        if (c == 'h') {
            fputs(ctl->command->help, stdout);
            return ctl_finish(ctl, EX_OK);
        }
        if (c == ':')
            return ctl_usage(ctl, "the option %s needs a value", argv[optind - 1]);
        if (c == '?')
            return ctl_usage(ctl, "there is no option %s here", argv[optind - 1]);
        if (c == 'r')
            ctl->dir = optarg;
        else if (options[index - 1].flag != NULL)
            *options[index - 1].flag = true;
        else
            *options[index - 1].value = optarg;
    }
    if (optind < argc && n > 0 && options[n - 1].name[0] == '\0')
        *options[n - 1].value = argv[optind++];
    if (optind < argc)
        return ctl_usage(ctl, "what is \"%s\" for? Nothing more is expected", argv[optind]);
    return CTL_GO_ON;
}

int
ctl_status(int err)
{
    if (err == EACCES || err == EPERM)
        return EX_NOPERM;
    return err == EAGAIN ? EX_TEMPFAIL : EX_UNAVAILABLE;
}

int
ctl_open(const struct ctl *ctl, struct stats_reader *sr_out)
{
    char error[256];
    int status, why;

    if (stats_reader_open(sr_out, ctl->dir, error) == 0)
        return EX_OK;
    why = errno;
    status = ctl_status(why);
    ctl_error(ctl, "%s", error);
    if (status == EX_UNAVAILABLE && why != EPROTONOSUPPORT)
        ctl_explain(ctl);
    return status;
}

int
ctl_data_dir(const struct ctl *ctl, char out[CTL_DATA_DIR_LEN])
{
    struct stats_reader sr;
    char why[256];

    if (stats_reader_open(&sr, ctl->dir, why) < 0) {
        int error = errno;

        ctl_error(ctl, "%s; or name the data directory", why);
        return ctl_status(error);
    }
    snprintf(out, CTL_DATA_DIR_LEN, "%s", sr.control->data_dir);
    stats_reader_close(&sr);
    return EX_OK;
}

void
ctl_close(const struct ctl *ctl, struct stats_reader *sr)
{
    if (sr->unreadable > 0)
        ctl_error(ctl, "numbers are missing: the statistics of %u worker%s cannot be read",
                  sr->unreadable, sr->unreadable == 1 ? "" : "s");
    stats_reader_close(sr);
}

int
ctl_seconds(const struct ctl *ctl, const char *name, const char *text, uint64_t *us_out)
{
    const uint64_t year_us = (uint64_t)366 * 86400 * 1000000;
    uint64_t us;

    if (text_parse_duration(text, &us) == 0 && us > 0 && us <= year_us) {
        *us_out = us;
        return 0;
    }
    (void)ctl_usage(ctl, "--%s %s: this must be a number of seconds over 0, such as 2 or 0.5", name,
                    text);
    return -1;
}

int
ctl_finish(const struct ctl *ctl, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    ctl_error(ctl, "cannot write to standard output: %s", strerror(errno));
    return EX_IOERR;
}

/* --- the program --- */

const struct ctl_command *const ctl_commands[] = {
    &ctl_stats,     &ctl_top,    &ctl_serve,    &ctl_conns,        &ctl_sources, &ctl_workers,
    &ctl_listeners, &ctl_relay,  &ctl_reload,   &ctl_upgrade,      &ctl_stop,    &ctl_quit,
    &ctl_reopen,    &ctl_verify, &ctl_segments, &ctl_doctor,       &ctl_events,  &ctl_crashes,
    &ctl_health,    &ctl_wait,   &ctl_pki,      &ctl_explain_line, NULL,
};

static void
ctl_help(void)
{
    fputs("usage: msockctl [-r DIR] COMMAND [OPTION]...\n"
          "Shows the state of msockd, and controls it.\n\n"
          "  -r, --runtime-dir DIR  the directory msockd was started with (default:\n"
          "                         $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/msockd,\n"
          "                         else /run/msockd for root, else /tmp/msockd-UID)\n"
          "  -h, --help             this text; after a command: that command's options\n"
          "  -V, --version          print the version\n\n"
          "commands:\n",
          stdout);
    for (size_t i = 0; ctl_commands[i] != NULL; i++)
        printf("  %-10s %s\n", ctl_commands[i]->name, ctl_commands[i]->summary);
}

/* Options before the command. Returns CTL_GO_ON, or the status to exit with. */
static int
main_options(struct ctl *ctl, int argc, char *argv[])
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"runtime-dir", required_argument, NULL, 'r'},
                                          {NULL, 0, NULL, 0}};
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, "+:r:hV", longs, NULL)) != -1) {
        switch (c) {
        case 'r':
            ctl->dir = optarg;
            break;
        case 'h':
            ctl_help();
            return ctl_finish(ctl, EX_OK);
        case 'V':
            puts("msockctl " MSOCK_VERSION_TEXT);
            return ctl_finish(ctl, EX_OK);
        case ':':
            return ctl_usage(ctl, "the option %s needs a value", argv[optind - 1]);
        default: /* the result of getopt_long is no enum */
            return ctl_usage(ctl, "there is no option %s", argv[optind - 1]);
        }
    }
    return CTL_GO_ON;
}

static int
main_dispatch(struct ctl *ctl, int argc, char *argv[])
{
    if (argc <= 0) /* below 0: there was not even a name of the program */
        return ctl_usage(ctl, "a command is missing");
    for (size_t i = 0; ctl_commands[i] != NULL; i++) {
        if (strcmp(ctl_commands[i]->name, argv[0]) != 0)
            continue;
        ctl->command = ctl_commands[i];
        return ctl->command->run(ctl, argc, argv);
    }
    return ctl_usage(ctl, "there is no command \"%s\"", argv[0]);
}

/* A worker that was taken over may cut the file short that is mapped here. */
static void
main_cut_short(int signo)
{
    static const char text[] =
        "msockctl: the statistics were cut short: a worker of this msockd is "
        "damaged, and is replaced\n";

    (void)signo;
    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? EX_IOERR : EX_DATAERR);
}

int
main(int argc, char *argv[])
{
    struct ctl ctl = {0};
    char *dir;
    int status;

    environment_make(ENVIRONMENT_TOOL);
    signal(SIGBUS, main_cut_short);
    dir = runtime_dir_default();
    ctl.dir = dir;
    status = main_options(&ctl, argc, argv);
    if (status == CTL_GO_ON)
        status = main_dispatch(&ctl, argc - optind, argv + optind);
    free(dir);
    return status;
}
