/* A context: certificates, whom to trust, which versions, and tickets. */
#include "tls/context.h"

#include "common/fd.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define KTLS_CONTROL 0x1000 /* flag of a BIO: the next write is no data but an alert, or so */

const char *
tls_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return reason != NULL ? reason : "no reason is given";
}

/* --- the socket --- */

static ssize_t
socket_send(int fd, const char *data, size_t n)
{
    ssize_t sent;

    do
        sent = send(fd, data, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

int
tls_socket_flush(struct tls_socket *socket, int fd)
{
    while (socket->held_at < socket->held_end) {
        ssize_t sent =
            socket_send(fd, socket->held + socket->held_at, socket->held_end - socket->held_at);

        if (sent < 0)
            return -1;
        socket->held_at += (size_t)sent;
    }
    free(socket->held);
    socket->held = NULL;
    return 0;
}

/* Returns how much of it was taken, or -1 with errno. */
static int
socket_hold(struct tls_socket *socket, const char *data, size_t n)
{
    size_t room = TLS_HELD - socket->held_end;

    if (room == 0) {
        errno = EAGAIN;
        return -1;
    }
    if (n > room)
        n = room;
    memcpy(socket->held + socket->held_end, data, n);
    socket->held_end += n;
    return (int)n;
}

/* As OpenSSL's own, but that no peer which has gone raises SIGPIPE. */
static int
socket_write(BIO *bio, const char *data, int n)
{
    struct tls_socket *socket = BIO_get_app_data(bio);
    ssize_t sent;

    if (BIO_test_flags(bio, KTLS_CONTROL) != 0)
        return BIO_meth_get_write(BIO_s_socket())(bio, data, n);
    BIO_clear_retry_flags(bio);
    if (socket->held != NULL)
        sent = socket_hold(socket, data, (size_t)n);
    else
        sent = socket_send((int)BIO_get_fd(bio, NULL), data, (size_t)n);
    if (sent < 0 && BIO_sock_should_retry((int)sent))
        BIO_set_retry_write(bio);
    return (int)sent;
}

/* A read of less than was asked for has emptied the socket. What comes later, an event tells of, so
 * the next read is spared until the session says otherwise. */
static int
socket_receive(BIO *bio, struct tls_socket *socket, char *data, int n)
{
    int got;

    if (socket->is_drained) {
        BIO_set_retry_read(bio);
        return -1;
    }
    got = BIO_meth_get_read(BIO_s_socket())(bio, data, n);
    socket->is_drained = got > 0 && got < n && !BIO_get_ktls_recv(bio);
    return got;
}

/* OpenSSL asks for a record at a time. */
static int
socket_read(BIO *bio, char *data, int n)
{
    struct tls_socket *socket = BIO_get_app_data(bio);
    int got;

    if (socket->messages > TLS_MESSAGES_MAX) {
        BIO_clear_retry_flags(bio);
        return -1;
    }
    if (socket->ahead_len == 0) {
        if (socket->room_len < (size_t)n || BIO_get_ktls_recv(bio))
            return socket_receive(bio, socket, data, n);
        got = socket_receive(bio, socket, socket->room, (int)socket->room_len);
        if (got <= 0)
            return got;
        socket->ahead = socket->room;
        socket->ahead_len = (size_t)got;
    }
    if ((size_t)n > socket->ahead_len)
        n = (int)socket->ahead_len;
    memcpy(data, socket->ahead, (size_t)n);
    socket->ahead += n;
    socket->ahead_len -= (size_t)n;
    return n;
}

static BIO_METHOD *
socket_method(void)
{
    const BIO_METHOD *own = BIO_s_socket();
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOCKET, "socket");

    if (m == NULL)
        return NULL;
    BIO_meth_set_write(m, socket_write);
    BIO_meth_set_read(m, socket_read);
    BIO_meth_set_puts(m, BIO_meth_get_puts(own));
    BIO_meth_set_ctrl(m, BIO_meth_get_ctrl(own));
    BIO_meth_set_create(m, BIO_meth_get_create(own));
    BIO_meth_set_destroy(m, BIO_meth_get_destroy(own));
    return m;
}

/* OpenSSL has taken a step, or says something else. */
static void
socket_count(const SSL *ssl, int where, int value)
{
    struct tls_socket *socket = BIO_get_app_data(SSL_get_rbio(ssl));

    (void)value;
    if ((where & SSL_CB_LOOP) != 0)
        socket->messages++;
}

/* --- tickets --- */

static void
context_take_keys(struct tls_context *c)
{
    tls_secret_advance(&c->secret);
    tls_secret_keys(&c->secret, &c->now, &c->before);
}

/* OpenSSL asks for the keys of a ticket that it makes, or that a peer has sent. Returns 1: these,
 * 2: these, and give it a new one; 0: unknown, a full handshake follows. */
static int
ticket_keys(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
            EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int making)
{
    struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const EVP_CIPHER *aes = context->ticket_cipher;
    const struct tls_ticket_keys *keys = &context->now;
    OSSL_PARAM params[3];

    if (!tls_secret_is_present(&context->secret))
        context_take_keys(context);
    if (making) {
        ms_random(iv, (size_t)EVP_CIPHER_get_iv_length(aes));
        memcpy(name, keys->name, sizeof(keys->name));
    } else if (memcmp(name, keys->name, sizeof(keys->name)) != 0) {
        keys = &context->before;
        if (memcmp(name, keys->name, sizeof(keys->name)) != 0)
            return 0;
    }
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)keys->mac,
                                                  sizeof(keys->mac));
    params[1] =
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    if (EVP_CipherInit_ex2(cipher, aes, keys->cipher, iv, making, NULL) != 1 ||
        EVP_MAC_CTX_set_params(mac, params) != 1)
        return -1;
    /* In TLS 1.3 a client uses each once. */
    return !making && (keys == &context->before || SSL_version(ssl) == TLS1_3_VERSION) ? 2 : 1;
}

