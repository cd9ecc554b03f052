/* Certificates for `msockctl pki`: an authority, what it issues, and the files of both. All of them
 * have keys of P-256. Functions return NULL or -1 with a sentence in error. */
#ifndef MSOCKCTL_PKI_H
#define MSOCKCTL_PKI_H

#include "common/base.h"

#include <openssl/x509.h>

#define PKI_AUTHORITY  "ca"
#define PKI_NAME_MAX   64 /* bytes of a name: what a certificate's common name may have */
#define PKI_NAMES_MAX  32 /* names of a server */
#define PKI_ERROR_LEN  512
#define PKI_KEY_SUFFIX ".key"
#define PKI_SUFFIX     ".pem"

enum pki_use {
    PKI_BOTH,
    PKI_SERVER,
    PKI_CLIENT,
};

struct pki_pair {
    X509 *cert;
    EVP_PKEY *key;
};

void pki_pair_fini(struct pki_pair *pair);

/* A name that a certificate and a file may have: letters, digits, '.', '-', '_' and, of addresses,
 * ':'. A host name may begin with "*." besides. */
bool pki_name_is_good(const char *name);
bool pki_host_is_good(const char *host);

/* A new authority. */
MS_MUST_CHECK int
pki_make_authority(unsigned days, struct pki_pair *out, char error[PKI_ERROR_LEN]);

struct pki_request {
    const char *const *names; /* the certificate's own first; hosts and addresses */
    size_t count;
    enum pki_use use;
    unsigned days; /* or until the authority's end, where that is earlier */
};

/* A certificate that the authority signs. The first name is its common name too. */
MS_MUST_CHECK int pki_issue(const struct pki_pair *authority, const struct pki_request *request,
                            struct pki_pair *out, char error[PKI_ERROR_LEN]);

/* Creates NAME.key (mode 600) and NAME.pem in the directory, both on disk when it returns. errno is
 * EEXIST where one of them is there already; nothing is left of a failure. */
MS_MUST_CHECK int
pki_write(int dir_fd, const char *name, const struct pki_pair *pair, char error[PKI_ERROR_LEN]);

/* The certificate in a file; NULL without a sentence where it holds none. */
MS_MUST_CHECK X509 *pki_read_certificate(int dir_fd, const char *file);

/* The authority in a directory, which can issue now. */
MS_MUST_CHECK int pki_read_authority(int dir_fd, struct pki_pair *out, char error[PKI_ERROR_LEN]);

#endif
