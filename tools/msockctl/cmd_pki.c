/* msockctl pki: certificates for a first try and for small fleets. */
#include "ctl.h"
#include "pki.h"

#include "common/digest.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_DIR    "msockd-pki"
#define AUTHORITY_DAYS 3650
#define CERT_DAYS      365
#define DAYS_MAX       36500

/* --- options --- */

struct pki_options {
    const char *dir, *days, *hosts, *name;
    bool server, client, json;
};

/* 0 after an error message. */
static unsigned
pki_days(const struct ctl *ctl, const char *text, unsigned usual)
{
    uint64_t days = usual;

    if (text == NULL || text_parse_number(text, 1, DAYS_MAX, &days) == 0)
        return (unsigned)days;
    (void)ctl_usage(ctl, "--days %s: this must be a number from 1 to %d", text, DAYS_MAX);
    return 0;
}

static int
pki_open_dir(const struct ctl *ctl, const char *dir, int *fd_out)
{
    *fd_out = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd_out >= 0)
        return EX_OK;
    ctl_error(ctl, "%s: %s", dir, strerror(errno));
    return EX_NOINPUT;
}

/* When it ends, as text. */
static const char *
pki_time(const ASN1_TIME *at, char out[CLOCK_RFC3339_LEN])
{
    struct tm tm;

    if (ASN1_TIME_to_tm(at, &tm) != 1 ||
        strftime(out, CLOCK_RFC3339_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, CLOCK_RFC3339_LEN, "never");
    return out;
}

/* Writes both files and says so. Returns the exit status. */
static int
pki_keep(const struct ctl *ctl, const char *dir, int dir_fd, const char *name,
         struct pki_pair *pair)
{
    char error[PKI_ERROR_LEN], until[CLOCK_RFC3339_LEN];
    int rc = pki_write(dir_fd, name, pair, error);

    if (rc < 0)
        ctl_error(ctl, "%s/%s%s", dir, error,
                  errno == EEXIST ? " (nothing is overwritten: move it away first)" : "");
    else
        ctl_print("%s/%s" PKI_SUFFIX ": valid until %s; its key: %s/%s" PKI_KEY_SUFFIX, dir, name,
                  pki_time(X509_get0_notAfter(pair->cert), until), dir, name);
    pki_pair_fini(pair);
    return rc == 0 ? ctl_finish(ctl, EX_OK) : EX_CANTCREAT;
}

/* --- init --- */

static int
pki_init(const struct ctl *ctl, const struct pki_options *o)
{
    char error[PKI_ERROR_LEN];
    struct pki_pair pair;
    unsigned days = pki_days(ctl, o->days, AUTHORITY_DAYS);
    int fd, status;

    if (days == 0)
        return EX_USAGE;
    if (mkdir(o->dir, 0700) < 0 && errno != EEXIST) {
        ctl_error(ctl, "%s: %s", o->dir, strerror(errno));
        return EX_CANTCREAT;
    }
    status = pki_open_dir(ctl, o->dir, &fd);
    if (status != EX_OK)
        return status;
    if (pki_make_authority(days, &pair, error) == 0) {
        status = pki_keep(ctl, o->dir, fd, PKI_AUTHORITY, &pair);
    } else {
        ctl_error(ctl, "%s", error);
        status = EX_SOFTWARE;
    }
    fd_close(&fd);
    return status;
}

/* --- issue --- */

/* The certificate's names: its own, then what stands in the list, which is cut into pieces; NULL:
 * no more. Returns how many; 0 after an error message. */
static size_t
issue_names(const struct ctl *ctl, const char *name, char *list, const char *out[PKI_NAMES_MAX])
{
    const char *host;
    size_t n = 0;

    if (!pki_name_is_good(name)) {
        (void)ctl_usage(ctl,
                        "\"%s\" cannot be the name: it has 1 to %d letters, digits, '.', '-'"
                        " and '_', or is an IPv6 address; and it is not \"" PKI_AUTHORITY "\"",
                        name, PKI_NAME_MAX);
        return 0;
    }
    out[n++] = name;
    while ((host = strsep(&list, ",")) != NULL) {
        if (n == PKI_NAMES_MAX || !pki_host_is_good(host)) {
            (void)ctl_usage(ctl, "--hosts: \"%s\" is no host name or address, or one too many",
                            host);
            return 0;
        }
        out[n++] = host;
    }
    return n;
}

static int
pki_sign(const struct ctl *ctl, const char *dir, const struct pki_request *request)
{
    char error[PKI_ERROR_LEN];
    struct pki_pair authority = {0}, pair;
    int fd, status = pki_open_dir(ctl, dir, &fd);

    if (status != EX_OK)
        return status;
    if (pki_read_authority(fd, &authority, error) < 0) {
        ctl_error(ctl, "%s/%s", dir, error);
        status = EX_NOINPUT;
    } else if (pki_issue(&authority, request, &pair, error) < 0) {
        ctl_error(ctl, "%s", error);
        status = EX_SOFTWARE;
    } else {
        status = pki_keep(ctl, dir, fd, request->names[0], &pair);
    }
    pki_pair_fini(&authority);
    fd_close(&fd);
    return status;
}

static int
pki_issue_one(const struct ctl *ctl, const struct pki_options *o)
{
    char *list = o->hosts != NULL ? strdup(o->hosts) : NULL;
    const char *names[PKI_NAMES_MAX];
    struct pki_request request = {.names = names, .days = pki_days(ctl, o->days, CERT_DAYS)};
    int status = request.days > 0 ? EX_OK : EX_USAGE;

    MS_ASSERT(list != NULL || o->hosts == NULL);
    if (o->server != o->client)
        request.use = o->server ? PKI_SERVER : PKI_CLIENT;
    if (status == EX_OK && o->name == NULL)
        status = ctl_usage(ctl, "issue: the name of the certificate is missing");
    else if (status == EX_OK && request.use == PKI_CLIENT && o->hosts != NULL)
        status = ctl_usage(ctl, "--hosts is for servers: a client is known by its name");
    if (status == EX_OK) {
        request.count = issue_names(ctl, o->name, list, names);
        status = request.count > 0 ? pki_sign(ctl, o->dir, &request) : EX_USAGE;
    }
    free(list);
    return status;
}

/* --- show --- */

static const char *
show_kind(X509 *cert)
{
    uint32_t use = X509_get_extended_key_usage(cert);

    if (X509_check_ca(cert) == 1)
        return "authority";
    if ((use & XKU_SSL_SERVER) != 0 && (use & XKU_SSL_CLIENT) == 0)
        return "server";
    return (use & XKU_SSL_SERVER) == 0 && (use & XKU_SSL_CLIENT) != 0 ? "client" : "both";
}

static const char *
show_state(X509 *cert, const X509 *authority)
{
    if (authority != NULL && X509_verify(cert, X509_get0_pubkey(authority)) != 1)
        return "of another authority";
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        return "expired";
    return X509_cmp_current_time(X509_get0_notBefore(cert)) > 0 ? "not valid yet" : "valid";
}

/* Its alternative names, with commas between them. */
static json_t *
show_names(const X509 *cert)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    BIO *text = BIO_new(BIO_s_mem());
    json_t *out;
    char *data;

    MS_ASSERT(text != NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        if (i > 0)
            BIO_puts(text, ",");
        GENERAL_NAME_print(text, sk_GENERAL_NAME_value(all, i));
    }
    BIO_write(text, "", 1);
    (void)BIO_get_mem_data(text, &data);
    out = json_text(data);
    BIO_free(text);
    GENERAL_NAMES_free(all);
    return out;
}

