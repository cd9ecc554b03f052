/* What the files of tls share. */
#ifndef TLS_CONTEXT_H
#define TLS_CONTEXT_H

#include "tls/tls.h"

#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl;
    enum tls_role role;
    enum tls_verify verify;
    BIO_METHOD *socket;
    struct tls_secret secret;
    struct tls_ticket_keys now, before;
    /* Of a client: the newest session, in memory only, and the name that was checked for it. */
    SSL_SESSION *kept;
    char *kept_name; /* NULL: none */
};

/* OpenSSL has a new session of a client. Returns 1: it is ours now. */
int tls_session_keep(SSL *ssl, SSL_SESSION *session);

/* What OpenSSL says of its last failure. Static. */
const char *tls_reason(void);

#endif
