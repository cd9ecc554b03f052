/* Byte strings that grow, and text: on its way to a terminal, a log or a JSON document, and numbers
 * with units on their way in. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include "common/ledger.h"

/* --- buffer.c --- */

/* A growable byte string that is filled at its end and consumed at its beginning.
 * Invariant: data[head .. head + len) are the bytes; head + len <= cap; cap is counted in the
 * ledger; an empty buffer may own no memory at all (idle connections do not). At most 2 GiB. */

struct buffer {
    char *data;
    uint32_t head; /* bytes already consumed */
    uint32_t len;  /* bytes waiting */
    uint32_t cap;  /* bytes allocated */
    struct ledger *ledger;
};

void buffer_init(struct buffer *b); /* without a ledger */
void buffer_init_in(struct buffer *b, struct ledger *ledger);
void buffer_fini(struct buffer *b); /* frees; the buffer is empty and usable afterwards */

/* The memory and what is in it become the caller's; b is empty and usable afterwards. */
struct buffer buffer_steal(struct buffer *b);

static inline const char *
buffer_bytes(const struct buffer *b)
{
    return b->data == NULL ? NULL : b->data + b->head;
}

/* Makes room for n more bytes and returns where to write them; add them with buffer_added. NULL
 * where n is 0 and there is no memory yet, or in libmsock where memory is out: nothing is appended
 * then (ms_memory_failed). */
char *buffer_reserve(struct buffer *b, size_t n);
void buffer_added(struct buffer *b, size_t n);

static inline void
buffer_append(struct buffer *b, const void *data, size_t n)
{
    char *to = n > 0 ? buffer_reserve(b, n) : NULL;

    if (to == NULL)
        return;
    memcpy(to, data, n);
    b->len += (uint32_t)n;
}

void buffer_append_str(struct buffer *b, const char *s);
void buffer_printf(struct buffer *b, const char *fmt, ...) MS_PRINTF(2, 3);

/* Drops n bytes at the beginning (n <= len). */
void buffer_consume(struct buffer *b, size_t n);

/* Drops n bytes at the end (n <= len). */
void buffer_unappend(struct buffer *b, size_t n);

/* Drops all bytes and keeps the memory. */
void buffer_clear(struct buffer *b);

/* Appends a NUL that len does not count, and returns the string (valid until the next call); ""
 * where there is no memory for it. */
const char *buffer_cstr(struct buffer *b);

/* --- text.c --- */

/* The letters and digits of ASCII. Those of <ctype.h> follow the locale, and in libmsock that is
 * the host's. */
static inline bool
text_is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static inline bool
text_is_alnum(char c)
{
    return text_is_lower(c) || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Copies n bytes to out with every control byte, backslash and byte over 7E as \xNN, so that a line
 * stays one line and a terminal is safe. Cut (never within an escape) to out_size - 1 characters;
 * always NUL-terminated. Returns the length. */
size_t text_escape(const void *data, size_t n, char *out, size_t out_size);

/* Returns the length of the UTF-8 character at the beginning of n bytes (1 or more), or 0 if there
 * is none (RFC 3629). */
size_t text_utf8_length(const void *data, size_t n);

/* True where all n bytes are valid UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool text_is_utf8(const void *data, size_t n);

/* Appends the bytes as a JSON string with its quotes. The bytes must be valid UTF-8. All control
 * characters are escaped, those from U+007F to U+009F too, and so are U+2028 and U+2029: nobody
 * takes one for the end of a line. */
void text_json_string(struct buffer *out, const void *data, size_t n);

/* For json_dump_callback of jansson, which escapes only what it must: writes a part of a document
 * to the FILE, with the rest of these characters escaped as well. Returns 0, or -1 with errno. */
int text_json_write(const char *part, size_t n, void *file);

/* Appends base64 (RFC 4648, padded). */
void text_base64(struct buffer *out, const void *data, size_t n);

/* Writes what base64 stands for to out, which may be the text itself. Returns how many bytes; 0
 * where it is none. */
size_t text_unbase64(const char *text, size_t n, void *out);

/* Writes "512 B", "1.5 KiB", "2.0 GiB" and returns it. */
#define TEXT_BYTES_LEN 24
const char *text_bytes(double bytes, char out[TEXT_BYTES_LEN]);

/* "64", "64K", "1M", "4G" (powers of 1024, optional "iB" or "B"). Returns 0, or -1 with EINVAL,
 * ERANGE. */
MS_MUST_CHECK int text_parse_size(const char *s, uint64_t *bytes_out);

/* "2", "2s", "500ms", "250us", "5m", "1h", "1d", "1.5s"; no unit means seconds. Returns 0, or -1
 * with EINVAL, ERANGE. */
MS_MUST_CHECK int text_parse_duration(const char *s, uint64_t *us_out);

/* The names in a NULL-terminated list as "a, b or c", cut to size. */
void text_list(const char *const *names, char *out, size_t size);

/* A whole decimal number within [min, max] and nothing else. Returns 0, or -1 with EINVAL,
 * ERANGE. */
MS_MUST_CHECK int text_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *out);

#endif
