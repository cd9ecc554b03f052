/* What the sending commands share: their options, a handle made from them, and what is said about a
 * message afterwards. */
#ifndef MSOCK_SESSION_H
#define MSOCK_SESSION_H

#include "msock.h"
#include "progress.h"

#include <getopt.h>
#include <stdio.h>

enum session_progress { SESSION_PROGRESS_TERMINAL, SESSION_PROGRESS_ON, SESSION_PROGRESS_OFF };

struct session_options {
    const char *url;
    const char *id;   /* NULL: the library makes one */
    const char *key;  /* a file; NULL: nothing is sealed */
    double timeout_s; /* below 0: the library's defaults */
    int retries;      /* below 0: the library's default */
    enum session_progress progress;
    bool want_reply;
    bool json;
    bool quiet;
};

#define SESSION_OPTIONS_INIT(server)                    \
    {                                                   \
        .url = (server), .timeout_s = -1, .retries = -1 \
    }

/* For getopt_long: the short ones, and the members of the array of long ones. */
#define SESSION_SHORT "u:k:t:r:jqh"
#define SESSION_LONG                                                                          \
    {"url", required_argument, NULL, 'u'}, {"key", required_argument, NULL, 'k'},             \
        {"timeout", required_argument, NULL, 't'}, {"retries", required_argument, NULL, 'r'}, \
        {"reply", no_argument, NULL, 'R'}, {"progress", no_argument, NULL, 'p'},              \
        {"no-progress", no_argument, NULL, 'P'}, {"json", no_argument, NULL, 'j'},            \
        {"quiet", no_argument, NULL, 'q'},                                                    \
    {                                                                                         \
        "help", no_argument, NULL, 'h'                                                        \
    }

/* Takes an option from the lists above. Returns 0, or -1 where it is none of them or its value is
 * wrong, which it says itself. */
int session_option(struct session_options *options, int c, const char *value);

/* Prints the help of the options above. */
void session_help(FILE *out);

/* A handle with the options set. Returns EX_OK with *m_out (msock_close is the caller's), EX_USAGE
 * or EX_OSERR, which it says itself. Does not connect. */
int session_open(const struct session_options *options, msock **m_out);

/* True where a bar is to be shown. */
bool session_shows_progress(const struct session_options *options);

/* One message or file that was dealt with. */
struct session_result {
    enum msock_status status;
    const char *file; /* local path; NULL for a message */
    const char *path; /* where it is stored by the server; NULL for a message */
    uint64_t bytes;
    double seconds;
    uint64_t retries;
};

/* Says what became of it, on standard output (reply, JSON, a line on a terminal) or standard error.
 * Returns the exit status for it. */
int session_report(const struct session_options *options, const msock *m,
                   const struct session_result *result);

/* The exit status for a result. */
int session_status(const struct session_result *result);

/* The worse of two exit statuses: 69, 75, 71, 66, 65, 64, 0. */
int session_worse(int a, int b);

#endif
