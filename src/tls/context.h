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
    EVP_CIPHER *ticket_cipher; /* looked up once, not with each ticket */
    /* Of a client: the newest session, in memory only, and the name that was checked for it. */
    SSL_SESSION *kept;
    char *kept_name;    /* NULL: none */
    int64_t kept_until; /* as tls_chain_until said at its full handshake */
};

/* What the BIO of a session knows beside the descriptor. */
struct tls_socket {
    bool is_drained;   /* by the last read from it */
    unsigned messages; /* steps of handshakes that OpenSSL has taken in this call */
    /* Room of the caller's for more than OpenSSL reads at a time, and what is in it and OpenSSL has
     * not taken yet. */
    char *room;
    size_t room_len;
    const char *ahead;
    size_t ahead_len;
    /* Where it is not NULL, what OpenSSL writes is gathered in it: TLS_HELD bytes. */
    char *held;
    size_t held_at, held_end; /* of these, not handed over yet */
};

/* Full records that are handed over together, and their room, with what else OpenSSL may say. */
#define TLS_HELD_RECORDS 16
#define TLS_HELD         (TLS_HELD_RECORDS * (16384 + 256) + 1024)

/* Hands over what is held, and ends that. Returns 0, or -1 with errno. */
MS_MUST_CHECK int tls_socket_flush(struct tls_socket *socket, int fd);

/* OpenSSL takes such messages in a row without a word to us, as long as they come. With one more
 * step than this in a call, reading fails. */
#define TLS_MESSAGES_MAX 100

/* When the first of the certificates ends by which the peer has just been trusted, in seconds since
 * 1970; INT64_MAX: there are none. */
int64_t tls_chain_until(const SSL *ssl);

/* OpenSSL has a new session of a client. Returns 1: it is ours now. */
int tls_session_keep(SSL *ssl, SSL_SESSION *session);

/* OpenSSL has looked at a certificate of a client. Returns 1 where it is fine, its name too. */
int tls_session_verify(int is_fine, X509_STORE_CTX *store);

/* What OpenSSL says of its last failure. Static. */
const char *tls_reason(void);

#endif
