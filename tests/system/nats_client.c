#include "nats.h"

#include "wire.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS   (5000 * WAIT_SCALE)
#define CLIENT_READ (1u << 20)

/* --- a client --- */

/* More bytes within the time, behind those that are there. */
static bool
client_read(struct nats_client *c)
{
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    ssize_t got;

    if (c->cap - c->have < CLIENT_READ) {
        c->cap = c->have + 2 * CLIENT_READ;
        c->buffer = realloc(c->buffer, c->cap + 1);
        assert_non_null(c->buffer);
    }
    if (poll(&fd, 1, (int)c->answer_ms) != 1)
        return false;
    got = recv(c->fd, c->buffer + c->have, c->cap - c->have, 0);
    c->is_lost = got <= 0;
    if (c->is_lost)
        return false;
    c->have += (size_t)got;
    c->buffer[c->have] = '\0';
    return true;
}

static void
client_drop(struct nats_client *c, size_t n)
{
    c->have -= n;
    memmove(c->buffer, c->buffer + n, c->have + 1);
}

/* The length of the first line, its end included; 0 where there is none in time. */
static size_t
client_line(struct nats_client *c)
{
    for (;;) {
        const char *end = c->have > 0 ? memchr(c->buffer, '\n', c->have) : NULL;

        if (end != NULL)
            return (size_t)(end - c->buffer) + 1;
        if (!client_read(c))
            return 0;
    }
}

static bool
client_write(struct nats_client *c, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t put = send(c->fd, text, n, MSG_NOSIGNAL);

        if (put <= 0)
            return false;
        text += put;
        n -= (size_t)put;
    }
    return true;
}

static bool
client_printf(struct nats_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool
client_printf(struct nats_client *c, const char *format, ...)
{
    char text[2048];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    assert_in_range(n, 1, sizeof(text) - 1);
    return client_write(c, text, (size_t)n);
}

/* Lines up to one that begins so. */
static bool
client_expect(struct nats_client *c, const char *word)
{
    size_t n;

    while ((n = client_line(c)) > 0) {
        bool found = strncmp(c->buffer, word, strlen(word)) == 0;

        if (strncmp(c->buffer, "-ERR", 4) == 0)
            return false;
        client_drop(c, n);
        if (found)
            return true;
    }
    return false;
}

bool
nats_open(struct nats_client *c, const struct nats *n)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)n->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    int on = 1;

    *c = (struct nats_client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                              .answer_ms = ANSWER_MS};
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && client_expect(c, "INFO") &&
        client_printf(c,
                      "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,"
                      "\"no_responders\":true,\"lang\":\"c\",\"version\":\"0\"%s%s}\r\nPING\r\n",
                      n->login != NULL ? "," : "", n->login != NULL ? n->login : "") &&
        client_expect(c, "PONG") && client_printf(c, "SUB _INBOX.test.* 1\r\n"))
        return true;
    nats_close(c);
    return false;
}

void
nats_close(struct nats_client *c)
{
    close(c->fd);
    free(c->buffer);
    *c = (struct nats_client){.fd = -1};
}

/* "MSG subject sid [reply] bytes" and "HMSG subject sid [reply] header-bytes bytes". */
static char *
client_message(struct nats_client *c, size_t line)
{
    size_t n = strtoul(strrchr(c->buffer, ' '), NULL, 10);
    bool headers = c->buffer[0] == 'H';
    char *body;

    while (c->have < line + n + 2)
        if (!client_read(c))
            return NULL;
    body = headers ? NULL : strndup(c->buffer + line, n);
    client_drop(c, line + n + 2);
    return body;
}

char *
nats_request(struct nats_client *c, const char *subject, const char *body)
{
    char wanted[64];
    size_t n;

    c->inbox++;
    snprintf(wanted, sizeof(wanted), "_INBOX.test.%u ", c->inbox);
    if (!client_printf(c, "PUB %s %.*s %zu\r\n", subject, (int)strlen(wanted) - 1, wanted,
                       strlen(body)) ||
        !client_write(c, body, strlen(body)) || !client_write(c, "\r\n", 2))
        return NULL;
    while ((n = client_line(c)) > 0) {
        bool ours = strstr(c->buffer, wanted) != NULL && strstr(c->buffer, wanted) < c->buffer + n;

        c->buffer[n - 1] = '\0';
        if (strncmp(c->buffer, "MSG ", 4) == 0 || strncmp(c->buffer, "HMSG ", 5) == 0) {
            char *answer = client_message(c, n);

            if (ours)
                return answer;
            free(answer);
            continue;
        }
        if (strncmp(c->buffer, "PING", 4) == 0 && !client_printf(c, "PONG\r\n"))
            return NULL;
        client_drop(c, n);
    }
    return NULL;
}

/* --- a stream --- */

static char *
decoded(const json_t *message, const char *key, size_t *n_out)
{
    const char *text = json_string_value(json_object_get(message, key));
    size_t n = text != NULL ? strlen(text) : 0;
    char *out = calloc(1, n / 4 * 3 + 1);
    int got;

    assert_non_null(out);
    if (n > 0) {
        got = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)text, (int)n);
        assert_true(got >= 0);
        for (size_t i = n; i > 0 && text[i - 1] == '='; i--)
            got--;
        n = (size_t)got;
        out[n] = '\0';
    }
    if (n_out != NULL)
        *n_out = n;
    return out;
}