/* OpenSSL looks at no certificate of a session that goes on, so its ticket says how long all of
 * them are good. */
static int
ticket_make(SSL *ssl, void *arg)
{
    int64_t until = tls_chain_until(ssl);

    (void)arg;
    return SSL_session_reused(ssl) == 1 /* it has what the one before had */
               ? 1
               : SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), &until, sizeof(until));
}

static SSL_TICKET_RETURN
ticket_take(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
            SSL_TICKET_STATUS status, void *arg)
{
    int64_t until;
    void *data = NULL;
    size_t n = 0;

    (void)ssl, (void)name, (void)name_len, (void)arg;
    if (session == NULL || SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1 ||
        n != sizeof(until))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    memcpy(&until, data, sizeof(until));
    if (until < time(NULL))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* --- its parts --- */

/* A key with a passphrase: nobody is there to type it. */
static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* The next certificate of a file; NULL behind the last, or where it makes no sense. */
static X509 *
next_certificate(BIO *bio)
{
    return PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
}

static bool
is_at_end(void)
{
    unsigned long error = ERR_peek_last_error();

    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/* The certificate and those that lead to its authority. */
static int
context_take_chain(SSL_CTX *ssl, BIO *bio, char error[TLS_ERROR_LEN])
{
    X509 *cert = next_certificate(bio);
    bool fine = cert != NULL && SSL_CTX_use_certificate(ssl, cert) == 1;

    if (!fine)
        snprintf(error, TLS_ERROR_LEN, "the certificate cannot be used: %s", tls_reason());
    X509_free(cert);
    while (fine && (cert = next_certificate(bio)) != NULL)
        if (SSL_CTX_add0_chain_cert(ssl, cert) != 1) {
            X509_free(cert);
            break;
        }
    if (fine && !is_at_end()) {
        snprintf(error, TLS_ERROR_LEN, "the certificate's file makes no sense: %s", tls_reason());
        fine = false;
    }
    ERR_clear_error();
    return fine ? 0 : -1;
}

/* Whatever name a client asks for, the same certificate answers. */
static int
any_name(SSL *ssl, int *alert, void *arg)
{
    (void)ssl, (void)alert, (void)arg;
    return SSL_TLSEXT_ERR_NOACK;
}

/* Whether a key is one for TLS 1.3, OpenSSL works out twice in each handshake, which is a twentieth
 * of a resumed one; but not where a program may choose among keys by the name that a client asks
 * for. */
static void
context_settle_key(SSL_CTX *ssl, const EVP_PKEY *key)
{
    char curve[32];

    if (EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) != 1 ||
        strcmp(curve, SN_X9_62_prime256v1) == 0 || strcmp(curve, SN_secp384r1) == 0 ||
        strcmp(curve, SN_secp521r1) == 0)
        SSL_CTX_set_tlsext_servername_callback(ssl, any_name);
}

static int
context_take_key(SSL_CTX *ssl, BIO *bio, char error[TLS_ERROR_LEN])
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    int rc = -1;

    if (key == NULL) {
        snprintf(
            error, TLS_ERROR_LEN,
            "the key of the certificate cannot be used: %s (it has to be without a passphrase)",
            tls_reason());
    } else if (SSL_CTX_use_PrivateKey(ssl, key) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
        snprintf(error, TLS_ERROR_LEN, "the key is not that of the certificate: %s", tls_reason());
    } else {
        context_settle_key(ssl, key);
        rc = 0;
    }
    EVP_PKEY_free(key);
    return rc;
}

