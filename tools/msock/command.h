/* The table of subcommands: a name, a function and one line of help drive main.c. One file each. */
#ifndef MSOCK_COMMAND_H
#define MSOCK_COMMAND_H

#define DEFAULT_URL "msp://127.0.0.1:8000"

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

#endif