bool
nats_get(struct nats_client *c, const char *stream, uint64_t seq, struct nats_message *message_out)
{
    char subject[128], body[64], *answer;
    json_t *root;
    const json_t *message;

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.MSG.GET.%.60s", stream);
    snprintf(body, sizeof(body), "{\"seq\":%llu}", (unsigned long long)seq);
    answer = nats_request(c, subject, body);
    root = answer != NULL ? json_loads(answer, 0, NULL) : NULL;
    free(answer);
    message = json_object_get(root, "message");
    if (message != NULL)
        *message_out = (struct nats_message){
            .subject = strdup(json_string_value(json_object_get(message, "subject"))),
            .headers = decoded(message, "hdrs", NULL),
            .body = decoded(message, "data", &message_out->len),
            .len = message_out->len,
        };
    json_decref(root);
    return message != NULL;
}

void
nats_message_free(struct nats_message *m)
{
    free(m->subject);
    free(m->headers);
    free(m->body);
    *m = (struct nats_message){0};
}

const char *
nats_header(const struct nats_message *m, const char *name)
{
    static char values[4][4096];
    static unsigned next;
    char *value = values[next++ % 4], wanted[64];
    const char *at;

    snprintf(wanted, sizeof(wanted), "\r\n%s: ", name);
    at = strstr(m->headers, wanted);
    value[0] = '\0';
    if (at != NULL) {
        at += strlen(wanted);
        snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at, "\r"), at);
    }
    return value;
}

uint64_t
nats_last(struct nats_client *c, const char *stream)
{
    char subject[128], *answer;
    json_t *root;
    json_int_t last;

    snprintf(subject, sizeof(subject), "$JS.API.STREAM.INFO.%.60s", stream);
    answer = nats_request(c, subject, "");
    if (answer == NULL)
        return 0;
    root = json_loads(answer, 0, NULL);
    last = json_integer_value(json_object_get(json_object_get(root, "state"), "last_seq"));
    json_decref(root);
    free(answer);
    return (uint64_t)last;
}

/* Puts the body of a manifest's message in the place of the manifest. */
static size_t
put_together(struct nats_client *c, const char *stream, struct nats_message *m)
{
    json_t *root = json_loads(m->body, 0, NULL);
    const json_t *seqs = json_object_get(root, "seqs");
    size_t size = (size_t)json_integer_value(json_object_get(root, "size")), i, len = 0;
    char *body = malloc(size + 1);
    const json_t *seq;

    assert_non_null(body);
    json_array_foreach(seqs, i, seq)
    {
        struct nats_message chunk;

        if (!nats_get(c, stream, (uint64_t)json_integer_value(seq), &chunk))
            fail_msg("%s: there is nothing at %s", m->headers, m->body);
        if (nats_header(&chunk, "Msock-Chunk")[0] == '\0')
            fail_msg("%s%s: %s is no chunk", m->headers, m->body, chunk.headers);
        assert_true(len + chunk.len <= size);
        memcpy(body + len, chunk.body, chunk.len);
        len += chunk.len;
        nats_message_free(&chunk);
    }
    assert_int_equal(len, size);
    body[len] = '\0';
    free(m->body);
    m->body = body;
    m->len = len;
    json_decref(root);
    return i;
}

static void
fill_entry(struct entry *e, const struct nats_message *m)
{
    uint8_t digest[32];
    char hex[65];

    *e = (struct entry){
        .id = strdup(nats_header(m, "Msock-Id")),
        .time = strdup(nats_header(m, "Msock-Time")),
        .listener = strdup(nats_header(m, "Msock-Listener")),
        .proto = strdup(nats_header(m, "Msock-Proto")),
        .peer = strdup(nats_header(m, "Msock-Peer")),
        .kind = strdup(nats_header(m, "Msock-Kind")),
        .key = strdup(nats_header(m, "Msock-Key")),
        .file = strdup(nats_header(m, "Msock-Path")),
        .blob = strdup(""),
        .size = strtoull(nats_header(m, "Msock-Size"), NULL, 10),
        .body = malloc(m->len + 1),
        .body_len = m->len,
    };
    memcpy(e->body, m->body, m->len + 1);
    snprintf(e->sha256, sizeof(e->sha256), "%s", nats_header(m, "Msock-SHA256"));
    wire_sha256(m->body, m->len, digest);
    wire_hex(digest, sizeof(digest), hex);
    e->sound = strcmp(hex, e->sha256) == 0 && e->size == m->len;
}

void
nats_read_stream(const struct nats *n, const char *stream, struct journal *journal_out,
                 size_t *orphans_out)
{
    struct nats_client c;
    uint64_t last;
    size_t chunks = 0, named = 0;

    assert_true(nats_open(&c, n));
    last = nats_last(&c, stream);
    *journal_out = (struct journal){.entries = calloc(last + 1, sizeof(struct entry))};
    assert_non_null(journal_out->entries);
    for (uint64_t seq = 1; seq <= last; seq++) {
        struct nats_message m;

        if (!nats_get(&c, stream, seq, &m))
            continue;
        if (nats_header(&m, "Msock-Chunk")[0] != '\0') {
            chunks++;
        } else {
            if (nats_header(&m, "Msock-Chunks")[0] != '\0')
                named += put_together(&c, stream, &m);
            fill_entry(&journal_out->entries[journal_out->count++], &m);
        }
        nats_message_free(&m);
    }
    nats_close(&c);
    if (orphans_out != NULL)
        *orphans_out = chunks - named;
}
