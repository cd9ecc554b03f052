#include "certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DAY_S 86400L

static FILE *
file_open(const char *dir, const char *name, const char *suffix, const char *mode)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
    f = fopen(path, mode);
    if (f == NULL)
        fail_msg("%s cannot be opened", path);
    return f;
}

static void
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void
set_subject(X509 *cert, const struct certificate *what)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    size_t n = what->common_name_len;
    X509_NAME_ENTRY *entry;
    ASN1_STRING *text;

    if (what->common_name == NULL)
        return;
    if (n == 0)
        n = strlen(what->common_name);
    /* By its type, since OpenSSL would bound the length of the name. */
    text = ASN1_STRING_type_new(V_ASN1_UTF8STRING);
    assert_int_equal(ASN1_STRING_set(text, what->common_name, (int)n), 1);
    entry = X509_NAME_ENTRY_new();
    assert_int_equal(X509_NAME_ENTRY_set_object(entry, OBJ_nid2obj(NID_commonName)), 1);
    assert_int_equal(
        X509_NAME_ENTRY_set_data(entry, V_ASN1_UTF8STRING, ASN1_STRING_get0_data(text), (int)n), 1);
    assert_int_equal(X509_NAME_add_entry(subject, entry, -1, 0), 1);
    X509_NAME_ENTRY_free(entry);
    ASN1_STRING_free(text);
}

static X509 *
read_certificate(const char *dir, const char *name)
{
    FILE *f = file_open(dir, name, ".pem", "r");
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);

    fclose(f);
    assert_non_null(cert);
    return cert;
}

static EVP_PKEY *
read_key(const char *dir, const char *name)
{
    FILE *f = file_open(dir, name, ".key", "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);

    fclose(f);
    assert_non_null(key);
    return key;
}

static void
write_both(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
    mode_t mask = umask(077);
    FILE *f = file_open(dir, name, ".key", "w");

    umask(mask);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    f = file_open(dir, name, ".pem", "w");
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
}

void
certificate_make(const char *dir, const char *name, const char *signer,
                 const struct certificate *what)
{
    static long serial;
    int days = what->days != 0 ? what->days : 30;
    EVP_PKEY *key = EVP_EC_gen(what->curve != NULL ? what->curve : "P-256"), *issuer_key = key;
    X509 *cert = X509_new(), *issuer = cert;

    assert_non_null(key);
    assert_non_null(cert);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), what->from_days * DAY_S - 60);
    X509_gmtime_adj(X509_getm_notAfter(cert), (what->from_days + days) * DAY_S);
    X509_set_pubkey(cert, key);
    set_subject(cert, what);
    if (signer != NULL) {
        issuer = read_certificate(dir, signer);
        issuer_key = read_key(dir, signer);
    } else {
        add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
    }
    if (what->alternative != NULL)
        add_extension(cert, issuer, NID_subject_alt_name, what->alternative);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    write_both(dir, name, cert, key);
    if (signer != NULL) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}
