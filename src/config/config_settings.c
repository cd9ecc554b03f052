/* Values on their way into a configuration: see the header. */
#include "config/config_settings.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdlib.h>

int
config_fail(char error[CONFIG_ERROR_LEN], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(error, CONFIG_ERROR_LEN, fmt, ap);
    va_end(ap);
    return -1;
}

/* Where users and passwords of NATS servers may stand: from the first server to the last '@',
 * percent-encoded or not. Returns how many bytes. */
static size_t
config_secret(const char *text, size_t *at_out)
{
    static const char *const anchors[] = {"servers=", "nats://", "tls://", "nats%3A", "tls%3A"};
    const char *begin = NULL, *end = NULL;

    for (size_t i = 0; i < MS_ARRAY_LEN(anchors); i++) {
        const char *found = strcasestr(text, anchors[i]);

        if (found != NULL && (begin == NULL || found < begin))
            begin = found;
    }
    for (const char *c = begin; c != NULL && *c != '\0'; c++)
        if (*c == '@' || strncmp(c, "%40", 3) == 0)
            end = c;
    if (end == NULL)
        return 0;
    begin = strncmp(begin, "servers=", 8) == 0 ? begin + 8 : begin;
    *at_out = (size_t)(begin - text);
    return (size_t)(end - begin);
}

char *
config_without_secrets(const char *text)
{
    size_t at = 0, n = config_secret(text, &at);
    char *out = ms_calloc(1, strlen(text) + sizeof("***"));

    if (out != NULL)
        sprintf(out, "%.*s%s%s", (int)at, text, n > 0 ? "***" : "", text + at + n);
    return out;
}

const char *
config_quote(const char *text, char out[CONFIG_QUOTED_LEN])
{
    static const char dots[] = "...";
    size_t len = 0, secret = 0, n = config_secret(text, &secret);

    for (size_t i = 0; text[i] != '\0'; i++) {
        bool hidden = n > 0 && i == secret;
        char one[8];
        size_t width;

        width = hidden ? text_escape("***", 3, one, sizeof(one))
                       : text_escape(text + i, 1, one, sizeof(one));
        if (len + width > CONFIG_QUOTED_LEN - sizeof(dots)) {
            memcpy(out + len, dots, sizeof(dots));
            return out;
        }
        memcpy(out + len, one, width);
        len += width;
        i += hidden ? n - 1 : 0;
    }
    out[len] = '\0';
    return out;
}

static char *
path_join(const char *cwd, const char *path)
{
    size_t cwd_len = path[0] == '/' ? 0 : strlen(cwd), len, size;
    char *joined;

    while (strncmp(path, "./", 2) == 0)
        path += strspn(path + 1, "/") + 1;
    path += strspn(path, "/");
    len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    while (cwd_len > 0 && cwd[cwd_len - 1] == '/')
        cwd_len--;
    size = cwd_len + len + 2;
    joined = ms_malloc(size);
    if (joined == NULL)
        return NULL;
    snprintf(joined, size, "%.*s/%.*s", (int)cwd_len, cwd, (int)len, path);
    return joined;
}

int
config_path(const char *cwd, const char *path, const char *origin, char **path_out,
            char error[CONFIG_ERROR_LEN])
{
    char quoted[CONFIG_QUOTED_LEN];

    if (cwd == NULL && path[0] != '/')
        return config_fail(error,
                           "%s: \"%s\" is a relative path, and the current directory cannot be "
                           "told: it was removed, perhaps",
                           origin, config_quote(path, quoted));
    *path_out = path_join(cwd, path);
    return 0;
}

void
settings_init(struct settings *s, const char *cwd)
{
    *s = (struct settings){.cwd = cwd};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *o = &config_options[i];
        char reason[OPTION_REASON_LEN];
        int rc = config_option_parse(o, o->initial, &s->number[i], reason);

        MS_ASSERT(rc == 0);
        s->text[i] = ms_strdup(o->initial);
    }
}

void
settings_clear_listeners(struct settings *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        free(s->listeners[i].text);
        free(s->listeners[i].origin);
    }
    s->listener_count = 0;
}

void
settings_fini(struct settings *s)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        free(s->text[i]);
        free(s->origin[i]);
    }
    settings_clear_listeners(s);
}

static int
settings_add_listener(struct settings *s, const char *text, const char *origin, char *error)
{
    if (s->listener_count == CONFIG_LISTENERS_MAX)
        return config_fail(error, "%s: more than %d listeners", origin, CONFIG_LISTENERS_MAX);
    s->listeners[s->listener_count++] =
        (struct settings_listener){.text = ms_strdup(text), .origin = ms_strdup(origin)};
    return 0;
}

int
settings_set(struct settings *s, const struct config_option *option, const char *text,
             const char *origin, char error[CONFIG_ERROR_LEN])
{
    size_t id = (size_t)(option - config_options);
    char reason[OPTION_REASON_LEN];
    uint64_t number;

    MS_ASSERT(id < OPTION_COUNT);
    if (config_option_parse(option, text, &number, reason) < 0)
        return config_fail(error, "%s: %s", origin, reason);
    if (option->type == OPTION_TYPE_LIST)
        return settings_add_listener(s, text, origin, error);
    s->number[id] = number;
    free(s->text[id]);
    s->text[id] = ms_strdup(text);
    free(s->origin[id]);
    s->origin[id] = ms_strdup(origin);
    return 0;
}

const struct config_option *
settings_option(const char *name, const char *origin, char error[CONFIG_ERROR_LEN])
{
    const struct config_option *option = config_option_find(name, OPTION_IN_FILE), *nearest;
    char quoted[CONFIG_QUOTED_LEN];

    if (option != NULL)
        return option;
    config_quote(name, quoted);
    nearest = config_option_nearest(name, OPTION_IN_FILE);
    if (config_option_find(name, OPTION_IN_URL) != NULL)
        config_fail(error, "%s: \"%s\" is an option of a listener: PROTOCOL://ADDRESS:PORT?%s=...",
                    origin, quoted, quoted);
    else if (nearest != NULL)
        config_fail(error, "%s: unknown option \"%s\"; did you mean \"%s\"?", origin, quoted,
                    nearest->name);
    else
        config_fail(error, "%s: unknown option \"%s\"; msockd.conf(5) lists them all", origin,
                    quoted);
    return NULL;
}
