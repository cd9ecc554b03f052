/* TLS of a client as its URL and its program ask for it. */
#include "common/url.h"
#include "tls/tls.h"

#include <stdio.h>
#include <string.h>

int
tls_asked_read(const struct url *url, struct tls_asked *asked_out, char error[TLS_ERROR_LEN])
{
    struct tls_asked asked = {0};

    for (size_t i = 0; i < url->option_count; i++) {
        const char *name = url->options[i].name, *value = url->options[i].value;

        if (strncmp(name, "tls_", 4) != 0)
            continue;
        if (strcmp(name, "tls_ca") == 0) {
            asked.ca = value;
        } else if (strcmp(name, "tls_cert") == 0) {
            asked.cert = value;
        } else if (strcmp(name, "tls_key") == 0) {
            asked.key = value;
        } else if (strcmp(name, "tls_name") == 0) {
            asked.name = value;
        } else if (strcmp(name, "tls_insecure") == 0 && strcmp(value, "yes") == 0) {
            asked.insecure = true;
        } else {
            snprintf(error, TLS_ERROR_LEN,
                     "%.60s=%.60s: of TLS there are tls_ca, tls_cert, tls_key, tls_name and"
                     " tls_insecure=yes",
                     name, value);
            return -1;
        }
    }
    *asked_out = asked;
    return 0;
}

void
tls_asked_prefer(struct tls_asked *asked, const struct tls_asked *first)
{
    asked->ca = first->ca != NULL ? first->ca : asked->ca;
    asked->cert = first->cert != NULL ? first->cert : asked->cert;
    asked->key = first->key != NULL ? first->key : asked->key;
    asked->name = first->name != NULL ? first->name : asked->name;
    asked->insecure = first->insecure || asked->insecure;
}

struct tls_context *
tls_asked_create(const struct tls_asked *asked, char error[TLS_ERROR_LEN])
{
    const char *const path[TLS_PARTS] = {
        [TLS_CERT] = asked->cert, [TLS_KEY] = asked->key, [TLS_CA] = asked->ca};
    struct tls_context *made = NULL;
    struct tls_pem pem;
    struct tls_setup setup = {.role = TLS_CLIENT,
                              .verify = asked->insecure ? TLS_VERIFY_NOBODY : TLS_VERIFY_PEER,
                              .pem = &pem};

    if (asked->name != NULL && (asked->name[0] == '\0' || strlen(asked->name) > TLS_NAME_MAX)) {
        snprintf(error, TLS_ERROR_LEN, "the name of a server has 1 to %d bytes", TLS_NAME_MAX);
        return NULL;
    }
    if ((asked->cert == NULL) != (asked->key == NULL)) {
        snprintf(error, TLS_ERROR_LEN, "a certificate and its key go together: the %s is missing",
                 asked->key == NULL ? "key" : "certificate");
        return NULL;
    }
    if (tls_pem_read(path, &pem, error) == 0)
        made = tls_context_create(&setup, error);
    tls_pem_fini(&pem);
    return made;
}
