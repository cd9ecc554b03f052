/* Parses a JSON document. Invariant: jansson gets a document only after a pass over its bytes
 * has bounded what its tree can cost. */
#include "proto/message.h"

#include "common/text.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON_FLAGS        (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
#define JSON_TRIM_SIZE    (256 << 10) /* from here on memory goes back to the system at once */
#define JSON_BIG_DIGITS   19          /* an integer of so many may not fit into 64 bits */
#define JSON_VALUE_COST   350         /* bytes of a small value with its key, in jansson */
#define JSON_PROBE_VALUES 500000      /* as many as a document may have by default */
#define JSON_AS_REAL      "e0"        /* behind an integer: the same number as a real */

/* --- where something is wrong --- */

/* Lines and columns count as jansson's do: characters, from 1. */
static void
json_fail_at(char error[JSON_ERROR_LEN], const char *text, size_t offset, const char *reason)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    snprintf(error, JSON_ERROR_LEN, "line %zu column %zu: %s", line, column, reason);
}

static json_t *
json_no_memory(char error[JSON_ERROR_LEN])
{
    snprintf(error, JSON_ERROR_LEN, "there is no memory to parse it");
    errno = ENOMEM;
    return NULL;
}

/* Whether there may not have been enough memory for the tree of n bytes. jansson's own allocator
 * says it. */
static bool
json_lacks_memory(size_t n)
{
    size_t values = n / 2 < JSON_PROBE_VALUES ? n / 2 : JSON_PROBE_VALUES;
    json_malloc_t get;
    json_free_t release;
    void *probe;

    json_get_alloc_funcs(&get, &release);
    probe = get(n + values * JSON_VALUE_COST);
    if (probe == NULL)
        return true;
    release(probe);
    return false;
}

json_t *
json_load_text(const char *text, size_t n, size_t flags, json_error_t *why)
{
    json_t *value = json_loadb(text, n, flags, why);

    if (value != NULL)
        return value;
    errno = EINVAL;
    if (why->text[0] == '\0' || json_error_code(why) == json_error_out_of_memory ||
        json_lacks_memory(n)) {
        ms_memory_note();
        errno = ENOMEM;
    }
    return NULL;
}

static void
json_fail(char error[JSON_ERROR_LEN], const json_error_t *why)
{
    snprintf(error, JSON_ERROR_LEN, "line %d column %d: %s", why->line > 0 ? why->line : 1,
             why->column > 0 ? why->column : 1, why->text);
}

/* --- the pass before --- */

struct json_scan {
    unsigned depth;
    uint64_t values; /* in a document that is JSON; in any other, no fewer than jansson makes */
    bool opened;     /* a bracket, and nothing behind it yet */
};

/* One byte outside of strings. */
static inline void
json_scan_byte(struct json_scan *s, char c)
{
    switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
        return;
    case '[':
    case '{':
        s->values += s->opened;
        s->depth++;
        s->opened = true;
        return;
    case ']':
    case '}':
        s->depth -= s->depth > 0;
        break;
    default:
        s->values += s->opened || c == ',';
        break;
    }
    s->opened = false;
}

/* Stops at the first byte with which nesting or values are too many, and returns its offset; n
 * where none are. */
static size_t
json_scan(const char *text, size_t n, const struct proto_limits *limits, const char **what_out)
{
    struct json_scan s = {.values = 1};
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        json_scan_byte(&s, c);
        if (s.depth <= limits->max_json_depth && s.values <= limits->max_json_values)
            continue;
        *what_out = s.depth > limits->max_json_depth ? "levels" : "values";
        return i;
    }
    return n;
}

static bool
json_is_bounded(const char *text, size_t n, const struct proto_limits *limits,
                char error[JSON_ERROR_LEN])
{
    const char *what = NULL;
    char reason[64];
    size_t at;

    if (n > limits->max_json_size) {
        snprintf(error, JSON_ERROR_LEN, "a document of over %llu bytes is not taken",
                 (unsigned long long)limits->max_json_size);
        return false;
    }
    if (n == 0) {
        json_fail_at(error, text, 0, "the document is empty");
        return false;
    }
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        json_fail_at(error, text, 0, "the document begins with a byte order mark");
        return false;
    }
    at = json_scan(text, n, limits, &what);
    if (at == n)
        return true;
    snprintf(reason, sizeof(reason), "more than %u %s",
             *what == 'l' ? limits->max_json_depth : limits->max_json_values,
             *what == 'l' ? "levels of nesting" : what);
    json_fail_at(error, text, at, reason);
    return false;
}

/* --- parsing --- */

/* The length of the number at text, n bytes to the end; *big_out: it is an integer that may not fit
 * into 64 bits. */
static size_t
json_number(const char *text, size_t n, bool *big_out)
{
    size_t len = 0;
    bool real = false;

    for (; len < n && text[len] != '\0' && strchr("0123456789.eE+-", text[len]) != NULL; len++)
        real = real || !isdigit((unsigned char)text[len]);
    *big_out = !real && len >= JSON_BIG_DIGITS;
    return len;
}

