/* Options and endings, once for all subcommands. */
#include "ctl.h"

#include "common/text.h"
#include "stats/stats_reader.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>
#include <sysexits.h>

#define OPTIONS_MAX 8
#define ERROR_MAX   1024

static void MS_PRINTF(2, 0) error_print(const struct ctl *ctl, const char *fmt, va_list ap)
{
    char raw[ERROR_MAX], safe[2 * ERROR_MAX];

    vsnprintf(raw, sizeof(raw), fmt, ap);
    text_escape(raw, strlen(raw), safe, sizeof(safe));
    fprintf(stderr, "msockctl%s%s: %s\n", ctl->command != NULL ? " " : "",
            ctl->command != NULL ? ctl->command : "", safe);
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
    fprintf(stderr, "try: msockctl %s%s-h\n", ctl->command != NULL ? ctl->command : "",
            ctl->command != NULL ? " " : "");
    return EX_USAGE;
}

void
ctl_print(const char *fmt, ...)
{
    char raw[ERROR_MAX], safe[2 * ERROR_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    text_escape(raw, strlen(raw), safe, sizeof(safe));
    puts(safe);
}

static void
option_set(const struct ctl_option *option, const char *value)
{
    if (option->flag != NULL)
        *option->flag = true;
    else
        *option->value = value;
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
            fputs(ctl->help, stdout);
            return ctl_finish(ctl, EX_OK);
        }
        if (c == ':')
            return ctl_usage(ctl, "the option %s needs a value", argv[optind - 1]);
        if (c == '?')
            return ctl_usage(ctl, "there is no option %s here", argv[optind - 1]);
        if (c == 'r')
            ctl->dir = optarg;
        else
            option_set(&options[index - 1], optarg);
    }
    if (optind < argc)
        return ctl_usage(ctl, "what is \"%s\" for? Nothing but options is expected", argv[optind]);
    return CTL_GO_ON;
}

void
ctl_note_dead(const struct ctl *ctl)
{
    if (stats_reader_lock_held(ctl->dir) == 0)
        ctl_error(ctl, "msockd is not running any more; this is what it left");
}

int
ctl_status(int err)
{
    if (err == EACCES || err == EPERM)
        return EX_NOPERM;
    return err == EAGAIN ? EX_TEMPFAIL : EX_UNAVAILABLE;
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
