/* Listener URLs: see the header. The URL is taken apart by common/url; here its protocol, options
 * and values are checked, one sentence for each thing that can be wrong. */
#include "config/config_settings.h"

#include "common/digest.h"
#include "common/text.h"
#include "proto/proto_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int
listener_fail(const struct listener_place *at, const char *fmt, ...)
{
    char quoted[CONFIG_QUOTED_LEN], reason[CONFIG_ERROR_LEN];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    config_fail(at->error, "%s: \"%s\": %s", at->origin, config_quote(at->text, quoted), reason);
    return -1;
}

static int
listener_parse_url(const struct listener_place *at, struct url *url_out)
{
    char reason[URL_ERROR_LEN], *shown;

    if (url_parse(at->text, url_out, reason) == 0)
        return 0;
    /* url_parse quotes the text itself; so it gets one that may be seen. */
    shown = config_without_secrets(at->text);
    if (shown == NULL) {
        snprintf(reason, sizeof(reason), "%s", strerror(ENOMEM));
    } else if (url_parse(shown, url_out, reason) == 0) {
        url_fini(url_out);
        snprintf(reason, sizeof(reason), "the list of servers cannot be read, or is given twice");
    }
    free(shown);
    return config_fail(at->error, "%s: %s", at->origin, reason);
}

static int
listener_check_scheme(const struct listener_place *at, const struct url *url)
{
    char names[128];

    if (proto_find(url->scheme) != NULL)
        return 0;
    text_list(proto_names, names, sizeof(names));
    return listener_fail(at, "unknown protocol \"%.40s\", expected %s", url->scheme, names);
}

static bool
listener_lists(const char *const *options, const char *name)
{
    while (*options != NULL && strcmp(*options, name) != 0)
        options++;
    return *options != NULL;
}

#define LISTENER_OWNERS_LEN 256
#define OWNERS_MAX          (CONFIG_HANDLER_COUNT + 8)

/* Those that an option belongs to, for a sentence: "handler=exec or frame://"; "" where it is
 * everybody's. */
static void
listener_owners(const char *name, char *out, size_t size)
{
    char texts[OWNERS_MAX][32];
    const char *owners[OWNERS_MAX + 1] = {NULL};
    const struct proto_ops *proto;
    size_t n = 0;

    for (size_t i = 0; i < CONFIG_HANDLER_COUNT; i++)
        if (listener_lists(config_handlers[i].options, name))
            snprintf(texts[n++], sizeof(texts[0]), "handler=%s", config_handlers[i].name);
    for (size_t row = 0; (proto = proto_at(row)) != NULL; row++) {
        MS_ASSERT(n < OWNERS_MAX);
        if (listener_lists(proto->listener_options, name))
            snprintf(texts[n++], sizeof(texts[0]), "%s://", proto->name);
    }
    for (size_t i = 0; i < n; i++)
        owners[i] = texts[i];
    text_list(owners, out, size);
}

/* The handler that the URL names, or else the general one. */
static const struct config_handler *
listener_handler(const struct url *url, const uint64_t number[OPTION_COUNT])
{
    const char *name = url_option(url, "handler");

    for (size_t i = 0; name != NULL && i < CONFIG_HANDLER_COUNT; i++)
        if (strcmp(config_handlers[i].name, name) == 0)
            return &config_handlers[i];
    return &config_handlers[number[OPTION_HANDLER]];
}

/* Lists what this listener may have. */
static int
listener_unknown_option(const struct listener_place *at, const struct url *url,
                        const uint64_t number[OPTION_COUNT], const char *name)
{
    const char *names[OPTION_COUNT + 1], *const *own = listener_handler(url, number)->options;
    char list[CONFIG_ERROR_LEN], owners[LISTENER_OWNERS_LEN];
    size_t n = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *option = config_options[i].name;

        if ((config_options[i].scope & OPTION_IN_URL) == 0)
            continue;
        listener_owners(option, owners, sizeof(owners));
        if (owners[0] == '\0' || listener_lists(own, option) ||
            listener_lists(proto_find(url->scheme)->listener_options, option))
            names[n++] = option;
    }
    names[n] = NULL;
    text_list(names, list, sizeof(list));
    return listener_fail(at, "unknown option \"%.40s\", expected %s", name, list);
}

