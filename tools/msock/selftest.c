/* msock selftest: every protocol, in this process: what works here. For each a server in a thread
 * of its own answers a message with itself and then sends it unasked, where the protocol can; and a
 * client expects this. */
#include "command.h"

#include "common/text.h"

#include "msock_server.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#define CASE_WAIT_MS  10000
#define CASE_DRAIN_MS 1000
#define CASE_SIZE_MAX 300000

enum case_trait {
    CASE_PUSHES = 1,   /* the server can send what nobody asked for */
    CASE_NO_EMPTY = 2, /* there is no message without bytes */
    CASE_SEALED = 4,   /* with a key */
};

static const size_t case_sizes[] = {0, 1, 1998, 1999, 65536, CASE_SIZE_MAX};

struct case_result {
    unsigned messages; /* that arrived, were answered, and were sent back unasked */
    uint64_t bytes;    /* in them */
    char error[512];   /* "" where all went well */
};

/* One protocol. */
struct selftest_case {
    const char *name;
    const char *listen, *client;                 /* protocols */
    const char *listen_options, *client_options; /* behind "?"; or NULL */
    size_t fixed;                                /* the only size; 0: any */
    unsigned traits;                             /* enum case_trait */
};

struct case_run {
    const struct selftest_case *c;
    msock_server *server;
    msock *client;
    pthread_t thread;
    char *body; /* CASE_SIZE_MAX bytes without any delimiter */
    struct case_result result;
};

static bool
case_pushes(const struct case_run *run)
{
    return (run->c->traits & CASE_PUSHES) != 0;
}

static bool MS_PRINTF(2, 3) case_fail(struct case_run *run, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(run->result.error, sizeof(run->result.error), format, args);
    va_end(args);
    return false;
}

/* --- the server --- */

static void
case_message(void *arg, msock_server *s, msock_message *m)
{
    const struct case_run *run = arg;
    msock_conn *conn = msock_message_conn(m);
    size_t n;
    const char *data = msock_message_data(m, &n);
    char *copy = malloc(n + 1);

    (void)s;
    if (data == NULL || copy == NULL) {
        msock_message_fail(m, "no memory");
    } else {
        memcpy(copy, data, n);
        msock_message_commit(m, copy, n);
        if (case_pushes(run) && conn != NULL)
            (void)msock_conn_write(conn, copy, n, CASE_WAIT_MS);
    }
    free(copy);
}

static void *
case_serve(void *arg)
{
    static const struct msock_server_callbacks callbacks = {.message = case_message};
    struct case_run *run = arg;

    (void)msock_server_run(run->server, &callbacks, run, CASE_DRAIN_MS);
    return NULL;
}

/* PROTOCOL://ADDRESS?OPTIONS with the key. Returns a string to be freed, or NULL. */
static char *
case_url(const struct selftest_case *c, const char *protocol, const char *address,
         const char *options, const char *key)
{
    char url[256];

    snprintf(url, sizeof(url), "%s://%s%s%s", protocol, address, options != NULL ? "?" : "",
             options != NULL ? options : "");
    return listen_url_with_key(url, (c->traits & CASE_SEALED) != 0 ? key : NULL);
}

static bool
case_listen(struct case_run *run, const char *key)
{
    char *url = case_url(run->c, run->c->listen, "127.0.0.1:0", run->c->listen_options, key);
    bool ok = url != NULL && msock_server_add_listener(run->server, url) == MSOCK_OK;

    free(url);
    if (!ok)
        return case_fail(run, "cannot listen: %s", msock_server_error(run->server));
    if (pthread_create(&run->thread, NULL, case_serve, run) != 0)
        return case_fail(run, "cannot start a thread");
    return true;
}

/* --- the client --- */

static bool
case_open(struct case_run *run, const char *key)
{
    char *url = case_url(run->c, run->c->client, msock_server_address(run->server, 0),
                         run->c->client_options, key);
    char error[256] = "no memory";

    if (url != NULL && msock_url_error(url, error, sizeof(error)) == MSOCK_OK)
        run->client = msock_open(url);
    free(url);
    if (run->client == NULL)
        return case_fail(run, "%s", error);
    msock_set_timeouts(run->client, CASE_WAIT_MS, CASE_WAIT_MS);
    msock_set_retries(run->client, 0, 1, 1);
    msock_set_want_reply(run->client, 1);
    return true;
}

static bool
case_same(const struct case_run *run, const void *data, size_t n, size_t size)
{
    return data != NULL && n == size && memcmp(data, run->body, n) == 0;
}

static bool
case_exchange(struct case_run *run, size_t size)
{
    const void *data;
    size_t n;

    if (msock_send(run->client, run->body, size) != MSOCK_OK)
        return case_fail(run, "%zu bytes: %s", size, msock_error(run->client));
    data = msock_reply(run->client, &n);
    if (!case_same(run, data, n, size))
        return case_fail(run, "%zu bytes: the reply is not the message", size);
    if (case_pushes(run) && msock_recv(run->client, CASE_WAIT_MS, &data, &n) != MSOCK_OK)
        return case_fail(run, "%zu bytes, sent unasked: %s", size, msock_error(run->client));
    if (case_pushes(run) && !case_same(run, data, n, size))
        return case_fail(run, "%zu bytes, sent unasked, are not the message", size);
    run->result.messages++;
    run->result.bytes += size;
    return true;
}

