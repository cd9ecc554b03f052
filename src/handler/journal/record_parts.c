/* Takes the records of record.c apart, in the order in which it writes them and with the escapes
 * that it uses: many thousands a second, so without a tree of JSON. */
#include "handler/journal/journal.h"

#include <stdlib.h>

/* Texts by their names, and where they go. */
static const struct {
    const char *name;
    size_t at;
} record_texts[] = {
    {"time", offsetof(struct record_parts, time)},
    {"listener", offsetof(struct record_parts, listener)},
    {"proto", offsetof(struct record_parts, proto)},
    {"peer", offsetof(struct record_parts, peer)},
    {"kind", offsetof(struct record_parts, kind)},
    {"identity", offsetof(struct record_parts, identity)},
    {"sha256", offsetof(struct record_parts, sha256)},
    {"file", offsetof(struct record_parts, file)},
    {"blob", offsetof(struct record_parts, blob)},
    {"path", offsetof(struct record_parts, path)},
    {"key", offsetof(struct record_parts, key)},
    {"key_base64", offsetof(struct record_parts, key)},
    {"text", offsetof(struct record_parts, body)},
    {"base64", offsetof(struct record_parts, body)},
};

/* One below U+10000, as UTF-8. */
static char *
record_put_char(char *to, unsigned code)
{
    if (code >= 0x800) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
    } else if (code >= 0x80) {
        *to++ = (char)(0xc0 | code >> 6);
    }
    *to++ = (char)(code < 0x80 ? code : 0x80 | (code & 0x3f));
    return to;
}

/* What follows a backslash. Returns what is behind it. */
static char *
record_unescape(char *p, char **to)
{
    static const char from[] = "bfnrt", as[] = "\b\f\n\r\t";
    const char *found = strchr(from, *p);
    char hex[5] = "";

    if (*p != 'u') {
        *(*to)++ = found != NULL && *p != '\0' ? as[found - from] : *p;
        return *p != '\0' ? p + 1 : p;
    }
    memcpy(hex, p + 1, strnlen(p + 1, 4));
    *to = record_put_char(*to, (unsigned)strtoul(hex, NULL, 16));
    return p + 1 + strlen(hex);
}

/* The string whose first byte is at p, in place. Returns what is behind its last quote, or NULL. */
static char *
record_string_end(char *p, size_t *n_out)
{
    char *begin = p, *to = p;

    for (;;) {
        size_t n = strcspn(p, "\"\\");

        if (to != p)
            memmove(to, p, n);
        to += n;
        p += n;
        if (*p != '\\')
            break;
        p = record_unescape(p + 1, &to);
    }
    if (*p != '"')
        return NULL;
    *to = '\0';
    *n_out = (size_t)(to - begin);
    return p + 1;
}

static void
record_keep(struct record_parts *parts, const char *name, char *text, size_t n)
{
    bool is_base64 = strcmp(name, "base64") == 0 || strcmp(name, "key_base64") == 0;

    if (is_base64)
        n = text_unbase64(text, n, text);
    for (size_t i = 0; i < MS_ARRAY_LEN(record_texts); i++) {
        if (strcmp(record_texts[i].name, name) != 0)
            continue;
        memcpy((char *)parts + record_texts[i].at, &text, sizeof(text));
        if (record_texts[i].at == offsetof(struct record_parts, key))
            parts->key_len = n;
        if (record_texts[i].at == offsetof(struct record_parts, body))
            parts->body_len = n;
    }
}

/* The value of that name, which begins at p. Returns what is behind it, or NULL. */
static char *
record_value(struct record_parts *parts, const char *name, char *p, const char *end)
{
    char *text = p + 1;
    size_t n;

    if (strcmp(name, "json") == 0) {
        parts->body = p;
        parts->body_len = (size_t)(end - p);
        parts->is_json = true;
        return p + parts->body_len;
    }
    if (strcmp(name, "size") == 0) {
        parts->size = strtoull(p, &p, 10);
        return p;
    }
    p = *p == '"' ? record_string_end(text, &n) : NULL;
    if (p != NULL)
        record_keep(parts, name, text, n);
    return p;
}

/* Where the last member of its own begins, before the sum and the brace. */
static const char *
record_members_end(const char *line, size_t n)
{
    static const char sum[] = ",\"crc32\":\"";
    static const size_t len = sizeof(sum) - 1 + sizeof("01234567\"}") - 1;

    if (n > len && memcmp(line + n - len, sum, sizeof(sum) - 1) == 0)
        return line + n - len;
    return line + n - (n > 0);
}

bool
record_take_apart(char *line, size_t n, struct record_parts *parts_out)
{
    const char *end = record_members_end(line, n);
    char *p = line;

    *parts_out = (struct record_parts){
        .time = "",
        .listener = "",
        .proto = "",
        .peer = "",
        .kind = "",
        .identity = "",
        .sha256 = "",
        .file = "",
        .blob = "",
        .path = "",
        .key = "",
    };
    /* Each member follows a brace or a comma. */
    while (p != NULL && p < end) {
        char *name = p + 2, *colon = strchr(name, ':');

        if (p[1] != '"' || colon == NULL || colon >= end || colon[-1] != '"')
            return false;
        colon[-1] = '\0';
        p = record_value(parts_out, name, colon + 1, end);
    }
    return p == end;
}
