/* msockctl top and serve. They need libraries that no other command needs, so each has a program of
 * its own: a msockctl that has this command inside. The msockctl that everybody runs becomes that
 * program when it is asked for the command. */
#include "ctl.h"

#include "common/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* In the programs that have them. */
int top_run(struct ctl *ctl, int argc, char *argv[]) __attribute__((weak));
int serve_run(struct ctl *ctl, int argc, char *argv[]) __attribute__((weak));

/* Returns only where it fails. */
static int
live_become(struct ctl *ctl, int argc, char *argv[], const char *program, const char *packages)
{
    char **words = ms_calloc((size_t)argc + 4, sizeof(words[0]));
    char path[PROGRAM_PART_LEN];
    int error;

    program_part(program, path);
    words[0] = path;
    words[1] = (char *)(uintptr_t) "-r";
    words[2] = (char *)(uintptr_t)ctl->dir;
    memcpy(&words[3], argv, (size_t)argc * sizeof(words[0]));
    execv(path, words);
    error = errno;
    free(words);
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return ctl_options(ctl, argc, argv, NULL, 0);
    ctl_error(ctl, "cannot run %s: %s; install %s and build msockd again", path, strerror(error),
              packages);
    return EX_UNAVAILABLE;
}

static int
live_top(struct ctl *ctl, int argc, char *argv[])
{
    if (top_run != NULL)
        return top_run(ctl, argc, argv);
    return live_become(ctl, argc, argv, "msockctl-top", "libncurses-dev");
}

static int
live_serve(struct ctl *ctl, int argc, char *argv[])
{
    if (serve_run != NULL)
        return serve_run(ctl, argc, argv);
    return live_become(ctl, argc, argv, "msockctl-serve", "libmicrohttpd-dev and libjs-chart.js");
}

const struct ctl_command ctl_top = {
    .name = "top",
    .summary = "a live screen: rates, workers, connections, ...",
    .help =
        "usage: msockctl [-r DIR] top [OPTION]...\n"
        "A live screen: totals with rates and graphs of the last minutes, and one of the tables\n"
        "of the other commands, sorted by any column. h shows the keys, q leaves.\n\n"
        "  --delay SECONDS  between two looks (default: 1)\n"
        "  --view NAME      the table to begin with, a command's name (default: conns)\n"
        "  --sort COLUMN    its order, by a column named as in --json, rate or bytes_rate\n"
        "  --filter TEXT    only rows with TEXT in a cell\n"
        "  --once           print one frame, after two looks, and end; needs no terminal\n",
    .run = live_top,
};

const struct ctl_command ctl_serve = {
    .name = "serve",
    .summary = "a web page with plots, metrics for Prometheus, JSON",
    .help =
        "usage: msockctl [-r DIR] serve [OPTION]...\n"
        "A small web server that shows what the other commands show, and changes nothing:\n"
        "/ a page with live plots and tables; /metrics for Prometheus; /api/stats, /api/conns,\n"
        "...: the --json of the commands; /events the same once a second; /healthz, /readyz.\n\n"
        "  --listen ADDRESS        where (default: 127.0.0.1:9180; port 0: the kernel chooses);\n"
        "                          one that is not this machine's alone needs all that follows\n"
        "  --password-file FILE    lines of USER:HASH, as htpasswd -B or openssl passwd -6 make\n"
        "  --tls-cert FILE         the certificate, with its chain, for HTTPS\n"
        "  --tls-key FILE          its key\n",
    .run = live_serve,
};