/* An option that belongs to handlers or protocols of which the listener has none. */
static int
listener_misplaced(const struct listener_place *at, const struct url *url, const char *name,
                   const struct config_handler *handler)
{
    char owners[LISTENER_OWNERS_LEN];

    if (listener_lists(handler->options, name) ||
        listener_lists(proto_find(url->scheme)->listener_options, name))
        return 0;
    listener_owners(name, owners, sizeof(owners));
    return owners[0] == '\0' ? 0 : listener_fail(at, "%s is for %s only", name, owners);
}

/* Names of variables, with commas between them. */
static bool
listener_names_variables(const char *list)
{
    size_t n = strcspn(list, ",=");

    while (n > 0 && list[n] == ',') {
        list += n + 1;
        n = strcspn(list, ",=");
    }
    return n > 0 && list[n] == '\0';
}

/* Checks the options of handlers: the required one must be there, and none of another handler. */
static int
listener_check_handler(const struct listener_place *at, const struct url *url,
                       const struct config_handler *handler)
{
    const char *needs = handler->options[0];
    const char *variables = url_option(url, config_options[OPTION_EXEC_ENV].name);

    if (needs != NULL && url_option(url, needs) == NULL)
        return listener_fail(at, "handler=%s needs %s=...", handler->name, needs);
    for (size_t i = 0; i < url->option_count; i++)
        if (listener_misplaced(at, url, url->options[i].name, handler) < 0)
            return -1;
    if (variables != NULL && !listener_names_variables(variables))
        return listener_fail(at, "exec_env: expected names of variables, such as \"A,B\"");
    return 0;
}

/* [::], in any of its spellings. */
static bool
listener_is_any_v6(const struct url *url)
{
    struct in6_addr addr;

    return url->host != NULL && inet_pton(AF_INET6, url->host, &addr) == 1 &&
           IN6_IS_ADDR_UNSPECIFIED(&addr);
}

int
listener_read_option(const struct listener_place *at, const struct url_option *given,
                     const struct config_option *o, uint64_t number[OPTION_COUNT])
{
    char reason[OPTION_REASON_LEN], quoted[CONFIG_QUOTED_LEN];

    if (framing_forbids_nul(given))
        return listener_fail(at, "%s: %%00 is for delimiters only", o->name);
    if (given->len == 0 && o->word != NULL && o->word[0] == '\0') /* that is for one not given */
        return listener_fail(at, "%s: there is no value", o->name);
    if (config_option_parse(o, given->value, &number[o - config_options], reason) < 0)
        return listener_fail(at, "%s = \"%s\": %s", o->name, config_quote(given->value, quoted),
                             reason);
    return 0;
}

/* Whoever names certificates or proxies and leaves the switch out would let everybody in. */
static int
listener_check_switch(const struct listener_place *at, const struct url *url,
                      const uint64_t number[OPTION_COUNT], enum option_id id)
{
    const char *name = config_options[id].name;
    size_t n = strlen(name);

    for (size_t i = 0; number[id] == 0 && i < url->option_count; i++) {
        const char *given = url->options[i].name;

        if (strncmp(given, name, n) == 0 && given[n] == '_')
            return listener_fail(at, "%s needs %s=required", given, name);
    }
    return 0;
}

/* Puts the URL's own values over the general ones. */
static int
listener_read_options(const struct listener_place *at, const struct url *url,
                      uint64_t number[OPTION_COUNT])
{
    for (size_t i = 0; i < url->option_count; i++) {
        const struct url_option *given = &url->options[i];
        const struct config_option *o = config_option_find(given->name, OPTION_IN_URL);

        if (o == NULL)
            return listener_unknown_option(at, url, number, given->name);
        if (o == &config_options[OPTION_MODE] && url->path == NULL)
            return listener_fail(at, "mode is for Unix sockets only");
        if (o == &config_options[OPTION_V6ONLY] && !listener_is_any_v6(url))
            return listener_fail(at, "v6only is for [::] only");
        if (listener_read_option(at, given, o, number) < 0)
            return -1;
    }
    if (number[OPTION_PACKET_SIZE] > number[OPTION_PACKET_SIZE_MAX])
        return listener_fail(at, "packet_size is more than packet_size_max");
    if (listener_check_switch(at, url, number, OPTION_TLS) < 0)
        return -1;
    return listener_check_switch(at, url, number, OPTION_PROXY);
}

