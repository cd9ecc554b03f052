/* Opening and closing a handle, its options, and what it tells afterwards. Nothing here sends. */
#include "client/handle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *
msock_version(void)
{
    return MSOCK_VERSION;
}

const char *
msock_status_name(enum msock_status status)
{
    switch (status) {
    case MSOCK_OK:
        return "ok";
    case MSOCK_USAGE:
        return "usage";
    case MSOCK_REFUSED:
        return "refused";
    case MSOCK_UNREACHABLE:
        return "unreachable";
    case MSOCK_GIVEN_UP:
        return "given up";
    case MSOCK_LOCAL:
        return "local";
    case MSOCK_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

/* What url_parse takes, but a client cannot use. Returns NULL where it can. */
static const char *
url_unfit(const struct url *url)
{
    if (strcmp(url->scheme, "msp") != 0)
        return "only msp:// addresses can be sent to";
    if (url->host == NULL && url->path == NULL)
        return "neither an address nor the path of a Unix socket is given";
    if (url->host != NULL && url->has_port && url->port == 0)
        return "port 0 cannot be connected to";
    if (url->option_count > 0)
        return "options after ? are for servers; a client has none";
    return NULL;
}

static int
url_for_client(const char *text, struct url *url_out, char error[URL_ERROR_LEN])
{
    const char *unfit;

    if (text == NULL) {
        snprintf(error, URL_ERROR_LEN, "no address is given");
        return -1;
    }
    if (url_parse(text, url_out, error) < 0)
        return -1;
    unfit = url_unfit(url_out);
    if (unfit != NULL) {
        snprintf(error, URL_ERROR_LEN, "\"%.80s\": %s", text, unfit);
        url_fini(url_out);
        return -1;
    }
    if (!url_out->has_port)
        url_out->port = HANDLE_PORT;
    return 0;
}

enum msock_status
msock_url_error(const char *url, char *error, size_t n)
{
    char sentence[URL_ERROR_LEN] = "";
    struct url parsed;
    int rc = url_for_client(url, &parsed, sentence);

    if (rc == 0)
        url_fini(&parsed);
    if (error != NULL && n > 0)
        snprintf(error, n, "%s", sentence);
    return rc == 0 ? MSOCK_OK : MSOCK_USAGE;
}

static void
handle_name_address(struct msock *m)
{
    const struct url *url = &m->url;

    if (url->path != NULL)
        snprintf(m->address, sizeof(m->address), "unix:%s", url->path);
    else
        snprintf(m->address, sizeof(m->address), strchr(url->host, ':') ? "[%s]:%u" : "%s:%u",
                 url->host, url->port);
}

msock *
msock_open(const char *url)
{
    char error[URL_ERROR_LEN];
    struct msock *m = calloc(1, sizeof(*m));

    if (m == NULL || url_for_client(url, &m->url, error) < 0) {
        free(m);
        return NULL;
    }
    transport_init(&m->transport);
    m->digester = digester_create();
    if (m->digester == NULL) {
        msock_close(m);
        return NULL;
    }
    handle_name_address(m);
    m->answer_ms = HANDLE_ANSWER_MS;
    m->commit_ms = HANDLE_COMMIT_MS;
    m->retries = HANDLE_RETRIES;
    m->base_ms = HANDLE_BASE_MS;
    m->max_ms = HANDLE_MAX_MS;
    m->nack_limit = HANDLE_NACK_LIMIT;
    m->grant = HANDLE_GRANT_GUESS;
    m->auto_id = true;
    return m;
}

void
msock_close(msock *m)
{
    if (m == NULL)
        return;
    transport_close(&m->transport);
    digester_destroy(m->digester);
    handle_drop_reply(m);
    url_fini(&m->url);
    free(m);
}

void
msock_set_timeouts(msock *m, unsigned answer_ms, unsigned commit_ms)
{
    if (answer_ms > 0)
        m->answer_ms = answer_ms;
    if (commit_ms > 0)
        m->commit_ms = commit_ms;
}

void
msock_set_retries(msock *m, unsigned retries, unsigned base_ms, unsigned max_ms)
{
    m->retries = retries;
    m->base_ms = base_ms;
    m->max_ms = max_ms;
}

void
msock_set_nack_limit(msock *m, unsigned limit)
{
    m->nack_limit = limit;
}

void
msock_set_progress(msock *m, msock_progress_fn fn, void *arg)
{
    m->progress = fn;
    m->progress_arg = arg;
}

void
msock_set_transform(msock *m, msock_transform_fn fn, void *arg)
{
    m->transform = fn;
    m->transform_arg = arg;
}

enum msock_status
msock_set_id(msock *m, const void *id, size_t n)
{
    handle_begin(m);
    if (id == NULL || n == 0 || n > HANDLE_VALUE_MAX)
        return handle_fail(m, MSOCK_USAGE, "a message id has 1 to %d bytes", HANDLE_VALUE_MAX);
    memcpy(m->next_id, id, n);
    m->next_id_len = n;
    return MSOCK_OK;
}

void
msock_set_auto_id(msock *m, int on)
{
    m->auto_id = on != 0;
}

void
msock_set_want_reply(msock *m, int on)
{
    m->want_reply = on != 0;
}

const char *
msock_error(const msock *m)
{
    return m->error;
}

const char *
msock_error_code(const msock *m)
{
    return m->code;
}

const void *
msock_reply(const msock *m, size_t *n)
{
    if (n != NULL)
        *n = m->reply_len;
    return m->reply;
}

const char *
msock_last_id(const msock *m)
{
    return m->last_id;
}

void
msock_get_counts(const msock *m, struct msock_counts *counts_out)
{
    *counts_out = m->counts;
    counts_out->bytes_in = m->transport.bytes_in;
    counts_out->bytes_out = m->transport.bytes_out;
}

void
handle_begin(struct msock *m)
{
    m->error[0] = '\0';
    m->code[0] = '\0';
}

enum msock_status
handle_fail(struct msock *m, enum msock_status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m->error, sizeof(m->error), fmt, ap);
    va_end(ap);
    m->code[0] = '\0';
    return status;
}

enum msock_status
handle_fail_errno(struct msock *m, enum msock_status status, const char *fmt, ...)
{
    int error = errno;
    char reason[128];
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    vsnprintf(m->error, sizeof(m->error), fmt, ap);
    va_end(ap);
    len = strlen(m->error);
    snprintf(m->error + len, sizeof(m->error) - len, ": %s",
             strerror_r(error, reason, sizeof(reason)));
    m->code[0] = '\0';
    return status;
}

void
handle_fail_answer(struct msock *m, const struct msp_answer *answer)
{
    /* Safe for a terminal: msp_answer_decode takes printable ASCII only. */
    handle_fail(m, MSOCK_OK, "%s %s: %s%s%s", m->address,
                answer->kind == MSP_ANSWER_REJ ? "refused the message" : "ended the connection",
                answer->code, answer->text[0] != '\0' ? ": " : "", answer->text);
    snprintf(m->code, sizeof(m->code), "%s", answer->code);
}

int
handle_connect_once(struct msock *m)
{
    char error[URL_ERROR_LEN];
    struct endpoint ep;

    if (endpoint_resolve(&m->url, &ep, error) < 0) {
        handle_fail(m, MSOCK_OK, "%s", error);
        return -1;
    }
    if (transport_open(&m->transport, &ep, m->answer_ms) < 0) {
        if (errno == ECONNREFUSED)
            handle_fail(m, MSOCK_OK, "%s: connection refused (is msockd running there?)",
                        m->address);
        else if (errno == ENOENT)
            handle_fail(m, MSOCK_OK, "%s: there is no such socket (is msockd running there?)",
                        m->address);
        else if (errno == ETIMEDOUT)
            handle_fail(m, MSOCK_OK, "%s: no connection within %u ms", m->address, m->answer_ms);
        else
            handle_fail_errno(m, MSOCK_OK, "%s: no connection", m->address);
        return -1;
    }
    m->counts.connects++;
    return 0;
}

void
handle_random(void *out, size_t n)
{
    char *p = out;

    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);

        MS_ASSERT(got >= 0 || errno == EINTR);
        if (got < 0)
            continue;
        p += got;
        n -= (size_t)got;
    }
}

void
handle_drop_reply(struct msock *m)
{
    free(m->reply);
    m->reply = NULL;
    m->reply_len = 0;
}
