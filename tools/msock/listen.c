/* msock listen: receives in the foreground and prints, or gives each message to a program. */
#include "command.h"

#include "common/digest.h"
#include "common/environment.h"
#include "common/fd.h"
#include "common/kernel.h"
#include "common/text.h"
#include "msock_server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define LISTEN_URL     "auto://127.0.0.1:8000"
#define LISTEN_LAST_MS 1000 /* for peers to read their last answers */

struct listening {
    msock_server *server;
    struct option_list urls;
    const char *key;
    uint64_t count; /* of messages; 0: until ^C */
    bool json;
    bool terminal;       /* standard output is one: nothing may drive it */
    const char *command; /* for /bin/sh -c; NULL: none */
};

/* For the signal handler. */
static msock_server *listen_server;

extern char **environ;

/* --- one message --- */

static const char *
message_kind(const msock_message *m)
{
    switch (msock_message_kind(m)) {
    case 'J':
        return "json";
    case 'F':
        return "file";
    }
    return "plain";
}

/* --- printing --- */

/* One line; an id may be any bytes, and one that is no text is left out. */
static int
print_json(const msock_message *m, const void *data, size_t n)
{
    json_t *body = json_stringn(data, n), *line;
    const char *key = body != NULL ? "text" : "base64";
    char hex[2 * SHA256_LEN + 1];
    int rc = -1;

    if (body == NULL)
        body = json_base64(data, n);
    digest_hex(msock_message_sha256(m), SHA256_LEN, hex);
    line = json_pack("{s:o*, s:s, s:s, s:s, s:I, s:s, s:o}", "id", json_string(msock_message_id(m)),
                     "proto", msock_message_protocol(m), "peer", msock_message_peer(m), "kind",
                     message_kind(m), "size", (json_int_t)n, "sha256", hex, key, body);
    if (line != NULL)
        rc = json_dump_callback(line, text_json_write, stdout, JSON_COMPACT);
    json_decref(line);
    return rc == 0 && putchar('\n') != EOF ? 0 : -1;
}

static int
print_clean(const char *data, size_t n)
{
    for (size_t i = 0; i < n;) {
        bool layout = data[i] == '\n' || data[i] == '\t';
        size_t len = layout ? 1 : say_harmless(data + i, n - i);

        if (len > 0 ? fwrite(data + i, 1, len, stdout) != len : putchar('?') == EOF)
            return -1;
        i += len > 0 ? len : 1;
    }
    return 0;
}

static int
print_bytes(const struct listening *l, const void *data, size_t n)
{
    if (l->terminal ? print_clean(data, n) < 0 : fwrite(data, 1, n, stdout) != n)
        return -1;
    return putchar('\n') != EOF ? 0 : -1;
}

/* --- running --- */

static void
set_environment(const msock_message *m, size_t n)
{
    const bool file = msock_message_kind(m) == 'F';
    char hex[2 * SHA256_LEN + 1], size[24];

    digest_hex(msock_message_sha256(m), SHA256_LEN, hex);
    snprintf(size, sizeof(size), "%zu", n);
    setenv("MSOCK_PROTO", msock_message_protocol(m), 1);
    setenv("MSOCK_PEER", msock_message_peer(m), 1);
    setenv("MSOCK_KIND", message_kind(m), 1);
    unsetenv(file ? "MSOCK_ID" : "MSOCK_FILE");
    setenv(file ? "MSOCK_FILE" : "MSOCK_ID", msock_message_id(m), 1);
    setenv("MSOCK_SIZE", size, 1);
    setenv("MSOCK_SHA256", hex, 1);
}

/* The message as a file without a name: the program may read as much of it as it likes. Returns a
 * descriptor, or -1. */
static int
input_file(const char *data, size_t n)
{
    int fd = kernel_memory_file("message");

    if (fd >= 0 && (fd_write_all(fd, data, n) < 0 || lseek(fd, 0, SEEK_SET) < 0))
        fd_close(&fd);
    return fd;
}

/* The command gets default signals. Only nohup(1) is for it too: it shares our terminal. sigfillset
 * leaves out two signals of libc's own, which posix_spawn would then ignore in the command. */
static void
command_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    sigemptyset(&none);
    memset(&all, 0xff, sizeof(all));
    if (environment_hangup_ignored())
        sigdelset(&all, SIGHUP);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

/* The message is its standard input. Where our standard output or error was closed, what it prints
 * is lost, but no reason to fail. */
static void
command_descriptors(posix_spawn_file_actions_t *actions, int input)
{
    posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if ((fcntl(fd, F_GETFL) & O_PATH) != 0)
            posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_WRONLY, 0);
}

