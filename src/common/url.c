/* URLs of listeners and servers: see the header. Parsing goes from left to right. An error is one
 * sentence that begins with the text itself. */
#include "common/url.h"

#include "common/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/un.h>

#define URL_QUOTED_LEN 84 /* of the text in a sentence, so that the reason has room too */

struct url_parser {
    const char *text;
    struct url *url;
    char *error;
    bool takes_list;
    uint16_t default_port; /* with takes_list */
};

#define NO_MEMORY "there is no memory to read it"

static int url_fail(const struct url_parser *p, const char *fmt, ...) MS_PRINTF(2, 3);

static int
url_fail(const struct url_parser *p, const char *fmt, ...)
{
    char quoted[URL_QUOTED_LEN];
    size_t n = strlen(p->text);
    int len;
    va_list ap;

    text_escape(p->text, n, quoted, sizeof(quoted));
    len = snprintf(p->error, URL_ERROR_LEN, "\"%s%s\": ", quoted, n >= sizeof(quoted) ? "..." : "");
    va_start(ap, fmt);
    vsnprintf(p->error + len, (size_t)(URL_ERROR_LEN - len), fmt, ap);
    va_end(ap);
    return -1;
}

static char *
url_copy(const char *s, size_t n)
{
    char *copy = ms_malloc(n + 1);

    if (copy == NULL)
        return NULL;
    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

static int
url_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes n bytes to a new string. len_out NULL: it is used as a string, so no NUL. */
static int
url_decode(const struct url_parser *p, const char *s, size_t n, char **out, size_t *len_out)
{
    char *copy = ms_malloc(n + 1), *to = copy;

    if (copy == NULL)
        return url_fail(p, NO_MEMORY);
    for (size_t i = 0; i < n; i++) {
        int high, low;

        if (s[i] != '%') {
            *to++ = s[i];
            continue;
        }
        high = n - i > 2 ? url_hex(s[i + 1]) : -1;
        low = high >= 0 ? url_hex(s[i + 2]) : -1;
        if (low < 0 || (high == 0 && low == 0 && len_out == NULL)) {
            free(copy);
            return url_fail(p, low < 0 ? "expected two hexadecimal digits after %%"
                                       : "%%00 cannot stand in an address or path");
        }
        *to++ = (char)(high << 4 | low);
        i += 2;
    }
    *to = '\0';
    *out = copy;
    if (len_out != NULL)
        *len_out = (size_t)(to - copy);
    return 0;
}

static int
url_check_bytes(const struct url_parser *p)
{
    for (const char *s = p->text; *s != '\0'; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return url_fail(p, "blanks and control characters are not allowed in an address; in an "
                               "option a blank is %%20");
    return 0;
}

/* Where "systemd:NAME" stands, alone or behind "msp+"; NULL: nowhere. */
static const char *
url_given_at(const struct url_parser *p)
{
    const char *s = p->text + strcspn(p->text, "+:");

    s = *s == '+' ? s + 1 : p->text;
    if (p->takes_list || strncmp(s, "systemd:", 8) != 0 || strncmp(s + 8, "//", 2) == 0)
        return NULL;
    return s;
}

/* Reads that at s. Returns the end of the name, or NULL. */
static const char *
url_given(const struct url_parser *p, const char *s)
{
    const char *name = s + strlen("systemd:");
    size_t n = strcspn(name, "?");

    if (n == 0) {
        url_fail(p, "expected systemd:NAME, with the FileDescriptorName= of a socket unit");
        return NULL;
    }
    p->url->scheme =
        s == p->text ? ms_strdup("auto") : url_copy(p->text, (size_t)(s - p->text) - 1);
    if (p->url->scheme == NULL) {
        url_fail(p, NO_MEMORY);
        return NULL;
    }
    return url_decode(p, name, n, &p->url->given, NULL) < 0 ? NULL : name + n;
}

/* Reads "msp://" or "msp+tls://" and returns what follows, or NULL. */
static const char *
url_scheme(const struct url_parser *p)
{
    const char *s = p->text;
    size_t n;

    while (text_is_lower(*s) || (s > p->text && isdigit((unsigned char)*s)))
        s++;
    n = (size_t)(s - p->text);
    p->url->is_tls = p->takes_list && strncmp(s, "+tls:", 5) == 0;
    if (p->url->is_tls)
        s += strlen("+tls");
    if (n == 0 || strncmp(s, "://", 3) != 0 || s[3] == '\0' || s[3] == '?') {
        url_fail(p, "expected PROTOCOL://ADDRESS:PORT or PROTOCOL:///PATH");
        return NULL;
    }
    /* Whoever looks at what comes takes msp too. */
    if (p->takes_list && n == strlen("auto") && strncmp(p->text, "auto", n) == 0)
        p->url->scheme = ms_strdup("msp");
    else
        p->url->scheme = url_copy(p->text, n);
    if (p->url->scheme != NULL)
        return s + 3;
    url_fail(p, NO_MEMORY);
    return NULL;
}

static int
url_path(const struct url_parser *p, const char *s, size_t n)
{
    const size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    const char *path;

    if (url_decode(p, s, n, &p->url->path, NULL) < 0)
        return -1;
    path = p->url->path;
    for (const char *c = path; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return url_fail(p, "control characters are not allowed in a path");
    if (path[strlen(path) - 1] == '/')
        return url_fail(p, "the path of a Unix socket does not end with /");
    if (strlen(path) > max)
        return url_fail(p, "the path of a Unix socket has at most %zu bytes", max);
    return 0;
}

static int
url_port(const struct url_parser *p, const char *s, size_t n)
{
    char digits[8];
    uint64_t port;

    if (n == 0 || n >= sizeof(digits))
        return url_fail(p, "expected a port from 0 to 65535 after the colon");
    memcpy(digits, s, n);
    digits[n] = '\0';
    if (text_parse_number(digits, 0, UINT16_MAX, &port) < 0)
        return url_fail(p, "expected a port from 0 to 65535 after the colon");
    p->url->port = (uint16_t)port;
    p->url->has_port = true;
    return 0;
}

/* The address between brackets; returns how many bytes it took with them, or -1. */
static int
url_host_v6(const struct url_parser *p, const char *s, size_t n)
{
    const char *end = memchr(s, ']', n);
    struct in6_addr addr;
    char *zone, *bare;
    int valid;

    if (end == NULL)
        return url_fail(p, "the bracket of the IPv6 address is not closed");
    if (url_decode(p, s + 1, (size_t)(end - s - 1), &p->url->host, NULL) <
        0) /* %25 before a zone */
        return -1;
    bare = ms_strdup(p->url->host);
    if (bare == NULL)
        return url_fail(p, NO_MEMORY);
    zone = strchr(bare, '%');
    if (zone != NULL)
        *zone = '\0';
    valid = inet_pton(AF_INET6, bare, &addr);
    free(bare);
    if (valid != 1)
        return url_fail(p, "there is no valid IPv6 address between the brackets");
    return (int)(end - s + 1);
}

/* A name or an IPv4 address; returns how many bytes it took, or -1. */
static int
url_host_name(const struct url_parser *p, const char *s, size_t n)
{
    size_t len = 0;

    while (len < n && (text_is_alnum(s[len]) || (s[len] != 0 && strchr("-._", s[len]) != NULL)))
        len++;
    if (memchr(s, '@', n) != NULL)
        return url_fail(p, "an address has no user and no password");
    if (len < n && s[len] == ':' && memchr(s + len + 1, ':', n - len - 1) != NULL)
        return url_fail(p, "an IPv6 address stands in brackets, as in [::1]:8000");
    if (len == 0)
        return url_fail(p, "there is no address; 0.0.0.0 or [::] stand for all of this host");
    if (len > 253)
        return url_fail(p, "a host name has at most 253 characters");
    p->url->host = url_copy(s, len);
    return p->url->host != NULL ? (int)len : url_fail(p, NO_MEMORY);
}

/* ADDRESS[:PORT], and perhaps a slash behind it. */
static int
url_authority(const struct url_parser *p, const char *s, size_t n)
{
    const char *slash = memchr(s, '/', n);
    int taken;

    if (slash != NULL && slash != s + n - 1)
        return url_fail(p, "an address is not followed by a path");
    if (slash != NULL)
        n--;
    taken = *s == '[' ? url_host_v6(p, s, n) : url_host_name(p, s, n);
    if (taken < 0)
        return -1;
    s += taken;
    n -= (size_t)taken;
    if (n == 0)
        return 0;
    if (*s != ':')
        return url_fail(p, "expected a colon and a port after the address");
    return url_port(p, s + 1, n - 1);
}

/* --- a list of servers --- */

struct url_server
url_server_at(const struct url *url, size_t i)
{
    if (i > 0)
        return url->more[i - 1];
    return (struct url_server){url->host, url->port, url->has_port};
}

static int
url_add_server(const struct url_parser *p, const char *s, size_t n)
{
    struct url one = {.host = NULL};
    const struct url_parser parser = {.text = p->text, .url = &one, .error = p->error};

    if (p->url->more_count == URL_SERVERS_MAX - 1)
        return url_fail(p, "more than %d servers", URL_SERVERS_MAX);
    if (url_authority(&parser, s, n) < 0) {
        free(one.host);
        return -1;
    }
    p->url->more[p->url->more_count++] = url_server_at(&one, 0);
    return 0;
}

/* Ports are there, and differ where hosts do not. */
static int
url_check_servers(const struct url_parser *p)
{
    for (size_t i = 0; i <= p->url->more_count; i++) {
        uint16_t *port = i > 0 ? &p->url->more[i - 1].port : &p->url->port;
        struct url_server one = url_server_at(p->url, i);

        if (!one.has_port)
            one.port = *port = p->default_port;
        if (one.port == 0)
            return url_fail(p, "port 0 cannot be connected to");
        for (size_t k = 0; k < i; k++) {
            struct url_server other = url_server_at(p->url, k);

            if (other.port == one.port && strcasecmp(other.host, one.host) == 0)
                return url_fail(p, "port %u of \"%.60s\" stands there twice", one.port, one.host);
        }
    }
    return 0;
}

static int
url_servers(const struct url_parser *p, const char *s, size_t n)
{
    const char *comma = memchr(s, ',', n);
    bool is_list = comma != NULL, is_first = true;

    for (;; comma = memchr(s, ',', n), is_first = false) {
        size_t len = comma != NULL ? (size_t)(comma - s) : n;

        if (is_list && len == 0)
            return url_fail(p, "a server is missing before or behind a comma");
        if (*s == '/')
            return url_fail(p, "a Unix socket is never in a list of servers");
        if (!is_first && memmem(s, len, "://", 3) != NULL)
            return url_fail(p, "the protocol of a list stands before its first server only");
        if (comma != NULL && memchr(s, '/', len) != NULL)
            return url_fail(p, "an address is not followed by a path");
        if ((is_first ? url_authority(p, s, len) : url_add_server(p, s, len)) < 0)
            return -1;
        if (comma == NULL)
            return url_check_servers(p);
        s += len + 1;
        n -= len + 1;
    }
}

/* What stands between the scheme and the options. */
static int
url_place(const struct url_parser *p, const char *s, size_t n)
{
    bool has_comma = memchr(s, ',', n) != NULL;

    if (*s == '/' && p->takes_list && has_comma)
        return url_fail(p, "a Unix socket is never in a list of servers; a comma in its path is"
                           " %%2C");
    if (*s == '/')
        return url_path(p, s, n);
    if (p->takes_list)
        return url_servers(p, s, n);
    if (has_comma)
        return url_fail(p, "one address is wanted here; a list of servers is for senders");
    return url_authority(p, s, n);
}

/* --- options --- */

static int
url_add_option(const struct url_parser *p, const char *s, size_t n)
{
    const char *equals = memchr(s, '=', n);
    size_t name_len = equals == NULL ? n : (size_t)(equals - s);
    struct url_option option;

    for (size_t i = 0; i < name_len; i++)
        if (!text_is_alnum(s[i]) && s[i] != '_' && s[i] != '-')
            return url_fail(p, "the name of an option has letters, digits, - and _ only");
    if (equals == NULL || name_len == 0)
        return url_fail(p, "expected option=value, with & between two of them");
    if (p->url->option_count == URL_OPTIONS_MAX)
        return url_fail(p, "more than %d options", URL_OPTIONS_MAX);
    if (url_decode(p, equals + 1, n - name_len - 1, &option.value, &option.len) < 0)
        return -1;
    option.name = url_copy(s, name_len);
    if (option.name == NULL) {
        free(option.value);
        return url_fail(p, NO_MEMORY);
    }
    if (url_option(p->url, option.name) != NULL) {
        url_fail(p, "the option \"%.40s\" stands there twice", option.name);
        free(option.name);
        free(option.value);
        return -1;
    }
    p->url->options[p->url->option_count++] = option;
    return 0;
}

static int
url_options(const struct url_parser *p, const char *s)
{
    while (*s != '\0') {
        size_t n = strcspn(s, "&");

        if (url_add_option(p, s, n) < 0)
            return -1;
        s += n;
        if (*s == '&' && *++s == '\0')
            return url_fail(p, "expected option=value, with & between two of them");
    }
    return 0;
}

/* Reads PROTOCOL://ADDRESS. Returns its end, or NULL. */
static const char *
url_address(const struct url_parser *p)
{
    const char *s = url_scheme(p);
    size_t n;

    if (s == NULL)
        return NULL;
    n = strcspn(s, "?");
    return url_place(p, s, n) < 0 ? NULL : s + n;
}

static int
url_parse_parts(const struct url_parser *p)
{
    const char *s;

    if (url_check_bytes(p) < 0)
        return -1;
    s = url_given_at(p);
    s = s != NULL ? url_given(p, s) : url_address(p);
    if (s == NULL)
        return -1;
    return *s == '?' ? url_options(p, s + 1) : 0;
}

/* What p reads into is the caller's where all of it is good. */
static int
url_parse_with(const struct url_parser *p, struct url *url_out)
{
    if (url_parse_parts(p) < 0) {
        url_fini(p->url);
        return -1;
    }
    *url_out = *p->url;
    return 0;
}

int
url_parse(const char *text, struct url *url_out, char error[URL_ERROR_LEN])
{
    struct url url = {0};
    struct url_parser parser = {.text = text, .url = &url, .error = error};

    return url_parse_with(&parser, url_out);
}

int
url_parse_servers(const char *text, uint16_t default_port, struct url *url_out,
                  char error[URL_ERROR_LEN])
{
    struct url url = {0};
    struct url_parser parser = {.text = text,
                                .url = &url,
                                .error = error,
                                .takes_list = true,
                                .default_port = default_port};

    return url_parse_with(&parser, url_out);
}

void
url_fini(struct url *url)
{
    for (size_t i = 0; i < url->option_count; i++) {
        free(url->options[i].name);
        free(url->options[i].value);
    }
    for (size_t i = 0; i < url->more_count; i++)
        free(url->more[i].host);
    free(url->scheme);
    free(url->host);
    free(url->path);
    free(url->given);
    *url = (struct url){0};
}

const struct url_option *
url_option_find(const struct url *url, const char *name)
{
    for (size_t i = 0; i < url->option_count; i++)
        if (strcmp(url->options[i].name, name) == 0)
            return &url->options[i];
    return NULL;
}

const char *
url_option(const struct url *url, const char *name)
{
    const struct url_option *option = url_option_find(url, name);

    return option != NULL ? option->value : NULL;
}
