/* Certificates and keys as they are in files. The master reads them: workers may not be able to. */
#include "tls/context.h"

#include "common/fd.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_FILE_MAX (1u << 20)

static const char *const names[TLS_PARTS] = {"certificate", "key of the certificate",
                                             "list of certificate authorities"};

/* Whoever can read the key can be the server. */
static int
pem_check_key(const char *path, char error[TLS_ERROR_LEN])
{
    struct stat st;

    if (stat(path, &st) < 0)
        snprintf(error, TLS_ERROR_LEN, "the key %.150s cannot be read: %s", path, strerror(errno));
    else if ((st.st_mode & 027) != 0)
        snprintf(error, TLS_ERROR_LEN,
                 "the key %.150s is open to others than its owner (mode %03o): chmod 600 %.150s",
                 path, (unsigned)st.st_mode & 0777, path);
    else if (st.st_uid != 0 && st.st_uid != geteuid())
        snprintf(error, TLS_ERROR_LEN,
                 "the key %.150s belongs to user %u, who could change it: chown %u %.150s", path,
                 (unsigned)st.st_uid, (unsigned)geteuid(), path);
    else
        return 0;
    return -1;
}

int
tls_pem_read(const char *const path[TLS_PARTS], struct tls_pem *out, char error[TLS_ERROR_LEN])
{
    *out = (struct tls_pem){0};
    for (unsigned i = 0; i < TLS_PARTS; i++) {
        size_t n;

        if (path[i] == NULL)
            continue;
        if (i == TLS_KEY && pem_check_key(path[i], error) < 0)
            return -1;
        if (fd_read_file(path[i], PEM_FILE_MAX, &out->part[i], &n) < 0) {
            snprintf(error, TLS_ERROR_LEN, "the %s %.200s cannot be read: %s", names[i], path[i],
                     strerror(errno));
            return -1;
        }
    }
    return 0;
}

void
tls_pem_fini(struct tls_pem *pem)
{
    for (unsigned i = 0; i < TLS_PARTS; i++) {
        if (pem->part[i] != NULL)
            OPENSSL_cleanse(pem->part[i], strlen(pem->part[i]));
        free(pem->part[i]);
        pem->part[i] = NULL;
    }
}

/* When it ends; 0: that cannot be read. */
static int64_t
certificate_until(const X509 *cert)
{
    struct tm tm;

    return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

int64_t
tls_chain_until(const SSL *ssl)
{
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int64_t until = INT64_MAX;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t ends = certificate_until(sk_X509_value(chain, i));

        if (ends < until)
            until = ends;
    }
    return until;
}

int64_t
tls_pem_until(const struct tls_pem *pem)
{
    BIO *bio = pem->part[TLS_CERT] != NULL ? BIO_new_mem_buf(pem->part[TLS_CERT], -1) : NULL;
    int64_t until = 0;
    X509 *cert;

    while (bio != NULL && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        int64_t ends = certificate_until(cert);

        if (until == 0 || ends < until)
            until = ends;
        X509_free(cert);
    }
    ERR_clear_error();
    BIO_free(bio);
    return until;
}
