/* Parses a JSON document. Invariant: jansson gets a document only after a pass over its bytes
 * has bounded what its tree can cost, and said how much that is. */
#include "proto/message.h"

#include "common/text.h"
#include "common/thread.h"

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

/* Bytes that jansson 2.14 and malloc take at most for each; measured in test_json. */
#define JSON_COST_OBJECT 240 /* with its first eight places */
#define JSON_COST_ARRAY  144 /* the same */
#define JSON_COST_STRING 72  /* beside its bytes; of a key, with its place */
#define JSON_COST_SCALAR 32
#define JSON_COST_NEXT   24 /* a place of an array, which grows by doubling */
#define JSON_COST_KEY    48 /* the same of an object */
#define JSON_COST_REALS  3  /* for each byte: json_write_reals */

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

struct json_reader {
    const char *text;
    size_t n, at;
};

/* A kilobyte at a time, as jansson wants it. */
static size_t
json_read(void *to, size_t max, void *arg)
{
    struct json_reader *r = arg;
    size_t n = r->n - r->at < max ? r->n - r->at : max;

    memcpy(to, r->text + r->at, n);
    if (r->at / THREAD_PIECE != (r->at + n) / THREAD_PIECE)
        thread_give_way();
    r->at += n;
    return n;
}

json_t *
json_load_text(const char *text, size_t n, size_t flags, json_error_t *why)
{
    struct json_reader reader = {.text = text, .n = n};
    json_t *value = n > THREAD_PIECE ? json_load_callback(json_read, &reader, flags, why)
                                     : json_loadb(text, n, flags, why);

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
    uint64_t values; /* in JSON; in anything else, at least as many as jansson makes */
    bool opened;     /* a bracket, and nothing behind it yet */
    bool in_scalar;  /* behind a byte of a number, say */
    bool has_big;    /* an integer that may not fit into 64 bits */
    unsigned digits; /* in a row */
    uint64_t cost;   /* of what the brackets, signs and scalars stand for, and the strings */
    size_t longest;  /* bytes of a string */
    size_t end;      /* behind the bracket that closes the first one; 0: none does */
};

/* What is no bracket and no sign. */
static inline void
json_scan_scalar(struct json_scan *s, char c)
{
    s->cost += !s->in_scalar ? JSON_COST_SCALAR : 0;
    s->in_scalar = true;
    s->digits = c >= '0' && c <= '9' ? s->digits + 1 : 0;
    s->has_big |= s->digits >= JSON_BIG_DIGITS;
}

/* One byte outside of strings. */
static inline void
json_scan_byte(struct json_scan *s, char c)
{
    switch (c) {
    case ' ':
    case '\t':
    case '\n':
    case '\r':
        s->in_scalar = false;
        return;
    case '[':
    case '{':
        s->values += s->opened;
        s->depth++;
        s->opened = true;
        s->cost += c == '{' ? JSON_COST_OBJECT : JSON_COST_ARRAY;
        s->in_scalar = false;
        return;
    case ']':
    case '}':
        s->depth -= s->depth > 0;
        s->in_scalar = false;
        break;
    case ',':
    case ':':
        s->values += s->opened || c == ',';
        s->cost += c == ',' ? JSON_COST_NEXT : JSON_COST_KEY;
        s->in_scalar = false;
        break;
    default:
        s->values += s->opened;
        json_scan_scalar(s, c);
        break;
    }
    s->opened = false;
}

/* The bytes of a string, from behind its first quotation mark on. Returns where it ends. */
static inline size_t
json_scan_string(struct json_scan *s, const char *text, size_t n, size_t at)
{
    size_t begin = at;

    while (at < n && text[at] != '"')
        at += text[at] == '\\' ? 2 : 1;
    at = at < n ? at : n;
    s->cost += JSON_COST_STRING + at - begin;
    s->longest = at - begin > s->longest ? at - begin : s->longest;
    s->in_scalar = true; /* it is paid for */
    return at;
}

/* Stops at the first byte with which nesting or values are too many, and returns its offset; n
 * where none are. */
static size_t
json_scan(const char *text, size_t n, const struct proto_limits *limits, struct json_scan *s,
          const char **what_out)
{
    for (size_t i = 0, piece = THREAD_PIECE; i < n; i++) {
        if (i >= piece) {
            thread_give_way();
            piece = i + THREAD_PIECE;
        }
        if (text[i] == '"') {
            s->values += s->opened;
            s->opened = false;
            i = json_scan_string(s, text, n, i + 1);
        } else {
            json_scan_byte(s, text[i]);
            if (s->depth == 0 && s->end == 0 && (text[i] == ']' || text[i] == '}'))
                s->end = i + 1;
        }
        if (s->depth <= limits->max_json_depth && s->values <= limits->max_json_values)
            continue;
        *what_out = s->depth > limits->max_json_depth ? "levels" : "values";
        return i;
    }
    return n;
}