static json_t *
show_row(const char *file, X509 *cert, const X509 *authority)
{
    char text[CLOCK_RFC3339_LEN], hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    uint8_t digest[EVP_MAX_MD_SIZE];
    json_t *row = json_object();
    int days = 0, seconds = 0;
    unsigned n;

    (void)ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert));
    if (X509_digest(cert, EVP_sha256(), digest, &n) == 1)
        digest_hex(digest, n, hex);
    json_put(row, "file", json_text(file));
    json_put(row, "kind", json_string(show_kind(cert)));
    json_put(row, "names", show_names(cert));
    json_put(row, "state", json_string(show_state(cert, authority)));
    json_put(row, "from", json_string(pki_time(X509_get0_notBefore(cert), text)));
    json_put(row, "until", json_string(pki_time(X509_get0_notAfter(cert), text)));
    json_put(row, "days", json_integer(days));
    json_put(row, "sha256", json_string(hex));
    return row;
}

static const struct column show_columns[] = {
    {"file", NULL, COLUMN_TEXT},  {"kind", NULL, COLUMN_TEXT},  {"names", NULL, COLUMN_TEXT},
    {"state", NULL, COLUMN_TEXT}, {"until", NULL, COLUMN_TEXT}, {"days", NULL, COLUMN_COUNT},
};