static void
listener_limits(const uint64_t number[OPTION_COUNT], struct proto_limits *limits_out)
{
    *limits_out = (struct proto_limits){
        .max_message_size = number[OPTION_MAX_MESSAGE_SIZE],
        .timeout_us = number[OPTION_TIMEOUT],
        .idle_timeout_us = number[OPTION_IDLE_TIMEOUT],
        .min_rate = number[OPTION_MIN_RATE],
        .rate_grace_us = number[OPTION_RATE_GRACE],
        .max_json_size = number[OPTION_MAX_JSON_SIZE],
        .max_json_depth = (uint32_t)number[OPTION_MAX_JSON_DEPTH],
        .max_json_values = (uint32_t)number[OPTION_MAX_JSON_VALUES],
        .packet_size = (uint32_t)number[OPTION_PACKET_SIZE],
        .packet_size_max = (uint32_t)number[OPTION_PACKET_SIZE_MAX],
        .nack_limit = (uint32_t)number[OPTION_NACK_LIMIT],
        .reread_limit = (uint32_t)number[OPTION_REREAD_LIMIT],
        .keepalive_us = number[OPTION_KEEPALIVE],
        .window_size = (uint32_t)number[OPTION_WINDOW_SIZE],
        .retries = (uint32_t)number[OPTION_RETRIES],
        .reply = (enum reply_policy)number[OPTION_REPLY],
    };
}

/* The text without "?" and what follows. */
static char *
listener_name(const char *text)
{
    char *name = ms_strdup(text);

    if (name != NULL)
        name[strcspn(name, "?")] = '\0';
    return name;
}

static int
listener_read_framing(const struct listener_place *at, const struct url *url,
                      struct proto_limits *limits)
{
    char reason[FRAMING_REASON_LEN];

    if (framing_parse(url, limits->max_message_size, &limits->framing, reason) < 0)
        return listener_fail(at, "framing: %s", reason);
    if (limits->framing.kind == FRAMING_DELIMITER && url_option(url, "key_file") != NULL)
        return listener_fail(at, "key_file does not go with framing=delimiter: what is sealed may"
                                 " hold any bytes, the delimiter too");
    return 0;
}

/* Who may connect, with the names of users looked up; general: what holds where the URL says
 * nothing. */
static int
listener_read_rules(const struct listener_place *at, const struct url *url, enum option_id id,
                    const char *general, struct source_rules *rules)
{
    const char *given = url_option(url, config_options[id].name);
    char reason[SOURCE_REASON_LEN], quoted[CONFIG_QUOTED_LEN];

    if (given == NULL)
        given = general;
    if (given == NULL || given[0] == '\0' || source_rules_parse(given, rules, reason) == 0)
        return 0;
    return listener_fail(at, "%s = \"%s\": %s", config_options[id].name,
                         config_quote(given, quoted), reason);
}

/* The proxies, where there have to be some. */
static int
listener_read_proxies(const struct listener_place *at, const struct url *url,
                      const struct settings *settings, struct listener_config *l)
{
    if (!listener_is_proxied(l))
        return 0;
    if (listener_read_rules(at, url, OPTION_PROXY_FROM, settings->text[OPTION_PROXY_FROM],
                            &l->proxy_from) < 0)
        return -1;
    return l->proxy_from.count > 0
               ? 0
               : listener_fail(at, "proxy=required needs proxy_from=NETWORK,...: the proxies");
}

