#include "listen_message.h"

#include "say.h"

#include <errno.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define HEX_LEN      65
#define BASE64_CHUNK 49152 /* bytes at a time, a multiple of 3 */

extern char **environ;

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

static void
message_hex(const msock_message *m, char out[HEX_LEN])
{
    const unsigned char *sha256 = msock_message_sha256(m);

    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", sha256[i]);
}

/* --- printing --- */

static json_t *
body_base64(const unsigned char *data, size_t n)
{
    char *text = malloc(n / 3 * 4 + 5);
    size_t len = 0;
    json_t *value;

    if (text == NULL)
        return NULL;
    text[0] = '\0';
    for (size_t at = 0; at < n; at += BASE64_CHUNK) {
        size_t some = n - at < BASE64_CHUNK ? n - at : BASE64_CHUNK;

        len += (size_t)EVP_EncodeBlock((unsigned char *)text + len, data + at, (int)some);
    }
    value = json_stringn(text, len);
    free(text);
    return value;
}

/* One line; an id may be any bytes, and one that is no text is left out. */
static int
print_json(const msock_message *m, const void *data, size_t n)
{
    json_t *body = json_stringn(data, n), *line;
    const char *key = body != NULL ? "text" : "base64";
    char hex[HEX_LEN];
    int rc = -1;

    if (body == NULL)
        body = body_base64(data, n);
    message_hex(m, hex);
    line = json_pack("{s:o*, s:s, s:s, s:s, s:I, s:s, s:o}", "id", json_string(msock_message_id(m)),
                     "proto", msock_message_protocol(m), "peer", msock_message_peer(m), "kind",
                     message_kind(m), "size", (json_int_t)n, "sha256", hex, key, body);
    if (line != NULL)
        rc = json_dumpf(line, stdout, JSON_COMPACT);
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
print_bytes(const struct listen_options *options, const void *data, size_t n)
{
    if (options->terminal ? print_clean(data, n) < 0 : fwrite(data, 1, n, stdout) != n)
        return -1;
    return putchar('\n') != EOF ? 0 : -1;
}

/* --- running --- */

static void
set_environment(const msock_message *m, size_t n)
{
    const bool file = msock_message_kind(m) == 'F';
    char hex[HEX_LEN], size[24];

    message_hex(m, hex);
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
    int fd = memfd_create("message", MFD_CLOEXEC);

    while (fd >= 0 && n > 0) {
        ssize_t some = write(fd, data, n);

        if (some < 0 && errno != EINTR) {
            close(fd);
            return -1;
        }
        data += some > 0 ? some : 0;
        n -= some > 0 ? (size_t)some : 0;
    }
    return fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

/* Returns the status of waitpid(2), or -1. */
static int
run_command(const char *command, int input)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    int status = -1;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
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
        close(input);
    }
    if (status == 0)
        msock_message_commit(m, NULL, 0);
    else if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EX_DATAERR)
        msock_message_refuse(m, "the receiving command has refused it");
    else
        msock_message_fail(m, "the receiving command has failed");
}

int
listen_message(const struct listen_options *options, msock_message *m)
{
    size_t n;
    const void *data = msock_message_data(m, &n);
    int rc = 0;

    if (data == NULL) {
        msock_message_fail(m, "the message cannot be read back");
        return 0;
    }
    if (options->json)
        rc = print_json(m, data, n);
    else if (options->command == NULL)
        rc = print_bytes(options, data, n);
    if (rc < 0 || fflush(stdout) != 0) {
        msock_message_fail(m, "the receiver cannot write it down");
        return -1;
    }
    if (options->command != NULL)
        settle_by_command(options->command, m, data, n);
    else
        msock_message_commit(m, NULL, 0);
    return 0;
}
