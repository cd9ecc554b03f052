#include "session.h"

#include "numbers.h"
#include "say.h"

#include "common/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

void
session_help(FILE *out)
{
    fputs("  -u, --url URL          the server; default $MSOCK_URL, else msp://127.0.0.1:8000\n"
          "  -k, --key FILE         seal what is sent with the key in FILE (32 bytes or 64 hex "
          "digits)\n"
          "      --reply            ask for the reply and print it on standard output\n"
          "  -t, --timeout SECONDS  how long to wait for a connection and for each answer;\n"
          "                         default 2, and 30 for the last answer\n"
          "  -r, --retries N        how often to begin again; default 5\n"
          "      --progress         show a bar also where standard error is not a terminal\n"
          "      --no-progress      never show a bar\n"
          "  -j, --json             print what became of it as one JSON object a line\n"
          "  -q, --quiet            no line for what is committed\n"
          "  -h, --help             this text\n\n"
          "exit status: 0 committed, 64 usage, 65 refused, 66 a file cannot be read,\n"
          "69 not reachable, 74 standard output cannot be written, 75 given up after retries\n",
          out);
}

static int
session_number(struct session_options *options, int c, const char *value)
{
    uint64_t n;

    if (c == 't') {
        if (number_seconds(value, 1e6, &options->timeout_s) && options->timeout_s >= 0.001)
            return 0;
        say_error("--timeout wants seconds, such as 0.5 or 10, not '%s'", value);
        return -1;
    }
    if (!number_parse(value, 1000000, &n)) {
        say_error("--retries wants a number from 0 to 1000000, not '%s'", value);
        return -1;
    }
    options->retries = (int)n;
    return 0;
}

int
session_option(struct session_options *options, int c, const char *value)
{
    switch (c) {
    case 'u':
        options->url = value;
        return 0;
    case 'k':
        options->key = value;
        return 0;
    case 't':
    case 'r':
        return session_number(options, c, value);
    case 'R':
        options->want_reply = true;
        return 0;
    case 'p':
        options->progress = SESSION_PROGRESS_ON;
        return 0;
    case 'P':
        options->progress = SESSION_PROGRESS_OFF;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    }
    return -1;
}

bool
session_shows_progress(const struct session_options *options)
{
    switch (options->progress) {
    case SESSION_PROGRESS_ON:
        return true;
    case SESSION_PROGRESS_OFF:
        return false;
    case SESSION_PROGRESS_TERMINAL:
        break;
    }
    return !options->quiet && isatty(STDERR_FILENO);
}

int
session_open(const struct session_options *options, msock **m_out)
{
    char error[512];
    unsigned ms = options->timeout_s > 0 ? (unsigned)(options->timeout_s * 1000 + 0.5) : 0;
    msock *m;

    if (msock_url_error(options->url, error, sizeof(error)) != MSOCK_OK) {
        say_error("%s", error);
        return EX_USAGE;
    }
    m = msock_open(options->url);
    if (m == NULL) {
        say_error("no memory");
        return EX_OSERR;
    }
    msock_set_timeouts(m, ms, ms);
    if (options->retries >= 0)
        msock_set_retries(m, (unsigned)options->retries, 50, 5000);
    msock_set_want_reply(m, options->want_reply);
    if ((options->id != NULL && msock_set_id(m, options->id, strlen(options->id)) != MSOCK_OK) ||
        (options->key != NULL && msock_set_key(m, options->key) != MSOCK_OK)) {
        say_error("%s", msock_error(m));
        msock_close(m);
        return EX_USAGE;
    }
    *m_out = m;
    return EX_OK;
}

int
session_status(const struct session_result *result)
{
    switch (result->status) {
    case MSOCK_OK:
        return EX_OK;
    case MSOCK_USAGE:
        return EX_USAGE;
    case MSOCK_REFUSED:
        return EX_DATAERR;
    case MSOCK_UNREACHABLE:
        return EX_UNAVAILABLE;
    case MSOCK_GIVEN_UP:
    case MSOCK_CANCELLED:
    case MSOCK_TIMEOUT:
        return EX_TEMPFAIL;
    case MSOCK_LOCAL:
        return result->file != NULL ? EX_NOINPUT : EX_OSERR;
    }
    return EX_SOFTWARE;
}

int
session_worse(int a, int b)
{
    static const int order[] = {EX_UNAVAILABLE, EX_TEMPFAIL, EX_OSERR,
                                EX_NOINPUT,     EX_DATAERR,  EX_USAGE};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return a != EX_OK ? a : b;
}

