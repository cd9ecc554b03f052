/* A client of TLS by libssl, which knows nothing of src/tls, with messages of frame on it. */
#ifndef SYSTEM_TLS_PEER_H
#define SYSTEM_TLS_PEER_H

#include "peer.h"

#include <openssl/ssl.h>

/* Who connects; certificates are DIR/NAME.pem and .key, of support/certificates.h. */
struct tls_who {
    const char *dir;
    const char *ca;       /* the server's authority; NULL: any will do */
    const char *cert;     /* NULL: none of ours */
    int version;          /* the newest, TLS1_2_VERSION; 0: any */
    SSL_SESSION *session; /* to go on with; NULL: none */
    const char *source;   /* our address; NULL: any */
};

struct tls_peer {
    struct peer peer; /* teardown of the test closes it */
    SSL *ssl;
};

/* Connects and begins with a handshake that is not made yet. Ends the test where it cannot. */
void tls_peer_open(struct tls_peer *t, const struct target *target, const struct tls_who *who);

/* Makes it. False where the server does not like us: TLS 1.3 says that with the first answer. */
bool tls_peer_shake(struct tls_peer *t);

/* Both; ends the test where they fail. */
void tls_peer_connect(struct tls_peer *t, const struct target *target, const struct tls_who *who);

/* Sends a message of frame, and reads the whole reply. False where there is none. */
bool tls_peer_say(struct tls_peer *t, const char *text);

/* After a failure: was it an alert of the server's? */
bool tls_peer_is_told(void);

/* What would go out for these bytes: they are sealed and not sent. Returns how many they are. */
size_t tls_peer_seal(struct tls_peer *t, const void *data, size_t n, uint8_t *out, size_t size);

/* The session, to go on with later; it is there after an answer. The caller frees it. */
SSL_SESSION *tls_peer_session(struct tls_peer *t);

/* The common name of the server's certificate, up to NUL. */
void tls_peer_server(const struct tls_peer *t, char out[64]);

/* Closes it: with the end that TLS has, or without. */
void tls_peer_end(struct tls_peer *t);
void tls_peer_cut(struct tls_peer *t);

#endif
