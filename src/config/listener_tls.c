/* TLS of a listener: which files it has, and what is made of them. */
#include "config/config_settings.h"

#include <stdio.h>
#include <sys/socket.h>

/* In the order of the option tls_client. */
enum tls_client { TLS_CLIENT_AUTO, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

static bool
listener_has(const struct listener_config *l, enum option_id id)
{
    return l->text[id] != NULL && l->text[id][0] != '\0';
}

/* Whoever names authorities and says nothing else wants their clients only. */
static enum tls_verify
listener_verify(const struct listener_config *l)
{
    if (!listener_has(l, OPTION_TLS_CLIENT_CA))
        return TLS_VERIFY_NOBODY;
    return l->number[OPTION_TLS_CLIENT] == TLS_CLIENT_OPTIONAL ? TLS_VERIFY_OPTIONAL
                                                               : TLS_VERIFY_PEER;
}

/* Does each of its connections have an identity? */
static bool
listener_names_all(const struct listener_config *l)
{
    return (l->endpoints[0].addr.ss_family == AF_UNIX && !listener_is_proxied(l)) ||
           (l->number[OPTION_TLS] != 0 && listener_verify(l) == TLS_VERIFY_PEER);
}

const char *
listener_check_tls(const struct listener_config *l)
{
    bool asks = l->number[OPTION_TLS_CLIENT] != TLS_CLIENT_AUTO;
    bool names = source_rules_have_names(&l->allow) || source_rules_have_names(&l->deny);

    if (names && (l->number[OPTION_TLS] == 0 || !listener_has(l, OPTION_TLS_CLIENT_CA)))
        return "a rule about cert:NAME needs tls=required and tls_client_ca=FILE";
    if (l->number[OPTION_PREFIX] != 0 && !listener_names_all(l))
        return "prefix=identity needs a Unix socket without proxy=required, or tls=required and "
               "tls_client_ca=FILE without tls_client=optional";
    if (l->number[OPTION_TLS] == 0)
        return NULL;
    if (!listener_has(l, OPTION_TLS_CERT) || !listener_has(l, OPTION_TLS_KEY))
        return "tls=required needs tls_cert=FILE and tls_key=FILE";
    if (asks && !listener_has(l, OPTION_TLS_CLIENT_CA))
        return "tls_client needs tls_client_ca=FILE, whose certificates are let in";
    return NULL;
}

struct tls_context *
listener_tls_context(const struct listener_config *l, const struct tls_secret *secret,
                     char error[TLS_ERROR_LEN])
{
    const struct tls_setup setup = {
        .role = TLS_SERVER,
        .verify = listener_verify(l),
        .pem = &l->tls,
        .allow_12 = l->number[OPTION_TLS_MIN] != 0,
        .was_checked = secret != NULL, /* by the master: a worker is replaced on any day */
        .secret = secret,
    };

    return tls_context_create(&setup, error);
}

int
listener_read_tls(struct listener_config *l, char error[TLS_ERROR_LEN])
{
    const enum option_id ids[TLS_PARTS] = {
        [TLS_CERT] = OPTION_TLS_CERT, [TLS_KEY] = OPTION_TLS_KEY, [TLS_CA] = OPTION_TLS_CLIENT_CA};
    const char *path[TLS_PARTS];
    struct tls_context *context;
    char reason[TLS_ERROR_LEN];

    if (l->number[OPTION_TLS] == 0)
        return 0;
    for (unsigned i = 0; i < TLS_PARTS; i++)
        path[i] = listener_has(l, ids[i]) ? l->text[ids[i]] : NULL;
    if (tls_pem_read(path, &l->tls, reason) == 0 &&
        (context = listener_tls_context(l, NULL, reason)) != NULL) {
        tls_context_destroy(context);
        return 0;
    }
    snprintf(error, TLS_ERROR_LEN, "%.80s: tls_cert=%.90s%s%.90s: %.200s", l->name, path[TLS_CERT],
             path[TLS_CA] != NULL ? ", tls_client_ca=" : "",
             path[TLS_CA] != NULL ? path[TLS_CA] : "", reason);
    return -1;
}
