/* Reads the URL of a server. Each thing that can be wrong gets a sentence of its own. Invariant:
 * an address is written only when all of it is good. */
#include "client/handle.h"

#include "common/text.h"

#include <stdarg.h>
#include <stdio.h>

#define ADDRESS_SCHEMES_LEN 128

static int MS_PRINTF(2, 3) address_fail(char error[ADDRESS_ERROR_LEN], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(error, ADDRESS_ERROR_LEN, fmt, ap);
    va_end(ap);
    return -1;
}

/* The protocols of a client, for a sentence: "a, b or c". */
static const char *
address_schemes(char out[ADDRESS_SCHEMES_LEN])
{
    const char *names[8];
    const struct proto_ops *ops;
    size_t n = 0;

    for (size_t row = 0; (ops = proto_at(row)) != NULL; row++)
        if (!ops->only_listens) {
            MS_ASSERT(n + 1 < MS_ARRAY_LEN(names));
            names[n++] = ops->name;
        }
    names[n] = NULL;
    text_list(names, out, ADDRESS_SCHEMES_LEN);
    return out;
}

static int
address_read_parts(struct address *a, const char *text, char error[ADDRESS_ERROR_LEN])
{
    const char *key_file = url_option(&a->url, "key_file");
    char schemes[ADDRESS_SCHEMES_LEN];
    struct tls_asked tls;
    struct client_url asked;

    a->ops = proto_find(a->url.scheme);
    if (a->ops == NULL)
        return address_fail(error, "\"%.80s\": what can be spoken is %s", text,
                            address_schemes(schemes));
    if (client_url_read(a->ops, &a->url, TRANSFORM_BODY_MAX, &asked, error) < 0)
        return -1;
    a->framing = asked.framing;
    a->window_size = asked.window_size;
    a->role = asked.role;
    if (key_file != NULL && a->framing.kind == FRAMING_DELIMITER)
        return address_fail(error, "key_file does not go with framing=delimiter: what is sealed may"
                                   " hold the delimiter");
    if (dial_read_pick(&a->url, &a->pick) < 0)
        return address_fail(error, "pick is first, random or spread, not \"%.60s\"",
                            url_option(&a->url, "pick"));
    if (a->url.is_tls &&
        (tls_asked_read(&a->url, &tls, error) < 0 || secure_make(&tls, &a->secure, error) < 0))
        return -1;
    if (key_file == NULL)
        return 0;
    a->seal = seal_open(key_file, SEAL_TO_SERVER, error);
    return a->seal != NULL ? 0 : -1;
}

int
address_read(const char *text, struct address *address_out, char error[ADDRESS_ERROR_LEN])
{
    struct address a = {0};

    if (text == NULL)
        return address_fail(error, "no address is given");
    if (url_parse_servers(text, ADDRESS_PORT, &a.url, error) < 0)
        return -1;
    if (address_read_parts(&a, text, error) < 0) {
        address_fini(&a);
        return -1;
    }
    *address_out = a;
    return 0;
}

void
address_fini(struct address *address)
{
    url_fini(&address->url);
    secure_fini(&address->secure);
    seal_close(address->seal);
}
