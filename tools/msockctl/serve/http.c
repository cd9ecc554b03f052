/* Requests: who asks, what for, and the answer's headers. Reading only: GET and HEAD. */
#include "serve.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define METRICS_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_OPEN "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* The page loads its own files and nothing else, runs no script but its own, and makes no markup
 * out of text. */
static const char *const headers[][2] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for "
     "'script'; trusted-types 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cache-Control", "no-store"},
};

/* Gives up the response. */
static enum MHD_Result
send_response(struct MHD_Connection *c, unsigned status, const char *type,
              struct MHD_Response *response)
{
    enum MHD_Result rc;

    if (response == NULL)
        return MHD_NO;
    for (size_t i = 0; i < MS_ARRAY_LEN(headers); i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
    (void)MHD_add_response_header(response, "Content-Type", type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, "Allow", "GET, HEAD");
    if (status == MHD_HTTP_TOO_MANY_REQUESTS)
        (void)MHD_add_response_header(response, "Retry-After", "1");
    rc = status == MHD_HTTP_UNAUTHORIZED ? MHD_queue_basic_auth_fail_response(c, "msockd", response)
                                         : MHD_queue_response(c, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result
send_words(struct MHD_Connection *c, unsigned status, const char *words)
{
    return send_response(c, status, "text/plain; charset=utf-8",
                         MHD_create_response_from_buffer(strlen(words), (void *)(uintptr_t)words,
                                                         MHD_RESPMEM_MUST_COPY));
}

/* Gives up its text. */
static enum MHD_Result
send_document(struct MHD_Connection *c, struct document d, const char *type)
{
    return send_response(c, d.failed ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, type,
                         MHD_create_response_from_buffer(d.len, d.text, MHD_RESPMEM_MUST_FREE));
}

/* --- who asks --- */

/* Where nobody is asked for a password, a page of another site may have given its own name our
 * address. So only names that are ours are answered: an address, localhost, that of --listen. */
static bool
host_is_ours(const struct serve *s, struct MHD_Connection *c)
{
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");
    uint8_t address[16];
    char name[256];
    size_t n;

    if (host == NULL)
        return true; /* HTTP/1.0: no browser */
    if (host[0] == '[')
        return true;
    n = strcspn(host, ":");
    if (n >= sizeof(name))
        return false;
    memcpy(name, host, n);
    name[n] = '\0';
    return inet_pton(AF_INET, name, address) == 1 || strcasecmp(name, "localhost") == 0 ||
           strcasecmp(name, s->host) == 0;
}

static enum passwords_verdict
who_asks(struct serve *s, struct MHD_Connection *c)
{
    enum passwords_verdict verdict = PASSWORDS_NO;
    char *password = NULL, *user;

    if (s->passwords == NULL)
        return PASSWORDS_YES;
    user = MHD_basic_auth_get_username_password(c, &password);
    if (user != NULL && password != NULL)
        verdict = passwords_check(s->passwords, user, password);
    MHD_free(user);
    MHD_free(password);
    return verdict;
}

/* --- what for --- */

static enum MHD_Result
answer_metrics(struct serve *s, struct MHD_Connection *c)
{
    const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
    const bool openmetrics =
        accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;

    return send_document(c, document_metrics(s, openmetrics),
                         openmetrics ? METRICS_OPEN : METRICS_TEXT);
}

static enum MHD_Result
answer_api(struct serve *s, struct MHD_Connection *c, const char *name)
{
    struct document d = document_api(s, name);

    if (d.text == NULL)
        return send_words(c, MHD_HTTP_NOT_FOUND, "there is no such table\n");
    return send_document(c, d, "application/json");
}

static enum MHD_Result
answer_health(struct serve *s, struct MHD_Connection *c, bool ready)
{
    return send_document(c, document_health(s, ready), "text/plain; charset=utf-8");
}

static enum MHD_Result
answer_file(struct MHD_Connection *c, const char *url)
{
    for (const struct embedded *file = embedded_files; file->path != NULL; file++)
        if (strcmp(file->path, url) == 0)
            return send_response(c, MHD_HTTP_OK, file->type,
                                 MHD_create_response_from_buffer((size_t)(file->end - file->begin),
                                                                 (void *)(uintptr_t)file->begin,
                                                                 MHD_RESPMEM_PERSISTENT));
    return send_words(c, MHD_HTTP_NOT_FOUND, "there is nothing here\n");
}

static enum MHD_Result
answer_events(struct serve *s, struct MHD_Connection *c, bool head)
{
    struct MHD_Response *events =
        head ? MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT)
             : listeners_add(s, c);

    if (events == NULL)
        return send_words(c, MHD_HTTP_SERVICE_UNAVAILABLE, "too many listen: start another one\n");
    return send_response(c, MHD_HTTP_OK, "text/event-stream; charset=utf-8", events);
}

static enum MHD_Result
answer_question(struct serve *s, struct MHD_Connection *c, const char *url, bool head)
{
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(s, c);
    if (strncmp(url, "/api/", 5) == 0)
        return answer_api(s, c, url + 5);
    if (strcmp(url, "/events") == 0)
        return answer_events(s, c, head);
    return answer_file(c, url);
}

enum MHD_Result
http_answer(void *cls, struct MHD_Connection *c, const char *url, const char *method,
            const char *version, const char *upload, size_t *upload_len, void **request)
{
    static char seen;
    struct serve *s = cls;
    const bool head = strcmp(method, "HEAD") == 0;

    (void)version;
    (void)upload;
    if (!head && strcmp(method, "GET") != 0)
        return send_words(c, MHD_HTTP_METHOD_NOT_ALLOWED, "this server only shows\n");
    if (*request == NULL || *upload_len > 0) { /* a body may follow, or does */
        *request = &seen;
        *upload_len = 0;
        return MHD_YES;
    }
    if (s->passwords == NULL && !host_is_ours(s, c))
        return send_words(c, MHD_HTTP_FORBIDDEN, "this name is not ours\n");
    if (strcmp(url, "/healthz") == 0 || strcmp(url, "/readyz") == 0)
        return answer_health(s, c, url[1] == 'r');
    switch (who_asks(s, c)) {
    case PASSWORDS_YES:
        break;
    case PASSWORDS_NO:
        return send_words(c, MHD_HTTP_UNAUTHORIZED, "who are you?\n");
    case PASSWORDS_LATER:
        return send_words(c, MHD_HTTP_TOO_MANY_REQUESTS, "too many wrong passwords; try again\n");
    }
    return answer_question(s, c, url, head);
}
