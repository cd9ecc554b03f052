/* msock: send messages, JSON documents and files from the command line, and load a server. */
#include "command.h"

#include "common/environment.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct command commands[] = {
    {"send", command_send, DEFAULT_URL, "send a message from the argument or standard input"},
    {"send-json", command_send_json, DEFAULT_URL, "send a JSON document"},
    {"send-file", command_send_file, DEFAULT_URL, "send files"},
    {"listen", command_listen, NULL, "receive messages and print them, or run a command for each"},
    {"chat", command_chat, DEFAULT_URL,
     "send lines and print what comes, over every protocol but msp"},
    {"selftest", command_selftest, DEFAULT_URL,
     "run a server and clients in this process, and report"},
    {"bench", command_bench, DEFAULT_URL, "load a server and measure it"},
};

static void
main_help(FILE *out)
{
    fputs("usage: msock [-u URL] [-h] [-V] COMMAND [OPTION...] [ARGUMENT...]\n\n"
          "Sends messages to msockd, and returns when they are verified and safe.\n\n"
          "commands:\n",
          out);
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++)
        fprintf(out, "  %-10s  %s\n", commands[i].name, commands[i].help);
    fputs("\noptions:\n"
          "  -u, --url URL  the server, or the address to listen on; default $MSOCK_URL, else\n"
          "                 " DEFAULT_URL "\n"
          "  -h, --help     this text; `msock COMMAND --help` for a command\n"
          "  -V, --version  the version\n\n"
          "examples:\n"
          "  msock send-json '{\"hello\":\"world\"}'\n"
          "  dmesg | msock -u msp://[::1]:8000 send\n"
          "  msock send-file --as backup/ *.tar\n\n" SESSION_STATUS,
          out);
}

/* A reply that could not be written is not a success: a full disk must not look like one. */
static int
main_flush(int status)
{
    if (status == EX_IOERR || (fflush(stdout) == 0 && !ferror(stdout)))
        return status; /* EX_IOERR: it was said */
    say_error("cannot write to standard output: %s", strerror(errno));
    return status == EX_OK ? EX_IOERR : status;
}

static int
main_command(int argc, char **argv, const char *url)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, argv[0]) != 0)
            continue;
        argv[0] = (char *)"msock";
        optind = 0; /* glibc: begin anew, with this vector */
        return main_flush(commands[i].run(argc, argv, url != NULL ? url : commands[i].url));
    }
    say_error("there is no command '%s'", argv[0]);
    say_error("see `msock --help`");
    return EX_USAGE;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"url", required_argument, NULL, 'u'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    const char *url = getenv("MSOCK_URL");
    int c;

    environment_make(ENVIRONMENT_TOOL);
    if (url != NULL && *url == '\0')
        url = NULL;
    if (argc > 0)
        argv[0] = (char *)"msock";
    while ((c = getopt_long(argc, argv, "+u:hV", options, NULL)) != -1) {
        switch (c) {
        case 'u':
            url = optarg;
            break;
        case 'h':
            main_help(stdout);
            return main_flush(EX_OK);
        case 'V':
            printf("msock %s\n", msock_version());
            return main_flush(EX_OK);
        default:
            say_error("see `msock --help`");
            return EX_USAGE;
        }
    }
    if (optind >= argc) {
        main_help(stderr);
        return EX_USAGE;
    }
    return main_command(argc - optind, argv + optind, url);
}
