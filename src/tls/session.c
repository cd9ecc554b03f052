/* One connection: OpenSSL's calls as read and write with errno. */
#include "tls/context.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define RECORD_MAX  16384 /* bytes in one of TLS */
#define RECORD_COST 512   /* bytes of a large one for which it takes as long to open a tiny one */
#define STEP_COST   4096  /* the same of a step of a handshake */
#define HELD_MAX    ((size_t)TLS_HELD_RECORDS * RECORD_MAX)
#define CERT_LARGE  64000 /* bytes: with what else belongs to it, it fits into no ticket */
#define HANDSHAKE   22    /* the type of the first record: PROTOCOL.md section 6 */

struct tls_session {
    SSL *ssl;
    const struct tls_context *context;
    const char *name; /* the server's; NULL */
    int fd;
    int failed; /* errno for the next read; 0: none */
    bool is_begun, wants_write, is_untrusted;
    struct tls_socket socket;
    size_t cost;       /* of the last tls_read */
    bool is_tiny;      /* it left records, perhaps: they cost more than they have */
    size_t held_plain; /* bytes of the caller's that are in socket.held, and not told as written */
    char error[TLS_ERROR_LEN];
};

/* --- life --- */

/* The name that a client expects, which may be an address. A certificate knows neither zones
 * ("fe80::1%eth0") nor the dot at the end of a whole name. */
static int
session_expect(struct tls_session *s, const char *text)
{
    unsigned char address[16];
    char name[TLS_NAME_MAX + 1];
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);
    size_t n = strlen(text);

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "%"), text);
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? 0 : -1;
    snprintf(name, sizeof(name), "%.*s", (int)(n > 1 && text[n - 1] == '.' ? n - 1 : n), text);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(s->ssl, name) == 1 && SSL_set1_host(s->ssl, name) == 1 ? 0 : -1;
}

/* The server is asked by the same name again; its certificates, which are not sent anew, still
 * count. */
static bool
session_may_go_on(const struct tls_context *c, const char *name)
{
    return c->kept != NULL && c->kept_until > time(NULL) &&
           (name != NULL) == (c->kept_name != NULL) &&
           (name == NULL || strcmp(name, c->kept_name) == 0);
}

int
tls_session_keep(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const struct tls_session *s = SSL_get_app_data(ssl);
    char *copy = s->name != NULL ? strdup(s->name) : NULL;

    if (s->name != NULL && copy == NULL)
        return 0;
    if (SSL_session_reused(ssl) == 0)
        c->kept_until = tls_chain_until(ssl);
    SSL_SESSION_free(c->kept);
    free(c->kept_name);
    c->kept_name = copy;
    c->kept = session;
    return 1;
}

struct tls_session *
tls_session_create(const struct tls_context *context, int fd, const char *name)
{
    struct tls_session *s = ms_calloc(1, sizeof(*s));
    BIO *bio;

    if (s == NULL)
        return NULL;
    s->fd = fd;
    s->context = context;
    s->name = name;
    s->ssl = SSL_new(context->ssl);
    bio = s->ssl != NULL ? BIO_new(context->socket) : NULL;
    if (bio == NULL || (name != NULL && session_expect(s, name) < 0) ||
        (session_may_go_on(context, name) && SSL_set_session(s->ssl, context->kept) != 1)) {
        BIO_free(bio);
        tls_session_destroy(s);
        return NULL;
    }
    BIO_set_fd(bio, fd, BIO_NOCLOSE);
    BIO_set_app_data(bio, &s->socket);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_app_data(s->ssl, s);
    if (context->role == TLS_SERVER)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    return s;
}

void
tls_session_destroy(struct tls_session *s)
{
    if (s == NULL)
        return;
    /* For OpenSSL, a session whose connection was cut is a bad one. */
    if (s->ssl != NULL)
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    ERR_clear_error();
    free(s->socket.held);
    free(s);
}

/* --- what went wrong --- */

static int
session_fail(struct tls_session *s, int error, const char *text)
{
    snprintf(s->error, sizeof(s->error), "%s", text);
    errno = error;
    return -1;
}

/* Alerts with which a peer tells that it does not take our certificate, or our having none. */
static bool
session_is_refused(int reason)
{
    switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return true;
    default: /* of all others */
        return false;
    }
}

/* OpenSSL calls that an internal error. */
static bool
session_is_too_large(const struct tls_session *s)
{
    X509 *cert = SSL_get0_peer_certificate(s->ssl);

    return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_INTERNAL_ERROR && cert != NULL &&
           i2d_X509(cert, NULL) > CERT_LARGE;
}

