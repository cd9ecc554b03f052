/* Opening and closing a handle, its options, and what it tells afterwards. Nothing here sends. */
#include "client/handle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
    case MSOCK_TIMEOUT:
        return "timeout";
    }
    return "unknown";
}

enum msock_status
msock_url_error(const char *url, char *error, size_t n)
{
    char sentence[ADDRESS_ERROR_LEN] = "";
    struct address at;
    int rc = address_read(url, &at, sentence);

    if (rc == 0)
        address_fini(&at);
    if (error != NULL && n > 0)
        snprintf(error, n, "%s", sentence);
    return rc == 0 ? MSOCK_OK : MSOCK_USAGE;
}

/* 1 where the list ends with the key of the URL: as on the server's side, it is applied last, and
 * no call takes it away. */
static size_t
handle_sealed(const struct msock *m)
{
    return m->at.seal != NULL;
}

/* Returns 0, or -1 where there are too many. */
static int
handle_add_transform(struct msock *m, const struct transform *one)
{
    struct transforms *t = &m->transforms;

    if (t->count == TRANSFORMS_MAX)
        return -1;
    t->count -= handle_sealed(m);
    t->list[t->count++] = *one;
    if (handle_sealed(m))
        t->list[t->count++] = (struct transform){.seal = m->at.seal};
    return 0;
}

/* Nothing but the key of the URL stays. */
static void
handle_clear_transforms(struct msock *m)
{
    struct transforms *t = &m->transforms;

    if (t->count > 0)
        t->count -= handle_sealed(m);
    transforms_fini(t);
    if (handle_sealed(m))
        t->list[t->count++] = (struct transform){.seal = m->at.seal};
}

static int
handle_make_peer(struct msock *m)
{
    struct peer *p = peer_create(m->at.ops, &m->transport, m->digester);

    if (p == NULL)
        return -1;
    p->role = m->at.role;
    p->limits.framing = m->at.framing;
    p->limits.window_size = m->at.window_size;
    p->limits.retries = UINT8_MAX; /* how long it takes is commit_ms alone */
    p->limits.nack_limit = HANDLE_NACK_LIMIT;
    p->limits.timeout_us = (uint64_t)HANDLE_ANSWER_MS * 1000;
    m->peer = p;
    return 0;
}

msock *
msock_open(const char *url)
{
    char error[ADDRESS_ERROR_LEN];
    struct msock *m = calloc(1, sizeof(*m));

    if (m == NULL || address_read(url, &m->at, error) < 0) {
        free(m);
        return NULL;
    }
    transport_init(&m->transport, &m->waiter);
    handle_clear_transforms(m);
    m->digester = digester_create();
    m->ahead = ahead_create();
    if (dialer_init(&m->dialer, &m->at.url, m->at.pick) < 0 || m->digester == NULL ||
        m->ahead == NULL || handle_make_peer(m) < 0) {
        msock_close(m);
        return NULL;
    }
    m->dialer.waiter = &m->waiter;
    m->address = dial_name(&m->dialer);
    m->answer_ms = HANDLE_ANSWER_MS;
    m->commit_ms = HANDLE_COMMIT_MS;
    m->retries = HANDLE_RETRIES;
    m->base_ms = HANDLE_BASE_MS;
    m->max_ms = HANDLE_MAX_MS;
    m->nack_limit = HANDLE_NACK_LIMIT;
    m->auto_id = true;
    return m;
}

void
msock_close(msock *m)
{
    if (m == NULL)
        return;
    m->waiter.is_ended = false;
    transport_forget_others(&m->transport);
    ahead_destroy(m->ahead);
    if (m->peer != NULL)
        peer_leave(m->peer, m->answer_ms);
    peer_destroy(m->peer);
    transport_close(&m->transport);
    handle_clear_transforms(m);
    digester_destroy(m->digester);
    dialer_fini(&m->dialer);
    handle_drop_reply(m);
    free(m->received);
    address_fini(&m->at);
    free(m);
}

void
msock_set_timeouts(msock *m, unsigned answer_ms, unsigned commit_ms)
{
    if (answer_ms > 0)
        m->answer_ms = answer_ms;
    if (commit_ms > 0)
        m->commit_ms = commit_ms;
    m->peer->limits.timeout_us = (uint64_t)m->answer_ms * 1000;
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
    m->peer->limits.nack_limit = limit;
}

void
msock_set_progress(msock *m, msock_progress_fn fn, void *arg)
{
    m->progress = fn;
    m->progress_arg = arg;
}

void
msock_set_wait(msock *m, msock_wait_fn fn, void *arg)
{
    m->waiter = (struct waiter){.fn = fn, .arg = arg};
}

void
msock_set_transform(msock *m, msock_transform_fn fn, void *arg)
{
    handle_clear_transforms(m);
    if (fn != NULL)
        (void)msock_add_transform(m, fn, NULL, arg);
}

enum msock_status
msock_add_transform(msock *m, msock_transform_fn on_send, msock_transform_fn on_receive, void *arg)
{
    struct transform one = {.send = on_send, .receive = on_receive, .arg = arg};

    handle_begin(m);
    if (handle_add_transform(m, &one) < 0)
        return handle_fail(m, MSOCK_USAGE, "there are %d transforms already", TRANSFORMS_MAX);
    return MSOCK_OK;
}