/* The document with JSON_AS_REAL behind integers that may be too big. Where in out each was
 * inserted is kept in offsets. */
static void
json_write_reals(const char *text, size_t n, struct buffer *out, struct buffer *offsets)
{
    bool in_string = false;

    for (size_t i = 0, len; i < n; i += len) {
        bool big = false;
        uint32_t end;

        len = 1;
        if (in_string && text[i] == '\\' && i + 1 < n)
            len = 2;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && isdigit((unsigned char)text[i]))
            len = json_number(text + i, n - i, &big);
        buffer_append(out, text + i, len);
        if (!big)
            continue;
        end = out->len;
        buffer_append(offsets, &end, sizeof(end));
        buffer_append_str(out, JSON_AS_REAL);
    }
}

/* Where in the document that is, of which out is the copy. */
static size_t
json_place(const struct buffer *offsets, size_t at)
{
    size_t shift = 0;

    for (size_t i = 0; i < offsets->len / sizeof(uint32_t); i++) {
        uint32_t inserted;

        memcpy(&inserted, buffer_bytes(offsets) + i * sizeof(inserted), sizeof(inserted));
        shift += inserted < at ? strlen(JSON_AS_REAL) : 0;
    }
    return at - shift;
}

/* An integer was too big: the same again with such integers as reals. What is wrong besides is
 * named at its place in the document as it came. */
static json_t *
json_parse_reals(const char *text, size_t n, json_error_t *why, char error[JSON_ERROR_LEN])
{
    struct buffer out, offsets;
    json_t *value = NULL;
    char *near;

    buffer_init(&out);
    buffer_init(&offsets);
    json_write_reals(text, n, &out, &offsets);
    if (ms_memory_failed())
        errno = ENOMEM;
    else if (offsets.len > 0)
        value = json_load_text(buffer_bytes(&out), out.len, JSON_FLAGS, why);
    if (value == NULL && errno == ENOMEM) {
        (void)json_no_memory(error);
    } else if (value == NULL && offsets.len == 0) {
        json_fail(error, why);
    } else if (value == NULL) {
        near = strstr(why->text, " near '");
        if (near != NULL)
            *near = '\0';
        json_fail_at(error, text,
                     json_place(&offsets, why->position > 0 ? (size_t)why->position - 1 : 0),
                     why->text);
    }
    buffer_fini(&out); /* errno stays */
    buffer_fini(&offsets);
    return value;
}

json_t *
json_parse(const char *text, size_t n, const struct proto_limits *limits,
           char error[JSON_ERROR_LEN])
{
    json_error_t why;
    const char *nul;
    json_t *value;

    errno = EINVAL;
    if (!json_is_bounded(text, n, limits, error))
        return NULL;
    value = json_load_text(text, n, JSON_FLAGS, &why);
    if (value == NULL && errno == ENOMEM)
        return json_no_memory(error);
    if (value == NULL && json_error_code(&why) == json_error_numeric_overflow)
        value = json_parse_reals(text, n, &why, error);
    else if (value == NULL)
        json_fail(error, &why);
    /* jansson takes a NUL byte between two tokens for the end of the text and reads no further. */
    nul = value != NULL ? memchr(text, '\0', n) : NULL;
    if (nul == NULL)
        return value;
    json_decref(value);
    json_fail_at(error, text, (size_t)(nul - text), "a NUL byte");
    errno = EINVAL;
    return NULL;
}

enum json_verdict
json_parse_message(struct message *m, const struct proto_limits *limits, bool wanted,
                   char error[JSON_ERROR_LEN])
{
    enum json_verdict verdict = JSON_GOOD;
    const char *body;
    json_t *value;

    if (m->body_dropped || m->size > limits->max_json_size) {
        snprintf(error, JSON_ERROR_LEN, "a document of over %llu bytes is not taken",
                 (unsigned long long)limits->max_json_size);
        return JSON_BAD;
    }
    if (message_body(m, &body) < 0) {
        snprintf(error, JSON_ERROR_LEN, "the server cannot read the message");
        return JSON_UNREADABLE;
    }
    value = json_parse(body, (size_t)m->size, limits, error);
    if (value == NULL)
        verdict = errno == ENOMEM ? JSON_UNREADABLE : JSON_BAD;
    message_body_release(m, body);
    if (wanted)
        m->json = value;
    else
        json_decref(value);
    if (m->size >= JSON_TRIM_SIZE && m->json == NULL)
        malloc_trim(0);
    return verdict;
}

void
json_seed(void)
{
    size_t seed = 0;

    /* 0 would let jansson choose for itself, from the time and the pid if need be. */
    while (seed == 0)
        ms_random(&seed, sizeof(seed));
    json_object_seed(seed);
}