/* Why a certificate was not taken: the peer's where it is at fault. */
static int
session_protocol_error(struct tls_session *s)
{
    long verdict = SSL_get_verify_result(s->ssl);
    char text[TLS_ERROR_LEN];

    if (s->socket.messages > TLS_MESSAGES_MAX)
        return session_fail(s, EPROTO, "it changes its keys without an end");
    if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return session_fail(s, ECONNRESET, "it has gone without an end");
    if (verdict == X509_V_ERR_CERT_REJECTED && s->error[0] != '\0') {
        errno = EPROTO; /* tls_session_verify has said why */
        return -1;
    }
    if (session_is_too_large(s))
        return session_fail(s, EPROTO, "its certificate is too large");
    if (verdict != X509_V_OK && s->context->verify != TLS_VERIFY_NOBODY) {
        s->is_untrusted = true;
        snprintf(text, sizeof(text), "its certificate is not taken: %s",
                 X509_verify_cert_error_string(verdict));
    } else {
        s->is_untrusted = session_is_refused(ERR_GET_REASON(ERR_peek_last_error()));
        snprintf(text, sizeof(text), "%s: %s",
                 s->is_untrusted ? "it does not take our certificate" : "TLS failed", tls_reason());
    }
    return session_fail(s, EPROTO, text);
}

/* Turns what a call of OpenSSL returned into 0 or more, or -1 with errno. */
static ssize_t
session_result(struct tls_session *s, int rc)
{
    int saved = errno;

    s->wants_write = false;
    if (rc > 0)
        return rc;
    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        s->wants_write = true;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_READ:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_SYSCALL:
        if (ERR_peek_last_error() == 0 && s->socket.messages <= TLS_MESSAGES_MAX)
            return session_fail(s, saved != 0 ? saved : ECONNRESET,
                                saved != 0 ? strerror(saved) : "it has gone without an end");
        return session_protocol_error(s);
    default:
        return session_protocol_error(s);
    }
}

/* It would have to wait, but for a read that was spared: the end may be there already. */
static bool
session_is_spared(const struct tls_session *s, ssize_t result)
{
    return result < 0 && errno == EAGAIN && !s->wants_write && s->socket.is_drained;
}

/* A read has failed behind bytes that are handed out first. OpenSSL says the reason only once. */
static void
session_keep_failure(struct tls_session *s)
{
    if (SSL_get_error(s->ssl, 0) != SSL_ERROR_SSL && s->socket.messages <= TLS_MESSAGES_MAX)
        return;
    (void)session_protocol_error(s);
    s->failed = errno;
}

/* --- the handshake --- */

/* OpenSSL would answer bytes of another protocol with an alert that means nothing there. Returns 1
 * where TLS begins. */
