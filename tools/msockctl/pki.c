/* Makes certificates by libcrypto, and keeps them in files that nobody else may read from the
 * moment they exist. Invariant: no file is ever overwritten. */
#include "pki.h"

#include "common/fd.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_S       86400L
#define EARLY_S     300L /* for clocks that are behind */
#define SERIAL_BITS 127
#define HOST_MAX    253

void
pki_pair_fini(struct pki_pair *pair)
{
    X509_free(pair->cert);
    EVP_PKEY_free(pair->key);
}

static int
pki_fail(char error[PKI_ERROR_LEN], const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());

    snprintf(error, PKI_ERROR_LEN, "%s: %s", what, reason != NULL ? reason : strerror(errno));
    ERR_clear_error();
    return -1;
}

static bool
name_has_good_bytes(const char *name, size_t max)
{
    size_t n = strlen(name);
    struct in6_addr address;

    for (size_t i = 0; i < n; i++)
        if (!text_is_alnum(name[i]) && strchr("._-:", name[i]) == NULL)
            return false;
    if (memchr(name, ':', n) != NULL)
        return inet_pton(AF_INET6, name, &address) == 1;
    return n > 0 && n <= max && name[0] != '.' && name[0] != '-' && name[n - 1] != '.';
}

bool
pki_name_is_good(const char *name)
{
    return name_has_good_bytes(name, PKI_NAME_MAX) && strcmp(name, PKI_AUTHORITY) != 0;
}

bool
pki_host_is_good(const char *host)
{
    return name_has_good_bytes(strncmp(host, "*.", 2) == 0 ? host + 2 : host, HOST_MAX);
}

/* --- what a certificate holds --- */

static int
cert_set_times(X509 *cert, unsigned days, const X509 *issuer)
{
    if (X509_gmtime_adj(X509_getm_notBefore(cert), -EARLY_S) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * DAY_S) == NULL)
        return -1;
    if (ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(issuer)) > 0)
        return X509_set1_notAfter(cert, X509_get0_notAfter(issuer)) == 1 ? 0 : -1;
    return 0;
}

static int
cert_set_serial(X509 *cert)
{
    BIGNUM *serial = BN_new();
    bool fine = serial != NULL &&
                BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL;

    BN_free(serial);
    return fine ? 0 : -1;
}

static int
cert_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;
    int rc;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    rc = extension != NULL && X509_add_ext(cert, extension, -1) == 1 ? 0 : -1;
    X509_EXTENSION_free(extension);
    return rc;
}

static GENERAL_NAME *
general_name(const char *name)
{
    GENERAL_NAME *out = GENERAL_NAME_new();
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);
    ASN1_IA5STRING *host;

    ERR_clear_error();
    if (out == NULL || address != NULL) {
        if (out != NULL)
            GENERAL_NAME_set0_value(out, GEN_IPADD, address);
        return out;
    }
    host = ASN1_IA5STRING_new();
    if (host == NULL || ASN1_STRING_set(host, name, -1) != 1) {
        ASN1_IA5STRING_free(host);
        GENERAL_NAME_free(out);
        return NULL;
    }
    GENERAL_NAME_set0_value(out, GEN_DNS, host);
    return out;
}

static int
cert_set_names(X509 *cert, const char *const *names, size_t count)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    int rc = all != NULL ? 0 : -1;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        GENERAL_NAME *one = general_name(names[i]);

        if (one == NULL || sk_GENERAL_NAME_push(all, one) <= 0) {
            GENERAL_NAME_free(one);
            rc = -1;
        }
    }
    if (rc == 0 && X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 0, 0) != 1)
        rc = -1;
    GENERAL_NAMES_free(all);
    return rc;
}

/* --- making --- */

/* All but the extensions and the signature. issuer NULL: itself. */
static int
pair_begin(struct pki_pair *pair, const char *name, unsigned days, const X509 *issuer)
{
    X509_NAME *subject;

    pair->key = EVP_EC_gen("P-256");
    pair->cert = X509_new();
    if (pair->key == NULL || pair->cert == NULL)
        return -1;
    subject = X509_get_subject_name(pair->cert);
    if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                                   0) != 1)
        return -1;
    return X509_set_version(pair->cert, X509_VERSION_3) == 1 && cert_set_serial(pair->cert) == 0 &&
                   X509_set_pubkey(pair->cert, pair->key) == 1 &&
                   X509_set_issuer_name(pair->cert, issuer != NULL ? X509_get_subject_name(issuer)
                                                                   : subject) == 1 &&
                   cert_set_times(pair->cert, days, issuer != NULL ? issuer : pair->cert) == 0
               ? 0
               : -1;
}

static int
pair_end(struct pki_pair *pair, int rc, EVP_PKEY *signer, struct pki_pair *out,
         char error[PKI_ERROR_LEN])
{
    if (rc == 0 && X509_sign(pair->cert, signer, EVP_sha256()) > 0) {
        *out = *pair;
        return 0;
    }
    (void)pki_fail(error, "the certificate cannot be made");
    pki_pair_fini(pair);
    return -1;
}

int
pki_make_authority(unsigned days, struct pki_pair *out, char error[PKI_ERROR_LEN])
{
    struct pki_pair pair = {0};
    char name[PKI_NAME_MAX + 1];
    uint32_t random;
    int rc;

    ms_random(&random, sizeof(random));
    snprintf(name, sizeof(name), "msockd CA %08x", random);
    rc = pair_begin(&pair, name, days, NULL);
    if (rc == 0)
        rc = cert_extend(pair.cert, pair.cert, NID_basic_constraints,
                         "critical,CA:TRUE,pathlen:0") == 0 &&
                     cert_extend(pair.cert, pair.cert, NID_key_usage,
                                 "critical,keyCertSign,cRLSign") == 0 &&
                     cert_extend(pair.cert, pair.cert, NID_subject_key_identifier, "hash") == 0
                 ? 0
                 : -1;
    return pair_end(&pair, rc, pair.key, out, error);
}

