/* What is in a line and in which order is decided here and nowhere else. The bytes of a body and an
 * id come from outside: whatever they are, the line stays one line of valid JSON. */
#include "handler/journal/journal.h"

#include <stdio.h>

#define RECORD_FOREIGN_MAX 512  /* of a name that is not UTF-8, escaped */
#define RECORD_PATH_MAX    2304 /* a trailer's whole VALUE, a directory and a number */

/* Appends a literal; its length is known to the compiler. */
#define RECORD_LITERAL(out, text) buffer_append(out, text, sizeof(text) - 1)

static void
record_number(struct buffer *out, uint64_t value)
{
    char digits[20];
    unsigned at = sizeof(digits);

    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    buffer_append(out, digits + at, sizeof(digits) - at);
}

/* A name of our own or of a peer; a Unix socket's path may be any bytes. */
static void
record_string(struct buffer *out, const char *s, size_t n)
{
    char escaped[RECORD_FOREIGN_MAX];

    if (text_is_utf8(s, n))
        text_json_string(out, s, n);
    else
        text_json_string(out, escaped, text_escape(s, n, escaped, sizeof(escaped)));
}

static void
record_time(struct buffer *out, struct record_clock *clock, uint64_t real_us)
{
    unsigned us = (unsigned)(real_us % 1000000);

    if (clock->second != real_us / 1000000 || clock->text[0] == '\0') {
        clock_format(real_us, clock->text);
        clock->second = real_us / 1000000;
    }
    for (unsigned i = 6; i-- > 0; us /= 10)
        clock->text[20 + i] = (char)('0' + us % 10);
    buffer_append(out, clock->text, CLOCK_RFC3339_LEN - 1);
}

static void
record_sha256(struct buffer *out, const struct message *m)
{
    char hex[SHA256_HEX_LEN + 1];

    digest_hex(m->sha256, SHA256_LEN, hex);
    RECORD_LITERAL(out, ",\"sha256\":\"");
    buffer_append(out, hex, SHA256_HEX_LEN);
    RECORD_LITERAL(out, "\"");
}

static void
record_key(struct buffer *out, const struct message *m)
{
    if (m->kind == MESSAGE_FILE || m->value_len == 0)
        return;
    if (text_is_utf8(m->value, m->value_len)) {
        RECORD_LITERAL(out, ",\"key\":");
        text_json_string(out, m->value, m->value_len);
    } else {
        RECORD_LITERAL(out, ",\"key_base64\":\"");
        text_base64(out, m->value, m->value_len);
        RECORD_LITERAL(out, "\"");
    }
}

void
record_head(struct buffer *out, const char id[ULID_LEN], uint64_t real_us,
            struct record_clock *clock, const struct message_origin *origin,
            const struct message *m)
{
    RECORD_LITERAL(out, "{\"id\":\"");
    buffer_append(out, id, ULID_LEN);
    RECORD_LITERAL(out, "\",\"time\":\"");
    record_time(out, clock, real_us);
    RECORD_LITERAL(out, "\",\"listener\":");
    record_string(out, origin->listener, strlen(origin->listener));
    RECORD_LITERAL(out, ",\"proto\":");
    record_string(out, origin->proto, strlen(origin->proto));
    RECORD_LITERAL(out, ",\"peer\":");
    record_string(out, origin->peer, strlen(origin->peer));
    RECORD_LITERAL(out, ",\"kind\":\"");
    buffer_append_str(out, message_kind_name(m->kind));
    RECORD_LITERAL(out, "\"");
    record_key(out, m);
    RECORD_LITERAL(out, ",\"size\":");
    record_number(out, m->size);
    record_sha256(out, m);
}

/* The document as sent. A newline inside of it can only be whitespace, since a JSON string has none
 * unescaped, so it may become a space. */
static void
record_json(struct buffer *out, const char *body, size_t n)
{
    char *to = buffer_reserve(out, n);

    memcpy(to, body, n);
    for (char *p = to; (p = memchr(p, '\n', n - (size_t)(p - to))) != NULL;)
        *p = ' ';
    for (char *p = to; (p = memchr(p, '\r', n - (size_t)(p - to))) != NULL;)
        *p = ' ';
    buffer_added(out, n);
}

void
record_body(struct buffer *out, enum message_kind kind, const char *body, size_t n)
{
    if (kind == MESSAGE_JSON) {
        RECORD_LITERAL(out, ",\"json\":");
        record_json(out, body, n);
    } else if (memchr(body, '\0', n) == NULL && text_is_utf8(body, n)) {
        RECORD_LITERAL(out, ",\"text\":");
        text_json_string(out, body, n);
    } else {
        RECORD_LITERAL(out, ",\"base64\":\"");
        text_base64(out, body, n);
        RECORD_LITERAL(out, "\"");
    }
    RECORD_LITERAL(out, "}\n");
}

static void
record_place(struct buffer *out, const struct record_place *place)
{
    char path[RECORD_PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s%s", place->directory, place->name);

    MS_ASSERT(n >= 0 && (size_t)n < sizeof(path));
    RECORD_LITERAL(out, ",\"");
    buffer_append_str(out, place->key);
    RECORD_LITERAL(out, "\":");
    record_string(out, path, (size_t)n);
}

void
record_end_with_place(struct buffer *out, const struct record_place *place)
{
    record_place(out, place);
    RECORD_LITERAL(out, "}\n");
}

void
record_receipt(struct buffer *out, const char id[ULID_LEN], const struct message *m,
               const struct record_place *place, bool duplicate)
{
    RECORD_LITERAL(out, "{\"id\":\"");
    buffer_append(out, id, ULID_LEN);
    RECORD_LITERAL(out, "\",\"size\":");
    record_number(out, m->size);
    record_sha256(out, m);
    if (place != NULL)
        record_place(out, place);
    if (duplicate)
        RECORD_LITERAL(out, ",\"duplicate\":true");
    RECORD_LITERAL(out, "}");
}