static int
session_peek(struct tls_session *s)
{
    uint8_t first;
    ssize_t n;

    do
        n = recv(s->fd, &first, 1, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return session_fail(s, ECONNRESET, "it has gone without a word");
    if (n < 0 && errno != EAGAIN)
        return session_fail(s, errno, strerror(errno));
    if (n > 0 && first != HANDSHAKE)
        return session_fail(s, EPROTO, "it does not speak TLS, which this listener does");
    return (int)n;
}

int
tls_handshake(struct tls_session *s)
{
    int rc;

    ERR_clear_error();
    if (!s->is_begun && s->context->role == TLS_SERVER && session_peek(s) <= 0)
        return -1;
    s->is_begun = true;
    do {
        s->socket.is_drained = false;
        errno = 0;
        rc = (int)session_result(s, SSL_do_handshake(s->ssl));
    } while (session_is_spared(s, rc));
    return rc > 0 ? 0 : -1;
}

bool
tls_is_resumed(const struct tls_session *s)
{
    return SSL_session_reused(s->ssl) == 1;
}

/* --- bytes --- */

/* The end of the caller's room takes records that were not looked into yet. What is in them is
 * written before them and never reaches them: of what came before, OpenSSL has less than a record.
 */
static void
session_lend_room(struct tls_session *s, char *room, size_t n)
{
    s->socket.room_len = n > RECORD_MAX && !s->is_tiny ? n - RECORD_MAX : 0;
    s->socket.room = room + n - s->socket.room_len;
}

static ssize_t
session_read(struct tls_session *s, char *data, size_t n)
{
    ssize_t got;

    session_lend_room(s, data, n);
    do {
        s->socket.is_drained = false;
        errno = 0;
        got = session_result(s, SSL_read(s->ssl, data, (int)n));
    } while (session_is_spared(s, got));
    return got;
}

/* Nothing more is there, as far as one can know without a call of the kernel. */
static bool
session_is_empty(const struct tls_session *s)
{
    return s->socket.is_drained && s->socket.ahead_len == 0 && SSL_has_pending(s->ssl) == 0;
}

static size_t
record_cost(size_t n)
{
    return n < RECORD_COST ? RECORD_COST : n;
}

ssize_t
tls_read(struct tls_session *s, void *data, size_t n)
{
    size_t more, most = s->context->role == TLS_SERVER ? n : SIZE_MAX;
    ssize_t got;

    if (s->failed != 0) {
        errno = s->failed;
        return -1;
    }
    if (n > INT_MAX)
        n = INT_MAX;
    ERR_clear_error();
    s->socket.messages = 0;
    got = session_read(s, data, n);
    /* What was read ahead would be lost meanwhile, and no peer that reads comes here. */
    if (got < 0 && s->wants_write && s->context->role == TLS_SERVER)
        return session_fail(s, EPROTO, "it asks for new keys and does not read");
    if (got < 0 && errno != EAGAIN)
        s->failed = errno;
    s->cost = got > 0 ? record_cost((size_t)got) : 0;
    /* Further records, as many as are there; of tiny ones a server leaves what OpenSSL can keep. */
    while (got > 0 && (size_t)got < n && !session_is_empty(s) &&
           (s->cost < most || s->socket.ahead_len > 0)) {
        s->is_tiny = s->cost >= most;
        session_lend_room(s, (char *)data + got, n - (size_t)got);
        if (SSL_read_ex(s->ssl, (char *)data + got, n - (size_t)got, &more) != 1) {
            session_keep_failure(s);
            break;
        }
        got += (ssize_t)more;
        s->cost += record_cost(more);
    }
    s->socket.room_len = s->socket.ahead_len = 0;
    s->is_tiny = got > 0 && (size_t)got < n && s->cost >= most;
    s->cost += s->socket.messages * STEP_COST;
    return got;
}

size_t
tls_read_cost(const struct tls_session *s)
{
    return s->cost;
}

bool
tls_is_drained(const struct tls_session *s)
{
    return s->socket.is_drained && !s->is_tiny && s->failed == 0 &&
           (SSL_get_shutdown(s->ssl) & SSL_RECEIVED_SHUTDOWN) == 0;
}

static size_t
session_piece(const struct iovec *iov, size_t skip, size_t most)
{
    return iov->iov_len - skip < most ? iov->iov_len - skip : most;
}

/* As many bytes as one record has: those of one piece from where they are, else a copy. */
static size_t
session_gather(const struct iovec *iov, int count, size_t skip, uint8_t record[RECORD_MAX],
               const void **data_out)
{
    size_t n = 0;

    for (; count > 0 && skip >= iov->iov_len; iov++, count--)
        skip -= iov->iov_len;
    if (count > 0 && (count == 1 || iov->iov_len - skip >= RECORD_MAX)) {
        *data_out = (const uint8_t *)iov->iov_base + skip;
        return session_piece(iov, skip, RECORD_MAX);
    }
    for (int i = 0; i < count && n < RECORD_MAX; i++, skip = 0) {
        size_t piece = session_piece(&iov[i], skip, RECORD_MAX - n);

        memcpy(record + n, (const uint8_t *)iov[i].iov_base + skip, piece);
        n += piece;
    }
    *data_out = record;
    return n;
}

static ssize_t
session_write(struct tls_session *s, const struct iovec *iov, int count, size_t skip)
{
    uint8_t record[RECORD_MAX];
    const void *data;
    size_t n = session_gather(iov, count, skip, record, &data);
    ssize_t sent;

    errno = 0;
    sent = session_result(s, SSL_write(s->ssl, data, (int)n));
    /* The end of what the peer sends, OpenSSL says again where the socket takes no more. */
    return sent != 0 ? sent : session_fail(s, ECONNRESET, "it has gone");
}

/* Hands over what is held, and says how much of the caller's that was. */
static ssize_t
session_flush(struct tls_session *s)
{
    size_t n = s->held_plain;

    s->wants_write = false;
    if (tls_socket_flush(&s->socket, s->fd) == 0) {
        s->held_plain = 0;
        return (ssize_t)n;
    }
    if (errno != EAGAIN)
        return session_fail(s, errno, strerror(errno));
    s->wants_write = true;
    return -1;
}

/* Several full records, in one call of the kernel. */
static ssize_t
session_write_many(struct tls_session *s, const struct iovec *iov, int count, size_t n)
{
    s->socket.held = malloc(TLS_HELD);
    if (s->socket.held == NULL)
        return session_write(s, iov, count, 0);
    s->socket.held_at = s->socket.held_end = 0;
    do {
        ssize_t sent = session_write(s, iov, count, s->held_plain);

        if (sent < 0)
            return -1;
        s->held_plain += (size_t)sent;
    } while (s->held_plain < n);
    return session_flush(s);
}

/* Where it is worth it: a client's, since a server would have to count the memory. */
static bool
session_gathers(const struct tls_session *s, size_t n)
{
    return n >= 2 * (size_t)RECORD_MAX && s->context->role == TLS_CLIENT &&
           !BIO_get_ktls_send(SSL_get_wbio(s->ssl));
}

ssize_t
tls_writev(struct tls_session *s, const struct iovec *iov, int count)
{
    size_t n = 0;

    ERR_clear_error();
    if (s->socket.held != NULL)
        return session_flush(s);
    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    if (!session_gathers(s, n))
        return session_write(s, iov, count, 0);
    n -= n % RECORD_MAX;
    return session_write_many(s, iov, count, n < HELD_MAX ? n : HELD_MAX);
}

void
tls_shutdown(struct tls_session *s)
{
    ERR_clear_error();
    if (SSL_is_init_finished(s->ssl) && (s->socket.held == NULL || session_flush(s) >= 0))
        (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}

bool
tls_is_untrusted(const struct tls_session *s)
{
    return s->is_untrusted;
}

bool
tls_wants_write(const struct tls_session *s)
{
    return s->wants_write;
}

const char *
tls_error(const struct tls_session *s)
{
    return s->error;
}

/* --- who the peer is --- */

static int
session_take_name(struct tls_session *s, const unsigned char *name, int n,
                  char out[TLS_IDENTITY_LEN])
{
    if (n <= 0 || n >= TLS_IDENTITY_LEN)
        return session_fail(s, EPROTO, "the name in its certificate is empty or too long");
    if (memchr(name, '\0', (size_t)n) != NULL || !text_is_utf8(name, (size_t)n))
        return session_fail(s, EPROTO, "the name in its certificate is no text");
    memcpy(out, name, (size_t)n);
    out[n] = '\0';
    return 0;
}

/* Returns 1 where it has such a name. */
static int
session_alternative_name(struct tls_session *s, const X509 *cert, char out[TLS_IDENTITY_LEN])
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int rc = 0;

    for (int i = 0; rc == 0 && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

        if (name->type == GEN_URI || name->type == GEN_DNS)
            rc = session_take_name(s, ASN1_STRING_get0_data(name->d.ia5),
                                   ASN1_STRING_length(name->d.ia5), out) < 0
                     ? -1
                     : 1;
    }
    GENERAL_NAMES_free(all);
    return rc;
}

static int
session_common_name(struct tls_session *s, const X509 *cert, char out[TLS_IDENTITY_LEN])
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), n, rc;
    unsigned char *text = NULL;

    if (at < 0)
        return session_fail(s, EPROTO, "its certificate has no name");
    n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    rc = session_take_name(s, text, n, out);
    OPENSSL_free(text);
    return rc;
}

static int
session_name(struct tls_session *s, const X509 *cert, char out[TLS_IDENTITY_LEN])
{
    int rc = session_alternative_name(s, cert, out);

    if (rc == 0)
        rc = session_common_name(s, cert, out);
    ERR_clear_error();
    return rc < 0 ? -1 : 0;
}

/* Within the handshake, so that the peer is told. */
int
tls_session_verify(int is_fine, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    char name[TLS_IDENTITY_LEN];

    if (is_fine != 1 || X509_STORE_CTX_get_error_depth(store) > 0 ||
        session_name(s, X509_STORE_CTX_get_current_cert(store), name) == 0)
        return is_fine;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

int
tls_identity(struct tls_session *s, char out[TLS_IDENTITY_LEN])
{
    const X509 *cert = SSL_get0_peer_certificate(s->ssl);

    out[0] = '\0';
    return cert != NULL ? session_name(s, cert, out) : 0;
}
