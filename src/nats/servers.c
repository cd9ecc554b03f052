/* The servers and who we are to them. Invariant: no password is in a sentence. */
#include "nats/publisher.h"

#include "common/fd.h"
#include "common/url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PASSWORD_MAX 4096
#define FILE_MAX     (1u << 20)
#define DEFAULT_PORT 4222

static int
servers_fail(char error[NATS_ERROR_LEN], const char *what, const char *why)
{
    snprintf(error, NATS_ERROR_LEN, "%.120s: %.120s", what, why);
    return -1;
}

/* Is "nats://user:password@host:port" one? libnats takes this host and a port of its own for what
 * is not there or cannot be read. */
static int
servers_check_url(const char *server, char error[NATS_ERROR_LEN])
{
    const char *user = strstr(server, "://") + 3, *at = strrchr(user, '@');
    const char *host = at != NULL ? at + 1 : user, *why;
    char reason[URL_ERROR_LEN], *address;
    struct url url;
    int rc = 0;

    if (at != NULL && (at == user || *user == ':'))
        return servers_fail(error, "servers", "there is no user before an @");
    if (*host == '\0' || (host[0] == ':' && host[1] != ':'))
        return servers_fail(error, "servers", "there is one without a host");
    if (asprintf(&address, "nats://%s", host) < 0)
        ms_out_of_memory(1);
    if (url_parse_servers(address, DEFAULT_PORT, &url, reason) < 0) {
        why = strstr(reason, "\": "); /* behind the text, which may have a password */
        rc = servers_fail(error, "servers", why != NULL ? why + 3 : reason);
    } else {
        if (url.host == NULL || url.option_count > 0)
            rc = servers_fail(error, "servers", "expected nats://HOST:PORT,...");
        url_fini(&url);
    }
    free(address);
    return rc;
}

/* "a:4222" is "nats://a:4222". */
static int
servers_add(struct link_settings *s, const char *text, size_t n, char error[NATS_ERROR_LEN])
{
    bool has_scheme = memmem(text, n, "://", 3) != NULL;
    char *server;

    if (n == 0)
        return servers_fail(error, "servers", "there is an empty one in the list");
    if (has_scheme && strncmp(text, "nats://", 7) != 0 && strncmp(text, "tls://", 6) != 0)
        return servers_fail(error, "servers", "expected nats:// or tls:// in front of each");
    if (s->link.server_count == LINK_SERVERS_MAX)
        return servers_fail(error, "servers", "there are more than 32");
    server = ms_calloc(1, n + 8);
    snprintf(server, n + 8, "%s%.*s", has_scheme ? "" : "nats://", (int)n, text);
    s->servers[s->link.server_count] = server;
    s->link.servers[s->link.server_count++] = server;
    return servers_check_url(server, error);
}

static int
servers_split(struct link_settings *s, const char *list, char error[NATS_ERROR_LEN])
{
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, ",");

        if (servers_add(s, at, n, error) < 0)
            return -1;
        at += n;
        if (*at == '\0')
            return 0;
    }
}

/* The others of a cluster, which a server tells of, take the same user. */
static void
servers_take_user(struct link_settings *s)
{
    for (size_t i = 0; i < s->link.server_count && s->user == NULL; i++) {
        const char *user = strstr(s->servers[i], "://") + 3;
        const char *at = strrchr(user, '@'), *colon = strchr(user, ':');

        if (at == NULL || colon == NULL || colon > at)
            continue;
        s->user = strndup(user, (size_t)(colon - user));
        s->password = strndup(colon + 1, (size_t)(at - colon - 1));
    }
}

static int
servers_read_password(struct link_settings *s, const char *path, char error[NATS_ERROR_LEN])
{
    size_t n;

    if (fd_read_file(path, PASSWORD_MAX, &s->password, &n) < 0)
        return servers_fail(error, path, strerror(errno));
    s->password[strcspn(s->password, "\r\n")] = '\0';
    return s->password[0] != '\0' ? 0 : servers_fail(error, path, "there is no password in it");
}

/* libnats reads them only when a server wants them. */
static int
servers_check_files(const struct publisher_config *c, char error[NATS_ERROR_LEN])
{
    const char *files[] = {c->ca, c->cert, c->key};
    char *data, key[NKEY_PUBLIC_LEN];
    size_t n;

    for (size_t i = 0; i < MS_ARRAY_LEN(files); i++) {
        if (files[i] == NULL)
            continue;
        if (fd_read_file(files[i], FILE_MAX, &data, &n) < 0)
            return servers_fail(error, files[i], strerror(errno));
        explicit_bzero(data, n);
        free(data);
    }
    return c->creds != NULL ? nkey_public(c->creds, key, error) : 0;
}

static int
servers_check(const struct publisher_config *c, char error[NATS_ERROR_LEN])
{
    if ((c->user == NULL) != (c->password_file == NULL))
        return servers_fail(error, "nats_user and nats_password_file", "one needs the other");
    if ((c->cert == NULL) != (c->key == NULL))
        return servers_fail(error, "nats_cert and nats_key", "one needs the other");
    if ((c->user != NULL) + (c->creds != NULL) + (c->nkey != NULL) > 1)
        return servers_fail(error, "nats_user, nats_creds and nats_nkey", "only one is possible");
    return servers_check_files(c, error);
}

int
link_settings_read(const struct publisher_config *config, struct link_settings *settings_out,
                   char error[NATS_ERROR_LEN])
{
    struct link_settings *s = settings_out;

    *s = (struct link_settings){.link = {.name = "msockd",
                                         .creds = config->creds,
                                         .nkey = config->nkey,
                                         .tls = config->tls,
                                         .ca = config->ca,
                                         .cert = config->cert,
                                         .key = config->key}};
    if (servers_check(config, error) < 0 || servers_split(s, config->servers, error) < 0)
        return -1;
    if (config->user != NULL) {
        s->user = ms_strdup(config->user);
        if (servers_read_password(s, config->password_file, error) < 0)
            return -1;
    } else if (config->creds == NULL && config->nkey == NULL) {
        servers_take_user(s);
    }
    if (config->nkey != NULL && nkey_public(config->nkey, s->nkey_public, error) < 0)
        return -1;
    s->link.nkey_public = s->nkey_public;
    s->link.user = s->user;
    s->link.password = s->password;
    return 0;
}

void
link_settings_fini(struct link_settings *settings)
{
    for (size_t i = 0; i < settings->link.server_count; i++) {
        explicit_bzero(settings->servers[i], strlen(settings->servers[i]));
        free(settings->servers[i]);
    }
    if (settings->password != NULL)
        explicit_bzero(settings->password, strlen(settings->password));
    free(settings->user);
    free(settings->password);
    *settings = (struct link_settings){0};
}