int
listener_read_texts(const struct listener_place *at, const struct url *url,
                    const struct settings *settings, struct listener_config *l)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        const char *given = url_option(url, o->name);

        if (o->type != OPTION_TYPE_TEXT || (o->scope & OPTION_IN_URL) == 0)
            continue;
        if (given == NULL && (o->scope & OPTION_IN_FILE) != 0 && settings->text[i][0] != '\0')
            given = settings->text[i];
        if (given != NULL && given[0] != '\0' && o->is_path) {
            if (config_path(settings->cwd, given, at->origin, &l->text[i], at->error) < 0)
                return -1;
        } else if (given != NULL || o->initial[0] != '\0') {
            l->text[i] = ms_strdup(given != NULL ? given : o->initial);
        }
    }
    return 0;
}

/* [::] is all addresses of the host, those of IPv4 too. */
static void
listener_add_any_v4(struct listener_config *l)
{
    struct endpoint *v4 = &l->endpoints[l->endpoint_count++];
    const struct sockaddr_in any = {.sin_family = AF_INET};

    *v4 = (struct endpoint){.len = sizeof(any)};
    memcpy(&v4->addr, &any, sizeof(any));
    endpoint_set_port(v4, endpoint_port(&l->endpoints[0]));
}

/* Leaves out what another address of the same name covers. */
static void
listener_drop_covered(struct listener_config *l)
{
    for (size_t i = 0; i < l->endpoint_count; i++)
        for (size_t j = 0; j < l->endpoint_count; j++)
            if (i != j && endpoint_covers(&l->endpoints[i], &l->endpoints[j])) {
                l->endpoints[j] = l->endpoints[--l->endpoint_count];
                i = j = 0;
            }
}

static int
listener_resolve(const struct listener_place *at, const struct url *url, struct listener_config *l)
{
    char reason[URL_ERROR_LEN];
    int n;

    if (url->given != NULL) {
        l->given = ms_strdup(url->given);
        return 0;
    }
    n = endpoint_resolve_all(url, l->endpoints, LISTEN_ADDRESSES_MAX, reason);
    if (n < 0)
        return listener_fail(at, "%s", reason);
    if (n > LISTEN_ADDRESSES_MAX)
        return listener_fail(at, "%.80s has %d addresses, and a listener has %d at most", url->host,
                             n, LISTEN_ADDRESSES_MAX);
    l->endpoint_count = (size_t)n;
    if (listener_is_any_v6(url) && l->number[OPTION_V6ONLY] == 0)
        listener_add_any_v4(l);
    listener_drop_covered(l);
    return 0;
}

static int
listener_read_parts(const struct listener_place *at, const struct url *url,
                    const struct settings *settings, struct listener_config *listener_out)
{
    struct listener_config l = {0};
    uint64_t *number = l.number;
    const struct config_handler *handler;
    const char *reason;

    memcpy(number, settings->number, sizeof(l.number));
    if (listener_check_scheme(at, url) < 0 || listener_read_options(at, url, number) < 0)
        return -1;
    handler = &config_handlers[number[OPTION_HANDLER]];
    if (listener_check_handler(at, url, handler) < 0)
        return -1;
    if (url->host != NULL && !url->has_port)
        return listener_fail(at, "there is no port; the usual one is :8000, and with :0 the kernel"
                                 " chooses");
    if (listener_resolve(at, url, &l) < 0)
        return -1;
    l.url = ms_strdup(at->text);
    l.name = listener_name(at->text);
    l.proto = ms_strdup(url->scheme);
    l.handler = ms_strdup(handler->name);
    listener_limits(number, &l.limits);
    if (listener_read_texts(at, url, settings, &l) < 0 ||
        listener_read_rules(at, url, OPTION_ALLOW, NULL, &l.allow) < 0 ||
        listener_read_rules(at, url, OPTION_DENY, NULL, &l.deny) < 0 ||
        listener_read_proxies(at, url, settings, &l) < 0 ||
        listener_read_framing(at, url, &l.limits) < 0) {
        listener_config_fini(&l);
        return -1;
    }
    reason = listener_check_tls(&l);
    if (reason != NULL) {
        listener_config_fini(&l);
        return listener_fail(at, "%s", reason);
    }
    *listener_out = l;
    return 0;
}