enum msock_status
msock_set_key(msock *m, const char *path)
{
    char error[SEAL_ERROR_LEN];
    struct transform one = {.seal = NULL};

    handle_begin(m);
    if (path == NULL)
        return handle_fail(m, MSOCK_LOCAL, "there is no key file");
    for (size_t i = 0; i < m->transforms.count; i++)
        if (m->transforms.list[i].seal != NULL) /* no server takes off two */
            return handle_fail(m, MSOCK_USAGE, "there is a key already");
    if (m->at.framing.kind == FRAMING_DELIMITER)
        return handle_fail(m, MSOCK_USAGE,
                           "a key does not go with framing=delimiter: what is sealed may hold one");
    one.seal = seal_open(path, SEAL_TO_SERVER, error);
    if (one.seal == NULL)
        return handle_fail(m, MSOCK_LOCAL, "%s", error);
    if (handle_add_transform(m, &one) == 0)
        return MSOCK_OK;
    seal_close(one.seal);
    return handle_fail(m, MSOCK_LOCAL, "there are %d transforms already", TRANSFORMS_MAX);
}

/* What is given here stands before what the URL says. */
enum msock_status
msock_set_tls(msock *m, const char *ca, const char *cert, const char *key_file,
              const char *server_name, int insecure)
{
    char error[ADDRESS_ERROR_LEN];
    const struct tls_asked first = {ca, cert, key_file, server_name, insecure != 0};
    struct tls_asked asked;
    struct secure made;

    handle_begin(m);
    if (!m->at.url.is_tls || m->counts.connects > 0)
        return handle_fail(m, MSOCK_USAGE,
                           "this is for a new handle with TLS, whose URL begins with %s+tls://",
                           m->at.url.scheme);
    if (tls_asked_read(&m->at.url, &asked, error) < 0)
        return handle_fail(m, MSOCK_USAGE, "%s", error);
    tls_asked_prefer(&asked, &first);
    if (secure_make(&asked, &made, error) < 0)
        return handle_fail(m, MSOCK_LOCAL, "%s", error);
    secure_fini(&m->at.secure);
    m->at.secure = made;
    return MSOCK_OK;
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

const char *
msock_connected_to(const msock *m)
{
    return m->connected_to;
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

struct seal_about
handle_about(const struct msock *m, const struct outgoing *out)
{
    struct seal_about about = {.proto = m->at.ops->name, .kind = MESSAGE_PLAIN};

    if (out != NULL && m->at.ops->repeatable) { /* msp alone carries the rest */
        about.kind = (uint8_t)out->kind;
        about.value = out->value;
        about.value_len = out->value_len;
    }
    return about;
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

enum msock_status
handle_fail_ended(struct msock *m)
{
    return handle_fail(m, MSOCK_CANCELLED, "the program has ended the wait");
}

void
handle_fail_refused(struct msock *m, const char *code, const char *text)
{
    bool has_code = code != NULL && code[0] != '\0', has_text = text != NULL && text[0] != '\0';

    handle_fail(m, MSOCK_OK, "%s refused the message%s%s%s%s", m->address, has_code ? ": " : "",
                has_code ? code : "", has_text ? ": " : "", has_text ? text : "");
    snprintf(m->code, sizeof(m->code), "%s", has_code ? code : "refused");
}

enum msock_status
handle_fail_unsent(struct msock *m, const char *code, const char *text)
{
    handle_fail(m, MSOCK_OK, "nothing was sent: %s: %s", code, text);
    snprintf(m->code, sizeof(m->code), "%s", code);
    return MSOCK_REFUSED;
}

void
handle_say_unanswered(struct msock *m)
{
    char why[HANDLE_ERROR_LEN];

    snprintf(why, sizeof(why), "%s", m->error);
    handle_fail(m, MSOCK_OK, "%.2000s (the message was taken, but its reply is lost)", why);
}

void
handle_drop_id(struct msock *m)
{
    m->last_id_len = 0;
    m->last_id[0] = '\0';
}

void
handle_choose_id(struct msock *m)
{
    uint8_t random[HANDLE_AUTO_ID / 2];

    handle_drop_id(m);
    if (!m->peer->ops->repeatable) {
        m->next_id_len = 0; /* the protocol carries none */
    } else if (m->next_id_len > 0) {
        memcpy(m->last_id, m->next_id, m->next_id_len);
        m->last_id_len = m->next_id_len;
        m->last_id[m->last_id_len] = '\0';
        m->next_id_len = 0;
    } else if (m->auto_id) {
        ms_random(random, sizeof(random));
        digest_hex(random, sizeof(random), m->last_id);
        m->last_id_len = HANDLE_AUTO_ID;
    }
}

void
handle_drop_reply(struct msock *m)
{
    free(m->reply);
    m->reply = NULL;
    m->reply_len = 0;
}

int
msock_acknowledges(const msock *m)
{
    return m->at.ops->acknowledges;
}
