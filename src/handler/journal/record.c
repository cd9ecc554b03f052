/* What is in a line and in which order is decided here and nowhere else. The bytes of a body and an
 * id come from outside: whatever they are, the line stays one line of valid JSON. */
#include "handler/journal/journal.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#define RECORD_FOREIGN_MAX 512  /* of a name that is not UTF-8, escaped */
#define RECORD_PATH_MAX    2304 /* a trailer's whole VALUE, a directory and a number */

/* How each line ends. */
#define RECORD_END     ",\"crc32\":\"%08x\"}"
#define RECORD_END_LEN 20

#define RECORD_BEGIN  "{\"id\":\""
#define RECORD_TIME   "\",\"time\":\""
#define RECORD_MEMBER ",\"crc32\":\""
#define RECORD_DAMAGE "{\"damaged\":{"

#define RECORD_DAMAGE_MIN (sizeof(RECORD_DAMAGE "}}") - 1)

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
    RECORD_LITERAL(out, RECORD_BEGIN);
    buffer_append(out, id, ULID_LEN);
    RECORD_LITERAL(out, RECORD_TIME);
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
    if (origin->identity != NULL) {
        RECORD_LITERAL(out, ",\"identity\":");
        record_string(out, origin->identity, strlen(origin->identity));
    }
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
record_end(struct buffer *out, size_t from)
{
    char end[RECORD_END_LEN + 2];

    snprintf(end, sizeof(end), RECORD_END "\n",
             digest_crc32(0, buffer_bytes(out) + from, out->len - from));
    buffer_append(out, end, RECORD_END_LEN + 1);
}

