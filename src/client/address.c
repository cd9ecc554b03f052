#include "client/address.h"

#include "common/text.h"
#include "config/framing.h"
#include "proto/proto_table.h"
#include "proto/transform_seal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_MAX     1024 /* packets, as on the server's side */
#define WINDOW_DEFAULT 64   /* of mode=burst */

struct scheme {
    const char *name;
    const char *options[4]; /* ends with NULL */
};

static const struct scheme schemes[] = {
    {"msp", {"key_file"}},
    {"tinyproto", {"key_file"}},
    {"cnp", {"mode", "window_size", "key_file"}},
    {"frame", {"framing", "delimiter", "key_file"}},
};

static int MS_PRINTF(2, 3) address_fail(char error[ADDRESS_ERROR_LEN], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(error, ADDRESS_ERROR_LEN, fmt, ap);
    va_end(ap);
    return -1;
}

static const struct scheme *
scheme_find(const char *name)
{
    for (size_t i = 0; i < MS_ARRAY_LEN(schemes); i++)
        if (strcmp(schemes[i].name, name) == 0)
            return &schemes[i];
    return NULL;
}

/* What url_parse takes, but a client cannot use. Returns NULL where it can. */
static const char *
url_unfit(const struct url *url)
{
    if (strcmp(url->scheme, "auto") == 0)
        return "auto is for servers, which can look at what comes; a client says what it speaks:"
               " msp, tinyproto, cnp or frame";
    if (scheme_find(url->scheme) == NULL)
        return "what can be spoken is msp, tinyproto, cnp and frame";
    if (url->host == NULL && url->path == NULL)
        return "neither an address nor the path of a Unix socket is given";
    if (url->host != NULL && url->has_port && url->port == 0)
        return "port 0 cannot be connected to";
    return NULL;
}

static int
address_check_options(const struct scheme *scheme, const struct url *url,
                      char error[ADDRESS_ERROR_LEN])
{
    for (size_t i = 0; i < url->option_count; i++) {
        const char *const *known = scheme->options;

        while (*known != NULL && strcmp(*known, url->options[i].name) != 0)
            known++;
        if (*known == NULL)
            return address_fail(error, "%s has no option \"%.60s\" for a client", scheme->name,
                                url->options[i].name);
    }
    return 0;
}

static int
address_read_framing(struct address *a, char error[ADDRESS_ERROR_LEN])
{
    const char *framing = url_option(&a->url, "framing");
    const char *delimiter = url_option(&a->url, "delimiter");
    char reason[FRAMING_REASON_LEN];

    if (delimiter != NULL && (framing == NULL || strcmp(framing, "delimiter") != 0))
        return address_fail(error, "delimiter is for framing=delimiter only");
    if (framing_parse(framing, delimiter, TRANSFORM_BODY_MAX, &a->framing, reason) < 0)
        return address_fail(error, "framing: %s", reason);
    if (a->framing.kind == FRAMING_DELIMITER && url_option(&a->url, "key_file") != NULL)
        return address_fail(error, "key_file does not go with framing=delimiter: what is sealed may"
                                   " hold the delimiter");
    return 0;
}

static int
address_read_window(struct address *a, char error[ADDRESS_ERROR_LEN])
{
    const char *mode = url_option(&a->url, "mode");
    const char *window = url_option(&a->url, "window_size");
    bool burst = mode != NULL && strcmp(mode, "burst") == 0;
    uint64_t size = burst ? WINDOW_DEFAULT : 1;

    if (mode != NULL && !burst && strcmp(mode, "step-by-step") != 0)
        return address_fail(error, "mode is burst or step-by-step, not \"%.60s\"", mode);
    if (window != NULL && !burst)
        return address_fail(error, "window_size is for mode=burst only");
    if (window != NULL && text_parse_number(window, 2, WINDOW_MAX, &size) < 0)
        return address_fail(error, "window_size is a number from 2 to %d", WINDOW_MAX);
    a->window_size = (uint32_t)size;
    return 0;
}

static int
address_read_parts(struct address *a, const char *text, char error[ADDRESS_ERROR_LEN])
{
    const char *unfit = url_unfit(&a->url), *key_file;
    const struct scheme *scheme;

    if (unfit != NULL)
        return address_fail(error, "\"%.80s\": %s", text, unfit);
    scheme = scheme_find(a->url.scheme);
    if (address_check_options(scheme, &a->url, error) < 0 || address_read_framing(a, error) < 0 ||
        address_read_window(a, error) < 0)
        return -1;
    a->ops = proto_find(scheme->name);
    MS_ASSERT(a->ops != NULL);
    if (!a->url.has_port)
        a->url.port = ADDRESS_PORT;
    key_file = url_option(&a->url, "key_file");
    return key_file == NULL ? 0 : transform_seal(key_file, SEAL_TO_SERVER, &a->seal, error);
}

int
address_read(const char *text, struct address *address_out, char error[ADDRESS_ERROR_LEN])
{
    struct address a = {0};

    if (text == NULL)
        return address_fail(error, "no address is given");
    if (url_parse(text, &a.url, error) < 0)
        return -1;
    if (address_read_parts(&a, text, error) < 0) {
        url_fini(&a.url);
        return -1;
    }
    *address_out = a;
    return 0;
}

void
address_fini(struct address *address)
{
    url_fini(&address->url);
    if (address->seal.free_arg != NULL)
        address->seal.free_arg(address->seal.arg);
}
