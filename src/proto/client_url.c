/* Reads the options that a client's URL gives its protocol, for the library and the load generator.
 * Invariant: what is asked for is written only when all of it is good. */
#include "proto/proto_table.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>

#define WINDOW_DEFAULT 64 /* of mode=burst */

static int MS_PRINTF(2, 3) client_fail(char reason[CLIENT_REASON_LEN], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reason, CLIENT_REASON_LEN, fmt, ap);
    va_end(ap);
    return -1;
}

/* Of every protocol: what the library reads itself. */
static bool
client_is_common(const struct url *url, const char *name)
{
    return strcmp(name, "key_file") == 0 || strcmp(name, "pick") == 0 ||
           (url->is_tls && strncmp(name, "tls_", 4) == 0);
}

static int
client_check_options(const struct proto_ops *ops, const struct url *url,
                     char reason[CLIENT_REASON_LEN])
{
    for (size_t i = 0; i < url->option_count; i++) {
        const char *const *known = ops->client_options, *name = url->options[i].name;

        while (*known != NULL && strcmp(*known, name) != 0)
            known++;
        if (framing_forbids_nul(&url->options[i]))
            return client_fail(reason, "%s: %%00 is for delimiters only", name);
        if (*known == NULL && !client_is_common(url, name))
            return client_fail(reason, "%s has no option \"%.60s\" for a client", ops->name, name);
    }
    return 0;
}

static int
client_read_window(const struct url *url, uint32_t *window_out, char reason[CLIENT_REASON_LEN])
{
    const char *mode = url_option(url, "mode");
    const char *window = url_option(url, "window_size");
    bool burst = mode != NULL && strcmp(mode, "burst") == 0;
    uint64_t size = burst ? WINDOW_DEFAULT : 1;

    if (mode != NULL && !burst && strcmp(mode, "step-by-step") != 0)
        return client_fail(reason, "mode is burst or step-by-step, not \"%.60s\"", mode);
    if (window != NULL && !burst)
        return client_fail(reason, "window_size is for mode=burst only");
    if (window != NULL && text_parse_number(window, 2, CLIENT_WINDOW_MAX, &size) < 0)
        return client_fail(reason, "window_size is a number from 2 to %d", CLIENT_WINDOW_MAX);
    *window_out = (uint32_t)size;
    return 0;
}

static int
client_read_role(const struct url *url, enum proto_role *role_out, char reason[CLIENT_REASON_LEN])
{
    const char *role = url_option(url, "role");
    bool serves = role != NULL && strcmp(role, "server") == 0;

    if (role != NULL && !serves && strcmp(role, "client") != 0)
        return client_fail(reason, "role is client or server, not \"%.60s\"", role);
    *role_out = serves ? PROTO_SERVER : PROTO_CLIENT;
    return 0;
}

int
client_url_read(const struct proto_ops *ops, const struct url *url, uint64_t max_message_size,
                struct client_url *asked_out, char reason[CLIENT_REASON_LEN])
{
    char framing[FRAMING_REASON_LEN];
    struct client_url asked;

    if (client_check_options(ops, url, reason) < 0)
        return -1;
    if (framing_parse(url, max_message_size, &asked.framing, framing) < 0)
        return client_fail(reason, "framing: %s", framing);
    if (client_read_window(url, &asked.window_size, reason) < 0 ||
        client_read_role(url, &asked.role, reason) < 0)
        return -1;
    *asked_out = asked;
    return 0;
}