void
record_body(struct buffer *out, size_t from, enum message_kind kind, const char *body, size_t n)
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
    record_end(out, from);
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
record_end_with_place(struct buffer *out, size_t from, const struct record_place *place)
{
    record_place(out, place);
    if (place->path != NULL) {
        RECORD_LITERAL(out, ",\"path\":");
        record_string(out, place->path, strlen(place->path));
    }
    record_end(out, from);
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

/* --- lines that are read again --- */

static bool
record_begins(const char *line, size_t n, const char *with)
{
    return n >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

/* The CRC-32 that a line says it has. Returns false where it does not end like a line of ours. */
static bool
record_said_crc32(const char *line, size_t n, uint32_t *crc_out)
{
    char end[RECORD_END_LEN + 1] = "", as_written[RECORD_END_LEN + 1];

    if (n < RECORD_END_LEN)
        return false;
    memcpy(end, line + n - RECORD_END_LEN, RECORD_END_LEN);
    if (sscanf(end, ",\"crc32\":\"%8x\"}", crc_out) != 1)
        return false;
    snprintf(as_written, sizeof(as_written), RECORD_END, *crc_out);
    return memcmp(end, as_written, RECORD_END_LEN) == 0;
}

/* A line from before there was a "crc32". One whose "crc32" is damaged must not look like it. */
static bool
record_is_old(const char *line, size_t n)
{
    static const char member[] = ",\"crc32\":\"";
    unsigned alike = 0;
    json_t *value;
    bool old;

    if (n < RECORD_END_LEN || !record_begins(line, n, RECORD_BEGIN) || line[n - 1] != '}')
        return false;
    for (size_t i = 0; i < sizeof(member) - 1; i++)
        alike += line[n - RECORD_END_LEN + i] == member[i];
    if (alike >= sizeof(member) / 2)
        return false;
    value = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    old = json_is_object(value) && json_is_string(json_object_get(value, "sha256"));
    json_decref(value);
    return old;
}

size_t
record_trimmed(const char *line, size_t n)
{
    while (n > 0 && line[n - 1] == ' ')
        n--;
    return n;
}

bool
record_crc32_is_right(const char *line, size_t n)
{
    uint32_t said;

    return record_said_crc32(line, n, &said) && digest_crc32(0, line, n - RECORD_END_LEN) == said;
}

bool
record_is_damage(const char *line, size_t n)
{
    return record_begins(line, n, RECORD_DAMAGE);
}

bool
record_is_whole(const char *line, size_t n)
{
    size_t trimmed = record_trimmed(line, n);

    if (record_begins(line, n, RECORD_BEGIN))
        return record_crc32_is_right(line, n) || record_is_old(line, n);
    if (trimmed == 0)
        return n <= RECORD_DAMAGE_MIN; /* what recovery writes where no more has room */
    return record_is_damage(line, n) &&
           (record_crc32_is_right(line, trimmed) ||
            (trimmed == RECORD_DAMAGE_MIN && line[trimmed - 1] == '}'));
}

bool
record_id_at(const char *line, size_t n, char id_out[ULID_LEN])
{
    const size_t at = sizeof(RECORD_BEGIN) - 1;

    if (!record_begins(line, n, RECORD_BEGIN) || n < at + ULID_LEN || !ulid_begins(line + at))
        return false;
    memcpy(id_out, line + at, ULID_LEN);
    return true;
}

uint64_t
record_time_ms(const char *line, size_t n)
{
    const size_t at = sizeof(RECORD_BEGIN RECORD_TIME) - 1 + ULID_LEN;
    char text[CLOCK_RFC3339_LEN] = "";
    struct tm tm = {0};

    if (n < at + sizeof(text))
        return 0;
    memcpy(text, line + at, sizeof(text) - 1);
    return strptime(text, "%Y-%m-%dT%T.", &tm) != NULL ? (uint64_t)timegm(&tm) * 1000 : 0;
}

bool
record_id(const char *line, size_t n, char id_out[ULID_LEN])
{
    return record_id_at(line, n, id_out) && record_is_whole(line, n);
}

/* The length of a record up to the members that say where its body is; n where it is none. A quote
 * within a string is escaped, so this is the member itself. */
static size_t
record_head_len(const char *line, size_t n)
{
    static const char member[] = ",\"sha256\":\"";
    const char *sha256 = memmem(line, n, member, sizeof(member) - 1);
    size_t head = sha256 == NULL ? n : (size_t)(sha256 - line) + sizeof(member) + SHA256_HEX_LEN;

    return record_begins(line, n, RECORD_BEGIN) && head < n ? head : n;
}

bool
record_has_place(const char *line, size_t n)
{
    size_t head = record_head_len(line, n);

    return record_begins(line + head, n - head, ",\"file\":\"") ||
           record_begins(line + head, n - head, ",\"blob\":\"");
}

json_t *
record_members(const char *line, size_t n)
{
    size_t head = record_head_len(line, n);
    struct buffer text = {0};
    json_t *members;

    if (head == n)
        return NULL;
    if (record_has_place(line, n))
        return json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    buffer_append(&text, line, head);
    RECORD_LITERAL(&text, "}");
    members = json_loadb(buffer_bytes(&text), text.len, JSON_ALLOW_NUL, NULL);
    buffer_fini(&text);
    return members;
}

/* What stands at the end of a record, wherever a sender has put it into a body, is only taken for
 * one where the sum of all before it is right. Each byte is summed once. */
size_t
record_first(const char *bytes, size_t n)
{
    size_t at = 0;
    uint32_t said, crc = 0;
    const char *end;

    if (!record_begins(bytes, n, RECORD_BEGIN))
        return 0;
    while ((end = memmem(bytes + at, n - at, RECORD_MEMBER, sizeof(RECORD_MEMBER) - 1)) != NULL) {
        size_t next = (size_t)(end - bytes);

        crc = digest_crc32(crc, bytes + at, next - at);
        if (next + RECORD_END_LEN <= n && record_said_crc32(bytes, next + RECORD_END_LEN, &said) &&
            said == crc)
            return next + RECORD_END_LEN;
        crc = digest_crc32(crc, end, 1);
        at = next + 1;
    }
    return 0;
}

/* Each byte is summed once, however many beginnings a sender has put into a body. */
size_t
record_find(const char *line, size_t n)
{
    size_t end, at = 0;
    uint32_t said, all, front = 0;
    const char *begin;

    if (!record_said_crc32(line, n, &said))
        return n;
    end = n - RECORD_END_LEN;
    all = digest_crc32(0, line, end);
    while ((begin = memmem(line + at, end - at, RECORD_BEGIN, sizeof(RECORD_BEGIN) - 1)) != NULL) {
        size_t next = (size_t)(begin - line);

        front = digest_crc32(front, line + at, next - at);
        if (digest_crc32_rest(all, front, end - next) == said)
            return next;
        /* The byte at the beginning is summed too, so that the next search goes on behind it. */
        front = digest_crc32(front, begin, 1);
        at = next + 1;
    }
    return n;
}

void
record_damage(char *out, size_t n, const char *copy)
{
    char text[512];
    int length =
        snprintf(text, sizeof(text), RECORD_DAMAGE "\"bytes\":%zu,\"copy\":\"%s\"}", n, copy);
    size_t end = 0;

    MS_ASSERT(length > 0 && (size_t)length + RECORD_END_LEN < sizeof(text));
    length += snprintf(text + length, sizeof(text) - (size_t)length, RECORD_END,
                       digest_crc32(0, text, (size_t)length));
    if ((size_t)length >= n)
        length = snprintf(text, sizeof(text), RECORD_DAMAGE "}}");
    if ((size_t)length < n) {
        end = (size_t)length;
        memcpy(out, text, end);
    }
    memset(out + end, ' ', n - end);
    out[n - 1] = '\n';
}