static bool
case_exchanges(struct case_run *run)
{
    if (run->c->fixed != 0)
        return case_exchange(run, run->c->fixed) && case_exchange(run, run->c->fixed);
    for (size_t i = 0; i < MS_ARRAY_LEN(case_sizes); i++)
        if ((case_sizes[i] > 0 || (run->c->traits & CASE_NO_EMPTY) == 0) &&
            !case_exchange(run, case_sizes[i]))
            return false;
    return true;
}

/* key: a file with a key, for sealed cases. */
static struct case_result
case_run(const struct selftest_case *c, const char *key)
{
    struct case_run run = {.c = c, .server = msock_server_create(), .body = malloc(CASE_SIZE_MAX)};

    if (run.server == NULL || run.body == NULL) {
        (void)case_fail(&run, "no memory or no descriptors");
    } else {
        for (size_t i = 0; i < CASE_SIZE_MAX; i++)
            run.body[i] = (char)('a' + i % 26);
        if (case_listen(&run, key)) {
            if (case_open(&run, key))
                (void)case_exchanges(&run);
            msock_close(run.client);
            msock_server_stop(run.server);
            pthread_join(run.thread, NULL);
        }
    }
    msock_server_destroy(run.server);
    free(run.body);
    return run.result;
}

/* --- all of them --- */

#define CNP_BURST "mode=burst"

static const struct selftest_case cases[] = {
    {"msp", "msp", "msp", NULL, NULL, 0, 0},
    {"tinyproto", "tinyproto", "tinyproto", NULL, NULL, 0, CASE_PUSHES},
    {"cnp step-by-step", "cnp", "cnp", NULL, NULL, 0, CASE_PUSHES},
    {"cnp burst", "cnp", "cnp", NULL, CNP_BURST, 0, CASE_PUSHES},
    {"frame length32", "frame", "frame", NULL, NULL, 0, CASE_PUSHES},
    {"frame fixed:1024", "frame", "frame", "framing=fixed:1024", "framing=fixed:1024", 1024,
     CASE_PUSHES},
    {"frame delimiter", "frame", "frame", "framing=delimiter", "framing=delimiter", 0, CASE_PUSHES},
    {"frame eof", "frame", "frame", "framing=eof", "framing=eof", 0, CASE_NO_EMPTY},
    {"auto msp", "auto", "msp", NULL, NULL, 0, 0},
    {"auto tinyproto", "auto", "tinyproto", NULL, NULL, 0, CASE_PUSHES},
    {"auto cnp", "auto", "cnp", NULL, CNP_BURST, 0, CASE_PUSHES},
    /* an empty message looks like the beginning of msp for a while */
    {"auto frame", "auto", "frame", NULL, NULL, 0, CASE_PUSHES | CASE_NO_EMPTY},
    {"msp sealed", "msp", "msp", NULL, NULL, 0, CASE_SEALED},
    {"tinyproto sealed", "tinyproto", "tinyproto", NULL, NULL, 0, CASE_PUSHES | CASE_SEALED},
    {"cnp sealed", "cnp", "cnp", NULL, CNP_BURST, 0, CASE_PUSHES | CASE_SEALED},
    {"frame sealed", "frame", "frame", NULL, NULL, 0, CASE_PUSHES | CASE_SEALED},
};

static const char selftest_help[] =
    "usage: msock selftest [OPTION...]\n\n"
    "Runs a server and clients in this process, over loopback: messages of several sizes to\n"
    "it, replies, and messages from it, over every protocol, and with a key. Prints a line\n"
    "for each.\n\n"
    "options:\n"
    "  -j, --json  one JSON object a line\n"
    "  -h, --help  this text\n\n"
    "exit status: 0 all of it works, 1 not all, 64 usage\n";

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
selftest_print(const struct selftest_case *c, const struct case_result *r)
{
    if (r->error[0] != '\0')
        printf("FAIL %-18s %s\n", c->name, r->error);
    else
        printf("ok   %-18s %u messages, %llu bytes, with replies%s\n", c->name, r->messages,
               (unsigned long long)r->bytes, (c->traits & CASE_PUSHES) != 0 ? " and pushes" : "");
}

static void
selftest_print_json(const struct selftest_case *c, const struct case_result *r)
{
    json_t *line = json_pack("{s:s, s:b, s:i, s:I}", "name", c->name, "ok", r->error[0] == '\0',
                             "messages", (int)r->messages, "bytes", (json_int_t)r->bytes);

    if (r->error[0] != '\0')
        json_object_set_new(line, "error", json_string(r->error));
    json_dump_callback(line, text_json_write, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static int
selftest_run(bool json, const char *key)
{
    int status = EX_OK;

    for (size_t i = 0; i < MS_ARRAY_LEN(cases); i++) {
        struct case_result result = case_run(&cases[i], key);

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

int
command_selftest(int argc, char **argv, const char *url)
{
    bool json = false;
    const struct option_row rows[] = {{"json", 'j', OPTION_FLAG, &json, 0, 0, NULL}};
    int status = options_read(argc, argv, "selftest", selftest_help, rows, MS_ARRAY_LEN(rows));
    char key[64];

    (void)url;
    if (status != OPTIONS_GO_ON)
        return status;
    if (optind < argc)
        return say_usage("selftest");
    if (selftest_key(key) < 0) {
        say_error("cannot write a key to /tmp: %s", strerror(errno));
        return EX_OSERR;
    }
    status = selftest_run(json, key);
    unlink(key);
    return status;
}