/* Returns the status of waitpid(2), or -1. */
static int
run_command(const char *command, int input)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int status = -1;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    command_descriptors(&actions, input);
    command_signals(&attributes);
    if (posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

/* What the command decides; the message is settled. */
static void
settle_by_command(const char *command, msock_message *m, const void *data, size_t n)
{
    int input = input_file(data, n), status = -1;

    if (input >= 0) {
        set_environment(m, n);
        status = run_command(command, input);
        fd_close(&input);
    }
    if (status == 0)
        msock_message_commit(m, NULL, 0);
    else if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EX_DATAERR)
        msock_message_refuse(m, "the receiving command has refused it");
    else
        msock_message_fail(m, "the receiving command has failed");
}

/* Settles the message, and only after what was printed has left. Returns 0, or -1 where it could
 * not be printed, with errno; the message has failed then. */
static int
listen_message(const struct listening *l, msock_message *m)
{
    size_t n;
    const void *data = msock_message_data(m, &n);
    int rc = 0;

    if (data == NULL) {
        msock_message_fail(m, "the message cannot be read back");
        return 0;
    }
    if (l->json)
        rc = print_json(m, data, n);
    else if (l->command == NULL)
        rc = print_bytes(l, data, n);
    if (rc < 0 || fflush(stdout) != 0) {
        msock_message_fail(m, "the receiver cannot write it down");
        return -1;
    }
    if (l->command != NULL)
        settle_by_command(l->command, m, data, n);
    else
        msock_message_commit(m, NULL, 0);
    return 0;
}

/* --- options --- */

static const char listen_help[] =
    "usage: msock listen [OPTION...]\n\n"
    "Receives messages and prints each with a newline behind it; its sender is answered when\n"
    "it is printed. ^C ends it in order.\n\n"
    "examples:\n"
    "  msock listen\n"
    "  msock listen -l 'frame://0.0.0.0:5551?framing=delimiter' --json | jq .text\n"
    "  msock listen --exec 'psql -c \"copy lines from stdin\"' --count 100\n\n"
    "options:\n"
    "  -u, --url URL       where to listen; the options are those of listeners in\n"
    "                      msockd.conf(5) but handler; default $MSOCK_URL, else\n"
    "                      " LISTEN_URL "\n"
    "  -l, --listen URL    the same, repeatable: another place; without -u and $MSOCK_URL the\n"
    "                      only ones\n"
    "  -k, --key FILE      open and seal what is received and sent with the key in FILE\n"
    "  -j, --json          one JSON object a line: id, proto, peer, kind, size, sha256, and\n"
    "                      text, or base64 where it is not UTF-8\n"
    "  -n, --count N       end after N messages\n"
    "  -x, --exec COMMAND  /bin/sh runs COMMAND for each message, instead of printing it; the\n"
    "                      message is its standard input, MSOCK_ID, _FILE, _KIND, _PEER,\n"
    "                      _PROTO, _SHA256 and _SIZE describe it; exit status 0 takes it, 65\n"
    "                      refuses it, with any other it has failed\n"
    "  -h, --help          this text\n\n"
    "exit status: 0 ended by ^C or --count, 64 usage, 71 cannot listen, 74 cannot print\n";

/* Returns OPTIONS_GO_ON, or an exit status. url: $MSOCK_URL, or NULL. */
static int
listen_parse(struct listening *l, int argc, char **argv, const char *url)
{
    const struct option_row rows[] = {
        {"url", 'u', OPTION_TEXT, &url, 0, 0, NULL},
        {"listen", 'l', OPTION_LIST, &l->urls, 0, 0, "listeners"},
        {"key", 'k', OPTION_TEXT, &l->key, 0, 0, NULL},
        {"json", 'j', OPTION_FLAG, &l->json, 0, 0, NULL},
        {"count", 'n', OPTION_NUMBER, &l->count, 1, (double)(UINT64_MAX / 2), "a number from 1 on"},
        {"exec", 'x', OPTION_TEXT, &l->command, 0, 0, NULL}};
    int status = options_read(argc, argv, "listen", listen_help, rows, MS_ARRAY_LEN(rows));

    if (status != OPTIONS_GO_ON)
        return status;
    if (optind < argc) {
        say_error("there is nothing to say after the options: '%s'", argv[optind]);
        return say_usage("listen");
    }
    if (url == NULL && l->urls.count == 0)
        url = LISTEN_URL;
    if (url != NULL) {
        memmove(l->urls.items + 1, l->urls.items, l->urls.count++ * sizeof(l->urls.items[0]));
        l->urls.items[0] = url;
    }
    return OPTIONS_GO_ON;
}