/* jansson keeps the longest string once more, in a buffer that grows by doubling. */
static uint64_t
json_scan_cost(const struct json_scan *s, size_t n)
{
    return JSON_COST_SCALAR + s->cost + 2 * s->longest + (s->has_big ? JSON_COST_REALS * n : 0);
}

static bool
json_is_bounded(const char *text, size_t n, const struct proto_limits *limits, struct json_scan *s,
                uint64_t *cost_out, char error[JSON_ERROR_LEN])
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
    *s = (struct json_scan){.values = 1};
    at = json_scan(text, n, limits, s, &what);
    *cost_out = json_scan_cost(s, n);
    if (at == n)
        return true;
    snprintf(reason, sizeof(reason), "more than %u %s",
             *what == 'l' ? limits->max_json_depth : limits->max_json_values,
             *what == 'l' ? "levels of nesting" : what);
    json_fail_at(error, text, at, reason);
    return false;
}

/* Does the document end with its first bracket's partner? */
static bool
json_is_closed(const char *text, size_t n, const struct json_scan *s, char error[JSON_ERROR_LEN])
{
    size_t end = s->end;

    if (s->end == 0 && s->depth > 0) {
        json_fail_at(error, text, n, "the document ends within a bracket");
        return false;
    }
    while (s->end > 0 && end < n && memchr(" \t\n\r", text[end], 4) != NULL)
        end++;
    if (s->end == 0 || end == n)
        return true;
    json_fail_at(error, text, end, "the document goes on behind its last bracket");
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
json_parse(const char *text, size_t n, const struct proto_limits *limits, uint64_t *cost_out,
           char error[JSON_ERROR_LEN])
{
    struct json_scan scan;
    json_error_t why;
    const char *nul;
    json_t *value;

    errno = EINVAL;
    if (!json_is_bounded(text, n, limits, &scan, cost_out, error))
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

static enum json_verdict
json_body(const struct message *m, const struct proto_limits *limits, const char **body_out,
          char error[JSON_ERROR_LEN])
{
    if (m->body_dropped || m->size > limits->max_json_size) {
        snprintf(error, JSON_ERROR_LEN, "a document of over %llu bytes is not taken",
                 (unsigned long long)limits->max_json_size);
        return JSON_BAD;
    }
    if (message_body(m, body_out) == 0)
        return JSON_GOOD;
    snprintf(error, JSON_ERROR_LEN, "the server cannot read the message");
    return JSON_UNREADABLE;
}

enum json_verdict
json_weigh_message(const struct message *m, const struct proto_limits *limits, uint64_t *cost_out,
                   char error[JSON_ERROR_LEN])
{
    const char *body;
    enum json_verdict verdict = json_body(m, limits, &body, error);
    struct json_scan scan;
    uint64_t cost = 0;

    if (verdict != JSON_GOOD)
        return verdict;
    if (!json_is_bounded(body, (size_t)m->size, limits, &scan, &cost, error) ||
        !json_is_closed(body, (size_t)m->size, &scan, error))
        verdict = JSON_BAD;
    *cost_out = cost + (m->fd >= 0 ? m->size : 0);
    message_body_release(m, body);
    return verdict;
}

enum json_verdict
json_parse_message(struct message *m, const struct proto_limits *limits, bool wanted,
                   uint64_t *cost_out, char error[JSON_ERROR_LEN])
{
    const char *body;
    enum json_verdict verdict = json_body(m, limits, &body, error);
    json_t *value;

    if (verdict != JSON_GOOD)
        return verdict;
    value = json_parse(body, (size_t)m->size, limits, cost_out, error);
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
json_account(struct message *m, uint64_t cost)
{
    m->json_cost = m->json != NULL ? cost : 0;
    ledger_take(&m->store->ledger, m->json_cost);
}

void
json_release(struct message *m)
{
    if (m->json == NULL)
        return;
    json_decref(m->json);
    ledger_give(&m->store->ledger, m->json_cost);
    if (m->json_cost >= JSON_TRIM_SIZE)
        malloc_trim(0);
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
