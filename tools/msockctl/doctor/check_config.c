/* What is configured, and the files and directories that it names. */
#include "doctor.h"

#include "handler/journal/data_dir.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPIRY_DAYS 14

static enum doctor_verdict
look_configuration(const struct doctor *d, struct doctor_finding *f)
{
    if (d->config != NULL)
        return doctor_fine(f, "the configuration is right");
    if (!d->config_wrong)
        return doctor_unknown(f, "%s", d->config_error);
    doctor_mend(f, "msockd -t -c %s says it again; until it is mended, neither reload nor restart",
                d->stats.config_file[0] != '\0' ? d->stats.config_file : "FILE");
    return doctor_wrong(f, "the next reload will fail: %s", d->config_error);
}

static enum doctor_verdict
look_sync(const struct doctor *d, struct doctor_finding *f)
{
    if (d->config == NULL)
        return doctor_unknown(f, "%s", d->config_error);
    if (d->config->sync)
        return doctor_fine(f, "the last ACK waits for the disk");
    doctor_mend(f, "set sync = yes, then: msockctl -r %s reload", d->ctl->dir);
    return doctor_wrong(f, "sync = no: a power cut takes messages that were acknowledged");
}

/* --- who may touch what --- */

/* Whom the workers are, or would be if we started them. */
static uid_t
workers_uid(const struct doctor *d)
{
    uint64_t uid = geteuid();

    if (d->config->user != NULL)
        return d->config->uid;
    if (d->stats.pid > 0)
        (void)doctor_process_field(d, d->stats.pid, "status", "Uid:", &uid);
    return (uid_t)uid;
}

static enum doctor_verdict
look_data_directory(const struct doctor *d, struct doctor_finding *f)
{
    struct data_fault fault;

    if (d->config == NULL)
        return doctor_unknown(f, "%s", d->config_error);
    if (access(d->config->data_dir, F_OK) < 0) {
        if (d->stats.pid == 0 || errno != ENOENT)
            return doctor_unknown(f, "%s: %s", d->config->data_dir, strerror(errno));
        doctor_mend(f, "mount %s, or move it back", d->config->data_dir);
        return doctor_wrong(f, "%s is gone while msockd runs", d->config->data_dir);
    }
    if (data_dir_is_trusted(d->config->data_dir, workers_uid(d), &fault))
        return doctor_fine(f, "nobody but the workers may change %s", d->config->data_dir);
    doctor_mend(f, "%s", fault.mend);
    return doctor_wrong(f, "%s", fault.text);
}

static enum doctor_verdict
look_runtime_directory(const struct doctor *d, struct doctor_finding *f)
{
    const char *path = d->ctl->dir;
    struct stat st;

    if (stat(path, &st) < 0)
        return doctor_unknown(f, "%s: %s", path, strerror(errno));
    if ((st.st_mode & S_IWOTH) == 0)
        return doctor_fine(f, "%s is not everybody's to change", path);
    doctor_mend(f, "chmod o-w %s", path);
    return doctor_wrong(f, "everybody on this machine may change what is in %s", path);
}

static bool
listener_names(const struct listener_config *listener, enum option_id file)
{
    return listener->text[file] != NULL && listener->text[file][0] != '\0';
}

/* Calls judge for the files that listeners name with these options, until one says WRONG. */
static enum doctor_verdict
files_judge(const struct doctor *d, struct doctor_finding *f, const enum option_id *options,
            size_t n, enum doctor_verdict (*judge)(struct doctor_finding *f, const char *path))
{
    enum doctor_verdict verdict = DOCTOR_FINE;

    if (d->config == NULL)
        return doctor_unknown(f, "%s", d->config_error);
    (void)doctor_fine(f, "no listener names one");
    for (size_t i = 0; i < d->config->listener_count; i++)
        for (size_t k = 0; k < n && verdict == DOCTOR_FINE; k++)
            if (listener_names(&d->config->listeners[i], options[k]))
                verdict = judge(f, d->config->listeners[i].text[options[k]]);
    return verdict;
}

static enum doctor_verdict
secret_judge(struct doctor_finding *f, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return doctor_unknown(f, "%s: %s", path, strerror(errno));
    if ((st.st_mode & (S_IRWXO | S_IWGRP)) == 0)
        return doctor_fine(f, "%s is secret", path);
    doctor_mend(f, "chmod 640 %s, and make a new secret", path);
    return doctor_wrong(f, "everybody on this machine may read or change the secret in %s", path);
}

static enum doctor_verdict
look_secrets(const struct doctor *d, struct doctor_finding *f)
{
    static const enum option_id secrets[] = {OPTION_KEY_FILE,   OPTION_NATS_PASSWORD_FILE,
                                             OPTION_NATS_CREDS, OPTION_NATS_NKEY,
                                             OPTION_NATS_KEY,   OPTION_TLS_KEY};

    return files_judge(d, f, secrets, MS_ARRAY_LEN(secrets), secret_judge);
}

/* Days until the first certificate of a file ends. False where it holds none. */
static bool
certificate_days(const char *path, int *days_out)
{
    FILE *file = fopen(path, "re");
    X509 *certificate = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    int seconds;
    bool read = certificate != NULL &&
                ASN1_TIME_diff(days_out, &seconds, NULL, X509_get0_notAfter(certificate)) == 1;

    if (read && seconds < 0)
        *days_out -= 1;
    X509_free(certificate);
    if (file != NULL)
        fclose(file);
    return read;
}

static enum doctor_verdict
certificate_judge(struct doctor_finding *f, const char *path)
{
    int days;

    if (!certificate_days(path, &days))
        return doctor_unknown(f, "%s holds no certificate that can be read", path);
    if (days >= EXPIRY_DAYS)
        return doctor_fine(f, "%s holds for %d days", path, days);
    doctor_mend(f, "openssl x509 -noout -enddate -in %s; have it renewed", path);
    return doctor_wrong(f,
                        days < 0 ? "the certificate in %s ended %d days ago"
                                 : "the certificate in %s ends in %d days",
                        path, abs(days));
}

static enum doctor_verdict
look_certificates(const struct doctor *d, struct doctor_finding *f)
{
    static const enum option_id certificates[] = {OPTION_NATS_CERT, OPTION_NATS_CA, OPTION_TLS_CERT,
                                                  OPTION_TLS_CLIENT_CA};

    return files_judge(d, f, certificates, MS_ARRAY_LEN(certificates), certificate_judge);
}

const struct doctor_check doctor_config[] = {
    {"configuration", look_configuration},
    {"sync", look_sync},
    {"data-directory", look_data_directory},
    {"runtime-directory", look_runtime_directory},
    {"secrets", look_secrets},
    {"certificates", look_certificates},
    {NULL, NULL},
};