/* A server also tells its peers whom it trusts, so that they can choose a certificate. */
static int
context_take_authorities(struct tls_context *c, BIO *bio, char error[TLS_ERROR_LEN])
{
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    unsigned taken = 0;
    bool fine = true;
    X509 *cert;

    while (fine && (cert = next_certificate(bio)) != NULL) {
        fine = X509_STORE_add_cert(store, cert) == 1 &&
               (c->role == TLS_CLIENT || SSL_CTX_add_client_CA(c->ssl, cert) == 1);
        taken++;
        X509_free(cert);
    }
    fine = fine && is_at_end() && taken > 0;
    if (!fine)
        snprintf(error, TLS_ERROR_LEN, "the certificate authorities cannot be used: %s",
                 taken == 0 ? "there is none in the file" : tls_reason());
    ERR_clear_error();
    return fine ? 0 : -1;
}

/* One part of what the files hold, by one of the three above. */
static int
context_take(struct tls_context *c, const char *text, enum tls_part part, char error[TLS_ERROR_LEN])
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    int rc = -1;

    if (bio == NULL)
        snprintf(error, TLS_ERROR_LEN, "there is no memory for TLS");
    else if (part == TLS_CERT)
        rc = context_take_chain(c->ssl, bio, error);
    else if (part == TLS_KEY)
        rc = context_take_key(c->ssl, bio, error);
    else
        rc = context_take_authorities(c, bio, error);
    BIO_free(bio);
    return rc;
}

static int
context_check_dates(const struct tls_context *c, char error[TLS_ERROR_LEN])
{
    const X509 *cert = SSL_CTX_get0_certificate(c->ssl);

    if (cert == NULL)
        return 0;
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
        snprintf(error, TLS_ERROR_LEN, "the certificate has expired");
    else if (X509_cmp_current_time(X509_get0_notBefore(cert)) >= 0)
        snprintf(error, TLS_ERROR_LEN, "the certificate is not valid yet");
    else
        return 0;
    return -1;
}

static int
context_take_pem(struct tls_context *c, const struct tls_pem *pem, char error[TLS_ERROR_LEN])
{
    for (unsigned i = 0; i < TLS_PARTS; i++)
        if (pem->part[i] != NULL && context_take(c, pem->part[i], (enum tls_part)i, error) < 0)
            return -1;
    if (pem->part[TLS_CA] == NULL && c->role == TLS_CLIENT && c->verify == TLS_VERIFY_PEER &&
        SSL_CTX_set_default_verify_paths(c->ssl) != 1) {
        snprintf(error, TLS_ERROR_LEN, "the certificate authorities of the system: %s",
                 tls_reason());
        return -1;
    }
    return 0;
}