int
pki_issue(const struct pki_pair *authority, const struct pki_request *request, struct pki_pair *out,
          char error[PKI_ERROR_LEN])
{
    static const char *const uses[] = {
        [PKI_BOTH] = "serverAuth,clientAuth",
        [PKI_SERVER] = "serverAuth",
        [PKI_CLIENT] = "clientAuth",
    };
    X509 *issuer = authority->cert;
    struct pki_pair pair = {0};
    int rc = pair_begin(&pair, request->names[0], request->days, issuer);

    if (rc == 0)
        rc = cert_extend(pair.cert, issuer, NID_basic_constraints, "critical,CA:FALSE") == 0 &&
                     cert_extend(pair.cert, issuer, NID_key_usage, "critical,digitalSignature") ==
                         0 &&
                     cert_extend(pair.cert, issuer, NID_ext_key_usage, uses[request->use]) == 0 &&
                     cert_extend(pair.cert, issuer, NID_subject_key_identifier, "hash") == 0 &&
                     cert_extend(pair.cert, issuer, NID_authority_key_identifier, "keyid") == 0 &&
                     cert_set_names(pair.cert, request->names, request->count) == 0
                 ? 0
                 : -1;
    return pair_end(&pair, rc, authority->key, out, error);
}

/* --- files --- */

/* As O_EXCL has it, so that nobody's link is followed either. */
static int
file_create(int dir_fd, const char *file, mode_t mode, BIO *text, char error[PKI_ERROR_LEN])
{
    char *data;
    long n = BIO_get_mem_data(text, &data);
    int fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int rc = -1, saved;

    if (fd < 0) {
        saved = errno;
        snprintf(error, PKI_ERROR_LEN, "%s cannot be created: %s", file, strerror(saved));
        errno = saved;
        return -1;
    }
    if (fd_write_all(fd, data, (size_t)n) < 0 || fsync(fd) < 0 || fsync(dir_fd) < 0) {
        snprintf(error, PKI_ERROR_LEN, "%s cannot be written: %s", file, strerror(errno));
        (void)unlinkat(dir_fd, file, 0);
    } else {
        rc = 0;
    }
    fd_close(&fd);
    return rc;
}

int
pki_write(int dir_fd, const char *name, const struct pki_pair *pair, char error[PKI_ERROR_LEN])
{
    char key_file[PKI_NAME_MAX + 8], cert_file[PKI_NAME_MAX + 8];
    BIO *key = BIO_new(BIO_s_secmem()), *cert = BIO_new(BIO_s_mem());
    int rc = -1, saved;

    snprintf(key_file, sizeof(key_file), "%s" PKI_KEY_SUFFIX, name);
    snprintf(cert_file, sizeof(cert_file), "%s" PKI_SUFFIX, name);
    if (key == NULL || cert == NULL || PEM_write_bio_X509(cert, pair->cert) != 1 ||
        PEM_write_bio_PrivateKey(key, pair->key, NULL, NULL, 0, NULL, NULL) != 1) {
        (void)pki_fail(error, "the certificate cannot be written");
    } else if (file_create(dir_fd, key_file, 0600, key, error) == 0) {
        rc = file_create(dir_fd, cert_file, 0644, cert, error);
        saved = errno;
        if (rc < 0)
            (void)unlinkat(dir_fd, key_file, 0);
        errno = saved;
    }
    BIO_free(key);
    BIO_free(cert);
    return rc;
}

static FILE *
file_open(int dir_fd, const char *file)
{
    int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

    if (f == NULL)
        fd_close(&fd);
    return f;
}

X509 *
pki_read_certificate(int dir_fd, const char *file)
{
    FILE *f = file_open(dir_fd, file);
    X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

    ERR_clear_error();
    if (f != NULL)
        fclose(f);
    return cert;
}

static EVP_PKEY *
read_key(int dir_fd, const char *file)
{
    FILE *f = file_open(dir_fd, file);
    EVP_PKEY *key = f != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

    if (f != NULL)
        fclose(f);
    return key;
}

int
pki_read_authority(int dir_fd, struct pki_pair *out, char error[PKI_ERROR_LEN])
{
    struct pki_pair pair = {0};

    errno = EINVAL;
    pair.cert = pki_read_certificate(dir_fd, PKI_AUTHORITY PKI_SUFFIX);
    if (pair.cert == NULL)
        return pki_fail(error, PKI_AUTHORITY PKI_SUFFIX
                        " cannot be read (\"msockctl pki init\" makes an authority)");
    pair.key = read_key(dir_fd, PKI_AUTHORITY PKI_KEY_SUFFIX);
    if (X509_check_ca(pair.cert) != 1)
        snprintf(error, PKI_ERROR_LEN, PKI_AUTHORITY PKI_SUFFIX " is not that of an authority");
    else if (pair.key == NULL)
        (void)pki_fail(error, PKI_AUTHORITY PKI_KEY_SUFFIX " cannot be read");
    else if (X509_check_private_key(pair.cert, pair.key) != 1)
        (void)pki_fail(error, PKI_AUTHORITY PKI_KEY_SUFFIX " is not that of the authority");
    else if (X509_cmp_current_time(X509_get0_notAfter(pair.cert)) < 0)
        snprintf(error, PKI_ERROR_LEN, "the authority has expired");
    else {
        *out = pair;
        return 0;
    }
    pki_pair_fini(&pair);
    return -1;
}
