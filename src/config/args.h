/* The command line of msockd. */
#ifndef CONFIG_ARGS_H
#define CONFIG_ARGS_H

#include "config/config.h"

#include <stdio.h>

enum args_action { ARGS_RUN, ARGS_TEST, ARGS_HELP, ARGS_VERSION };

struct args {
    enum args_action action;
    struct config_args config; /* strings are argv's */
};

/* Reads argv. Returns 0, or -1 with a sentence in error (an unknown option, a missing argument). */
MS_MUST_CHECK int
args_parse(int argc, char *const argv[], struct args *args_out, char error[CONFIG_ERROR_LEN]);

/* What -h prints. */
void args_help(FILE *out);

#endif
