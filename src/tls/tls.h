/* TLS between a descriptor and a protocol, by OpenSSL: PROTOCOL.md section 6. A context is what a
 * listener or a sender was given; a session is one connection. */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "common/base.h"

#include <sys/types.h>
#include <sys/uio.h>

#define TLS_ERROR_LEN    512
#define TLS_IDENTITY_LEN 256 /* with NUL */
#define TLS_NAME_MAX     255 /* bytes of a server's name */
#define TLS_SECRET_LEN   32
/* What a session holds in memory, about: measured with OpenSSL 3.0 between two messages. */
#define TLS_SESSION_COST (24u << 10)

/* --- pem.c: certificates and keys as they are in files --- */

enum tls_part { TLS_CERT, TLS_KEY, TLS_CA, TLS_PARTS };

/* Contents of files in PEM; NULL: there is none. They are strings of malloc. */
struct tls_pem {
    char *part[TLS_PARTS];
};

/* Reads the files of these paths; NULL: none. A key may be read by its owner and group only, and
 * belongs to root or to us. Returns 0, or -1 with a sentence; tls_pem_fini also takes what failed.
 */
MS_MUST_CHECK int
tls_pem_read(const char *const path[TLS_PARTS], struct tls_pem *out, char error[TLS_ERROR_LEN]);
void tls_pem_fini(struct tls_pem *pem); /* wipes it too */

/* When the certificate ends, or one of those that lead to its authority, if that is earlier: in
 * seconds since 1970; 0: that cannot be read. */
int64_t tls_pem_until(const struct tls_pem *pem);

/* --- tickets.c --- */

/* What the keys of session tickets are made of. It becomes another one each hour, and the one
 * before cannot be computed from it: whoever finds it reads no ticket of earlier hours. All
 * processes that began with the same one have the same in the same hour. */
struct tls_secret {
    uint64_t hour; /* of the monotonic clock: the one before the present, since its tickets count */
    uint8_t bytes[TLS_SECRET_LEN];
};

void tls_secret_make(struct tls_secret *out);

/* Goes on to the present hour, where it is not there. */
void tls_secret_advance(struct tls_secret *secret);
bool tls_secret_is_present(const struct tls_secret *secret);

/* The keys of one hour. */
struct tls_ticket_keys {
    uint8_t name[16], cipher[32], mac[32];
};

void tls_secret_keys(const struct tls_secret *secret, struct tls_ticket_keys *now_out,
                     struct tls_ticket_keys *before_out);

/* --- context.c --- */

enum tls_role { TLS_SERVER, TLS_CLIENT };

enum tls_verify {
    TLS_VERIFY_NOBODY,   /* no certificate is asked for; a client takes whatever it gets */
    TLS_VERIFY_OPTIONAL, /* servers: one that is sent has to be right */
    TLS_VERIFY_PEER,     /* it has to be there, and right */
};

struct tls_setup {
    enum tls_role role;
    enum tls_verify verify;
    const struct tls_pem *pem;       /* a client without a CA takes those of the system */
    bool allow_12;                   /* TLS 1.2 too, else 1.3 only */
    bool was_checked;                /* pem was taken before: it may have expired meanwhile */
    const struct tls_secret *secret; /* servers: of tickets; NULL: none are given */
};

struct tls_context;

/* Returns a context, which tls_context_destroy frees, or NULL with a sentence: a certificate that
 * has expired, a key of another one, ... */
MS_MUST_CHECK struct tls_context *
tls_context_create(const struct tls_setup *setup, char error[TLS_ERROR_LEN]);
void tls_context_destroy(struct tls_context *context); /* NULL is fine */

/* --- asked.c --- */

struct url;

/* How TLS of a client is to be. NULL: the authorities of the system; no certificate of our own; the
 * host of the URL. */
struct tls_asked {
    const char *ca, *cert, *key, *name;
    bool insecure; /* the server's certificate is not checked */
};

/* By the options of a "+tls" URL, whose texts stay the URL's. Returns 0, or -1 with a sentence. */
MS_MUST_CHECK int
tls_asked_read(const struct url *url, struct tls_asked *asked_out, char error[TLS_ERROR_LEN]);

/* Takes from first all that stands there. */
void tls_asked_prefer(struct tls_asked *asked, const struct tls_asked *first);

/* Reads the files and makes a context of them, as tls_context_create. */
MS_MUST_CHECK struct tls_context *
tls_asked_create(const struct tls_asked *asked, char error[TLS_ERROR_LEN]);

/* --- session.c --- */

struct tls_session;

/* fd: connected and non-blocking, the caller's still. name: the server's, which a client says and
 * checks: a host name or an address; NULL: neither. It and the context have to outlive the session.
 * A client goes on with what it last began under the same name. NULL where there is no memory. */
MS_MUST_CHECK struct tls_session *
tls_session_create(const struct tls_context *context, int fd, const char *name);
void tls_session_destroy(struct tls_session *s); /* NULL is fine; sends nothing */

/* All return -1 with errno: EAGAIN where they have to wait for the descriptor (to be writable where
 * tls_wants_write says so, else readable), ECONNRESET where the peer has gone without the end that
 * TLS has, and EPROTO, with a sentence in tls_error, where it breaks TLS or is not who it should
 * be. After the latter two nothing but tls_session_destroy follows. */

/* Returns 0 once it is done. */
MS_MUST_CHECK int tls_handshake(struct tls_session *s);

/* As recv; 0: the peer has ended in order. What stands behind the bytes that it returns may have
 * changed, up to n. */
MS_MUST_CHECK ssize_t tls_read(struct tls_session *s, void *data, size_t n);

/* What the last tls_read cost, in bytes of large records: a tiny one costs more than it has. */
size_t tls_read_cost(const struct tls_session *s);

/* After a tls_read that has returned less than it might have: nothing else is here, and epoll tells
 * of what comes. Else only another tls_read can tell. */
bool tls_is_drained(const struct tls_session *s);

/* As writev, a few records at most. After EAGAIN the next call begins with the same bytes. */
MS_MUST_CHECK ssize_t tls_writev(struct tls_session *s, const struct iovec *iov, int count);

/* Says the end, as far as it can be said at once. Reading goes on. */
void tls_shutdown(struct tls_session *s);

bool tls_wants_write(const struct tls_session *s);

/* Why it failed: half a sentence, "it does not speak TLS". May hold bytes of the peer's. */
const char *tls_error(const struct tls_session *s);

/* It failed over a certificate: we have not taken the peer's, or the peer has not taken ours. */
bool tls_is_untrusted(const struct tls_session *s);

/* Did it begin with the keys of an earlier session? It does so only while all certificates count
 * by which the peer was trusted then. */
bool tls_is_resumed(const struct tls_session *s);

/* Who the peer is by its certificate (PROTOCOL.md section 7): its first URI or DNS alternative
 * name, else its common name; "" where it has sent none. UTF-8 without NUL, but it may hold other
 * control characters. Returns 0, or -1 with a sentence in tls_error where the name makes no
 * sense. */
MS_MUST_CHECK int tls_identity(struct tls_session *s, char out[TLS_IDENTITY_LEN]);

#endif