/* A ticket is good only where the same peers are let in: its name is that of the authorities. */
static int
context_bind_tickets(const struct tls_context *c, const struct tls_setup *setup)
{
    const char *ca = setup->pem->part[TLS_CA] != NULL ? setup->pem->part[TLS_CA] : "";
    unsigned char name[EVP_MAX_MD_SIZE + 1] = {(unsigned char)c->verify};
    unsigned int n;

    return EVP_Digest(ca, strlen(ca), name + 1, &n, EVP_sha256(), NULL) == 1 &&
                   SSL_CTX_set_session_id_context(c->ssl, name, SSL_MAX_SID_CTX_LENGTH) == 1
               ? 0
               : -1;
}

static int
context_set_tickets(struct tls_context *c, const struct tls_setup *setup)
{
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    if (setup->secret == NULL) {
        SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(c->ssl, 0) == 1 ? 0 : -1;
    }
    c->secret = *setup->secret;
    context_take_keys(c);
    c->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    return c->ticket_cipher != NULL &&
                   SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ssl, ticket_keys) == 1 &&
                   SSL_CTX_set_session_ticket_cb(c->ssl, ticket_make, ticket_take, NULL) == 1 &&
                   SSL_CTX_set_num_tickets(c->ssl, 1) == 1 && context_bind_tickets(c, setup) == 0
               ? 0
               : -1;
}

/* A socket without a connection cannot have it, for one reason or the other. To try in vain with
 * each connection would cost calls, and what the handshake has said up to there would go alone. */
static bool
kernel_has_tls(void)
{
    int fd = fd_above_standard(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    bool has = fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4) < 0 && errno != ENOENT;

    fd_close(&fd);
    return has;
}

static int
context_set_up(struct tls_context *c, const struct tls_setup *setup)
{
    int verify = setup->verify == TLS_VERIFY_NOBODY ? SSL_VERIFY_NONE
                 : setup->verify == TLS_VERIFY_OPTIONAL
                     ? SSL_VERIFY_PEER
                     : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

    SSL_CTX_set_verify(c->ssl, verify, c->role == TLS_SERVER ? tls_session_verify : NULL);
    SSL_CTX_set_options(
        c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                    (c->role == TLS_SERVER && kernel_has_tls() ? SSL_OP_ENABLE_KTLS : 0));
    SSL_CTX_set_read_ahead(c->ssl, 1);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl, tls_session_keep);
    SSL_CTX_set_info_callback(c->ssl, socket_count);
    SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    return SSL_CTX_set_min_proto_version(c->ssl,
                                         setup->allow_12 ? TLS1_2_VERSION : TLS1_3_VERSION) == 1 &&
                   (c->role == TLS_CLIENT || context_set_tickets(c, setup) == 0)
               ? 0
               : -1;
}

struct tls_context *
tls_context_create(const struct tls_setup *setup, char error[TLS_ERROR_LEN])
{
    struct tls_context *c = ms_calloc(1, sizeof(*c));
    int rc = -1;

    ERR_clear_error();
    snprintf(error, TLS_ERROR_LEN, "there is no memory for TLS");
    if (c == NULL)
        return NULL;
    c->role = setup->role;
    c->verify = setup->verify;
    c->ssl = SSL_CTX_new(c->role == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    c->socket = socket_method();
    if (c->ssl == NULL || c->socket == NULL)
        goto out;
    SSL_CTX_set_app_data(c->ssl, c);
    if (context_set_up(c, setup) < 0)
        snprintf(error, TLS_ERROR_LEN, "TLS cannot be set up: %s", tls_reason());
    else
        rc = context_take_pem(c, setup->pem, error);
    if (rc == 0 && !setup->was_checked)
        rc = context_check_dates(c, error);
out:
    ERR_clear_error();
    if (rc < 0) {
        tls_context_destroy(c);
        c = NULL;
    }
    return c;
}

void
tls_context_destroy(struct tls_context *c)
{
    if (c == NULL)
        return;
    SSL_SESSION_free(c->kept);
    free(c->kept_name);
    SSL_CTX_free(c->ssl);
    EVP_CIPHER_free(c->ticket_cipher);
    BIO_meth_free(c->socket);
    OPENSSL_cleanse(c, sizeof(*c));
    free(c);
}