/* --- the listeners --- */

static const char url_plain[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";

char *
listen_url_with_key(const char *url, const char *key)
{
    size_t size = strlen(url) + (key != NULL ? 3 * strlen(key) : 0) + sizeof("?key_file="), len;
    char *out = malloc(size);

    if (out == NULL)
        return NULL;
    len = (size_t)snprintf(out, size, "%s", url);
    if (key == NULL)
        return out;
    len += (size_t)snprintf(out + len, size - len,
                            "%ckey_file=", strchr(url, '?') != NULL ? '&' : '?');
    for (; *key != '\0'; key++)
        len += (size_t)snprintf(out + len, size - len,
                                strchr(url_plain, *key) != NULL ? "%c" : "%%%02X",
                                (unsigned char)*key);
    return out;
}

static int
listen_begin(struct listening *l)
{
    for (unsigned i = 0; i < l->urls.count; i++) {
        char *url = listen_url_with_key(l->urls.items[i], l->key);
        enum msock_status status =
            url != NULL ? msock_server_add_listener(l->server, url) : MSOCK_LOCAL;

        free(url);
        if (status == MSOCK_OK)
            continue;
        say_error("%s", msock_server_error(l->server));
        return status == MSOCK_USAGE ? EX_USAGE : EX_OSERR;
    }
    return EX_OK;
}

static void
listen_on_signal(int signal)
{
    (void)signal;
    msock_server_stop(listen_server);
}

/* The reader of our output may leave before us; the write then fails. Not SIG_IGN, which commands
 * would inherit. */
static void
listen_on_pipe(int signal)
{
    (void)signal;
}

/* The second ^C does not wait any more. */
static void
listen_catch_signals(const struct listening *l)
{
    const struct sigaction action = {.sa_handler = listen_on_signal,
                                     .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    const struct sigaction broken = {.sa_handler = listen_on_pipe, .sa_flags = SA_RESTART};

    listen_server = l->server;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &broken, NULL);
}

/* A URL for each of its addresses. */
static void
listen_say_urls(const char *url, const char *addresses)
{
    int scheme_len = (int)(strstr(url, "://") - url);

    for (const char *next; addresses != NULL; addresses = next) {
        next = addresses[0] == '/' ? NULL : strstr(addresses, ", ");
        fprintf(stderr, " %.*s://%.*s", scheme_len, url,
                next != NULL ? (int)(next - addresses) : (int)strlen(addresses), addresses);
        next = next != NULL ? next + 2 : NULL;
    }
}

static void
listen_say_ready(const struct listening *l)
{
    fputs("msock: ready", stderr);
    for (unsigned i = 0; i < l->urls.count; i++)
        listen_say_urls(l->urls.items[i], msock_server_address(l->server, i));
    fputc('\n', stderr);
}

static int
listen_receive(const struct listening *l)
{
    enum msock_status status = MSOCK_OK;
    msock_message *m;

    for (uint64_t n = 0; l->count == 0 || n < l->count; n++) {
        status = msock_server_recv(l->server, -1, &m);
        if (status != MSOCK_OK)
            break;
        if (listen_message(l, m) < 0) {
            say_error("cannot write to standard output: %s", strerror(errno));
            return EX_IOERR;
        }
    }
    if (status == MSOCK_OK || status == MSOCK_CANCELLED)
        return EX_OK;
    say_error("%s", msock_server_error(l->server));
    return EX_OSERR;
}

static void
listen_too_late(void *arg, msock_server *s, msock_message *m)
{
    (void)arg;
    (void)s;
    msock_message_fail(m, "the receiver has ended");
}

/* Lets everybody read what was said to them last. */
static void
listen_end(struct listening *l)
{
    const struct msock_server_callbacks callbacks = {.message = listen_too_late};

    msock_server_stop(l->server);
    (void)msock_server_run(l->server, &callbacks, NULL, LISTEN_LAST_MS);
}

int
command_listen(int argc, char **argv, const char *url)
{
    struct listening l = {.terminal = isatty(STDOUT_FILENO)};
    int status = listen_parse(&l, argc, argv, url);

    if (status != OPTIONS_GO_ON)
        return status;
    l.server = msock_server_create();
    if (l.server == NULL) {
        say_error("no memory or no descriptors");
        return EX_OSERR;
    }
    status = listen_begin(&l);
    if (status == EX_OK) {
        listen_catch_signals(&l);
        listen_say_ready(&l);
        status = listen_receive(&l);
        listen_end(&l);
    }
    msock_server_destroy(l.server);
    return status;
}
