/* What commands that send have in common: a connection as the options say, and the report of
 * each message as text or JSON. */
#include "command.h"

#include "common/text.h"
#include "common/url.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

bool
session_shows_progress(const struct session_options *options)
{
    if (options->progress >= 0)
        return options->progress;
    return !options->quiet && isatty(STDERR_FILENO);
}

static unsigned
session_ms(double seconds)
{
    return seconds > 0 ? (unsigned)(seconds * 1000 + 0.5) : 0;
}

/* The environment may be there for other URLs: what this one says stands before it. */
static const char *
session_or_environment(const char *option, const struct url *url, const char *in_url,
                       const char *variable)
{
    const char *value = option;

    if (value == NULL && url_option(url, in_url) == NULL)
        value = getenv(variable);
    return value != NULL && *value != '\0' ? value : NULL;
}

bool
session_asks_tls(const struct session_tls *tls)
{
    return tls->ca != NULL || tls->cert != NULL || tls->key_file != NULL ||
           tls->server_name != NULL || tls->insecure;
}

struct session_tls
session_complete_tls(const struct session_tls *tls, const struct url *url)
{
    if (tls->insecure)
        say_error("WARNING: --insecure: nobody checks who the server is; whoever stands between can"
                  " read and change all that is sent");
    return (struct session_tls){
        .ca = session_or_environment(tls->ca, url, "tls_ca", "MSOCK_CA"),
        .cert = session_or_environment(tls->cert, url, "tls_cert", "MSOCK_CERT"),
        .key_file = session_or_environment(tls->key_file, url, "tls_key", "MSOCK_KEY_FILE"),
        .server_name =
            session_or_environment(tls->server_name, url, "tls_name", "MSOCK_SERVER_NAME"),
        .insecure = tls->insecure};
}

/* Returns an exit status, after an error message where it is not EX_OK. */
static int
session_secure(const struct session_options *options, msock *m)
{
    char error[URL_ERROR_LEN];
    struct session_tls tls;
    struct url url;
    int status = EX_OK;

    if (url_parse_servers(options->url, DEFAULT_PORT, &url, error) < 0) {
        say_error("%s", error);
        return EX_OSERR; /* the library has read it already */
    }
    if (url.is_tls) {
        tls = session_complete_tls(&options->tls, &url);
        if (msock_set_tls(m, tls.ca, tls.cert, tls.key_file, tls.server_name, tls.insecure) !=
            MSOCK_OK) {
            say_error("%s", msock_error(m));
            status = EX_USAGE;
        }
    } else if (session_asks_tls(&options->tls)) {
        say_error(SESSION_TLS_WANTS, url.scheme);
        status = EX_USAGE;
    }
    url_fini(&url);
    return status;
}

int
session_open(const struct session_options *options, msock **m_out)
{
    char error[512];
    int status;
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
    msock_set_timeouts(m, session_ms(options->timeout_s), session_ms(options->final_timeout_s));
    if (options->retries != SESSION_RETRIES)
        msock_set_retries(m, options->retries, 50, 5000);
    msock_set_want_reply(m, options->want_reply);
    if ((options->id != NULL && msock_set_id(m, options->id, strlen(options->id)) != MSOCK_OK) ||
        (options->key != NULL && msock_set_key(m, options->key) != MSOCK_OK)) {
        say_error("%s", msock_error(m));
        msock_close(m);
        return EX_USAGE;
    }
    status = session_secure(options, m);
    if (status == EX_OK)
        *m_out = m;
    else
        msock_close(m);
    return status;
}

int
session_status(const msock *m, const struct session_result *result)
{
    if (strcmp(msock_error_code(m), "no-temporary") == 0)
        return EX_CANTCREAT;
    if (strcmp(msock_error_code(m), "untrusted") == 0)
        return EX_NOPERM;
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
    static const int order[] = {EX_NOPERM,    EX_UNAVAILABLE, EX_TEMPFAIL, EX_OSERR,
                                EX_CANTCREAT, EX_NOINPUT,     EX_DATAERR,  EX_USAGE};

    for (size_t i = 0; i < MS_ARRAY_LEN(order); i++)
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

json_t *
json_base64(const void *data, size_t n)
{
    struct buffer text;
    json_t *value;

    buffer_init(&text);
    text_base64(&text, data, n);
    value = json_string(buffer_cstr(&text));
    buffer_fini(&text);
    return value;
}

/* What was replied, as "reply", or as "reply_base64" where it is not UTF-8. Takes and returns the
 * line; NULL without memory. */
static json_t *
session_json_reply(json_t *line, const msock *m)
{
    size_t n;
    const void *reply = msock_reply(m, &n);
    json_t *text = reply != NULL ? json_stringn(reply, n) : json_null();
    int rc = text != NULL ? json_object_set_new(line, "reply", text)
                          : json_object_set_new(line, "reply_base64", json_base64(reply, n));

    if (rc == 0)
        return line;
    json_decref(line);
    return NULL;
}

static void
session_json(const struct session_options *options, const msock *m,
             const struct session_result *result)
{
    json_t *line =
        json_pack("{s:o*, s:o*, s:o, s:o, s:o, s:o, s:o, s:I, s:f, s:I}", "file",
                  result->file != NULL ? session_string(result->file) : NULL, "path",
                  result->file != NULL ? session_string(result->path) : NULL, "status",
                  session_string(msock_status_name(result->status)), "code",
                  session_string(msock_error_code(m)), "error", session_string(msock_error(m)),
                  "id", session_string(msock_last_id(m)), "server",
                  session_string(msock_connected_to(m)), "bytes", (json_int_t)result->bytes,
                  "seconds", result->seconds, "retries", (json_int_t)result->retries);

    if (line != NULL && options->want_reply)
        line = session_json_reply(line, m);
    if (line == NULL || json_dump_callback(line, text_json_write, stdout,
                                           JSON_COMPACT | JSON_REAL_PRECISION(9)) < 0)
        say_error("no memory for the JSON object");
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void
session_done(const msock *m, const struct session_result *result)
{
    const unsigned long long bytes = result->bytes;
    const char *id = msock_last_id(m);
    char rate[TEXT_BYTES_LEN], name[512];

    if (!msock_acknowledges(m)) {
        printf("sent, %llu bytes; this protocol does not tell whether they arrived\n", bytes);
    } else if (result->file == NULL) {
        printf("committed, %llu bytes%s%s\n", bytes, *id != '\0' ? ", id " : "", id);
    } else {
        text_bytes(result->seconds > 0 ? (double)bytes / result->seconds : 0, rate);
        say_clean(result->path, name, sizeof(name));
        printf("committed, %llu bytes, %s, %.2f s, %s/s\n", bytes, name, result->seconds, rate);
    }
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

bool
session_has_moved(const struct session_options *options, const msock *m)
{
    static char said[512];

    if (!options->verbose || strcmp(said, msock_connected_to(m)) == 0)
        return false;
    snprintf(said, sizeof(said), "%s", msock_connected_to(m));
    return true;
}

void
session_say_server(const struct session_options *options, const msock *m)
{
    if (session_has_moved(options, m))
        say_error("connected to %s", msock_connected_to(m));
}

int
session_report(const struct session_options *options, const msock *m,
               const struct session_result *result)
{
    session_say_server(options, m);
    if (result->status != MSOCK_OK)
        session_failed(m, result);
    if (options->json)
        session_json(options, m, result);
    else if (result->status == MSOCK_OK && options->want_reply)
        session_reply(m);
    else if (result->status == MSOCK_OK && !options->quiet && isatty(STDOUT_FILENO))
        session_done(m, result);
    return session_status(m, result);
}