static int
show_takes(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > strlen(PKI_SUFFIX) &&
           strcmp(entry->d_name + n - strlen(PKI_SUFFIX), PKI_SUFFIX) == 0;
}

static int
pki_show(const struct ctl *ctl, const struct pki_options *o)
{
    struct dirent **files;
    json_t *rows;
    X509 *authority, *cert;
    int fd, n, status = pki_open_dir(ctl, o->dir, &fd);

    if (status != EX_OK)
        return status;
    authority = pki_read_certificate(fd, PKI_AUTHORITY PKI_SUFFIX);
    n = scandirat(fd, ".", &files, show_takes, alphasort);
    MS_ASSERT(n >= 0);
    rows = json_array();
    for (int i = 0; i < n; i++) {
        cert = pki_read_certificate(fd, files[i]->d_name);
        if (cert != NULL)
            json_array_append_new(rows, show_row(files[i]->d_name, cert, authority));
        X509_free(cert);
        free(files[i]);
    }
    free(files);
    X509_free(authority);
    fd_close(&fd);
    if (o->json) {
        json_print(rows, false);
    } else {
        table_print(rows, show_columns, MS_ARRAY_LEN(show_columns));
        json_decref(rows);
    }
    return ctl_finish(ctl, EX_OK);
}

/* --- the command --- */

static int
pki_command(struct ctl *ctl, int argc, char *argv[])
{
    struct pki_options o = {.dir = DEFAULT_DIR};
    const struct ctl_option init[] = {{"dir", NULL, &o.dir}, {"days", NULL, &o.days}};
    const struct ctl_option issue[] = {{"dir", NULL, &o.dir},       {"days", NULL, &o.days},
                                       {"server", &o.server, NULL}, {"client", &o.client, NULL},
                                       {"hosts", NULL, &o.hosts},   {CTL_OPERAND, NULL, &o.name}};
    const struct ctl_option show[] = {{"dir", NULL, &o.dir}, {"json", &o.json, NULL}};
    const struct {
        const char *name;
        const struct ctl_option *options;
        size_t n;
        int (*run)(const struct ctl *ctl, const struct pki_options *o);
    } verbs[] = {{"init", init, MS_ARRAY_LEN(init), pki_init},
                 {"issue", issue, MS_ARRAY_LEN(issue), pki_issue_one},
                 {"show", show, MS_ARRAY_LEN(show), pki_show}};
    int status;

    for (size_t i = 0; argc > 1 && i < MS_ARRAY_LEN(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) != 0)
            continue;
        status = ctl_options(ctl, argc - 1, argv + 1, verbs[i].options, verbs[i].n);
        return status == CTL_GO_ON ? verbs[i].run(ctl, &o) : status;
    }
    if (argc > 1 && argv[1][0] != '-')
        return ctl_usage(ctl, "\"%s\" is none of init, issue and show", argv[1]);
    status = ctl_options(ctl, argc, argv, NULL, 0);
    return status == CTL_GO_ON ? ctl_usage(ctl, "what is to be done: init, issue or show?")
                               : status;
}

const struct ctl_command ctl_pki = {
    .name = "pki",
    .summary = "certificates for a first try and small fleets",
    .help =
        "usage: msockctl pki init [--dir DIR] [--days N]\n"
        "       msockctl pki issue [--dir DIR] [--days N] [--server | --client]\n"
        "                          [--hosts LIST] NAME\n"
        "       msockctl pki show [--dir DIR] [--json]\n"
        "init makes a certificate authority, ca.pem and ca.key. issue makes NAME.pem and NAME.key\n"
        "for a server or a sender. NAME is the server's host name or address, or the name by\n"
        "which a sender is known: cert:NAME. show lists the certificates. Keys are P-256, without\n"
        "a passphrase, with mode 600. Nothing is ever overwritten.\n\n"
        "  --dir DIR     where the files are; default ./" DEFAULT_DIR "\n"
        "  --days N      how long it is valid; default 3650 for init, 365 for issue, and not\n"
        "                longer than the authority\n"
        "  --server      it is good for a server only\n"
        "  --client      it is good for a sender only\n"
        "  --hosts LIST  more host names and addresses of a server: a.example,10.0.0.7\n"
        "  --json        an array of objects: file, kind, names, state, from, until, days, "
        "sha256\n",
    .run = pki_command,
};
