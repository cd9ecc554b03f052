/* The URL of the relay: see the header. Its servers are for libnats to read, and its options are
 * read as a listener's are. */
#include "config/config_settings.h"

#include "common/text.h"

#include <stdio.h>
#include <stdlib.h>

/* Those about the servers and the stream. */
static bool
relay_has(const struct config_option *o)
{
    size_t id = (size_t)(o - config_options);

    return id >= OPTION_STREAM && id <= OPTION_NATS_KEY && id != OPTION_NATS_AHEAD &&
           id != OPTION_ID_SCOPE;
}

static int
relay_unknown_option(const struct listener_place *at, const char *name)
{
    const char *names[OPTION_COUNT + 1] = {NULL};
    char list[CONFIG_ERROR_LEN];
    size_t n = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (relay_has(&config_options[i]))
            names[n++] = config_options[i].name;
    text_list(names, list, sizeof(list));
    return listener_fail(at, "unknown option \"%.40s\", expected %s", name, list);
}

static int
relay_read_parts(const struct listener_place *at, const struct url *url,
                 const struct settings *settings, struct listener_config *l)
{
    memcpy(l->number, settings->number, sizeof(l->number));
    for (size_t i = 0; i < url->option_count; i++) {
        const struct url_option *given = &url->options[i];
        const struct config_option *o = config_option_find(given->name, OPTION_IN_URL);

        if (o == NULL || !relay_has(o))
            return relay_unknown_option(at, given->name);
        if (listener_read_option(at, given, o, l->number) < 0)
            return -1;
    }
    if (url_option(url, "stream") == NULL)
        return listener_fail(at, "the relay needs stream=...");
    return listener_read_texts(at, url, settings, l);
}

int
relay_config_read(const char *text, const char *origin, const struct settings *settings,
                  struct listener_config *relay_out, char error[CONFIG_ERROR_LEN])
{
    const struct listener_place at = {.text = text, .origin = origin, .error = error};
    size_t servers_len = strcspn(text, "?");
    char reason[URL_ERROR_LEN], *options = NULL;
    struct listener_config l = {0};
    struct url url;
    int rc = -1;

    if (strncmp(text, "nats://", 7) != 0 && strncmp(text, "tls://", 6) != 0)
        return listener_fail(&at, "expected nats://HOST:PORT,...?stream=STREAM");
    /* The servers are for libnats to read, which takes more than a URL of ours. */
    if (asprintf(&options, "nats://relay%s", text + servers_len) < 0)
        ms_out_of_memory(1);
    if (url_parse(options, &url, reason) == 0) {
        rc = relay_read_parts(&at, &url, settings, &l);
        url_fini(&url);
    } else {
        (void)listener_fail(&at, "%s", reason);
    }
    l.name = ms_strdup("relay");
    l.text[OPTION_SERVERS] = strndup(text, servers_len);
    free(options);
    if (rc == 0)
        *relay_out = l;
    else
        listener_config_fini(&l);
    return rc;
}