int
listener_config_read(const char *text, const char *origin, const struct settings *settings,
                     struct listener_config *listener_out, char error[CONFIG_ERROR_LEN])
{
    const struct listener_place at = {.text = text, .origin = origin, .error = error};
    struct url url;
    int rc;

    if (listener_parse_url(&at, &url) < 0)
        return -1;
    rc = listener_read_parts(&at, &url, settings, listener_out);
    url_fini(&url);
    return rc;
}

void
listener_config_fini(struct listener_config *listener)
{
    free(listener->url);
    free(listener->name);
    free(listener->proto);
    free(listener->handler);
    free(listener->given);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        free(listener->text[i]);
    seal_keys_wipe(&listener->keys);
    tls_pem_fini(&listener->tls);
    *listener = (struct listener_config){0};
}

int
listener_read_key(struct listener_config *listener, char error[SEAL_ERROR_LEN])
{
    const char *path = listener->text[OPTION_KEY_FILE];

    return path != NULL ? seal_keys_read(path, &listener->keys, error) : 0;
}

/* "::1" gets the brackets that it needs in a URL, whether they were given or not. */
static void
listener_bracket(const char *host, char *out, size_t size)
{
    bool bare = host[0] != '[' && strchr(host, ':') != NULL;

    snprintf(out, size, "%s%s%s", bare ? "[" : "", host, bare ? "]" : "");
}

static int
listener_check_move(const struct listener_place *at, const struct url *url, const char *host,
                    const char *port)
{
    uint64_t number;

    if (url->host == NULL)
        return listener_fail(at, "%s no host or port, so %s cannot change it",
                             url->path != NULL ? "a Unix socket has" : "given sockets have",
                             host != NULL ? "--host" : "--port");
    if (port != NULL && text_parse_number(port, 0, UINT16_MAX, &number) < 0)
        return config_fail(at->error, "--port %.40s: expected a number from 0 to 65535", port);
    if (host != NULL && (host[0] == '\0' || strlen(host) > 255 || strpbrk(host, "/?@ ") != NULL))
        return config_fail(at->error, "--host %.40s: expected a host name or an address", host);
    return 0;
}

static char *
listener_moved_url(const struct listener_place *at, const struct url *url, const char *host,
                   const char *port)
{
    const char *options = strchr(at->text, '?');
    char address[260], digits[16] = "", *moved = NULL;

    listener_bracket(host != NULL ? host : url->host, address, sizeof(address));
    if (port != NULL)
        snprintf(digits, sizeof(digits), ":%.8s", port);
    else if (url->has_port)
        snprintf(digits, sizeof(digits), ":%u", (unsigned)url->port);
    if (asprintf(&moved, "%s://%s%s%s", url->scheme, address, digits,
                 options == NULL ? "" : options) < 0) {
        config_fail(at->error, "%s: out of memory", at->origin);
        return NULL;
    }
    return moved;
}

char *
listener_url_move(const char *text, const char *origin, const char *host, const char *port,
                  char error[CONFIG_ERROR_LEN])
{
    const struct listener_place at = {.text = text, .origin = origin, .error = error};
    char *moved = NULL;
    struct url url;

    if (listener_parse_url(&at, &url) < 0)
        return NULL;
    if (listener_check_move(&at, &url, host, port) == 0)
        moved = listener_moved_url(&at, &url, host, port);
    url_fini(&url);
    return moved;
}

uint32_t
listener_meaning(const struct listener_config *listener)
{
    const struct proto_limits *limits = &listener->limits;
    const struct framing *framing = &limits->framing;
    struct buffer text;
    uint32_t meaning;

    buffer_init(&text);
    buffer_printf(&text, "%s %s %d %d %u %d %d %d %d ", listener->proto, listener->handler,
                  (int)limits->reply, (int)framing->kind, framing->fixed_len, framing->drop_cr,
                  framing->keep_unterminated, listener->keys.count > 0,
                  listener_is_proxied(listener));
    buffer_append(&text, framing->delimiter, framing->delimiter_len);
    buffer_append_str(&text, listener->number[OPTION_TLS] != 0 ? " tls" : "");
    meaning = digest_crc32(0, buffer_bytes(&text), text.len);
    buffer_fini(&text);
    return meaning;
}
