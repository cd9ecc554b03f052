#include "tls_peer.h"

#include "harness.h"
#include "raw_frame.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

static void
take_certificate(SSL *ssl, const struct tls_who *who)
{
    char path[HARNESS_PATH_LEN];

    snprintf(path, sizeof(path), "%s/%s.pem", who->dir, who->cert);
    assert_int_equal(SSL_use_certificate_file(ssl, path, SSL_FILETYPE_PEM), 1);
    snprintf(path, sizeof(path), "%s/%s.key", who->dir, who->cert);
    assert_int_equal(SSL_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM), 1);
}

static SSL *
session_of(const struct tls_who *who)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char path[HARNESS_PATH_LEN];
    SSL *ssl;

    assert_non_null(ctx);
    if (who->ca != NULL) {
        snprintf(path, sizeof(path), "%s/%s.pem", who->dir, who->ca);
        assert_int_equal(SSL_CTX_load_verify_file(ctx, path), 1);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    if (who->version != 0)
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, who->version), 1);
    ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    assert_non_null(ssl);
    if (who->cert != NULL)
        take_certificate(ssl, who);
    if (who->session != NULL)
        assert_int_equal(SSL_set_session(ssl, who->session), 1);
    return ssl;
}

void
tls_peer_open(struct tls_peer *t, const struct target *target, const struct tls_who *who)
{
    struct timeval patience = {.tv_sec = 20L * WAIT_SCALE};

    peer_connect_from(&t->peer, target, who->source);
    setsockopt(t->peer.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    t->ssl = session_of(who);
    assert_int_equal(SSL_set_fd(t->ssl, t->peer.fd), 1);
}

bool
tls_peer_shake(struct tls_peer *t)
{
    ERR_clear_error();
    return SSL_connect(t->ssl) == 1;
}

void
tls_peer_connect(struct tls_peer *t, const struct target *target, const struct tls_who *who)
{
    tls_peer_open(t, target, who);
    if (!tls_peer_shake(t))
        fail_msg("no handshake: %s", ERR_reason_error_string(ERR_peek_last_error()));
}

static bool
read_all(SSL *ssl, uint8_t *data, size_t n)
{
    size_t got;

    for (size_t at = 0; at < n; at += got)
        if (SSL_read_ex(ssl, data + at, n - at, &got) != 1)
            return false;
    return true;
}

bool
tls_peer_say(struct tls_peer *t, const char *text)
{
    uint8_t message[256];
    size_t n = strlen(text), len;

    raw_frame_head(message, (uint32_t)n);
    memcpy(message + 4, text, n);
    ERR_clear_error();
    if (SSL_write(t->ssl, message, (int)n + 4) <= 0 || !read_all(t->ssl, message, 4))
        return false;
    len = (size_t)message[2] << 8 | message[3];
    return len <= sizeof(message) && read_all(t->ssl, message, len);
}

bool
tls_peer_is_told(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) > SSL_AD_REASON_OFFSET;
}

size_t
tls_peer_seal(struct tls_peer *t, const void *data, size_t n, uint8_t *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int made;

    SSL_set0_wbio(t->ssl, bio);
    assert_int_equal(SSL_write(t->ssl, data, (int)n), (int)n);
    made = BIO_read(bio, out, (int)size);
    assert_true(made > 0);
    return (size_t)made;
}

SSL_SESSION *
tls_peer_session(struct tls_peer *t)
{
    SSL_SESSION *session = SSL_get1_session(t->ssl);

    assert_non_null(session);
    assert_true(SSL_SESSION_is_resumable(session));
    return session;
}

void
tls_peer_server(const struct tls_peer *t, char out[64])
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);

    assert_non_null(cert);
    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out, 64) >
                0);
}

void
tls_peer_end(struct tls_peer *t)
{
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    tls_peer_cut(t);
}

void
tls_peer_cut(struct tls_peer *t)
{
    SSL_free(t->ssl);
    peer_close(&t->peer);
}