/* Names of files and texts from a server need not be UTF-8, JSON strings must. */
static json_t *
session_string(const char *text)
{
    json_t *string = json_string(text);
    char *clean;

    if (string != NULL || (clean = strdup(text)) == NULL)
        return string;
    for (char *p = clean; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    string = json_string(clean);
    free(clean);
    return string;
}

static json_t *
session_base64(const uint8_t *data, size_t n)
{
    struct buffer text;
    json_t *string;

    buffer_init(&text);
    text_base64(&text, data, n);
    string = json_stringn(buffer_bytes(&text), text.len);
    buffer_fini(&text);
    return string;
}

static int
session_json_reply(json_t *object, const msock *m)
{
    size_t n;
    const void *reply = msock_reply(m, &n);
    json_t *text;

    if (reply == NULL)
        return json_object_set_new(object, "reply", json_null());
    text = json_stringn(reply, n);
    if (text != NULL)
        return json_object_set_new(object, "reply", text);
    return json_object_set_new(object, "reply_base64", session_base64(reply, n));
}

static void
session_json(const struct session_options *options, const msock *m,
             const struct session_result *result)
{
    json_t *object = json_object();
    int failed = 0;

    if (result->file != NULL) {
        failed |= json_object_set_new(object, "file", session_string(result->file));
        failed |= json_object_set_new(object, "path", session_string(result->path));
    }
    failed |=
        json_object_set_new(object, "status", session_string(msock_status_name(result->status)));
    failed |= json_object_set_new(object, "code", session_string(msock_error_code(m)));
    failed |= json_object_set_new(object, "error", session_string(msock_error(m)));
    failed |= json_object_set_new(object, "id", session_string(msock_last_id(m)));
    failed |= json_object_set_new(object, "bytes", json_integer((json_int_t)result->bytes));
    failed |= json_object_set_new(object, "seconds", json_real(result->seconds));
    failed |= json_object_set_new(object, "retries", json_integer((json_int_t)result->retries));
    if (options->want_reply)
        failed |= session_json_reply(object, m);
    if (failed != 0 || json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) < 0)
        say_error("no memory for the JSON object");
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

/* Over a protocol without acknowledgements nobody has said that it arrived. */
static void
session_sent(const struct session_result *result)
{
    printf("sent, %llu bytes; this protocol does not tell whether they arrived\n",
           (unsigned long long)result->bytes);
}

static void
session_committed(const msock *m, const struct session_result *result)
{
    const char *id = msock_last_id(m);
    char rate[NUMBER_TEXT_LEN], name[512];

    if (result->file == NULL) {
        printf("committed, %llu bytes%s%s\n", (unsigned long long)result->bytes,
               *id != '\0' ? ", id " : "", id);
        return;
    }
    number_bytes(result->seconds > 0 ? (double)result->bytes / result->seconds : 0, rate);
    say_clean(result->path, name, sizeof(name));
    printf("committed, %llu bytes, %s, %.2f s, %s/s\n", (unsigned long long)result->bytes, name,
           result->seconds, rate);
}

static void
session_done(const msock *m, const struct session_result *result)
{
    if (msock_acknowledges(m))
        session_committed(m, result);
    else
        session_sent(result);
}

static void
session_reply(const msock *m)
{
    size_t n = 0;
    const char *reply = msock_reply(m, &n);

    if (reply == NULL || n == 0)
        return;
    fwrite(reply, 1, n, stdout);
    if (reply[n - 1] != '\n' && isatty(STDOUT_FILENO))
        putchar('\n');
    fflush(stdout);
}

static void
session_failed(const msock *m, const struct session_result *result)
{
    const char *error = msock_error(m);

    if (*error == '\0')
        error = msock_status_name(result->status);
    if (result->file != NULL && strstr(error, result->file) == NULL)
        say_error("%s: %s", result->file, error);
    else
        say_error("%s", error);
}

int
session_report(const struct session_options *options, const msock *m,
               const struct session_result *result)
{
    if (result->status != MSOCK_OK)
        session_failed(m, result);
    if (options->json)
        session_json(options, m, result);
    else if (result->status == MSOCK_OK && options->want_reply)
        session_reply(m);
    else if (result->status == MSOCK_OK && !options->quiet && isatty(STDOUT_FILENO))
        session_done(m, result);
    return session_status(result);
}
