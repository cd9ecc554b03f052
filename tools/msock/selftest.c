/* msock selftest: server and clients in one process, every protocol: what works here. */
#include "command.h"
#include "say.h"
#include "selftest_case.h"

#include "msock.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#define CNP_BURST "mode=burst"

static const struct selftest_case cases[] = {
    {.name = "msp", .listen = "msp", .client = "msp"},
    {.name = "tinyproto", .listen = "tinyproto", .client = "tinyproto", .pushes = true},
    {.name = "cnp step-by-step", .listen = "cnp", .client = "cnp", .pushes = true},
    {.name = "cnp burst",
     .listen = "cnp",
     .client = "cnp",
     .client_options = CNP_BURST,
     .pushes = true},
    {.name = "frame length32", .listen = "frame", .client = "frame", .pushes = true},
    {.name = "frame fixed:1024",
     .listen = "frame",
     .client = "frame",
     .listen_options = "framing=fixed:1024",
     .client_options = "framing=fixed:1024",
     .pushes = true,
     .fixed = 1024},
    {.name = "frame delimiter",
     .listen = "frame",
     .client = "frame",
     .listen_options = "framing=delimiter",
     .client_options = "framing=delimiter",
     .pushes = true},
    {.name = "frame eof",
     .listen = "frame",
     .client = "frame",
     .listen_options = "framing=eof",
     .client_options = "framing=eof",
     .no_empty = true},
    {.name = "auto msp", .listen = "auto", .client = "msp"},
    {.name = "auto tinyproto", .listen = "auto", .client = "tinyproto", .pushes = true},
    {.name = "auto cnp",
     .listen = "auto",
     .client = "cnp",
     .client_options = CNP_BURST,
     .pushes = true},
    {.name = "auto frame",
     .listen = "auto",
     .client = "frame",
     .pushes = true,
     .no_empty = true /* which looks like the beginning of msp for a while */},
    {.name = "msp sealed", .listen = "msp", .client = "msp", .sealed = true},
    {.name = "tinyproto sealed",
     .listen = "tinyproto",
     .client = "tinyproto",
     .pushes = true,
     .sealed = true},
    {.name = "cnp sealed",
     .listen = "cnp",
     .client = "cnp",
     .client_options = CNP_BURST,
     .pushes = true,
     .sealed = true},
    {.name = "frame sealed", .listen = "frame", .client = "frame", .pushes = true, .sealed = true},
};

static void
selftest_help(FILE *out)
{
    fputs("usage: msock selftest [OPTION...]\n\n"
          "Runs a server and clients in this process, over loopback: messages of several sizes to\n"
          "it, replies, and messages from it, over every protocol, and with a key. Prints a line\n"
          "for each.\n\n"
          "options:\n"
          "  -j, --json  one JSON object a line\n"
          "  -h, --help  this text\n\n"
          "exit status: 0 all of it works, 1 not all, 64 usage\n",
          out);
}

/* A key for this run alone. Returns 0 and the file's name, which the caller unlinks, or -1. */
static int
selftest_key(char path[64])
{
    unsigned char key[32];
    int fd = -1, rc = -1;

    if (getrandom(key, sizeof(key), 0) != sizeof(key))
        return -1;
    strcpy(path, "/tmp/msock-selftest-XXXXXX");
    fd = mkstemp(path);
    if (fd < 0)
        return -1;
    rc = write(fd, key, sizeof(key)) == sizeof(key) ? 0 : -1;
    close(fd);
    if (rc < 0)
        unlink(path);
    return rc;
}

static void
selftest_print(const struct selftest_case *c, const struct selftest_result *r)
{
    if (r->error[0] != '\0')
        printf("FAIL %-18s %s\n", c->name, r->error);
    else
        printf("ok   %-18s %u messages, %llu bytes, with replies%s\n", c->name, r->messages,
               (unsigned long long)r->bytes, c->pushes ? " and pushes" : "");
}

static void
selftest_print_json(const struct selftest_case *c, const struct selftest_result *r)
{
    json_t *line = json_pack("{s:s, s:b, s:i, s:I}", "name", c->name, "ok", r->error[0] == '\0',
                             "messages", (int)r->messages, "bytes", (json_int_t)r->bytes);

    if (r->error[0] != '\0')
        json_object_set_new(line, "error", json_string(r->error));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static int
selftest_run(bool json, const char *key)
{
    int status = EX_OK;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct selftest_result result = selftest_case_run(&cases[i], key);

        if (json)
            selftest_print_json(&cases[i], &result);
        else
            selftest_print(&cases[i], &result);
        fflush(stdout);
        if (result.error[0] != '\0')
            status = EXIT_FAILURE;
    }
    return status;
}

/* Returns 0 to go on, 1 where help was printed, -1 for wrong usage. */
static int
selftest_parse(int argc, char **argv, bool *json_out)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "jh", longs, NULL)) != -1) {
        if (c == 'h') {
            selftest_help(stdout);
            return 1;
        }
        if (c != 'j')
            return -1;
        *json_out = true;
    }
    return optind < argc ? -1 : 0;
}

int
command_selftest(int argc, char **argv, const char *url)
{
    bool json = false;
    int parsed = selftest_parse(argc, argv, &json), status;
    char key[64];

    (void)url;
    if (parsed != 0) {
        if (parsed < 0)
            say_hint("msock selftest --help");
        return parsed > 0 ? EX_OK : EX_USAGE;
    }
    if (selftest_key(key) < 0) {
        say_error("cannot write a key to /tmp: %s", strerror(errno));
        return EX_OSERR;
    }
    status = selftest_run(json, key);
    unlink(key);
    return status;
}
