/* msockctl: a table of subcommands. It reads the shared memory of a msockd, which needs nobody to
 * answer, and signals its master. */
#include "common/fd.h"
#include "ctl.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct ctl_command *const commands[] = {
    &ctl_stats,  &ctl_conns, &ctl_workers, &ctl_listeners,
    &ctl_reload, &ctl_stop,  &ctl_quit,    &ctl_reopen,
};

static void
ctl_help(void)
{
    fputs("usage: msockctl [-r DIR] COMMAND [OPTION]...\n"
          "Shows what a msockd does and tells it what to do.\n\n"
          "  -r, --runtime-dir DIR  the directory msockd was started with (default:\n"
          "                         $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/msockd,\n"
          "                         else /run/msockd for root, else /tmp/msockd-UID)\n"
          "  -h, --help             this text; after a command: that command's options\n"
          "  -V, --version          print the version\n\n"
          "commands:\n",
          stdout);
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
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
        default: /* what getopt_long returns is no enum */
            return ctl_usage(ctl, "there is no option %s", argv[optind - 1]);
        }
    }
    return CTL_GO_ON;
}

static int
main_dispatch(struct ctl *ctl, int argc, char *argv[])
{
    if (argc == 0)
        return ctl_usage(ctl, "a command is missing");
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i]->name, argv[0]) != 0)
            continue;
        ctl->command = commands[i]->name;
        ctl->help = commands[i]->help;
        return commands[i]->run(ctl, argc, argv);
    }
    return ctl_usage(ctl, "there is no command \"%s\"", argv[0]);
}

int
main(int argc, char *argv[])
{
    char *dir = runtime_dir_default();
    struct ctl ctl = {.dir = dir};
    int status = main_options(&ctl, argc, argv);

    if (status == CTL_GO_ON)
        status = main_dispatch(&ctl, argc - optind, argv + optind);
    free(dir);
    return status;
}
